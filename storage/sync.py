"""What a synchronisation does to the directory.

Each function is one short job for `Database.write`, and may be done twice: a synchronisation that was stopped
anywhere begins again where it last noted that it was. Nothing is emptied first; callers see a contact as it was
or as it is. Salesforce ids are of 18 characters throughout.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.aliases import absorb, by_id, by_salesforce_id, resolve
from storage.faults import explain
from storage.lists import LIST, change, run_each
from storage.location import sqlite_uri
from storage.parents import Parent, put_parents

__all__ = [
    "OwnerRow",
    "Unread",
    "become",
    "count_kind",
    "count_unread",
    "export_unread",
    "forget",
    "forget_seen",
    "known",
    "link",
    "mark_seen",
    "note_unread",
    "resolve",
    "store_owners",
    "unread",
    "unseen",
]


class OwnerRow(NamedTuple):
    """A Salesforce User, or a queue, that owns records."""

    salesforce_id: str
    name: str
    email: str


class Unread(NamedTuple):
    """A field that holds no number anyone can dial."""

    salesforce_id: str
    kind: str
    field: str
    text: str


async def store_owners(conn: AsyncConnection, rows: Sequence[OwnerRow]) -> int:
    """Insert or update owners; return how many are new or changed."""
    parents = [Parent(row.salesforce_id, row.email.lower(), row.name) for row in rows if row.salesforce_id]
    return (await put_parents(conn, "owners", parents)).changed


async def forget(conn: AsyncConnection, salesforce_ids: Sequence[str]) -> int:
    """Remove contacts, and every id by which they were known; return how many."""
    await change(conn, f"DELETE FROM unread_numbers WHERE salesforce_id IN {LIST}", salesforce_ids)  # noqa: S608  # constants
    return await change(conn, f"DELETE FROM contacts WHERE salesforce_id IN {LIST}", salesforce_ids)  # noqa: S608  # likewise


async def become(conn: AsyncConnection, pairs: Sequence[tuple[str, str]]) -> int:
    """Make contacts one with others, by (Salesforce id that is gone, one that stays); return how many are gone.

    Where nobody has, or had, the id that stays, the other is forgotten.
    """
    count = 0
    for gone, stays in pairs:
        old = await _living(conn, gone)
        if old is None:
            continue
        target = await by_salesforce_id(conn, stays)
        if target is None:
            count += await forget(conn, [gone])
        elif target.id != old:
            await change(conn, f"DELETE FROM unread_numbers WHERE salesforce_id IN {LIST}", [gone])  # noqa: S608  # a constant
            await absorb(conn, old, target.id)
            count += 1
    return count


async def link(conn: AsyncConnection, contact_id: int, salesforce_id: str) -> int:
    """Give a contact the Salesforce id it got, and return the contact's id; 0: there is no such contact any more.

    If a synchronisation was faster and another contact has that id, the two become one: `contact_id` stays, with
    the values and numbers of the other, as Salesforce has them. A contact that is another record of Salesforce's
    already stays that: two records are two contacts.
    """
    await mark_seen(conn, [salesforce_id])
    contact = await by_id(conn, contact_id)
    other = await _living(conn, salesforce_id)
    if contact is None:
        return other or 0
    if contact.salesforce_id not in {"", salesforce_id} or other == contact.id:
        return contact.id
    if other is not None:
        await _take_over(conn, contact.id, other)
    else:
        await conn.exec_driver_sql(
            "UPDATE contacts SET salesforce_id = ? WHERE id = ?", (salesforce_id, contact.id)
        )
    return contact.id


_SYNCHRONISED = (
    "salesforce_id", "kind", "name", "first_name", "last_name", "email", "account_id", "owner_id", "vip",
    "do_not_call", "active_at", "blacklisted", "flag_sent_at",
)  # fmt: skip


async def _take_over(conn: AsyncConnection, number: int, other: int) -> None:
    """Give a contact the values and numbers of another, which becomes its alias."""
    values = (
        await conn.exec_driver_sql(f"SELECT {', '.join(_SYNCHRONISED)} FROM contacts WHERE id = ?", (other,))  # noqa: S608  # constants
    ).one()
    for table in ("phones", "local_phones", "switchboards", "flagged_numbers"):
        await conn.exec_driver_sql(f"DELETE FROM {table} WHERE contact_id = ?", (number,))  # noqa: S608  # likewise
        await conn.exec_driver_sql(
            f"UPDATE {table} SET contact_id = ? WHERE contact_id = ?",  # noqa: S608  # likewise
            (number, other),
        )
    await absorb(conn, other, number)
    columns = ", ".join(f"{name} = ?" for name in _SYNCHRONISED)
    await conn.exec_driver_sql(f"UPDATE contacts SET {columns} WHERE id = ?", (*values, number))  # noqa: S608  # likewise


async def _living(conn: AsyncConnection, salesforce_id: str) -> int | None:
    query = "SELECT id FROM contacts WHERE salesforce_id = ?"
    found: int | None = (await conn.exec_driver_sql(query, (salesforce_id,))).scalar()
    return found


# --- who a full synchronisation has met


async def forget_seen(conn: AsyncConnection, limit: int) -> int:
    """Forget whom the last full synchronisation met, at most so many; return how many that were.

    A few thousand at a time: a million at once would hold up every other writer for 0.1 s.
    """
    query = "DELETE FROM sync_seen WHERE salesforce_id IN (SELECT salesforce_id FROM sync_seen LIMIT ?)"
    return (await conn.exec_driver_sql(query, (limit,))).rowcount


async def mark_seen(conn: AsyncConnection, salesforce_ids: Sequence[str]) -> None:
    """Note that Salesforce has these records."""
    await change(conn, "INSERT OR IGNORE INTO sync_seen SELECT value FROM json_each(?)", salesforce_ids)


async def unseen(conn: AsyncConnection, kind: str, after: str, limit: int) -> list[str]:
    """Return Salesforce ids of contacts of a kind above `after` that were not met, in order, at most `limit`."""
    # The plus keeps the kind for last: whoever was met costs no look into the table.
    query = (
        "SELECT salesforce_id FROM contacts c WHERE salesforce_id > ? AND NOT EXISTS "
        "(SELECT 1 FROM sync_seen s WHERE s.salesforce_id = c.salesforce_id) AND +kind = ? "
        "ORDER BY salesforce_id LIMIT ?"
    )
    return [row[0] for row in await conn.exec_driver_sql(query, (after, kind, limit))]


async def known(conn: AsyncConnection, kind: str, after: str, limit: int) -> list[str]:
    """Return Salesforce ids of contacts of a kind above `after`, in order, at most `limit`."""
    query = "SELECT salesforce_id FROM contacts WHERE salesforce_id > ? AND +kind = ? ORDER BY salesforce_id LIMIT ?"
    return [row[0] for row in await conn.exec_driver_sql(query, (after, kind, limit))]


async def count_kind(conn: AsyncConnection, kind: str) -> int:
    """Return how many contacts of a kind have a Salesforce id."""
    query = "SELECT count(*) FROM contacts WHERE salesforce_id > '' AND kind = ?"
    return int((await conn.exec_driver_sql(query, (kind,))).scalar_one())


# --- numbers that could not be understood


async def note_unread(
    conn: AsyncConnection, seen: Sequence[str], rows: Sequence[tuple[str, str, str, str]]
) -> None:
    """Replace what was noted of the records in `seen`; rows are (Salesforce id, kind, field, text)."""
    await change(conn, f"DELETE FROM unread_numbers WHERE salesforce_id IN {LIST}", seen)  # noqa: S608  # a constant
    statement = "INSERT OR REPLACE INTO unread_numbers (salesforce_id, kind, field, text) VALUES (?, ?, ?, ?)"
    await run_each(conn, statement, rows)


_UNREAD = (
    "SELECT salesforce_id, kind, field, text FROM unread_numbers "
    "WHERE (salesforce_id, field) > (?, ?) ORDER BY salesforce_id, field LIMIT ?"
)


async def unread(
    conn: AsyncConnection, *, after: tuple[str, str] = ("", ""), limit: int = 1000
) -> list[Unread]:
    """Return what is noted above `after` (Salesforce id, field), in order, at most `limit`."""
    rows = await conn.exec_driver_sql(_UNREAD, (*after, limit))
    return [Unread(*[*row]) for row in rows]


async def count_unread(conn: AsyncConnection) -> int:
    """Return how many fields are noted."""
    return int((await conn.exec_driver_sql("SELECT count(*) FROM unread_numbers")).scalar_one())


def export_unread(path: Path) -> Iterator[Unread]:
    """Yield all that is noted, page by page. Raises DirectoryError."""
    try:
        with closing(sqlite3.connect(sqlite_uri(path, "ro"), uri=True)) as connection:
            after = ("", "")
            while page := connection.execute(_UNREAD, (*after, 1000)).fetchall():
                yield from (Unread(*row) for row in page)
                after = (page[-1][0], page[-1][2])
    except sqlite3.Error as error:
        raise explain(error, path) from error
