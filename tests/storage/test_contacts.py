from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

import storage.contacts
import storage.merge
from agi_server.calls.numbers import Number
from agi_server.errors import DirectoryError, InputError
from agi_server.settings import Settings
from storage.contacts import ContactRow, FoundContact, Stored, export_contacts, find_or_insert, prepare, store
from storage.database import Database
from storage.directory import SqliteDirectory
from storage.migrate import migrate
from tests.storage.conftest import ANONYMOUS, NOW, Query, e164, local, url_of

ANA = ContactRow(
    salesforce_id="003A", name="Ana B", first_name="Ana", last_name="B", email="a@example.com",
    account_salesforce_id="001A", account="Firm", owner_salesforce_id="005A", owner_email="O@example.com", owner="Olga",
    vip=True, active_at=99, phones=(("Phone", "+493012345671"), ("MobilePhone", "0171 1234567")),
)  # fmt: skip


async def save(database: Database, *rows: ContactRow, region: str = "DE") -> Stored:
    prepared = prepare(rows, region)
    return await database.write(lambda conn: store(conn, prepared, source="import", now=NOW))


async def find(database: Database, data: str, ani: Number = ANONYMOUS, base: str = "") -> FoundContact:
    return await database.write(lambda conn: find_or_insert(conn, data=data, ani=ani, database=base, now=NOW))


def exported(path: Path) -> list[ContactRow]:
    return list(export_contacts(path))


