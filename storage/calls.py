"""The journal: one row a call; claims.py says how what is told of it comes together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import or_, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.settings import Tasks
from storage import claims, conversations, records
from storage import tasks as tasks_table
from storage.claims import Row
from storage.lists import LIST, ask, change
from storage.schema import calls

# What a record may leave out.
_EMPTY: Mapping[str, object] = {
    "uniqueid": "",
    "direction": "inbound",
    "ended_at": None,
    "number": None,
    "number_text": "",
    "name": "",
    "did": "",
    "trunk": "",
    "contact_id": None,
    "rung": "none",
    "verdict": "allow",
    "reason": "",
    "rule_id": None,
    "routed_to": "",
    "answered_by": "",
    "disposition": "",
    "seconds": None,
    "trace": None,
}

_KNOWN = "SELECT id FROM calls WHERE id IN (SELECT value FROM json_each(?))"


async def record_calls(
    conn: AsyncConnection, rows: Sequence[Mapping[str, object]], *, tasks: Tasks | None = None
) -> set[str]:
    """Store calls (columns of the table; `id` and `started_at` at least); return the ids that were not there yet.

    A call of whose conversation a PBX has told already becomes part of that one; `tasks` says what is then wanted.
    """
    ids = {str(row["id"]) for row in rows}
    known = await conn.exec_driver_sql(_KNOWN, (json.dumps(list(ids)),))
    new = ids - set(known.scalars())
    values = [
        {**_EMPTY, **{name: value for name, value in row.items() if name in calls.c and value is not None}}
        for row in rows
    ]
    if values:
        await conn.execute(insert(calls).on_conflict_do_nothing(index_elements=["id"]), values)
    fresh = {str(row["id"]): str(row["uniqueid"]) for row in values if row["id"] in new and row["uniqueid"]}
    late = await conversations.told_channels(conn, fresh.values()) if fresh else set()
    for call_id, uniqueid in fresh.items():
        if uniqueid in late:
            await records.add_late(conn, call_id, tasks=tasks)
    return new


async def answer_call(
    conn: AsyncConnection,
    *,
    call_id: str = "",
    uniqueid: str = "",
    at: int,
    extension: str,
    tasks: Tasks | None = None,
) -> bool:
    """Note which extension answered a call; see `end_call` for which one is meant. Return whether there is one.

    Of several the first counts: the others were handed the call. `tasks` as in `end_call`: the call may have ended.
    """
    row = await _meant(conn, call_id, uniqueid) if extension else None
    if row is None or row["started_at"] > at:
        return False
    after = claims.with_answer(row, at, extension)
    if await conversations.put(conn, row, after) and tasks is not None and row["told_by"]:
        await records.conclude(conn, after, tasks=tasks, now=row["ended_at"])
    return True


async def end_call(
    conn: AsyncConnection,
    *,
    call_id: str = "",
    uniqueid: str = "",
    ended_at: int,
    disposition: str = "",
    seconds: int = 0,
    answered_by: str = "",
    tasks: Tasks | None = None,
) -> str:
    """Note how a call went: the one with this id, else the newest with this uniqueid. Return its id, '' for none.

    `seconds` were spoken; `answered_by` is the extension that did (empty: as noted before). `tasks` says what is
    wanted of it in Salesforce (None: nothing). What a PBX told of the call stays.
    """
    row = await _meant(conn, call_id, uniqueid)
    if row is None:
        return ""
    after = claims.with_end(
        row, ended_at=ended_at, disposition=disposition, seconds=seconds, answered_by=answered_by
    )
    if await conversations.put(conn, row, after) and tasks is not None:
        await records.conclude(conn, after, tasks=tasks, now=ended_at)
    return str(row["id"])


async def _meant(conn: AsyncConnection, call_id: str, uniqueid: str) -> Row | None:
    return await (conversations.get(conn, call_id) if call_id else conversations.newest(conn, uniqueid))


async def last_caller(conn: AsyncConnection, extension: str | None, since: int) -> tuple[str, int] | None:
    """Return number as sent and E.164 digits (0: not known) of the newest inbound call since `since` seconds.

    A caller who withheld the number has none: ('', 0). With an extension, of the newest that was routed to it or
    answered by it.
    """
    query = select(calls.c.number_text, calls.c.number, calls.c.rung).where(
        calls.c.direction == "inbound", calls.c.started_at >= since, calls.c.part_of == ""
    )
    if extension is not None:
        query = query.where(or_(calls.c.routed_to == extension, calls.c.answered_by == extension))
    row = (await conn.execute(query.order_by(calls.c.started_at.desc()).limit(1))).first()
    if row is None:
        return None
    return ("", 0) if row.rung == "anonymous" else (row.number_text, row.number or 0)


async def forget_calls(conn: AsyncConnection, before: int, limit: int) -> int:
    """Forget the oldest calls, chats and dials that began before `before` (seconds), at most `limit` of each.

    Return how many calls that were, or chats, or dials, whichever is most.
    """
    oldest = "SELECT id FROM {} WHERE {} < ? ORDER BY {} LIMIT ?"
    gone = {}
    for table, column in (("calls", "started_at"), ("chats", "started_at"), ("dials", "asked_at")):
        rows = await ask(conn, oldest.format(table, column, column), before, limit)
        gone[table] = [row[0] for row in rows]
        await change(conn, f"DELETE FROM {table} WHERE id IN {LIST}", gone[table])  # noqa: S608  # constants
    keys = [key for call_id in gone["calls"] for key in tasks_table.keys_of(call_id)]
    await tasks_table.forget(conn, keys + [f"chat:{chat_id}" for chat_id in gone["chats"]])
    return max(map(len, gone.values()))
