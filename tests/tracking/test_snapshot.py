"""A process that restarts in the middle of a call goes on as if it had not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from agi_server.calls.record import Disposition
from agi_server.tracking.tracker import Told, Tracker
from tests.tracking.reading import BEGUN, Timed, ended, names, play, records, stream, timed
from tests.tracking.traffic import answered, caller, ours
from tests.tracking.traffic import stream as traffic


def kept(tracker: Tracker, told: Iterable[Told]) -> list[dict[str, Any]]:
    """Return what whoever listens to what is told would have on disk."""
    live: dict[str, None] = {}
    for each in told:
        live[each.record.linkedid] = None
        if each.was:
            live.pop(each.was, None)
    snapshots = [tracker.snapshot(linkedid) for linkedid in live]
    return [json.loads(json.dumps(snapshot)) for snapshot in snapshots if snapshot is not None]


def restarted(events: list[Timed], at: int) -> list[Told]:
    first = Tracker("pbx", ours)
    before = play(first, events[:at])
    second = Tracker("pbx", ours)
    second.restore(kept(first, before))
    assert len(second) == len(first)
    told = before + play(second, events[at:])
    assert len(second) == 0
    return told


@pytest.mark.parametrize("name", names())
def test_restarted_anywhere_the_record_is_the_same(name: str) -> None:
    events = stream(name)
    whole = records(events)
    for at in range(1, len(events)):
        told = restarted(events, at)
        assert ended(told) == whole
        assert [each.what for each in told].count("began") == sum(
            each.what == "began" for each in play(Tracker("pbx", ours), events)
        )


def test_of_who_was_taken_up_while_nobody_listened_others_know_better() -> None:
    events = stream("answered")
    rings = next(at for at, (_, event) in enumerate(events) if event.get("ChannelState") == "5")
    taken = next(
        at for at, (_, event) in enumerate(events) if at > rings and event.get("ChannelState") == "6"
    )
    ends = [
        at
        for at, (_, event) in enumerate(events)
        if event["Event"] in ("BridgeLeave", "HangupRequest", "Hangup")
    ]
    for at in range(rings + 1, taken):
        for again in range(taken, ends[-2]):
            first, second = Tracker("pbx", ours), Tracker("pbx", ours)
            second.restore(kept(first, play(first, events[:at])))
            (record,) = ended(play(second, events[again:]))
            assert record.disposition == Disposition.ANSWERED or record.told_by == "glimpse", (at, again)


def test_many_calls_at_once() -> None:
    events = timed(traffic(40, 15))
    events = [(BEGUN + index, event) for index, (_, event) in enumerate(events)]
    whole = records(events)
    assert len(whole) == 40
    for at in range(1, len(events), 37):
        assert ended(restarted(events, at)) == whole


def test_what_cannot_be_read_is_left_out() -> None:
    tracker = Tracker("pbx", ours)
    line = caller()
    tracker.event(line.new(), BEGUN)
    snapshot = tracker.snapshot(line.linkedid)
    assert snapshot is not None
    other = Tracker("pbx", ours)
    other.restore([{}, {**snapshot, "format": 0}, {**snapshot, "channels": [{}]}, {**snapshot, "way": "up"}])
    other.restore([{**snapshot, "parts": [[1]]}, {**snapshot, "uniqueids": None}])
    assert len(other) == 0
    assert other.oddities == {"unreadable snapshot": 6}
    other.restore([snapshot])
    other.restore([snapshot])
    assert len(other) == 1
    assert other.oddities == {"unreadable snapshot": 6, "snapshot of a call that is there": 1}


def test_there_is_no_snapshot_of_what_is_over() -> None:
    tracker = Tracker("pbx", ours)
    told = play(tracker, timed(answered(1)))
    assert told[-1].what == "ended"
    assert tracker.snapshot(told[-1].record.linkedid) is None
    assert tracker.snapshot("nothing") is None
