"""A call that nobody asked about."""

from __future__ import annotations

from agi_server.calls.call import Direction, Verdict
from agi_server.calls.directory import Agent, Contact, Rule, RuleKind
from agi_server.calls.hindsight import decide_afterwards
from agi_server.calls.policy import DidPolicy
from agi_server.calls.record import Record, Way
from tests.calls.memory import MemoryDirectory, house

ANNA = Agent(id=1, name="Anna", extension="101", email="anna@example.com")
ERIKA = Contact(id=7, name="Erika Mustermann", owner_email="anna@example.com")


def directory() -> MemoryDirectory:
    people = MemoryDirectory(house(ANNA, default=DidPolicy(region="DE")))
    people.add(ERIKA, "+49 30 123456")
    return people


def record(**more: object) -> Record:
    known: dict[str, object] = {"pbx": "pbx", "linkedid": "1.1", "number": "030123456", "started_at": 1000.0}
    return Record(**(known | more))  # type: ignore[arg-type]


def test_who_called_and_who_is_responsible() -> None:
    decision = decide_afterwards(record(name="E M", did="555", trunk="PJSIP/trunk"), directory())
    assert (decision.contact, decision.agent, decision.number.text) == (ERIKA, ANNA, "+4930123456")
    assert (decision.call.id, decision.call.uniqueid, decision.call.did) == ("pbx-1.1", "1.1", "555")
    assert (decision.call.direction, decision.verdict) == (Direction.INBOUND, Verdict.ALLOW)


def test_who_was_called_by_whom() -> None:
    decision = decide_afterwards(record(way=Way.OUTBOUND, agent="101"), directory())
    assert (decision.contact, decision.agent) == (ERIKA, ANNA)
    assert decision.call.direction is Direction.OUTBOUND


def test_it_was_let_in_whatever_rules_say() -> None:
    people = directory()
    people.rule(Rule(id=3, kind=RuleKind.EXACT, pattern="+4930123456"))
    decision = decide_afterwards(record(), people)
    assert (decision.verdict, decision.rule, decision.treatment) == (Verdict.ALLOW, None, "")
    assert not decision.reason.startswith("blacklist")
