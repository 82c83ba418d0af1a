"""Contacts that became one, and what a contact is called: by us, by Salesforce, by a PBX.

Invariants: an id that was given out (Ostiary's own, Salesforce's, CLAVESF) means one contact that is there, or
none because that was removed; an alias points to a contact, never to another alias; a key (`data` of the insert
look-up) gives the same CLAVESF for ever, whatever the contact became one with. `calls.contact_id` stays as it
was written: `resolve` follows it.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import InputError
from storage.salesforce_ids import long_id

_LONGEST_ID = 18  # digits; SQLite's integers end at 19


class Named(NamedTuple):
    """A contact as it was asked for: `given` is the id that was given out for that name, `id` the one it has now."""

    given: int
    id: int
    salesforce_id: str


# What a name meant first it means for ever, so an alias goes before the contact that took the name over; but a
# record that Salesforce has again is itself.
_NAMED = (
    "SELECT {rank} AS rank, a.id, c.id, ifnull(c.salesforce_id, '') FROM contact_aliases a "
    "JOIN contacts c ON c.id = a.contact_id WHERE {alias} "
    "UNION ALL SELECT 1, id, id, ifnull(salesforce_id, '') FROM contacts WHERE {contact} ORDER BY rank LIMIT 1"
)
_BY_KEY = _NAMED.format(rank=0, alias="a.database = ?1 AND a.key = ?2", contact="database = ?1 AND key = ?2")
_BY_SALESFORCE_ID = _NAMED.format(
    rank="iif(c.salesforce_id = ?1, 0, 2)", alias="a.salesforce_id = ?1", contact="salesforce_id = ?1"
)
_BY_ID = _NAMED.format(rank=0, alias="a.id = ?1", contact="id = ?1")


async def by_key(conn: AsyncConnection, database: str, key: str) -> Named | None:
    """Return the contact that has, or had, a key."""
    return await _named(conn, _BY_KEY, database, key)


async def by_salesforce_id(conn: AsyncConnection, text: str) -> Named | None:
    """Return the contact that has, or had, a Salesforce id of 15 or 18 characters; None also for what is no such id."""
    try:
        return await _named(conn, _BY_SALESFORCE_ID, long_id(text))
    except InputError:
        return None


async def by_id(conn: AsyncConnection, number: int) -> Named | None:
    """Return the contact that has, or had, an id of ours."""
    return await _named(conn, _BY_ID, number)


async def resolve(conn: AsyncConnection, contact: str) -> int | None:
    """Return the id that a contact has now, None for one that is not there.

    `contact` is an id of ours, past or present, a Salesforce id of 15 or 18 characters, or a CLAVESF:
    one of these, a dash, and anything.
    """
    head = contact.strip().partition("-")[0]
    found = await by_salesforce_id(conn, head)
    if found is None and head.isascii() and head.isdigit() and len(head) <= _LONGEST_ID:
        found = await by_id(conn, int(head))
    return found.id if found is not None else None


async def absorb(conn: AsyncConnection, gone: int, stays: int) -> None:
    """Make two contacts one: `gone` becomes an alias of `stays` with all it was known by; its numbers go.

    Its key becomes that of `stays` if that has none, and what waits for Salesforce is then of `stays`. An id or
    key that an alias has already stays with that one: it was given out for it first.
    """
    run = conn.exec_driver_sql
    query = "SELECT salesforce_id, database, key FROM contacts WHERE id = ?"
    row = (await run(query, (gone,))).mappings().one()
    await run("UPDATE contact_aliases SET contact_id = ? WHERE contact_id = ?", (stays, gone))
    await run("UPDATE outbox SET contact_id = ? WHERE contact_id = ?", (stays, gone))
    await run("DELETE FROM contacts WHERE id = ?", (gone,))
    await run(_INSERT, (gone, stays, row["salesforce_id"], row["database"], row["key"]))
    if row["key"] is not None:
        take_key = "UPDATE contacts SET database = ?, key = ? WHERE id = ? AND key IS NULL"
        await run(take_key, (row["database"], row["key"], stays))


_INSERT = (
    "INSERT INTO contact_aliases (id, contact_id, salesforce_id, database, key) VALUES (?1, ?2, "
    "(SELECT ?3 WHERE NOT EXISTS (SELECT 1 FROM contact_aliases WHERE salesforce_id = ?3)), ?4, "
    "(SELECT ?5 WHERE NOT EXISTS (SELECT 1 FROM contact_aliases WHERE database = ?4 AND key = ?5)))"
)


async def _named(conn: AsyncConnection, query: str, *values: str | int) -> Named | None:
    row = (await conn.exec_driver_sql(query, values)).first()
    return Named(*[*row][1:]) if row is not None else None
