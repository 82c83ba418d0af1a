"""What is to be made, or brought in step, in Salesforce besides contacts, and what was made there.

Invariant: while the record that a key stands for may differ from the tables, a row for it is in the outbox. One that
has not been sent yet (`ref` NULL) is enough, for the record is built of the tables after `outbox.mark_sent`; whatever
changes after that puts another row behind it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.lists import LIST, as_json, ask


class Task(NamedTuple):
    """A record we made; `made_at` is seconds since 1970, `closed` says of a follow-up that it is done."""

    key: str
    salesforce_id: str
    closed: bool
    made_at: int


# The plus keeps SQLite from the index on refs: most rows have none.
# Rows that nobody has tried to send yet come forward when they are wanted earlier; others keep their pause.
_SOONER = (
    "UPDATE outbox SET next_attempt_at = min(next_attempt_at, ?) "
    "WHERE key = ? AND +ref IS NULL AND attempts = 0 AND NOT parked"
)
_WANT = (
    "INSERT INTO outbox (kind, payload, created_at, next_attempt_at, key) SELECT ?, '{}', ?, ?, ? "
    "WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE key = ? AND +ref IS NULL)"
)


async def want(conn: AsyncConnection, key: str, *, due: int, now: int) -> None:
    """Have the record of a key (`call:…`, `follow-up:…`, `chat:…`, `record:…`) made or brought in step from `due` on.

    Times are seconds since 1970. A row that waits already, and was never sent, will do.
    """
    await ask(conn, _SOONER, due, key)
    await ask(conn, _WANT, key.partition(":")[0], now, due, key, key)


async def withdraw(conn: AsyncConnection, keys: Collection[str]) -> None:
    """Take back what is not wanted any more, unless it may have been sent."""
    await ask(conn, f"DELETE FROM outbox WHERE +ref IS NULL AND key IN {LIST}", as_json(keys))  # noqa: S608  # constants, here and below


async def follow(conn: AsyncConnection, key: str, *, now: int) -> None:
    """Bring the record of a key in step, if there is one, or one may be on its way."""
    query = (
        "SELECT EXISTS (SELECT 1 FROM tasks WHERE key = ?1) OR EXISTS (SELECT 1 FROM outbox WHERE key = ?1)"
    )
    if (await ask(conn, query, key))[0][0]:
        await want(conn, key, due=now, now=now)


async def made(conn: AsyncConnection, key: str, salesforce_id: str, *, closed: bool, now: int) -> None:
    """Note the record that a key has in Salesforce, as it is now."""
    statement = (
        "INSERT INTO tasks (key, salesforce_id, closed, made_at) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE "
        "SET salesforce_id = excluded.salesforce_id, closed = excluded.closed"
    )
    await ask(conn, statement, key, salesforce_id, closed, now)


async def get(conn: AsyncConnection, key: str) -> Task | None:
    """Return what a key has in Salesforce, None where nothing was made yet."""
    rows = await ask(conn, "SELECT key, salesforce_id, closed, made_at FROM tasks WHERE key = ?", key)
    return Task(rows[0][0], rows[0][1], bool(rows[0][2]), rows[0][3]) if rows else None


async def forget(conn: AsyncConnection, keys: Collection[str]) -> None:
    """Forget keys, and whatever waits for them: what they are about is gone. What Salesforce has stays there."""
    await ask(conn, f"DELETE FROM outbox WHERE key IN {LIST}", as_json(keys))  # noqa: S608
    await ask(conn, f"DELETE FROM tasks WHERE key IN {LIST}", as_json(keys))  # noqa: S608


def keys_of(call_id: str) -> tuple[str, str, str]:
    """Return the keys a call may have."""
    return f"call:{call_id}", f"follow-up:{call_id}", f"record:{call_id}"
