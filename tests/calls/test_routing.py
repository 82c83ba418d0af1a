from __future__ import annotations

from collections.abc import Mapping
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
from agi_server.errors import DirectoryError
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
    *,
    caller: str = CALLER,
    last: tuple[int, str] = (0, ""),
    states: Mapping[str, tuple[int, str]] | None = None,
) -> tuple[Route, list[TraceStep]]:
    directory = MemoryDirectory(policy, states=dict(states or {}))
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


def phone(extension: str, state: str, ago: int = 0) -> dict[str, tuple[int, str]]:
    return {extension: (int(NOW) - ago, state)}


SKIP = {"skip_busy": True, "state_seconds": 30}


@pytest.mark.parametrize("state", ["busy", "unreachable", "paused"])
def test_a_busy_owner_is_not_rung_but_stays_responsible(state: str) -> None:
    owner = replace(ANNA, fallback="600", ring_seconds=7)
    route, steps = ask(
        known(), house(owner, BEN, **SKIP), DidPolicy(ring_seconds=15), states=phone("201", state)
    )
    assert route == Route(owner, "600", RouteType.EXTERNAL, 15, "")
    assert [step.outcome for step in steps] == [state, "fallback"]
    assert (steps[0].personal, steps[1].personal) == ("Anna", "600")


@pytest.mark.parametrize("state", ["free", "ringing", "", "on the moon"])
def test_whoever_is_not_known_to_be_busy_is_rung(state: str) -> None:
    policy = house(replace(ANNA, fallback="600"), **SKIP)
    assert ask(known(), policy, states=phone("201", state))[0][1:] == ("201", RouteType.EXTENSION, 20, "600")


def test_what_a_pbx_told_counts_for_a_while_and_where_it_is_wanted() -> None:
    policy = house(replace(ANNA, fallback="600"), **SKIP)
    assert target(known(), policy, states=phone("201", "busy", 30)) == "600"
    assert target(known(), policy, states=phone("201", "busy", 31)) == "201"
    assert target(known(), replace(policy, skip_busy=False), states=phone("201", "busy")) == "201"


def test_the_fallback_of_a_busy_agent_is_his_own_then_the_did_s() -> None:
    busy = phone("201", "busy")
    did = DidPolicy(fallback="202")
    assert ask(known(), house(ANNA, BEN, **SKIP), did, states=busy)[0] == Route(
        ANNA, "202", RouteType.EXTENSION, 20, ""
    )
    owner = replace(ANNA, fallback="203", delegate=2)
    assert target(known(), house(owner, BEN, CARA, **SKIP), did=did, states=busy) == "203"
    for nowhere in ("2,1", "201"):  # it may not be dialled; it is himself
        assert target(known(), house(replace(owner, fallback=nowhere), BEN, **SKIP), states=busy) == "202"


def test_without_a_fallback_the_next_in_turn_is_rung() -> None:
    busy = phone("201", "busy")
    policy = house(replace(ANNA, delegate=2), BEN, CARA, default=DidPolicy(default_agent="203"), **SKIP)
    route, steps = ask(known(), policy, states=busy)
    assert (route.agent, route.route) == (BEN, "202")
    assert [step.outcome for step in steps] == ["busy", "agent"]
    assert target(known(), policy, states=busy | phone("202", "paused")) == "203"
    route, steps = ask(known(), policy, states=busy | phone("202", "paused") | phone("203", "unreachable"))
    assert route == Route(policy.by_id[1])  # the owner: who is to call back
    assert [step.outcome for step in steps] == ["busy", "paused", "unreachable", "none"]
    assert "free" in steps[-1].detail


def test_a_group_has_no_state() -> None:
    policy = house(default=DidPolicy(default_agent="600"), **SKIP)
    assert target(NOBODY, policy, states=phone("600", "busy")) == "600"


def test_who_cannot_be_asked_about_counts_as_free() -> None:
    class Broken(MemoryDirectory):
        def agent_state(self, extension: str, since: int) -> str:
            del extension, since
            raise DirectoryError("the file is gone")

    policy = house(ANNA, **SKIP)
    route = find_route(
        normalise(CALLER, "DE"),
        known(),
        policy,
        did=policy.default,
        directory=Broken(policy),
        now=NOW,
        steps=[],
    )
    assert route.route == "201"


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


STATES = st.dictionaries(
    st.sampled_from(["201", "202", "203", "600"]),
    st.tuples(
        st.integers(int(NOW) - 60, int(NOW)), st.sampled_from(["free", "busy", "unreachable", "paused"])
    ),
)


@settings(max_examples=300)
@given(AGENTS, st.booleans(), st.tuples(EXTENSIONS, EXTENSIONS, EXTENSIONS), STATES)
def test_whoever_is_named_is_at_work_and_free_and_may_be_dialled(
    agents: list[Agent],
    vip: bool,
    named: tuple[str, str, str],
    states: dict[str, tuple[int, str]],
) -> None:
    default, vip_agent, last = named
    did = DidPolicy(default_agent=default, last_agent_minutes=5)
    policy = house(*agents, vip_agent=vip_agent, **SKIP)
    route, steps = ask(known(replace(ERIKA, vip=vip)), policy, did, last=(int(NOW), last), states=states)
    assert diallable(route.route)
    assert diallable(route.fallback)
    assert steps
    if route.agent is not None:
        assert route.agent.absent_until <= NOW
        at, state = states.get(route.agent.extension, (0, ""))
        if route.route == route.agent.extension:
            assert state in {"", "free"} or at < NOW - 30
        else:  # whoever is responsible and is not rung
            assert state in {"busy", "unreachable", "paused"}
            assert at >= NOW - 30
    assert (route.route == "") == (route.ring_seconds == 0)
    assert (route.route == "") == (route.route_type is RouteType.NONE)
