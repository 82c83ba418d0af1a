"""Whom to call back: the list, the Tasks, and what closes them say the same."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.record import Disposition, Record, Way
from agi_server.errors import NotFoundError
from agi_server.settings import Tasks
from storage.aliases import absorb
from storage.calls import end_call, record_calls
from storage.database import Database
from storage.follow_ups import attempts, dismiss, needed, settle
from storage.history import to_call_back
from storage.records import tell
from storage.tasks import made
from tests.storage.conftest import NOW, Query

MISSED: dict[str, Any] = {"number": 4930111, "ended_at": NOW + 50, "disposition": "noanswer"}


def call(call_id: str, at: int = 0, **columns: Any) -> dict[str, Any]:
    return {"id": call_id, "started_at": NOW + at, **columns}


async def record(database: Database, *rows: dict[str, Any]) -> None:
    for row in rows:  # one by one: they have columns of their own
        await database.write(partial(record_calls, rows=[row]))


async def is_needed(database: Database, call_id: str = "a") -> bool:
    """Return what both say."""
    listed = {row.id for row in await database.read(lambda conn: to_call_back(conn, 0, limit=50))}
    said = await database.read(lambda conn: needed(conn, call_id))
    assert said == (call_id in listed)
    return said


@pytest.mark.parametrize(
    "disposition", ["noanswer", "busy", "cancel", "no answer", "cancelled", "failed", "chanunavail", ""]
)
async def test_a_caller_whom_nobody_answered_is_called_back(database: Database, disposition: str) -> None:
    await record(database, call("a", **MISSED | {"disposition": disposition}))
    assert await is_needed(database)


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "block"},
        {"direction": "outbound"},
        {"direction": "internal"},
        {"number": None, "number_text": "anonymous"},
        {"rung": "extension"},
        {"ended_at": None},
        {"disposition": "answer"},
        {"disposition": "answered"},
        {"answered_by": "201"},
        {"part_of": "b"},
    ],
)
async def test_others_are_not(database: Database, changes: dict[str, Any]) -> None:
    await record(database, call("a", **MISSED | changes))
    assert not await is_needed(database)
    assert not await is_needed(database, "nobody")


@pytest.mark.parametrize(
    ("later", "still"),
    [
        ({"number": 4930111, "answered_by": "201"}, False),
        ({"number": 4930111, "direction": "outbound", "disposition": "answered"}, False),
        ({"number": 4930222, "contact_id": 5, "answered_by": "201"}, False),
        ({"number": None, "contact_id": 6, "answered_by": "201"}, False),  # 6 has become one with 5
        ({"number": 4930222, "contact_id": 7, "answered_by": "201"}, True),
        ({"number": 4930111, "direction": "outbound", "disposition": "noanswer"}, True),
        ({"number": 4930111, "answered_by": "201", "part_of": "x"}, True),
        ({"number": 4930111, "answered_by": "201", "started_at": NOW - 1}, True),
    ],
)
@pytest.mark.parametrize("contact", [5, 6])
async def test_who_was_spoken_with_since_is_not_called_back(
    database: Database, query: Query, later: dict[str, Any], contact: int, still: bool
) -> None:
    query("INSERT INTO contacts (id, name) VALUES (5, 'Ana'), (6, 'Anna'), (7, 'Eva')")
    await database.write(lambda conn: absorb(conn, 6, 5))
    await record(database, call("a", **MISSED, contact_id=contact), call("b", 9) | later)
    assert await is_needed(database) == still


TASKS = Tasks()


async def test_an_answered_call_closes_what_is_open(database: Database, query: Query) -> None:
    query("INSERT INTO contacts (id, name) VALUES (5, 'Ana')")
    other = MISSED | {"number": 4930222}
    await record(
        database,
        call("a", **MISSED),
        call("b", 1, **MISSED),
        call("c", 2, **other, contact_id=5),
        call("d", 3, **other),  # nobody's, as far as we know
        call("e", 4, **MISSED),
        call("f", 5, number=4930111, contact_id=5, direction="outbound"),
        call("g", 6, **MISSED),
    )

    async def task(conn: AsyncConnection, call_id: str, closed: bool) -> None:
        await made(conn, f"follow-up:{call_id}", f"00T{call_id}", closed=closed, now=NOW)

    for call_id in "abcdg":
        await database.write(partial(task, call_id=call_id, closed=call_id == "b"))
    query(
        "INSERT INTO outbox (kind, key, ref, payload) VALUES ('follow-up', 'follow-up:e', 'follow-up:e', '{}')"
    )
    await database.write(partial(end_call, call_id="f", ended_at=NOW + 60, disposition="answer", tasks=TASKS))
    wanted = query("SELECT key, next_attempt_at FROM outbox WHERE ref IS NULL ORDER BY key")
    assert wanted == [
        ("call:f", NOW + 63),
        ("follow-up:a", NOW + 60),
        ("follow-up:c", NOW + 60),
        ("follow-up:e", NOW + 60),  # it may have been sent when nobody had called back yet
    ]


async def test_an_internal_call_closes_nothing(database: Database, query: Query) -> None:
    await record(database, call("a", **MISSED))
    await database.write(partial(made, key="follow-up:a", salesforce_id="00T", closed=False, now=NOW))
    inside = Record(
        linkedid="2.1", way=Way.INTERNAL, number="102", agent="101", started_at=NOW + 5, ended_at=NOW + 9,
        disposition=Disposition.ANSWERED, answered_by="102",
    )  # fmt: skip
    await database.write(partial(tell, record=inside, tasks=TASKS, region="DE", decided=None, now=NOW))
    assert query("SELECT key FROM outbox") == []


async def test_settling_nobody_s_is_nothing(database: Database, query: Query) -> None:
    await record(database, call("a", **MISSED))
    await database.write(lambda conn: settle(conn, number=None, contact_id=None, now=NOW))
    await database.write(lambda conn: settle(conn, number=4930111, contact_id=None, now=NOW))
    assert query("SELECT key FROM outbox") == []


async def test_a_person_may_say_that_it_is_settled(database: Database, query: Query) -> None:
    await record(database, call("a", **MISSED), call("b", 5, **MISSED), call("c", 9, **MISSED))
    for call_id in "abc":
        await database.write(
            partial(made, key=f"follow-up:{call_id}", salesforce_id=call_id, closed=False, now=NOW)
        )
    for _ in range(2):
        await database.write(lambda conn: dismiss(conn, "b", who="user:ana", now=NOW))
    assert await is_needed(database, "c")
    assert not await database.read(lambda conn: needed(conn, "b"))
    assert not await database.read(lambda conn: needed(conn, "a"))
    assert query("SELECT key FROM outbox ORDER BY key") == [("follow-up:a",), ("follow-up:b",)]
    assert query("SELECT who, what, after FROM audit") == [("user:ana", "calls.settle", '{"id": "b"}')]
    with pytest.raises(NotFoundError):
        await database.write(lambda conn: dismiss(conn, "nobody", who="user:ana", now=NOW))


async def test_how_often_somebody_called_in_vain(database: Database) -> None:
    await record(
        database,
        call("a", -50, **MISSED),
        call("b", **MISSED),
        call("c", 5, **MISSED),
        call("d", **MISSED | {"number": 7}),
        call("e", **MISSED | {"number": 8}),
        call("f", 9, number=8, answered_by="201"),
    )
    assert await database.read(lambda conn: attempts(conn, [4930111, 7, 8, 9], NOW)) == {4930111: 2, 7: 1}


async def test_what_waits_is_found_by_index(query: Query) -> None:
    from storage.follow_ups import WAITS  # noqa: PLC0415  # a constant of the module's own

    plan = str(query(f"EXPLAIN QUERY PLAN SELECT 1 FROM calls k WHERE k.started_at > 5 AND {WAITS}"))
    assert "calls_started" in plan
    assert "SEARCH l USING INDEX calls_number" in plan
    assert "SEARCH l USING INDEX calls_contact" in plan
    assert "SCAN l" not in plan
    assert "SCAN k" not in plan
