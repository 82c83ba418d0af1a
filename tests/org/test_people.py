"""Made-up people: the same for the same seed, and their numbers mean what they are said to mean."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import Leniency, PhoneNumberFormat, PhoneNumberMatcher, format_number

from tests.org.people import companies, patterns, persons, phone_field, populate
from tests.org.records import Org


@settings(max_examples=300)
@given(st.integers())
def test_fields_mean_what_they_say(seed: int) -> None:
    written = phone_field(random.Random(seed), "DE")
    assert len(written.text) <= 40
    matches = PhoneNumberMatcher(written.text, "DE", Leniency.POSSIBLE)
    read = tuple(format_number(match.number, PhoneNumberFormat.E164) for match in matches)
    assert read == written.meaning, written.text


def test_there_are_many_ways_to_write_a_number() -> None:
    assert len(patterns()) > 200


def test_the_same_seed_makes_the_same_people() -> None:
    def everyone(seed: int) -> str:
        return repr([list(companies(20, seed)), list(persons(50, 20, 3, seed))])

    assert everyone(1) == everyone(1)
    assert everyone(1) != everyone(2)


def test_populate(org: Org) -> None:
    populate(org, 100, seed=5)
    for soql, count in (
        ("SELECT COUNT() FROM Contact", 100),
        ("SELECT COUNT() FROM Account", 30),
        ("SELECT COUNT() FROM Lead", 10),
        ("SELECT COUNT() FROM User WHERE Email LIKE 'agent%'", 8),
    ):
        assert org.count(soql) == count
    owners = {type(row["Owner"]).__name__ for row in org.query("SELECT Owner.Name FROM Lead")}
    assert owners == {"dict"}
    assert org.count("SELECT COUNT() FROM Contact WHERE Account.Name != null") > 50
