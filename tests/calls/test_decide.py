from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.calls.call import Call, Decision, Direction, RouteType, Rung, Verdict
from agi_server.calls.decide import decide, decide_outgoing
from agi_server.calls.directory import Agent, Contact, Rule, RuleKind, Treatment
from agi_server.calls.policy import DidPolicy
from agi_server.calls.reformatting import compile_reformat
from agi_server.calls.screening import RuleBook
from agi_server.errors import DirectoryError
from tests.calls.memory import MemoryDirectory, house

NOW = 1_000_000.0
ANNA = Agent(id=1, name="Anna", extension="201", email="anna@example.com")
ERIKA = Contact(id=7, name="Erika Mustermann", account="ACME", account_id=3, owner_email="anna@example.com")
GERMAN = DidPolicy(region="DE")


@pytest.fixture
def directory() -> MemoryDirectory:
    directory = MemoryDirectory(house(ANNA, default=GERMAN))
    directory.add(ERIKA, "+49 30 123456")
    directory.add(Contact(id=8, name="Globex", kind="Account"), "+49 40 1234-0")
    return directory


def call(number: str = "+4930123456", **changes: object) -> Call:
    return replace(Call(id="c", number=number), **changes)  # type: ignore[arg-type]


def stages(decision: Decision) -> list[tuple[str, str]]:
    return [(step.stage, step.outcome) for step in decision.trace]


def test_a_known_caller(directory: MemoryDirectory) -> None:
    decision = decide(call("030 123456", name="030123456"), directory, NOW)
    assert decision == Decision(
        call=call("030 123456", name="030123456"),
        number=decision.number,
        reason="known",
        rung=Rung.EXACT,
        contact=ERIKA,
        display_name="Erika Mustermann",
        route="201",
        route_type=RouteType.EXTENSION,
        ring_seconds=20,
        agent=ANNA,
        trace=decision.trace,
    )
    assert stages(decision) == [
        ("number", "e164"),
        ("match", "exact"),
        ("screen", "none"),
        ("name", "contact"),
        ("route", "agent"),
    ]


@pytest.mark.parametrize(
    ("number", "reason", "name"),
    [
        ("+4930123456", "known", "Erika Mustermann"),
        ("+4930123457", "unknown", "Trunk"),
        ("+4940123499", "switchboard", "Globex"),
        ("anonymous", "anonymous", "Trunk"),
        ("201", "extension", "Anna"),
        ("204", "unknown", "Trunk"),
    ],
)
def test_reasons(directory: MemoryDirectory, number: str, reason: str, name: str) -> None:
    decision = decide(call(number, name="Trunk"), directory, NOW)
    assert (decision.verdict, decision.reason, decision.display_name) == (Verdict.ALLOW, reason, name)


def test_an_ambiguous_caller(directory: MemoryDirectory) -> None:
    directory.add(Contact(id=9, name="Max", owner_email="max@example.com", active_at=5), "+49 30 123456")
    decision = decide(call(), directory, NOW)
    assert (decision.reason, decision.ambiguous, decision.contact) == ("ambiguous", True, None)
    assert (decision.display_name, decision.route) == ("Max", "")


def test_several_of_a_company(directory: MemoryDirectory) -> None:
    directory.add(replace(ERIKA, id=9, name="Max"), "+49 30 123456")
    decision = decide(call(), directory, NOW)
    assert (decision.reason, decision.contact, decision.company) == ("known", None, "ACME")
    assert (decision.display_name, decision.route) == ("ACME", "201")


def test_a_blocked_call_goes_where_the_rule_says_and_to_nobody_else(directory: MemoryDirectory) -> None:
    rule = Rule(
        id=1, kind=RuleKind.EXACT, pattern="+4930123456", treatment=Treatment.VOICEMAIL, target="700@default"
    )
    directory.rule(rule)
    decision = decide(call(), directory, NOW)
    assert (decision.verdict, decision.reason, decision.rule) == (Verdict.BLOCK, "blacklist-exact", rule)
    assert (decision.treatment, decision.route, decision.route_type) == (
        "voicemail",
        "700@default",
        RouteType.VOICEMAIL,
    )
    assert (decision.agent, decision.ring_seconds, decision.fallback) == (None, 0, "")
    assert decision.display_name == "Erika Mustermann"


