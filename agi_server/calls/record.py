"""One conversation as it happened: who called whom, which phones rang, who spoke, where it went.

A record is made by whoever saw the call (AMI, the PBX's own call records, the dialplan's word at its end) and says who
told it: what is told by one who sees more is never overwritten by one who sees less (`TELLERS`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

# Who tells of a call, by how much they see; '' is the decision alone, 'glimpse' is AMI when it was cut off while the
# call rang and found it gone: whether anybody answered, others know better.
TELLERS: Final = ("", "glimpse", "ended", "cdr", "ami")


class Way(StrEnum):
    """Which way a call went, seen from the company."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    INTERNAL = "internal"


class Disposition(StrEnum):
    """How a call ended. Asterisk's CDR has no CANCELLED: there it is NO ANSWER."""

    ANSWERED = "answered"  # two people spoke; a menu, a queue's music or a voicemail is nobody
    NO_ANSWER = "no answer"
    BUSY = "busy"
    CANCELLED = "cancelled"  # the caller hung up before anybody answered
    FAILED = "failed"  # no line, no such number, a phone that is not there


class LegOutcome(StrEnum):
    """How one phone's part in a call ended."""

    ANSWERED = "answered"
    NO_ANSWER = "no answer"
    BUSY = "busy"
    ELSEWHERE = "elsewhere"  # another phone was quicker
    CANCELLED = "cancelled"  # the caller hung up while it rang
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One phone's part in a call. Times are seconds since 1970; `held` is seconds on hold.

    `extension` is that of one of our phones, '' for a party outside, of whom `number` is known. `via` is how it came
    in: caller, dial, queue, pickup, transfer, conference, park, click. `queue` is the queue that rang it.
    """

    extension: str = ""
    number: str = ""
    via: str = "dial"
    queue: str = ""
    began_at: float
    answered_at: float | None = None
    ended_at: float | None = None
    held: float = 0.0
    outcome: LegOutcome = LegOutcome.NO_ANSWER


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A call that was handed on: `by` and `to` are extensions, or a number outside."""

    kind: str  # blind | attended
    at: float
    by: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A conversation. `linkedid` is Asterisk's thread through all channels, `uniqueids` are those channels.

    `number` and `name` are the party outside, as the PBX has them (of an internal call: who is called); `did` is what
    an inbound caller dialled; `agent` is who began an outbound or internal call; `answered_by` is the extension that
    spoke first ('': nobody of ours), `seconds` were spoken. `at`-fields are seconds since 1970; `ended_at` None: it
    goes on. `told_by` is one of TELLERS.
    """

    pbx: str = ""
    linkedid: str
    uniqueids: tuple[str, ...] = ()
    way: Way = Way.INBOUND
    number: str = ""
    name: str = ""
    did: str = ""
    trunk: str = ""
    agent: str = ""
    started_at: float
    answered_at: float | None = None
    ended_at: float | None = None
    disposition: Disposition = Disposition.NO_ANSWER
    seconds: int = 0
    answered_by: str = ""
    queue: str = ""
    recording: str = ""  # file name, as the PBX has it
    legs: tuple[Leg, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    told_by: str = "ami"


# Of these words of PBXs and of ours, what they come to: Dial's DIALSTATUS, CDR's disposition, Zadarma's.
_MEANING: Final = {
    "answer": Disposition.ANSWERED,
    "answered": Disposition.ANSWERED,
    "busy": Disposition.BUSY,
    "cancel": Disposition.CANCELLED,
    "cancelled": Disposition.CANCELLED,
    "noanswer": Disposition.NO_ANSWER,
    "no answer": Disposition.NO_ANSWER,
}


def disposition_of(word: str) -> Disposition:
    """Return what a PBX's word for the end of a call comes to; a word nobody knows is a failure, none no answer."""
    text = word.strip().lower()
    return _MEANING.get(text, Disposition.FAILED if text else Disposition.NO_ANSWER)
