"""Chats grow and are never told twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import InputError
from storage import chats
from storage.chats import Chat, ChatFilter, Message, get_chat, keep_chat, list_chats
from storage.database import Database
from tests.storage.conftest import NOW

GAP = 1800


def chat(*texts: str, at: int = NOW, chat_id: str = "c1", **more: Any) -> Chat:
    messages = tuple(Message(at + step, "Otto", text) for step, text in enumerate(texts))
    fields: dict[str, Any] = {"number": 4930200001, "number_text": "+4930200001"} | more
    return Chat(id=chat_id, started_at=at, ended_at=at + max(len(texts) - 1, 0), messages=messages, **fields)


async def keep(database: Database, told: Chat, *, named: bool = False, guess: int | None = None) -> Chat:
    kept, _ = await database.write(lambda conn: keep_chat(conn, told, named=named, gap=GAP, guess=guess))
    return kept


async def news(database: Database, told: Chat, *, named: bool = True) -> bool:
    return (await database.write(lambda conn: keep_chat(conn, told, named=named, gap=GAP)))[1]


async def all_chats(database: Database, **wanted: Any) -> list[Chat]:
    found, _ = await database.read(lambda conn: list_chats(conn, ChatFilter(**wanted), limit=100))
    return found


async def test_what_is_stored_is_what_was_told(database: Database) -> None:
    told = chat(
        "Hello\n\x00\u2028",
        channel="whatsapp",
        direction="outbound",
        email="o@x.example",
        name="Otto",
        did="d",
        queue="q",
        agent="101",
        contact_id=7,
    )
    assert await keep(database, told) == told
    assert await database.read(lambda conn: get_chat(conn, "c1")) == told
    assert await database.read(lambda conn: get_chat(conn, "c2")) is None


async def test_the_same_id_goes_on_with_the_same_chat(database: Database) -> None:
    await keep(database, chat("one", "two"), named=True)
    assert not await news(database, chat("one", "two"))
    assert await news(database, chat("one", "two", "three", agent="101"))
    kept = await keep(database, chat("four", at=NOW + 90_000), named=True)
    assert [message.text for message in kept.messages] == ["one", "two", "three", "four"]
    assert (kept.agent, kept.started_at, kept.ended_at) == ("101", NOW, NOW + 90_000)
    assert await all_chats(database) == [kept]


async def test_messages_come_in_any_order(database: Database) -> None:
    await keep(database, chat("later", at=NOW + 10), named=True)
    kept = await keep(database, chat("first"), named=True)
    assert [message.text for message in kept.messages] == ["first", "later"]
    assert (kept.started_at, kept.ended_at) == (NOW, NOW + 10)


async def test_one_said_twice_is_there_twice(database: Database) -> None:
    twice = (Message(NOW, "Otto", "ok"), Message(NOW, "Otto", "ok"))
    told = Chat(id="c1", started_at=NOW, ended_at=NOW, number=1, messages=twice)
    for _ in range(3):
        assert (await keep(database, told, named=True)).messages == twice


@pytest.mark.parametrize(
    ("at", "more", "same"),
    [
        (NOW + GAP, {}, True),
        (NOW + GAP + 1, {}, False),
        (NOW - GAP, {}, True),
        (NOW - GAP - 1, {}, False),
        (NOW + 1, {"channel": "sms"}, False),
        (NOW + 1, {"did": "elsewhere"}, False),
        (NOW + 1, {"number": 4930200002}, False),
        (NOW + 1, {"number": None}, False),
        (NOW + 1, {"agent": "101"}, True),
        (NOW + 1, {"direction": "outbound"}, True),
    ],
    ids=str,
)
async def test_what_belongs_together(database: Database, at: int, more: dict[str, Any], same: bool) -> None:
    await keep(database, chat("one"))
    await keep(database, chat("two", at=at, chat_id="c2", **more))
    assert len(await all_chats(database)) == (1 if same else 2)


async def test_two_agents_have_two_chats(database: Database) -> None:
    await keep(database, chat("one", agent="101"))
    await keep(database, chat("two", at=NOW + 1, chat_id="c2", agent="102"))
    kept = await keep(database, chat("three", at=NOW + 2, chat_id="c3"))
    assert (kept.id, kept.agent) == ("c2", "102")


async def test_without_a_number_the_address_tells(database: Database) -> None:
    one: dict[str, Any] = {"number": None, "number_text": "", "email": "o@x.example"}
    await keep(database, chat("one", **one))
    assert (await keep(database, chat("two", at=NOW + 1, chat_id="c2", **one))).id == "c1"
    assert (await keep(database, chat("two", chat_id="c3", **{**one, "email": "p@x.example"}))).id == "c3"


async def test_whose_it_is(database: Database) -> None:
    assert (await keep(database, chat("one"), guess=3)).contact_id == 3
    assert (await keep(database, chat("two", at=NOW + 1), guess=4)).contact_id == 3
    assert (await keep(database, chat("three", at=NOW + 2, contact_id=5), guess=4)).contact_id == 5
    assert (await keep(database, chat("four", at=NOW + 3), guess=4)).contact_id == 5


async def test_a_chat_has_an_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chats, "MOST_MESSAGES", 2)
    await keep(database, chat("one", "two"), named=True)
    with pytest.raises(InputError, match="begin another"):
        await keep(database, chat("three", at=NOW + 2), named=True)
    assert (await keep(database, chat("three", at=NOW + 2, chat_id="c2"))).id == "c2"
    monkeypatch.setattr(chats, "MOST_BYTES", 8)
    assert chat("ööö").fits is False
    assert chat("öö").fits is True


async def test_pages(database: Database) -> None:
    for number in range(5):
        await keep(
            database, chat("x", at=NOW + number // 2, chat_id=f"c{number}", number=number + 1), named=True
        )
    found: list[str] = []
    after = ""
    while True:
        page, after = await database.read(
            lambda conn, after=after: list_chats(conn, ChatFilter(), limit=2, after=after)  # type: ignore[misc]
        )
        found += [each.id for each in page]
        if not after:
            break
    assert found == ["c4", "c3", "c2", "c1", "c0"]
    for wrong in ("x", "-1:c", "²:c"):
        with pytest.raises(InputError):
            await database.read(
                lambda conn, after=wrong: list_chats(conn, ChatFilter(), limit=1, after=after)  # type: ignore[misc]
            )


async def test_filters(database: Database) -> None:
    await keep(database, chat("x", chat_id="a", channel="sms", agent="101", contact_id=1), named=True)
    await keep(database, chat("x", chat_id="b", at=NOW + 10, number=None, email="o@x.example"), named=True)
    wanted: list[tuple[dict[str, Any], list[str]]] = [
        ({"number": 4930200001}, ["a"]),
        ({"email": "o@x.example"}, ["b"]),
        ({"contact_id": 1}, ["a"]),
        ({"channel": "chat"}, ["b"]),
        ({"agent": "101"}, ["a"]),
        ({"since": NOW + 1}, ["b"]),
        ({"until": NOW}, ["a"]),
    ]
    for wanting, ids in wanted:
        assert [each.id for each in await all_chats(database, **wanting)] == ids, wanting


PARTS = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), min_size=1, max_size=4), max_size=5
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PARTS)
async def test_told_piece_by_piece_and_again(
    database: Database, parts: Sequence[Sequence[tuple[int, str]]]
) -> None:
    """In whatever pieces a transcript is sent, however often: each message is there as often as it was said at once."""

    async def clear(conn: AsyncConnection) -> None:
        await conn.exec_driver_sql("DELETE FROM chats")

    await database.write(clear)
    most: dict[Message, int] = {}
    for part in [*parts, *parts]:
        messages = tuple(Message(NOW + at, "Otto", text) for at, text in part)
        for message in messages:
            most[message] = max(most.get(message, 0), messages.count(message))
        await keep(
            database,
            Chat(
                id="c",
                number=1,
                started_at=min(each.at for each in messages),
                ended_at=max(each.at for each in messages),
                messages=messages,
            ),
            named=True,
        )
    kept = await database.read(lambda conn: get_chat(conn, "c"))
    found = kept.messages if kept else ()
    assert {message: found.count(message) for message in found} == most
    assert list(found) == sorted(found, key=lambda message: message.at)
