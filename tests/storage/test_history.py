"""The history: which calls a filter means, pages of it, whose call it was, and counts."""

from __future__ import annotations

import random
import re
import sqlite3
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

import storage.history
from agi_server.calls.call import TraceStep
from agi_server.calls.record import Leg, LegOutcome, Transfer
from agi_server.errors import InputError, NotFoundError
from storage.aliases import absorb
from storage.calls import record_calls
from storage.database import Database
from storage.history import (
    Caller,
    CallFilter,
    CallRow,
    Hour,
    assign,
    by_hour,
    by_verdict,
    calls,
    get_call,
    to_call_back,
    top_callers,
)
from storage.past_calls import past_calls
from storage.tasks import made
from tests.storage.conftest import NOW, Query

HOUR = NOW // 3600 * 3600


async def record(database: Database, *rows: dict[str, Any]) -> None:
    await database.write(lambda conn: record_calls(conn, rows))


def call(call_id: str, at: int = 0, **columns: Any) -> dict[str, Any]:
    return {"id": call_id, "started_at": HOUR + at, **columns}


async def ids(database: Database, wanted: CallFilter, limit: int = 50) -> list[str]:
    """Return the calls of all pages."""
    found: list[str] = []
    after = ""
    while True:
        page, after = await database.read(partial(calls, wanted=wanted, limit=limit, after=after))
        assert len(page) <= limit
        found += [row.id for row in page]
        if not after:
            return found


async def test_a_call_is_shown_with_everything(database: Database, query: Query) -> None:
    query("INSERT INTO contacts (id, name) VALUES (5, 'Ana now')")
    row = call(
        "a", uniqueid="1.2", number=4930555, number_text="030555", name="Ana then", did="100", trunk="t", contact_id=5,
        rung="exact", verdict="block", reason="exact", rule_id=3, routed_to="101", answered_by="102",
        disposition="answer", seconds=7, ended_at=NOW, direction="inbound", pbx="berlin", linkedid="1.1",
        answered_at=NOW - 7, queue="600", recording="a.wav", told_by="ami",
    )  # fmt: skip
    trace = [["number", "e164", "possible", "+4930555"], ["screen", "block"]]
    leg = Leg(extension="102", via="queue", began_at=NOW - 9.5, outcome=LegOutcome.ANSWERED)
    away = Transfer(kind="blind", at=NOW - 1.5, by="102", to="103")
    more = {"trace": trace, "legs": [asdict(leg), {"odd": 1}], "transfers": [asdict(away), "x"]}
    await record(database, row | more)
    await database.write(partial(made, key="call:a", salesforce_id="00T1", closed=True, now=NOW))
    steps = (TraceStep("number", "e164", "possible", "+4930555"), TraceStep("screen", "block"))
    expected = CallRow(
        **row, trace=steps, contact_name="Ana now", legs=(leg,), transfers=(away,), task_id="00T1"
    )
    assert await database.read(lambda conn: get_call(conn, "a")) == expected
    assert await database.read(lambda conn: calls(conn, CallFilter(), limit=5)) == ([expected], "")
    assert await database.read(lambda conn: get_call(conn, "b")) is None
    await record(database, call("part", part_of="a"))
    assert await database.read(lambda conn: get_call(conn, "part")) == expected


async def test_a_part_of_a_call_is_shown_nowhere(database: Database, query: Query) -> None:
    columns: dict[str, Any] = {"number": 1, "ended_at": NOW, "contact_id": 5, "routed_to": "101"}
    await record(database, call("a", **columns))
    await record(
        database, call("b", 1, part_of="a", verdict="block", **columns), call("c", 2, part_of="a", **columns)
    )
    query("UPDATE calls SET verdict = 'allow' WHERE id = 'c'")
    for wanted in (CallFilter(), CallFilter(number=1), CallFilter(contact_id=5), CallFilter(agent="101")):
        assert await ids(database, wanted) == ["a"]
    end = HOUR + 3600
    assert await database.read(lambda conn: by_hour(conn, HOUR, end)) == [Hour(HOUR, 1, 0)]
    assert await database.read(lambda conn: by_verdict(conn, HOUR, end)) == {"allow": 1}
    (caller,) = await database.read(lambda conn: top_callers(conn, HOUR, end, limit=5))
    assert (caller.count, caller.last_at) == (1, HOUR)
    assert [row.id for row in await database.read(lambda conn: to_call_back(conn, HOUR, limit=5))] == ["a"]
    with closing(sqlite3.connect(database.path)) as connection:
        assert [each.id for each in past_calls(connection, 0, 9)] == ["a"]


