from __future__ import annotations

import asyncio

import pytest

from agi_server.errors import DirectoryError
from agi_server.web.phonebooks import people
from agi_server.web.phonebooks.people import FRESH_SECONDS, contacts_of_book
from storage.phonebook import choose_entries
from tests.web.front import Front
from tests.web.phonebooks.people import add


async def names(front: Front) -> list[str]:
    return [entry.name for entry in await contacts_of_book(front.services)]


async def test_many_phones_at_once_cost_one_reading(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = []

    async def counted(*arguments: object) -> object:
        readings.append(arguments)
        return await choose_entries(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(people, "choose_entries", counted)
    books = await asyncio.gather(*(names(front) for _ in range(50)))
    assert books == [["Acme", "Ana Muñoz"]] * 50
    assert len(readings) == 1


async def test_a_book_is_read_anew_after_a_while(front: Front) -> None:
    assert await names(front) == ["Acme", "Ana Muñoz"]
    await add(front, {"Name": "Zoe", "Phone": "+493023125099"})
    front.clock.ahead += FRESH_SECONDS
    assert await names(front) == ["Acme", "Ana Muñoz", "Zoe"]


async def test_after_an_error_it_is_read_again(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise DirectoryError("away")

    with monkeypatch.context() as patched:
        patched.setattr(front.database, "read", broken)
        with pytest.raises(DirectoryError):
            await names(front)
    assert await names(front) == ["Acme", "Ana Muñoz"]
