"""The journal: one row a call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

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


async def record_calls(conn: AsyncConnection, rows: Sequence[Mapping[str, object]]) -> set[str]:
    """Store calls (columns of the table; `id` and `started_at` at least); return the ids that were not there yet."""
    ids = {str(row["id"]) for row in rows}
    known = await conn.exec_driver_sql(_KNOWN, (json.dumps(list(ids)),))
    seen = set(known.scalars())
    values = [
        {**_EMPTY, **{name: value for name, value in row.items() if name in calls.c and value is not None}}
        for row in rows
    ]
    if values:
        await conn.execute(insert(calls).on_conflict_do_nothing(index_elements=["id"]), values)
    return ids - seen


async def answer_call(
    conn: AsyncConnection, *, call_id: str = "", uniqueid: str = "", at: int, extension: str
) -> bool:
    """Note which extension answered a call; see `end_call` for which one is meant. Return whether there is one."""
    wanted = _wanted(call_id, uniqueid)
    if wanted is None or not extension:
        return False
    result = await conn.execute(
        calls.update().where(wanted, calls.c.started_at <= at).values(answered_by=extension)
    )
    return result.rowcount > 0


async def end_call(
    conn: AsyncConnection,
    *,
    call_id: str = "",
    uniqueid: str = "",
    ended_at: int,
    disposition: str = "",
    seconds: int = 0,
    answered_by: str = "",
) -> bool:
    """Note how a call went: the one with this id, else the newest with this uniqueid. Return whether there is one.

    `seconds` were spoken; `answered_by` is the extension that did (empty: as noted before).
    """
    wanted = _wanted(call_id, uniqueid)
    if wanted is None:
        return False
    values: dict[str, object] = {"ended_at": ended_at, "disposition": disposition, "seconds": seconds}
    if answered_by:
        values["answered_by"] = answered_by
    result = await conn.execute(calls.update().where(wanted).values(values))
    return result.rowcount > 0


def _wanted(call_id: str, uniqueid: str) -> ColumnElement[bool] | None:
    if call_id:
        return calls.c.id == call_id
    if not uniqueid:
        return None
    newest = (
        select(calls.c.id).where(calls.c.uniqueid == uniqueid).order_by(calls.c.started_at.desc()).limit(1)
    )
    return calls.c.id == newest.scalar_subquery()


async def last_caller(conn: AsyncConnection, extension: str | None, since: int) -> tuple[str, int] | None:
    """Return number as sent and E.164 digits (0: not known) of the newest inbound call since `since` seconds.

    A caller who withheld the number has none: ('', 0). With an extension, of the newest that was routed to it or
    answered by it.
    """
    query = select(calls.c.number_text, calls.c.number, calls.c.rung).where(
        calls.c.direction == "inbound", calls.c.started_at >= since
    )
    if extension is not None:
        query = query.where(or_(calls.c.routed_to == extension, calls.c.answered_by == extension))
    row = (await conn.execute(query.order_by(calls.c.started_at.desc()).limit(1))).first()
    if row is None:
        return None
    return ("", 0) if row.rung == "anonymous" else (row.number_text, row.number or 0)


async def forget_calls(conn: AsyncConnection, before: int, limit: int) -> int:
    """Forget the oldest calls that began before `before` (seconds), at most `limit`; return how many."""
    oldest = select(calls.c.id).where(calls.c.started_at < before).order_by(calls.c.started_at).limit(limit)
    result = await conn.execute(calls.delete().where(calls.c.id.in_(oldest)))
    return result.rowcount
