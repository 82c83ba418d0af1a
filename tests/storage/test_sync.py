from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.numbers import Number
from agi_server.errors import DirectoryError
from storage import sync
from storage.contacts import ContactRow, FoundContact, Stored, find_or_insert, prepare, store
from storage.database import Database
from storage.salesforce_ids import long_id
from storage.sync import OwnerRow, Unread
from tests.storage.conftest import ANONYMOUS, NOW, Query, e164, url_of

ANA, BEN, EVA = (long_id(f"003D000000000a{letter}") for letter in "ABC")
LEAD = long_id("00QD000000000aA")
PHONE = (("Phone", "+493012345671"),)
OTHER = (("Phone", "+351210000001"), ("Fax", "4567"))


async def save(database: Database, *rows: ContactRow) -> Stored:
    prepared = prepare(rows, "DE")
    return await database.write(lambda conn: store(conn, prepared, source="salesforce", now=NOW))


async def find(database: Database, data: str, ani: Number = ANONYMOUS, base: str = "") -> FoundContact:
    return await database.write(lambda conn: find_or_insert(conn, data=data, ani=ani, database=base, now=NOW))


async def become(database: Database, *pairs: tuple[str, str]) -> int:
    return await database.write(lambda conn: sync.become(conn, pairs))


async def link(database: Database, contact: int, salesforce_id: str) -> int:
    return await database.write(lambda conn: sync.link(conn, contact, salesforce_id))


async def resolve(database: Database, contact: str) -> int | None:
    return await database.read(lambda conn: sync.resolve(conn, contact))


async def id_of(database: Database, salesforce_id: str) -> int:
    found = await resolve(database, salesforce_id)
    assert found is not None
    return found


# --- what a contact is called


async def test_a_contact_goes_by_each_of_its_names(database: Database) -> None:
    await save(database, ContactRow(salesforce_id=ANA[:15], name="Ana", phones=PHONE))
    for text in ("1", ANA, ANA[:15], "1-31987456", "1-", f"{ANA}-a-b", f" {ANA[:15]}-+493012345671 "):
        assert await resolve(database, text) == 1
    for text in ("", "-", "2", "-1", "1a", BEN, ANA[:14], ANA.swapcase(), "9" * 18, "9" * 40, "²", "1 2"):
        assert await resolve(database, text) is None


async def test_a_synchronised_id_has_eighteen_characters(database: Database, query: Query) -> None:
    row = ContactRow(
        salesforce_id=ANA[:15],
        name="Ana",
        account_salesforce_id="001D000000000aA",
        account="Firm",
        owner_salesforce_id="005D000000000aA",
    )
    await save(database, row)
    assert await save(database, ContactRow(salesforce_id=ANA, name="Anna", phones=PHONE)) == Stored(0, 1)
    assert query("SELECT salesforce_id FROM contacts UNION ALL SELECT salesforce_id FROM accounts") == [
        (ANA,), (long_id("001D000000000aA"),),
    ]  # fmt: skip
    assert query("SELECT salesforce_id FROM owners") == [(long_id("005D000000000aA"),)]


# --- forget


async def test_who_is_forgotten_leaves_nothing(database: Database, query: Query) -> None:
    await save(
        database,
        ContactRow(salesforce_id=ANA, name="Ana", phones=OTHER),
        ContactRow(salesforce_id=BEN, name="Ben", kind="Account", phones=(("Phone", "+49 30 1234-0"),)),
        ContactRow(salesforce_id=EVA, name="Eva", phones=PHONE),
    )
    await database.write(
        lambda conn: sync.note_unread(conn, [], [(ANA, "Contact", "Fax", "?"), (EVA, "Contact", "Fax", "?")])
    )
    assert await become(database, (BEN, ANA)) == 1
    assert await database.write(lambda conn: sync.forget(conn, [ANA, BEN, LEAD])) == 1
    assert await database.write(lambda conn: sync.forget(conn, [ANA])) == 0
    assert [await resolve(database, name) for name in (ANA, BEN, "1", "2", EVA)] == [
        None,
        None,
        None,
        None,
        3,
    ]
    for table in ("contacts", "contact_aliases", "phones", "local_phones", "switchboards", "unread_numbers"):
        assert query(f"SELECT count(*) FROM {table}") == [
            (table in {"contacts", "phones", "unread_numbers"},)
        ]


