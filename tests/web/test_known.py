"""What was looked up a moment ago."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agi_server.web import known
from agi_server.web.known import Known
from storage.sessions import Session
from storage.tokens import Token

TOKEN = Token(id=1, name="crm", scopes=("read",), created_at=1, created_by="cli:ana", expires_at=0, used_at=0)


class Table:
    """Counts how often it is asked."""

    def __init__(self, token: Token | None = TOKEN) -> None:
        self.token = token
        self.asked = 0

    async def __call__(self) -> Token | None:
        self.asked += 1
        return self.token


async def test_the_table_is_asked_once_in_a_while() -> None:
    kept, table = Known(), Table()
    for now in (100.0, 100.5, 101.9):
        assert await kept.find("a", Token, now, table) == TOKEN
    assert table.asked == 1
    table.token = None
    assert await kept.find("a", Token, 102.0, table) is None
    assert table.asked == 2


async def test_a_clock_put_back_keeps_nothing_longer() -> None:
    kept, table = Known(), Table()
    await kept.find("a", Token, 1000.0, table)
    await kept.find("a", Token, 500.0, table)
    assert table.asked == 2


async def test_what_is_not_there_is_asked_for_every_time() -> None:
    kept, table = Known(), Table(None)
    for _ in range(3):
        assert await kept.find("a", Token, 1.0, table) is None
    assert table.asked == 3


async def test_a_change_counts_at_once() -> None:
    kept, table = Known(), Table()
    await kept.find("a", Token, 1.0, table)
    table.token = replace(TOKEN, scopes=())
    kept.forget()
    found = await kept.find("a", Token, 1.0, table)
    assert found is not None
    assert found.scopes == ()


async def test_what_was_read_before_a_change_is_not_kept_after_it() -> None:
    kept = Known()

    async def overtaken() -> Token:
        kept.forget()
        return TOKEN

    assert await kept.find("a", Token, 1.0, overtaken) == TOKEN
    assert await kept.find("a", Token, 1.0, Table(None)) is None


async def test_a_token_is_no_session() -> None:
    kept = Known()
    await kept.find("a", Token, 1.0, Table())

    async def nobody() -> Session | None:
        return None

    assert await kept.find("a", Session, 1.0, nobody) is None


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MOST", 3)
    kept, table = Known(), Table()
    for key in "abcde":
        await kept.find(key, Token, 1.0, table)
    assert list(kept._found) == ["c", "d", "e"]
