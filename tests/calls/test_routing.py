from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.calls.call import RouteType, Rung, TraceStep
from agi_server.calls.directory import Agent, Contact, Rule, RuleKind, Treatment
from agi_server.calls.identify import NOBODY, Match
from agi_server.calls.numbers import normalise
from agi_server.calls.policy import DidPolicy, Policy
from agi_server.calls.routing import Route, diallable, find_route, route_type, treat
from tests.calls.memory import MemoryDirectory, house

NOW = 1_000_000.0
CALLER = "+4930123456"
ANNA = Agent(id=1, name="Anna", extension="201", email="anna@example.com", salesforce_user_id="005A")
BEN = Agent(id=2, name="Ben", extension="202", email="ben@example.com")
CARA = Agent(id=3, name="Cara", extension="203")
AWAY = int(NOW) + 1
ERIKA = Contact(id=1, name="Erika", owner_email="anna@example.com")


def known(contact: Contact = ERIKA) -> Match:
    return Match(Rung.EXACT, TraceStep("match", "exact"), contact, contact, "", contact)


def ask(
    match: Match,
    policy: Policy,
    did: DidPolicy | None = None,
    caller: str = CALLER,
    last: tuple[int, str] = (0, ""),
) -> tuple[Route, list[TraceStep]]:
    directory = MemoryDirectory(policy)
    number = normalise(caller, "DE")
    directory.spoken[number.e164] = last
    steps: list[TraceStep] = []
    did = did or policy.default
    return find_route(number, match, policy, did=did, directory=directory, now=NOW, steps=steps), steps


def target(match: Match, policy: Policy, **changes: object) -> str:
    return ask(match, policy, **changes)[0].route  # type: ignore[arg-type]


def test_the_owner_by_e_mail() -> None:
    route, steps = ask(known(), house(ANNA, BEN))
    assert route == Route(ANNA, "201", RouteType.EXTENSION, 20, "")
    assert steps == [TraceStep("route", "agent", "the owner", "201")]


def test_the_explicit_mapping_goes_before_the_e_mail() -> None:
    contact = replace(ERIKA, owner_salesforce_id="005A", owner_email="ben@example.com")
    assert target(known(contact), house(ANNA, BEN)) == "201"
    assert target(known(replace(contact, owner_salesforce_id="005X")), house(ANNA, BEN)) == "202"


def test_nobody_is_the_pbx_s_own_plan() -> None:
    route, steps = ask(NOBODY, house(ANNA))
    assert route == Route()
    assert steps[-1].outcome == "none"
    assert target(known(replace(ERIKA, owner_email="who@example.com")), house(ANNA)) == ""


def test_an_ambiguous_caller_is_not_routed_to_a_guess_but_to_the_default_agent() -> None:
    several = Match(Rung.EXACT, TraceStep("match", "ambiguous"), shown=ERIKA, ambiguous=True)
    assert target(several, house(ANNA, BEN)) == ""
    assert target(several, house(ANNA, BEN, default=DidPolicy(default_agent="202"))) == "202"


def test_several_of_one_owner_reach_the_owner() -> None:
    several = Match(Rung.EXACT, TraceStep("match", "exact"), shown=ERIKA, owned=ERIKA)
    assert target(several, house(ANNA)) == "201"


def test_who_spoke_last_goes_first_if_at_work() -> None:
    did = DidPolicy(last_agent_minutes=10)
    policy = house(ANNA, BEN, replace(CARA, absent_until=AWAY))
    recent = int(NOW) - 599
    assert target(known(), policy, did=did, last=(recent, "202")) == "202"
    assert target(NOBODY, policy, did=did, last=(recent, "202")) == "202"
    assert target(known(), policy, did=did, last=(recent - 1, "202")) == "201"
    assert target(known(), policy, did=did, last=(recent, "203")) == "201"
    assert target(known(), policy, did=did, last=(recent, "999")) == "201"
    assert target(known(), policy, last=(recent, "202")) == "201"  # off


def test_delegates_in_turn() -> None:
    away = replace(ANNA, absent_until=AWAY, delegate=2)
    assert target(known(), house(away, BEN, CARA)) == "202"
    assert target(known(), house(away, replace(BEN, absent_until=AWAY, delegate=3), CARA)) == "203"
    assert target(known(), house(replace(away, delegate=9), BEN)) == ""


def test_people_who_stand_in_for_each_other_do_not_hang_the_call() -> None:
    away = [replace(agent, absent_until=AWAY) for agent in (ANNA, BEN, CARA)]
    circle = [replace(agent, delegate=agent.id % 3 + 1) for agent in away]
    route, steps = ask(known(), house(*circle))
    assert (route.route, [step.outcome for step in steps]) == ("", ["away", "away", "away", "none"])
    assert target(known(), house(replace(away[0], delegate=1))) == ""


def test_the_default_agent_of_the_did_then_of_the_house() -> None:
    did = DidPolicy(default_agent="202")
    policy = house(ANNA, BEN, CARA, default=DidPolicy(default_agent="203"))
    assert target(NOBODY, policy, did=did) == "202"
    policy = house(ANNA, replace(BEN, absent_until=AWAY), CARA, default=DidPolicy(default_agent="203"))
    assert target(NOBODY, policy, did=did) == "203"
    policy = house(ANNA, replace(BEN, absent_until=AWAY))
    assert target(NOBODY, policy, did=did) == ""
    assert target(NOBODY, policy, did=DidPolicy(default_agent="600")) == "600"  # a group: no hours


