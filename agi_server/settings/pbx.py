"""Sections on the PBX: its manager interface, its call records, calls by a click."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from agi_server.settings.values import SECONDS, OptionalPath, OptionalZone, Section


def _beginning(value: str) -> str:
    text = re.sub(r"[\s()./-]", "", value)
    text = "+" + text[2:] if text.startswith("00") else text
    if not re.fullmatch(r"\+([1-9][0-9]{0,14})?", text, re.ASCII):
        raise ValueError("should be the beginning of a number with its country: +49, or + for all")
    return text


class ManagerInterface(Section):
    """Where one Asterisk's manager interface is, and who we are there."""

    host: str = Field(default="", description="Asterisk's address; empty: AMI is not used.")
    port: int = Field(default=5038, ge=1, le=65535, description="AMI port.")
    username: str = Field(default="", description="AMI user.")
    secret: SecretStr = Field(default=SecretStr(""), description="AMI secret.")
    secret_file: OptionalPath = Field(default=None, description="File that holds the AMI secret.")
    tls: bool = Field(
        default=False, description="Speak TLS (manager.conf: tlsenable, by default on port 5039)."
    )
    ca_file: OptionalPath = Field(
        default=None, description="Certificate authorities to trust instead of the system's (TLS)."
    )
    name: str = Field(
        default="pbx",
        pattern=r"^[A-Za-z0-9_.-]{1,32}$",
        description="What this PBX is called in records, events and metrics.",
    )


class Pbx(ManagerInterface):
    """One PBX of several: it must say where it is and what it is called."""

    host: str = Field(min_length=1)
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$")


class Ami(ManagerInterface):
    """Asterisk Manager Interface: follow calls, know who is busy, dial (docs/ami.md)."""

    others: tuple[Pbx, ...] = Field(
        default=(),
        description="Further PBXs: name, host, port, username, secret or secret_file, tls, ca_file.",
        examples=[
            [{"name": "berlin", "host": "10.0.0.2", "username": "ostiary", "secret_file": "/etc/ostiary/ami"}]
        ],
    )
    trunks: tuple[str, ...] = Field(
        default=(),
        description=(
            "Names of endpoints that are trunks (* and ? allowed); empty: every endpoint that is no extension of ours."
        ),
        examples=[["trunk-*", "voip-provider"]],
    )
    technology: str = Field(
        default="PJSIP",
        pattern=r"^[A-Za-z0-9]+$",
        description="What stands before an extension in the name of its phone: PJSIP/101.",
    )


class Cdr(Section):
    """Asterisk's own call records: they fill what AMI did not see (docs/ami.md)."""

    csv_file: OptionalPath = Field(
        default=None,
        description="Master.csv of cdr_csv (loguniqueid and newcdrcolumns on); empty: not read.",
        examples=["/var/log/asterisk/cdr-csv/Master.csv"],
    )
    url: SecretStr = Field(
        default=SecretStr(""),
        description="SQLAlchemy URL of the database that has them; empty: not read.",
        examples=["mysql+pymysql://reader:password@127.0.0.1/asteriskcdrdb"],
    )
    url_file: OptionalPath = Field(default=None, description="File that holds the URL.")
    table: str = Field(default="cdr", pattern=r"^[A-Za-z0-9_.]+$", description="Table of the database.")
    timezone: OptionalZone = Field(
        default="", description="Time zone of their times; empty: as this machine's."
    )
    interval: int = Field(
        default=30,
        ge=1,
        le=86400,
        description="Time between two looks.",
        json_schema_extra=SECONDS,
    )
    settle: int = Field(
        default=10,
        ge=0,
        le=3600,
        description="A call that AMI or the dialplan may still tell of is left to them for so long after its end.",
        json_schema_extra=SECONDS,
    )
    pbx: str = Field(default="", description="Name of the PBX they belong to; empty: ami.name.")


Beginning = Annotated[str, AfterValidator(_beginning)]


class Dialling(Section):
    """Calls by a click (docs/click-to-call.md)."""

    enabled: bool = Field(default=True, description="Dial for people who click; AMI is needed.")
    allow: tuple[Beginning, ...] = Field(
        default=(),
        description=(
            "Beginnings of numbers that may be dialled, + for all; empty: numbers of the country of numbers.region. "
            "Own extensions may always be."
        ),
        examples=[["+49", "+351", "+44"]],
    )
    deny: tuple[Beginning, ...] = Field(
        default=(),
        description="Beginnings of numbers that may not be, whatever allow says.",
        examples=[["+49900"]],
    )
    premium: bool = Field(
        default=False, description="Dial premium-rate and shared-cost numbers, too, where allow covers them."
    )
    format: Literal["e164", "international", "national"] = Field(
        default="e164",
        description="How the PBX wants numbers: +4930…, 004930…, or 030… for those of numbers.region.",
    )
    prefix: str = Field(
        default="", pattern=r"^[0-9*#+]*$", description="What the PBX wants before an outside number, e.g. 0."
    )
    context: str = Field(
        default="ostiary-dial",
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Context of the dialplan that dials (dialplan/asterisk/ostiary.conf has it).",
    )
    ring_seconds: int = Field(
        default=30,
        ge=5,
        le=120,
        description="How long the agent's own phone rings.",
        json_schema_extra=SECONDS,
    )
    per_minute: int = Field(default=10, ge=1, le=600, description="Calls of one agent in a minute at most.")
    same_seconds: int = Field(
        default=30,
        ge=0,
        le=600,
        description="A second click on the same number within this time is the same call.",
        json_schema_extra=SECONDS,
    )
