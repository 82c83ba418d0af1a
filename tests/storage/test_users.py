"""Who may log in; passwords; and that there is always an admin."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from agi_server.errors import ConflictError, InputError, NotFoundError
from storage.database import Database
from storage.invitations import find_invitation, invite_again
from storage.sessions import find_session, open_session
from storage.users import (
    add_user,
    find_log_in,
    hash_password,
    is_password,
    list_users,
    remove_user,
    set_disabled,
    set_extension,
    set_password,
    set_role,
)
from tests.storage.conftest import NOW, Query

BY: dict[str, Any] = {"who": "cli:ana", "now": NOW}


async def add(database: Database, name: str, role: str = "viewer", password: str = "correct horse") -> int:
    hashed = await hash_password(password)
    return await database.write(lambda conn: add_user(conn, name, hashed, role, **BY))


async def role_with(database: Database, name: str, password: str) -> str | None:
    log_in = await database.read(lambda conn: find_log_in(conn, name))
    right = await is_password(log_in, password)
    return log_in.user.role if log_in is not None and right else None


def noted(query: Query) -> list[tuple[str, Any, Any]]:
    rows = query("SELECT what, before, after FROM audit ORDER BY id")
    return [(what, json.loads(before), json.loads(after)) for what, before, after in rows]


async def test_which_phone_is_whose(database: Database, query: Query) -> None:
    await add(database, "ana")

    async def put(extension: str, name: str = "ana") -> str:
        await database.write(lambda conn: set_extension(conn, name, extension, **BY))
        (user,) = await database.read(list_users)
        return user.extension

    (user,) = await database.read(list_users)
    assert user.extension == ""
    assert [await put(each) for each in (" 101 ", "101", "PJSIP/101", "")] == ["101", "101", "PJSIP/101", ""]
    assert [what for what, *_ in noted(query)] == ["users.add", *["users.extension"] * 3]
    assert noted(query)[1][1:] == ({"name": "ana", "extension": ""}, {"name": "ana", "extension": "101"})
    for wrong in ("1 2", "1\u20282", "1\x00", "1" * 33):
        with pytest.raises(InputError, match="no extension"):
            await put(wrong)
    with pytest.raises(NotFoundError):
        await put("101", "ben")


async def test_a_user_logs_in_with_the_password_only(database: Database, query: Query) -> None:
    await add(database, "root", "admin")
    await add(database, "ana", "operator")
    for name, password in (("ana", "wrong"), ("ana", ""), ("ben", "correct horse"), ("", "")):
        assert await role_with(database, name, password) is None
    assert await role_with(database, "ana", "correct horse") == "operator"
    hashed = await hash_password("battery staple")
    await database.write(lambda conn: set_password(conn, "ana", hashed, **BY))
    assert await role_with(database, "ana", "correct horse") is None
    assert await role_with(database, "ana", "battery staple") == "operator"
    await database.write(lambda conn: set_role(conn, "ana", "admin", **BY))
    assert await role_with(database, "ana", "battery staple") == "admin"
    await database.write(lambda conn: set_disabled(conn, "ana", disabled=True, **BY))
    assert await role_with(database, "ana", "battery staple") is None
    user = (await database.read(list_users))[0]
    assert (user.name, user.role, user.created_at, user.disabled) == ("ana", "admin", NOW, True)
    await database.write(lambda conn: remove_user(conn, "ana", **BY))
    assert [user.name for user in await database.read(list_users)] == ["root"]
    changes = noted(query)[1:]
    assert [what for what, *_ in changes] == [
        "users.add", "users.password", "users.role", "users.disabled", "users.remove",
    ]  # fmt: skip
    assert changes[3] == (
        "users.disabled", {"name": "ana", "disabled": False}, {"name": "ana", "disabled": True},
    )  # fmt: skip
    assert not any(word in json.dumps(changes) for word in ("horse", "staple", "argon2"))


async def test_a_password_is_kept_as_a_slow_hash(database: Database, query: Query) -> None:
    await add(database, "ana")
    ((stored,),) = query("SELECT password_hash FROM users")
    assert stored.startswith("$argon2id$")
    assert stored not in repr(await database.read(lambda conn: find_log_in(conn, "ana")))
    query("UPDATE users SET password_hash = 'correct horse'")
    assert await role_with(database, "ana", "correct horse") is None


async def test_a_password_is_the_same_from_every_keyboard(database: Database) -> None:
    await add(database, "ana", password="Mu\N{LATIN SMALL LETTER N WITH TILDE}oz Muñoz")
    assert await role_with(database, "ana", "Mun\N{COMBINING TILDE}oz Mun\N{COMBINING TILDE}oz") == "viewer"
    assert await role_with(database, "ana", "Munoz Munoz") is None
    assert await role_with(database, "ana", "\udcff") is None


async def test_a_name_nobody_has_takes_as_long(database: Database) -> None:
    await add(database, "ana")

    async def least(name: str) -> float:
        taken = []
        for _ in range(5):
            started = time.process_time()
            assert await role_with(database, name, "wrong") is None
            taken.append(time.process_time() - started)
        return min(taken)

    await least("ben")
    assert await least("ben") > 0.5 * await least("ana")


async def test_two_passwords_at_once_are_hashed_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 19 MiB."""
    now = most = 0

    def hash_(_password: bytes) -> str:
        nonlocal now, most
        now += 1
        most = max(now, most)
        time.sleep(0.01)
        now -= 1
        return ""

    monkeypatch.setattr("storage.users._HASHES", type("Slow", (), {"hash": staticmethod(hash_)}))
    await asyncio.gather(*(hash_password("correct horse") for _ in range(8)))
    assert most == 2


