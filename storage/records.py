"""Put what was told of a conversation into its row, and want what follows from it.

Invariant: a conversation has one row that is shown. It is that of the earliest decision about one of its channels, or
one made of the record, named after PBX and thread; rows of further decisions say which it is (`part_of`). A row never
changes its id, so its Tasks keep their keys. Rows come to what they are in any order (claims.py), and what is
wanted comes of the row alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.record import Record, Way
from agi_server.settings import Tasks
from storage import claims, conversations, follow_ups
from storage import tasks as tasks_table
from storage.claims import Row

WAIT: Final = 3  # seconds until a call's Task is made: who sees more of the call may still tell of it


async def tell(
    conn: AsyncConnection,
    record: Record,
    *,
    tasks: Tasks,
    region: str,
    decided: Mapping[str, object] | None,
    now: int,
) -> str:
    """Put a finished conversation on record and return the call's id.

    `decided` is what would have been decided on a call that nobody asked about (journal.py's `record_of`); `region` is
    the ISO country of numbers without one. What is told by one who sees more stays. Raises ValueError for a
    conversation that goes on, or a teller that is none.
    """
    if record.ended_at is None:
        raise ValueError(f"call {record.linkedid} goes on: only calls that ended are put on record")
    rank = claims.rank(record.told_by)
    told = claims.told_of(record, region, decided)
    channels = {record.linkedid, *record.uniqueids}
    rows = await conversations.of_channels(
        conn, channels, pbx=record.pbx, at=record.started_at, named=told["id"]
    )
    before = _main(rows, record.linkedid)
    if before is None:
        after = told
    else:
        after = before
        for other in rows:
            # What one who sees more told apart stays apart; the dialplan, which tells of each decision, sees less.
            if other is not before and claims.rank(other["told_by"]) <= max(rank, claims.rank("ended")):
                after = await _absorb(conn, after, other)
        after = claims.with_told(after, told)
    await conversations.put(conn, before, after)
    await conversations.put_channels(conn, after, channels)
    if after != before:
        await conclude(conn, after, tasks=tasks, now=now)
    return str(after["id"])


def _main(rows: Sequence[Row], linkedid: str) -> Row | None:
    """Return the row of a conversation: the one told of it already, else the earliest decision's."""
    told = [row for row in rows if row["linkedid"]]
    return next(iter([row for row in told if row["linkedid"] == linkedid] or told or rows), None)


async def _absorb(conn: AsyncConnection, row: Row, other: Row) -> Row:
    """Make another row part of this one; return this one with what the other has to say."""
    await conversations.join(conn, other["id"], row["id"])
    await tasks_table.withdraw(conn, tasks_table.keys_of(other["id"]))
    row = claims.with_news(row, other)
    return row if claims.has(other, claims.DECISION) else claims.with_decision(row, other)


async def find(
    conn: AsyncConnection,
    uniqueids: Collection[str],
    linkedid: str,
    *,
    pbx: str = "",
    at: float | None = None,
) -> str | None:
    """Return the id of the call that a conversation is on record as, None: it is not yet.

    Two PBXs may give their channels the same ids: `pbx` says whose these are, `at` when it began, where that is known.
    """
    rows = await conversations.of_channels(conn, {linkedid, *uniqueids}, pbx=pbx, at=at)
    main = _main(rows, linkedid)
    return None if main is None else str(main["id"])


async def add_late(conn: AsyncConnection, call_id: str, *, tasks: Tasks | None) -> None:
    """Make a decision, whose row is there, part of the conversation of its channel that a PBX has told of already."""
    decision = await conversations.get(conn, call_id)
    if decision is None or decision["id"] != call_id:
        return
    rows = await conversations.of_channels(conn, [decision["uniqueid"]], at=decision["started_at"])
    main = _main([row for row in rows if row["id"] != call_id and row["linkedid"]], "")
    if main is None:
        return
    after = await _absorb(conn, main, decision)
    if not await conversations.put(conn, main, after):
        return
    if tasks is not None:
        await conclude(conn, after, tasks=tasks, now=after["ended_at"])
    else:
        for key in tasks_table.keys_of(after["id"]):
            await tasks_table.follow(conn, key, now=after["ended_at"])


async def conclude(conn: AsyncConnection, row: Row, *, tasks: Tasks, now: int) -> None:
    """Want the Tasks of a call that has ended, and take back those that it turned out not to need."""
    call, follow_up, _ = tasks_table.keys_of(row["id"])
    if is_journalled(row, tasks):
        await tasks_table.want(conn, call, due=now + WAIT, now=now)
    else:
        await tasks_table.withdraw(conn, [call])
    taken = follow_ups.was_taken(row)
    if tasks.enabled and tasks.follow_up and not taken and await follow_ups.needed(conn, row["id"]):
        await tasks_table.want(conn, follow_up, due=now + tasks.follow_up_wait, now=now)
    else:
        await tasks_table.withdraw(conn, [follow_up])
    if taken:
        await follow_ups.settle(conn, number=row["number"], contact_id=row["contact_id"], now=now)


def is_journalled(row: Mapping[str, object], tasks: Tasks) -> bool:
    """Return whether a call (columns of the table) is to have a Task of its own."""
    return (
        tasks.enabled
        and (row["direction"] != Way.INTERNAL or tasks.internal)
        and (row["verdict"] != "block" or tasks.blocked)
    )
