"""What Asterisk 22 and 16 said of whole calls, and what their records must say. streams/README.md has what happened."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agi_server.calls.record import Disposition, LegOutcome, Way
from agi_server.tracking.tracker import Tracker
from tests.tracking.reading import messages, names, names_16, play, raw, records, stream, timed
from tests.tracking.traffic import ours

ANSWERED, NO_ANSWER, BUSY = Disposition.ANSWERED, Disposition.NO_ANSWER, Disposition.BUSY
CANCELLED, FAILED = Disposition.CANCELLED, Disposition.FAILED
OWNED = "4930200001"


@dataclass(frozen=True)
class Say:
    """What a record must say; `legs` are extension or number, how it came in, how it ended."""

    disposition: Disposition
    by: str = ""
    seconds: float = 0
    legs: tuple[tuple[str, str, str], ...] = ()
    transfers: tuple[tuple[str, str, str], ...] = ()
    way: Way = Way.INBOUND
    queue: str = ""
    number: str = OWNED
    agent: str = ""
    held: float = 0
    recorded: bool = False


ONE = (("101", "dial", "answered"),)
TABLE = {
    "answered": Say(ANSWERED, "101", 2, ONE),
    "missed": Say(NO_ANSWER, legs=(("101", "dial", "no answer"),)),
    "busy": Say(BUSY, legs=(("101", "dial", "busy"),)),
    "cancelled": Say(CANCELLED, legs=(("101", "dial", "cancelled"),)),
    "failed": Say(FAILED),
    "group": Say(ANSWERED, "102", 2, (("101", "dial", "elsewhere"), ("102", "dial", "answered"))),
    "local-group": Say(ANSWERED, "102", 2, (("101", "dial", "elsewhere"), ("102", "dial", "answered"))),
    "queue": Say(
        ANSWERED,
        "102",
        2,
        (("101", "queue", "elsewhere"), ("102", "queue", "answered")),
        queue="sales-10",
    ),
    "queue-abandoned": Say(
        CANCELLED, legs=(("101", "queue", "cancelled"), ("102", "queue", "cancelled")), queue="sales-10"
    ),
    "menu-nobody": Say(NO_ANSWER, legs=(("101", "dial", "no answer"),)),
    "menu-answered": Say(ANSWERED, "101", 2, ONE),
    "blind-transfer": Say(
        ANSWERED, "101", 3, (*ONE, ("102", "transfer", "answered")), (("blind", "101", "102"),)
    ),
    "blind-transfer-nobody": Say(
        ANSWERED, "101", 1, (*ONE, ("102", "transfer", "no answer")), (("blind", "101", "102"),)
    ),
    "attended-transfer": Say(
        ANSWERED, "101", 5, (*ONE, ("102", "transfer", "answered")), (("attended", "101", "102"),), held=2
    ),
    "attended-transfer-sip": Say(
        ANSWERED, "101", 5, (*ONE, ("102", "transfer", "answered")), (("attended", "101", "102"),), held=2
    ),
    "attended-transfer-cancelled": Say(ANSWERED, "101", 4, (*ONE, ("102", "dial", "cancelled")), held=1.5),
    "pickup": Say(ANSWERED, "102", 2, (("101", "dial", "elsewhere"), ("102", "pickup", "answered"))),
    "hold": Say(ANSWERED, "101", 4, ONE, held=2),
    "park": Say(ANSWERED, "101", 3, (*ONE, ("103", "park", "answered"))),
    "conference": Say(ANSWERED, "101", 4, (*ONE, ("102", "conference", "answered"))),
    "outbound": Say(
        ANSWERED,
        "101",
        2,
        (("101", "caller", "answered"), (OWNED, "dial", "answered")),
        way=Way.OUTBOUND,
        agent="101",
    ),
    "outbound-busy": Say(
        BUSY, legs=(("101", "caller", "busy"), (OWNED, "dial", "busy")), way=Way.OUTBOUND, agent="101"
    ),
    "outbound-unanswered": Say(
        NO_ANSWER,
        legs=(("101", "caller", "no answer"), (OWNED, "dial", "no answer")),
        way=Way.OUTBOUND,
        agent="101",
    ),
    "outbound-cancelled": Say(
        CANCELLED,
        legs=(("101", "caller", "cancelled"), (OWNED, "dial", "cancelled")),
        way=Way.OUTBOUND,
        agent="101",
    ),
    "internal": Say(
        ANSWERED,
        "102",
        2,
        (("101", "caller", "answered"), ("102", "dial", "answered")),
        way=Way.INTERNAL,
        number="102",
        agent="101",
    ),
    "click": Say(
        ANSWERED,
        "101",
        2,
        (("101", "click", "answered"), (OWNED, "dial", "answered")),
        way=Way.OUTBOUND,
        agent="101",
    ),
    "click-ignored": Say(NO_ANSWER, legs=(("101", "click", "no answer"),), way=Way.OUTBOUND, agent="101"),
    "voicemail": Say(NO_ANSWER, legs=(("101", "dial", "no answer"),)),
    "recorded": Say(ANSWERED, "101", 2, ONE, recorded=True),
    "forwarded": Say(ANSWERED, "", 2, (("491701234510", "dial", "answered"),)),
    "forged": Say(ANSWERED, "101", 3, ONE),
}


@pytest.mark.parametrize("name", [*names(), *names_16()])
def test_a_recorded_call(name: str) -> None:
    say = TABLE[name.removeprefix("asterisk-16/")]
    (record,) = records(stream(name))
    assert (record.way, record.disposition, record.answered_by) == (say.way, say.disposition, say.by)
    assert (record.number, record.agent, record.queue) == (say.number, say.agent, say.queue)
    assert [(leg.extension or leg.number, leg.via, leg.outcome.value) for leg in record.legs] == list(
        say.legs
    )
    assert [(each.kind, each.by, each.to) for each in record.transfers] == list(say.transfers)
    assert record.seconds == pytest.approx(say.seconds, abs=1)
    assert sum(leg.held for leg in record.legs) == pytest.approx(say.held, abs=0.7)
    assert bool(record.recording) is say.recorded
    assert record.linkedid == record.uniqueids[0]
    assert record.ended_at is not None
    assert record.started_at <= (record.answered_at or record.started_at) <= record.ended_at
    for leg in record.legs:
        assert leg.ended_at is not None
        assert record.started_at <= leg.began_at <= leg.ended_at <= record.ended_at
        assert (leg.answered_at is not None) == (
            record.answered_at is not None and leg.outcome is LegOutcome.ANSWERED
        )


def test_every_stream_is_in_the_table() -> None:
    assert sorted(TABLE) == names()


@pytest.mark.parametrize("name", names())
def test_nothing_is_left_of_a_call(name: str) -> None:
    tracker = Tracker("pbx", ours)
    told = play(tracker, stream(name))
    assert len(tracker) == 0
    assert not tracker._house.channels
    assert not tracker._house.bridges
    for each in told:
        assert tracker.snapshot(each.record.linkedid) is None


@pytest.mark.parametrize("name", [name for name in (*names(), *names_16()) if "forged" not in name])
def test_nothing_is_odd_about_a_call(name: str) -> None:
    tracker = Tracker("pbx", ours)
    play(tracker, stream(name))
    assert not tracker.oddities


@pytest.mark.parametrize("name", names())
def test_what_is_told_goes_forward(name: str) -> None:
    told = play(Tracker("pbx", ours), stream(name))
    first = told[0].record.linkedid
    ours_told = [each.what for each in told if each.record.linkedid == first]
    assert ours_told[0] == "began"
    assert ours_told[-1] == "ended"
    assert ours_told.count("began") == ours_told.count("ended") == 1
    seconds = [each.record.seconds for each in told if each.record.linkedid == first]
    assert seconds == sorted(seconds)
    for each in told:
        assert (each.leg is not None) == (each.what in ("rang", "answered"))


def test_a_call_by_its_did_trunk_and_name() -> None:
    (record,) = records(stream("answered"))
    assert record.did.startswith("493077810")
    assert (record.trunk, record.name, record.pbx, record.told_by) == (
        "PJSIP/trunk",
        "Otto Owned",
        "pbx",
        "ami",
    )


def test_a_phone_rings_once_before_it_is_answered() -> None:
    told = play(Tracker("pbx", ours), stream("group"))
    heard = [(each.what, each.leg.extension) for each in told if each.leg is not None]
    assert sorted(heard) == [("answered", "102"), ("rang", "101"), ("rang", "102")]


def test_the_conversation_that_is_no_more_is_named() -> None:
    told = play(Tracker("pbx", ours), stream("attended-transfer-sip"))
    (merged,) = [each for each in told if each.what == "merged"]
    assert merged.was in merged.record.uniqueids
    assert merged.was != merged.record.linkedid


@pytest.mark.parametrize("name", ["attended-transfer", "asterisk-16/attended-transfer"])
def test_who_was_asked_is_with_the_caller_already(name: str) -> None:
    """On a busy machine Asterisk moves bridges before it describes the transfer, and leaves the target out."""
    events = [
        (at, {key: value for key, value in event.items() if not key.startswith("TransferTarget")})
        for at, event in stream(name)
    ]
    assert events != stream(name)
    assert records(events) == records(stream(name))


def test_forged_events_are_counted() -> None:
    tracker = Tracker("pbx", ours)
    play(tracker, stream("forged"))
    assert sum(tracker.oddities.values()) > 0


@pytest.mark.parametrize("twice", ["first", "last", "list", "without"])
def test_whichever_of_two_headers_counts_the_forged_end_is_not_believed(twice: str) -> None:
    (record,) = [each for each in records(timed(messages(raw("forged"), twice))) if each.answered_by]
    assert record.disposition is ANSWERED
    assert record.seconds == pytest.approx(3, abs=1)
