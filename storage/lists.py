"""Statements that take or give many rows.

A list that a query asks for goes as one JSON text, so that the statement stays the same whatever its length. The
driver is asked directly: through SQLAlchemy a statement crosses to the driver's thread and back four times instead
of once, which costs a batch of a few hundred contacts more than the work itself.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any, Final

import aiosqlite
from sqlalchemy.ext.asyncio import AsyncConnection

_MOST_TOGETHER = 256  # rows of one statement: SQLite takes 32,766 parameters

LIST: Final = "(SELECT value FROM json_each(?))"  # for `IN`


def as_json(values: Collection[Any]) -> str:
    """Return the parameter that stands for a list."""
    return json.dumps(list(values))


async def ask(conn: AsyncConnection, query: str, *values: float | str | None) -> Sequence[Sequence[Any]]:
    """Return the rows of a query; a statement without rows may be run so, too: it crosses to the thread but once.

    Raises sqlite3.Error, as all here do.
    """
    driver = await _driver(conn)
    return [*await driver.execute_fetchall(query, values)]


async def fetch(conn: AsyncConnection, query: str, *values: Collection[Any]) -> Sequence[Sequence[Any]]:
    """Return the rows of a query whose parameters are all lists."""
    return await ask(conn, query, *map(as_json, values))


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


async def insert_together(conn: AsyncConnection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows of one width, whose first value is not NULL, in one go; `statement` ends where its VALUES begin.

    Before each statement that fires a trigger SQLite's full-text index writes down what it has gathered so far: row by
    row that costs more than all else that is done for a contact. Rows are filled up to a power of two, so that few
    statements are ever compiled.
    """
    driver = await _driver(conn)
    for at in range(0, len(rows), _MOST_TOGETHER):
        some = rows[at : at + _MOST_TOGETHER]
        size = 1 << (len(some) - 1).bit_length()
        marks = ", ".join([f"({', '.join('?' * len(some[0]))})"] * size)
        values = [*chain.from_iterable(some), *[None] * (len(some[0]) * (size - len(some)))]
        query = f"{statement} SELECT * FROM (VALUES {marks}) WHERE column1 IS NOT NULL"  # noqa: S608  # our own constants
        async with driver.execute(query, values):
            pass


async def _driver(conn: AsyncConnection) -> aiosqlite.Connection:
    """Return what is under a connection; the transaction is the same."""
    driver = (await conn.get_raw_connection()).driver_connection
    assert isinstance(driver, aiosqlite.Connection)
    return driver
