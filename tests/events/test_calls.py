from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.calls.call import Call, Decision, Direction, TraceStep, Verdict
from agi_server.calls.directory import Agent, Contact
from agi_server.calls.document import document
from agi_server.calls.numbers import Number, NumberState
from agi_server.events import memory
from agi_server.events.calls import (
    announce_answered,
    announce_decision,
    announce_ended,
    announce_progress,
)
from agi_server.events.event import Event, EventType
from agi_server.events.hub import Hub

ANA = Contact(id=7, name="Ana Muñoz", account="Acme", owner_email="ana@ostiary.example")
AGENT = Agent(id=1, name="Ana's agent", extension="101")
NUMBER = Number(NumberState.E164, 493023125010, "493023125010", "+493023125010")


def decided(
    *,
    call: str = "c1",
    uniqueid: str = "u1",
    direction: Direction = Direction.INBOUND,
    verdict: Verdict = Verdict.ALLOW,
    agent: Agent | None = AGENT,
) -> dict[str, Any]:
    asked = Call(id=call, number="030 23125010", did="+49301", uniqueid=uniqueid, direction=direction)
    trace = (
        TraceStep("number", "e164", "", "+493023125010"),
        TraceStep("match", "exact", "one contact", "Ana"),
    )
    decision = Decision(
        call=asked, number=NUMBER, contact=ANA, display_name="Ana", agent=agent, verdict=verdict, trace=trace
    )
    return document(decision, 1_800_000_000.5)


def ended(call: str = "c1", uniqueid: str = "", disposition: str = "noanswer", **more: Any) -> dict[str, Any]:
    return {
        "call_id": call,
        "uniqueid": uniqueid,
        "ended_at": 1_800_000_030,
        "disposition": disposition,
        "seconds": 0,
        "answered_by": "",
        **more,
    }


def answered(call: str = "c1", uniqueid: str = "") -> dict[str, Any]:
    return {"call_id": call, "uniqueid": uniqueid, "at": 1_800_000_010, "extension": "101"}


def told_by_pbx(
    call: str = "pbx-u1", uniqueids: tuple[str, ...] = ("u1", "u2"), **more: Any
) -> dict[str, Any]:
    """Return the record of an ended call as AMI tells it."""
    return ended(call, uniqueids[0], "no answer") | {
        "uniqueids": [*uniqueids],
        "direction": "outbound",
        "number": "030 23125010",
        "name": "Ana",
        "did": "",
        "trunk": "itsp",
        **more,
    }


def types(hub: Hub) -> list[EventType]:
    return [event.type for event in hub.since(0)]


def last(hub: Hub) -> Event:
    return hub.since(0)[-1]


def test_a_call_that_is_let_in_rings(hub: Hub) -> None:
    told = decided()
    announce_decision(hub, told)
    decision, ringing, pop = hub.since(0)
    assert (decision.type, ringing.type, pop.type) == (
        EventType.DECISION,
        EventType.RINGING,
        EventType.SCREEN_POP,
    )
    assert decision.data == told
    assert (decision.extension, ringing.extension, pop.extension) == ("", "", "101")
    for event in (ringing, pop):
        assert event.data["number"] == "+493023125010"
        assert event.data["contact"]["name"] == "Ana Muñoz"
        assert event.data["did"] == "+49301"
        assert event.data["extension"] == "101"
    assert pop.data["why"] == ["number: e164", "match: exact (one contact)"]  # without personal data


def test_a_call_nobody_is_meant_for_pops_up_nowhere(hub: Hub) -> None:
    announce_decision(hub, decided(agent=None))
    assert types(hub) == [EventType.DECISION, EventType.RINGING]


@pytest.mark.parametrize("more", [{"verdict": Verdict.BLOCK}, {"direction": Direction.OUTBOUND}])
def test_what_does_not_ring(hub: Hub, more: dict[str, Any]) -> None:
    announce_decision(hub, decided(**more))
    announce_ended(hub, ended())
    assert types(hub) == [EventType.DECISION, EventType.ENDED]  # and nobody missed it


@pytest.mark.parametrize("names", [{"call": "c1"}, {"call": "", "uniqueid": "u1"}])
def test_an_answer_and_an_end_say_whose_call_it_was(hub: Hub, names: dict[str, str]) -> None:
    announce_decision(hub, decided())
    announce_answered(hub, answered(**names))
    event = last(hub)
    assert event.type is EventType.ANSWERED
    assert (event.data["id"], event.data["number"], event.data["answered_by"]) == (
        "c1",
        "+493023125010",
        "101",
    )
    announce_ended(hub, ended(**names, disposition="answered", seconds=20))
    event = last(hub)
    assert event.type is EventType.ENDED
    assert (event.data["id"], event.data["contact"]["id"], event.data["extension"]) == ("c1", 7, "101")
    assert (event.data["started_at"], event.data["ended_at"]) == (1_800_000_000, 1_800_000_030)
    assert (event.data["answered"], event.data["seconds"]) == (True, 20)


