"""Whose screen a caller is put on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agi_server.calls.call import Direction
from agi_server.calls.directory import Agent
from agi_server.errors import DirectoryError
from agi_server.events.calls import announce_answered, announce_decision, announce_ended
from agi_server.events.event import Event, EventType
from agi_server.events.hub import Hub
from agi_server.events.screen import Desk
from tests.calls.memory import MemoryDirectory, house
from tests.events.test_calls import AGENT, ANA, answered, decided, ended

NOW = 1_800_000_000
OTHER = Agent(id=2, name="Ben", extension="102")


def desk(*agents: Agent, **states: tuple[int, str]) -> Desk:
    directory = MemoryDirectory(house(*agents))
    directory.states = {extension[1:]: state for extension, state in states.items()}
    return Desk(directory, "https://ostiary.example", "https://acme.example", lambda: NOW)


def hub_with(*agents: Agent, **states: tuple[int, str]) -> Hub:
    hub = Hub()
    hub.desk = desk(*agents, **states)
    return hub


def pops(hub: Hub) -> list[Event]:
    return [event for event in hub.since(0) if event.type is EventType.SCREEN_POP]


def shown(hub: Hub) -> list[tuple[str, str]]:
    return [(event.extension, event.data["on"]) for event in pops(hub)]


@pytest.mark.parametrize(
    ("mode", "told"),
    [("ringing", [("101", "ringing")]), ("answer", [("101", "answer")]), ("off", [])],
)
def test_an_agent_chooses_when(mode: str, told: list[tuple[str, str]]) -> None:
    hub = hub_with(replace(AGENT, pop=mode), OTHER)
    announce_decision(hub, decided())
    announce_answered(hub, answered())
    announce_ended(hub, ended(disposition="answered"))
    assert shown(hub) == told


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ((NOW, "busy"), []),
        ((NOW - 30, "busy"), []),
        ((NOW - 31, "busy"), ["101"]),  # nobody has told since
        ((NOW, "ringing"), ["101"]),
        ((NOW, "free"), ["101"]),
        ((NOW, "unreachable"), ["101"]),
    ],
)
def test_a_busy_agent_is_not_disturbed(state: tuple[int, str], told: list[str]) -> None:
    hub = hub_with(AGENT, _101=state)
    announce_decision(hub, decided())
    assert [event.extension for event in pops(hub)] == told


def test_who_was_busy_sees_the_caller_when_he_answers() -> None:
    hub = hub_with(AGENT, _101=(NOW, "busy"))
    announce_decision(hub, decided())
    announce_answered(hub, answered())
    assert shown(hub) == [("101", "answer")]


def test_who_answers_instead_sees_the_caller_and_so_does_who_gets_the_call_then() -> None:
    hub = hub_with(AGENT, OTHER, Agent(id=3, name="Off", extension="103", pop="off"))
    announce_decision(hub, decided())
    for extension in ("102", "102", "103", "104", "101"):
        announce_answered(hub, answered() | {"extension": extension})
    assert shown(hub) == [("101", "ringing"), ("102", "answer"), ("104", "answer")]
    assert [event.type for event in hub.since(0)].count(EventType.ANSWERED) == 1


def test_a_call_out_of_a_queue_is_shown_to_who_answers() -> None:
    hub = hub_with(AGENT)
    announce_decision(hub, decided(agent=None))
    announce_answered(hub, answered())
    assert shown(hub) == [("101", "answer")]


def test_nobody_is_shown_whom_he_dialled(hub: Hub) -> None:

    announce_decision(hub, decided(direction=Direction.OUTBOUND))
    announce_answered(hub, answered())
    announce_answered(hub, answered("never decided"))
    assert shown(hub) == []


def test_a_directory_that_is_away_hides_no_caller() -> None:
    class Away(MemoryDirectory):
        def agent_state(self, extension: str, since: int) -> str:
            raise DirectoryError(f"no state of {extension} since {since}")

    hub = Hub()
    hub.desk = Desk(Away(house(AGENT)))
    announce_decision(hub, decided())
    assert shown(hub) == [("101", "ringing")]


def test_where_it_leads() -> None:
    salesforce: dict[str, Any] = {"kind": "Contact", "salesforce_id": "003000000000001AAA"}
    there = desk()
    assert there.links("c/1", salesforce) == {
        "record_url": "https://acme.example/lightning/r/Contact/003000000000001AAA/view",
        "call_url": "https://ostiary.example/calls/c%2F1",
    }
    nowhere = {"record_url": "", "call_url": "https://ostiary.example/calls/c"}
    assert there.links("c", None) == nowhere
    assert there.links("c", salesforce | {"salesforce_id": ""}) == nowhere
    there.instance = ""
    assert there.links("c", salesforce) == nowhere
    assert Desk().links("c", salesforce) == {"record_url": "", "call_url": ""}


def test_a_pop_says_who_why_and_where() -> None:
    hub = hub_with(AGENT)
    document = decided()
    document["contact"]["salesforce_id"] = "003000000000001AAA"
    announce_decision(hub, document)
    (pop,) = pops(hub)
    assert pop.data["contact"]["name"] == ANA.name
    assert pop.data["record_url"].endswith("/003000000000001AAA/view")
    assert pop.data["call_url"] == "https://ostiary.example/calls/c1"
    assert pop.data["why"] == ["number: e164", "match: exact (one contact)"]  # without personal data
