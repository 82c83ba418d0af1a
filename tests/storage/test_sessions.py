"""Who is logged in."""

from __future__ import annotations

from typing import Any

import pytest

from storage.database import Database
from storage.sessions import (
    AGENT,
    LONGEST,
    Session,
    close_session,
    close_sessions_of,
    find_session,
    open_session,
    seen,
)
from storage.users import Hashed, add_user
from tests.storage.conftest import NOW, Query

BY: dict[str, Any] = {"who": "cli:ana", "now": NOW}


@pytest.fixture
async def ana(database: Database) -> int:
    return await database.write(lambda conn: add_user(conn, "ana", Hashed("-"), "operator", **BY))


async def find(database: Database, secret: str, now: int = NOW, idle: int = 60) -> Session | None:
    return await database.read(lambda conn: find_session(conn, secret, now, idle))


async def open_(database: Database, user_id: int, now: int = NOW, agent: str = "Browser") -> tuple[str, str]:
    return await database.write(lambda conn: open_session(conn, user_id, agent=agent, now=now))


async def test_a_session_is_found_by_its_secret_only(database: Database, ana: int, query: Query) -> None:
    secret, csrf = await open_(database, ana)
    assert secret != csrf
    session = await find(database, secret)
    assert session is not None
    assert (session.user_id, session.name, session.role, session.csrf) == (ana, "ana", "operator", csrf)
    assert (session.created_at, session.seen_at, session.agent) == (NOW, NOW, "Browser")
    for other in ("", csrf, session.key, secret + "x"):
        assert await find(database, other) is None
    assert secret not in str(query("SELECT * FROM sessions"))


async def test_a_session_ends_when_it_is_not_used(database: Database, ana: int) -> None:
    secret, _ = await open_(database, ana)
    assert await find(database, secret, NOW + 59) is not None
    assert await find(database, secret, NOW + 60) is None
    session = await find(database, secret)
    assert session is not None
    await database.write(lambda conn: seen(conn, session.key, NOW + 59))
    assert await find(database, secret, NOW + 118) is not None
    assert await find(database, secret, NOW + 119) is None


async def test_one_or_all_are_closed(database: Database, ana: int) -> None:
    first, second, third = [(await open_(database, ana))[0] for _ in range(3)]
    ben = await database.write(lambda conn: add_user(conn, "ben", Hashed("-"), "viewer", **BY))
    his, _ = await open_(database, ben)
    await database.write(lambda conn: close_session(conn, first))
    assert await find(database, first) is None
    assert await find(database, second) is not None
    await database.write(lambda conn: close_sessions_of(conn, ana))
    assert [await find(database, each) for each in (second, third)] == [None, None]
    assert await find(database, his) is not None


@pytest.mark.parametrize("change", ["UPDATE users SET disabled = 1", "DELETE FROM users"])
async def test_a_session_is_as_good_as_its_user(
    database: Database, ana: int, query: Query, change: str
) -> None:
    """Even if somebody else writes to the table."""
    secret, _ = await open_(database, ana)
    query(change)
    assert await find(database, secret) is None


async def test_sessions_nobody_can_use_any_more_go(database: Database, ana: int, query: Query) -> None:
    await open_(database, ana)
    await open_(database, ana, NOW + 1)
    await open_(database, ana, NOW + LONGEST)
    assert query("SELECT seen_at FROM sessions ORDER BY seen_at") == [(NOW + 1,), (NOW + LONGEST,)]


async def test_what_a_browser_calls_itself_is_cut(database: Database, ana: int) -> None:
    secret, _ = await open_(database, ana, agent="x" * 10_000)
    session = await find(database, secret)
    assert session is not None
    assert session.agent == "x" * AGENT
