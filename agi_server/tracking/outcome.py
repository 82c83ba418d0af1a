"""How a conversation and each phone's part in it came out: the record.

Everything is decided from what is known when it is asked, nothing is kept: of a phone that stopped ringing it is only
known later whether another was quicker or the caller gave up.
"""

from __future__ import annotations

from typing import Final

from agi_server.calls.record import Disposition, Leg, LegOutcome, Record
from agi_server.tracking.conversation import Conversation
from agi_server.tracking.parts import OUTCOMES, Part

# Q.850 causes of Asterisk's Hangup
_BUSY: Final = 17
_ELSEWHERE: Final = 26
_CALLERS: Final = ("caller", "click")  # how they came in who are no answer to the call
_NOTHING_SAID: Final = frozenset({0, 16, 18, 19, 31, 127})
_TOGETHER: Final = 2.0  # seconds in which the phones that ring along fall silent after one has answered

_BY_OUTCOME: Final = (  # the first that any phone came to is how a call that nobody answered went
    (LegOutcome.ELSEWHERE, Disposition.NO_ANSWER),
    (LegOutcome.NO_ANSWER, Disposition.NO_ANSWER),
    (LegOutcome.ANSWERED, Disposition.NO_ANSWER),
    (LegOutcome.CANCELLED, Disposition.NO_ANSWER),  # by the PBX: who called did not hang up
    (LegOutcome.BUSY, Disposition.BUSY),
    (LegOutcome.FAILED, Disposition.FAILED),
)
_OF_CALLER: Final = {
    Disposition.ANSWERED: LegOutcome.ANSWERED,
    Disposition.BUSY: LegOutcome.BUSY,
    Disposition.CANCELLED: LegOutcome.CANCELLED,
    Disposition.FAILED: LegOutcome.FAILED,
    Disposition.NO_ANSWER: LegOutcome.NO_ANSWER,
}


def record_of(talk: Conversation, pbx: str) -> Record:
    """Return what there is to say of a conversation now."""
    taken = _taken(talk)
    disposition = _disposition(talk, taken)
    return Record(
        pbx=pbx,
        linkedid=talk.linkedid,
        uniqueids=talk.uniqueids,
        way=talk.way,
        number=talk.number,
        name=talk.name,
        did=talk.did,
        trunk=talk.trunk,
        agent=talk.agent,
        started_at=talk.started_at,
        answered_at=talk.answered_at,
        ended_at=talk.ended_at,
        disposition=disposition,
        seconds=round(talk.seconds),
        answered_by=talk.answered_by,
        queue=talk.queue,
        recording=talk.recording,
        legs=tuple(_leg(talk, part, taken, disposition) for part in talk.parts),
        transfers=talk.transfers,
        told_by="glimpse" if talk.unseen and talk.answered_at is None else "ami",
    )


def leg_of(talk: Conversation, part: Part) -> Leg:
    """Return one phone's part."""
    taken = _taken(talk)
    return _leg(talk, part, taken, _disposition(talk, taken))


def _taken(talk: Conversation) -> list[Part]:
    """Return the parts of those who answered."""
    return [part for part in talk.parts if part.answered_at is not None and part.via not in _CALLERS]


def _leg(talk: Conversation, part: Part, taken: list[Part], disposition: Disposition) -> Leg:
    if part.answered_at is None and part.via in _CALLERS and not _never_up(part):
        outcome = _OF_CALLER[disposition]
    else:
        outcome = _outcome(talk, part, taken)
    return Leg(
        extension=part.extension,
        number=part.number,
        via=part.via,
        queue=part.queue,
        began_at=part.began_at,
        answered_at=part.answered_at,
        ended_at=part.ended_at,
        held=round(part.held, 3),
        outcome=outcome,
    )


def _never_up(part: Part) -> bool:
    """Return whether this is a phone rung by a click that was never taken up."""
    return part.via == "click" and part.ended_at is not None and part.status != "ANSWER"


def _outcome(talk: Conversation, part: Part, taken: list[Part]) -> LegOutcome:
    if part.answered_at is not None:
        return LegOutcome.ANSWERED
    if part.status in OUTCOMES:
        return OUTCOMES[part.status]
    if part.status == "NOANSWER":
        return LegOutcome.NO_ANSWER
    if part.cause == _ELSEWHERE or any(_was_quicker(other, part) for other in taken):
        return LegOutcome.ELSEWHERE
    if part.status in ("CANCEL", "ABORT"):
        return LegOutcome.CANCELLED
    if talk.left_at is not None and (part.ended_at is None or part.ended_at >= talk.left_at):
        return LegOutcome.CANCELLED
    if part.status or part.cause in _NOTHING_SAID:
        return LegOutcome.NO_ANSWER
    return LegOutcome.BUSY if part.cause == _BUSY else LegOutcome.FAILED


def _was_quicker(other: Part, part: Part) -> bool:
    """Return whether another phone took the call while this one rang."""
    if other.answered_at is None or part.ended_at is None:
        return False
    return part.began_at <= other.answered_at <= part.ended_at + _TOGETHER


def _disposition(talk: Conversation, taken: list[Part]) -> Disposition:
    if talk.answered_at is not None:
        return Disposition.ANSWERED
    called = [part for part in talk.parts if part.via not in _CALLERS]
    if not called and talk.originated:
        called = [part for part in talk.parts if _never_up(part)]
    came_to = {_outcome(talk, part, taken) for part in called}
    if talk.left_at is not None and (not came_to or talk.waiting or LegOutcome.CANCELLED in came_to):
        return Disposition.CANCELLED
    for outcome, disposition in _BY_OUTCOME:
        if outcome in came_to:
            return disposition
    if talk.cause in _NOTHING_SAID:
        return Disposition.NO_ANSWER
    return Disposition.BUSY if talk.cause == _BUSY else Disposition.FAILED
