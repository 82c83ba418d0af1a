"""What is wanted of Salesforce is wanted once, until it has been sent; what is there is remembered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import outbox, tasks
from storage.database import Database
from storage.tasks import Task, follow, forget, get, keys_of, made, want, withdraw
from tests.storage.conftest import NOW, Query

KEY = "call:a:b"  # whatever is behind the first colon is the id


async def write(
    database: Database, job: Callable[..., Awaitable[Any]], *values: object, **named: object
) -> Any:
    async def run(conn: AsyncConnection) -> Any:
        return await job(conn, *values, **named)

    return await database.write(run)


async def test_what_is_wanted_waits_in_the_outbox(database: Database, query: Query) -> None:
    await write(database, want, KEY, due=NOW + 3, now=NOW)
    await write(database, want, "follow-up:a", due=NOW, now=NOW)
    assert query(
        "SELECT kind, key, contact_id, payload, created_at, next_attempt_at, ref, parked FROM outbox"
    ) == [
        ("call", KEY, None, "{}", NOW, NOW + 3, None, 0),
        ("follow-up", "follow-up:a", None, "{}", NOW, NOW, None, 0),
    ]
    (row,) = await database.read(lambda conn: outbox.due(conn, NOW, 9))
    assert (row.key, row.kind, row.payload) == ("follow-up:a", "follow-up", {})


async def test_one_that_was_not_sent_yet_will_do(database: Database, query: Query) -> None:
    for due in (NOW + 9, NOW + 5, NOW + 7):
        await write(database, want, KEY, due=due, now=NOW)
    assert query("SELECT next_attempt_at FROM outbox") == [(NOW + 5,)]
    query("UPDATE outbox SET attempts = 1")  # Salesforce has refused it: it waits as long as it was told to
    await write(database, want, KEY, due=NOW, now=NOW)
    assert query("SELECT next_attempt_at FROM outbox") == [(NOW + 5,)]
    query("UPDATE outbox SET parked = 1, attempts = 0")
    await write(database, want, KEY, due=NOW, now=NOW)
    assert query("SELECT next_attempt_at FROM outbox") == [(NOW + 5,)]


async def test_behind_one_that_may_have_been_sent_another_waits(database: Database, query: Query) -> None:
    await write(database, want, KEY, due=NOW, now=NOW)
    (row,) = await database.read(lambda conn: outbox.due(conn, NOW, 9))
    await database.write(lambda conn: outbox.mark_sent(conn, [row.id], NOW + 60))
    for _ in range(2):
        await write(database, want, KEY, due=NOW, now=NOW)
    assert query("SELECT ref, next_attempt_at FROM outbox ORDER BY id") == [(KEY, NOW + 60), (None, NOW)]
    assert await database.read(lambda conn: outbox.due(conn, NOW, 9)) == []  # it is held back
    assert [each.id for each in await database.read(lambda conn: outbox.due(conn, NOW + 60, 9))] == [row.id]
    await write(database, withdraw, [KEY])
    assert query("SELECT ref FROM outbox") == [(KEY,)]  # what may have been sent stays
    await write(database, want, KEY, due=NOW, now=NOW)
    await database.write(lambda conn: outbox.done(conn, [row.id]))
    assert len(await database.read(lambda conn: outbox.due(conn, NOW, 9))) == 1


async def test_a_full_outbox_costs_nothing(query: Query) -> None:
    """Salesforce may be away for a day."""
    for statement in (tasks._SOONER, tasks._WANT):
        plan = str(query(f"EXPLAIN QUERY PLAN {statement}", *("x" * statement.count("?"))))
        assert "INDEX outbox_key (key=?)" in plan


async def test_rows_without_a_key_are_not_marked(database: Database, query: Query) -> None:
    query("INSERT INTO outbox (id, kind, payload) VALUES (1, 'contact', '{}')")
    await database.write(lambda conn: outbox.mark_sent(conn, [1], NOW))
    assert query("SELECT ref, next_attempt_at FROM outbox") == [(None, 0)]


async def test_what_was_made_is_remembered(database: Database) -> None:
    assert await database.read(lambda conn: get(conn, KEY)) is None
    await write(database, made, KEY, "00T1", closed=False, now=NOW)
    await write(database, made, KEY, "00T1", closed=True, now=NOW + 9)
    assert await database.read(lambda conn: get(conn, KEY)) == Task(KEY, "00T1", True, NOW)


async def test_only_what_is_there_is_brought_in_step(database: Database, query: Query) -> None:
    await write(database, follow, KEY, now=NOW)
    assert query("SELECT key FROM outbox") == []
    await write(database, made, KEY, "00T1", closed=True, now=NOW)
    await write(database, follow, KEY, now=NOW)
    assert query("SELECT key, next_attempt_at FROM outbox") == [(KEY, NOW)]
    await write(database, forget, [KEY])
    await write(database, want, KEY, due=NOW, now=NOW)
    query("UPDATE outbox SET ref = key")  # it is being made
    await write(database, follow, KEY, now=NOW)
    assert query("SELECT ref FROM outbox ORDER BY id") == [(KEY,), (None,)]


async def test_what_is_forgotten(database: Database, query: Query) -> None:
    for key in (*keys_of("a"), *keys_of("b"), "chat:a"):
        await write(database, want, key, due=NOW, now=NOW)
        await write(database, made, key, key, closed=True, now=NOW)
    await write(database, forget, keys_of("a"))
    left = [("call:b",), ("chat:a",), ("follow-up:b",), ("record:b",)]
    assert query("SELECT key FROM outbox ORDER BY key") == query("SELECT key FROM tasks ORDER BY key") == left


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["change", "begin", "end", "fail"]), st.sampled_from(["call:a", "call:b"])),
        max_size=15,
    )
)
async def test_no_change_is_lost(database: Database, query: Query, steps: list[tuple[str, str]]) -> None:
    """Whatever changes while a record is on its way is sent after it: the last thing sent is how it is now."""
    query("DELETE FROM outbox")
    value, sent = dict.fromkeys(("call:a", "call:b"), 0), {"call:a": 0, "call:b": 0}
    on_its_way: dict[str, tuple[int, int]] = {}  # key -> row, value as it was built
    clock = NOW

    async def begin(key: str) -> None:
        rows = await database.read(lambda conn: outbox.due(conn, clock, 9))
        for row in rows:
            if row.key == key:
                await database.write(partial(outbox.mark_sent, ids=[row.id], until=clock + 60))
                on_its_way[key] = (row.id, value[key])

    async def end(key: str) -> None:
        if key in on_its_way:
            row_id, sent[key] = on_its_way.pop(key)
            await database.write(partial(outbox.done, ids=[row_id]))

    for what, key in [
        *steps,
        *[(what, key) for key in value for what in ("end", "begin", "end", "begin", "end")],
    ]:
        clock += 100
        if what == "change":
            value[key] += 1
            await database.write(partial(tasks.want, key=key, due=clock, now=clock))
        elif what == "begin" and key not in on_its_way:
            await begin(key)
        elif what == "end":
            await end(key)
        elif what == "fail":
            on_its_way.pop(key, None)  # the process died: the row is due again
    assert sent == value
    assert query("SELECT 1 FROM outbox") == []
