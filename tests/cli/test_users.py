"""`ostiary users`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from storage.database import Database
from storage.users import check_password
from tests.cli.conftest import Ostiary


def role_with(state: Path, name: str, password: str) -> str | None:
    """Log in as the console will."""

    async def log_in() -> str | None:
        database = await Database.open(f"sqlite+aiosqlite:///{state / 'ostiary.db'}")
        try:
            return await database.read(lambda connection: check_password(connection, name, password))
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
    ostiary("users", "remove", "ana")
    assert json.loads(ostiary("users", "list", "--json").stdout) == []
    with sqlite3.connect(state / "ostiary.db") as connection:
        assert {who for (who,) in connection.execute("SELECT who FROM audit")} == {"cli:ana"}
        assert "argon2" not in str(connection.execute("SELECT before, after FROM audit").fetchall())
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
    ],
)
def test_what_cannot_be(ostiary: Ostiary, arguments: list[str], typed: str, complaint: str) -> None:
    ostiary("users", "add", "ana", "--password-stdin", typed="correct horse\n")
    assert complaint in str(ostiary("users", *arguments, typed=typed, code=1).exception)


def test_an_unknown_role_is_wrong_usage(ostiary: Ostiary) -> None:
    ostiary("users", "add", "ana", "--role", "king", code=2)