@pytest.mark.parametrize("password", ["", "seven77", "x" * 1001])
async def test_a_password_has_bounds(password: str) -> None:
    with pytest.raises(InputError, match="characters"):
        await hash_password(password)


@pytest.mark.parametrize(
    ("name", "role", "error"),
    [
        ("ana", "viewer", ConflictError),
        (" ana ", "viewer", ConflictError),
        (" ", "viewer", InputError),
        ("ben\u202egnp", "viewer", InputError),
        ("ben\nadmin", "viewer", InputError),
        ("b" * 101, "viewer", InputError),
        ("ben", "king", InputError),
    ],
)
async def test_a_user_that_cannot_be_is_refused(
    database: Database, name: str, role: str, error: type[Exception]
) -> None:
    await add(database, "ana")
    with pytest.raises(error):
        await add(database, name, role)
    assert len(await database.read(list_users)) == 1


async def test_what_is_done_to_nobody_is_refused(database: Database) -> None:
    hashed = await hash_password("correct horse")
    for job in (
        lambda conn: set_password(conn, "ana", hashed, **BY),
        lambda conn: set_role(conn, "ana", "viewer", **BY),
        lambda conn: set_disabled(conn, "ana", disabled=True, **BY),
        lambda conn: remove_user(conn, "ana", **BY),
    ):
        with pytest.raises(NotFoundError, match="'ana'"):
            await database.write(job)


CHANGES = {
    "removed": lambda conn: remove_user(conn, "ana", **BY),
    "demoted": lambda conn: set_role(conn, "ana", "operator", **BY),
    "disabled": lambda conn: set_disabled(conn, "ana", disabled=True, **BY),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_the_last_admin_stays(database: Database, change: str) -> None:
    await add(database, "ana", "admin")
    await add(database, "ben", "admin")
    await add(database, "eva", "operator")
    await database.write(lambda conn: set_disabled(conn, "ben", disabled=True, **BY))
    with pytest.raises(ConflictError, match="last admin"):
        await database.write(CHANGES[change])
    await database.write(lambda conn: set_disabled(conn, "ben", disabled=False, **BY))
    await database.write(CHANGES[change])


@pytest.mark.parametrize("change", [*CHANGES, "password"])
async def test_a_change_ends_sessions_and_links_for_a_new_password(database: Database, change: str) -> None:
    ana, ben = await add(database, "ana", "admin"), await add(database, "ben", "admin")
    hashed = await hash_password("battery staple")
    hers, _ = await database.write(lambda conn: open_session(conn, ana, agent="", now=NOW))
    his, _ = await database.write(lambda conn: open_session(conn, ben, agent="", now=NOW))
    link = await database.write(lambda conn: invite_again(conn, name="ana", seconds=60, **BY))
    assert await database.read(lambda conn: find_session(conn, hers, NOW, 60)) is not None
    await database.write(
        CHANGES.get(change, lambda conn: set_password(conn, "ana", hashed, **BY)),
    )
    assert await database.read(lambda conn: find_session(conn, hers, NOW, 60)) is None
    assert await database.read(lambda conn: find_invitation(conn, link, NOW)) is None
    assert await database.read(lambda conn: find_session(conn, his, NOW, 60)) is not None


async def test_what_changes_nothing_ends_nothing(database: Database, query: Query) -> None:
    ana = await add(database, "ana", "admin")
    secret, _ = await database.write(lambda conn: open_session(conn, ana, agent="", now=NOW))
    await database.write(lambda conn: set_role(conn, "ana", "admin", **BY))
    await database.write(lambda conn: set_disabled(conn, "ana", disabled=False, **BY))
    assert await database.read(lambda conn: find_session(conn, secret, NOW, 60)) is not None
    assert [what for what, *_ in noted(query)] == ["users.add"]
