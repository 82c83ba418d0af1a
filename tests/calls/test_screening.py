from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.calls.call import Verdict
from agi_server.calls.directory import Rule, RuleKind
from agi_server.calls.numbers import NumberState, country_of, normalise
from agi_server.calls.screening import RuleBook, Screened, check_rule, scope_of, screen
from agi_server.errors import InputError
from tests.calls.memory import MemoryDirectory

CALLER = "+4930123456"
EXACT = Rule(id=1, kind=RuleKind.EXACT, pattern=CALLER)
PREFIX = Rule(id=2, kind=RuleKind.PREFIX, pattern="+4930")
LONGER = Rule(id=3, kind=RuleKind.PREFIX, pattern="+49301")
REGEX = Rule(id=4, kind=RuleKind.REGEX, pattern="^\\+49")
COUNTRY = Rule(id=5, kind=RuleKind.COUNTRY, pattern="DE")
CALLING_CODE = Rule(id=6, kind=RuleKind.COUNTRY, pattern="+49")
ANONYMOUS = Rule(id=7, kind=RuleKind.ANONYMOUS)
EVERY = (EXACT, LONGER, PREFIX, REGEX, COUNTRY)


def allow(rule: Rule) -> Rule:
    return replace(rule, allow=True, id=rule.id + 100)


def ask(
    *rules: Rule, caller: str = CALLER, did: str = "", now: float = 1000, known: bool = False
) -> Screened:
    directory = MemoryDirectory()
    directory.rule(*rules)
    number = normalise(caller, "DE")
    return screen(number, did, directory, book=directory.house.rules, now=now, known=known)


def test_no_rule_no_block() -> None:
    assert ask()[:2] == (Verdict.ALLOW, None)


@pytest.mark.parametrize("rule", [*EVERY, CALLING_CODE], ids=lambda rule: rule.pattern)
def test_every_kind_blocks(rule: Rule) -> None:
    assert ask(rule)[:2] == (Verdict.BLOCK, rule)
    assert ask(rule, caller="+12125551234")[:2] == (Verdict.ALLOW, None)


@pytest.mark.parametrize("index", range(len(EVERY) - 1))
def test_the_more_specific_rule_wins_whatever_it_says(index: int) -> None:
    special, general = EVERY[index], EVERY[index + 1]
    for rules in ((special, allow(general)), (allow(general), special)):
        assert ask(*rules)[:2] == (Verdict.BLOCK, special)
    for rules in ((allow(special), general), (general, allow(special))):
        assert ask(*rules)[:2] == (Verdict.ALLOW, allow(special))


@pytest.mark.parametrize("rule", [*EVERY, ANONYMOUS], ids=lambda rule: rule.kind)
def test_between_equals_allow_wins_and_the_trace_says_so(rule: Rule) -> None:
    caller = "" if rule is ANONYMOUS else CALLER
    for rules in ((rule, allow(rule)), (allow(rule), rule)):
        screened = ask(*rules, caller=caller)
        assert screened.verdict is Verdict.ALLOW
        assert "allow wins between equals" in screened.step.detail


@pytest.mark.parametrize("rule", [*EVERY, ANONYMOUS], ids=lambda rule: rule.kind)
def test_between_equals_the_rule_for_this_did_wins(rule: Rule) -> None:
    caller = "" if rule is ANONYMOUS else CALLER
    scoped = replace(rule, did="+49 (30) 999", id=50)
    assert ask(scoped, allow(rule), caller=caller, did="4930999")[:2] == (Verdict.BLOCK, scoped)
    assert "is for this DID" in ask(scoped, allow(rule), caller=caller, did="4930999").step.detail
    assert ask(scoped, allow(rule), caller=caller, did="4930998").verdict is Verdict.ALLOW
    assert ask(scoped, caller=caller, did="")[:2] == (Verdict.ALLOW, None)


def test_a_longer_prefix_beats_one_for_this_did() -> None:
    scoped = replace(allow(PREFIX), did="999")
    screened = ask(LONGER, scoped, did="999")
    assert screened.rule == LONGER
    assert "longer prefix" in screened.step.detail


def test_scope_of_a_did() -> None:
    assert scope_of("+49 30-99") == "493099"
    assert scope_of(" Sales ") == "sales"


@pytest.mark.parametrize("rule", [*EVERY, ANONYMOUS], ids=lambda rule: rule.kind)
def test_expired_rules_do_not_count(rule: Rule) -> None:
    caller = "" if rule is ANONYMOUS else CALLER
    assert ask(replace(rule, expires_at=1001), caller=caller).verdict is Verdict.BLOCK
    assert ask(replace(rule, expires_at=1000), caller=caller)[:2] == (Verdict.ALLOW, None)


def test_known_contacts_are_met_by_exact_rules_only() -> None:
    assert ask(*EVERY[1:], known=True)[:2] == (Verdict.ALLOW, None)
    assert ask(*EVERY, known=True)[:2] == (Verdict.BLOCK, EXACT)


