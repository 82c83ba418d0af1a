"""Statements that take or give many rows.

A list that a query asks for goes as one JSON text, so that the statement stays the same whatever its length. The
driver is asked directly: through SQLAlchemy a statement crosses to the driver's thread and back four times instead
of once, which costs a batch of a few hundred contacts more than the work itself.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, Final

import aiosqlite
from sqlalchemy.ext.asyncio import AsyncConnection

LIST: Final = "(SELECT value FROM json_each(?))"  # for `IN`


def as_json(values: Collection[Any]) -> str:
    """Return the parameter that stands for a list."""
    return json.dumps(list(values))


async def fetch(conn: AsyncConnection, query: str, *values: Collection[Any]) -> Sequence[Sequence[Any]]:
    """Return the rows of a query whose parameters are all lists. Raises sqlite3.Error, as all here do."""
    driver = await _driver(conn)
    return [*await driver.execute_fetchall(query, tuple(map(as_json, values)))]


async def change(conn: AsyncConnection, statement: str, *values: Collection[Any]) -> int:
    """Run a statement whose parameters are all lists; return how many rows it changed."""
    driver = await _driver(conn)
    async with driver.execute(statement, tuple(map(as_json, values))) as cursor:
        return cursor.rowcount


async def run_each(conn: AsyncConnection, statement: str, rows: Collection[Sequence[Any]]) -> None:
    """Run a statement once for each row of parameters."""
    if rows:
        driver = await _driver(conn)
        async with driver.executemany(statement, rows):
            pass


async def _driver(conn: AsyncConnection) -> aiosqlite.Connection:
    """Return what is under a connection; the transaction is the same."""
    driver = (await conn.get_raw_connection()).driver_connection
    assert isinstance(driver, aiosqlite.Connection)
    return driver