# --- become


async def test_a_merged_contact_goes_on_under_its_old_names(database: Database, query: Query) -> None:
    await save(
        database,
        ContactRow(salesforce_id=ANA, name="Ana", key="dni", database="7", phones=OTHER),
        ContactRow(salesforce_id=BEN, name="Ben", phones=PHONE),
    )
    query("INSERT INTO outbox (kind, contact_id, payload) VALUES ('call', 1, '{}')")
    query("INSERT INTO calls (id, started_at, contact_id) VALUES ('x', 1, 1)")
    assert await become(database, (ANA, BEN)) == 1
    assert await become(database, (ANA, BEN)) == 0
    for name in ("1", ANA, ANA[:15], f"1-{ANA}", "1-dni", "2", BEN):
        assert await resolve(database, name) == 2
    assert query("SELECT salesforce_id, name, database, key FROM contacts") == [(BEN, "Ben", "7", "dni")]
    assert query("SELECT number FROM phones") == [(493012345671,)]
    assert query("SELECT count(*) FROM local_phones") == [(0,)]
    assert query("SELECT contact_id FROM outbox UNION ALL SELECT contact_id FROM calls") == [(2,), (1,)]


async def test_clavesf_of_a_key_never_changes(database: Database) -> None:
    await save(database, *(ContactRow(salesforce_id=name, name=name) for name in (ANA, BEN, EVA)))
    rows = [
        ContactRow(salesforce_id=ANA, name="A", key="a"),
        ContactRow(salesforce_id=BEN, name="B", key="b"),
    ]
    await save(database, *rows)
    for pair, now in (((ANA, BEN), BEN), ((BEN, EVA), EVA)):
        await become(database, pair)
        assert await find(database, "a") == FoundContact(1, inserted=False, salesforce_id=now)
        assert await find(database, "b") == FoundContact(2, inserted=False, salesforce_id=now)
        assert await find(database, ANA[:15]) == FoundContact(1, inserted=False, salesforce_id=now)
    assert await find(database, EVA) == FoundContact(3, inserted=False, salesforce_id=EVA)


async def test_a_chain_of_merges_ends_at_the_last(database: Database, query: Query) -> None:
    rows = [ContactRow(salesforce_id=name, name=name, key="one") for name in (ANA, BEN, EVA, LEAD)]
    await save(database, *rows)
    assert await become(database, (BEN, EVA), (ANA, BEN), (EVA, LEAD), (LEAD, ANA), (LEAD, LEAD)) == 3
    assert [await resolve(database, str(number)) for number in (1, 2, 3, 4)] == [4] * 4
    assert {await resolve(database, name) for name in (ANA, BEN, EVA, LEAD)} == {4}
    assert query("SELECT id, contact_id FROM contact_aliases") == [(1, 4), (2, 4), (3, 4)]
    assert await find(database, "one") == FoundContact(1, inserted=False, salesforce_id=LEAD)


async def test_a_merge_into_somebody_unknown_forgets(database: Database, query: Query) -> None:
    await save(database, ContactRow(salesforce_id=ANA, name="Ana", phones=PHONE))
    assert await become(database, (BEN, EVA), (ANA, "")) == 1
    assert await resolve(database, "1") is None
    assert query("SELECT count(*) FROM phones") == [(0,)]


async def test_a_record_that_comes_back_is_itself(database: Database) -> None:
    await save(database, *(ContactRow(salesforce_id=name, name=name) for name in (ANA, BEN)))
    await become(database, (ANA, BEN))
    await save(database, ContactRow(salesforce_id=ANA, name="Ana"))
    assert await resolve(database, ANA) == 3
    assert await resolve(database, "1") == 2
    assert (await find(database, ANA)).id == 3
    await database.write(lambda conn: sync.forget(conn, [ANA]))
    assert await resolve(database, ANA) == 2


