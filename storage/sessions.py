"""Who is logged in to the console.

Invariant: the database has the SHA-256 of a session's secret only; the secret is the browser's. A session is as good
as its user: what removes, disables or changes a user closes their sessions in the same transaction.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.schema import sessions, users
from storage.tokens import hash_of

LONGEST = 30 * 86_400  # seconds; the most that http.session_hours allows
AGENT = 200  # characters kept of what a browser calls itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A log-in; times are seconds since 1970. `key` is what the database knows it by."""

    key: str
    user_id: int
    name: str
    role: str
    csrf: str
    created_at: int
    seen_at: int
    agent: str


async def open_session(conn: AsyncConnection, user_id: int, *, agent: str, now: int) -> tuple[str, str]:
    """Open a session of a user; return its secret and its CSRF token. Sessions nobody can use any more go."""
    await conn.execute(sessions.delete().where(sessions.c.seen_at <= now - LONGEST))
    secret, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    await conn.execute(
        sessions.insert().values(
            hash=hash_of(secret),
            user_id=user_id,
            csrf=csrf,
            created_at=now,
            seen_at=now,
            agent=agent[:AGENT],
        )
    )
    return secret, csrf


async def find_session(conn: AsyncConnection, secret: str, now: int, idle: int) -> Session | None:
    """Return the session with this secret; None when there is none, or it was not used for `idle` seconds."""
    query = (
        select(sessions, users.c.name, users.c.role)
        .join(users, users.c.id == sessions.c.user_id)
        .where(sessions.c.hash == hash_of(secret), sessions.c.seen_at > now - idle, ~users.c.disabled)
    )
    row = (await conn.execute(query)).first()
    return None if row is None else _session(row)


async def seen(conn: AsyncConnection, key: str, now: int) -> None:
    """Note that a session was used."""
    await conn.execute(sessions.update().where(sessions.c.hash == key).values(seen_at=now))


async def close_session(conn: AsyncConnection, secret: str) -> None:
    """Close a session, if there is one with this secret."""
    await conn.execute(sessions.delete().where(sessions.c.hash == hash_of(secret)))


async def close_sessions_of(conn: AsyncConnection, user_id: int) -> None:
    """Close all sessions of a user."""
    await conn.execute(sessions.delete().where(sessions.c.user_id == user_id))


def _session(row: Row[Any]) -> Session:
    return Session(
        key=row.hash,
        user_id=row.user_id,
        name=row.name,
        role=row.role,
        csrf=row.csrf,
        created_at=row.created_at,
        seen_at=row.seen_at,
        agent=row.agent,
    )
