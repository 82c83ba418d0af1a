"""Whatever a caller writes into the events of his own call, the records of others stay as they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.calls.record import Record
from agi_server.tracking.tracker import Tracker
from agi_server.tracking.trust import LONGEST_EVENT, doubt, followed, text
from tests.tracking import traffic
from tests.tracking.reading import BEGUN, messages, names, raw
from tests.tracking.traffic import Bridge, Event, Line, calling, dialled, ours

WRITABLE = 79  # bytes of a caller's number that reach an event
NUMBER = "4930200001"  # who calls in the recorded streams
VICTIMS = (
    "answered",
    "queue",
    "pickup",
    "attended-transfer-sip",
    "hold",
    "park",
    "outbound",
    "click",
    "local-group",
)
ATTACKERS = ("hold", "group", "blind-transfer", "cancelled", "attended-transfer", "conference")
TYPES = (
    *(
        "Newchannel",
        "Newstate",
        "Hangup",
        "HangupRequest",
        "Hold",
        "DialEnd",
        "DialBegin",
        "BridgeEnter",
        "BridgeLeave",
    ),
    *(
        "BridgeDestroy",
        "Rename",
        "Pickup",
        "BlindTransfer",
        "AttendedTransfer",
        "ParkedCall",
        "VarSet",
        "LocalBridge",
    ),
    *("NewCallerid", "QueueCallerJoin", "OriginateResponse", "UnParkedCall", "CoreShowChannel", "Shutdown"),
)


@cache
def blocks(name: str) -> tuple[str, ...]:
    return tuple(block for block in raw(name).split("\r\n\r\n") if block.startswith("Event: "))


@cache
def known(name: str) -> tuple[str, ...]:
    """Return the lines an attacker may want to write: what names the channels and bridges of another's call."""
    wanted = ("Channel", "Uniqueid", "Linkedid", "BridgeUniqueid", "DestUniqueid", "DestChannel", "Newname")
    found = {f"{key}: {event[key]}" for event in messages(raw(name)) for key in wanted if key in event} | {
        f"DestUniqueid: {event['Uniqueid']}" for event in messages(raw(name)) if "Uniqueid" in event
    }
    return tuple(sorted(found))


@st.composite
def injections(draw: st.DrawFn, victim: str) -> str:
    lines = draw(
        st.lists(
            st.one_of(
                st.sampled_from(known(victim)),
                st.sampled_from(TYPES).map("Event: {}".format),
                st.sampled_from(
                    [
                        "Privilege: call,all",
                        "ChannelState: 6",
                        "Cause: 16",
                        "Cause-txt: x",
                        "Result: Success",
                        "",
                    ]
                ),
                st.text(max_size=12),
            ),
            max_size=5,
        )
    )
    written = draw(st.sampled_from(["1", ""])) + "".join(f"\r\n{line}" for line in lines)
    if draw(st.booleans()):
        written += "\r\n"
    return written.encode("utf-8", "replace")[:WRITABLE].decode("utf-8", "ignore")


def written_into(block: str, text: str) -> str:
    """Return an event of the attacker's call with his number replaced, wherever Asterisk writes it raw."""
    return "\r\n".join(
        line.replace(NUMBER, text, 1) if "Num: " in line and line.endswith(NUMBER) else line
        for line in block.split("\r\n")
    )


def together(order: Sequence[int], mine: Sequence[Any], theirs: Sequence[Any]) -> Iterator[tuple[float, Any]]:
    """Return both in an order of which each keeps its own; what is left comes last."""
    streams = [iter(mine), iter(theirs)]
    at = BEGUN
    for which in (*order, *(0 for _ in mine), *(1 for _ in theirs)):
        one = next(streams[which], None)
        if one is not None:
            at += 0.125
            yield at, one


def play_all(tracker: Tracker, arriving: list[tuple[float, Event]]) -> dict[str, Record]:
    """Return the last record told at each conversation's end."""
    found: dict[str, Record] = {}
    for at, event in arriving:
        for told in tracker.event(event, at):
            if told.what == "ended":
                found[told.record.linkedid] = told.record
    return found


ORDER = st.lists(st.integers(0, 1), max_size=400)


