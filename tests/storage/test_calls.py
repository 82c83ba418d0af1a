from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agi_server.settings import Tasks
from storage.calls import answer_call, end_call, forget_calls, last_caller, record_calls
from storage.database import Database
from tests.storage.conftest import Query


async def record(database: Database, *rows: dict[str, object]) -> set[str]:
    return await database.write(lambda conn: record_calls(conn, rows))


async def test_a_call_is_recorded_once(database: Database, query: Query) -> None:
    row: dict[str, Any] = {
        "id": "a",
        "started_at": 5,
        "number": 4930,
        "name": None,
        "trace": [["match", "x"]],
        "odd": 1,
    }
    assert await record(database, row, {"id": "b", "started_at": 6}) == {"a", "b"}
    assert await record(database, row | {"name": "again"}, {"id": "c", "started_at": 7}) == {"c"}
    assert await record(database) == set()
    assert query("SELECT id, started_at, number, name, verdict, direction FROM calls ORDER BY id") == [
        ("a", 5, 4930, "", "allow", "inbound"),
        ("b", 6, None, "", "allow", "inbound"),
        ("c", 7, None, "", "allow", "inbound"),
    ]  # fmt: skip
    ((trace,),) = query("SELECT trace FROM calls WHERE id = 'a'")
    assert json.loads(trace) == [["match", "x"]]


async def test_who_answered_a_call(database: Database, query: Query) -> None:
    await record(
        database,
        {"id": "a", "started_at": 1, "uniqueid": "1.1"},
        {"id": "b", "started_at": 2, "uniqueid": "1.1"},
        {"id": "c", "started_at": 30, "uniqueid": "3.3"},
    )

    async def answer(extension: str, **values: Any) -> bool:
        return await database.write(lambda conn: answer_call(conn, at=20, extension=extension, **values))

    assert await answer("101", uniqueid="1.1")
    assert not await answer("", uniqueid="1.1")
    assert not await answer("101", uniqueid="")
    assert not await answer("101", call_id="nobody")
    assert not await answer("101", call_id="c")  # began later
    assert query("SELECT id, answered_by FROM calls ORDER BY id") == [("a", ""), ("b", "101"), ("c", "")]


async def test_how_a_call_ended(database: Database, query: Query) -> None:
    await record(
        database,
        {"id": "a", "started_at": 1, "uniqueid": "1.1", "answered_by": "200"},
        {"id": "b", "started_at": 2, "uniqueid": "1.1"},
        {"id": "c", "started_at": 3},
    )

    async def end(**values: Any) -> str:
        return await database.write(
            lambda conn: end_call(conn, ended_at=9, disposition="ANSWERED", seconds=4, **values)
        )

    assert await end(call_id="a") == "a"
    assert await end(call_id="", uniqueid="1.1", answered_by="201") == "b"
    assert await end(call_id="nobody", uniqueid="1.1") == ""
    assert await end(uniqueid="2.2") == ""
    assert await end(uniqueid="") == ""
    assert query("SELECT id, ended_at, disposition, seconds, answered_by FROM calls ORDER BY id") == [
        ("a", 9, "ANSWERED", 4, "200"), ("b", 9, "ANSWERED", 4, "201"), ("c", None, "", None, ""),
    ]  # fmt: skip


async def test_the_first_who_answered_counts(database: Database, query: Query) -> None:
    await record(database, {"id": "a", "started_at": 1})
    for at, extension in ((20, "102"), (10, "101"), (30, "103")):
        await database.write(partial(answer_call, call_id="a", at=at, extension=extension))
    assert query("SELECT answered_by, answered_at FROM calls") == [("101", 10)]
    await database.write(partial(end_call, call_id="a", ended_at=40, answered_by="103"))
    await database.write(partial(answer_call, call_id="a", at=5, extension="104"))
    assert query("SELECT answered_by, answered_at, told_by FROM calls") == [("103", 5, "ended")]


