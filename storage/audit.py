"""Who changed what, written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.schema import audit


async def note(
    conn: AsyncConnection,
    *,
    who: str,
    what: str,
    before: Mapping[str, object] | None,
    after: Mapping[str, object] | None,
    now: int,
) -> None:
    """Note a change, e.g. what='blacklist.add'; `before` and `after` hold columns (None: it was, is not there)."""
    await conn.execute(
        audit.insert(),
        {
            "at": now,
            "who": who,
            "what": what,
            "before": dict(before) if before is not None else None,
            "after": dict(after) if after is not None else None,
        },
    )
