import pytest

from storage import replies
from storage.database import Database
from storage.replies import KEPT_SECONDS, Reply, find_reply, keep_reply
from tests.storage.conftest import NOW, Query

REPLY = Reply(201, '{"id":1}', {"Location": "/x/1"})


async def keep(database: Database, key: str, now: int = NOW, who: str = "user:ana") -> None:
    await database.write(lambda conn: keep_reply(conn, who, key, request="digest", reply=REPLY, now=now))


async def find(
    database: Database, key: str, now: int = NOW, who: str = "user:ana"
) -> tuple[str, Reply] | None:
    return await database.read(lambda conn: find_reply(conn, who, key, now=now))


async def test_a_reply_comes_back_as_it_was(database: Database) -> None:
    await keep(database, "k")
    assert await find(database, "k") == ("digest", REPLY)
    assert await find(database, "K") is None
    assert await find(database, "k", who="user:bo") is None


async def test_a_reply_is_forgotten_after_a_day(database: Database, query: Query) -> None:
    await keep(database, "k")
    assert await find(database, "k", NOW + KEPT_SECONDS - 1) is not None
    assert await find(database, "k", NOW + KEPT_SECONDS) is None
    await keep(database, "other", NOW + KEPT_SECONDS)
    assert query("SELECT key FROM replies") == [("other",)]


async def test_the_oldest_go_when_there_are_too_many(
    database: Database, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "MOST", 3)
    for index in range(5):
        await keep(database, f"k{index}", NOW + index)
    assert query("SELECT key FROM replies ORDER BY key") == [("k2",), ("k3",), ("k4",)]
