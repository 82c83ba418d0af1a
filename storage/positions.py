"""How far a source outside has been read; whoever reads it says what its value means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.schema import positions


async def get_position(conn: AsyncConnection, name: str) -> dict[str, Any] | None:
    """Return how far this source has been read, None where it never was."""
    value = (await conn.execute(select(positions.c.value).where(positions.c.name == name))).scalar()
    return value if isinstance(value, dict) else None


async def put_position(conn: AsyncConnection, name: str, value: Mapping[str, Any]) -> None:
    """Note how far it has been read; nothing personal belongs in here."""
    row = insert(positions).values(name=name, value=dict(value))
    await conn.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": dict(value)}))