# --- link


async def test_a_contact_gets_its_salesforce_id(database: Database, query: Query) -> None:
    found = await find(database, "dni", e164(493012345671), "7")
    for _ in range(2):
        assert await link(database, found.id, ANA) == found.id
    assert await find(database, "dni", base="7") == FoundContact(found.id, inserted=False, salesforce_id=ANA)
    assert await resolve(database, ANA) == await resolve(database, f"{found.id}-dni") == found.id
    assert query("SELECT salesforce_id FROM sync_seen") == [(ANA,)]
    assert await save(database, ContactRow(salesforce_id=ANA, name="Ana", phones=PHONE)) == Stored(0, 1)


@pytest.mark.parametrize("key", [None, "other"])
async def test_a_synchronisation_that_was_faster(database: Database, query: Query, key: str | None) -> None:
    found = await find(database, "dni", ANONYMOUS, "7")
    synchronised = ContactRow(
        salesforce_id=ANA, name="Ana B", first_name="Ana", email="a@x", account="Firm", owner_email="o@x", vip=True,
        active_at=9, key=key, phones=(*OTHER, ("HomePhone", "+49 30 1234-0")),
    )  # fmt: skip
    await save(database, synchronised)
    query("UPDATE contacts SET blacklisted = 1 WHERE id = 2")
    query("INSERT INTO flagged_numbers (pattern, contact_id) VALUES ('+351210000001', 2)")
    query("INSERT INTO outbox (kind, contact_id, payload) VALUES ('flag', 2, '{}')")
    tables = {
        table: query(f"SELECT * FROM {table}")
        for table in ("phones", "local_phones", "switchboards", "flagged_numbers")
    }
    assert await link(database, found.id, ANA) == found.id
    assert query(
        "SELECT id, salesforce_id, database, key, name, first_name, email, account_id, owner_id, vip, active_at, "
        "blacklisted, source FROM contacts"
    ) == [(1, ANA, "7", "dni", "Ana B", "Ana", "a@x", 1, 1, 1, 9, 1, "insert")]
    for table, rows in tables.items():
        assert rows
        assert query(f"SELECT * FROM {table}") == [
            tuple(1 if value == 2 else value for value in row) for row in rows
        ]
    assert query("SELECT DISTINCT contact_id FROM outbox") == [(1,)]
    assert {await resolve(database, name) for name in ("1", "2", ANA, "2-other")} == {1}
    assert await find(database, "dni", base="7") == FoundContact(1, inserted=False, salesforce_id=ANA)
    if key:
        assert await find(database, key) == FoundContact(2, inserted=False, salesforce_id=ANA)
    assert await save(database, ContactRow(salesforce_id=ANA, name="Ana C", phones=OTHER)) == Stored(0, 1)


async def test_linking_who_is_gone_is_no_error(database: Database) -> None:
    await save(database, *(ContactRow(salesforce_id=name, name=name) for name in (ANA, BEN)))
    assert await link(database, 99, ANA) == 1
    assert await link(database, 99, EVA) == 0
    await become(database, (ANA, BEN))
    assert await link(database, 1, BEN) == 2  # who asked knew the old id
    assert await resolve(database, EVA) is None


async def test_two_records_are_two_contacts(database: Database) -> None:
    found = await find(database, "dni", e164(493012345671))
    await save(database, ContactRow(salesforce_id=ANA, name="Ana", phones=PHONE))
    assert (
        await link(database, found.id, BEN) == found.id
    )  # made there, while Ana turned out to be the caller
    assert await resolve(database, ANA) == found.id
    assert await resolve(database, BEN) is None
    await save(database, ContactRow(salesforce_id=BEN, name="Ben"))
    assert await link(database, found.id, BEN) == found.id
    assert await id_of(database, BEN) != found.id


# --- owners


