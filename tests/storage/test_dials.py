"""Calls ordered by a click, on disk."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from agi_server.errors import InputError
from storage import dials
from storage.database import Database
from storage.dials import OVER, STATES, Dial, Ordered
from storage.schema import metadata
from tests.storage.conftest import NOW, Query

DIAL = Dial(
    id="a",
    agent="101",
    number=4930123456,
    text="+4930123456",
    name="Erika",
    contact_id=7,
    asked_at=NOW,
    who="user:ana",
)


async def order(database: Database, dial: Dial = DIAL, *, at: int = NOW, **more: Any) -> Ordered:
    limits = {"per_minute": 10, "same_seconds": 30, **more}
    return await database.write(lambda conn: dials.order(conn, dial, now=at, **limits))


async def went(database: Database, dial_id: str, state: str, reason: str = "", at: int = NOW) -> Dial | None:
    return await database.write(lambda conn: dials.went_on(conn, dial_id, state, reason, at))


async def claim(database: Database, dial_id: str, pbx: str = "pbx") -> bool:
    return await database.write(lambda conn: dials.claim(conn, dial_id, pbx, NOW))


async def get(database: Database, dial_id: str) -> Dial:
    found = await database.read(lambda conn: dials.get(conn, dial_id))
    assert found is not None
    return found


async def test_an_order_is_kept_as_it_was_given(database: Database) -> None:
    made = await order(database)
    assert made == Ordered(replace(DIAL, changed_at=NOW), new=True)
    assert await get(database, "a") == made.dial
    assert await database.read(lambda conn: dials.get(conn, "b")) is None


async def test_several_clicks_at_once_make_one_dial(database: Database) -> None:
    orders = await asyncio.gather(*(order(database, replace(DIAL, id=str(n))) for n in range(5)))
    assert [each.new for each in orders].count(True) == 1
    assert len({each.dial.id for each in orders if each.dial is not None}) == 1


@pytest.mark.parametrize(
    ("other", "after", "new"),
    [
        ({}, 29, False),
        ({}, 30, True),
        ({"agent": "102"}, 1, True),
        ({"text": "+4930123457", "number": 4930123457}, 1, True),
    ],
)
async def test_a_second_click_is_the_same_call_for_a_while(
    database: Database, other: dict[str, Any], after: int, new: bool
) -> None:
    await order(database)
    again = await order(database, replace(DIAL, id="b", **other), at=NOW + after)
    assert again.new is new
    assert again.dial is not None
    assert again.dial.id == ("b" if new else "a")


@pytest.mark.parametrize(
    ("state", "after", "new"), [("failed", 2, False), ("failed", 3, True), ("ended", 3, True)]
)
async def test_a_call_that_is_over_may_be_made_again(
    database: Database, state: str, after: int, new: bool
) -> None:
    await order(database)
    await went(database, "a", state)
    assert (await order(database, replace(DIAL, id="b"), at=NOW + after)).new is new


async def test_an_agent_dials_so_often_in_a_minute(database: Database) -> None:
    for n in range(3):
        dial = replace(DIAL, id=str(n), text=f"+4930{n}", number=None)
        assert (await order(database, dial, at=NOW + n, per_minute=3)).new
    further = replace(DIAL, id="3", text="+49309")
    assert await order(database, further, at=NOW + 10, per_minute=3) == Ordered(None, new=False, wait=50)
    assert (await order(database, replace(further, id="4", agent="102"), at=NOW + 10, per_minute=3)).new
    assert (await order(database, further, at=NOW + 60, per_minute=3)).new


async def test_an_override_is_in_the_audit_log(database: Database, query: Query) -> None:
    await order(database, override="blacklisted")
    await order(database, replace(DIAL, id="b", text="+49309"))
    rows = query("SELECT who, what, after FROM audit")
    assert [row[:2] for row in rows] == [("user:ana", "dials.override")]
    assert '"blacklisted"' in rows[0][2]


async def test_states_go_forward_only(database: Database) -> None:
    await order(database)
    assert (await went(database, "a", "ringing", at=NOW + 1)) == replace(
        DIAL, state="ringing", changed_at=NOW + 1
    )
    assert await went(database, "a", "dialling") is None
    assert await went(database, "a", "ringing") is None
    assert (await went(database, "a", "failed", "busy")) is not None
    assert await went(database, "a", "ended") is None
    assert await went(database, "b", "ended") is None
    found = await get(database, "a")
    assert (found.state, found.reason, found.over) == ("failed", "busy", True)


@settings(max_examples=20)
@given(told=st.lists(st.sampled_from(STATES), max_size=8))
def test_whatever_is_told_in_whatever_order_the_furthest_counts(told: list[str]) -> None:
    ranks = {state: min(STATES.index(state), 5) for state in STATES}
    state = "asked"
    for each in told:
        if ranks[each] > ranks[state]:
            state = each
    assert asyncio.run(_after(told)) == state


async def _after(told: list[str]) -> str:
    """Return the state of a dial of which this was told."""
    engine = create_async_engine("sqlite+aiosqlite://")
    try:
        async with engine.begin() as conn:
            await conn.run_sync(metadata.create_all)
            await dials.order(conn, DIAL, per_minute=9, same_seconds=30, now=NOW)
            for state in told:
                await dials.went_on(conn, "a", state, "", NOW)
            found = await dials.get(conn, "a")
            assert found is not None
            return found.state
    finally:
        await engine.dispose()


async def test_one_pbx_is_told_once(database: Database) -> None:
    await order(database)
    claims = await asyncio.gather(*(claim(database, "a", f"pbx{n}") for n in range(3)))
    assert claims.count(True) == 1
    assert not await claim(database, "nosuch")
    assert (await get(database, "a")).pbx.startswith("pbx")


async def test_what_no_pbx_was_told_of_can_be_withdrawn(database: Database) -> None:
    await order(database)
    withdrawn = await database.write(lambda conn: dials.withdraw(conn, "a", NOW + 1))
    assert withdrawn is not None
    assert (withdrawn.state, withdrawn.reason) == ("failed", "cancelled")
    assert not await claim(database, "a"), "or it would ring all the same"
    await order(database, replace(DIAL, id="b", agent="102"))
    assert await claim(database, "b")
    assert await database.write(lambda conn: dials.withdraw(conn, "b", NOW)) is None


async def test_dials_without_a_channel_are_lost_on_their_own_pbx(database: Database) -> None:
    for n, (pbx, state) in enumerate(
        [("one", "ringing"), ("one", "answered"), ("one", "dialling"), ("two", "ringing"), ("", "asked")]
    ):
        await order(database, replace(DIAL, id=f"d{n}", agent=f"10{n}"))
        if pbx:
            await claim(database, f"d{n}", pbx)
        await went(database, f"d{n}", state)
    gone = await database.write(lambda conn: dials.lost(conn, "one", {"d2"}, now=NOW + 9))
    assert {(dial.id, dial.state, dial.reason) for dial in gone} == {
        ("d0", "failed", "lost"),
        ("d1", "ended", ""),
    }
    assert [(await get(database, f"d{n}")).over for n in range(5)] == [True, True, False, False, False]


async def test_orders_that_never_came_to_a_pbx_come_to_an_end(database: Database) -> None:
    await order(database)
    await order(database, replace(DIAL, id="b", agent="102"), at=NOW + 5)
    await order(database, replace(DIAL, id="c", agent="103"))
    await claim(database, "c")
    given_up = await database.write(lambda conn: dials.unclaimed(conn, before=NOW + 4, now=NOW + 60))
    assert [(dial.id, dial.state, dial.reason) for dial in given_up] == [("a", "failed", "lost")]
    assert not await claim(database, "a")


async def test_the_newest_come_first_page_by_page(database: Database) -> None:
    for n in range(5):
        await order(database, replace(DIAL, id=f"d{n}", agent=f"10{n % 2}"), at=NOW + n // 2, same_seconds=0)
    seen, after = [], ""
    while True:
        found, after = await database.read(lambda conn, at=after: dials.page(conn, limit=2, after=at))  # type: ignore[misc]
        seen += [dial.id for dial in found]
        if not after:
            break
    assert seen == ["d4", "d3", "d2", "d1", "d0"]
    mine, _ = await database.read(lambda conn: dials.page(conn, agent="101", limit=9))
    assert [dial.id for dial in mine] == ["d3", "d1"]


@pytest.mark.parametrize("cursor", ["x", "1", "x.d1", "-1.d1", "9" * 20 + ".d1", "²." + "a"])
async def test_a_cursor_of_nobody_s_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(InputError, match="cursor"):
        await database.read(lambda conn: dials.page(conn, limit=2, after=cursor))


async def test_the_call_that_came_of_it(database: Database, query: Query) -> None:
    await order(database)
    assert (await get(database, "a")).call_id == ""
    query("INSERT INTO calls (id, uniqueid, started_at, part_of) VALUES ('k', 'ostiary-dial-a', 1, 'main')")
    assert (await get(database, "a")).call_id == "main"
    query("UPDATE calls SET part_of = ''")
    assert (await get(database, "a")).call_id == "k"
    query("UPDATE calls SET uniqueid = 'x', linkedid = 'ostiary-dial-a'")
    assert (await get(database, "a")).call_id == "k"


async def test_who_wants_no_calls(database: Database, query: Query) -> None:
    query(
        "INSERT INTO contacts (id, name, do_not_call) VALUES (1, 'a', 1), (2, 'b', 0), (3, 'c', 0), (4, 'd', 1)"
    )
    query("INSERT INTO phones (contact_id, number) VALUES (1, 4930123456), (2, 4930123456), (3, 4930999999)")

    async def unwanted(number: int, contact: int = 0) -> bool:
        return await database.read(lambda conn: dials.wants_no_calls(conn, number, contact))

    assert await unwanted(4930123456), "one of two with this number"
    assert not await unwanted(4930999999)
    assert await unwanted(4930999999, 4), "the switchboard's owner, say"
    assert not await unwanted(0)


async def test_the_question_of_who_wants_no_calls_reads_no_whole_table(database: Database) -> None:
    async def plan(conn: AsyncConnection) -> str:
        rows = await conn.exec_driver_sql(
            "EXPLAIN QUERY PLAN " + dials._UNWANTED, {"number": 4930123456, "contact": 1}
        )
        return " ".join(str(row) for row in rows)

    assert "SCAN" not in await database.read(plan)


async def test_whose_pbx_an_agent_is_on(database: Database, query: Query) -> None:
    query(
        "INSERT INTO agent_states (extension, pbx, state, changed_at) VALUES "
        "('101', 'a', 'unreachable', 1), ('101', 'b', 'free', 1), ('102', 'c', 'free', 1)"
    )
    assert await database.read(lambda conn: dials.pbxs_of(conn, "101")) == ["b", "a"]
    assert await database.read(lambda conn: dials.pbxs_of(conn, "103")) == []


def test_the_ends_are_states() -> None:
    assert set(STATES) > OVER
