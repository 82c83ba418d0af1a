"""Missed calls: whom to call back.

Invariant: there is one truth of it, for the list in the console, for the Tasks to call back, and for closing them. A
call is missed when it came in from a number we know, was let in, has ended, and nobody took it. It needs no calling
back once somebody of ours spoke with that number, or with that contact at any number, in either direction, or a person
said that it is settled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import NotFoundError
from storage import claims, conversations, tasks
from storage.audit import note
from storage.lists import LIST, as_json, ask, run_each

_RECENT: Final = 1000  # missed calls of one caller that are looked at when somebody spoke with them at last

# {0} is the name of the table in a query.
_TAKEN: Final = (
    "({0}.answered_by <> '' OR {0}.disposition IN ('answer', 'answered') OR {0}.marks LIKE '%settled%')"
)
_MISSED: Final = (
    "({0}.direction = 'inbound' AND {0}.verdict = 'allow' AND {0}.number IS NOT NULL AND {0}.rung <> 'extension' "
    f"AND {{0}}.ended_at IS NOT NULL AND {{0}}.part_of = '' AND NOT {_TAKEN})"
)
# A contact's ids, those of contacts that became one with it, too: calls keep the one of their time.
_IDS_OF: Final = (
    "(SELECT {0} UNION SELECT contact_id FROM contact_aliases WHERE id = {0} UNION SELECT id FROM contact_aliases "
    "WHERE contact_id IN (SELECT {0} UNION SELECT contact_id FROM contact_aliases WHERE id = {0}))"
)
_SINCE: Final = f"l.started_at >= k.started_at AND l.part_of = '' AND {_TAKEN.format('l')}"
# What finds a missed call `k` that still waits.
WAITS: Final = (
    f"{_MISSED.format('k')} AND NOT EXISTS (SELECT 1 FROM calls l WHERE l.number = k.number AND {_SINCE}) "  # noqa: S608  # constants, here and below
    "AND NOT (k.contact_id IS NOT NULL AND EXISTS (SELECT 1 FROM calls l WHERE l.contact_id IN "
    f"{_IDS_OF.format('k.contact_id')} AND {_SINCE}))"
)


def was_taken(row: Mapping[str, object]) -> bool:
    """Return whether two people spoke in a call (columns of the table)."""
    return row["answered_by"] != "" or row["disposition"] in {"answer", "answered"}


async def needed(conn: AsyncConnection, call_id: str) -> bool:
    """Return whether the caller of this call is still to be called back."""
    query = f"SELECT EXISTS (SELECT 1 FROM calls k WHERE k.id = ? AND {WAITS})"  # noqa: S608
    return bool((await ask(conn, query, call_id))[0][0])


async def settle(conn: AsyncConnection, *, number: int | None, contact_id: int | None, now: int) -> None:
    """Want the follow-ups of this number (E.164 digits) and contact that are no longer needed: they are closed then.

    Those not sent yet go when it is their turn.
    """
    found: list[str] = []
    # There is a Task, or there may be one: its making is under way.
    is_open = (
        "(EXISTS (SELECT 1 FROM tasks t WHERE t.key = 'follow-up:' || k.id AND NOT t.closed) "
        "OR EXISTS (SELECT 1 FROM outbox o WHERE o.key = 'follow-up:' || k.id))"
    )
    for condition, value in (
        ("k.number = ?", number),
        (f"k.contact_id IN {_IDS_OF.format('?1')}", contact_id),
    ):
        if value is None:
            continue
        query = (
            f"SELECT k.id FROM (SELECT k.id AS own FROM calls k WHERE {condition} AND k.direction = 'inbound' "  # noqa: S608
            f"ORDER BY k.started_at DESC LIMIT {_RECENT}) JOIN calls k ON k.id = own WHERE {is_open} AND NOT ({WAITS})"
        )
        found += [row[0] for row in await ask(conn, query, value)]
    for call_id in dict.fromkeys(found):
        await tasks.want(conn, f"follow-up:{call_id}", due=now, now=now)


async def dismiss(conn: AsyncConnection, call_id: str, *, who: str, now: int) -> None:
    """Note that nobody need call back, for this call and for earlier ones of the caller. Raises NotFoundError."""
    row = await conversations.get(conn, call_id)
    if row is None:
        raise NotFoundError(f"there is no call {call_id}; calls are forgotten after a time")
    if claims.has(row, claims.SETTLED):
        return
    marks = claims.marked(row, claims.SETTLED)
    await run_each(conn, "UPDATE calls SET marks = ? WHERE id = ?", [(marks, row["id"])])
    await note(conn, who=who, what="calls.settle", before=None, after={"id": row["id"]}, now=now)
    await settle(conn, number=row["number"], contact_id=row["contact_id"], now=now)


async def attempts(conn: AsyncConnection, numbers: Sequence[int], since: int) -> dict[int, int]:
    """Return how often each of these numbers (E.164 digits) has called in vain since `since`, as yet."""
    query = (
        f"SELECT k.number, count(*) FROM calls k WHERE k.number IN {LIST} AND k.started_at >= ? AND {WAITS} "  # noqa: S608
        "GROUP BY k.number"
    )
    return {row[0]: row[1] for row in await ask(conn, query, as_json(numbers), since)}