async def test_owners_are_stored_by_their_id(database: Database, query: Query) -> None:
    await save(database, ContactRow(name="Ana", owner_email="o@x"), ContactRow(name="Ben", owner="Team"))
    rows = [
        OwnerRow("005A", "Olga", "O@x"),
        OwnerRow("00GB", "Team", ""),
        OwnerRow("005C", "Carl", "c@x"),
        OwnerRow("005D", "Dora", "c@x"),
    ]
    assert await database.write(lambda conn: sync.store_owners(conn, rows)) == 4
    assert await database.write(lambda conn: sync.store_owners(conn, rows)) == 0
    assert query("SELECT salesforce_id, email, name FROM owners ORDER BY salesforce_id, name") == [
        ("005A", "o@x", "Olga"), ("005C", "c@x", "Carl"), ("005D", "c@x", "Dora"),
        ("00GB", "", "Team"),
    ]  # fmt: skip
    changed = [OwnerRow("005A", "Olga P", "p@x"), OwnerRow("00GB", "Team", "")]
    assert await database.write(lambda conn: sync.store_owners(conn, changed)) == 1
    assert query("SELECT salesforce_id, email, name FROM owners WHERE salesforce_id = '005A'") == [
        ("005A", "p@x", "Olga P")
    ]
    assert await database.write(lambda conn: sync.store_owners(conn, [])) == 0


# --- who was met


async def test_who_was_not_met_page_by_page(database: Database) -> None:
    names = [long_id(f"003D00000000{number:03d}") for number in range(9)]
    await save(
        database,
        *(ContactRow(salesforce_id=name, name=name) for name in names),
        ContactRow(salesforce_id=LEAD, name="Lead", kind="Lead"),
        ContactRow(name="not of Salesforce"),
    )

    async def unseen(after: str = "") -> list[str]:
        return await database.read(lambda conn: sync.unseen(conn, "Contact", after, 2))

    assert await database.read(lambda conn: sync.count_kind(conn, "Contact")) == 9
    assert await database.read(lambda conn: sync.count_kind(conn, "Account")) == 0
    await database.write(lambda conn: sync.mark_seen(conn, [names[0], names[4]]))
    await database.write(lambda conn: sync.mark_seen(conn, [names[4], BEN]))
    for after, page in (("", names[:5]), (names[4], names[5:])):
        found = await database.read(partial(sync.known, kind="Contact", after=after, limit=5))
        assert found == page
    pages = [await unseen()]
    while pages[-1]:
        pages.append(await unseen(pages[-1][-1]))
    assert pages == [names[1:3], [names[3], names[5]], names[6:8], names[8:], []]
    forgotten = [await database.write(lambda conn: sync.forget_seen(conn, 2)) for _ in range(3)]
    assert forgotten == [2, 1, 0]
    assert await unseen() == names[:2]


# --- numbers that could not be understood


async def test_what_was_not_understood_is_noted_until_it_is_better(database: Database, path: Path) -> None:
    async def noted(seen: Sequence[str], *rows: tuple[str, str, str, str]) -> list[Unread]:
        await database.write(lambda conn: sync.note_unread(conn, seen, rows))
        return await database.read(sync.unread)

    one, two = (ANA, "Contact", "Phone", "call me"), (ANA, "Contact", "Fax", "?")
    three = (LEAD, "Lead", "Phone", "n/a")
    unread = [Unread(ANA, "Contact", "Fax", "?"), Unread(ANA, "Contact", "Phone", "call me")]
    assert await noted([ANA, BEN], one, two) == unread
    assert await noted([LEAD], three) == [*unread, Unread(LEAD, "Lead", "Phone", "n/a")]
    assert await database.read(lambda conn: sync.unread(conn, after=(ANA, "Fax"), limit=1)) == unread[1:]
    assert await database.read(sync.count_unread) == 3
    assert list(sync.export_unread(path)) == [*unread, Unread(LEAD, "Lead", "Phone", "n/a")]
    assert await noted([ANA], (ANA, "Contact", "Fax", "-")) == [
        Unread(ANA, "Contact", "Fax", "-"), Unread(LEAD, "Lead", "Phone", "n/a"),
    ]  # fmt: skip


