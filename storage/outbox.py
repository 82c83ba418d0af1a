"""What must still reach Salesforce, the oldest first.

A row stays until Salesforce has it (`done`) or an admin drops it. Rows of one contact, or of one key, go in the
order they came: a row that waits for its next try, or for an admin, holds back all later ones of its contact or key,
and no others. `ref` is the record's external id, or the key of a row that may have been sent: a row that is sent twice
is written once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.audit import note, read_cursor
from storage.schema import contact_aliases, outbox


class OutboxRow(NamedTuple):
    """A row; `contact_id` is the contact's id now, times are seconds since 1970."""

    id: int
    kind: str  # contact | flag | call | follow-up | chat | record
    contact_id: int | None
    payload: dict[str, Any]
    created_at: int
    attempts: int
    next_attempt_at: int
    error: str  # of the last try
    ref: str | None
    parked: bool
    key: str | None  # of tasks.py


class Counts(NamedTuple):
    """How many rows wait for time, how many for an admin, and since when the oldest that waits for time (0: none)."""

    waiting: int
    parked: int
    oldest_at: int


def _rows() -> Select[Any]:
    now = func.coalesce(contact_aliases.c.contact_id, outbox.c.contact_id).label("contact_id")
    columns = [now if name == "contact_id" else outbox.c[name] for name in OutboxRow._fields]
    return select(*columns).join_from(
        outbox, contact_aliases, contact_aliases.c.id == outbox.c.contact_id, isouter=True
    )


async def due(conn: AsyncConnection, now: int, limit: int, *, after: int = 0) -> list[OutboxRow]:
    """Return rows whose time has come and that no older row of their contact or key holds back, the oldest first.

    `after`: only rows with an id above, for who goes on past rows that cannot be sent yet.
    """
    older = outbox.alias("older")
    same_contact = older.c.contact_id.in_([outbox.c.contact_id, contact_aliases.c.contact_id])
    held_back = select(older.c.id).where(same_contact, older.c.id < outbox.c.id).exists()
    same_key = select(older.c.id).where(older.c.key == outbox.c.key, older.c.id < outbox.c.id).exists()
    query = _rows().where(
        outbox.c.id > after, ~outbox.c.parked, outbox.c.next_attempt_at <= now, ~held_back, ~same_key
    )
    return [OutboxRow(*row) for row in await conn.execute(query.order_by(outbox.c.id).limit(limit))]


async def ensure_refs(conn: AsyncConnection, ids: Collection[int]) -> None:
    """Give each of these rows a `ref` if it has none; to be on disk before anything is sent."""
    await conn.exec_driver_sql(
        "UPDATE outbox SET ref = lower(hex(randomblob(16))) "
        "WHERE ref IS NULL AND id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(ids)),),
    )


async def mark_sent(conn: AsyncConnection, ids: Collection[int], until: int) -> None:
    """Note, before their records are built and sent, that these rows with a key may have been sent.

    They are due again at `until` (seconds), unless `done` or `later` come first. What changes from here on puts
    another row behind them, so a record is to be built after this, whether it is made or brought in step.
    """
    await conn.exec_driver_sql(
        "UPDATE outbox SET ref = key, next_attempt_at = ? "
        "WHERE key IS NOT NULL AND id IN (SELECT value FROM json_each(?))",
        (until, json.dumps(list(ids))),
    )


async def done(conn: AsyncConnection, ids: Collection[int]) -> None:
    """Remove rows that Salesforce has."""
    await conn.execute(outbox.delete().where(outbox.c.id.in_(ids)))


async def later(conn: AsyncConnection, row_id: int, error: str, at: int) -> None:
    """Note a try that failed; the next is not before `at`."""
    values = {"attempts": outbox.c.attempts + 1, "error": error, "next_attempt_at": at}
    await conn.execute(outbox.update().where(outbox.c.id == row_id).values(values))


async def park(conn: AsyncConnection, row_id: int, error: str) -> None:
    """Note a try that failed for good: the row waits until an admin says `retry` or `drop`."""
    values = {"attempts": outbox.c.attempts + 1, "error": error, "parked": True}
    await conn.execute(outbox.update().where(outbox.c.id == row_id).values(values))


async def retry(conn: AsyncConnection, ids: Collection[int] | None, who: str, now: int) -> int:
    """Make rows due at once, as if never tried (None: all that are parked); return how many."""
    values = {"attempts": 0, "next_attempt_at": 0, "parked": False}
    count = (await conn.execute(outbox.update().where(_chosen(ids)).values(values))).rowcount
    if count:
        after = {"ids": sorted(ids) if ids is not None else "all parked", "rows": count}
        await note(conn, who=who, what="outbox.retry", before=None, after=after, now=now)
    return count


async def drop(conn: AsyncConnection, ids: Collection[int] | None, who: str, now: int) -> int:
    """Remove rows that Salesforce will never have (None: all that are parked); the audit keeps them."""
    chosen = _chosen(ids)
    for row in (await conn.execute(select(outbox).where(chosen).order_by(outbox.c.id))).mappings().all():
        await note(conn, who=who, what="outbox.drop", before=dict(row), after=None, now=now)
    return (await conn.execute(outbox.delete().where(chosen))).rowcount


def _chosen(ids: Collection[int] | None) -> ColumnElement[bool]:
    return outbox.c.parked if ids is None else outbox.c.id.in_(ids)


async def list_rows(conn: AsyncConnection, limit: int) -> Sequence[OutboxRow]:
    """Return rows for an admin: those that wait for one first, then the oldest first."""
    query = _rows().order_by(outbox.c.parked.desc(), outbox.c.id).limit(limit)
    return [OutboxRow(*row) for row in await conn.execute(query)]


async def page_rows(
    conn: AsyncConnection, *, parked: bool | None = None, limit: int, after: str = ""
) -> tuple[list[OutboxRow], str]:
    """Return rows, the oldest first, and the cursor of those behind them ('': there are none).

    `parked`: only those that wait for an admin, or only those that wait for time. Raises InputError for a cursor that
    is none.
    """
    query = _rows()
    if parked is not None:
        query = query.where(outbox.c.parked == parked)
    if after:
        query = query.where(outbox.c.id > read_cursor(after))
    rows = [OutboxRow(*row) for row in await conn.execute(query.order_by(outbox.c.id).limit(limit + 1))]
    return rows[:limit], str(rows[limit - 1].id) if len(rows) > limit else ""


async def get_row(conn: AsyncConnection, row_id: int) -> OutboxRow | None:
    """Return one row, if it is there."""
    row = (await conn.execute(_rows().where(outbox.c.id == row_id))).first()
    return OutboxRow(*row) if row is not None else None


async def counts(conn: AsyncConnection) -> Counts:
    """Return what waits."""
    parked = func.coalesce(func.sum(case((outbox.c.parked, 1), else_=0)), 0)
    oldest = func.coalesce(func.min(case((~outbox.c.parked, outbox.c.created_at))), 0)
    total, stuck, oldest_at = (
        await conn.execute(select(func.count(), parked, oldest).select_from(outbox))
    ).one()
    return Counts(total - stuck, stuck, oldest_at)