async def test_what_is_wanted_when_a_call_ends(database: Database, query: Query) -> None:
    await record(
        database, {"id": "a", "started_at": 1, "number": 4930}, {"id": "b", "started_at": 1, "number": 4931}
    )
    for _ in range(2):
        await database.write(
            partial(end_call, call_id="a", ended_at=9, disposition="noanswer", tasks=Tasks(follow_up_wait=60))
        )
        await database.write(partial(end_call, call_id="b", ended_at=9, disposition="noanswer"))
    wanted = query("SELECT key, next_attempt_at FROM outbox ORDER BY id")
    assert wanted == [("call:a", 12), ("follow-up:a", 69)]


@pytest.mark.parametrize(
    ("extension", "since", "expected"),
    [
        ("201", 0, ("0301", 49301)),
        ("202", 0, ("anonymous", 0)),
        ("203", 0, None),
        ("201", 11, None),
        (None, 0, ("0303", 49303)),
    ],
)
async def test_the_last_caller(
    database: Database, extension: str | None, since: int, expected: tuple[str, int] | None
) -> None:
    await record(
        database,
        {"id": "a", "started_at": 5, "number": 49300, "number_text": "0300", "routed_to": "201"},
        {"id": "b", "started_at": 10, "number": 49301, "number_text": "0301", "routed_to": "201"},
        {"id": "c", "started_at": 20, "number_text": "anonymous", "routed_to": "201x", "answered_by": "202"},
        {"id": "d", "started_at": 30, "number": 49303, "number_text": "0303"},
        {"id": "e", "started_at": 40, "number": 49304, "routed_to": "201", "direction": "outbound"},
    )
    await record(database, {"id": "f", "started_at": 50, "number": 49305, "routed_to": "201", "part_of": "b"})
    assert await database.read(lambda conn: last_caller(conn, extension, since)) == expected


async def test_the_oldest_calls_are_forgotten_a_few_at_a_time(database: Database, query: Query) -> None:
    await record(database, *({"id": str(n), "started_at": n} for n in range(10)))
    for number in range(6):
        query("INSERT INTO chats (id, started_at, ended_at, messages) VALUES (?, ?, 9, '[]')", number, number)
        query(
            "INSERT INTO dials (id, agent, number_text, asked_at, who, state, changed_at) "
            "VALUES (?, '', '', ?, '', '', 0)", number, number,
        )  # fmt: skip
    for key in ("call:0", "follow-up:1", "record:2", "chat:3", "call:5", "chat:5"):
        query("INSERT INTO tasks (key, salesforce_id, made_at) VALUES (?, ?, 0)", key, key)
        query("INSERT INTO outbox (kind, key, payload) VALUES ('x', ?, '{}')", key)
    query("INSERT INTO call_channels VALUES ('1.1', '0'), ('1.2', '9')")

    async def forget() -> int:
        return await database.write(lambda conn: forget_calls(conn, 5, 3))

    assert await forget() == 3
    assert query("SELECT min(started_at) FROM calls") == [(3,)]
    assert [await forget(), await forget()] == [2, 0]
    assert query("SELECT count(*) FROM calls") == [(5,)]
    assert query("SELECT id FROM chats") == query("SELECT id FROM dials") == [("5",)]
    assert query("SELECT key FROM tasks ORDER BY 1") == query("SELECT key FROM outbox ORDER BY 1")
    assert query("SELECT key FROM tasks ORDER BY 1") == [("call:5",), ("chat:5",)]
    assert query("SELECT call_id FROM call_channels") == [("9",)]


async def test_as_long_as_anything_is_left_to_forget_it_says_so(database: Database, query: Query) -> None:
    for number in range(5):
        query("INSERT INTO chats (id, started_at, ended_at, messages) VALUES (?, 1, 9, '[]')", number)
    forgotten = [await database.write(lambda conn: forget_calls(conn, 5, 3)) for _ in range(3)]
    assert forgotten == [3, 2, 0]


def test_the_journal_is_read_by_index(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in (
            "SELECT id FROM calls WHERE uniqueid = ? ORDER BY started_at DESC LIMIT 1",
            "SELECT number FROM calls WHERE direction = 'inbound' AND started_at >= ? ORDER BY started_at DESC LIMIT 1",
            "DELETE FROM calls WHERE id IN (SELECT id FROM calls WHERE started_at < ? ORDER BY started_at LIMIT 9)",
        ):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", ("1",))]
            assert not [step for step in plan if step.startswith("SCAN")], plan
