"""Which numbers a click dials, and what the PBX gets of them."""

from __future__ import annotations

import re
from typing import Any

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.calls.dialling import Refusal, Target, objection, target_of
from agi_server.calls.directory import Agent, Contact, Rule, RuleKind
from agi_server.calls.policy import DidPolicy
from agi_server.settings import Dialling
from tests.calls.memory import MemoryDirectory, house

NOW = 1_800_000_000.0
AGENTS = (
    Agent(id=1, name="Anna", extension="101"),
    Agent(id=2, name="Ben", extension="102"),
    Agent(id=3, name="Desk", extension="desk"),
    Agent(id=4, name="Elf", extension="1122"),
)


def directory(region: str = "DE", **changes: object) -> MemoryDirectory:
    return MemoryDirectory(house(*AGENTS, default=DidPolicy(region=region), **changes))


def look(text: str, known: MemoryDirectory | None = None, **plan: Any) -> Target | Refusal:
    known = known or directory()
    return target_of(
        text, agent="101", plan=Dialling(**plan), policy=known.policy(), directory=known, now=NOW
    )


def reason(text: str, known: MemoryDirectory | None = None, **plan: Any) -> str:
    found = look(text, known, **plan)
    return found.reason if isinstance(found, Refusal) else ""


def against(target: Target | Refusal, known: MemoryDirectory, *, do_not_call: bool = False) -> str:
    assert isinstance(target, Target)
    found = objection(target, do_not_call=do_not_call, policy=known.policy(), directory=known, now=NOW)
    return found.reason if found is not None else ""


@pytest.mark.parametrize(
    "text",
    [
        "+4930123456",
        "0049 30 123456",
        "030/123456",
        "tel:+49-30-123456",
        "TEL:030123456",
        "web+tel:%2B4930123456",
        "tel:123456;phone-context=+4930",
        "+49 (0)30 123456",
    ],
)
def test_a_number_in_any_spelling_is_the_number(text: str) -> None:
    found = look(text)
    assert isinstance(found, Target)
    assert (found.text, found.dial, found.number.e164) == ("+4930123456", "+4930123456", 4930123456)


@pytest.mark.parametrize(
    ("text", "style", "prefix", "dial"),
    [
        ("+4930123456", "e164", "", "+4930123456"),
        ("+4930123456", "international", "", "004930123456"),
        ("+4930123456", "national", "", "030123456"),
        ("+4930123456", "national", "0", "0030123456"),
        ("+390612345678", "national", "", "00390612345678"),
        ("+390612345678", "international", "9", "900390612345678"),
        ("102", "international", "0", "102"),
    ],
)
def test_the_pbx_gets_it_as_it_wants_it(text: str, style: str, prefix: str, dial: str) -> None:
    found = look(text, allow=("+",), format=style, prefix=prefix)
    assert isinstance(found, Target)
    assert found.dial == dial


@pytest.mark.parametrize(
    ("region", "text", "dial"),
    [
        ("US", "+4930123456", "0114930123456"),
        ("AU", "+4930123456", "00114930123456"),
        ("BR", "+4930123456", "004930123456"),
        ("RU", "+4930123456", "8104930123456"),
    ],
)
def test_international_prefixes_are_those_of_the_country(region: str, text: str, dial: str) -> None:
    found = look(text, directory(region), allow=("+",), format="international")
    assert isinstance(found, Target)
    assert found.dial == dial


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no-number"),
        ("anonymous", "no-number"),
        ("118", "no-number"),
        ("desk", "no-number"),
        ("+49112", "no-number"),
        ("*21*0301234567#", "code"),
        ("tel:**61*", "code"),
        ("110", "emergency"),
        ("112", "emergency"),
        ("tel:112", "emergency"),
        ("1-1-2", "emergency"),
        ("+491122334", "emergency"),
        ("101", "self"),
        ("+12125552671", "not-allowed"),
        ("+4990012345678", "premium"),  # too long for what it is, and networks take it
        ("+499001234567", "premium"),
        ("0180 5123456", "premium"),
        ("+4911880", "premium"),
        ("+4911880123", "premium"),
    ],
)
def test_what_is_not_dialled(text: str, why: str) -> None:
    assert reason(text) == why


def test_an_agent_s_extension_is_dialled_as_it_is() -> None:
    found = look("tel:102", prefix="0")
    assert isinstance(found, Target)
    assert (found.text, found.dial, found.match.agent) == ("102", "102", AGENTS[1])
    assert reason("1122") == "", "four digits that begin like an emergency number's are none"


def test_an_extension_by_its_pattern() -> None:
    known = directory(own_extensions="1[0-9]{2}")
    assert reason("155", known) == ""
    assert reason("110", known) == "emergency"


@pytest.mark.parametrize(
    ("region", "text"), [("US", "911"), ("GB", "999"), ("AU", "000"), ("BE", "101"), ("US", "1911")]
)
def test_no_country_s_emergency_number_is_dialled(region: str, text: str) -> None:
    assert reason(text, directory(region, own_extensions="[0-9]{3}"), allow=("+",)) in {
        "emergency",
        "no-number",
    }


