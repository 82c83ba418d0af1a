"""What the journal knows of recordings: of which calls, how old, and who listened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.audit import note

AGAIN: Final = (
    600  # seconds within which listening on (a player asks for piece after piece) is listening once
)
_LATELY: Final = 1_000  # rows of the audit log looked through for that


class Recorded(NamedTuple):
    """A call with a recording: `name` as the PBX has it, `started_at` in seconds since 1970."""

    call_id: str
    name: str
    started_at: int


async def recorded(
    conn: AsyncConnection, *, before: int, after: tuple[int, str] = (0, ""), limit: int
) -> list[Recorded]:
    """Return calls with a recording that began before `before`, the oldest first, from behind (begin, id) `after`."""
    query = (
        "SELECT id, recording, started_at FROM calls WHERE started_at < ? AND (started_at, id) > (?, ?) "
        "AND recording <> '' ORDER BY started_at, id LIMIT ?"
    )
    rows = await conn.exec_driver_sql(query, (before, *after, limit))
    return [Recorded(row.id, row.recording, row.started_at) for row in rows]


async def forget_recordings(
    conn: AsyncConnection, call_ids: Sequence[str], *, who: str, deleted: int, now: int
) -> None:
    """Note that recordings of these calls are no more, and that so many files were deleted."""
    query = "UPDATE calls SET recording = '' WHERE id IN (SELECT value FROM json_each(?))"
    await conn.exec_driver_sql(query, (json.dumps(list(call_ids)),))
    if deleted:
        await note(conn, who=who, what="recordings.forget", before={"count": deleted}, after=None, now=now)


async def heard(conn: AsyncConnection, call_id: str, *, who: str, now: int) -> None:
    """Note who listens to the recording of a call, once in AGAIN seconds."""
    query = (
        "SELECT 1 FROM audit WHERE id > (SELECT max(id) FROM audit) - ? AND at > ? AND who = ? "
        "AND what = 'recordings.heard' AND json_extract(\"after\", '$.id') = ?"
    )
    lately = await conn.exec_driver_sql(query, (_LATELY, now - AGAIN, who, call_id))
    if lately.first() is None:
        await note(conn, who=who, what="recordings.heard", before=None, after={"id": call_id}, now=now)
