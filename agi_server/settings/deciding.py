"""Sections on who is calling, what is shown, who may come in, and whom the call goes to."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from agi_server.errors import InputError
from agi_server.settings.values import SECONDS, Extension, Kind, Region, Section, Zone


def _extensions(value: str) -> str:
    from agi_server.calls.identify import check_extensions  # noqa: PLC0415  # not needed by most commands

    try:
        check_extensions(value)
    except InputError as error:
        raise ValueError(f"should be an RE2 pattern: {error}") from error
    return value


def _template(value: str) -> str:
    from agi_server.calls.naming import check_template  # noqa: PLC0415  # not needed by most commands

    try:
        check_template(value)
    except InputError as error:
        raise ValueError(f"should be a template: {error}") from error
    return value


def _holiday(value: str) -> str:
    try:
        if re.fullmatch(r"(\d{4}-)?\d{2}-\d{2}", value, re.ASCII):
            date.fromisoformat(
                value if len(value) == 10 else f"2000-{value}"
            )  # a leap year: 02-29 may be one
            return value
    except ValueError:
        pass
    raise ValueError("should be a day: YYYY-MM-DD, or MM-DD for every year")


def _tail(value: int) -> int:
    if 0 < value < 6:
        raise ValueError("should be 0 (off) or 6 and more: fewer digits fit too many people")
    return value


Template = Annotated[str, AfterValidator(_template)]


class ReformatEntry(Section):
    """One caller-ID reformatting rule; the first that matches wins."""

    direction: Literal["inbound", "outbound"] = "inbound"
    trunk: str = ""
    did: str = ""
    match: str
    replace: str


def _reformat(entry: ReformatEntry) -> ReformatEntry:
    from agi_server.calls.reformatting import compile_reformat  # noqa: PLC0415  # not needed by most commands

    try:
        compile_reformat(**entry.model_dump())
    except InputError as error:
        raise ValueError(f"cannot be used: {error}") from error
    return entry


class Numbers(Section):
    """What a telephone number means."""

    region: Region = Field(default="US", description="ISO country of numbers written without one.")
    own_extensions: Annotated[str, AfterValidator(_extensions)] = Field(
        default="",
        description="RE2 pattern of the PBX's own extensions; those of agents count anyway.",
        examples=["[1-8][0-9]{2}"],
    )
    use_restricted: bool = Field(
        default=False,
        description="Match and screen by a number whose presentation is restricted (it is never shown).",
    )
    reformat: tuple[Annotated[ReformatEntry, AfterValidator(_reformat)], ...] = Field(
        default=(),
        description=(
            "Caller-ID reformatting rules, first match wins: direction (inbound or outbound), trunk and did "
            r"(empty: any; * and ? allowed), match (RE2, whole number), replace (\1 … \9 for groups)."
        ),
        examples=[[{"trunk": "gsm-*", "match": "0([1-9].*)", "replace": r"+49\1"}]],
    )


class Matching(Section):
    """How a number finds its contact."""

    order: tuple[Kind, ...] = Field(
        default=("Contact", "Account", "Lead", "Opportunity"),
        description="Which kind wins when several match.",
    )
    tail_digits: Annotated[int, AfterValidator(_tail)] = Field(
        default=0,
        ge=0,
        le=15,
        description="Match the last so many digits where one side has no country; 0: off, 6 or more.",
    )
    switchboard_digits: int = Field(
        default=5,
        ge=0,
        le=8,
        description="A main number answers for extensions of at most so many digits; 0: off.",
    )


class Naming(Section):
    """What the phone shows."""

    enabled: bool = Field(default=True, description="Set the caller's name at all.")
    template: Template = Field(
        default="{name}",
        description=(
            "Name of a known caller: {name} {first} {last} {account} {kind} {owner} {number} {did} "
            "{trunk_name}; [ … ] is left out when a field in it is empty."
        ),
        examples=["{name}[ ({account})]"],
    )
    unknown_template: Template = Field(
        default="",
        description="Name of an unknown caller; empty: leave what the trunk sent.",
        examples=["? {number}"],
    )
    ambiguous_template: Template = Field(
        default="{name}", description="Name where several contacts of different companies match."
    )
    anonymous_name: str = Field(
        default="", description="Name of an anonymous caller; empty: leave what the trunk sent."
    )
    precedence: Literal["directory", "trunk", "fill"] = Field(
        default="directory",
        description=(
            "directory: ours wins; trunk: a real name sent by the trunk wins; fill: as trunk, but a name "
            "that is only a number or a placeholder counts as none."
        ),
    )
    charset: Literal["utf-8", "latin-1", "ascii"] = Field(
        default="utf-8", description="latin-1 and ascii transliterate what they cannot show."
    )
    max_length: int = Field(
        default=40,
        ge=1,
        le=79,
        description="Longest name (never more than 79 bytes of UTF-8).",
        json_schema_extra={"unit": "characters"},
    )


class Screening(Section):
    """Who may come in."""

    enabled: bool = Field(default=True, description="Apply blacklist and allow-list.")
    known_contacts_bypass: bool = Field(
        default=True, description="Known contacts are blocked by exact rules only."
    )
    default_treatment: Literal["hangup", "busy", "congestion", "voicemail", "announce", "redirect"] = Field(
        default="hangup", description="Treatment of rules that name none."
    )
    last_caller: Literal["own", "any"] = Field(
        default="own", description="*32 blocks the last caller of the extension that dials it, or of anyone."
    )


class Routing(Section):
    """Whom they came to see."""

    enabled: bool = Field(default=True, description="Route to the responsible agent.")
    default_agent: Extension = Field(
        default="",
        description="Extension responsible for callers without an owner; empty: the PBX's own plan.",
    )
    ring_seconds: int = Field(
        default=20, ge=1, le=600, description="How long the agent's phone rings.", json_schema_extra=SECONDS
    )
    fallback: Extension = Field(
        default="", description="What to dial when the agent does not answer; empty: the PBX's own plan."
    )
    last_agent_minutes: int = Field(
        default=0,
        ge=0,
        description="Who last spoke with the caller within this time goes first; 0: off.",
        json_schema_extra={"unit": "min"},
    )
    vip_agent: Extension = Field(
        default="", description="Extension that VIPs reach when their owner is absent or unknown."
    )
    vip_ring_seconds: int = Field(
        default=0,
        ge=0,
        le=600,
        description="Ring time for VIPs; 0: as for everyone.",
        json_schema_extra=SECONDS,
    )
    skip_busy: bool = Field(
        default=True,
        description=(
            "An agent whose phone is busy or not reachable, as a PBX tells, is not rung: the call goes straight to "
            "the fallback."
        ),
    )
    state_seconds: int = Field(
        default=30,
        ge=5,
        le=3600,
        description="What a PBX told of phones counts for so long after it was last heard of; then they count as free.",
        json_schema_extra=SECONDS,
    )
    timezone: Zone = Field(
        default="UTC", description="Time zone of working hours that name none.", examples=["Europe/Berlin"]
    )
    holidays: tuple[Annotated[str, AfterValidator(_holiday)], ...] = Field(
        default=(),
        description="Days nobody works: YYYY-MM-DD, or MM-DD for every year.",
        examples=[["12-25", "2026-04-06"]],
    )


class Contacts(Section):
    """Contacts made on the call path."""

    create: bool = Field(
        default=False, description="Make a contact of an unknown caller on every inbound call."
    )