def test_what_cannot_be_read_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="ostiary migrate"):
        list(sync.export_unread(tmp_path / "none.db"))


# --- whatever happens


NAMES = [long_id(f"003D000000000b{letter}") for letter in "ABCD"]
KEYS = ["k", "l", "m", "n"]  # of these contacts
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("store"),
            st.sampled_from(["", *NAMES]),
            st.booleans(),
            st.sampled_from([(), PHONE, OTHER]),
        ),
        st.tuples(
            st.just("find"),
            st.sampled_from(["", *KEYS, NAMES[0]]),
            st.sampled_from([ANONYMOUS, e164(493012345671)]),
        ),
        st.tuples(st.just("become"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        st.tuples(st.just("link"), st.integers(1, 6), st.sampled_from(NAMES)),
        st.tuples(st.just("forget"), st.sampled_from(NAMES)),
    ),
    max_size=14,
)


@dataclass
class Book:
    """What was given out, and the contact each id has meant since."""

    path: Path
    meaning: dict[int, int] = field(default_factory=dict)  # id given out -> contact now
    claves: dict[str, int] = field(default_factory=dict)  # key -> id in its CLAVESF

    def rows(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql).fetchall()

    async def check(self, database: Database) -> None:
        living = {row[0] for row in self.rows("SELECT id FROM contacts")}
        removed = set(self.meaning.values()) - living
        became = dict(self.rows("SELECT id, contact_id FROM contact_aliases"))
        for one, before in self.meaning.items():
            now = await resolve(database, f"{one}-x")
            assert now is None or now in living
            if before not in removed:
                assert now == before  # nobody else's id
            elif now is not None:
                assert became[before] == now  # one with another, and all its names with it
        self.meaning = {
            one: now
            for one in {*self.meaning, *living}
            if (now := await resolve(database, str(one))) is not None
        }
        for text, number in self.rows(
            "SELECT salesforce_id, id FROM contacts WHERE salesforce_id IS NOT NULL"
        ):
            assert await resolve(database, text) == number
        assert not set(became.values()) - living
        assert not set(became) & living
        for sql in (
            "SELECT database, key FROM contacts WHERE key IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1",
            "SELECT salesforce_id FROM contacts WHERE salesforce_id <> '' GROUP BY 1 HAVING count(*) > 1",
            "SELECT 1 FROM phones WHERE contact_id NOT IN (SELECT id FROM contacts)",
            "SELECT 1 FROM local_phones WHERE contact_id NOT IN (SELECT id FROM contacts)",
            "SELECT 1 FROM switchboards WHERE contact_id NOT IN (SELECT id FROM contacts)",
            "PRAGMA foreign_key_check",
        ):
            assert self.rows(sql) == []


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_every_id_means_one_contact_or_none(path: Path, steps: Sequence[tuple[Any, ...]]) -> None:
    async def play() -> None:
        database = await Database.open(url_of(path))
        book = Book(path)
        try:
            await database.write(wipe)
            for kind, *values in steps:
                if kind == "store":
                    name, with_key, phones = values
                    key = KEYS[NAMES.index(name)] if name and with_key else None
                    await save(
                        database, ContactRow(salesforce_id=name, name=name or "N", key=key, phones=phones)
                    )
                elif kind == "find":
                    found = await find(database, *values)
                    if values[0] in KEYS:
                        before = book.claves.get(values[0], found.id)
                        assert before == found.id or await resolve(database, str(before)) is None
                        book.claves[values[0]] = found.id
                elif kind == "become":
                    await become(database, (values[0], values[1]))
                elif kind == "link":
                    await link(database, *values)
                else:
                    await database.write(partial(sync.forget, salesforce_ids=[values[0]]))
                await book.check(database)
        finally:
            await database.close()

    asyncio.run(play())


async def wipe(connection: AsyncConnection) -> None:
    for table in (
        "contacts",
        "contact_aliases",
        "accounts",
        "owners",
        "outbox",
        "sync_seen",
        "sqlite_sequence",
    ):
        await connection.exec_driver_sql(f"DELETE FROM {table}")