@pytest.mark.parametrize("kind", list(RuleKind))
def test_the_reason_names_the_kind_of_rule(directory: MemoryDirectory, kind: RuleKind) -> None:
    pattern = {
        RuleKind.EXACT: "+33123456789",
        RuleKind.PREFIX: "+33",
        RuleKind.REGEX: "^.33",
        RuleKind.COUNTRY: "FR",
    }
    directory.rule(Rule(id=1, kind=kind, pattern=pattern.get(kind, "")))
    number = "" if kind is RuleKind.ANONYMOUS else "+33123456789"
    decision = decide(call(number), directory, NOW)
    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, f"blacklist-{kind.value}")
    assert decision.treatment == "hangup"


def test_an_allow_list_entry(directory: MemoryDirectory) -> None:
    rule = Rule(id=1, kind=RuleKind.EXACT, pattern="+33123456789", allow=True)
    directory.rule(rule, Rule(id=2, kind=RuleKind.COUNTRY, pattern="FR"))
    decision = decide(call("+33123456789"), directory, NOW)
    assert (decision.verdict, decision.reason, decision.rule) == (Verdict.ALLOW, "allow-list", rule)


def test_known_contacts_bypass_pattern_rules_if_the_policy_says_so(directory: MemoryDirectory) -> None:
    directory.rule(Rule(id=1, kind=RuleKind.PREFIX, pattern="+49"))
    assert decide(call(), directory, NOW).verdict is Verdict.ALLOW
    assert decide(call("+4930999999"), directory, NOW).verdict is Verdict.BLOCK
    assert decide(call("+4940123499"), directory, NOW).verdict is Verdict.ALLOW  # their company is known
    directory.house = replace(directory.house, known_bypass=False)
    assert decide(call(), directory, NOW).verdict is Verdict.BLOCK


def test_a_contact_that_is_but_a_number_is_no_known_contact(directory: MemoryDirectory) -> None:
    """The insert look-up makes such contacts: of whoever got through once."""
    directory.add(Contact(id=9, name="+33123456789"), "+33123456789")
    decision = decide(call("+33123456789", name="Paris"), directory, NOW)
    assert (decision.reason, decision.display_name) == ("known", "Paris")
    directory.rule(Rule(id=1, kind=RuleKind.COUNTRY, pattern="FR"))
    assert decide(call("+33123456789"), directory, NOW).verdict is Verdict.BLOCK


def test_a_withheld_number_is_neither_matched_nor_screened_nor_shown(directory: MemoryDirectory) -> None:
    directory.rule(Rule(id=1, kind=RuleKind.EXACT, pattern="+4930123456"))
    decision = decide(call(presentation=32), directory, NOW)
    assert (decision.verdict, decision.reason, decision.contact) == (Verdict.ALLOW, "anonymous", None)
    assert decision.number.text == ""
    directory.house = replace(directory.house, use_restricted=True)
    assert decide(call(presentation=32), directory, NOW).verdict is Verdict.BLOCK


SWITCHES: list[tuple[str, Callable[[Decision], bool]]] = [
    ("identify", lambda decision: decision.contact is None and decision.reason == "unknown"),
    ("naming", lambda decision: decision.display_name == "Trunk"),
    ("screening", lambda decision: decision.rule is None),
    ("routing", lambda decision: decision.route == ""),
]


@pytest.mark.parametrize("off", range(4))
def test_each_switch_of_a_did(directory: MemoryDirectory, off: int) -> None:
    directory.rule(Rule(id=1, kind=RuleKind.EXACT, pattern="+4930123456", allow=True))
    did = replace(GERMAN, **{SWITCHES[off][0]: False})  # type: ignore[arg-type]
    directory.house = replace(directory.house, dids={"4930999": did})
    if SWITCHES[off][0] == "identify":
        directory.exact.clear()
    decision = decide(call(did="+49 30 999", name="Trunk"), directory, NOW)
    other = decide(call(did="4930998", name="Trunk"), directory, NOW)
    for index, (switch, effect) in enumerate(SWITCHES):
        assert effect(other) is (switch == "screening" and not directory.exact)
        if index == off:
            assert effect(decision)
    assert "error" not in dict(stages(decision))


def test_identification_off_still_knows_an_anonymous_caller(directory: MemoryDirectory) -> None:
    directory.house = replace(directory.house, default=replace(GERMAN, identify=False))
    assert decide(call("anonymous"), directory, NOW).reason == "anonymous"


