"""After events were missed, the list of all channels says what there is: nothing is invented, nothing is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agi_server.calls.record import Disposition, LegOutcome, Record, Way
from agi_server.tracking.tracker import Tracker
from tests.tracking.reading import BEGUN, Timed, ended, names, play, records, stream
from tests.tracking.traffic import Bridge, Event, Line, caller, calling, dialled, joined, ours

_SNAPSHOT = tuple(Line("101").snapshot())
_PREFIXES = (
    "",
    "Dest",
    "LocalOne",
    "LocalTwo",
    "OrigTransferer",
    "SecondTransferer",
    "Parkee",
    "Retriever",
    "Target",
)


def listed(events: list[Timed]) -> list[Event]:
    """Return the list of channels that Asterisk would give after these events."""
    channels: dict[str, Event] = {}
    for _, event in events:
        for prefix in _PREFIXES:
            uniqueid = event.get(f"{prefix}Uniqueid", "")
            if (event["Event"] == "Newchannel" or uniqueid in channels) and f"{prefix}Linkedid" in event:
                before = channels.get(uniqueid, {"BridgeId": "", "Application": "", "ApplicationData": ""})
                now = {header: event[prefix + header] for header in _SNAPSHOT}
                channels[uniqueid] = {**before, **now, "Event": "CoreShowChannel", "Duration": "00:00:00"}
        uniqueid, dest = event.get("Uniqueid", ""), event.get("DestUniqueid", "")
        if event["Event"] == "Hangup":
            channels.pop(uniqueid, None)
        elif event["Event"] == "DialBegin" and dest in channels:
            channels[dest]["Application"] = "AppDial"
        elif event["Event"] == "QueueCallerJoin" and uniqueid in channels:
            channels[uniqueid] |= {"Application": "Queue", "ApplicationData": event["Queue"]}
        elif event["Event"] == "BridgeEnter" and uniqueid in channels:
            channels[uniqueid]["BridgeId"] = event["BridgeUniqueid"]
            if event["BridgeTechnology"] == "holding_bridge":
                channels[uniqueid]["Application"] = "Park"
        elif event["Event"] == "BridgeLeave" and uniqueid in channels:
            channels[uniqueid]["BridgeId"] = ""
    return list(channels.values())


REAL = [name for name in names() if name != "forged"]
ERIKA = "49302000000"
AHEAD = 40  # events, by which a list is ahead of them


@pytest.mark.parametrize("name", REAL)
def test_a_list_at_any_time_changes_nothing_that_is_known(name: str) -> None:
    events = stream(name)
    whole = records(events)
    for cut in range(1, len(events)):
        tracker = Tracker("pbx", ours)
        before = play(tracker, events[:cut])
        there = listed(events[:cut])
        assert tracker.resync(there, events[cut - 1][0]) == []
        assert ended(before + play(tracker, events[cut:])) == whole


@pytest.mark.parametrize("name", REAL)
def test_a_list_that_is_ahead_of_the_events_changes_nothing(name: str) -> None:
    events = stream(name)
    whole = records(events)
    for heard in range(1, len(events)):
        for known in range(heard, min(len(events), heard + AHEAD), 3):
            tracker = Tracker("pbx", ours)
            before = play(tracker, events[:heard])
            assert tracker.resync(listed(events[:known]), events[heard - 1][0]) == []
            assert ended(before + play(tracker, events[heard:])) == whole


@pytest.mark.parametrize("name", REAL)
def test_events_that_wait_at_the_log_in_tell_of_what_began_since(name: str) -> None:
    events = stream(name)
    whole = records(events)
    for known in range(1, len(events)):
        tracker = Tracker("pbx", ours)
        coming = [event for _, event in events[:known]]
        told = tracker.resync(listed(events[:known]), events[known][0], BEGUN, coming)
        assert ended(told + play(tracker, events)) == whole


@pytest.mark.parametrize("name", REAL)
def test_a_list_that_is_ahead_at_the_log_in_says_the_same_as_the_events(name: str) -> None:
    """Who called, which way, whom, and how it went; not from when to when, which the list cannot say."""
    events = stream(name)
    whole = [gist(record) for record in records(events)]
    handed_on = next((at for at, event in events if event["Event"] == "BlindTransfer"), None)
    for known in range(1, min(len(events), AHEAD)):
        if events[known][0] == handed_on:
            return  # who came in before that, or by that, no list says
        tracker = Tracker("pbx", ours)
        told = tracker.resync(listed(events[:known]), events[known][0], BEGUN)
        last = {record.linkedid: gist(record) for record in ended(told + play(tracker, events))}
        assert list(last.values()) == whole


def gist(record: Record) -> tuple[object, ...]:
    """Return what of a record does not depend on when something was seen."""
    legs = sorted((leg.extension, leg.number, leg.via, leg.queue, leg.outcome) for leg in record.legs)
    said = replace(record, started_at=0, answered_at=None, ended_at=None, seconds=0, legs=(), transfers=())
    transfers = [(each.kind, each.by, each.to) for each in record.transfers]
    return replace(said, uniqueids=(), told_by=""), frozenset(record.uniqueids), legs, transfers


@pytest.mark.parametrize("name", REAL)
def test_after_a_gap_nothing_is_invented_and_nothing_lost(name: str) -> None:
    events = stream(name)
    whole = {record.linkedid: record for record in records(events)}
    threads = {event["Linkedid"] for _, event in events if "Linkedid" in event}
    for start in range(0, len(events), 3):
        for stop in range(start + 1, len(events), 5):
            tracker = Tracker("pbx", ours)
            told = play(tracker, events[:start])
            there = listed(events[:stop])
            at, before = events[stop - 1][0], events[max(start - 1, 0)][0]
            told += tracker.resync(there, at, before)
            assert tracker.resync(there, at + 1, at) == []
            told += play(tracker, events[stop:])
            assert len(tracker) == 0
            assert not tracker._house.bridges
            found = {record.linkedid: record for record in ended(told)}
            assert found.keys() <= threads
            alive = {one["Linkedid"] for one in there} | {
                event["Linkedid"] for _, event in events[:start] if "Linkedid" in event
            }
            for linkedid, record in whole.items():
                if linkedid in alive:
                    assert linkedid in found
                for other in found.values():
                    if other.disposition is Disposition.ANSWERED:
                        assert record.disposition is Disposition.ANSWERED
                    assert other.seconds <= record.seconds + 1


@pytest.mark.parametrize("name", REAL)
def test_a_process_that_comes_late_takes_the_call_up(name: str) -> None:
    events = stream(name)
    for cut in range(1, len(events)):
        there = listed(events[:cut])
        tracker = Tracker("pbx", ours)
        told = tracker.resync(there, events[cut - 1][0], BEGUN)
        live = {each.record.linkedid for each in told if each.what == "began"}
        assert len(live) == len(tracker)
        assert bool(tracker) is bool(there)
        told += play(tracker, events[cut:])
        assert len(tracker) == 0


def ringing() -> tuple[Tracker, Line, Line]:
    tracker = Tracker("pbx", ours)
    line = caller()
    phone = Line("101", of=line)
    for event in (line.new(), phone.new(), calling(line, phone), phone.rings()):
        tracker.event(event, BEGUN)
    return tracker, line, phone


def test_a_call_that_ended_meanwhile_ended_when_the_list_came() -> None:
    tracker, line, _ = ringing()
    assert tracker.resync([], BEGUN + 55) == []  # a list may be ahead of the events
    told = tracker.resync([], BEGUN + 60)
    assert [each.what for each in told] == ["ended"]
    (record,) = ended(told)
    assert (record.linkedid, record.ended_at) == (line.linkedid, BEGUN + 60)
    assert record.disposition is Disposition.NO_ANSWER
    assert [leg.outcome for leg in record.legs] == [LegOutcome.NO_ANSWER]
    assert tracker.resync([], BEGUN + 61) == []


def test_a_call_that_was_answered_meanwhile() -> None:
    tracker, line, phone = ringing()
    line.state = phone.state = 6
    bridge = Bridge()
    there = [
        line.listed("Dial", bridge=bridge.id),
        phone.listed("AppDial", "(Outgoing Line)", bridge=bridge.id),
    ]
    told = tracker.resync(there, BEGUN + 60, BEGUN)
    assert "answered" in [each.what for each in told]
    assert tracker.resync(there, BEGUN + 61) == []
    bridge.count = 2
    events = [bridge.leave(line), bridge.leave(phone), phone.hangup(), line.hangup()]
    (record,) = ended(play(tracker, [(BEGUN + 90, event) for event in events]))
    assert (record.answered_by, record.answered_at, record.seconds) == ("101", BEGUN + 60, 30)


def test_a_call_nobody_saw_begin() -> None:
    tracker = Tracker("pbx", ours)
    line, bridge = caller(did="4930777999"), Bridge()
    phone = Line("101", of=line)
    line.state = phone.state = 6
    there = [
        phone.listed("AppDial", "(Outgoing Line)", bridge=bridge.id, duration="00:01:30"),
        line.listed("Dial", bridge=bridge.id, duration="00:02:00"),
    ]
    told = tracker.resync(there, BEGUN, BEGUN)
    record = told[-1].record
    assert (record.linkedid, record.way, record.number) == (line.linkedid, Way.INBOUND, line.number)
    assert (record.did, record.started_at) == ("4930777999", BEGUN - 120)
    assert (record.answered_by, record.answered_at) == ("101", BEGUN)
    assert [(leg.extension, leg.began_at) for leg in record.legs] == [("101", BEGUN - 90)]
    assert [each.what for each in told].count("began") == 1
    assert tracker.resync(there, BEGUN + 5) == []


def test_a_call_out_nobody_saw_begin() -> None:
    tracker = Tracker("pbx", ours)
    agent = Line("101", exten="04930123456", state=4)
    trunk = Line("trunk", of=agent, number="4930123456", state=5)
    told = tracker.resync([trunk.listed("AppDial"), agent.listed("Dial")], BEGUN, BEGUN)
    record = told[-1].record
    assert (record.way, record.agent, record.number) == (Way.OUTBOUND, "101", "4930123456")
    assert [(leg.extension or leg.number, leg.via) for leg in record.legs] == [
        ("101", "caller"),
        ("4930123456", "dial"),
    ]


def test_who_waits_in_a_queue_nobody_saw_begin() -> None:
    tracker = Tracker("pbx", ours)
    line = caller()
    phone = Line("101", of=line, state=5)
    line.state = 6
    told = tracker.resync([line.listed("Queue", "sales,tT,,,8"), phone.listed("AppQueue")], BEGUN, BEGUN)
    (leg,) = told[-1].record.legs
    assert (told[-1].record.queue, leg.via, leg.queue) == ("sales", "queue", "sales")


def test_a_parked_caller_is_not_answered_by_another_parked_caller() -> None:
    tracker = Tracker("pbx", ours)
    one, two = caller(1), caller(2)
    one.state = two.state = 6
    there = [one.listed("Park", bridge="lot"), two.listed("Park", bridge="lot")]
    told = tracker.resync(there, BEGUN, BEGUN)
    assert len(tracker) == 2
    assert all(each.record.disposition is not Disposition.ANSWERED for each in told)


def test_halves_of_local_channels_are_found_by_their_names() -> None:
    tracker = Tracker("pbx", ours)
    line = caller()
    line.state = 6
    one = Line("101@agents", of=line, technology="Local", suffix=";1", state=6)
    two = Line("101@agents", of=line, technology="Local", suffix=";2", state=6)
    two.channel = one.channel[:-1] + "2"
    phone = Line("101", of=line, state=6)
    outer, inner = Bridge(), Bridge()
    there = [line.listed("Dial", bridge=outer.id), one.listed("AppDial", bridge=outer.id)]
    there += [two.listed("Dial", bridge=inner.id), phone.listed("AppDial", bridge=inner.id)]
    told = tracker.resync(there, BEGUN, BEGUN)
    assert told[-1].record.answered_by == "101"


def test_what_is_listed_in_words_nobody_believes_is_there_all_the_same() -> None:
    tracker, line, phone = ringing()
    forged = {key: value for key, value in line.listed("Dial").items() if key != "Uniqueid"}
    assert tracker.resync([forged, phone.listed("AppDial")], BEGUN + 1) == []
    assert tracker.oddities == {"headers missing": 1}
    assert len(tracker) == 1


def test_a_list_undoes_a_forged_end() -> None:
    tracker, line, phone = ringing()
    tracker.event(phone.hangup(), BEGUN + 1)
    tracker.event(line.hangup(), BEGUN + 1)
    assert len(tracker) == 0
    there = [line.listed("Dial"), phone.listed("AppDial")]
    assert tracker.resync(there, BEGUN + 6) == []
    told = tracker.resync(there, BEGUN + 11)
    assert told[-1].record.ended_at is None
    assert len(tracker) == 1


def test_an_end_that_waits_says_more_than_a_list() -> None:
    tracker, line, phone = ringing()
    ends = [phone.hangup(17), line.hangup(17)]
    assert tracker.resync([], BEGUN + 60, BEGUN + 10, ends) == []
    (record,) = ended(play(tracker, [(BEGUN + 59, event) for event in ends]))
    assert (record.disposition, record.ended_at) == (Disposition.BUSY, BEGUN + 59)


def test_an_end_that_somebody_wrote_into_his_call_does_not_wait() -> None:
    tracker, line, phone = ringing()
    forged = [{"Event": "Hangup", "Uniqueid": each.uniqueid} for each in (line, phone)]
    assert ended(tracker.resync([], BEGUN + 60, BEGUN + 10, forged))


def test_who_was_dialled_is_not_who_called() -> None:
    """A phone outlives its caller for a moment: then it is all that a list has of the call."""
    for number, name, way in ((ERIKA, "Erika", Way.INBOUND), ("102", "Anna", Way.INTERNAL)):
        line = caller() if way is Way.INBOUND else Line("102")
        phone = Line("101", of=line, state=6)
        phone.connected, phone.connected_name = number, name
        tracker = Tracker("pbx", ours)
        record = tracker.resync([phone.listed("AppDial")], BEGUN, BEGUN)[-1].record
        assert (record.linkedid, record.way, line.uniqueid in record.uniqueids) == (line.linkedid, way, True)
        wanted = (number, name, "") if way is Way.INBOUND else ("101", "", "102")
        assert (record.number, record.name, record.agent) == wanted
        assert [(leg.extension, leg.via) for leg in record.legs] == [("101", "dial")]


def test_a_caller_who_hears_the_busy_tone_still_calls() -> None:
    """Asterisk puts the caller's channel into state Busy (7)."""
    line = caller()
    tracker = Tracker("pbx", ours)
    record = tracker.resync([{**line.listed("Set"), "ChannelState": "7"}], BEGUN, BEGUN)[-1].record
    assert (record.way, record.number, record.agent) == (Way.INBOUND, line.number, "")


