"""What was answered to requests with an Idempotency-Key, so that a request sent twice is done once.

Invariant: a reply is kept in the transaction of what it tells of. Replies are forgotten after a day, and there are
never more than `MOST`: the oldest go first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.schema import replies

KEPT_SECONDS = 24 * 3600
MOST = 10_000


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it was sent; `body` is JSON text, or ''."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


async def find_reply(conn: AsyncConnection, who: str, key: str, *, now: int) -> tuple[str, Reply] | None:
    """Return the digest of the request that `who` sent with this key within the last day, and what it got."""
    wanted = select(replies).where(
        replies.c.who == who, replies.c.key == key, replies.c.created_at > now - KEPT_SECONDS
    )
    row = (await conn.execute(wanted)).mappings().one_or_none()
    return None if row is None else (row["request"], Reply(row["status"], row["body"], row["headers"]))


async def keep_reply(
    conn: AsyncConnection, who: str, key: str, *, request: str, reply: Reply, now: int
) -> None:
    """Keep what a request got; `request` is its digest. Forget what is too old, or too much."""
    await conn.execute(replies.delete().where(replies.c.created_at <= now - KEPT_SECONDS))
    count = (await conn.execute(select(func.count()).select_from(replies))).scalar_one()
    if count >= MOST:
        oldest = select(replies.c.who, replies.c.key).order_by(replies.c.created_at).limit(count - MOST + 1)
        for row in (await conn.execute(oldest)).all():
            await conn.execute(replies.delete().where(replies.c.who == row.who, replies.c.key == row.key))
    await conn.execute(
        replies.insert().values(
            who=who,
            key=key,
            request=request,
            status=reply.status,
            headers=dict(reply.headers),
            body=reply.body,
            created_at=now,
        )
    )
