"""What the domain knows of people, agents and rules, and the questions it asks to learn it.

`Directory` is answered by `storage.directory` from the local SQLite file and, in the domain's own tests, from
plain lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from agi_server.calls.numbers import Switchboard

if TYPE_CHECKING:
    from agi_server.calls.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person or company; `kind` is the Salesforce object: Contact, Account, Lead, Opportunity.

    `id` is the local id, which never changes and is never used again; `active_at` is seconds since 1970 of
    the last sign of life (0: unknown). `owner_*` describe the Salesforce User who owns the record.
    """

    id: int
    kind: str = "Contact"
    name: str = ""
    first_name: str = ""
    last_name: str = ""
    salesforce_id: str = ""
    account_id: int = 0  # 0: no company
    account: str = ""
    owner_id: int = 0  # 0: no owner
    owner_salesforce_id: str = ""
    owner_email: str = ""  # lower case
    owner: str = ""
    vip: bool = False
    active_at: int = 0


# When a caller is put on an agent's screen: while the phone rings, when it was answered, never.
POPS: Final = ("ringing", "answer", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A person with an extension. Working hours are text as in `calls.hours`; empty: always at work.

    `absent_until` is seconds since 1970 (0: not absent). `delegate` is the id of the agent who takes over
    (0: nobody). `ring_seconds` 0 and `fallback` empty mean: what the DID says. `pop` is when a caller is put on the
    agent's screen: one of POPS.
    """

    id: int
    name: str
    extension: str
    email: str = ""  # lower case
    salesforce_user_id: str = ""
    hours: str = ""
    timezone: str = ""
    absent_until: int = 0
    delegate: int = 0
    ring_seconds: int = 0
    fallback: str = ""
    pop: str = "ringing"


class RuleKind(StrEnum):
    """What a blacklist or allow-list entry compares, most specific first."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"
    COUNTRY = "country"
    ANONYMOUS = "anonymous"


class Treatment(StrEnum):
    """What happens to a blocked call."""

    HANGUP = "hangup"
    BUSY = "busy"
    CONGESTION = "congestion"
    VOICEMAIL = "voicemail"
    ANNOUNCE = "announce"
    REDIRECT = "redirect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A blacklist (`allow=False`) or allow-list entry.

    `pattern` by kind: exact `+4930123456` (or bare digits where no country is known); prefix `+49190` (digits
    after the plus); regex: RE2 syntax, searched in the E.164 text with plus (else the bare digits); country:
    ISO 3166 code `RU` or calling code `+7`; anonymous: empty. `did` empty: every DID. `expires_at` is seconds
    since 1970 (0: never). `target` is the mailbox, sound file or destination of the treatment.
    """

    id: int
    kind: RuleKind
    pattern: str = ""
    allow: bool = False
    did: str = ""
    treatment: Treatment = Treatment.HANGUP
    target: str = ""
    reason: str = ""
    expires_at: int = 0


class Directory(Protocol):
    """The questions `decide` asks. Each answers in microseconds from local data, or raises DirectoryError."""

    def policy(self) -> Policy:
        """Return what was compiled from settings and the small tables; the same object until one changes."""
        ...

    def contacts_by_number(self, e164: int) -> list[Contact]:
        """Return everyone with this number (E.164 digits as an integer)."""
        ...

    def contacts_by_switchboard(self, prefixes: Sequence[int]) -> list[tuple[Contact, Switchboard]]:
        """Return the owners of all of these main-number prefixes, in any order, each with the main number.

        Which of them covers the caller (length, longest prefix) is decided by `calls.identify`.
        """
        ...

    def contacts_by_tail(self, digits: str, length: int, *, with_country: bool) -> list[Contact]:
        """Return everyone with a number whose last `length` digits are those of `digits`.

        `with_country` says that the caller's own country is known, so that only stored numbers without one
        may match; otherwise all may.
        """
        ...

    def exact_rules(self, pattern: str) -> list[Rule]:
        """Return the exact rules for this number (text as in `Rule.pattern`), expired ones too."""
        ...

    def last_agent(self, e164: int, since: int) -> str:
        """Return the extension that last spoke with this caller after `since` (seconds), or ''."""
        ...

    def agent_state(self, extension: str, since: int) -> str:
        """Return what the phone does (free, ringing, busy, unreachable, paused), '' where no PBX told since then."""
        ...