def test_vips() -> None:
    vip = known(replace(ERIKA, vip=True))
    changes = {"vip_agent": "203", "vip_ring_seconds": 45}
    away = replace(ANNA, absent_until=AWAY, delegate=2)
    assert ask(vip, house(ANNA, BEN, CARA, **changes))[0][1:4] == ("201", RouteType.EXTENSION, 45)
    assert target(vip, house(away, BEN, CARA, **changes)) == "203"
    assert target(vip, house(BEN, CARA, **changes)) == "203"
    assert target(vip, house(away, BEN, replace(CARA, absent_until=AWAY), **changes)) == "202"
    assert ask(known(), house(away, BEN, CARA, **changes))[0][1:4] == ("202", RouteType.EXTENSION, 20)
    assert ask(vip, house(ANNA, vip_agent="203"))[0].ring_seconds == 20


def test_own_extensions_are_never_routed() -> None:
    caller = Match(Rung.EXTENSION, TraceStep("match", "extension"), agent=ANNA)
    policy = house(ANNA, BEN, default=DidPolicy(default_agent="202"))
    assert ask(caller, policy, caller="201")[0] == Route()


def test_nobody_is_sent_to_himself() -> None:
    policy = house(ANNA, BEN, default=DidPolicy(default_agent="555"))
    route, steps = ask(NOBODY, policy, caller="555")
    assert route == Route()
    assert steps[0].outcome == "self"


def test_ring_time_and_fallback_of_the_agent_then_of_the_did() -> None:
    did = DidPolicy(ring_seconds=15, fallback="600")
    assert ask(known(), house(ANNA), did)[0][3:] == (15, "600")
    assert ask(known(), house(replace(ANNA, ring_seconds=7, fallback="700")), did)[0][3:] == (7, "700")
    assert ask(known(), house(ANNA), replace(did, fallback="201"))[0].fallback == ""


@pytest.mark.parametrize("text", ["201&System(x)", "20 1", "201\n", "2,1", "${X}", "201)", "２０１", "201;"])
def test_what_may_not_be_dialled_is_dropped(text: str) -> None:
    assert not diallable(text)
    policy = house(replace(ANNA, extension=text, delegate=2), BEN)
    route, steps = ask(known(), policy)
    assert route.route == "202"
    assert steps[0].outcome == "dropped"
    route, steps = ask(known(), house(replace(ANNA, fallback=text)))
    assert (route.route, route.fallback) == ("201", "")
    assert steps[-1].outcome == "dropped"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", RouteType.NONE),
        ("201", RouteType.EXTENSION),
        ("600", RouteType.EXTENSION),
        ("+4930123", RouteType.EXTERNAL),
        ("PJSIP/trunk", RouteType.EXTERNAL),
        ("a@b", RouteType.EXTERNAL),
        ("PJSIP/201", RouteType.EXTENSION),
    ],
)
def test_kinds_of_targets(text: str, kind: RouteType) -> None:
    assert route_type(text, house(ANNA, replace(BEN, extension="PJSIP/201"))) is kind


@pytest.mark.parametrize(
    ("treatment", "text", "expected"),
    [
        (Treatment.HANGUP, "600", ("hangup", Route())),
        (Treatment.BUSY, "", ("busy", Route())),
        (Treatment.CONGESTION, "", ("congestion", Route())),
        (Treatment.VOICEMAIL, "700@default", ("voicemail", Route(None, "700@default", RouteType.VOICEMAIL))),
        (Treatment.ANNOUNCE, "custom/no", ("announce", Route(None, "custom/no"))),
        (Treatment.REDIRECT, "600", ("redirect", Route(None, "600", RouteType.EXTENSION))),
        (Treatment.REDIRECT, "+4930123", ("redirect", Route(None, "+4930123", RouteType.EXTERNAL))),
        (Treatment.REDIRECT, "", ("hangup", Route())),
        (Treatment.REDIRECT, "6 00", ("hangup", Route())),
        (Treatment.VOICEMAIL, "7,00", ("voicemail", Route(None, "", RouteType.VOICEMAIL))),
    ],
)
def test_treatment_of_a_blocked_call(treatment: Treatment, text: str, expected: tuple[str, Route]) -> None:
    rule = Rule(id=1, kind=RuleKind.ANONYMOUS, treatment=treatment, target=text)
    steps: list[TraceStep] = []
    assert treat(rule, house(ANNA), steps) == expected
    assert bool(steps) == (" " in text or "," in text)


AGENTS = st.lists(
    st.builds(
        Agent,
        id=st.integers(1, 5),
        name=st.just("A"),
        extension=st.sampled_from(["201", "202", "203", "204", "x y"]),
        email=st.sampled_from(["", "anna@example.com"]),
        delegate=st.integers(0, 6),
        absent_until=st.sampled_from([0, AWAY]),
        fallback=st.sampled_from(["", "201", "a b", "600"]),
        ring_seconds=st.integers(0, 9),
    ),
    max_size=5,
    unique_by=(lambda agent: agent.id, lambda agent: agent.extension),
)
EXTENSIONS = st.sampled_from(["", "201", "202", "600", "x y"])


@settings(max_examples=300)
@given(AGENTS, st.booleans(), EXTENSIONS, EXTENSIONS, EXTENSIONS)
def test_whoever_is_named_is_at_work_and_may_be_dialled(
    agents: list[Agent], vip: bool, default: str, vip_agent: str, last: str
) -> None:
    did = DidPolicy(default_agent=default, last_agent_minutes=5)
    policy = house(*agents, vip_agent=vip_agent)
    route, steps = ask(known(replace(ERIKA, vip=vip)), policy, did, last=(int(NOW), last))
    assert diallable(route.route)
    assert diallable(route.fallback)
    assert steps
    if route.agent is not None:
        assert route.agent.absent_until <= NOW
        assert route.route == route.agent.extension
    assert (route.route == "") == (route.ring_seconds == 0)
    assert (route.route == "") == (route.route_type is RouteType.NONE)