@pytest.mark.parametrize(
    "statement",
    [
        storage.contacts.BY_NUMBER,
        storage.contacts.BY_DIGITS,
        storage.merge.FROM_NUMBERS,
        storage.merge.FROM_LOCAL,
    ],
)
def test_a_number_is_found_by_an_index(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        values = ["[]"] * (2 if "?1" in statement else statement.count("?"))
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert not [step for step in plan if step.startswith(("SCAN p", "SCAN c", "SEARCH c USING INDEX"))], plan
    assert "SEARCH c USING INTEGER PRIMARY KEY (rowid=?)" in plan


# --- import


async def test_what_is_stored_is_what_is_exported_and_found(database: Database, path: Path) -> None:
    assert await save(database, ANA) == Stored(1, 0)
    stored = replace(ANA, owner_email="o@example.com", phones=tuple(sorted(ANA.phones)))
    assert exported(path) == [stored]
    directory = SqliteDirectory(path, Settings())
    (contact,) = directory.contacts_by_number(491711234567)
    directory.close()
    assert (contact.name, contact.account, contact.owner_email, contact.vip) == (
        "Ana B",
        "Firm",
        "o@example.com",
        True,
    )


async def test_the_second_time_nothing_changes(database: Database, query: Query) -> None:
    rows = [
        ANA,
        replace(ANA, salesforce_id="003B", name="Ben", phones=(("Phone", "12"),)),
        ContactRow(name="No phone"),
    ]
    assert await save(database, *rows) == Stored(3, 0)
    before = query("SELECT * FROM contacts"), query("SELECT * FROM phones"), query("SELECT * FROM accounts")
    assert await save(database, *rows) == Stored(0, 0)
    assert (
        query("SELECT * FROM contacts"),
        query("SELECT * FROM phones"),
        query("SELECT * FROM accounts"),
    ) == before


async def test_phones_are_replaced_as_a_set(database: Database, query: Query) -> None:
    await save(database, ANA)
    again = replace(ANA, phones=(("HomePhone", "+493012345671"), ("Phone", "+351210000001"), ("Fax", "4567")))
    assert await save(database, again) == Stored(0, 1)
    assert query("SELECT number, label FROM phones") == [(351210000001, "Phone"), (493012345671, "HomePhone")]
    assert query("SELECT digits, label, tail FROM local_phones") == [("4567", "Fax", 4567)]


async def test_one_contact_by_id_key_or_name_and_number(database: Database, path: Path) -> None:
    phone = (("Phone", "+493012345671"),)
    await save(database, ContactRow(name="Ana", phones=phone))
    # the same name and number: gets the id and the key
    assert await save(database, ContactRow(name="Ana", salesforce_id="003A", phones=phone)) == Stored(0, 1)
    assert await save(database, ContactRow(name="Ana", key="k", database="7", phones=phone)) == Stored(0, 1)
    # by key, though the name is another; by id, though all else is
    assert await save(database, ContactRow(name="Anna", key="k", database="7", phones=phone)) == Stored(0, 1)
    assert await save(database, ContactRow(name="Anne", salesforce_id="003A")) == Stored(0, 1)
    assert exported(path) == [ContactRow(name="Anne", salesforce_id="003A", key="k", database="7", vip=False)]


@pytest.mark.parametrize(
    "other",
    [
        ContactRow(name="Ana", salesforce_id="003B", phones=(("Phone", "+493012345671"),)),
        ContactRow(name="Ana", key="other", phones=(("Phone", "+493012345671"),)),
        ContactRow(name="Ana", key="k", database="8", phones=(("Phone", "+493012345671"),)),
        ContactRow(name="Ben", phones=(("Phone", "+493012345671"),)),
        ContactRow(name="Ana", phones=(("Phone", "+493012345672"),)),
        ContactRow(name="Ana", kind="Lead", phones=(("Phone", "+493012345671"),)),
        ContactRow(name="Ana"),
    ],
)
async def test_two_contacts_are_never_made_one(database: Database, other: ContactRow) -> None:
    first = ContactRow(name="Ana", salesforce_id="003A", key="k", phones=(("Phone", "+493012345671"),))
    assert await save(database, first, other) == Stored(2, 0)  # in one batch
    assert await save(database, other, first) == Stored(0, 0)  # and from the database


async def test_a_key_that_is_anothers_stays_with_the_other(database: Database, path: Path) -> None:
    first = ContactRow(name="A", salesforce_id="003A", key="k")
    second = ContactRow(name="B", salesforce_id="003B", key="k")
    assert await save(database, first, second) == Stored(2, 0)
    assert [(row.name, row.key) for row in exported(path)] == [("A", "k"), ("B", None)]
    assert await save(database, first, second) == Stored(0, 0)


async def test_empty_cells_do_not_take_away_what_identifies(database: Database, path: Path) -> None:
    phones = (("Phone", "+493012345671"),)
    await save(
        database,
        ContactRow(name="A", salesforce_id="003A", key="k", database="7", active_at=9, phones=phones),
    )
    await save(database, ContactRow(name="A", phones=phones, email="a@example.com"))
    assert exported(path) == [
        ContactRow(
            name="A",
            salesforce_id="003A",
            key="k",
            database="7",
            active_at=9,
            phones=phones,
            email="a@example.com",
            vip=False,
        )
    ]


async def test_a_file_without_owners_and_vips_takes_neither_away(database: Database, path: Path) -> None:
    owned = ContactRow(name="A", salesforce_id="003A", owner_email="o@example.com", vip=True)
    await save(database, owned)
    await save(database, ContactRow(name="B", salesforce_id="003A"))
    assert exported(path) == [replace(owned, name="B")]
    await save(database, ContactRow(name="B", salesforce_id="003A", owner_email="p@example.com", vip=False))
    assert exported(path) == [replace(owned, name="B", owner_email="p@example.com", vip=False)]


async def test_a_contact_made_of_a_number_becomes_the_person(database: Database, path: Path) -> None:
    found = await find(database, "dni", e164(493012345671), "7")
    assert await save(database, ANA) == Stored(0, 1)
    (row,) = exported(path)
    assert (row.name, row.salesforce_id, row.key, row.database) == ("Ana B", "003A", "dni", "7")
    assert await find(database, "dni", base="7") == FoundContact(
        found.id, inserted=False, salesforce_id="003A"
    )
    other = replace(ANA, salesforce_id="003B", name="Ben")
    assert await save(database, other) == Stored(1, 0)  # it has a name now


async def test_accounts_and_owners_are_shared_and_follow_their_ids(database: Database, query: Query) -> None:
    def row(n: int, **columns: Any) -> ContactRow:
        return ContactRow(salesforce_id=f"003{n}", name=f"P{n}", **columns)

    await save(
        database,
        row(1, account="Firm", owner_email="O@x.com"),
        row(2, account="Firm", owner_email="o@x.com", owner="Olga"),
        row(
            3, account="Firm", account_salesforce_id="001A", owner_email="o@x.com", owner_salesforce_id="005A"
        ),
        row(4, owner="Team North"),
        row(5),
    )
    assert query("SELECT salesforce_id, name FROM accounts") == [("001A", "Firm")]
    assert query("SELECT salesforce_id, email, name FROM owners") == [
        ("005A", "o@x.com", "Olga"), (None, "", "Team North"),
    ]  # fmt: skip
    assert query("SELECT id, account_id, owner_id FROM contacts") == [
        (1, 1, 1), (2, 1, 1), (3, 1, 1), (4, None, 2), (5, None, None),
    ]  # fmt: skip
    await save(database, row(3, account="Firm Ltd", account_salesforce_id="001A"))
    assert query("SELECT salesforce_id, name FROM accounts") == [("001A", "Firm Ltd")]
    await save(database, row(6, account="Firm Ltd"), row(7, account="Firm Ltd", account_salesforce_id="001B"))
    assert query("SELECT account_id FROM contacts WHERE id > 5") == [(1,), (2,)]


async def test_an_account_belongs_to_itself(database: Database, query: Query) -> None:
    await save(
        database,
        ContactRow(kind="Account", salesforce_id="001A", name="Firm"),
        ContactRow(salesforce_id="003A", name="Ana", account_salesforce_id="001A", account="Firm"),
    )
    assert query("SELECT DISTINCT account_id FROM contacts") == [(1,)]


async def test_main_numbers_answer_for_companies_and_where_written(database: Database, query: Query) -> None:
    def row(name: str, kind: str, phone: str) -> ContactRow:
        return ContactRow(name=name, kind=kind, phones=(("Phone", phone),))

    await save(
        database,
        row("1", "Account", "+49301234560"),
        row("2", "Contact", "+49301234560"),
        row("3", "Contact", "+49 30 123456-0"),
        row("4", "Account", "+49301234561"),
    )
    assert query("SELECT prefix, contact_id, main, explicit FROM switchboards") == [
        (4930123456, 1, 49301234560, 0), (4930123456, 3, 49301234560, 1),
    ]  # fmt: skip
    await save(database, row("3", "Contact", "+49301234560"))
    assert query("SELECT contact_id FROM switchboards") == [(1,)]


def test_what_is_no_number_is_reported() -> None:
    rows = [
        ANA,
        ContactRow(name="B", phones=(("Phone", "call me"), ("Fax", "  "), ("HomePhone", "+351210000001"))),
    ]
    assert prepare(rows, "DE").unread == [(1, "Phone", "call me")]


def test_two_numbers_in_one_field() -> None:
    prepared = prepare([ContactRow(phones=(("Phone", "030 1234567 / 0171 1234567"),))], "DE")
    assert prepared.phones[0].numbers == dict.fromkeys(
        (49301234567, 491711234567), ("Phone", "030 1234567 / 0171 1234567")
    )


def test_a_kind_that_is_none() -> None:
    with pytest.raises(InputError, match=r"row 1.*'Dog'"):
        prepare([ANA, replace(ANA, kind="Dog")], "DE")


async def test_ids_are_never_used_again(database: Database, query: Query) -> None:
    await save(database, *(ContactRow(name=str(n), salesforce_id=f"003{n}") for n in range(3)))
    query("DELETE FROM contacts")
    await save(database, ANA)
    found = await find(database, "x")
    query("DELETE FROM contacts")
    later = await find(database, "y")
    assert (found.id, later.id) == (5, 6)


TEXT = st.sampled_from(["", "x", "y"])
PHONES = st.lists(
    st.tuples(
        st.sampled_from(["Phone", "Fax"]),
        st.sampled_from(["+493012345671", "+351210000001", "030 12345671", "123", "123456-0", "?", ""]),
    ),
    max_size=3,
).map(tuple)


@st.composite
def files(draw: st.DrawFn) -> list[ContactRow]:
    """Return rows about a few people, with or without their ids; a person's rows agree on name and kind.

    Nobody could tell apart two of one name and kind who share a number and come without ids.
    """
    people = [("A", "Contact"), ("B", "Contact"), ("A", "Lead"), ("", "Contact")]
    rows = []
    for person in draw(st.lists(st.integers(0, 3), max_size=8)):
        name, kind = people[person]
        rows.append(
            ContactRow(
                salesforce_id=draw(st.sampled_from(["", f"003{person}"])),
                key=draw(st.sampled_from([None, f"k{person}"])),
                database="7",
                name=name,
                kind=kind,
                email=draw(TEXT),
                account=draw(TEXT),
                account_salesforce_id=draw(st.sampled_from(["", "001A", "001B"])),
                owner=draw(TEXT),
                owner_email=draw(st.sampled_from(["", "o@x", "p@x"])),
                owner_salesforce_id=draw(st.sampled_from(["", "005A", "005B"])),
                phones=draw(PHONES),
            )
        )
    return rows


@asynccontextmanager
async def emptied(path: Path) -> AsyncIterator[Database]:
    """Open a database that many examples share, without what the last one left."""
    database = await Database.open(url_of(path))

    async def wipe(connection: AsyncConnection) -> None:
        for table in ("contacts", "accounts", "owners"):
            await connection.exec_driver_sql(f"DELETE FROM {table}")

    try:
        await database.write(wipe)
        yield database
    finally:
        await database.close()


@pytest.fixture(scope="module")
def played(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("played") / "ostiary.db"
    path.write_bytes(template.read_bytes())
    return path


@settings(max_examples=60)
@given(rows=files())
def test_importing_twice_doubles_nothing(played: Path, rows: Sequence[ContactRow]) -> None:
    async def play() -> None:
        async with emptied(played) as database:
            first = await save(database, *rows)
            once = exported(played)
            again = await save(database, *rows)
            twice = exported(played)
        assert first.updated == again.inserted == 0
        assert len(twice) == len(once) == first.inserted
        ids = [row.salesforce_id for row in twice if row.salesforce_id]
        assert sorted(ids) == sorted({row.salesforce_id for row in rows} - {""})
        keys = [row.key for row in twice if row.key is not None]
        assert sorted(keys) == sorted({row.key for row in rows if row.key is not None})

    asyncio.run(play())


# --- the insert look-up


async def test_the_key_finds_its_contact(database: Database, query: Query) -> None:
    first = await find(database, "31987456", e164(351210000001), "7")
    assert first.inserted
    assert await find(database, "31987456", e164(351210000002), "7") == FoundContact(first.id, inserted=False)
    assert await find(database, "31987456", ANONYMOUS, "8") != first  # another base
    assert query(
        "SELECT database, key, kind, name, source, created_at FROM contacts WHERE id = ?", first.id
    ) == [("7", "31987456", "Contact", "+351210000001", "insert", NOW)]
    assert query("SELECT number FROM phones WHERE contact_id = ?", first.id) == [(351210000001,)]
    ((kind, contact, payload),) = query(
        "SELECT kind, contact_id, payload FROM outbox WHERE contact_id = ?", first.id
    )
    assert (kind, contact) == ("contact", first.id)
    assert json.loads(payload) == {
        "id": first.id, "database": "7", "key": "31987456", "name": "+351210000001", "phone": "+351210000001",
        "did": "",
    }  # fmt: skip


@pytest.mark.parametrize("ani", [e164(493012345671), local("4567")])
async def test_a_contact_without_a_key_takes_the_data_for_its_key(database: Database, ani: Number) -> None:
    await save(database, ContactRow(name="Ana", phones=(("Phone", ani.text),)))
    assert await find(database, "31987456", ani, "7") == FoundContact(2, inserted=True)  # another base
    assert await find(database, "31987456", ani) == FoundContact(1, inserted=False)
    assert await find(database, "31987456") == FoundContact(1, inserted=False)
    assert await find(database, "999", ani) == FoundContact(3, inserted=True)  # it has a key of its own now


@pytest.mark.parametrize("key", ["+493012345671", "493012345671", "030 12345671", "00493012345671"])
async def test_a_key_that_is_the_number_is_no_other_key(database: Database, key: str) -> None:
    first = await find(database, key, e164(493012345671))
    assert await find(database, "31987456", e164(493012345671)) == FoundContact(first.id, inserted=False)
    assert await find(database, key) == FoundContact(first.id, inserted=False)


async def test_a_key_of_its_own_is_another_contact(database: Database) -> None:
    for key in ("31987456", "DNI12345671", "671"):
        assert (await find(database, key, e164(493012345671))).inserted


async def test_without_data_the_number_finds_its_contact(database: Database, query: Query) -> None:
    first = await find(database, "", e164(351210000001), "7")
    assert first.inserted
    assert query("SELECT key FROM contacts") == [(str(first.id),)]
    assert await find(database, "", e164(351210000001), "7") == FoundContact(first.id, inserted=False)
    assert (await find(database, "", e164(351210000001), "8")).inserted


async def test_a_private_number_is_new_each_time(database: Database, query: Query) -> None:
    found = [await find(database, " ", ANONYMOUS, "7") for _ in range(3)]
    assert found == [FoundContact(n, inserted=True) for n in (1, 2, 3)]
    assert query("SELECT key, name FROM contacts") == [("1", ""), ("2", ""), ("3", "")]
    assert query("SELECT count(*) FROM phones") == [(0,)]
    assert query("SELECT count(*) FROM outbox") == [(3,)]


async def test_fifty_at_once_are_one(database: Database, query: Query) -> None:
    found = await asyncio.gather(*(find(database, "key", e164(351210000001)) for _ in range(50)))
    assert {one.id for one in found} == {1}
    assert sum(one.inserted for one in found) == 1
    assert query("SELECT count(*) FROM contacts") == query("SELECT count(*) FROM outbox") == [(1,)]


LOOKUPS = """
import asyncio, sys
from agi_server.calls.numbers import Number, NumberState
from storage.contacts import find_or_insert
from storage.database import Database

async def main():
    database = await Database.open(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    async def one(n):
        found = await database.write(lambda conn: find_or_insert(
            conn, data=f"key{n}", ani=Number(NumberState.ANONYMOUS), database="7", now=1))
        print(n, found.id, found.inserted, flush=True)
    for n in range(60):
        await one(n)
    await database.close()
asyncio.run(main())
"""


def test_two_processes_give_one_key_one_id(path: Path, query: Query) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", LOOKUPS, url_of(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [[line.split() for line in child.communicate()[0].splitlines()] for child in children]
    assert len(answers[0]) == 60
    assert [row[:2] for row in answers[0]] == [row[:2] for row in answers[1]]
    assert sum(row[2] == "True" for rows in answers for row in rows) == 60
    assert query("SELECT count(*) FROM contacts") == [(60,)]


LOOKUP = st.tuples(
    st.sampled_from(["", "a", "b", "+493012345671"]),
    st.sampled_from([ANONYMOUS, e164(493012345671), e164(351210000001), local("4567")]),
    st.sampled_from(["", "7"]),
)


@settings(max_examples=40)
@given(lookups=st.lists(LOOKUP, max_size=10), rows=files())
def test_the_same_key_is_the_same_contact(
    played: Path, lookups: list[tuple[str, Number, str]], rows: Sequence[ContactRow]
) -> None:
    async def play() -> None:
        keyed: dict[tuple[str, str], int] = {}
        async with emptied(played) as database:
            await save(database, *rows)
            for data, ani, base in lookups:
                found = await find(database, data, ani, base)
                again = await find(database, data, ani, base)
                if data or ani.digits:
                    assert again[:2] == (found.id, False)
                else:
                    assert again.inserted
                by_key = exported_keys(played).get((base, data)) if data else None
                if by_key is not None:
                    assert keyed.setdefault((base, data), by_key) == by_key == found.id

    asyncio.run(play())


def exported_keys(path: Path) -> dict[tuple[str, str], int]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT database, key, id FROM contacts WHERE key IS NOT NULL")
        return {(database, key): number for database, key, number in rows}


# --- export


async def test_export_goes_page_by_page(database: Database, path: Path, query: Query) -> None:
    await save(database, *(ContactRow(salesforce_id=f"003{n}", name=str(n)) for n in range(1201)))
    rows = export_contacts(path)
    assert next(rows).name == "0"
    query("INSERT INTO audit (at, who, what) VALUES (1, '', '')")
    assert query("PRAGMA wal_checkpoint(TRUNCATE)") == [(0, 0, 0)]  # nobody reads the log
    assert [row.name for row in rows] == [str(n) for n in range(1, 1201)]


def test_export_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="ostiary migrate"):
        list(export_contacts(tmp_path / "none.db"))


async def test_what_was_exported_imports_as_it_was(database: Database, path: Path, tmp_path: Path) -> None:
    await save(
        database,
        ANA,
        ContactRow(
            name="Firm", kind="Account", phones=(("Phone", "+49 30 1234-0"), ("Fax", "030 1 / 0171 1234567"))
        ),
        ContactRow(name="No one", key="k", database="7", phones=(("Phone", "12 ext 3"),)),
    )
    other = tmp_path / "other.db"
    await migrate(url_of(other))
    second = await Database.open(url_of(other))
    await save(second, *exported(path))
    await second.close()
    assert exported(other) == exported(path)
