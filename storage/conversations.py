"""The rows of conversations: found by their channels, written, made part of one another.

Rows are as claims.py has them: columns by name, JSON as text. What was a row of its own once stays findable by its id
and its channels, and leads to the one it is part of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.claims import COLUMNS, Row, by_age
from storage.lists import LIST, as_json, ask

PATIENCE: Final = 86_400  # seconds between a decision and its conversation; a PBX's clock may be wrong
_END_OF_TIME: Final = 1 << 62
_LIST_OF_COLUMNS: Final = ", ".join(COLUMNS)

# Rows that any of these channels belongs to, and what they are part of.
_OF_CHANNELS: Final = (
    f"WITH found (channel, id) AS (SELECT uniqueid, id FROM calls WHERE uniqueid IN {LIST} "  # noqa: S608  # constants, here and below
    f"UNION SELECT linkedid, id FROM calls WHERE linkedid <> '' AND linkedid IN {LIST} "
    f"UNION SELECT uniqueid, call_id FROM call_channels WHERE uniqueid IN {LIST}), "
    "mains (id) AS (SELECT CASE part_of WHEN '' THEN id ELSE part_of END FROM found JOIN calls USING (id)) "
)


async def of_channels(
    conn: AsyncConnection,
    channels: Collection[str],
    *,
    pbx: str = "",
    at: float | None = None,
    named: str = "",
) -> list[Row]:
    """Return the rows of conversations that had any of these channels, the oldest first.

    Those of another PBX (`pbx` empty: not known, any), or of another time (None: any), are none of them, but the one
    whose id is `named`.
    """
    since, until = (0, _END_OF_TIME) if at is None else (int(at) - PATIENCE, int(at) + PATIENCE)
    texts = as_json({*channels} - {""})
    query = (
        f"{_OF_CHANNELS} SELECT {_LIST_OF_COLUMNS} FROM calls WHERE id IN (SELECT id FROM mains) "  # noqa: S608
        "AND part_of = '' AND (started_at BETWEEN ? AND ? AND (? = '' OR pbx IN ('', ?)) OR id = ?)"
    )
    rows = await ask(conn, query, texts, texts, texts, since, until, pbx, pbx, named)
    return sorted((dict(zip(COLUMNS, row, strict=True)) for row in rows), key=by_age)


async def told_channels(conn: AsyncConnection, channels: Iterable[str]) -> set[str]:
    """Return those of these channels of whose conversation a PBX has told."""
    texts = as_json({*channels} - {""})
    query = (
        f"{_OF_CHANNELS} SELECT DISTINCT f.channel FROM found f JOIN calls k ON k.id = f.id JOIN calls m "  # noqa: S608
        "ON m.id = CASE k.part_of WHEN '' THEN k.id ELSE k.part_of END WHERE m.linkedid <> ''"
    )
    return {row[0] for row in await ask(conn, query, texts, texts, texts)}


async def get(conn: AsyncConnection, call_id: str) -> Row | None:
    """Return the row of a call, or of the one it is part of."""
    query = (
        f"SELECT {_LIST_OF_COLUMNS} FROM calls WHERE id = coalesce((SELECT nullif(part_of, '') "  # noqa: S608
        "FROM calls WHERE id = ?1), ?1)"
    )
    rows = await ask(conn, query, call_id)
    return dict(zip(COLUMNS, rows[0], strict=True)) if rows else None


async def newest(conn: AsyncConnection, uniqueid: str) -> Row | None:
    """Return the row of the newest call with this uniqueid, or of the one it is part of."""
    if not uniqueid:
        return None
    query = "SELECT id FROM calls WHERE uniqueid = ? ORDER BY started_at DESC, id DESC LIMIT 1"
    rows = await ask(conn, query, uniqueid)
    return await get(conn, rows[0][0]) if rows else None


async def put(conn: AsyncConnection, before: Row | None, after: Row) -> bool:
    """Write a row as it is now; return whether that changes anything. `before` None: it is new."""
    if before is None:
        marks = ", ".join("?" * len(COLUMNS))
        statement = f"INSERT INTO calls ({_LIST_OF_COLUMNS}) VALUES ({marks})"  # noqa: S608
        await ask(conn, statement, *(after[name] for name in COLUMNS))
        return True
    changed = [name for name in COLUMNS if after[name] != before[name]]
    if changed:
        statement = f"UPDATE calls SET {', '.join(f'{name} = ?' for name in changed)} WHERE id = ?"  # noqa: S608
        await ask(conn, statement, *(after[name] for name in changed), before["id"])
    return bool(changed)


async def join(conn: AsyncConnection, call_id: str, main_id: str) -> None:
    """Make a call, and all that is part of it, part of another."""
    await ask(conn, "UPDATE calls SET part_of = ?1 WHERE id = ?2 OR part_of = ?2", main_id, call_id)


async def put_channels(conn: AsyncConnection, row: Row, channels: Iterable[str]) -> None:
    """Note which channels a conversation had, besides those its row names."""
    more = sorted({*channels} - {"", row["uniqueid"], row["linkedid"]})
    if more:
        statement = (
            "INSERT OR IGNORE INTO call_channels (uniqueid, call_id) SELECT value, ? FROM json_each(?)"
        )
        await ask(conn, statement, row["id"], as_json(more))