async def test_a_trace_that_is_none_hides_nothing(database: Database) -> None:
    await record(database, call("a"), call("b", trace={"x": 1}), call("c", trace=["x", ["only one"]]))
    assert await ids(database, CallFilter()) == ["c", "b", "a"]


ROWS = [
    call("a", 0, number=4930111, number_text="030 111", name="Ana Muñoz", did="100", routed_to="201"),
    call("b", 10, number=4930111, number_text="+4930111", verdict="block", reason="exact", contact_id=5),
    call("c", 20, number=4930222, direction="outbound", answered_by="201", rung="exact", name="50 % off_"),
    call("d", 30, number_text="4567", contact_id=6, did="200"),
    call("e", 40, direction="internal", routed_to="301"),
]
LEGS = {"a": [["202", ""], ["20", ""]], "e": [["301", ""], ['3"01', ""], ["", "4930111"]]}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (CallFilter(), "edcba"),
        (CallFilter(text="muñoz"), "a"),
        (CallFilter(text="ANA"), "a"),
        (CallFilter(text="111"), "ba"),
        (CallFilter(text="+49 30 111"), "ba"),
        (CallFilter(text="%"), "c"),
        (CallFilter(text="f_"), "c"),
        (CallFilter(text="4567"), "d"),
        (CallFilter(number=4930111), "ba"),
        (CallFilter(number=4930111, verdict="block"), "b"),
        (CallFilter(contact_id=5), "db"),  # 6 is an alias of it
        (CallFilter(contact_id=6), "db"),
        (CallFilter(contact_id=7), ""),
        (CallFilter(direction="outbound"), "c"),
        (CallFilter(did="200"), "d"),
        (CallFilter(agent="201"), "ca"),
        (CallFilter(agent="202"), "a"),
        (CallFilter(agent="20"), "a"),
        (CallFilter(agent="2"), ""),
        (CallFilter(agent='3"01'), "e"),
        (CallFilter(agent="4930111"), ""),
        (CallFilter(direction="internal"), "e"),
        (CallFilter(reason="exact"), "b"),
        (CallFilter(rung="exact"), "c"),
        (CallFilter(since=HOUR + 10), "edcb"),
        (CallFilter(until=HOUR + 10), "ba"),
        (CallFilter(since=HOUR + 10, until=HOUR + 20, direction="inbound"), "b"),
    ],
)
@pytest.mark.parametrize("scan", [10_000, 1, 2])
async def test_filters(
    database: Database, monkeypatch: pytest.MonkeyPatch, wanted: CallFilter, found: str, scan: int
) -> None:
    monkeypatch.setattr(storage.history, "SCAN", scan)

    async def furnish(conn: AsyncConnection) -> None:
        for row in ROWS:
            legs = [Leg(extension=one, number=other, began_at=NOW) for one, other in LEGS.get(row["id"], ())]
            await record_calls(conn, [row | {"legs": [asdict(leg) for leg in legs]}])
        await conn.exec_driver_sql("INSERT INTO contacts (id, name) VALUES (5, 'x'), (6, 'y')")
        await absorb(conn, 6, 5)

    await database.write(furnish)
    assert await ids(database, wanted) == [*found]
    assert await ids(database, wanted, limit=1) == [*found]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    times=st.lists(st.integers(0, 5), max_size=30),
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 9)),
    verdict=st.sampled_from(["", "block"]),
)
async def test_pages_are_complete_and_in_order(
    database: Database, times: list[int], sizes: tuple[int, int], verdict: str
) -> None:
    await database.write(lambda conn: conn.exec_driver_sql("DELETE FROM calls"))
    limit, scan = sizes
    chance = random.Random(limit)
    rows = [
        call(f"{number:02}:x", at, verdict=chance.choice(["allow", "block"]))
        for number, at in enumerate(times)
    ]
    await record(database, *rows)
    expected = sorted(rows, key=lambda row: (row["started_at"], row["id"]), reverse=True)
    before = storage.history.SCAN
    storage.history.SCAN = scan  # type: ignore[misc]
    try:
        found = await ids(database, CallFilter(verdict=verdict), limit)
    finally:
        storage.history.SCAN = before  # type: ignore[misc]
    assert found == [row["id"] for row in expected if not verdict or row["verdict"] == verdict]


