"""What sections are made of: their base, and types of values that several of them have."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainValidator
from pydantic.config import JsonDict

from agi_server.errors import InputError, SettingsError
from agi_server.fastagi.sockets import split_address

SECONDS: JsonDict = {"unit": "s"}


def _network(value: object) -> IPv4Network | IPv6Network:
    text = str(value) if isinstance(value, (str, IPv4Network, IPv6Network)) else ""
    try:
        return ip_network(text)
    except ValueError as error:
        try:
            hint = f"write {ip_network(text, strict=False)}"
        except ValueError:
            hint = "write e.g. 192.168.7.0/24 or 192.168.7.9"
        raise ValueError(f"should be a network: {hint}") from error


def _region(value: str) -> str:
    if value != "US":  # the default; others are worth the import
        from phonenumbers import SUPPORTED_REGIONS  # noqa: PLC0415  # 30 ms

        if value not in SUPPORTED_REGIONS:
            raise ValueError("should be an ISO 3166 country code in capitals, e.g. DE")
    return value


def _extension(value: str) -> str:
    from agi_server.calls.routing import diallable  # noqa: PLC0415  # not needed by most commands

    if not diallable(value):
        raise ValueError("should hold nothing but letters, digits and _ / @ . + & -")
    return value


def _zone(value: str) -> str:
    if value != "UTC":
        from agi_server.calls.hours import find_zone  # noqa: PLC0415  # not needed by most commands

        try:
            find_zone(value)
        except InputError as error:
            raise ValueError("should be a time zone, e.g. Europe/Berlin") from error
    return value


def _any_zone(value: str) -> str:
    return _zone(value) if value else value


def _address(value: str) -> str:
    try:
        split_address(value)
    except SettingsError as error:
        raise ValueError(
            "should be an address: 127.0.0.1:4573, [::1]:4573, or :4573 for all there are"
        ) from error
    return value


def is_loopback(host: str) -> bool:
    """Return whether a host of a web address is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _path(value: Path) -> Path:
    if "\0" in str(value):
        raise ValueError("should be a path; no path holds a NUL character")
    return value


Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network)]
Region = Annotated[str, AfterValidator(_region)]
Extension = Annotated[str, AfterValidator(_extension)]
Zone = Annotated[str, AfterValidator(_zone)]
OptionalZone = Annotated[str, AfterValidator(_any_zone)]
Address = Annotated[str, AfterValidator(_address)]
AnyPath = Annotated[Path, AfterValidator(_path)]
OptionalPath = Annotated[AnyPath | None, BeforeValidator(lambda value: None if value == "" else value)]
Kind = Literal["Contact", "Account", "Lead", "Opportunity"]


class Section(BaseModel):
    """A section of the settings file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
