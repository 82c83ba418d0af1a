from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agi_server.calls.call import Call, Rung, TraceStep
from agi_server.calls.directory import Agent, Contact
from agi_server.calls.identify import NOBODY, Match
from agi_server.calls.naming import (
    FIELDS,
    check_template,
    finish,
    give_name,
    is_real,
    render,
    trunk_name,
    unquote,
)
from agi_server.calls.numbers import normalise
from agi_server.calls.policy import DidPolicy, Policy
from agi_server.errors import InputError
from tests.calls.memory import house

STEP = TraceStep("match", "test")
ERIKA = Contact(
    id=1,
    name="Erika Mustermann",
    first_name="Erika",
    last_name="Mustermann",
    account="ACME",
    owner="Anna Owner",
)
KNOWN = Match(Rung.EXACT, STEP, ERIKA, ERIKA, "", ERIKA)
COMPANY = Match(Rung.SWITCHBOARD, STEP, ERIKA, ERIKA, "ACME", ERIKA)
AMBIGUOUS = Match(Rung.EXACT, STEP, shown=ERIKA, ambiguous=True)
ANONYMOUS = Match(Rung.ANONYMOUS, STEP)
EXTENSION = Match(Rung.EXTENSION, STEP, agent=Agent(id=1, name="Anna", extension="201"))


def name(
    match: Match,
    *,
    sent: str = "",
    number: str = "+4930123456",
    template: str = "{name}",
    presentation: int = 0,
    **changes: object,
) -> str:
    policy = house(**changes)
    call = Call(id="1", number=number, name=sent, did="4930999", presentation=presentation)
    read = normalise(number, "DE", presentation=presentation, use_restricted=policy.use_restricted)
    did = DidPolicy(template=template)
    return give_name(call, read, match, policy, did=did, sent=trunk_name(call, policy))[0]


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{name}", "Erika Mustermann"),
        ("{last}, {first} ({account})", "Mustermann, Erika (ACME)"),
        ("{kind} {owner} {did}", "Contact Anna Owner 4930999"),
        ("{number}", "+4930123456"),
        ("{name}[ via {trunk_name}]", "Erika Mustermann"),
        ("[{account}: ]{name}", "ACME: Erika Mustermann"),
        ("[fixed ]{name}", "fixed Erika Mustermann"),
        ("  {first}\n {last} ", "Erika Mustermann"),
        ("", "Erika Mustermann"),
        ("{trunk_name}", "Erika Mustermann"),  # nothing at all: the plain name
    ],
)
def test_template_of_a_known_caller(template: str, shown: str) -> None:
    assert name(KNOWN, template=template) == shown


def test_an_optional_part_is_left_out_when_any_field_in_it_is_empty() -> None:
    fields = dict.fromkeys(FIELDS, "") | {"name": "A", "account": "[x]"}
    assert render("{name}[ ({account}/{owner})][ {account}]", fields) == "A [x]"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{surname}", "unknown field {surname}"),
        ("{}", "unknown field {}"),
        ("{name", "{ at 1"),
        ("name}", "} at 5"),
        ("[{name}", "not closed"),
        ("{name}]", "] at 7"),
        ("[a[b]]", "[ at 3"),
    ],
)
def test_what_is_wrong_with_a_template(template: str, text: str) -> None:
    with pytest.raises(InputError) as caught:
        check_template(template)
    assert text in str(caught.value)


def test_company_stands_in_for_the_person() -> None:
    assert name(COMPANY) == "ACME"
    assert name(COMPANY, template="{first} {name} {kind}[ {owner}]") == "ACME Account Anna Owner"


def test_ambiguous_unknown_anonymous_and_extension() -> None:
    assert name(AMBIGUOUS, template="{kind}", ambiguous_name="{name}?") == "Erika Mustermann?"
    assert name(AMBIGUOUS) == "Erika Mustermann"
    assert name(NOBODY, sent="Berlin") == "Berlin"
    assert name(NOBODY) == ""
    assert name(NOBODY, sent="Berlin", unknown_template="? {trunk_name} {number}") == "? Berlin +4930123456"
    assert name(ANONYMOUS, number="", sent="Anonymous") == "Anonymous"
    assert (
        name(ANONYMOUS, number="", sent="Erika", anonymous_name="Withheld", trunk_name="trunk") == "Withheld"
    )
    assert name(EXTENSION) == "Anna"


def test_a_restricted_number_is_never_shown() -> None:
    shown = name(KNOWN, template="{name}[ {number}]", presentation=32, use_restricted=True)
    assert shown == "Erika Mustermann"