@pytest.mark.parametrize("after", ["x", "1", ":", "-1:a", "1" * 30 + ":a"])
async def test_no_place_in_the_history(database: Database, after: str) -> None:
    with pytest.raises(InputError, match="begin again"):
        await database.read(lambda conn: calls(conn, CallFilter(), limit=5, after=after))


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (CallFilter(), "calls_started"),
        (CallFilter(since=5, until=9), "calls_started"),
        (CallFilter(number=4930), "calls_number"),
        (CallFilter(number=4930, since=5), "calls_number"),
        (CallFilter(contact_id=5), "calls_contact"),
    ],
)
async def test_an_index_finds_them(database: Database, query: Query, wanted: CallFilter, index: str) -> None:
    asked: list[tuple[str, Any]] = []

    async def job(conn: AsyncConnection) -> None:
        event.listen(
            conn.sync_connection,
            "before_cursor_execute",
            lambda *arguments: asked.append((arguments[2], arguments[3])),
        )
        await calls(conn, wanted, limit=5, after=f"{HOUR}:x")

    await database.read(job)
    statement, values = next(each for each in asked if "ORDER BY started_at" in each[0])
    assert f"INDEX {index} " in str(query(f"EXPLAIN QUERY PLAN {_filled(statement, values)}"))


def _filled(statement: str, values: dict[str, Any]) -> str:
    return re.sub(r":(\w+)", lambda found: repr(values[found[1]]), statement)


async def test_whose_call_it_was(database: Database, query: Query) -> None:
    await record(database, call("a", name="as shown"))
    query("INSERT INTO contacts (id, name) VALUES (5, 'Ana'), (6, 'Eva')")
    await database.write(lambda conn: absorb(conn, 6, 5))
    for contact in (6, 5):  # the same one by both ids
        await database.write(lambda conn, contact=contact: assign(conn, "a", contact, who="user:x", now=NOW))  # type: ignore[misc]
    row = await database.read(lambda conn: get_call(conn, "a"))
    assert row is not None
    assert (row.contact_id, row.contact_name, row.name) == (5, "Ana", "as shown")
    await database.write(lambda conn: assign(conn, "a", None, who="user:x", now=NOW))
    assert query(
        "SELECT who, what, before ->> 'contact_id', after ->> 'contact_id', after ->> 'id' FROM audit"
    ) == [
        ("user:x", "calls.assign", None, 5, "a"),
        ("user:x", "calls.assign", 5, None, "a"),
    ]
    for call_id, contact in (("b", 5), ("a", 9)):
        with pytest.raises(NotFoundError):
            await database.write(
                lambda conn, call_id=call_id, contact=contact: assign(
                    conn, call_id, contact, who="x", now=NOW
                )  # type: ignore[misc]
            )


