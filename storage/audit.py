"""Who changed what, written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import InputError
from storage.schema import audit


class AuditRow(NamedTuple):
    """One change; `at` is seconds since 1970, `before` and `after` are columns (None: it was, is not there)."""

    id: int
    at: int
    who: str
    what: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


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


async def page_audit(
    conn: AsyncConnection,
    *,
    who: str = "",
    what: str = "",
    since: int | None = None,
    until: int | None = None,
    limit: int,
    after: str = "",
) -> tuple[list[AuditRow], str]:
    """Return changes, the newest first, and the cursor of those behind them ('': there are none).

    `who` as noted; `what` as noted, or its part before the dot (`blacklist`); `since` and `until` are seconds since
    1970, `until` itself not included. Raises InputError for a cursor that is none.
    """
    query = select(*(audit.c[name] for name in AuditRow._fields))
    if who:
        query = query.where(audit.c.who == who)
    if what:
        query = query.where(or_(audit.c.what == what, audit.c.what.startswith(what + ".", autoescape=True)))
    if since is not None:
        query = query.where(audit.c.at >= since)
    if until is not None:
        query = query.where(audit.c.at < until)
    if after:
        query = query.where(audit.c.id < read_cursor(after))
    found = await conn.execute(query.order_by(audit.c.id.desc()).limit(limit + 1))
    rows = [AuditRow(*row) for row in found]
    return rows[:limit], str(rows[limit - 1].id) if len(rows) > limit else ""


def read_cursor(text: str) -> int:
    """Return the id that a cursor holds, or raise InputError."""
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_ID):
        raise InputError("this cursor is none of ours: send `next` of the page before as it was")
    return int(text)


_LONGEST_ID = 18  # digits: it fits the database's integers


async def forget_audit(conn: AsyncConnection, before: int, limit: int) -> int:
    """Forget the oldest changes, made before `before` (seconds), at most `limit`; return how many."""
    oldest = select(audit.c.id).where(audit.c.at < before).order_by(audit.c.id).limit(limit)
    return (await conn.execute(audit.delete().where(audit.c.id.in_(oldest)))).rowcount
