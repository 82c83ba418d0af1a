"""Contacts: the insert look-up of a call, export, and (see `contact_rows`, `merge`) import.

A contact's id never changes and is never used again: it leaves the house in CLAVESF. What contacts that became
one were called stays good (see `aliases`).
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.numbers import Number, digits_of
from storage.aliases import by_key, by_salesforce_id
from storage.contact_rows import ContactRow, Prepared, prepare
from storage.faults import explain
from storage.location import sqlite_uri
from storage.merge import Stored, store
from storage.schema import NUMBER_IS, contacts, local_phones, outbox, phones

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


# CROSS JOIN: the number comes first, for all contacts may be in one database.
_OF_DATABASE = "CROSS JOIN contacts c ON c.id = p.contact_id WHERE {} AND c.database = ?2 ORDER BY c.id"
_SELECT = "SELECT c.id, c.key, c.salesforce_id FROM"
BY_NUMBER = f"{_SELECT} phones p {_OF_DATABASE.format(NUMBER_IS.format('?1'))}"
BY_DIGITS = f"{_SELECT} local_phones p {_OF_DATABASE.format('p.digits = ?1')}"


class FoundContact(NamedTuple):
    """The contact of an insert look-up; `inserted` says that it is new, '' that Salesforce does not have it yet."""

    id: int
    inserted: bool
    salesforce_id: str = ""


async def find_or_insert(
    conn: AsyncConnection,
    *,
    data: str,
    ani: Number,
    database: str,
    now: int,
    did: str = "",
    name: str = "",
) -> FoundContact:
    """Return the contact of a call, made where there is none; `ani` is the caller's number, `now` seconds since 1970.

    It is the contact with key `data` in `database`; else the one in any database whose Salesforce id `data` is;
    else one in `database` with the caller's number and no key, which takes `data` for its key, or whose key is
    that number; else a new one. Without `data`, any contact there with the number; a caller with neither is new
    each time. A new contact comes with a row of the outbox, which says `did`, the number dialled, and `name`, what
    the trunk calls the caller, too.
    """
    data = data.strip()
    if data and (known := await by_key(conn, database, data) or await by_salesforce_id(conn, data)):
        return FoundContact(known.given, inserted=False, salesforce_id=known.salesforce_id)
    if found := await _by_number(conn, data, ani, database):
        return found
    number = await _insert(conn, data, ani, database, now)
    payload = {
        "id": number,
        "database": database,
        "key": data or str(number),
        "name": name or ani.text,
        "phone": ani.text,
        "did": did,
    }
    await conn.execute(
        outbox.insert().values(
            kind="contact",
            contact_id=number,
            payload=payload,
            created_at=now,
            next_attempt_at=now,
            ref=secrets.token_hex(16),
        )
    )
    return FoundContact(number, inserted=True)


async def _by_number(conn: AsyncConnection, data: str, ani: Number, database: str) -> FoundContact | None:
    if not ani.digits:
        return None
    query, number = (BY_NUMBER, ani.e164) if ani.e164 else (BY_DIGITS, ani.digits)
    found = (await conn.exec_driver_sql(query, (number, database))).all()
    row = found[0] if found else None
    if data:
        row = next((row for row in found if not row.key), None)
        if row is not None:
            await conn.execute(contacts.update().where(contacts.c.id == row.id).values(key=data))
        else:
            row = next((row for row in found if _is_number(row.key, ani)), None)
    return (
        None if row is None else FoundContact(row.id, inserted=False, salesforce_id=row.salesforce_id or "")
    )


def _is_number(key: str, ani: Number) -> bool:
    """Return whether a key is the caller's number in some form: international, national, with 00."""
    significant = digits_of(key).lstrip("0")
    return key in {ani.text, ani.digits, ani.raw} or (
        len(significant) >= _SHORTEST_NUMBER
        and ani.digits.endswith(significant)
        and _NUMBER.fullmatch(key) is not None
    )


async def _insert(conn: AsyncConnection, data: str, ani: Number, database: str, now: int) -> int:
    result = await conn.execute(
        contacts.insert().values(
            database=database, key=data or None, name=ani.text, source="insert", created_at=now
        )
    )
    assert result.inserted_primary_key is not None
    number = int(result.inserted_primary_key[0])
    if not data and await by_key(conn, database, str(number)) is None:
        await conn.execute(contacts.update().where(contacts.c.id == number).values(key=str(number)))
    if ani.e164:
        await conn.execute(phones.insert().values(number=ani.e164, contact_id=number, label="Phone"))
    elif ani.digits:
        await conn.execute(
            local_phones.insert().values(
                digits=ani.digits, contact_id=number, label="Phone", tail=int(ani.digits[-6:])
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
