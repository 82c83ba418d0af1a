"""What agents' phones do, as PBXs tell: the call path asks before it names somebody (storage/directory.py).

A state counts while its PBX is heard of; after that the phone may do anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.lists import ask, run_each

STATES = ("free", "ringing", "busy", "unreachable", "paused")

_PUT = (
    "INSERT INTO agent_states (extension, pbx, state, changed_at) VALUES (?, ?, ?, ?) ON CONFLICT (extension, pbx) "
    "DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at WHERE state <> excluded.state"
)
_HEARD = (
    "INSERT INTO pbx_states (pbx, seen_at) VALUES (?, ?) ON CONFLICT (pbx) "
    "DO UPDATE SET seen_at = max(seen_at, excluded.seen_at)"
)


async def put(conn: AsyncConnection, pbx: str, states: Mapping[str, str], now: int) -> None:
    """Note what phones do, by extension: one of STATES each. `now` is seconds since 1970. Raises ValueError."""
    for extension, state in states.items():
        if state not in STATES:
            raise ValueError(
                f"{extension}: {state!r} is nothing a phone does; expected one of {', '.join(STATES)}"
            )
    await run_each(conn, _PUT, [(extension, pbx, state, now) for extension, state in states.items()])


async def heard(conn: AsyncConnection, pbx: str, now: int) -> None:
    """Note that a PBX was heard of: what it told of phones still counts."""
    await run_each(conn, _HEARD, [(pbx, now)])


async def last_heard(conn: AsyncConnection, pbx: str) -> int | None:
    """Return when a PBX was last heard of, None: never. Seconds since 1970."""
    rows = await ask(conn, "SELECT seen_at FROM pbx_states WHERE pbx = ?", pbx)
    return rows[0][0] if rows else None


async def forget(conn: AsyncConnection, pbx: str, extensions: Collection[str] | None = None) -> None:
    """Forget what a PBX told of these phones (None: of all)."""
    if extensions is None:
        await run_each(conn, "DELETE FROM agent_states WHERE pbx = ?", [(pbx,)])
    else:
        rows = [(pbx, extension) for extension in extensions]
        await run_each(conn, "DELETE FROM agent_states WHERE pbx = ? AND extension = ?", rows)
