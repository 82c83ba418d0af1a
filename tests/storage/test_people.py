"""Contacts one by one: shown, made, changed where they may be, and noted."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.hours import find_zone
from agi_server.errors import ConflictError, InputError, NotFoundError
from agi_server.salesforce.records import DEFAULT_ENTRY, Shape, build, values_of
from storage.aliases import absorb
from storage.contacts import ContactRow, prepare, store
from storage.database import Database
from storage.directory import SqliteDirectory
from storage.outbox import due
from storage.people import ContactCard, NewContact, change_contact, create_contact, get_contact, version
from tests.storage.conftest import NOW, Query

NEW = NewContact(
    first_name=" Ana ",
    last_name="Muñoz",
    email="ana@x.example",
    account="Acme",
    phones=(("Phone", "030 23125010"), ("Fax", "4567"), ("Phone", "  ")),
    vip=True,
)
THEIRS = ContactRow(salesforce_id="003000000000001AAA", name="Theirs", phones=(("Phone", "+4930111222"),))


async def create(database: Database, new: NewContact = NEW, *, to_salesforce: bool = False) -> int:
    return await database.write(
        lambda conn: create_contact(
            conn, new, region="DE", who="user:ana", now=NOW, to_salesforce=to_salesforce
        )
    )


async def change(database: Database, number: int, **changes: Any) -> ContactCard:
    return await database.write(
        lambda conn: change_contact(conn, number, changes, region="DE", who="user:ana", now=NOW + 5)
    )


async def get(database: Database, number: int) -> ContactCard:
    card = await database.read(lambda conn: get_contact(conn, number))
    assert card is not None
    return card


async def put_theirs(database: Database) -> None:
    prepared = prepare([THEIRS], "DE")
    await database.write(lambda conn: store(conn, prepared, source="salesforce", now=NOW))


async def test_a_new_contact_is_known_to_calls_and_pages(
    database: Database, directory: SqliteDirectory
) -> None:
    number = await create(database)
    assert await get(database, number) == ContactCard(
        id=number,
        name="Ana Muñoz",
        first_name="Ana",
        last_name="Muñoz",
        kind="Contact",
        email="ana@x.example",
        account="Acme",
        phones=(("Fax", "4567"), ("Phone", "030 23125010")),
        numbers=("4567", "+493023125010"),
        vip=True,
        account_salesforce_id="",
        owner="",
        owner_email="",
        owner_salesforce_id="",
        salesforce_id="",
        source="import",
        database="",
        key="",
        blacklisted=False,
        active_at=NOW,
        created_at=NOW,
        waiting=False,
    )
    assert (await get(database, number)).editable
    (known,) = directory.contacts_by_number(493023125010)
    assert (known.id, known.name, known.account, known.vip) == (number, "Ana Muñoz", "Acme", True)


async def test_a_company_has_its_switchboard_and_belongs_to_itself(
    database: Database, directory: SqliteDirectory
) -> None:
    company = NewContact(name="Acme", kind="Account", phones=(("Phone", "+49 30 23125-0"),))
    number = await create(database, company)
    ((found, board),) = directory.contacts_by_switchboard([493023125])
    assert (found.id, found.account, board.main) == (number, "Acme", 4930231250)


async def test_making_and_changing_is_noted(database: Database, query: Query) -> None:
    number = await create(database)
    await change(database, number, last_name="Silva", vip=True)
    await change(database, number, vip=True)  # as it is
    rows = query("SELECT at, who, what, before ->> '$', after ->> '$' FROM audit ORDER BY id")
    assert [row[:3] for row in rows] == [
        (NOW, "user:ana", "contact.add"),
        (NOW + 5, "user:ana", "contact.change"),
    ]
    assert query("SELECT before -> 'name', after ->> 'name', after ->> 'id' FROM audit WHERE id = 1") == [
        (None, "Ana Muñoz", number)
    ]
    assert query("SELECT json(before), after ->> 'name', after ->> 'last_name' FROM audit WHERE id = 2") == [
        (f'{{"id":{number},"name":"Ana Mu\\u00f1oz","last_name":"Mu\\u00f1oz"}}', "Ana Silva", "Silva")
    ]


async def test_a_contact_for_salesforce_is_made_there_by_the_outbox(database: Database) -> None:
    number = await create(database, to_salesforce=True)
    assert (await get(database, number)).waiting
    (row,) = await database.read(lambda conn: due(conn, NOW, 10))
    assert (row.kind, row.contact_id, len(row.ref or "")) == ("contact", number, 32)
    values = values_of(row, number, "Ana Muñoz", find_zone("UTC"))
    text = {"type": "string", "createable": True, "length": 80}
    shape = Shape({"fields": [text | {"name": name} for name in DEFAULT_ENTRY.fields]})
    record = build(DEFAULT_ENTRY, shape, values)
    assert record["LastName"] == "Ana Muñoz"
    assert record["Phone"] == "+493023125010"


async def test_changes_keep_what_they_do_not_name(database: Database, directory: SqliteDirectory) -> None:
    number = await create(database)
    before = await get(database, number)
    after = await change(database, number, phones=(("Mobile", "+49 171 5550001"),), account="Zeta")
    assert after.phones == (("Mobile", "+49 171 5550001"),)
    assert (after.account, after.name, after.email, after.vip) == ("Zeta", before.name, before.email, True)
    assert directory.contacts_by_number(493023125010) == []
    assert [found.id for found in directory.contacts_by_number(491715550001)] == [number]
    assert version(before) != version(after) == version(await get(database, number))


async def test_a_name_of_its_own_stays_when_parts_change(database: Database) -> None:
    number = await create(database, NewContact(name="The boss", first_name="Ana"))
    assert (await change(database, number, first_name="Eva")).name == "The boss"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"phones": (("Phone", "none"),)}, "'none' holds no number"),
        ({"phones": (("Phone", "1"),) * 21}, "at most 20"),
        ({"email": "nobody"}, "no e-mail address"),
        ({"email": "a b@x"}, "no e-mail address"),
        ({"name": " ", "first_name": "", "last_name": ""}, "needs one"),
        ({"name": "x" * 256}, "at most 255"),
        ({"name": "\ud800"}, "half of a pair"),
        ({"kind": "Person"}, "no kind 'Person'"),
        ({"owner": "x"}, "no field owner"),
    ],
)
async def test_what_cannot_be_taken_changes_nothing(
    database: Database, query: Query, changes: dict[str, Any], told: str
) -> None:
    number = await create(database)
    before = await get(database, number)
    with pytest.raises(InputError, match=told):
        await change(database, number, **changes)
    if "owner" not in changes:
        with pytest.raises(InputError, match=told):
            await create(database, NewContact(**{"name": "x"} | changes))
    assert await get(database, number) == before
    assert query("SELECT count(*) FROM audit") == [(1,)]


async def test_what_salesforce_has_is_changed_there(database: Database, query: Query) -> None:
    await put_theirs(database)
    with pytest.raises(ConflictError, match="change it there"):
        await change(database, 1, vip=True)
    assert query("SELECT vip FROM contacts") == [(0,)]
    assert not (await get(database, 1)).editable


async def test_nobody(database: Database) -> None:
    assert await database.read(lambda conn: get_contact(conn, 5)) is None
    with pytest.raises(NotFoundError):
        await change(database, 5, name="x")


async def test_an_id_of_before_a_merge_goes_on_to_work(database: Database) -> None:
    one, two = await create(database), await create(database, NewContact(name="Eva"))

    async def merge(conn: AsyncConnection) -> None:
        await absorb(conn, two, one)

    await database.write(merge)
    assert (await get(database, two)).id == one
    assert (await change(database, two, name="Both")).id == one


async def test_one_field_with_two_numbers_is_one_text(database: Database) -> None:
    number = await create(
        database, NewContact(name="x", phones=(("Phone", "+49 30 1234567 / +49 40 7654321"),))
    )
    card = await get(database, number)
    assert len(card.numbers) == 2
    assert card.phones == (("Phone", "+49 30 1234567 / +49 40 7654321"),)
    changed = await change(database, number, kind="Lead")
    assert (changed.phones, changed.numbers) == (card.phones, card.numbers)
