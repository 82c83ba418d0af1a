"""Contacts made of callers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from storage import unknown_callers
from storage.contacts import ContactRow, prepare, store
from storage.database import Database

NOW = 1_800_000_000
NUMBER, OTHER = 493023125000, 493023125001


async def make(
    database: Database, *, name: str = "Erika", number: int = NUMBER, digits: str = "", **more: Any
) -> int:
    usual: dict[str, Any] = {"kind": "Contact", "payload": {"call": "c-1"}, "now": NOW}
    return await database.write(
        lambda conn: unknown_callers.make(conn, name=name, number=number, digits=digits, **(usual | more))
    )


async def rows(database: Database, query: str) -> list[Any]:
    return [tuple(row) for row in await database.read(lambda conn: _all(conn, query))]


async def _all(conn: Any, query: str) -> list[Any]:
    return list(await conn.exec_driver_sql(query))


async def test_a_contact_comes_with_its_row_of_the_outbox(database: Database) -> None:
    contact = await make(database)
    assert await rows(
        database, "SELECT id, name, kind, source, created_at, key, salesforce_id FROM contacts"
    ) == [(contact, "Erika", "Contact", "insert", NOW, None, None)]
    ((kind, of, payload, ref),) = await rows(database, "SELECT kind, contact_id, payload, ref FROM outbox")
    assert (kind, of, json.loads(payload), len(ref)) == ("contact", contact, {"call": "c-1"}, 32)
    assert await database.read(lambda conn: unknown_callers.holders(conn, NUMBER, "")) == [contact]
    assert await database.read(lambda conn: unknown_callers.holders(conn, OTHER, "")) == []


@pytest.mark.parametrize(
    ("number", "digits", "name"), [(NUMBER, "", f"+{NUMBER}"), (0, "0815123", "0815123")]
)
async def test_without_a_name_it_is_called_by_its_number(
    database: Database, number: int, digits: str, name: str
) -> None:
    contact = await make(database, name="", number=number, digits=digits)
    assert await rows(database, "SELECT name FROM contacts") == [(name,)]
    assert await database.read(lambda conn: unknown_callers.holders(conn, number, digits)) == [contact]


async def test_who_was_just_made(database: Database) -> None:
    contact = await make(database)
    imported = prepare([ContactRow(name="Ana")], "DE")
    await database.write(lambda conn: store(conn, imported, source="import", now=NOW))

    async def just(name: str, since: int, now: int = NOW) -> int | None:
        return await database.read(lambda conn: unknown_callers.just_made(conn, name, since, now))

    assert await just("ERIKA", NOW) == contact
    assert await just("Erika", NOW + 1, NOW + 61) is None
    assert await just("Ana", NOW) is None
    assert await just("Erik_", NOW) is None


async def test_further_numbers_go_to_fields_that_are_free(database: Database) -> None:
    contact, lead = await make(database), await make(database, kind="Lead", number=OTHER)
    for place in range(4):
        number = OTHER + 10 + place
        await database.write(lambda conn, n=number: unknown_callers.add_number(conn, contact, n, "", NOW))  # type: ignore[misc]
    await database.write(lambda conn: unknown_callers.add_number(conn, lead, 0, "0815123", NOW))
    labels = await rows(database, f"SELECT label FROM phones WHERE contact_id = {contact} ORDER BY number")
    assert labels == [("Phone",), ("MobilePhone",), ("OtherPhone",), ("HomePhone",), ("Phone",)]
    assert await rows(database, "SELECT contact_id, label FROM local_phones") == [(lead, "MobilePhone")]
    payloads = await rows(database, "SELECT payload FROM outbox ORDER BY id")
    sent = [json.loads(payload).get("set") for (payload,) in payloads]
    assert sent == [
        None,
        None,
        {"MobilePhone": f"+{OTHER + 10}"},
        {"OtherPhone": f"+{OTHER + 11}"},
        {"HomePhone": f"+{OTHER + 12}"},
        {"MobilePhone": "0815123"},
    ]