async def test_its_tasks_follow_who_it_was(database: Database, query: Query) -> None:
    await record(database, call("a"), call("b"))
    await record(database, call("c", part_of="a"))
    query("INSERT INTO contacts (id, name) VALUES (5, 'Ana')")
    await database.write(partial(made, key="call:a", salesforce_id="00T1", closed=True, now=NOW))
    query("INSERT INTO outbox (kind, key, ref, payload) VALUES ('x', 'follow-up:a', 'follow-up:a', '{}')")
    for call_id in "bcc":  # of b nothing was made, nor is it to be
        await database.write(partial(assign, call_id=call_id, contact_id=5, who="user:x", now=NOW))
    assert query("SELECT key, next_attempt_at FROM outbox WHERE ref IS NULL ORDER BY key") == [
        ("call:a", NOW),
        ("follow-up:a", NOW),
    ]
    assert query("SELECT contact_id FROM calls ORDER BY id") == [(5,), (5,), (None,)]


async def test_counts(database: Database, query: Query) -> None:
    query("INSERT INTO contacts (id, name) VALUES (5, 'Ana')")
    await record(
        database,
        call("a", 0, number=1),
        call("b", 3599, number=1, verdict="block", name="shown"),
        call("c", 3600, number=2, contact_id=5),
        call("d", 3600, number=2),
        call("e", 7200 + 3599, number=1, contact_id=5, name="shown"),
        call("f", 7200 + 3600, number=1),  # too late
        call("g", 5, number=1, direction="outbound"),
        call("h", 6, number_text="none"),
    )
    end = HOUR + 10_800
    assert await database.read(lambda conn: by_hour(conn, HOUR, end)) == [
        Hour(HOUR, 2, 1),
        Hour(HOUR + 3600, 2, 0),
        Hour(HOUR + 7200, 1, 0),
    ]
    assert await database.read(lambda conn: by_hour(conn, HOUR, end, offset=1800)) == [
        Hour(HOUR - 1800, 2, 0),
        Hour(HOUR + 1800, 2, 1),
        Hour(HOUR + 9000, 1, 0),
    ]
    assert await database.read(lambda conn: by_verdict(conn, HOUR, end)) == {"allow": 5, "block": 1}
    assert await database.read(lambda conn: top_callers(conn, HOUR, end, limit=5)) == [
        Caller(1, "Ana", 5, 3, 1, HOUR + 10_799),
        Caller(2, "", None, 2, 0, HOUR + 3600),
    ]
    assert len(await database.read(lambda conn: top_callers(conn, HOUR, end, limit=1))) == 1


MISSED: dict[str, Any] = {"number": 4930111, "ended_at": HOUR + 50, "disposition": "noanswer"}


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([call("a", **MISSED)], ["a"]),
        ([call("a", **MISSED), call("b", 9, **MISSED), call("c", 5, **MISSED | {"number": 7})], ["b", "c"]),
        ([call("a", **MISSED | {"verdict": "block"})], []),
        ([call("a", **MISSED | {"direction": "outbound"})], []),
        ([call("a", **MISSED | {"number": None})], []),
        ([call("a", **MISSED | {"ended_at": None})], []),
        ([call("a", **MISSED | {"disposition": "answer"})], []),
        ([call("a", **MISSED | {"answered_by": "201"})], []),
        ([call("a", **MISSED), call("b", 9, number=4930111, answered_by="201")], []),
        (
            [call("a", **MISSED), call("b", 9, number=4930111, disposition="answered", direction="outbound")],
            [],
        ),
        ([call("a", **MISSED), call("b", 9, **MISSED | {"direction": "outbound"})], ["a"]),
        ([call("a", 9, **MISSED), call("b", 0, number=4930111, answered_by="201")], ["a"]),
        ([call("a", -1, **MISSED)], []),  # before `since`
    ],
)
async def test_whom_to_call_back(database: Database, rows: list[dict[str, Any]], found: list[str]) -> None:
    await record(database, *rows)
    missed = await database.read(lambda conn: to_call_back(conn, HOUR, limit=9))
    assert [row.id for row in missed] == found
