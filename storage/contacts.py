"""Contacts: the insert look-up of a call, export, and (see `contact_rows`, `merge`) import.

A contact's id never changes and is never used again: it leaves the house in CLAVESF.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.numbers import Number, digits_of
from storage.contact_rows import ContactRow, Prepared, prepare
from storage.faults import explain
from storage.location import sqlite_uri
from storage.merge import Stored, store
from storage.schema import contacts, local_phones, outbox, phones

__all__ = [
    "ContactRow",
    "FoundContact",
    "Prepared",
    "Stored",
    "export_contacts",
    "find_or_insert",
    "prepare",
    "store",
]

_PAGE = 500  # contacts an export reads at once: it keeps no read transaction open
_NUMBER = re.compile(r"[\d\s+()./-]+")
_SHORTEST_NUMBER = 6  # digits; a shorter key is no telephone number


class FoundContact(NamedTuple):
    """The contact of an insert look-up; `inserted` says that it is new."""

    id: int
    inserted: bool


async def find_or_insert(
    conn: AsyncConnection, *, data: str, ani: Number, database: str, now: int
) -> FoundContact:
    """Return the contact of a call, made where there is none; `ani` is the caller's number, `now` seconds since 1970.

    It is the contact with key `data` in `database`; else one there with the caller's number and no key,
    which takes `data` for its key, or whose key is that number; else a new one. Without `data`, any contact
    there with the number; a caller with neither is new each time. A new contact comes with a row of the
    outbox.
    """
    data = data.strip()
    if data:
        by_key = select(contacts.c.id).where(contacts.c.database == database, contacts.c.key == data)
        found = (await conn.execute(by_key)).scalar()
        if found is not None:
            return FoundContact(int(found), inserted=False)
    known = await _by_number(conn, data, ani, database)
    if known is not None:
        return FoundContact(known, inserted=False)
    return FoundContact(await _insert(conn, data, ani, database, now), inserted=True)


async def _by_number(conn: AsyncConnection, data: str, ani: Number, database: str) -> int | None:
    if not ani.digits:
        return None
    query = (
        select(contacts.c.id, contacts.c.key).where(contacts.c.database == database).order_by(contacts.c.id)
    )
    if ani.e164:
        query = query.join(phones, phones.c.contact_id == contacts.c.id).where(phones.c.number == ani.e164)
    else:
        query = query.join(local_phones, local_phones.c.contact_id == contacts.c.id).where(
            local_phones.c.digits == ani.digits
        )
    found = (await conn.execute(query)).all()
    if not data:
        return int(found[0].id) if found else None
    for row in found:
        if not row.key:
            await conn.execute(contacts.update().where(contacts.c.id == row.id).values(key=data))
            return int(row.id)
    return next((int(row.id) for row in found if _is_number(row.key, ani)), None)


def _is_number(key: str, ani: Number) -> bool:
    """Return whether a key is the caller's number in some form: international, national, with 00."""
    significant = digits_of(key).lstrip("0")
    return key in {ani.text, ani.digits, ani.raw} or (
        len(significant) >= _SHORTEST_NUMBER
        and ani.digits.endswith(significant)
        and _NUMBER.fullmatch(key) is not None
    )


async def _insert(conn: AsyncConnection, data: str, ani: Number, database: str, now: int) -> int:
    name = ani.text
    result = await conn.execute(
        contacts.insert().values(
            database=database, key=data or None, name=name, source="insert", created_at=now
        )
    )
    assert result.inserted_primary_key is not None
    number = int(result.inserted_primary_key[0])
    if not data:
        await conn.execute(contacts.update().where(contacts.c.id == number).values(key=str(number)))
    if ani.e164:
        await conn.execute(phones.insert().values(number=ani.e164, contact_id=number, label="Phone"))
    elif ani.digits:
        await conn.execute(
            local_phones.insert().values(
                digits=ani.digits, contact_id=number, label="Phone", tail=int(ani.digits[-6:])
            )
        )
    payload = {"id": number, "database": database, "key": data or str(number), "name": name, "phone": name}
    await conn.execute(
        outbox.insert().values(
            kind="contact", contact_id=number, payload=payload, created_at=now, next_attempt_at=now
        )
    )
    return number


_EXPORT = (
    "SELECT c.id, ifnull(c.salesforce_id, ''), c.kind, c.name, c.first_name, c.last_name, c.email, "
    "ifnull(a.salesforce_id, ''), ifnull(a.name, ''), ifnull(o.salesforce_id, ''), ifnull(o.email, ''), "
    "ifnull(o.name, ''), c.vip, c.active_at, c.database, c.key FROM contacts c "
    "LEFT JOIN accounts a ON a.id = c.account_id LEFT JOIN owners o ON o.id = c.owner_id "
    "WHERE c.id > ? ORDER BY c.id LIMIT ?"
)
_EXPORT_PHONES = (
    "SELECT label, ifnull(typed, '+' || number) FROM phones WHERE contact_id = ?1 "
    "UNION SELECT label, ifnull(typed, digits) FROM local_phones WHERE contact_id = ?1 ORDER BY 1, 2"
)


def export_contacts(path: Path) -> Iterator[ContactRow]:
    """Yield all contacts by id, page by page, as a file would have them. Raises DirectoryError."""
    try:
        with closing(sqlite3.connect(sqlite_uri(path, "ro"), uri=True)) as connection:
            last = 0
            while page := connection.execute(_EXPORT, (last, _PAGE)).fetchall():
                for row in page:
                    yield ContactRow(
                        salesforce_id=row[1],
                        kind=row[2],
                        name=row[3],
                        first_name=row[4],
                        last_name=row[5],
                        email=row[6],
                        account_salesforce_id=row[7],
                        account=row[8],
                        owner_salesforce_id=row[9],
                        owner_email=row[10],
                        owner=row[11],
                        vip=row[12] != 0,
                        active_at=row[13],
                        database=row[14],
                        key=row[15],
                        phones=tuple(connection.execute(_EXPORT_PHONES, (row[0],)).fetchall()),
                    )
                last = page[-1][0]
    except sqlite3.Error as error:
        raise explain(error, path) from error