@settings(max_examples=80)
@given(data=st.data(), order=ORDER, twice=st.sampled_from(["without", "list", "first", "last"]))
def test_what_a_caller_writes_into_his_call_changes_no_other(
    data: st.DataObject, order: list[int], twice: str
) -> None:
    victim = data.draw(st.sampled_from(VICTIMS))
    attacker = data.draw(st.sampled_from([name for name in ATTACKERS if name != victim]))
    text = data.draw(injections(victim))
    mine = blocks(victim)
    if twice in (
        "first",
        "last",
    ):  # who could choose a header's value could take an id before its channel is there
        born = max(index for index, block in enumerate(mine) if block.startswith("Event: Newchannel"))
        order = [*(0 for _ in range(born + 1)), *order]
    theirs = [written_into(block, text) for block in blocks(attacker)]
    arriving = [
        (at, event, block in mine)
        for at, block in together(order, mine, theirs)
        for event in messages(block + "\r\n\r\n", twice)
    ]
    alone = play_all(Tracker("pbx", ours), [(at, event) for at, event, own in arriving if own])
    tracker = Tracker("pbx", ours)
    beside = play_all(tracker, [(at, event) for at, event, _ in arriving])
    assert {linkedid: beside.get(linkedid) for linkedid in alone} == alone
    for look in (10, 15):  # a list may be ahead of the events
        tracker.resync([], arriving[-1][0] + look)
    assert len(tracker) == 0
    assert not tracker._house.channels
    assert not tracker._house.bridges


@settings(max_examples=80)
@given(data=st.data(), order=ORDER)
def test_parts_of_events_change_nothing(data: st.DataObject, order: list[int]) -> None:
    """Events of as many headers, and of whatever values, as two numbers of a caller hold."""
    victim = data.draw(st.sampled_from(VICTIMS))
    real = list(messages(raw(victim)))
    forged = []
    for _ in range(data.draw(st.integers(1, 8))):
        model = data.draw(st.sampled_from(real))
        headers = data.draw(st.permutations(sorted(model)))
        event: dict[str, Any] = {"Event": data.draw(st.sampled_from([*TYPES, model["Event"]]))}
        size = 0
        for header in headers:
            size += len(header) + len(model[header]) + 4
            if size > 2 * WRITABLE:
                break
            event.setdefault(header, model[header])
        if data.draw(st.booleans()):
            event["Uniqueid"] = data.draw(st.sampled_from([["1", "2"], "", "x\r\ny", "\ud800", "1" * 99_999]))
        forged.append(event)
    arriving = list(together(order, real, forged))
    alone = play_all(Tracker("pbx", ours), [(at, event) for at, event in arriving if event not in forged])
    assert play_all(Tracker("pbx", ours), arriving) == alone


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.one_of(st.sampled_from(TYPES), st.text(max_size=20)), st.text(max_size=50), max_size=30
    )
)
def test_nothing_raises(event: dict[str, str]) -> None:
    tracker = Tracker("pbx", ours)
    for name in (*TYPES, "", "Nothing"):
        assert tracker.event({**event, "Event": name}, BEGUN) == []
    assert tracker.resync([{**event, "Event": "CoreShowChannel"}], BEGUN) == []
    assert len(tracker) == 0


def live_call() -> tuple[Tracker, Line, Line, Bridge, list[Event]]:
    """Return a tracker that follows a call in which 101 speaks with somebody outside."""
    tracker = Tracker("pbx", ours)
    line = traffic.caller()
    phone = Line("101", of=line)
    bridge = Bridge()
    events = [line.new(), phone.new(), calling(line, phone), phone.rings(), phone.up()]
    events += [dialled(line, phone, "ANSWER"), bridge.enter(phone), bridge.enter(line)]
    for index, event in enumerate(events):
        tracker.event(event, BEGUN + index)
    return tracker, line, phone, bridge, events


def test_a_whole_forged_end_of_a_call_that_goes_on_talking_is_ignored() -> None:
    tracker, line, _, _, _ = live_call()
    assert tracker.event(line.hangup(), BEGUN + 20) == []
    assert tracker.oddities == {"hang-up of a channel that goes on": 1}
    assert len(tracker) == 1