def test_a_call_nobody_answered_is_told_and_reminded_of_once(hub: Hub) -> None:
    announce_decision(hub, decided())
    announce_ended(hub, ended())
    announce_ended(hub, ended(call="", uniqueid="u1"))  # AMI and the dialplan may both tell
    announce_ended(hub, told_by_pbx("c1", disposition="answered", answered_by="101"))
    announce_answered(hub, answered())  # comes too late for anybody
    assert types(hub)[3:] == [EventType.ENDED, EventType.MISSED]
    missed = hub.since(0)[4]
    assert missed.extension == "101"
    assert missed.data["number"] == "+493023125010"


@pytest.mark.parametrize("disposition", ["answer", "ANSWERED", "answered"])
def test_an_answered_call_is_not_reminded_of(hub: Hub, disposition: str) -> None:
    announce_decision(hub, decided())
    announce_ended(hub, ended(disposition=disposition))
    assert types(hub)[-1] is EventType.ENDED


def test_a_call_whose_answer_was_told_is_not_reminded_of(hub: Hub) -> None:
    announce_decision(hub, decided())
    announce_answered(hub, answered())
    announce_ended(hub, ended(disposition=""))
    assert last(hub).data["answered"] is True


def test_reminders_can_be_off(hub: Hub) -> None:
    hub.remind = False
    announce_decision(hub, decided())
    announce_ended(hub, ended())
    assert types(hub)[-1] is EventType.ENDED


def test_a_call_nobody_knows(hub: Hub) -> None:
    announce_answered(hub, answered())
    announce_ended(hub, ended("", "u9"))
    announce_ended(hub, ended("", "u9"))
    assert types(hub) == [EventType.ANSWERED, EventType.ENDED]
    assert (last(hub).data["uniqueid"], last(hub).data["number"], last(hub).data["contact"]) == (
        "u9",
        "",
        None,
    )


def test_calls_without_any_name_are_not_one(hub: Hub) -> None:
    for _ in range(2):
        announce_ended(hub, ended("", ""))
    assert types(hub) == [EventType.ENDED, EventType.ENDED]


def test_a_call_nobody_decided_is_told_with_what_its_pbx_says(hub: Hub) -> None:
    announce_answered(hub, answered("", "u1"))  # it has no row yet
    announce_ended(hub, told_by_pbx(disposition="answered", answered_by="101", seconds=9))
    announce_ended(hub, ended("", "u2"))  # the dialplan's word on one of its channels
    assert types(hub) == [EventType.ANSWERED, EventType.ENDED]
    data = last(hub).data
    assert {
        name: data[name] for name in ("id", "uniqueid", "direction", "number_sent", "trunk", "extension")
    } == {
        "id": "pbx-u1",
        "uniqueid": "u1",
        "direction": "outbound",
        "number_sent": "030 23125010",
        "trunk": "itsp",
        "extension": "101",
    }
    assert (data["started_at"], data["verdict"], data["answered"]) == (None, "", True)


def test_a_conversation_of_two_decisions_ends_once(hub: Hub) -> None:
    announce_decision(hub, decided())
    announce_decision(hub, decided(call="c2", uniqueid="u2"))
    announce_answered(hub, answered("c1"))
    announce_ended(hub, told_by_pbx("c1", disposition="answered"))
    announce_ended(hub, ended("c2"))
    announce_ended(hub, ended("", "u2"))
    assert types(hub).count(EventType.ENDED) == 1
    assert EventType.MISSED not in types(hub)


def test_the_next_call_of_a_channel_is_another(hub: Hub) -> None:
    for call in ("c1", "c2"):  # a switch that uses its names again
        announce_decision(hub, decided(call=call))
        announce_ended(hub, ended("", "u1"))
    assert types(hub)[3:5] == [EventType.ENDED, EventType.MISSED]
    assert types(hub)[8:] == [EventType.ENDED, EventType.MISSED]
    assert last(hub).data["id"] == "c2"


