"""What the synchronisation remembers between its rounds, by name: `sync:Contact`, `login`, `usage`, …

A value is a JSON object and is replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.schema import salesforce_state

State = dict[str, Any]

INSTANCE = "instance"


async def get(conn: AsyncConnection, name: str) -> State | None:
    """Return a value, None where there is none."""
    query = select(salesforce_state.c.value).where(salesforce_state.c.name == name)
    found: State | None = (await conn.execute(query)).scalar()
    return found


async def instance(conn: AsyncConnection) -> str:
    """Return the org's address at the last log-in, e.g. https://acme.my.salesforce.com; '' before the first."""
    return str((await get(conn, INSTANCE) or {}).get("url") or "")


async def put(conn: AsyncConnection, name: str, value: Mapping[str, object], now: int) -> None:
    """Set a value at `now`, seconds since 1970."""
    row = {"value": dict(value), "changed_at": now}
    statement = insert(salesforce_state).values(name=name, **row)
    await conn.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))


async def remove(conn: AsyncConnection, name: str) -> None:
    """Forget a value; one that is not there is no error."""
    await conn.execute(salesforce_state.delete().where(salesforce_state.c.name == name))


async def all_states(conn: AsyncConnection) -> dict[str, tuple[State, int]]:
    """Return every value with the time it was set, by name."""
    rows = await conn.execute(select(salesforce_state).order_by(salesforce_state.c.name))
    return {row.name: (row.value, row.changed_at) for row in rows}