def test_a_forged_end_of_a_phone_that_rings_is_undone() -> None:
    tracker = Tracker("pbx", ours)
    line = traffic.caller()
    phone = Line("101", of=line)
    for event in (line.new(), phone.new(), calling(line, phone)):
        tracker.event(event, BEGUN)
    told = [*tracker.event(phone.hangup(), BEGUN + 1), *tracker.event(line.hangup(), BEGUN + 2)]
    assert told[-1].what == "ended"
    assert len(tracker) == 0
    (told_again,) = tracker.event(phone.rings(), BEGUN + 3)
    assert told_again.record.ended_at is None
    assert len(tracker) == 1
    assert tracker.oddities == {"channel went on after its end": 1}
    bridge = Bridge()
    line.state = 6
    more = [phone.up(), dialled(line, phone, "ANSWER"), bridge.enter(phone), bridge.enter(line)]
    more += [bridge.leave(line), bridge.leave(phone), phone.hangup(), line.hangup()]
    told = [each for index, event in enumerate(more) for each in tracker.event(event, BEGUN + 4 + index)]
    assert told[-1].what == "ended"
    assert (told[-1].record.answered_by, told[-1].record.seconds) == ("101", 1)
    assert [leg.outcome.value for leg in told[-1].record.legs] == ["answered"]
    assert len(tracker) == 0


def test_an_end_of_what_nobody_knows_is_counted() -> None:
    tracker, _, _, _, _ = live_call()
    assert tracker.event(Line("101").hangup(), BEGUN + 20) == []
    assert tracker.oddities == {"unknown channel": 1}


def test_another_channels_id_is_not_believed() -> None:
    tracker, line, phone, _, _ = live_call()
    forged = {**line.snapshot(), "Channel": phone.channel}
    event = {"Event": "HangupRequest", "Privilege": "call,all", **forged}
    assert tracker.event(event, BEGUN + 20) == []
    assert tracker.event({**event, "Event": "Newchannel"}, BEGUN + 20) == []
    assert tracker.oddities == {"another channel's id": 2}


def test_a_caller_is_not_born_into_anothers_thread() -> None:
    tracker, line, _, _, _ = live_call()
    intruder = Line("trunk", of=line, number="666", state=4, exten="4930777101")
    assert tracker.event(intruder.new(), BEGUN + 20) == []
    assert tracker.oddities == {"a caller in another's thread": 1}


def test_a_thread_is_not_left_because_a_header_says_so() -> None:
    tracker, line, phone, _, _ = live_call()
    other = traffic.caller(1)
    tracker.event(other.new(), BEGUN + 9)
    tracker.event({**phone.event("NewConnectedLine"), "Linkedid": other.linkedid}, BEGUN + 20)
    assert tracker.snapshot(other.linkedid)["uniqueids"] == [other.uniqueid]  # type: ignore[index]
    assert tracker.snapshot(line.linkedid)["uniqueids"] == [line.uniqueid, phone.uniqueid]  # type: ignore[index]


def test_a_state_only_goes_forward() -> None:
    tracker, _, phone, _, _ = live_call()
    phone.state = 5
    assert tracker.event(phone.event("Newstate"), BEGUN + 20) == []


def test_a_new_name_counts_once_somebody_goes_by_it() -> None:
    tracker, line, phone, bridge, _ = live_call()
    old = phone.channel
    rename = {"Event": "Rename", "Privilege": "call,all", "Channel": old, "Newname": "PJSIP/999-1"}
    tracker.event({**rename, "Uniqueid": phone.uniqueid}, BEGUN + 20)
    tracker.event(bridge.leave(line), BEGUN + 21)  # under its old name: nothing is lost
    tracker.event(bridge.leave(phone), BEGUN + 21)
    phone.channel = "PJSIP/999-1"
    tracker.event(phone.hangup(), BEGUN + 22)
    (told,) = tracker.event(line.hangup(), BEGUN + 22)
    assert told.what == "ended"
    assert not tracker.oddities


def test_what_is_too_long_or_of_several_lines_is_no_event() -> None:
    event = traffic.caller().new()
    assert doubt(event) == ""
    assert doubt({**event, "CallerIDName": "x" * LONGEST_EVENT}) == "too long"
    for end in ("\r", "\n", "\0"):
        assert doubt({**event, "CallerIDName": f"a{end}b"}) == "lines in a value"
    twice: dict[str, Any] = {**event, "CallerIDName": ["a", "b"]}
    assert doubt(twice) == "headers twice"
    for header in event:
        if header != "Event":
            assert doubt({key: value for key, value in event.items() if key != header}) == "headers missing"
    assert not followed("Shutdown")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<unknown>", ""),
        (" Erika ", "Erika"),
        ("a\u2028b\x1b[0m", "a b [0m"),
        ("Zoë 🦊", "Zoë 🦊"),
        ("x" * 999, "x" * 200),
    ],
)
def test_texts_are_one_line_of_bounded_length(written: str, read: str) -> None:
    assert text(written) == read


def test_there_are_streams_to_attack_with() -> None:
    assert {*VICTIMS, *ATTACKERS} <= set(names())