@pytest.mark.parametrize("way", [Direction.INBOUND, Direction.OUTBOUND])
def test_who_got_through_meanwhile_is_not_reminded_of(hub: Hub, way: Direction) -> None:
    announce_decision(hub, decided())
    announce_decision(hub, decided(call="c2", uniqueid="u2", direction=way))
    announce_answered(hub, answered("c2"))
    announce_ended(hub, ended())
    assert last(hub).type is EventType.ENDED


def test_who_got_through_before_is_reminded_of(hub: Hub) -> None:
    announce_decision(hub, decided(call="c2", uniqueid="u2"))
    announce_ended(hub, ended("c2", disposition="answered") | {"ended_at": 1_799_999_999})
    announce_decision(hub, decided())
    announce_ended(hub, ended())
    assert last(hub).type is EventType.MISSED


def test_progress_is_the_agents(hub: Hub) -> None:
    content = {
        "id": "d1",
        "agent": "101",
        "number": "+493023125010",
        "state": "failed",
        "reason": "busy",
        "at": 1,
    }
    announce_progress(hub, content)
    assert (last(hub).type, last(hub).extension, last(hub).data) == (EventType.PROGRESS, "101", content)


Telling = st.lists(st.sampled_from(["answer", "ended", "pbx", "cdr", "decided"]), max_size=12)


@given(telling=Telling)
@settings(max_examples=100)
def test_in_any_order_a_call_is_told_once(telling: list[str]) -> None:
    hub = Hub()
    announce_decision(hub, decided())
    for each in telling:
        if each == "decided":
            announce_decision(hub, decided(call="c2", uniqueid="u2"))
        elif each == "answer":
            announce_answered(hub, answered("", "u1"))
        elif each == "ended":
            announce_ended(hub, ended())
        else:
            announce_ended(hub, told_by_pbx("c1" if each == "pbx" else ""))
    of_first = [event.type for event in hub.since(0) if event.data["id"] == "c1"]
    assert of_first.count(EventType.ANSWERED) <= 1
    assert of_first.count(EventType.ENDED) <= 1
    assert of_first.count(EventType.MISSED) <= 1
    assert not (EventType.MISSED in of_first and EventType.ANSWERED in of_first)


def test_memory_is_bounded() -> None:
    known = memory.Memory(most=3)
    for number in range(3):
        known.keep(decided(call=f"c{number}", uniqueid=f"u{number}"))
    assert known.find(call_id="c0", uniqueid="")  # heard of: it stays
    for number in range(3, 5):
        known.keep(decided(call=f"c{number}", uniqueid=f"u{number}"))
    assert len(known) == 3
    assert known.find(call_id="c0", uniqueid="")
    assert known.find(call_id="", uniqueid="u4")
    assert known.find(call_id="c1", uniqueid="") is None
    assert known.find(call_id="", uniqueid="u1") is None
    assert len(known._ids) == 3


def test_memory_of_channels_and_numbers_is_bounded() -> None:
    known = memory.Memory(most=3)
    for number in range(9):
        kept = known.keep(decided(call=f"c{number}", uniqueid=f"u{number}"))
        known.named(kept, [f"x{number}-{channel}" for channel in range(2 * memory.CHANNELS)])
        known.spoke(f"+4930{number}", number)
    assert len(known._ids) == 3 * (1 + memory.CHANNELS)
    assert known.find(call_id="", uniqueid="x8-0")
    assert known.find(call_id="", uniqueid="x0-0") is None
    assert known.spoken_since("+49308", 8)
    assert not known.spoken_since("+49308", 9)
    assert not known.spoken_since("+49300", 0)
    known.spoke("+49308", 5)  # told late
    assert known.spoken_since("+49308", 8)
    known.spoke("", 9)
    assert not known.spoken_since("", 0)


def test_a_uniqueid_used_again_means_the_newer_call() -> None:
    known = memory.Memory(most=2)
    known.keep(decided(call="c1"))
    known.keep(decided(call="c2"))
    known.keep(decided(call="c3", uniqueid=""))
    found = known.find(call_id="", uniqueid="u1")
    assert found is not None
    assert found.document["id"] == "c2"


async def test_the_hub_drops_the_oldest_and_says_so() -> None:
    hub, dropped = Hub(), []
    with hub.listen(2, on_drop=lambda: dropped.append(1)) as queue:
        for number in range(5):
            hub.publish(EventType.ENDED, {"number": number})
        assert (len(dropped), queue.dropped, len(queue)) == (3, 3, 2)
        async with asyncio.timeout(5):
            assert [(await queue.next()).data["number"] for _ in range(2)] == [3, 4]
