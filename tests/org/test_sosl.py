from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.org.errors import OrgError
from tests.org.records import Org
from tests.org.sosl import matches, read


def names(org: Org, search: str) -> list[str]:
    return [record["Name"] for record in org.search(search)]


@pytest.fixture
def people(org: Org) -> dict[str, str]:
    account = org.create("Account", {"Name": "Acme", "Phone": "+49 (30) 23125-0"})
    return {
        "Acme": account,
        "Ana": org.create("Contact", {"LastName": "Ana", "Phone": "030 / 2312 5010", "AccountId": account}),
        "Bea": org.create(
            "Contact", {"LastName": "Bea", "MobilePhone": "+49 30 23125010", "DoNotCall": True}
        ),
        "Cem": org.create("Lead", {"LastName": "Cem", "Company": "C", "Phone": "4711"}),
        "Dora": org.create("Contact", {"LastName": "Dora", "Title": "030 23125010"}),
    }


@pytest.mark.usefixtures("people")
def test_numbers_are_found_however_they_are_written(org: Org) -> None:
    returning = "RETURNING Contact(Name), Lead(Name), Account(Name)"
    assert names(org, f"FIND {{\\+493023125010}} IN PHONE FIELDS {returning}") == ["Bea"]
    assert names(org, f"FIND {{3023125010}} IN PHONE FIELDS {returning}") == ["Ana", "Bea"]
    assert names(org, f"FIND {{004930231250 OR 4711 OR 999999999}} IN PHONE FIELDS {returning}") == [
        "Cem",
        "Acme",
    ]
    assert names(org, f"find {{711}} in phone fields {returning}") == []
    assert names(org, f"FIND {{0004711}} IN PHONE FIELDS {returning}") == []


def test_the_answer_is_as_it_was_asked(org: Org, people: dict[str, str]) -> None:
    find = "FIND {3023125010} IN PHONE FIELDS RETURNING"
    assert names(org, f"{find} Contact(Name WHERE DoNotCall = true), Lead(Name)") == ["Bea"]
    assert names(org, f"{find} Contact(Name ORDER BY Name DESC LIMIT 1)") == ["Bea"]
    assert names(org, f"{find} Contact(Name) LIMIT 1") == ["Ana"]
    (ana, bea) = org.search(f"{find} Contact(Id, Account.Name)")
    assert (ana["Id"], ana["Account"]["Name"], bea["Account"]) == (people["Ana"], "Acme", None)
    assert set(org.search(f"{find} Contact")[0]) == {"attributes", "Id"}


def test_a_search_sees_what_changed(org: Org, people: dict[str, str]) -> None:
    search = "FIND {3023125010} IN PHONE FIELDS RETURNING Contact(Name)"
    assert names(org, search) == ["Ana", "Bea"]
    org.update("Contact", people["Dora"], {"HomePhone": "030 23125010"})
    org.delete("Contact", people["Ana"])
    assert names(org, search) == ["Bea", "Dora"]
    org.hide("Contact", "HomePhone")
    assert names(org, search) == ["Bea"]


@pytest.mark.parametrize(
    ("search", "code"),
    [
        ("", "MALFORMED_SEARCH"),
        ("FIND 1234567 IN PHONE FIELDS RETURNING Contact", "MALFORMED_SEARCH"),
        ("FIND {1234567} RETURNING Contact", "MALFORMED_SEARCH"),
        ("FIND {1234567} IN ALL FIELDS RETURNING Contact", "MALFORMED_SEARCH"),
        ("FIND {1234567} IN PHONE FIELDS", "MALFORMED_SEARCH"),
        ("FIND {1234567} IN PHONE FIELDS RETURNING", "MALFORMED_SEARCH"),
        ("FIND {1234567} IN PHONE FIELDS RETURNING Contact()", "MALFORMED_SEARCH"),
        ("FIND {1234567} IN PHONE FIELDS RETURNING Contact(Id) WITH x", "MALFORMED_SEARCH"),
        ("FIND {+491234567} IN PHONE FIELDS RETURNING Contact", "INVALID_SEARCH"),
        ("FIND {123-4567} IN PHONE FIELDS RETURNING Contact", "INVALID_SEARCH"),
        ("FIND {*1234567} IN PHONE FIELDS RETURNING Contact", "INVALID_SEARCH"),
        ('FIND {"1234567"} IN PHONE FIELDS RETURNING Contact', "INVALID_SEARCH"),
        ("FIND {123 AND 456} IN PHONE FIELDS RETURNING Contact", "INVALID_SEARCH"),
        ("FIND {1} IN PHONE FIELDS RETURNING Contact", "INVALID_SEARCH"),
        ("FIND {1234567 OR } IN PHONE FIELDS RETURNING Contact", "INVALID_SEARCH"),
        ("FIND {} IN PHONE FIELDS RETURNING Contact", "INVALID_SEARCH"),
        ("FIND {1234567} IN PHONE FIELDS RETURNING Nope", "INVALID_TYPE"),
        ("FIND {1234567} IN PHONE FIELDS RETURNING Contact(Nope)", "INVALID_FIELD"),
    ],
)
def test_what_is_not_understood_is_refused(org: Org, search: str, code: str) -> None:
    with pytest.raises(OrgError) as refusal:
        org.search(search)
    assert (refusal.value.status, refusal.value.code) == (400, code)


def test_escapes_are_taken_off() -> None:
    assert read(r"FIND {\+49\-30 231 OR \(030\) 231} IN PHONE FIELDS RETURNING Contact").terms == (
        "4930231",
        "030231",
    )


@given(
    number=st.text("0123456789", min_size=2, max_size=15),
    more=st.text("0123456789", max_size=5),
    longer_field=st.booleans(),
)
def test_an_end_of_seven_digits_is_a_match(number: str, more: str, *, longer_field: bool) -> None:
    field, term = (more + number, number) if longer_field else (number, more + number)
    assert matches(field, term) == (len(number) >= 7 or not more)
    assert not matches(field, term[:-1] + str((int(term[-1]) + 1) % 10))
