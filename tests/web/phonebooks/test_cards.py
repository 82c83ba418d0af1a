from __future__ import annotations

import unicodedata
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_server.web.phonebooks.cards import Limits, cards_of, fit, lines_of
from agi_server.web.phonebooks.document import Charset, element, encode
from agi_server.web.phonebooks.question import Question
from storage.phonebook import Entry, Kind
from tests.web.phonebooks.forms import parse

MAYBE = {"Cn", "Co"}  # characters of a later Unicode or of a font's own: a phone may know them
CHARSETS: tuple[Charset, ...] = get_args(Charset)
names = st.one_of(st.text(max_size=200), st.text(alphabet="\u200d\u0301a&🇩🇪漢 \x00\ufffe", max_size=100))
limits = st.builds(
    Limits,
    characters=st.integers(20, 64),
    octets=st.integers(24, 79),
    numbers=st.integers(1, 9),
    ampersand=st.sampled_from(["&", "+"]),
)
entries = st.builds(
    Entry,
    id=st.integers(1, 9),
    name=names,
    first_name=names,
    last_name=names,
    account=names,
    numbers=st.lists(
        st.tuples(st.sampled_from(Kind), st.sampled_from(["+4930123", "0301", "101", "x<&>", ";"])),
        max_size=5,
    ).map(tuple),
)


def question(charset: Charset = "utf-8", plus: str = "+") -> Question:
    return Question(charset=charset, plus=plus, carried={})


def is_visible(name: str, charset: Charset) -> bool:
    name.encode(charset)
    plain = [char for char in name if char not in "\u200c\u200d" and unicodedata.category(char) not in MAYBE]
    return any(plain) and all(map(str.isprintable, plain)) and name == name.strip()


@given(entry=entries, limits=limits, charset=st.sampled_from(CHARSETS))
def test_any_name_is_visible_text_within_the_limits(entry: Entry, limits: Limits, charset: Charset) -> None:
    cards = cards_of([entry], "{name}[ ({account})]", question(charset), limits)
    assert len(cards) == any(number != ";" for _, number in entry.numbers)
    for card in cards:
        assert is_visible(card.name, charset)
        assert 1 <= len(card.numbers) <= limits.numbers
        for part in (card.name, card.first, card.last):
            assert len(part) <= limits.characters
            assert len(part.encode()) <= limits.octets
            assert limits.ampersand == "&" or "&" not in part
        assert card.first or card.last
    lines = lines_of(cards, question(charset), limits)
    assert [number for _, number in lines] == [number for card in cards for _, number in card.numbers]
    for name, number in lines:
        assert is_visible(name, charset)
        assert len(name) <= limits.characters
        assert len(name.encode()) <= limits.octets
        assert number in {"+4930123", "0301", "101", "x"}
        root = parse(encode(element("x", text=name), charset))
        assert root.text == name


@pytest.mark.parametrize(
    ("charset", "shown"),
    [("utf-8", "Zoë Грин 漢字"), ("latin-1", "Zoë Grin Han Zi"), ("ascii", "Zoe Grin Han Zi")],
)
def test_a_name_is_written_in_the_character_set(charset: Charset, shown: str) -> None:
    assert fit("Zoë Грин 漢字", question(charset), Limits()) == shown


def test_a_name_is_cut_between_letters() -> None:
    assert fit("é" * 39 + "e\u0301x", question(), Limits(octets=40)) == "é" * 20
    assert fit("👨‍👩‍👧 family", question(), Limits(characters=4, octets=40)) == "👨‍👩‍"[:4]


def test_without_a_name_the_company_stands_for_it_then_the_number() -> None:
    numbers = ((Kind.WORK, "+4930123"),)
    people = [
        Entry(id=1, name="", account="Acme", numbers=numbers),
        Entry(id=2, name="🎉", account="", numbers=numbers),
        Entry(id=3, first_name="Ana", last_name="Muñoz", numbers=numbers),
    ]
    cards = cards_of(people, "{name}", question("ascii"), Limits())
    assert [card.name for card in cards] == ["Acme", "+4930123", "Ana Munoz"]
    assert [(card.first, card.last) for card in cards] == [("", "Acme"), ("", "+4930123"), ("Ana", "Munoz")]


def test_contacts_are_named_as_calls_show_them_and_agents_by_their_name() -> None:
    people = [
        Entry(id=1, name="Ana", account="Acme", numbers=((Kind.WORK, "+4930123"),)),
        Entry(id=2, name="Bo", numbers=((Kind.WORK, "+4930124"),)),
        Entry(id=3, name="Desk", account="x", numbers=((Kind.EXTENSION, "200"),)),
    ]
    cards = cards_of(people, "{name}[ ({account})]", question(), Limits())
    assert [card.name for card in cards] == ["Ana (Acme)", "Bo", "Desk"]


def test_numbers_are_dialled_as_the_pbx_wants_them() -> None:
    numbers = ((Kind.WORK, "+4930123"), (Kind.OTHER, "0301234"), (Kind.EXTENSION, "*9#"))
    (card,) = cards_of([Entry(id=1, name="x", numbers=numbers)], "", question(plus="00"), Limits())
    assert [number for _, number in card.numbers] == ["004930123", "0301234", "*9#"]


def test_the_kind_is_told_where_there_are_several_numbers() -> None:
    numbers = ((Kind.WORK, "1"), (Kind.MOBILE, "2"))
    cards = cards_of(
        [Entry(id=1, name="A" * 50, numbers=numbers), Entry(id=2, name="B", numbers=numbers[:1])],
        "",
        question(),
        Limits(characters=20),
    )
    assert lines_of(cards, question(), Limits(characters=20)) == [
        ("A" * 14 + ", work", "1"),
        ("A" * 12 + ", mobile", "2"),
        ("B", "1"),
    ]
