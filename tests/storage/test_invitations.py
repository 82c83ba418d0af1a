"""One-time links."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agi_server.errors import ConflictError, InputError, NotFoundError
from storage.database import Database
from storage.invitations import DAY, accept, find_invitation, first_invitation, invite, invite_again
from storage.sessions import find_session, open_session
from storage.users import Hashed, add_user, list_users, remove_user, set_disabled
from tests.storage.conftest import NOW, Query

BY: dict[str, Any] = {"who": "cli:ana", "now": NOW}
HASH = Hashed("$argon2id$first")
OTHER = Hashed("$argon2id$other")


async def add(database: Database, name: str, role: str = "operator") -> int:
    return await database.write(lambda conn: add_user(conn, name, HASH, role, **BY))


async def use(database: Database, secret: str, name: str = "", now: int = NOW) -> int:
    return await database.write(lambda conn: accept(conn, secret, name, OTHER, now))


async def users(database: Database) -> list[tuple[str, str]]:
    return [(user.name, user.role) for user in await database.read(list_users)]


async def test_a_link_makes_the_user_it_was_made_for_once(database: Database, query: Query) -> None:
    secret = await database.write(lambda conn: invite(conn, name=" ben ", role="operator", seconds=60, **BY))
    found = await database.read(lambda conn: find_invitation(conn, secret, NOW))
    assert found is not None
    assert (found.name, found.role, found.reset, found.expires_at) == ("ben", "operator", False, NOW + 60)
    id_ = await use(database, secret, "mallory")
    assert query("SELECT id, name, role, password_hash FROM users") == [(id_, "ben", "operator", OTHER)]
    with pytest.raises(NotFoundError):
        await use(database, secret, "mallory")
    changes = query("SELECT who, what, after FROM audit ORDER BY id")
    assert [row[:2] for row in changes] == [("cli:ana", "users.invite"), ("user:ben", "users.add")]
    assert json.loads(changes[0][2]) == {"name": "ben", "role": "operator", "expires_at": NOW + 60}
    kept = str(query("SELECT * FROM audit")) + str(query("SELECT * FROM invitations"))
    assert secret not in kept
    assert "argon2" not in kept


async def test_two_at_once_use_a_link_once(database: Database) -> None:
    secret = await database.write(lambda conn: invite(conn, name="", role="admin", **BY))
    results = await asyncio.gather(
        use(database, secret, "ana"), use(database, secret, "ben"), return_exceptions=True
    )
    assert sorted(type(result) is int for result in results) == [False, True]
    assert len(await users(database)) == 1


async def test_a_link_expires(database: Database) -> None:
    secret = await database.write(lambda conn: invite(conn, name="", role="viewer", **BY))
    assert await database.read(lambda conn: find_invitation(conn, secret, NOW + DAY - 1)) is not None
    assert await database.read(lambda conn: find_invitation(conn, secret, NOW + DAY)) is None
    with pytest.raises(NotFoundError):
        await use(database, secret, "ana", NOW + DAY)


async def test_a_name_that_cannot_be_leaves_the_link_good(database: Database) -> None:
    await add(database, "ana")
    secret = await database.write(lambda conn: invite(conn, name="", role="viewer", **BY))
    for name, error in (("", InputError), ("a\nb", InputError), ("ana", ConflictError)):
        with pytest.raises(error):
            await use(database, secret, name)
    await use(database, secret, "ben")
    assert await users(database) == [("ana", "operator"), ("ben", "viewer")]


async def test_a_later_link_for_the_same_name_makes_the_first_void(database: Database) -> None:
    first = await database.write(lambda conn: invite(conn, name="ben", role="admin", **BY))
    second = await database.write(lambda conn: invite(conn, name="ben", role="viewer", **BY))
    with pytest.raises(NotFoundError):
        await use(database, first)
    await use(database, second)
    assert await users(database) == [("ben", "viewer")]


async def test_an_invitation_never_changes_somebody_who_is_there(database: Database) -> None:
    """The user was added otherwise after the link was made."""
    secret = await database.write(lambda conn: invite(conn, name="ben", role="admin", **BY))
    await add(database, "ben", "viewer")
    with pytest.raises(ConflictError):
        await use(database, secret)
    assert await users(database) == [("ben", "viewer")]


async def test_a_new_password_ends_the_sessions(database: Database, query: Query) -> None:
    ana = await add(database, "ana")
    session, _ = await database.write(lambda conn: open_session(conn, ana, agent="", now=NOW))
    secret = await database.write(lambda conn: invite_again(conn, name="ana", **BY))
    found = await database.read(lambda conn: find_invitation(conn, secret, NOW))
    assert found is not None
    assert (found.name, found.reset) == ("ana", True)
    assert await use(database, secret, "ben") == ana
    assert query("SELECT name, role, password_hash FROM users") == [("ana", "operator", OTHER)]
    assert await database.read(lambda conn: find_session(conn, session, NOW, 60)) is None
    assert query("SELECT what FROM audit ORDER BY id") == [
        ("users.add",),
        ("users.reset",),
        ("users.password",),
    ]


async def test_a_link_for_somebody_who_is_gone_opens_nothing(database: Database) -> None:
    await add(database, "ana")
    secret = await database.write(lambda conn: invite_again(conn, name="ana", **BY))
    await database.write(lambda conn: remove_user(conn, "ana", **BY))
    await add(database, "ana")
    with pytest.raises(NotFoundError):
        await use(database, secret)


async def invite_as(database: Database, name: str, role: str) -> str:
    return await database.write(lambda conn: invite(conn, name=name, role=role, **BY))


async def test_who_cannot_be_invited(database: Database) -> None:
    await add(database, "ana")
    await database.write(lambda conn: set_disabled(conn, "ana", disabled=True, **BY))
    for name, role, error in (
        ("ana", "viewer", ConflictError),
        ("ben", "king", InputError),
        ("b\0", "viewer", InputError),
    ):
        with pytest.raises(error):
            await invite_as(database, name, role)
    with pytest.raises(ConflictError):
        await database.write(lambda conn: invite_again(conn, name="ana", **BY))
    with pytest.raises(NotFoundError):
        await database.write(lambda conn: invite_again(conn, name="ben", **BY))


async def test_expired_links_go(database: Database, query: Query) -> None:
    await database.write(lambda conn: invite(conn, name="ana", role="viewer", seconds=1, **BY))
    await database.write(lambda conn: invite(conn, name="ben", role="viewer", who="cli:ana", now=NOW + 1))
    assert query("SELECT name FROM invitations") == [("ben",)]


# --- the first admin


async def test_the_first_admin_is_invited_while_there_is_no_user(database: Database, query: Query) -> None:
    first = await first_invitation(database, NOW)
    second = await first_invitation(database, NOW + 1)
    assert first is not None
    assert second is not None
    with pytest.raises(NotFoundError):
        await use(database, first, "mallory")
    await use(database, second, "ana")
    assert await users(database) == [("ana", "admin")]
    assert await first_invitation(database, NOW + 2) is None
    assert query("SELECT * FROM invitations") == []


async def test_the_first_admins_link_is_void_once_there_is_a_user(database: Database) -> None:
    """It lies in a log."""
    secret = await first_invitation(database, NOW)
    assert secret is not None
    await add(database, "ana", "admin")
    with pytest.raises(NotFoundError):
        await use(database, secret, "mallory")


async def test_other_links_stay(database: Database) -> None:
    secret = await database.write(lambda conn: invite(conn, name="ben", role="viewer", **BY))
    assert await first_invitation(database, NOW) is not None
    await use(database, secret)
    assert await users(database) == [("ben", "viewer")]