def test_whom_a_contact_is_made_of() -> None:
    directory = Failing(house(ANNA, default=replace(GERMAN, create_contacts=True)))
    directory.add(ERIKA, "+49 30 123456")
    directory.rule(Rule(id=1, kind=RuleKind.PREFIX, pattern="+33"))
    callers = ("+4930999999", "20499", "+4930123456", "201", "anonymous", "+33123456789")
    made = [decide(call(number), directory, NOW).create_contact for number in callers]
    assert made == [True, True, False, False, False, False]
    directory.house = replace(directory.house, default=replace(GERMAN, create_contacts=True, identify=False))
    assert not decide(call("+4930999999"), directory, NOW).create_contact
    directory.house = replace(directory.house, default=GERMAN)
    assert not decide(call("+4930999999"), directory, NOW).create_contact
    directory.house = replace(directory.house, default=replace(GERMAN, create_contacts=True))
    directory.fail("contacts_by_number", DirectoryError("disk on fire"))
    assert not decide(call("+4930999999"), directory, NOW).create_contact  # perhaps there is one


def test_the_did_s_region_reads_the_number(directory: MemoryDirectory) -> None:
    directory.house = replace(directory.house, dids={"1212555": DidPolicy(region="US")})
    assert decide(call("(212) 555-1234", did="+1212555"), directory, NOW).number.text == "+12125551234"


def test_reformatting_goes_first(directory: MemoryDirectory) -> None:
    rules = (
        compile_reformat(trunk="odd", match=r"9(\d+)", replace=r"0\1"),
        compile_reformat(direction="outbound", match=r"\*9(\d+)", replace=r"0\1"),
    )
    directory.house = replace(directory.house, reformat=rules)
    decision = decide(call("930123456", trunk="odd"), directory, NOW)
    assert decision.contact == ERIKA
    assert stages(decision)[0] == ("number", "reformatted")
    assert decision.call.number == "930123456"
    assert decide(call("930123456"), directory, NOW).contact is None
    assert decide_outgoing(call("*930123456"), directory, NOW).contact == ERIKA


def test_an_outgoing_call(directory: MemoryDirectory) -> None:
    directory.rule(Rule(id=1, kind=RuleKind.EXACT, pattern="+4930123456"))
    asked = call("030123456", name="Anna", extension="201", presentation=32, direction=Direction.OUTBOUND)
    decision = decide_outgoing(asked, directory, NOW)
    assert (decision.call, decision.verdict, decision.reason) == (asked, Verdict.ALLOW, "known")
    assert (decision.contact, decision.display_name, decision.agent) == (ERIKA, "Erika Mustermann", ANNA)
    assert (decision.route, decision.rule) == ("", None)
    assert decide_outgoing(replace(asked, number="201"), directory, NOW).display_name == "Anna"
    unknown = decide_outgoing(replace(asked, number="030999999"), directory, NOW)
    assert (unknown.display_name, unknown.reason) == ("", "unknown")


class Failing(MemoryDirectory):
    """A directory of which one question fails."""

    def fail(self, question: str, error: Exception) -> None:
        def failing(*_: object, **__: object) -> None:
            raise error

        setattr(self, question, failing)


QUESTIONS = {
    "policy": "policy",
    "contacts_by_number": "match",
    "contacts_by_switchboard": "match",
    "exact_rules": "screen",
    "last_agent": "route",
}


@pytest.mark.parametrize(
    "error", [DirectoryError("disk on fire"), ValueError("+4930"), KeyError(), OSError(5)]
)
@pytest.mark.parametrize("question", QUESTIONS)
def test_whatever_fails_the_call_goes_on(question: str, error: Exception) -> None:
    directory = Failing(house(ANNA, default=replace(GERMAN, last_agent_minutes=5)))
    if question != "contacts_by_switchboard":
        directory.add(ERIKA, "+49 30 123456")
    directory.rule(Rule(id=1, kind=RuleKind.EXACT, pattern="+4930123456", allow=True))
    directory.fail(question, error)
    decision = decide(call(name="Trunk"), directory, NOW)
    assert (decision.verdict, decision.reason) == (Verdict.ALLOW, "error")
    (step,) = [step for step in decision.trace if step.stage == "error"]
    assert step.outcome == QUESTIONS[question]
    if isinstance(error, DirectoryError):
        assert step.detail == "disk on fire"
    else:
        assert "+4930" not in step.detail  # may be personal
    assert decision.display_name == ("Trunk" if step.outcome == "match" else "Erika Mustermann")
    assert decide_outgoing(call(), directory, NOW).verdict is Verdict.ALLOW


