from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

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

    async def end(**values: Any) -> bool:
        return await database.write(
            lambda conn: end_call(conn, ended_at=9, disposition="ANSWERED", seconds=4, **values)
        )

    assert await end(call_id="a")
    assert await end(call_id="", uniqueid="1.1", answered_by="201")
    assert not await end(call_id="nobody", uniqueid="1.1")
    assert not await end(uniqueid="2.2")
    assert not await end(uniqueid="")
    assert query("SELECT id, ended_at, disposition, seconds, answered_by FROM calls ORDER BY id") == [
        ("a", 9, "ANSWERED", 4, "200"), ("b", 9, "ANSWERED", 4, "201"), ("c", None, "", None, ""),
    ]  # fmt: skip


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
    assert await database.read(lambda conn: last_caller(conn, extension, since)) == expected


async def test_the_oldest_calls_are_forgotten_a_few_at_a_time(database: Database, query: Query) -> None:
    await record(database, *({"id": str(n), "started_at": n} for n in range(10)))

    async def forget() -> int:
        return await database.write(lambda conn: forget_calls(conn, 5, 3))

    assert await forget() == 3
    assert query("SELECT min(started_at) FROM calls") == [(3,)]
    assert [await forget(), await forget()] == [2, 0]
    assert query("SELECT count(*) FROM calls") == [(5,)]


def test_the_journal_is_read_by_index(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in (
            "SELECT id FROM calls WHERE uniqueid = ? ORDER BY started_at DESC LIMIT 1",
            "SELECT number FROM calls WHERE direction = 'inbound' AND started_at >= ? ORDER BY started_at DESC LIMIT 1",
            "DELETE FROM calls WHERE id IN (SELECT id FROM calls WHERE started_at < ? ORDER BY started_at LIMIT 9)",
        ):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", ("1",))]
            assert not [step for step in plan if step.startswith("SCAN")], plan