@pytest.mark.parametrize("pattern", ["", ".*", "^$", "x*"])
def test_anonymous_rules_for_anonymous_callers_only(pattern: str) -> None:
    number_rules = (*EVERY, replace(REGEX, id=8, pattern=pattern or "^"))
    assert ask(*number_rules, caller="anonymous")[:2] == (Verdict.ALLOW, None)
    assert ask(*number_rules, ANONYMOUS, caller="anonymous")[:2] == (Verdict.BLOCK, ANONYMOUS)
    assert ask(ANONYMOUS)[:2] == (Verdict.ALLOW, None)


def test_numbers_without_a_country() -> None:
    assert ask(replace(EXACT, pattern="204"), caller="204").verdict is Verdict.BLOCK
    assert ask(replace(PREFIX, pattern="20"), caller="204").verdict is Verdict.BLOCK
    assert ask(replace(REGEX, pattern="^2"), caller="204").verdict is Verdict.BLOCK
    assert ask(replace(PREFIX, pattern="+20"), caller="204").verdict is Verdict.ALLOW
    assert ask(COUNTRY, CALLING_CODE, caller="204").verdict is Verdict.ALLOW


def test_a_country_of_several_behind_one_calling_code() -> None:
    canada = replace(COUNTRY, pattern="CA")
    assert ask(canada, caller="+14165551234").verdict is Verdict.BLOCK
    assert ask(canada, caller="+12125551234").verdict is Verdict.ALLOW
    assert ask(replace(COUNTRY, pattern="+1"), caller="+14165551234").verdict is Verdict.BLOCK


def test_a_broken_rule_does_not_take_the_others_with_it() -> None:
    broken = [replace(REGEX, id=9, pattern="("), replace(PREFIX, id=10, pattern="")]
    book = RuleBook([*broken, REGEX])
    assert [rule for rule, _ in book.broken] == broken
    assert len(book) == 1
    assert ask(*broken, REGEX).rule == REGEX


def test_two_thousand_expressions_cost_one_pass() -> None:
    rules = [Rule(id=n, kind=RuleKind.REGEX, pattern=f"^\\+33{n}\\d*(1+)*$") for n in range(1000, 3000)]
    book = RuleBook([*rules, REGEX])
    number = normalise(CALLER, "DE")
    assert list(book.matching(number)) == [REGEX]
    assert [rule.id for rule in book.matching(normalise("+33200011111", "DE"))] == [2000]
    started = time.process_time()
    for _ in range(200):
        list(book.matching(number))
    assert time.process_time() - started < 0.5  # one after the other they would take seconds


def test_no_expression_can_hang_a_call() -> None:
    book = RuleBook([replace(REGEX, pattern="^\\+(4|9|49|3|0)*(1*)*(2*)*x$")])
    started = time.process_time()
    assert list(book.matching(normalise("+49301111111111", "DE"))) == []
    assert time.process_time() - started < 0.1


PATTERNS = {
    RuleKind.EXACT: [CALLER, "+4930123457", "204", "+12125551234"],
    RuleKind.PREFIX: ["+4", "+49", "+4930", "+49301", "20", "+1"],
    RuleKind.REGEX: ["^\\+49", "6$", "\\d{4}", "^2", "."],
    RuleKind.COUNTRY: ["DE", "+49", "US", "+1", "CA"],
    RuleKind.ANONYMOUS: [""],
}
RULES = st.sampled_from(list(PATTERNS)).flatmap(
    lambda kind: st.builds(
        Rule,
        id=st.integers(1, 9),
        kind=st.just(kind),
        pattern=st.sampled_from(PATTERNS[kind]),
        allow=st.booleans(),
        did=st.sampled_from(["", "", "+49 30 999", "888"]),
        expires_at=st.sampled_from([0, 0, 999, 1001]),
    )
)
SPECIFICITY = [RuleKind.ANONYMOUS, RuleKind.COUNTRY, RuleKind.REGEX, RuleKind.PREFIX, RuleKind.EXACT]


def naive_match(rule: Rule, caller: str, did: str, *, known: bool) -> bool:
    number = normalise(caller, "DE")
    if 0 < rule.expires_at <= 1000 or (rule.did and re.sub(r"\D", "", rule.did) != did):
        return False
    if known and rule.kind is not RuleKind.EXACT:
        return False
    if (number.state is NumberState.ANONYMOUS) != (rule.kind is RuleKind.ANONYMOUS):
        return False
    text = number.text
    return {
        RuleKind.EXACT: text == rule.pattern,
        RuleKind.PREFIX: text.startswith(rule.pattern),
        RuleKind.REGEX: rule.kind is RuleKind.REGEX and re.search(rule.pattern, text) is not None,
        RuleKind.COUNTRY: country_of(number.e164) == rule.pattern
        or (rule.pattern.startswith("+") and text.startswith(rule.pattern)),
        RuleKind.ANONYMOUS: True,
    }[rule.kind]