def test_an_error_lets_a_block_stand_that_a_rule_decided() -> None:
    directory = Failing(house(ANNA, default=GERMAN))
    directory.rule(Rule(id=1, kind=RuleKind.EXACT, pattern="+4930123456"))
    directory.fail("contacts_by_number", DirectoryError("disk on fire"))
    decision = decide(call(), directory, NOW)
    assert (decision.verdict, decision.reason) == (Verdict.BLOCK, "blacklist-exact")


def test_an_error_blocks_nobody_who_may_be_a_known_contact() -> None:
    directory = Failing(house(ANNA, default=GERMAN))
    directory.rule(Rule(id=1, kind=RuleKind.COUNTRY, pattern="DE"))
    assert decide(call(), directory, NOW).verdict is Verdict.BLOCK
    directory.fail("contacts_by_number", DirectoryError("disk on fire"))
    assert decide(call(), directory, NOW).verdict is Verdict.ALLOW
    directory.house = replace(directory.house, known_bypass=False)
    assert decide(call(), directory, NOW).verdict is Verdict.BLOCK


def test_without_a_policy_nobody_is_screened() -> None:
    directory = Failing(house(ANNA, default=GERMAN))
    directory.rule(Rule(id=1, kind=RuleKind.EXACT, pattern="+4930123456"))
    directory.fail("policy", DirectoryError("disk on fire"))
    assert decide(call(), directory, NOW).verdict is Verdict.ALLOW


def test_a_template_nobody_checked_costs_the_name_only(directory: MemoryDirectory) -> None:
    directory.house = replace(directory.house, default=replace(GERMAN, template="{nonsense}"))
    decision = decide(call(name="Trunk"), directory, NOW)
    assert (decision.display_name, decision.route, decision.reason) == ("Trunk", "201", "error")
    assert ("error", "name") in stages(decision)


class Broken:
    """A rule book that fails."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)


def test_a_number_that_cannot_be_read_for_an_error_is_not_blocked_as_anonymous(
    directory: MemoryDirectory,
) -> None:
    directory.rule(Rule(id=1, kind=RuleKind.ANONYMOUS))
    assert decide(call(""), directory, NOW).verdict is Verdict.BLOCK
    directory.house = replace(directory.house, reformat=(Broken(),))  # type: ignore[arg-type]
    decision = decide(call(""), directory, NOW)
    assert (decision.verdict, decision.reason) == (Verdict.ALLOW, "error")


def test_a_failing_rule_book_blocks_nobody(directory: MemoryDirectory) -> None:
    directory.house = replace(directory.house, rules=Broken())  # type: ignore[arg-type]
    assert decide(call("+33123456789"), directory, NOW).verdict is Verdict.ALLOW
    assert decide(call(), directory, NOW).reason == "known"


@settings(max_examples=300)
@given(
    number=st.one_of(
        st.text(max_size=60), st.sampled_from(["+4930123456", "201", "anonymous", "+33123456789"])
    ),
    name=st.text(max_size=60),
    did=st.text(max_size=20),
    trunk=st.text(max_size=20),
    presentation=st.sampled_from([0, 1, 32, 67, 255, -1]),
)
def test_any_call_gets_a_decision_fit_for_a_pbx(
    number: str, name: str, did: str, trunk: str, presentation: int
) -> None:
    directory = MemoryDirectory(house(ANNA, default=replace(GERMAN, template="{name} {did} {trunk_name}")))
    directory.add(ERIKA, "+49 30 123456")
    directory.house = replace(
        directory.house,
        rules=RuleBook([Rule(id=1, kind=RuleKind.COUNTRY, pattern="FR")]),
        reformat=(compile_reformat(match=r"x(.*)", replace=r"\1"),),
        own_extensions="[1-8][0-9]",
    )
    asked = Call(id="c", number=number, name=name, did=did, trunk=trunk, presentation=presentation)
    for decision in (decide(asked, directory, NOW), decide_outgoing(asked, directory, NOW)):
        assert re.fullmatch(r"[a-z0-9_-]+", decision.reason)
        assert decision.reason != "error"
        assert re.fullmatch(r"[A-Za-z0-9_/@.+&-]*", decision.route)
        assert len(decision.display_name) <= 40
        assert decision.display_name.splitlines() in ([], [decision.display_name])
        assert all("+4930" not in step.detail for step in decision.trace)
        if decision.verdict is Verdict.BLOCK:
            assert decision.rule is not None
