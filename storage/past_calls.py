"""Calls of the past, as a replay takes them."""

from __future__ import annotations

import sqlite3

from agi_server.calls.replay import PastCall

_INBOUND = (
    "SELECT id, started_at, number_text, name, did, trunk, rung = 'anonymous' FROM calls "
    "WHERE direction = 'inbound' AND part_of = '' AND started_at >= ? ORDER BY started_at DESC, id DESC LIMIT ?"
)


def past_calls(connection: sqlite3.Connection, since: int, limit: int) -> list[PastCall]:
    """Return the inbound calls since then (seconds since 1970), the newest first, at most `limit`."""
    return [
        PastCall(
            id=row[0], at=row[1], number=row[2], name=row[3], did=row[4], trunk=row[5], anonymous=bool(row[6])
        )
        for row in connection.execute(_INBOUND, (since, limit)).fetchall()
    ]
