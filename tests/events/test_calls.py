from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agi_server.calls.call import Call, Decision, Direction, TraceStep, Verdict
from agi_server.calls.directory import Agent, Contact
from agi_server.calls.document import document
from agi_server.calls.numbers import Number, NumberState
from agi_server.events import memory
from agi_server.events.calls import announce_answered, announce_decision, announce_ended
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


def test_a_call_nobody_answered_is_reminded_of_once(hub: Hub) -> None:
    announce_decision(hub, decided())
    announce_ended(hub, ended())
    announce_ended(hub, ended(call="", uniqueid="u1"))  # AMI and the dialplan may both tell
    assert types(hub)[3:] == [EventType.ENDED, EventType.MISSED, EventType.ENDED]
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
    assert types(hub) == [EventType.ANSWERED, EventType.ENDED]
    assert (last(hub).data["uniqueid"], last(hub).data["number"], last(hub).data["contact"]) == (
        "u9",
        "",
        None,
    )


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
