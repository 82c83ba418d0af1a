"""Contacts are found by whatever people know of them, whoever wrote them and whatever is typed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import InputError
from storage.contacts import ContactRow, find_or_insert, prepare, store
from storage.database import Database
from storage.search import FOLDS, Found, search, words_of
from storage.sync import become, forget, link
from tests.storage.conftest import NOW, Query, e164

ANA = ContactRow(
    salesforce_id="003000000000001AAA",
    first_name="Ana",
    last_name="Muñoz",
    name="Ana Muñoz",
    email="a.munoz@acme.example",
    account="Acme Straße GmbH",
    account_salesforce_id="001000000000001AAA",
    owner="Olga",
    owner_email="olga@x.example",
    phones=(("Phone", "030 23125010"), ("MobilePhone", "+49 171 5550001")),
)
MUELLER = ContactRow(name="Jörg Müller", key="K-77", database="dni", phones=(("Phone", "+49 40 1234567"),))
SOERENSEN = ContactRow(name="Søren Sørensen", phones=(("Fax", "4567"),))
ANABEL = ContactRow(name="Anabel Zapatero", vip=True)


async def put(database: Database, *rows: ContactRow, region: str = "DE") -> None:
    prepared = prepare(rows, region)
    await database.write(lambda conn: store(conn, prepared, source="import", now=NOW))


async def find(database: Database, text: str, *, limit: int = 50, after: str = "") -> tuple[list[Found], str]:
    return await database.read(lambda conn: search(conn, text, limit=limit, after=after, region="DE"))


async def names(database: Database, text: str) -> list[str]:
    return [found.name for found in (await find(database, text))[0]]


@pytest.fixture
async def people(database: Database) -> Database:
    await put(database, ANABEL, ANA, MUELLER, SOERENSEN)
    return database


async def test_a_contact_is_shown_with_all_a_list_needs(people: Database) -> None:
    ((found,), after) = await find(people, "munoz")
    assert after == ""
    assert found == Found(
        id=2,
        kind="Contact",
        name="Ana Muñoz",
        account="Acme Straße GmbH",
        email="a.munoz@acme.example",
        owner="Olga",
        vip=False,
        salesforce_id="003000000000001AAA",
        source="import",
        phones=(("MobilePhone", "+49 171 5550001"), ("Phone", "030 23125010")),
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("muñoz ana", "Ana Muñoz"),  # any order
        ("MUNOZ", "Ana Muñoz"),
        ("mun\u0303oz", "Ana Muñoz"),  # n and a combining tilde
        ("mu an ac", "Ana Muñoz"),  # beginnings
        ("acme strasse", "Ana Muñoz"),
        ("ACME STRAẞE", "Ana Muñoz"),
        ("a.munoz@acme.example", "Ana Muñoz"),
        ("a.munoz@acm", "Ana Muñoz"),
        ("munoz acme.example", "Ana Muñoz"),
        ("mueller", "Jörg Müller"),
        ("Joerg Mueller", "Jörg Müller"),
        ("muell jo", "Jörg Müller"),
        ("mu\u0308ller", "Jörg Müller"),
        ("K-77", "Jörg Müller"),
        ("sorensen", "Søren Sørensen"),
        ("soerensen", "Søren Sørensen"),
        ("sørensen", "Søren Sørensen"),
        ("+49 30 23125010", "Ana Muñoz"),
        ("030/23125010", "Ana Muñoz"),
        ("23125010", "Ana Muñoz"),  # its last digits
        ("125010", "Ana Muñoz"),
        ("0049 171 5550001", "Ana Muñoz"),
        ("4567", "Søren Sørensen"),  # digits whose country is not known
        ("003000000000001AAA", "Ana Muñoz"),
        ("003000000000001", "Ana Muñoz"),
        ("3", "Jörg Müller"),  # our own id
    ],
)
async def test_one_contact_is_found(people: Database, text: str, wanted: str) -> None:
    assert await names(people, text) == [wanted]


async def test_what_was_written_without_umlauts_is_found_with_them(database: Database) -> None:
    await put(database, ContactRow(name="Joerg Mueller"), ContactRow(name="Jorg Muller"))
    assert await names(database, "jörg müller") == ["Joerg Mueller", "Jorg Muller"]


@pytest.mark.parametrize(
    "text", ["munoz jörg", "25010", "noz", "zzz", "*", '"', "x", "+49", "(-)", "'; DROP"]
)
async def test_nobody_is_found(people: Database, text: str) -> None:
    assert await names(people, text) == []


async def test_without_a_text_everybody_comes_by_id(people: Database) -> None:
    first, after = await find(people, "  ", limit=3)
    rest, end = await find(people, "", limit=3, after=after)
    assert [found.id for found in first + rest] == [1, 2, 3, 4]
    assert end == ""


async def test_whole_words_come_before_beginnings(people: Database) -> None:
    assert await names(people, "ana") == ["Ana Muñoz", "Anabel Zapatero"]


async def test_a_number_comes_before_its_tail_and_before_words(database: Database) -> None:
    await put(
        database,
        ContactRow(name="Word 5550001"),
        ContactRow(name="Tail", phones=(("Phone", "+49 171 5550001"),)),
        ContactRow(name="Whole", phones=(("Phone", "5550001"),)),
        region="",
    )
    found = await database.read(lambda conn: search(conn, "5550001", limit=9, region=""))
    assert [each.name for each in found[0]] == ["Whole", "Tail", "Word 5550001"]


@pytest.mark.parametrize("letter", [letter for letter, _ in FOLDS])
async def test_letters_are_folded_alike_in_the_index_and_in_what_is_typed(
    database: Database, letter: str
) -> None:
    folded = dict(FOLDS)[letter]
    await put(database, ContactRow(name=f"Xa{letter}bc"))
    assert (
        await names(database, f"xa{letter}bc") == await names(database, f"XA{folded}BC") == [f"Xa{letter}bc"]
    )


async def test_pages_are_stable_and_complete(database: Database) -> None:
    rows = [
        ContactRow(
            name=f"{'Ana' if number % 3 else 'Anabel'} {number:03}",
            phones=((("Phone", f"+49 30 {1000 + number}555777"),) if number % 7 == 0 else ()),
        )
        for number in range(60)
    ]
    await put(database, *rows)
    for text, limit in (("ana", 7), ("an", 7), ("555777", 2), ("ana", 1), ("", 9)):
        everything = [found.id for found in (await find(database, text))[0]] if text else None
        pages: list[int] = []
        after = ""
        while True:
            found, after = await find(database, text, limit=limit, after=after)
            assert len(found) <= limit
            pages += [each.id for each in found]
            if not after:
                break
            if len(pages) == limit:  # somebody is added meanwhile
                await put(database, ContactRow(name="Zoe"))
        assert len(pages) == len(set(pages))
        assert pages == everything or (everything is None and len(pages) >= 60) or len(everything or ()) == 50


@pytest.mark.parametrize("after", ["x", "9.1", "1.", "1.1.1", "2.-1", "2.99999999999999999999"])
async def test_no_place_in_a_search(people: Database, after: str) -> None:
    with pytest.raises(InputError, match="begin again"):
        await find(people, "ana", after=after)


# --- whatever writes


async def test_every_way_of_writing_keeps_the_index(database: Database, query: Query) -> None:
    found = await database.write(
        lambda conn: find_or_insert(conn, data="", ani=e164(4930555), database="", now=NOW, name="Trunk")
    )
    query("UPDATE contacts SET name = 'Öner' WHERE id = ?", found.id)
    assert await names(database, "oner") == ["Öner"]
    query("UPDATE contacts SET email = 'x@first.example', key = 'abc-1'")
    assert await names(database, "first abc") == ["Öner"]
    query("INSERT INTO contacts (name, salesforce_id) VALUES ('Other', '003000000000002AAA')")
    await database.write(lambda conn: link(conn, found.id, "003000000000002AAA"))
    assert (await names(database, "oner"), await names(database, "other")) == ([], ["Other"])
    query("INSERT INTO contacts (name, salesforce_id) VALUES ('Third', '003000000000003AAA')")
    await database.write(lambda conn: become(conn, [("003000000000003AAA", "003000000000002AAA")]))
    assert await names(database, "third") == []
    await database.write(lambda conn: forget(conn, ["003000000000002AAA"]))
    assert query("SELECT count(*) FROM contact_search") == [(0,)]
    query("INSERT INTO contact_search (contact_search) VALUES ('integrity-check')")


async def test_an_account_that_is_renamed_renames_it_for_its_contacts_alone(
    people: Database, query: Query
) -> None:
    query("INSERT INTO accounts (id, name) VALUES (12, 'Acme')")  # an id that begins like another
    query("INSERT INTO contacts (name, account_id) VALUES ('Twelve', 12)")
    query("UPDATE accounts SET name = 'Zeta' WHERE salesforce_id = '001000000000001AAA'")
    assert await names(people, "zeta") == ["Ana Muñoz"]
    assert await names(people, "acme") == ["Ana Muñoz", "Twelve"]  # her e-mail has it
    assert await names(people, "strasse") == []
    assert await names(people, "munoz") == ["Ana Muñoz"]


@pytest.mark.usefixtures("people")
async def test_what_is_not_searched_costs_the_index_nothing(query: Query) -> None:
    before = query("SELECT max(id), count(*) FROM contact_search_data")
    query("UPDATE contacts SET vip = 1, active_at = 5, name = name")
    assert query("SELECT max(id), count(*) FROM contact_search_data") == before


async def test_many_contacts_of_one_batch(database: Database, query: Query) -> None:
    await put(database, *(ContactRow(name=f"Person {number}") for number in range(600)))
    assert query("SELECT id, name FROM contacts ORDER BY id") == [
        (number + 1, f"Person {number}") for number in range(600)
    ]
    assert query("SELECT count(*) FROM contact_search('person')") == [(600,)]
    assert await names(database, "599 person") == ["Person 599"]


# --- whatever is typed


SYNTAX = st.sampled_from(
    [
        "AND",
        "OR",
        "NOT",
        "NEAR(",
        ")",
        '"',
        "*",
        "^",
        ":",
        "words:",
        "+",
        "-",
        "{",
        "'",
        "ana",
        "mu",
        "\ue0001",
        "ß",
        "ue",
    ]
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.lists(SYNTAX, max_size=8).map(" ".join),
        st.lists(SYNTAX, max_size=8).map("".join),
    )
)
@example("\ud800")
@example("a\0b")
@example("ana" * 100)
@example("ueue" * 20)
@example("9" * 60)
@example("\u0660\u0661\u0662\u0663\u0664\u0665")
async def test_no_text_is_syntax(people: Database, text: str) -> None:
    found, _ = await find(people, text)
    assert len(found) <= 4
    await find(people, f"{text} ana")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(min_size=1, max_size=40))
@example("\uf900\u1100\u1161 \u0958")  # texts that change when they are composed
@example("\u1e9e\u0130\u0131")
async def test_whoever_has_a_name_is_found_by_it(database: Database, name: str) -> None:
    name = "".join(char for char in name if unicodedata.category(char) not in {"Co", "Cs", "Cc"})

    async def job(conn: AsyncConnection) -> list[Found]:
        await conn.exec_driver_sql("INSERT INTO contacts (id, name) VALUES (7, ?)", (name,))
        found, _ = await search(conn, name, limit=50)
        await conn.exec_driver_sql("DELETE FROM contacts WHERE id = 7")
        return found

    found = await database.write(job)
    assert not words_of(name) or [each.id for each in found] == [7]


def test_words_and_their_spellings() -> None:
    assert words_of("Müller") == [("muller", "mueller")]
    assert words_of("mueller") == [("mueller", "muller")]
    assert words_of("O'Neill, Straße") == [("o",), ("neill",), ("strasse",)]
    assert words_of("ana ANA") == [("ana",)]
    ((*spellings,),) = words_of("uebeloefaexaabue")
    assert len(spellings) == 8
