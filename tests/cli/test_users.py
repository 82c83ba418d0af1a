"""`ostiary users`."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from pathlib import Path

import pytest

from agi_server.errors import NotFoundError
from storage.database import Database
from storage.invitations import accept
from storage.users import find_log_in, hash_password, is_password
from tests.cli.conftest import Ostiary


def role_with(state: Path, name: str, password: str) -> str | None:
    """Log in as the console will."""

    async def log_in() -> str | None:
        database = await Database.open(f"sqlite+aiosqlite:///{state / 'ostiary.db'}")
        try:
            log_in = await database.read(lambda connection: find_log_in(connection, name))
            return log_in.user.role if log_in is not None and await is_password(log_in, password) else None
        finally:
            await database.close()

    return asyncio.run(log_in())


def test_the_password_is_asked_for_twice_and_not_shown(ostiary: Ostiary, state: Path) -> None:
    result = ostiary("users", "add", "ana", "--role", "operator", typed="correct horse\ncorrect horse\n")
    assert "correct horse" not in result.output
    assert role_with(state, "ana", "correct horse") == "operator"
    assert role_with(state, "ana", "correct house") is None
    assert b"correct horse" not in (state / "ostiary.db").read_bytes()


def test_two_different_passwords_are_asked_for_again(ostiary: Ostiary, state: Path) -> None:
    ostiary("users", "add", "ana", typed="correct horse\nwrong horse\nbattery staple\nbattery staple\n")
    assert role_with(state, "ana", "battery staple") == "viewer"


def test_password_from_standard_input(ostiary: Ostiary, state: Path) -> None:
    ostiary("users", "add", "ana", "--password-stdin", typed="correct horse\n")
    ostiary("users", "password", "ana", "--password-stdin", typed="battery staple")
    assert role_with(state, "ana", "battery staple") == "viewer"
    assert role_with(state, "ana", "correct horse") is None


def test_role_list_remove(ostiary: Ostiary, state: Path) -> None:
    ostiary("users", "add", "ana", "--password-stdin", typed="correct horse\n")
    ostiary("users", "role", "ana", "admin")
    (user,) = json.loads(ostiary("users", "list", "--json").stdout)
    assert (user["name"], user["role"]) == ("ana", "admin")
    assert "hash" not in str(user)
    assert "ana" in ostiary("users", "list").stdout
    ostiary("users", "role", "ana", "viewer", code=1)  # nobody else could log in as admin
    ostiary("users", "remove", "ana", code=1)
    ostiary("users", "add", "rui", "--role", "admin", "--password-stdin", typed="correct horse\n")
    ostiary("users", "remove", "ana")
    (user,) = json.loads(ostiary("users", "list", "--json").stdout)
    assert user["name"] == "rui"
    with sqlite3.connect(state / "ostiary.db") as connection:
        assert {who for (who,) in connection.execute("SELECT who FROM audit")} == {"cli:ana"}
        assert "argon2" not in str(connection.execute("SELECT before, after FROM audit").fetchall())
    connection.close()


def test_a_disabled_user_cannot_log_in(ostiary: Ostiary, state: Path) -> None:
    ostiary("users", "add", "ana", "--password-stdin", typed="correct horse\n")
    ostiary("users", "disable", "ana")
    assert role_with(state, "ana", "correct horse") is None
    assert "disabled" in ostiary("users", "list").stdout
    ostiary("users", "enable", "ana")
    assert role_with(state, "ana", "correct horse") == "viewer"


def accept_with(state: Path, link: str, name: str, password: str) -> None:
    """Choose a password as the console will."""

    async def choose() -> None:
        database = await Database.open(f"sqlite+aiosqlite:///{state / 'ostiary.db'}")
        hashed = await hash_password(password)
        secret = link.rpartition("/")[2]
        try:
            await database.write(lambda conn: accept(conn, secret, name, hashed, int(time.time())))
        finally:
            await database.close()

    asyncio.run(choose())


def test_an_invitation_makes_a_user_once(ostiary: Ostiary, state: Path) -> None:
    link = ostiary("users", "invite", "rui", "--role", "operator").stdout.strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/welcome/[\w-]{40,}", link)
    assert json.loads(ostiary("users", "list", "--json").stdout) == []
    accept_with(state, link, "", "correct horse")
    assert role_with(state, "rui", "correct horse") == "operator"
    with pytest.raises(NotFoundError):
        accept_with(state, link, "", "battery staple")


def test_who_forgot_the_password_chooses_a_new_one(ostiary: Ostiary, state: Path) -> None:
    ostiary("users", "add", "ana", "--role", "operator", "--password-stdin", typed="correct horse\n")
    link = ostiary("users", "invite", "ana", "--reset").stdout.strip()
    assert role_with(state, "ana", "correct horse") == "operator"
    accept_with(state, link, "", "battery staple")
    assert role_with(state, "ana", "battery staple") == "operator"
    with sqlite3.connect(state / "ostiary.db") as connection:
        assert link.rpartition("/")[2] not in str(connection.execute("SELECT * FROM audit").fetchall())
    connection.close()


@pytest.mark.parametrize(
    ("arguments", "typed", "complaint"),
    [
        (["add", "ana"], "long enough\nlong enough\n", "ana"),  # there already
        (["add", "  "], "long enough\nlong enough\n", "name"),
        (["add", "rui", "--password-stdin"], "short", "8 characters"),
        (["password", "rui", "--password-stdin"], "long enough", "rui"),
        (["role", "rui", "admin"], "", "rui"),
        (["remove", "rui"], "", "rui"),
        (["disable", "rui"], "", "rui"),
        (["invite", "ana"], "", "'ana'"),  # there already
        (["invite", "rui", "--reset"], "", "'rui'"),
        (["add", "r\nui", "--password-stdin"], "long enough", "visible"),
    ],
)
def test_what_cannot_be(ostiary: Ostiary, arguments: list[str], typed: str, complaint: str) -> None:
    ostiary("users", "add", "ana", "--password-stdin", typed="correct horse\n")
    assert complaint in str(ostiary("users", *arguments, typed=typed, code=1).exception)


def test_an_unknown_role_is_wrong_usage(ostiary: Ostiary) -> None:
    ostiary("users", "add", "ana", "--role", "king", code=2)
