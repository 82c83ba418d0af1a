import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import outbox
from storage.database import Database
from storage.outbox import Counts
from tests.storage.conftest import NOW, Query, url_of


def add(query: Query, contact: int | None, at: int = NOW, **payload: object) -> int:
    """Put a row into the outbox, due from `at`; return its id."""
    ((number,),) = query(
        "INSERT INTO outbox (kind, contact_id, payload, created_at, next_attempt_at) VALUES ('contact', ?, ?, ?, ?) "
        "RETURNING id",
        contact,
        json.dumps(payload),
        at,
        at,
    )
    return int(number)


async def due(database: Database, now: int = NOW, limit: int = 100) -> list[int]:
    return [row.id for row in await database.read(lambda conn: outbox.due(conn, now, limit))]


async def test_what_is_due_comes_oldest_first(database: Database, query: Query) -> None:
    first, second, nobodys, third = (add(query, contact) for contact in (2, 1, None, 3))
    later = add(query, 4, NOW + 1)
    assert await due(database) == [first, second, nobodys, third]
    assert await due(database, limit=2) == [first, second]
    assert await due(database, NOW + 1) == [first, second, nobodys, third, later]


async def test_a_row_is_what_was_put_in(database: Database, query: Query) -> None:
    number = add(query, 7, NOW, name="Ana", phone="+49301")
    (row,) = await database.read(lambda conn: outbox.due(conn, NOW, 1))
    assert row == (
        number,
        "contact",
        7,
        {"name": "Ana", "phone": "+49301"},
        NOW,
        0,
        NOW,
        "",
        None,
        False,
        None,
    )


async def test_an_older_row_of_the_key_holds_the_others_back(database: Database, query: Query) -> None:
    first, second, other, without = (add(query, None) for _ in range(4))
    for number, key in ((first, "call:a"), (second, "call:a"), (other, "call:b")):
        query("UPDATE outbox SET key = ? WHERE id = ?", key, number)
    assert await due(database) == [first, other, without]
    await database.write(lambda conn: outbox.park(conn, first, "no such field"))
    assert await due(database) == [other, without]
    shown = await database.read(lambda conn: outbox.list_rows(conn, 9))
    assert [row.key for row in shown] == ["call:a", "call:a", "call:b", None]
    (page, _) = await database.read(lambda conn: outbox.page_rows(conn, parked=True, limit=9))
    assert [row.key for row in page] == ["call:a"]
    await database.write(lambda conn: outbox.drop(conn, [first], "ana", NOW))
    assert await due(database) == [second, other, without]


async def test_an_older_row_of_the_contact_holds_the_others_back(database: Database, query: Query) -> None:
    first, second, other = add(query, 1), add(query, 1), add(query, 2)
    assert await due(database) == [first, other]
    await database.write(lambda conn: outbox.later(conn, first, "row lock", NOW + 60))
    assert await due(database) == [other]
    await database.write(lambda conn: outbox.park(conn, first, "no such field"))
    assert await due(database, NOW + 999) == [other]
    await database.write(lambda conn: outbox.done(conn, [other]))
    assert await database.write(lambda conn: outbox.drop(conn, [first], "ana", NOW)) == 1
    assert await due(database) == [second]


async def test_rows_without_a_contact_hold_nobody_back(database: Database, query: Query) -> None:
    first, second = add(query, None), add(query, None)
    await database.write(lambda conn: outbox.park(conn, first, "bad"))
    assert await due(database) == [second]


async def test_a_contact_that_became_another_queues_with_it(database: Database, query: Query) -> None:
    query("INSERT INTO contacts (id) VALUES (8)")
    query("INSERT INTO contact_aliases (id, contact_id) VALUES (5, 8)")
    first = add(query, 8)
    second = add(query, 5)  # by somebody who had asked before it became 8
    add(query, 5)
    rows = await database.read(lambda conn: outbox.list_rows(conn, 10))
    assert [row.contact_id for row in rows] == [8, 8, 8]
    assert await due(database) == [first]
    await database.write(lambda conn: outbox.done(conn, [first]))
    assert await due(database) == [second]


async def test_refs_are_given_once(database: Database, query: Query) -> None:
    ids = [add(query, number) for number in range(3)]
    await database.write(lambda conn: outbox.ensure_refs(conn, ids[:2]))
    refs = [row[0] for row in query("SELECT ref FROM outbox ORDER BY id")]
    await database.write(lambda conn: outbox.ensure_refs(conn, ids))
    again = [row[0] for row in query("SELECT ref FROM outbox ORDER BY id")]
    assert refs[2] is None
    assert again[:2] == refs[:2]
    assert len(set(again)) == 3
    assert all(len(ref) == 32 and int(ref, 16) for ref in again)


