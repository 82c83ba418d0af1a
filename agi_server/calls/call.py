"""What goes into a decision and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from agi_server.calls.directory import Agent, Contact, Rule
from agi_server.calls.numbers import Number


class Direction(StrEnum):
    """Which way the call goes, seen from the company."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Verdict(StrEnum):
    """May the call come in? Only a rule that says block makes it `block`."""

    ALLOW = "allow"
    BLOCK = "block"


class Rung(StrEnum):
    """The rung of the matching ladder on which the caller was found."""

    EXACT = "exact"
    SWITCHBOARD = "switchboard"
    TAIL = "tail"
    EXTENSION = "extension"  # one of the PBX's own
    ANONYMOUS = "anonymous"  # a state of its own, never a number
    NONE = "none"  # a number nobody knows


class RouteType(StrEnum):
    """What kind of thing `Decision.route` names."""

    EXTENSION = "extension"
    QUEUE = "queue"
    EXTERNAL = "external"
    VOICEMAIL = "voicemail"
    NONE = "none"


class TraceStep(NamedTuple):
    """One step of how a decision came about.

    `stage` is one of number, match, lookup, screen, name, route, error; `outcome` is one token; `detail` explains
    in words and holds no personal data (it is logged); `personal` holds numbers and names (shown to people who
    may see them, logged only when a setting says so).
    """

    stage: str
    outcome: str
    detail: str = ""
    personal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as a PBX tells of it; every text is as it was sent, nothing is trusted.

    `presentation` is Asterisk's combined party presentation (`agi_callingpres`): bits 0x60 are 0x00 allowed,
    0x20 restricted, 0x40 not available.
    """

    id: str
    number: str
    direction: Direction = Direction.INBOUND
    name: str = ""
    did: str = ""
    trunk: str = ""
    presentation: int = 0
    extension: str = ""  # outbound: who dials
    uniqueid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer to one call, the same for every switch that asks.

    `reason` is one token `[a-z0-9_-]+`. `route` names what to dial (empty: the PBX's own plan) and
    `ring_seconds` for how long; `fallback` is what to dial after that (empty: the PBX's own plan).
    For a blocked call `treatment` is one of `Treatment` and `route` its target, if it needs one.
    """

    call: Call
    number: Number
    verdict: Verdict = Verdict.ALLOW
    reason: str = "unknown"
    rung: Rung = Rung.NONE
    contact: Contact | None = None  # None too when several match and none may be preferred
    ambiguous: bool = False
    company: str = ""  # where no more than the company is known
    display_name: str = ""
    rule: Rule | None = None
    treatment: str = ""
    route: str = ""
    route_type: RouteType = RouteType.NONE
    ring_seconds: int = 0
    fallback: str = ""
    agent: Agent | None = None
    create_contact: bool = False  # an unknown caller of whom the DID wants a contact made
    trace: tuple[TraceStep, ...] = ()
