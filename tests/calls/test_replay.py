"""What another set of rules would have done to calls of the past."""

from __future__ import annotations

from dataclasses import replace

from agi_server.calls.call import Verdict
from agi_server.calls.decide import decide
from agi_server.calls.directory import Agent, Contact, Directory, Rule, RuleKind, Treatment
from agi_server.calls.policy import DidPolicy
from agi_server.calls.replay import Edited, PastCall, replay
from tests.calls.memory import MemoryDirectory, house

NOON = 1_800_014_400  # Fri 2027-01-15 12:00 UTC
NIGHT = NOON + 43_200

ANA = Contact(id=1, name="Ana", owner_id=1, owner_email="ana@ostiary.example")
AGENT = Agent(id=1, name="Agent", extension="101", email="ana@ostiary.example", hours="Mo-Fr 09:00-17:00")
SPAM = Rule(id=1, kind=RuleKind.EXACT, pattern="+4930900900", treatment=Treatment.BUSY)
PREFIX = Rule(id=2, kind=RuleKind.PREFIX, pattern="+49190")


def directory() -> MemoryDirectory:
    memory = MemoryDirectory(house(AGENT, default=DidPolicy(region="DE")))
    memory.add(ANA, "+4930123456")
    memory.rule(SPAM, PREFIX)
    return memory


def past(number: str, at: int = NOON, **more: object) -> PastCall:
    return PastCall(id=f"{number}@{at}", at=at, number=number, **more)  # type: ignore[arg-type]


CALLS = [past("+4930123456"), past("+4930900900"), past("+491905555"), past("+33140000000", did="100")]


def test_the_same_rules_change_nothing() -> None:
    memory = directory()
    done = replay(CALLS, memory, Edited(memory))
    assert (done.calls, list(done.differences)) == (4, [])
    assert done.verdicts == {("allow", "allow"): 2, ("block", "block"): 2}


def test_rules_that_are_added_and_removed() -> None:
    memory = directory()
    add = [
        Rule(id=3, kind=RuleKind.COUNTRY, pattern="FR"),
        Rule(id=4, kind=RuleKind.EXACT, pattern="+4930123456", treatment=Treatment.VOICEMAIL, target="9"),
    ]
    done = replay(CALLS, memory, Edited(memory, add=add, remove=[1, 2]))
    went = {
        each.call.number: (each.was.verdict.value, each.would_be.verdict.value, each.what)
        for each in done.differences
    }
    assert went == {
        "+4930123456": ("allow", "block", ("verdict", "treatment", "route", "route_type", "ring_seconds")),
        "+4930900900": ("block", "allow", ("verdict", "treatment")),
        "+491905555": ("block", "allow", ("verdict", "treatment")),
        "+33140000000": ("allow", "block", ("verdict", "treatment")),
    }
    assert done.verdicts == {("allow", "block"): 2, ("block", "allow"): 2}
    by_number = {each.call.number: each.would_be for each in done.differences}
    assert by_number["+33140000000"].rule == add[0]


def test_a_rule_takes_the_place_of_one_about_the_same() -> None:
    memory = directory()
    add = [replace(SPAM, id=9, treatment=Treatment.HANGUP), replace(PREFIX, id=10, treatment=Treatment.BUSY)]
    edited = Edited(memory, add=add)
    done = replay(CALLS, memory, edited)
    assert [(each.call.number, each.would_be.treatment, each.what) for each in done.differences] == [
        ("+4930900900", "hangup", ("treatment",)),
        ("+491905555", "busy", ("treatment",)),
    ]
    assert len(edited.policy().rules) == 1
    other_did = [replace(SPAM, id=9, did="100", allow=True)]
    done = replay(
        [past("+4930900900", did="100"), past("+4930900900")], memory, Edited(memory, add=other_did)
    )
    assert [each.call.did for each in done.differences] == ["100"]


def test_another_policy() -> None:
    memory = directory()
    wanted = replace(memory.policy(), default=DidPolicy(region="DE", routing=False))
    done = replay(CALLS, memory, Edited(memory, policy=wanted))
    (difference,) = done.differences
    assert (difference.was.route, difference.would_be.route) == ("101", "")


def test_each_call_is_decided_for_its_own_time() -> None:
    memory = directory()
    wanted = replace(memory.policy(), default=DidPolicy(region="DE", routing=False))
    done = replay([past("+4930123456", NIGHT)], memory, Edited(memory, policy=wanted))
    assert list(done.differences) == []  # nobody was at work anyway
    expired = replace(SPAM, expires_at=NOON + 60)
    memory.exact[SPAM.pattern] = [expired]
    done = replay([past(SPAM.pattern), past(SPAM.pattern, NIGHT)], memory, Edited(memory, remove=[1]))
    assert [each.call.at for each in done.differences] == [NOON]


def test_a_withheld_number_stays_withheld() -> None:
    memory = directory()
    rule = Rule(id=5, kind=RuleKind.ANONYMOUS)
    calls = [past("+4930123456", anonymous=True), past("", anonymous=True), past("+33140000000")]
    done = replay(calls, memory, Edited(memory, add=[rule]))
    assert [each.call.number for each in done.differences] == ["+4930123456", ""]


def test_the_directory_beneath_is_not_touched() -> None:
    memory = directory()
    edited: Directory = Edited(memory, add=[Rule(id=3, kind=RuleKind.PREFIX, pattern="+33")], remove=[1, 2])
    assert decide(past("+33140000000").call(), edited, NOON).verdict is Verdict.BLOCK
    assert decide(past("+33140000000").call(), memory, NOON).verdict is Verdict.ALLOW
    assert memory.exact_rules(SPAM.pattern) == [SPAM]
    assert list(memory.policy().rules) == [PREFIX]
    assert edited.contacts_by_number(4930123456) == [ANA]
    assert edited.contacts_by_switchboard([49]) == []
    assert edited.contacts_by_tail("123456", 6, with_country=False) == [ANA]
    assert edited.last_agent(4930123456, 0) == ""