@settings(max_examples=500)
@given(
    st.lists(RULES, max_size=8),
    st.sampled_from([CALLER, "+4930123457", "204", "+12125551234", "+14165551234", "anonymous"]),
    st.sampled_from(["", "4930999", "888"]),
    st.booleans(),
)
def test_precedence_against_a_naive_oracle(rules: list[Rule], caller: str, did: str, known: bool) -> None:
    met = [rule for rule in rules if naive_match(rule, caller, did, known=known)]
    screened = ask(*rules, caller=caller, did=did, known=known)
    if not met:
        assert screened[:2] == (Verdict.ALLOW, None)
        return
    for aspect in (
        lambda rule: SPECIFICITY.index(rule.kind),
        lambda rule: len(rule.pattern) if rule.kind is RuleKind.PREFIX else 0,
        lambda rule: bool(rule.did),
        lambda rule: rule.allow,
    ):
        most = max(map(aspect, met))
        met = [rule for rule in met if aspect(rule) == most]
    assert screened.rule in met
    assert screened.verdict is (Verdict.ALLOW if met[0].allow else Verdict.BLOCK)


@pytest.mark.parametrize(
    ("kind", "pattern", "region", "canonical"),
    [
        ("exact", "+49 30 123456", "", "+4930123456"),
        ("exact", "0049 (0)30/123456", "", "+4930123456"),
        ("exact", "tel:+49-30-123456", "", "+4930123456"),
        ("exact", "030123456", "DE", "+4930123456"),
        ("exact", "030123456", "", "030123456"),
        ("exact", "204", "DE", "204"),
        ("exact", "+4912", "", "4912"),  # not possible: callers with it are read so, too
        ("prefix", "+49 190*", "", "+49190"),
        ("prefix", "0049190", "", "+49190"),
        ("prefix", "+49 (0)190", "", "+49190"),
        ("prefix", "0190", "DE", "+49190"),
        ("prefix", "0190", "", "0190"),
        ("prefix", "20*", "DE", "20"),
        ("prefix", "20", "ES", "20"),
        ("country", "ru", "", "RU"),
        ("country", "+7", "", "+7"),
        ("country", "0049", "", "+49"),
        ("country", "351", "", "+351"),
        ("anonymous", "", "", ""),
        ("anonymous", "Anonymous", "", ""),
        ("regex", "^\\+49\\d{3}$", "", "^\\+49\\d{3}$"),
    ],
)
def test_canonical_patterns(kind: str, pattern: str, region: str, canonical: str) -> None:
    assert check_rule(kind, pattern, region) == canonical
    assert check_rule(RuleKind(kind), canonical, region) == canonical


@pytest.mark.parametrize(
    ("kind", "pattern", "text"),
    [
        ("fuzzy", "1", "write one of exact, prefix"),
        ("exact", "", "needs a pattern"),
        ("exact", "+49190*", "kind prefix"),
        ("exact", "Erika", "not a telephone number"),
        ("exact", "1-800-FLOWERS", "not a telephone number"),
        ("exact", "+", "not a telephone number"),
        ("exact", "0", "not a telephone number"),
        ("exact", "1" * 20, "too long"),
        ("prefix", "*", "beginning of a telephone number"),
        ("prefix", "+", "beginning of a telephone number"),
        ("prefix", "+49*190", "beginning of a telephone number"),
        ("prefix", "4٩", "beginning of a telephone number"),
        ("prefix", "+0190", "begins with 0"),
        ("prefix", "1" * 20, "too long"),
        ("regex", "(", "missing )"),
        ("regex", "(?=1)", "no RE2"),
        ("regex", "\ud800", "no RE2"),
        ("regex", " ", "needs a pattern"),
        ("country", "XX", "no country"),
        ("country", "Russia", "no country"),
        ("country", "+999", "no calling code"),
        ("country", "+", "no calling code"),
        ("country", "²", "no calling code"),
        ("anonymous", "+49", "takes no pattern"),
    ],
)
def test_what_is_wrong_with_a_pattern(
    kind: str, pattern: str, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError) as caught:
        check_rule(kind, pattern)
    assert text in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("number", ["001", "0001", "001+", "00 12 34"])
def test_an_exact_rule_meets_the_number_it_was_made_of(number: str) -> None:
    assert check_rule(RuleKind.EXACT, number, "DE") == normalise(number, "DE").text


@settings(max_examples=300)
@given(
    st.sampled_from(list(RuleKind)),
    st.one_of(st.text(max_size=30), st.text("+0149*() ", max_size=12)),
    st.sampled_from(["", "DE", "US", "XX"]),
)
def test_a_checked_pattern_is_canonical_and_compiles(kind: RuleKind, pattern: str, region: str) -> None:
    try:
        canonical = check_rule(kind, pattern, region)
    except InputError:
        return
    assert check_rule(kind, canonical) == canonical
    assert RuleBook([Rule(id=1, kind=kind, pattern=canonical)]).broken == [] or kind is RuleKind.EXACT