def test_a_call_that_ended_in_a_break_ended_when_the_pbx_was_last_heard_of() -> None:
    tracker, _, _ = ringing()
    (record,) = ended(tracker.resync([], BEGUN + 60, BEGUN + 10))
    assert record.ended_at == BEGUN + 10


def test_events_from_before_the_list_change_nothing_after_it() -> None:
    line, bridge = caller(), Bridge()
    phone = Line("101", of=line)
    events = [line.new(), joined("sales", line), phone.new(), calling(line, phone), phone.rings(), phone.up()]
    events += [dialled(line, phone, "ANSWER"), line.up(), bridge.enter(phone), bridge.enter(line)]
    tracker = Tracker("pbx", ours)
    there = [line.listed("Queue", "sales", bridge=bridge.id), phone.listed("AppQueue", bridge=bridge.id)]
    tracker.resync(there, BEGUN, BEGUN)
    told = play(tracker, [(BEGUN + 1, event) for event in events])
    assert len(tracker) == 1
    assert {each.what for each in told} <= {"changed"}
    assert not tracker.oddities


def test_who_did_not_see_a_phone_go_does_not_say_that_nobody_answered() -> None:
    """The caller's channel outlives the talk, in its hang-up handler: it is all that is left when we look again."""
    line = caller(1)
    phone = Line("101", of=line)
    tracker = Tracker("pbx", ours)
    for event in (line.new(), phone.new(), calling(line, phone), phone.rings()):
        tracker.event(event, 1.0)
    tracker.resync([line.listed("AGI")], 3.0, 1.0)
    (told,) = [each for each in tracker.event(line.hangup(), 4.0) if each.what == "ended"]
    assert told.record.told_by == "glimpse"


def test_who_saw_a_call_only_as_it_went_does_not_say_that_nobody_answered() -> None:
    line = caller(2)
    tracker = Tracker("pbx", ours)
    tracker.resync([line.listed("AGI")], 3.0, 1.0)
    (told,) = [each for each in tracker.event(line.hangup(), 4.0) if each.what == "ended"]
    assert told.record.told_by == "glimpse"