def test_what_is_allowed() -> None:
    assert reason("+12125552671", allow=("+1212",)) == ""
    assert reason("+12135552671", allow=("+1212",)) == "not-allowed"
    assert reason("+4930123456", allow=("+1212",)) == "not-allowed"
    assert reason("+4930123456", allow=("+",)) == ""
    assert reason("+4930123456", allow=("+",), deny=("+4930",)) == "denied"
    assert reason("+499001234567", allow=("+49900",)) == "premium"
    assert reason("+499001234567", premium=True) == ""
    assert reason("+499001234567", premium=True, deny=("+49900",)) == "denied"


def test_of_countries_that_share_a_calling_code_only_the_own_one_is_dialled() -> None:
    home = directory("US")
    assert reason("+12125552671", home) == ""
    assert reason("+18095551234", home) == "not-allowed", "the Dominican Republic"
    assert reason("+14165551234", home) == "not-allowed", "Canada"


def test_the_name_is_the_one_the_agent_s_phone_shows() -> None:
    known = directory()
    contact = known.add(Contact(id=7, name="Erika Mustermann"), "+4930123456")
    found = look("030123456", known)
    assert isinstance(found, Target)
    assert (found.name, found.contact) == ("Erika Mustermann", contact)
    nobody = look("030999999", known)
    assert isinstance(nobody, Target)
    assert (nobody.name, nobody.contact) == ("", None)


EXACT = Rule(id=1, kind=RuleKind.EXACT, pattern="+4930123456")
PREFIX = Rule(id=2, kind=RuleKind.PREFIX, pattern="+4930")
COUNTRY = Rule(id=3, kind=RuleKind.COUNTRY, pattern="DE")
REGEX = Rule(id=4, kind=RuleKind.REGEX, pattern="456$")
ALLOW = Rule(id=5, kind=RuleKind.EXACT, pattern="+4930123456", allow=True)
EXPIRED = Rule(id=6, kind=RuleKind.EXACT, pattern="+4930123456", expires_at=int(NOW))
OF_A_DID = Rule(id=7, kind=RuleKind.EXACT, pattern="+4930123456", did="4930777100")


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ((EXACT,), "blacklisted"),
        ((PREFIX,), "blacklisted"),
        ((COUNTRY,), "blacklisted"),
        ((REGEX,), "blacklisted"),
        ((ALLOW, PREFIX, COUNTRY, REGEX), ""),
        ((EXPIRED,), ""),
        ((OF_A_DID,), ""),
    ],
)
def test_whom_we_do_not_want_to_hear_we_do_not_call(rules: tuple[Rule, ...], why: str) -> None:
    known = directory()
    known.rule(*rules)
    assert against(look("+4930123456", known), known) == why


def test_a_contact_is_met_by_exact_rules_only() -> None:
    known = directory()
    known.rule(PREFIX)
    known.add(Contact(id=7, name="Erika"), "+4930123456")
    assert against(look("+4930123456", known), known) == ""
    known.rule(EXACT)
    assert against(look("+4930123456", known), known) == "blacklisted"


def test_who_does_not_want_to_be_called() -> None:
    known = directory()
    assert against(look("+4930123456", known), known, do_not_call=True) == "do-not-call"
    assert against(look("102", known), known, do_not_call=True) == "", "a colleague"


NUMBERS = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="0123456789+*#()-/ .,;tel:", max_size=25),
    st.integers(0, 10**15).map(lambda number: f"+{number}"),
    st.integers(0, 10**12).map(str),
)
PLANS = st.fixed_dictionaries(
    {
        "allow": st.lists(st.sampled_from(["+", "+1", "+49", "+44"]), max_size=2).map(tuple),
        "deny": st.lists(st.sampled_from(["+49900", "+4930", "+1", "+"]), max_size=2).map(tuple),
        "premium": st.booleans(),
        "format": st.sampled_from(["e164", "international", "national"]),
        "prefix": st.sampled_from(["", "0", "*9", "#31#"]),
    }
)


@settings(max_examples=300)
@given(text=NUMBERS, plan=PLANS, region=st.sampled_from(["DE", "US", "GB", "IT"]))
def test_nothing_else_is_ever_dialled(text: str, plan: dict[str, Any], region: str) -> None:
    found = look(text, directory(region), **plan)
    if isinstance(found, Refusal):
        assert re.fullmatch(r"[a-z-]+", found.reason)
        assert found.text
        return
    assert re.fullmatch(r"[0-9*#+]+", found.dial)
    assert not found.text.startswith(plan["deny"]) if plan["deny"] else True
    bare = found.dial.removeprefix(plan["prefix"])
    assert not phonenumbers.is_emergency_number(bare, region)
    if found.text.startswith("+") and plan["allow"]:
        assert found.text.startswith(plan["allow"])


@settings(max_examples=100)
@given(number=st.integers(10**9, 10**12), more=st.lists(st.integers(1, 99), max_size=2))
def test_deny_always_wins(number: int, more: list[int]) -> None:
    text = f"+49{number}"
    deny = (*(f"+{each}" for each in more), text[:7])
    assert reason(text, allow=("+", text), deny=deny, premium=True) in {"denied", "emergency", "no-number"}
