"""Conversations in progress, as the tracker needs them to go on after a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.lists import ask, run_each


async def keep(conn: AsyncConnection, pbx: str, states: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Keep the states of conversations of a PBX, by linkedid; None: it is over, and its state goes."""
    gone = [(pbx, linkedid) for linkedid, state in states.items() if state is None]
    await run_each(conn, "DELETE FROM live_calls WHERE pbx = ? AND linkedid = ?", gone)
    kept = [(pbx, linkedid, json.dumps(state)) for linkedid, state in states.items() if state is not None]
    await run_each(conn, "INSERT OR REPLACE INTO live_calls (pbx, linkedid, state) VALUES (?, ?, ?)", kept)


async def kept(conn: AsyncConnection, pbx: str) -> list[dict[str, Any]]:
    """Return the states kept of a PBX's conversations, by linkedid."""
    rows = await ask(conn, "SELECT state FROM live_calls WHERE pbx = ? ORDER BY linkedid", pbx)
    return [json.loads(row[0]) for row in rows]
