"""Sections on what Ostiary listens to and tells: calls, HTTP, MQTT, logs; where it keeps things."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from agi_server.settings.values import SECONDS, Address, AnyPath, Network, OptionalPath, Section


def _public(value: str) -> str:
    parts = urlsplit(value)
    if value and (
        parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment
    ):
        raise ValueError("should be a web address without ? and #: https://ostiary.example")
    return value.rstrip("/")


def _mqtt(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"mqtt", "mqtts"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        sound = False
    if url and not sound:
        raise ValueError("should be an address such as mqtt://user:password@host:1883 or mqtts://host:8883")
    return value


class Storage(Section):
    """The local database."""

    state_directory: AnyPath = Field(
        default=Path("/var/lib/ostiary"), description="Where the database and its backups live."
    )
    url: str = Field(
        default="",
        description="SQLAlchemy URL; empty: sqlite+aiosqlite:/// + the state directory's ostiary.db.",
    )
    integrity_check: bool = Field(
        default=True, description="Run SQLite's quick check in the background after start."
    )


class FastAgi(Section):
    """The way in for Asterisk and FreePBX."""

    listen: Address = Field(
        default="127.0.0.1:4573", description="Address the PBX connects to; [::1]:4573 for IPv6."
    )
    deadline: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="An answer or a close within this time.",
        json_schema_extra=SECONDS,
    )
    environment_deadline: float = Field(
        default=0.5,
        gt=0,
        le=60,
        description="The environment block must be in within this time.",
        json_schema_extra=SECONDS,
    )
    reply_deadline: float = Field(
        default=0.5,
        gt=0,
        le=60,
        description="The PBX must reply to a command within this time.",
        json_schema_extra=SECONDS,
    )
    drain: float = Field(
        default=5.0,
        ge=0,
        le=300,
        description="On SIGTERM, calls in hand may take this long to finish.",
        json_schema_extra=SECONDS,
    )
    peers: tuple[Network, ...] = Field(
        default=(ip_network("127.0.0.0/8"), ip_network("::1/128")),
        description="Networks (CIDR) that may ask.",
        examples=[["127.0.0.0/8", "::1/128", "192.168.7.9"]],
    )
    connections: int = Field(
        default=1000, ge=1, description="Open connections at most; more are closed at once."
    )
    connections_per_peer: int = Field(
        default=500, ge=1, description="Open connections at most from one address."
    )
    backlog: int = Field(
        default=4096, ge=1, description="Connections the kernel may queue (net.core.somaxconn bounds it)."
    )
    line_bytes: int = Field(
        default=4096,
        ge=256,
        description="Longest line of an environment block.",
        json_schema_extra={"unit": "bytes"},
    )
    block_lines: int = Field(
        default=200, ge=30, description="Longest environment block.", json_schema_extra={"unit": "lines"}
    )
    prefix: str = Field(
        default="OSTIARY_", pattern=r"^[A-Z_][A-Z0-9_]*$", description="What channel variables begin with."
    )


class Http(Section):
    """The console, the API, phone books, health and metrics."""

    enabled: bool = Field(default=True, description="Serve HTTP at all.")
    listen: Address = Field(default="127.0.0.1:8080", description="Address of the HTTP side.")
    certificate_file: OptionalPath = Field(
        default=None, description="PEM file of the certificate and its chain: HTTPS instead of plain HTTP."
    )
    private_key_file: OptionalPath = Field(default=None, description="PEM file of the certificate's key.")
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        description="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
        examples=[["127.0.0.1", "192.168.7.9"]],
    )
    plain_log_in: bool = Field(
        default=False,
        description="Take passwords and tokens over plain HTTP from other machines, too: anyone between can read them.",
    )
    public_url: Annotated[str, AfterValidator(_public)] = Field(
        default="",
        description="Where people reach the console, for links in Salesforce and in events; empty: from http.listen.",
        examples=["https://ostiary.example"],
    )
    session_hours: int = Field(
        default=12,
        ge=1,
        le=720,
        description="A log-in to the console ends when it was not used for so long.",
        json_schema_extra={"unit": "h"},
    )
    language: Literal["auto", "en", "es", "pt", "de"] = Field(
        default="auto", description="Language of the console; auto: as the browser asks."
    )


class Phonebook(Section):
    """Directories for IP phones (docs/phonebooks.md)."""

    peers: tuple[Network, ...] = Field(
        default=(),
        description="Networks (CIDR) whose phones need no token.",
        examples=[["192.168.20.0/24"]],
    )
    agents: bool = Field(default=True, description="Show agents and their extensions, too.")
    whole: int = Field(
        default=1000,
        ge=1,
        le=20000,
        description="Entries at most in a directory that a phone fetches as a whole.",
        json_schema_extra={"unit": "entries"},
    )


class Audit(Section):
    """Who changed what."""

    retention_days: int = Field(
        default=1095,
        ge=0,
        description="Forget changes after so many days; 0: never.",
        json_schema_extra={"unit": "d"},
    )


class Logs(Section):
    """What is written to the log (standard error)."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is written."
    )
    format: Literal["auto", "json", "text"] = Field(
        default="auto", description="auto: text on a terminal, JSON otherwise."
    )
    personal_data: bool = Field(
        default=False, description="Write callers' numbers and names in clear; otherwise they are masked."
    )


class Mqtt(Section):
    """Events by MQTT (docs/events.md)."""

    url: Annotated[SecretStr, AfterValidator(_mqtt)] = Field(
        default=SecretStr(""),
        description="Where the broker is, and as whom to sign in; empty: MQTT is not used.",
        examples=["mqtts://user:password@broker.example:8883"],
    )
    url_file: OptionalPath = Field(default=None, description="File that holds the URL.")
    ca_file: OptionalPath = Field(
        default=None, description="Certificate authorities to trust instead of the system's (mqtts)."
    )
    prefix: str = Field(
        default="ostiary", pattern=r"^[^#+/$\x00]+(/[^#+/\x00]+)*$", description="First level of every topic."
    )
    queue: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Events kept while the broker is away; the oldest are dropped, and counted.",
        json_schema_extra={"unit": "events"},
    )
    commands: bool = Field(
        default=False,
        description="Take commands: who may publish below <prefix>/command changes the blacklist.",
    )
