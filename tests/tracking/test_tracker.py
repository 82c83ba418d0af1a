"""Conversations that are hard to record: what Asterisk would write of them, and what their records must say."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Iterable

import pytest

from agi_server.calls.record import Disposition, Record, Way
from agi_server.tracking.conversation import MOST_PARTS
from agi_server.tracking.house import REMEMBERED
from agi_server.tracking.opening import dialled as number_in
from agi_server.tracking.tracker import Told, Tracker
from tests.tracking import traffic
from tests.tracking.reading import BEGUN, ended
from tests.tracking.traffic import Bridge, Event, Line, caller, calling, dialled, joined, left, ours, two


def follow(events: Iterable[Event], tracker: Tracker | None = None) -> list[Told]:
    """Return what is told of events that come one a second."""
    tracker = Tracker("pbx", ours) if tracker is None else tracker
    return [told for index, event in enumerate(events) for told in tracker.event(event, BEGUN + index)]


def record_of(events: Iterable[Event]) -> Record:
    """Return the record of the only conversation in events."""
    tracker = Tracker("pbx", ours)
    (record,) = ended(follow(events, tracker))
    assert len(tracker) == 0
    assert not tracker.oddities
    return record


def legs(record: Record) -> list[tuple[str, str, str]]:
    return [(leg.extension or leg.number, leg.via, leg.outcome.value) for leg in record.legs]


def begins(line: Line, phone: Line) -> list[Event]:
    """Return that a phone is dialled and rings."""
    phone.connected, line.connected = line.number, phone.number
    return [phone.new(), calling(line, phone), phone.rings()]


def speak(line: Line, phone: Line, bridge: Bridge) -> list[Event]:
    """Return that it is taken up."""
    return [phone.up(), dialled(line, phone, "ANSWER"), line.up(), bridge.enter(phone), bridge.enter(line)]


def over(bridge: Bridge, *lines: Line) -> list[Event]:
    """Return that all hang up, the first one first."""
    leaving = [bridge.leave(line) for line in lines]
    return [lines[0].wants_out(), *leaving, bridge.destroy(), *(line.hangup() for line in lines)]


def halves(target: str, of: Line | None, uniqueid: str = "") -> tuple[Line, Line]:
    """Return the two halves of a Local channel."""
    one = Line(target, of=of, technology="Local", suffix=";1", uniqueid=uniqueid)
    other = Line(target, of=one, technology="Local", suffix=";2", state=4)
    other.channel = one.channel[:-1] + "2"
    return one, other


def pairing(one: Line, other: Line) -> Event:
    return two(
        "LocalBridge", ("LocalOne", one), ("LocalTwo", other), Context="x", Exten="y", LocalOptimization="No"
    )


def test_a_transfer_to_a_phone_that_still_rings() -> None:
    line = caller()
    first, bridge = Line("101", of=line), Bridge()
    second_line = Line("101", exten="102", state=4)
    asked = Line("102", of=second_line)
    events = [line.new(), *begins(line, first), *speak(line, first, bridge)]
    events += [first.event("Hold"), second_line.new(), *begins(second_line, asked)]
    transfer = two("AttendedTransfer", ("OrigTransferer", first), ("SecondTransferer", second_line))
    events.append({**transfer, "Result": "Success", "DestType": "App", "DestApp": "Dial"})
    events += [first.event("Unhold"), bridge.leave(line), bridge.leave(first)]
    events += [second_line.hangup(), first.hangup()]
    bridge = Bridge()
    events += [asked.up(), bridge.enter(asked), bridge.enter(line), *over(bridge, line, asked)]
    record = record_of(events)
    assert legs(record) == [("101", "dial", "answered"), ("102", "transfer", "answered")]
    assert [(each.kind, each.by, each.to) for each in record.transfers] == [("attended", "101", "102")]
    assert (record.answered_by, record.way, record.number) == ("101", Way.INBOUND, line.number)


def test_a_consultation_with_somebody_outside() -> None:
    line = caller()
    first, bridge = Line("101", of=line), Bridge()
    second_line = Line("101", exten="04930999999", state=4)
    outside = Line("trunk", of=second_line, number="04930999999")
    events = [
        line.new(),
        *begins(line, first),
        *speak(line, first, bridge),
        first.event("Hold"),
        second_line.new(),
    ]
    events += [outside.new(), calling(second_line, outside, "4930999999@trunk"), outside.rings()]
    asking = Bridge()
    events += speak(second_line, outside, asking)
    events += [first.event("Unhold"), asking.leave(second_line), bridge.leave(line), asking.enter(line)]
    transfer = two("AttendedTransfer", ("OrigTransferer", first), ("SecondTransferer", second_line))
    target = outside.snapshot("TransferTarget")
    events.append(
        {**transfer, **target, "Result": "Success", "DestType": "Bridge", "DestBridgeUniqueid": asking.id}
    )
    events += [bridge.leave(first), second_line.hangup(), first.hangup(), *over(asking, line, outside)]
    record = record_of(events)
    assert legs(record) == [("101", "dial", "answered"), ("4930999999", "transfer", "answered")]
    assert [(each.by, each.to) for each in record.transfers] == [("101", "4930999999")]
    assert (record.way, record.number, record.answered_by) == (Way.INBOUND, line.number, "101")
    spoken = record.ended_at - record.answered_at  # type: ignore[operator]
    assert spoken - 6 <= record.seconds <= spoken  # on hold or not, and no second twice


def test_a_click_whose_phones_are_rung_through_a_local_channel() -> None:
    one, other = halves("101@ostiary-dial-phone", None, "ostiary-dial-77")
    one.number = "4930123456"
    desk, mobile = Line("101", of=one), Line("101", of=one)
    events = [
        one.new(),
        other.new(),
        one.event("NewCallerid", **{"CID-CallingPres": "0"}),
        pairing(one, other),
    ]
    events += [calling(None, one, "101@ostiary-dial-phone"), *begins(other, desk), *begins(other, mobile)]
    events += [desk.up(), dialled(other, mobile, "CANCEL"), mobile.hangup(26), dialled(other, desk, "ANSWER")]
    inner, outer = Bridge(), Bridge()
    events += [inner.enter(desk), inner.enter(other), one.up()]
    outside = Line("trunk", of=one, number="4930123456")
    events += [outside.new(), calling(one, outside, "004930123456@trunk"), outside.rings(), outside.up()]
    events += [dialled(one, outside, "ANSWER"), outer.enter(outside), outer.enter(one)]
    events += [desk.wants_out(), inner.leave(desk), inner.leave(other), desk.hangup(), other.hangup()]
    events += [outer.leave(one), outer.leave(outside), one.hangup(), outside.hangup()]
    told = follow(events)
    (record,) = ended(told)
    assert (record.way, record.agent, record.answered_by) == (Way.OUTBOUND, "101", "101")
    assert (record.number, record.linkedid) == ("004930123456", "ostiary-dial-77")
    assert record.disposition is Disposition.ANSWERED
    assert [(each.what, each.leg.via) for each in told if each.leg] == [
        ("rang", "click"),
        ("rang", "click"),
        ("rang", "dial"),
        ("answered", "dial"),
    ]
    assert legs(record)[0] == ("101", "click", "answered")
    assert legs(record)[2] == ("004930123456", "dial", "answered")
    first = next(each.record for each in told)
    assert (first.way, first.number, first.linkedid) == (Way.OUTBOUND, "4930123456", "ostiary-dial-77")


@pytest.mark.parametrize("order", [1, -1])  # Asterisk writes either first
@pytest.mark.parametrize(
    ("reason", "cause", "disposition"), [("3", 19, "no answer"), ("5", 17, "busy"), ("0", 20, "failed")]
)
def test_a_click_that_nobody_hears(reason: str, cause: int, disposition: str, order: int) -> None:
    phone = Line("101", uniqueid="ostiary-dial-5")
    phone.number = "4930123456"
    response = {"Event": "OriginateResponse", "Privilege": "call,all", "Response": "Failure"}
    response |= {"Channel": "PJSIP/101", "Uniqueid": phone.uniqueid, "Reason": reason}
    response |= {"Context": "ostiary-dial", "Exten": "4930123456", "CallerIDNum": phone.number}
    events = [
        phone.new(),
        phone.event("NewCallerid", **{"CID-CallingPres": "0"}),
        calling(None, phone, "101"),
    ]
    (record,) = ended(follow([*events, *[phone.hangup(cause), response][::order]]))
    assert (record.way, record.agent, record.disposition.value) == (Way.OUTBOUND, "101", disposition)
    assert record.number == "4930123456"
    assert [(leg.via, leg.outcome.value) for leg in record.legs] == [("click", disposition)]


def test_a_queue_rings_agents_through_local_channels_and_the_second_answers() -> None:
    line = caller()
    events = [line.new(), line.up(), joined("sales", line)]
    one, other = halves("101@agents", line)
    phone = Line("101", of=line)
    events += [one.new(), other.new(), pairing(one, other), calling(line, one, "Local/101@agents/n")]
    events += [*begins(other, phone), dialled(line, one, "NOANSWER"), one.hangup(0)]
    events += [dialled(other, phone, "CANCEL"), other.hangup(0), phone.hangup(0)]
    one, other = halves("102@agents", line)
    second = Line("102", of=line)
    inner, outer = Bridge(), Bridge()
    events += [one.new(), other.new(), pairing(one, other), calling(line, one, "Local/102@agents/n")]
    events += [
        *begins(other, second),
        *speak(other, second, inner),
        dialled(line, one, "ANSWER"),
        left("sales", line),
    ]
    events += [outer.enter(one), outer.enter(line), line.wants_out(), outer.leave(line), outer.leave(one)]
    events += [
        inner.leave(other),
        inner.leave(second),
        one.hangup(),
        other.hangup(),
        second.hangup(),
        line.hangup(),
    ]
    record = record_of(events)
    assert legs(record) == [("101", "queue", "cancelled"), ("102", "queue", "answered")]
    assert {leg.queue for leg in record.legs} == {"sales"}
    assert (record.answered_by, record.queue, record.disposition) == ("102", "sales", Disposition.ANSWERED)


def test_the_queue_a_caller_was_sent_to_later_does_not_take_the_answer_away() -> None:
    line, bridge = caller(), Bridge()
    phone, other = Line("101", of=line), Line("102", of=line)
    events = [
        line.new(),
        joined("sales", line),
        *begins(line, phone),
        left("sales", line),
        *speak(line, phone, bridge),
    ]
    transfer = two(
        "BlindTransfer", ("Transferer", phone), ("Transferee", line), Result="Success", IsExternal="Yes"
    )
    events += [
        {**transfer, "Context": "from-internal", "Extension": "8000"},
        bridge.leave(line),
        bridge.leave(phone),
    ]
    events += [phone.hangup(), joined("support", line), *begins(line, other), line.wants_out()]
    events += [dialled(line, other, "CANCEL"), other.hangup(0), line.hangup()]
    record = record_of(events)
    assert (record.queue, record.answered_by, record.disposition) == ("sales", "101", Disposition.ANSWERED)
    assert legs(record) == [("101", "queue", "answered"), ("102", "queue", "cancelled")]
    assert [leg.queue for leg in record.legs] == ["sales", "support"]
    assert [(each.kind, each.by, each.to) for each in record.transfers] == [("blind", "101", "8000")]


def test_a_group_of_a_phone_that_is_busy_and_one_that_rings_out() -> None:
    line = caller()
    busy, silent = Line("101", of=line), Line("102", of=line)
    events = [line.new(), busy.new(), calling(line, busy), *begins(line, silent), dialled(line, busy, "BUSY")]
    events += [busy.hangup(17), dialled(line, silent, "NOANSWER"), silent.hangup(0), line.hangup(19)]
    record = record_of(events)
    assert record.disposition is Disposition.NO_ANSWER
    assert legs(record) == [("101", "dial", "busy"), ("102", "dial", "no answer")]


def test_who_gives_up_in_a_menu_has_cancelled() -> None:
    line = caller()
    record = record_of([line.new(), line.up(), line.wants_out(), line.hangup()])
    assert (record.disposition, record.legs) == (Disposition.CANCELLED, ())


def test_who_leaves_a_message_was_not_answered_and_has_not_cancelled() -> None:
    line = caller()
    phone = Line("101", of=line)
    events = [line.new(), *begins(line, phone), dialled(line, phone, "NOANSWER"), phone.hangup(0)]
    record = record_of([*events, line.up(), line.wants_out(), line.hangup()])
    assert record.disposition is Disposition.NO_ANSWER


@pytest.mark.parametrize(
    ("cause", "disposition"), [(16, "no answer"), (17, "busy"), (21, "failed"), (34, "failed")]
)
def test_a_call_that_the_pbx_ends_at_once(cause: int, disposition: str) -> None:
    line = caller()
    assert record_of([line.new(), line.hangup(cause)]).disposition.value == disposition


def test_an_outbound_call_without_a_line() -> None:
    agent = Line("101", exten="004930123456", state=4)
    record = record_of([agent.new(), agent.hangup(34)])
    assert (record.way, record.number, record.agent) == (Way.OUTBOUND, "004930123456", "101")
    assert record.disposition is Disposition.FAILED


def test_a_second_trunk_after_the_first_failed() -> None:
    agent = Line("101", exten="004930123456", state=4)
    first, second, bridge = Line("trunk", of=agent), Line("spare", of=agent), Bridge()
    events = [agent.new(), first.new(), calling(agent, first, "trunk/sip:4930123456@192.0.2.1")]
    events += [dialled(agent, first, "CONGESTION"), first.hangup(34), second.new()]
    events += [
        calling(agent, second, "4930123456@spare"),
        *speak(agent, second, bridge),
        *over(bridge, second, agent),
    ]
    record = record_of(events)
    assert [(leg.number, leg.outcome.value) for leg in record.legs[1:]] == [
        ("4930123456", "failed"),
        ("4930123456", "answered"),
    ]
    assert (record.answered_by, record.trunk) == ("101", "PJSIP/trunk")


def test_a_caller_in_a_conference_who_was_there_first() -> None:
    """A phone of ours waits in a conference, then two callers from outside come."""
    agent, one, other = Line("101", exten="8800", state=4), caller(1), caller(2)
    bridge = Bridge("softmix", "base")
    events = [agent.new(), agent.up(), bridge.enter(agent), one.new(), one.up(), bridge.enter(one)]
    events += [other.new(), other.up(), bridge.enter(other), *over(bridge, one, other, agent)]
    told = follow(events)
    (record,) = ended(told)
    assert (record.way, record.number, record.linkedid) == (Way.INBOUND, one.number, agent.linkedid)
    assert legs(record) == [("101", "conference", "answered"), (other.number, "conference", "answered")]
    assert [each.was for each in told if each.what == "merged"] == [one.linkedid, other.linkedid]
    assert {agent.uniqueid, one.uniqueid, other.uniqueid} == set(record.uniqueids)


def test_a_thread_that_became_part_of_another_goes_on_there() -> None:
    """Who was in a conference with a caller dials on: Asterisk still calls that by the thread of their own."""
    line, agent, bridge = caller(), Line("101", exten="8800", state=4), Bridge("softmix", "base")
    events = [line.new(), line.up(), bridge.enter(line), agent.new(), agent.up(), bridge.enter(agent)]
    other = Line("102", of=agent)
    tracker = Tracker("pbx", ours)
    follow([*events, bridge.leave(agent)], tracker)
    restarted = Tracker("pbx", ours)
    restarted.restore([json.loads(json.dumps(tracker.snapshot(line.linkedid)))])
    for each in (tracker, restarted):
        told = follow(begins(agent, other), each)
        assert {one.record.linkedid for one in told} == {line.linkedid}
        (record,) = ended(follow([other.hangup(0), agent.hangup(), bridge.leave(line), line.hangup()], each))
        assert legs(record) == [("101", "conference", "answered"), ("102", "dial", "no answer")]
        assert not each.oddities
        assert not each._house._threads
        bridge.count += 1


def test_glue_alone_is_no_call() -> None:
    one, other = halves("job@batch", None)
    tracker = Tracker("pbx", ours)
    assert (
        follow([one.new(), other.new(), pairing(one, other), one.up(), other.hangup(), one.hangup()], tracker)
        == []
    )
    assert len(tracker) == 0
    assert not tracker._house.channels


def test_a_phone_that_rings_for_a_caller_nobody_could_read() -> None:
    """Their own events were made unreadable; what is said of the call elsewhere is found by their id."""
    unseen = caller()
    phone = Line("101", of=unseen)
    (record,) = ended(follow([phone.new(), calling(unseen, phone), phone.rings(), phone.hangup(0)]))
    assert (record.way, record.linkedid) == (Way.INBOUND, unseen.uniqueid)
    assert record.uniqueids == (unseen.uniqueid, phone.uniqueid)


def test_parties_left_alone_speak_with_nobody() -> None:
    line, bridge = caller(), Bridge()
    phone = Line("101", of=line)
    events = [
        line.new(),
        *begins(line, phone),
        *speak(line, phone, bridge),
        bridge.leave(phone),
        phone.hangup(),
    ]
    told = follow([*events, *(line.event("NewConnectedLine") for _ in range(10)), *over(bridge, line)])
    (record,) = ended(told)
    assert record.seconds == 1


def test_a_name_that_the_dialplan_puts_on_a_call() -> None:
    line = caller()
    events = [line.new()]
    line.name = "Erika Mustermann"
    events.append(line.event("NewCallerid", **{"CID-CallingPres": "0"}))
    assert record_of([*events, line.hangup()]).name == "Erika Mustermann"


def test_who_is_called_by_name() -> None:
    agent = Line("101", exten="004930123456", state=4)
    events = [agent.new()]
    agent.connected_name = "Erika Mustermann"
    record = record_of([*events, agent.event("NewConnectedLine"), agent.hangup()])
    assert record.name == "Erika Mustermann"


def test_the_first_recording_counts() -> None:
    line = caller()
    files = [
        line.event("VarSet", "dialplan,all", Variable=variable, Value=value)
        for variable, value in (
            ("RECORDED_FILE", ""),
            ("OSTIARY_CALL", "x"),
            ("MIXMONITOR_FILENAME", "/monitor/a.wav"),
            ("MIXMONITOR_FILENAME", "/monitor/b.wav"),
            ("RECORDED_FILE", "/voicemail/c"),
        )
    ]
    assert record_of([line.new(), *files, line.hangup()]).recording == "/monitor/a.wav"


@pytest.mark.parametrize(
    ("dialled", "number"),
    [
        ("101", "101"),
        ("4930123@trunk", "4930123"),
        ("PJSIP/+4930123@trunk", "+4930123"),
        ("trunk/sip:4930123@192.0.2.1:5060", "4930123"),
        ("g1/030123", "030123"),
        ("user:secret@peer/030123", "030123"),
        ("trunk/sip:nobody@192.0.2.1", "77"),
        ("", "77"),
    ],
)
def test_the_number_in_what_is_dialled(dialled: str, number: str) -> None:
    assert number_in(dialled, "77", "88") == number
    assert number_in("x", "<unknown>", "88") == "88"
    assert number_in("x", "y", "s") == ""


def test_a_conversation_has_bounds() -> None:
    line = caller()
    tracker = Tracker("pbx", ours)
    tracker.event(line.new(), BEGUN)
    told: list[Told] = []
    for index in range(MOST_PARTS + 5):
        phone = Line("101", of=line)
        for event in (phone.new(), calling(line, phone), dialled(line, phone, "BUSY"), phone.hangup(17)):
            told = tracker.event(event, BEGUN + index)
    assert len(told[-1].record.legs) == MOST_PARTS
    assert tracker.oddities == {"too many legs": 5}


def size_of_live(calls: int) -> float:
    """Return bytes kept for each call that is answered, once its events, fresh from the wire, are gone."""
    raw = []
    for index in range(calls):
        for event in traffic.answered(index):
            raw.append(json.dumps(event))
            if event.get("BridgeNumChannels") == "2":
                break
    tracker = Tracker("pbx", ours)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for index, each in enumerate(raw):
            tracker.event(json.loads(each), BEGUN + index * 0.01)
        gc.collect()
        assert len(tracker) == calls
        return (tracemalloc.get_traced_memory()[0] - before) / calls
    finally:
        tracemalloc.stop()


def test_a_live_call_takes_two_kilobytes() -> None:
    assert size_of_live(200) <= 2048


def test_nothing_grows_with_the_calls_that_were() -> None:
    tracker = Tracker("pbx", ours)
    for event in traffic.stream(REMEMBERED):  # what just ended is remembered, so many and no more
        tracker.event(event, BEGUN)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for event in traffic.stream(600):
            tracker.event(event, BEGUN)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 400_000  # what is remembered, now of other calls
    assert len(tracker) == 0
    assert not tracker._house.channels
    assert not tracker._house.conversations
