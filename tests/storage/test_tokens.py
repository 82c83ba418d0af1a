"""Other programs' ways in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agi_server.errors import ConflictError, InputError
from storage.database import Database
from storage.tokens import Token, add_token, find_token, list_tokens, remove_token, used
from tests.storage.conftest import NOW, Query

BY: dict[str, Any] = {"who": "user:ana", "now": NOW}


async def add(database: Database, name: str = "crm", expires_at: int = 0) -> tuple[int, str]:
    return await database.write(
        lambda conn: add_token(conn, name=name, scopes=["read", "decide"], expires_at=expires_at, **BY)
    )


async def find(database: Database, secret: str) -> Token | None:
    return await database.read(lambda conn: find_token(conn, secret, NOW))


async def test_a_token_is_found_by_its_secret_only(database: Database, query: Query) -> None:
    id_, secret = await add(database)
    assert secret.startswith("ost_")
    assert len(secret) > 40
    token = await database.read(lambda conn: find_token(conn, secret, NOW))
    assert token is not None
    assert (token.id, token.name, token.scopes, token.expires_at) == (id_, "crm", ("decide", "read"), 0)
    assert (token.created_at, token.created_by, token.used_at) == (NOW, "user:ana", 0)
    for other in ("", "crm", secret[:-1], secret + "x", secret.upper(), "ost_\udcff", "'"):
        assert await find(database, other) is None
    assert secret not in str(query("SELECT * FROM tokens")) + str(query("SELECT * FROM audit"))


async def test_two_secrets_are_never_the_same(database: Database) -> None:
    assert (await add(database, "a"))[1] != (await add(database, "b"))[1]


async def test_an_expired_token_is_listed_but_opens_nothing(database: Database) -> None:
    _, secret = await add(database, expires_at=NOW + 10)
    assert await database.read(lambda conn: find_token(conn, secret, NOW + 9)) is not None
    assert await database.read(lambda conn: find_token(conn, secret, NOW + 10)) is None
    assert [token.expires_at for token in await database.read(list_tokens)] == [NOW + 10]


async def test_a_removed_token_opens_nothing(database: Database, query: Query) -> None:
    id_, secret = await add(database)
    assert await database.write(lambda conn: remove_token(conn, id_, **BY))
    assert not await database.write(lambda conn: remove_token(conn, id_, **BY))
    assert await database.read(lambda conn: find_token(conn, secret, NOW)) is None
    changes = query("SELECT who, what, before, after FROM audit ORDER BY id")
    values = {"id": id_, "name": "crm", "scopes": ["decide", "read"], "expires_at": 0}
    assert [(who, what, json.loads(before), json.loads(after)) for who, what, before, after in changes] == [
        ("user:ana", "tokens.add", None, values),
        ("user:ana", "tokens.remove", values, None),
    ]


async def test_an_id_is_never_given_again(database: Database) -> None:
    """What the audit says of a token is said of one."""
    first, _ = await add(database)
    await database.write(lambda conn: remove_token(conn, first, **BY))
    assert (await add(database))[0] > first


async def test_when_it_was_used_is_kept_to_the_hour(database: Database) -> None:
    id_, _ = await add(database)
    await database.write(lambda conn: used(conn, id_, NOW + 1))
    assert [token.used_at for token in await database.read(list_tokens)] == [NOW - NOW % 3600]


@pytest.mark.parametrize(
    ("name", "error"),
    [("crm", ConflictError), (" ", InputError), ("x" * 101, InputError), ("a\tb", InputError)],
)
async def test_a_name_that_cannot_be(database: Database, name: str, error: type[Exception]) -> None:
    await add(database)
    with pytest.raises(error):
        await add(database, name)