async def test_tries_are_counted_and_retry_begins_anew(database: Database, query: Query) -> None:
    waiting, parked, other = (add(query, number) for number in range(3))
    await database.write(lambda conn: outbox.later(conn, waiting, "503", NOW + 60))
    await database.write(lambda conn: outbox.later(conn, waiting, "504", NOW + 120))
    await database.write(lambda conn: outbox.park(conn, parked, "no such field"))
    state = "SELECT attempts, next_attempt_at, error, parked FROM outbox ORDER BY id"
    assert query(state) == [(2, NOW + 120, "504", 0), (1, NOW, "no such field", 1), (0, NOW, "", 0)]
    assert await database.write(lambda conn: outbox.retry(conn, None, "cli:ana", NOW)) == 1
    assert await due(database) == [parked, other]
    assert await database.write(lambda conn: outbox.retry(conn, [waiting], "cli:ana", NOW)) == 1
    assert await due(database) == [waiting, parked, other]
    assert query(state) == [(0, 0, "504", 0), (0, 0, "no such field", 0), (0, NOW, "", 0)]


async def test_what_is_dropped_stays_in_the_audit(database: Database, query: Query) -> None:
    kept, parked = add(query, 1), add(query, 2, name="Ana")
    await database.write(lambda conn: outbox.park(conn, parked, "refused"))
    assert await database.write(lambda conn: outbox.drop(conn, None, "root", NOW)) == 1
    assert await database.write(lambda conn: outbox.drop(conn, None, "root", NOW)) == 0
    assert query("SELECT id FROM outbox") == [(kept,)]
    ((who, what, before, after),) = query("SELECT who, what, before, after FROM audit")
    assert (who, what, after) == ("root", "outbox.drop", "null")
    assert json.loads(before)["payload"] == {"name": "Ana"}
    assert json.loads(before)["error"] == "refused"


async def test_an_admin_sees_first_what_waits_for_one(database: Database, query: Query) -> None:
    assert await database.read(outbox.counts) == Counts(0, 0, 0)
    first, second, third = (add(query, number, NOW + number) for number in range(3))
    await database.write(lambda conn: outbox.park(conn, first, "refused"))
    assert await database.read(outbox.counts) == Counts(2, 1, NOW + 1)
    await database.write(lambda conn: outbox.park(conn, third, "refused"))
    rows = await database.read(lambda conn: outbox.list_rows(conn, 10))
    assert [row.id for row in rows] == [first, third, second]
    assert await database.read(lambda conn: outbox.list_rows(conn, 1)) == [rows[0]]


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    contacts=st.lists(st.sampled_from([1, 2, None]), min_size=1, max_size=8),
    fates=st.lists(st.sampled_from(["done", "later", "park", "drop", "retry"]), max_size=20),
)
def test_a_contacts_rows_are_tried_in_their_order(
    path: Path, contacts: Sequence[int | None], fates: Sequence[str]
) -> None:
    async def play() -> None:
        database = await Database.open(url_of(path))
        gone: dict[int | None, list[int]] = defaultdict(list)

        async def fill(conn: AsyncConnection) -> None:
            await conn.exec_driver_sql("DELETE FROM outbox")
            for contact in contacts:
                values = (contact, NOW)
                await conn.exec_driver_sql(
                    "INSERT INTO outbox (kind, contact_id, payload, next_attempt_at) VALUES ('call', ?, '{}', ?)",
                    values,
                )

        try:
            await database.write(fill)
            now = NOW
            for fate in fates:
                now += 1
                rows = await database.read(partial(outbox.due, now=now, limit=100))
                assert rows == sorted(rows)
                owners = [row.contact_id for row in rows if row.contact_id is not None]
                assert len(owners) == len(set(owners))
                assert not any(row.parked or row.next_attempt_at > now for row in rows)
                if fate == "retry":
                    await database.write(partial(outbox.retry, ids=None, who="cli:ana", now=NOW))
                elif rows:
                    row = rows[0]
                    jobs: dict[str, Any] = {
                        "later": partial(outbox.later, row_id=row.id, error="x", at=now + 3),
                        "park": partial(outbox.park, row_id=row.id, error="x"),
                        "drop": partial(outbox.drop, ids=[row.id], who="x", now=now),
                        "done": partial(outbox.done, ids=[row.id]),
                    }
                    await database.write(jobs[fate])
                    if fate in {"drop", "done"} and row.contact_id is not None:
                        gone[row.contact_id].append(row.id)
        finally:
            await database.close()
        assert all(ids == sorted(ids) for ids in gone.values())

    asyncio.run(play())