@pytest.mark.parametrize(
    ("precedence", "sent", "known", "unknown"),
    [
        ("directory", "Trunk", "Erika Mustermann", "Trunk"),
        ("trunk", "Trunk", "Trunk", "Trunk"),
        ("fill", "Trunk", "Trunk", "Trunk"),
        ("trunk", "", "Erika Mustermann", ""),
        ("trunk", "Unknown", "Unknown", "Unknown"),
        ("fill", "Unknown", "Erika Mustermann", "Unknown"),
        ("fill", "+49 30 123456", "Erika Mustermann", "+49 30 123456"),
    ],
)
def test_whose_name_wins(precedence: str, sent: str, known: str, unknown: str) -> None:
    assert name(KNOWN, sent=sent, trunk_name=precedence) == known
    assert name(NOBODY, sent=sent, trunk_name=precedence) == unknown


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (r"Erika \"Rika\" M", 'Erika "Rika" M'),
        (r"back\\slash", r"back\slash"),
        (r"\\\"", r"\""),
        ('"Erika"', "Erika"),
        ("end\\", "end\\"),
        ('"', '"'),
    ],
)
def test_one_level_of_sip_quoting_is_undone(sent: str, shown: str) -> None:
    assert unquote(sent) == shown
    assert name(NOBODY, sent=sent) == shown


def test_names_that_are_none() -> None:
    assert is_real("Erika")
    assert not is_real("+49 30 1")
    assert not is_real("Unknown")
    assert not is_real("")


@pytest.mark.parametrize(
    ("text", "charset", "shown"),
    [
        ("Muñoz", "utf-8", "Muñoz"),
        ("Muñoz", "latin-1", "Muñoz"),
        ("Muñoz", "ascii", "Munoz"),
        ("Mun\u0303oz", "latin-1", "Muñoz"),
        ("Łódź ü", "latin-1", "Lódz ü"),
        ("北京", "ascii", "Bei Jing"),
        ("北京", "utf-8", "北京"),
        ("Москва", "latin-1", "Moskva"),
        ("Bob 😀", "ascii", "Bob"),
        ("Straße", "ascii", "Strasse"),
    ],
)
def test_charsets(text: str, charset: str, shown: str) -> None:
    assert finish(text, charset=charset, length=40) == shown


@pytest.mark.parametrize(
    "break_", ["\r", "\n", "\v", "\f", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\t"]
)
def test_line_breaks_and_control_characters_become_a_space(break_: str) -> None:
    assert finish(f"A{break_}{break_}B{break_}", charset="utf-8", length=40) == "A B"
    assert finish(f"Ä{break_}B{break_}", charset="utf-8", length=40) == "Ä B"


@pytest.mark.parametrize(
    "mark", ["\u202e", "\u202a", "\u2066", "\u200f", "\u061c", "\ufeff", "\u00ad", "\u200b"]
)
def test_invisible_marks_go(mark: str) -> None:
    assert finish(f"A{mark}B", charset="utf-8", length=40) == "AB"


@pytest.mark.parametrize(
    ("text", "length", "shown"),
    [
        ("Erika Mustermann", 6, "Erika"),
        ("x" * 100, 79, "x" * 79),
        ("ü" * 79, 79, "ü" * 39),
        ("abx\u0323\u0307", 3, "ab"),
        ("ab\u0e01\u0e33", 3, "ab\u0e01"),
        ("a👩\u200d🚀b", 2, "a"),
        ("a👩\u200d🚀b", 3, "a"),
        ("a👩\u200d🚀b", 4, "a👩\u200d🚀"),
        ("a👍🏽", 2, "a"),
        ("a🇩🇪🇫🇷", 4, "a🇩🇪"),
        ("a🇩🇪🇫🇷", 3, "a🇩🇪"),
        ("x" + "\u0323" * 50, 10, "x" + "\u0323" * 9),  # a heap of marks is cut all the same
    ],
)
def test_cut_between_visible_characters(text: str, length: int, shown: str) -> None:
    assert finish(text, charset="utf-8", length=length) == shown


TEXT = st.one_of(
    st.text(max_size=120),
    st.text('aä \r\n\u2028\u0085\u202e\u200d👩🚀🏽🇩🇪\u0301北京\\"\x00', max_size=120),
)


@settings(max_examples=500)
@given(TEXT, st.sampled_from(["utf-8", "latin-1", "ascii"]), st.integers(1, 79))
@example("\ud800", "utf-8", 40)
def test_a_name_never_exceeds_its_limits(text: str, charset: str, length: int) -> None:
    shown = finish(text, charset=charset, length=length)
    assert len(shown) <= length
    assert len(shown.encode()) <= 79
    shown.encode(charset)
    assert shown == " ".join(shown.split())
    for char in shown:
        assert unicodedata.category(char) not in {"Cc", "Zl", "Zp", "Cs"}
        assert unicodedata.category(char) != "Cf" or char in "\u200c\u200d"
    assert finish(shown, charset=charset, length=length) == shown


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from([f"{{{field}}}" for field in FIELDS] + [" ", "a", "[x {owner}]", "[-{account}]"])
    ),
    TEXT,
    TEXT,
    st.sampled_from([KNOWN, COMPANY, AMBIGUOUS, NOBODY, ANONYMOUS, EXTENSION]),
    st.sampled_from(["directory", "trunk", "fill"]),
)
def test_any_name_from_anywhere_is_one_line(
    parts: list[str], stored: str, sent: str, match: Match, precedence: str
) -> None:
    contact = Contact(id=1, name=stored, account=stored, owner=stored)
    if match.shown is not None:
        match = match._replace(shown=contact)
    shown = name(
        match, sent=sent, template="".join(parts), trunk_name=precedence, unknown_template="".join(parts)
    )
    assert len(shown) <= Policy().name_length
    assert shown.splitlines() in ([], [shown])
