"""Tells what was changed, whichever process changed it: every change writes a row of the audit log.

Invariant: what is told was committed, is told once and in the order of the log; a database that is away, broken or
replaced (restored from a backup) costs no more than a line in the log, and what was in it when it came is not news.
A read-only connection of its own sees another's commit by `PRAGMA data_version`: microseconds, on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from agi_server.events.event import EventType
from agi_server.events.hub import Hub
from agi_server.settings import Settings
from storage.location import sqlite_uri
from storage.policy import apply

log = structlog.get_logger()

LOOK_SECONDS: Final = 0.25  # between two looks
AT_ONCE: Final = 100  # changes told one by one; of more (an import) only who made how many
_TYPES: Final = {  # what stands before the dot in `audit.what`
    "blacklist": EventType.BLACKLIST,
    "contact": EventType.CONTACT,
    "agents": EventType.CONFIGURATION,
    "dids": EventType.CONFIGURATION,
    "settings": EventType.CONFIGURATION,
    "users": EventType.CONFIGURATION,
    "tokens": EventType.CONFIGURATION,
}
_SECRET: Final = ("password", "hash", "secret")  # no change holds one; if one ever does, it is not told


async def watch(path: Path, hub: Hub, settings: Settings) -> None:
    """Publish every change of the database at `path` from now on; never returns or raises.

    `hub.remind` follows `reminders.missed_calls` as it is in force: that of the file's `settings`, or changed since;
    `hub.desk.instance` follows the address of the Salesforce that the worker logged in to.
    """
    hub.remind = settings.reminders.missed_calls
    database = _Database(path)
    try:
        while True:
            for type_, data in database.news():
                hub.publish(type_, data)
            if database.overrides is not None:
                hub.remind = apply(settings, database.overrides, ("reminders",)).reminders.missed_calls
                database.overrides = None
                hub.desk.instance = database.instance
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        database.close()


class _Database:
    """The audit log, read from where it ended at first.

    `overrides` are the settings' rows when they were read anew, `instance` is the address of Salesforce then.
    """

    def __init__(self, path: Path) -> None:
        self.overrides: list[tuple[str, object]] | None = None
        self.instance = ""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._version = -1
        self._last = 0  # id of the last row that was seen
        self._failure = ""

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def news(self) -> list[tuple[EventType, dict[str, Any]]]:
        """Return what was changed since the last time; never raises."""
        try:
            connection = self._opened()
            found = list(self._read(connection))
        except (OSError, sqlite3.Error) as error:
            self.close()
            if isinstance(error, OSError):
                self._inode = None  # the next file may get the number of the one that is gone
            if str(error) != self._failure:
                self._failure = str(error)
                log.warning("changes are not told", database=str(self._path), error=str(error))
            return []
        if self._failure:
            self._failure = ""
            log.info("changes are told again", database=str(self._path))
        return found

    def _opened(self) -> sqlite3.Connection:
        """Return a connection to the file that is there now."""
        status = os.stat(self._path)  # noqa: PTH116  # Path.stat costs twice as much
        inode = status.st_dev, status.st_ino
        if self._connection is not None and inode == self._inode:
            return self._connection
        self.close()
        connection = sqlite3.connect(sqlite_uri(self._path, "ro"), uri=True, isolation_level=None, timeout=0)
        try:
            (last,) = connection.execute("SELECT max(id) FROM audit").fetchall()[0]
        except sqlite3.Error:
            connection.close()
            raise
        if inode != self._inode:  # another database: what it holds was not changed under us
            self._last = last or 0
        self._connection, self._inode, self._version = connection, inode, -1
        return connection

    def _read(self, connection: sqlite3.Connection) -> Iterator[tuple[EventType, dict[str, Any]]]:
        ((version,),) = connection.execute("PRAGMA data_version").fetchall()
        if version == self._version:
            return
        last, count = connection.execute(
            "SELECT (SELECT max(id) FROM audit), count(*) FROM audit WHERE id > ?", (self._last,)
        ).fetchall()[0]
        if count > AT_ONCE:
            yield from _many(connection, self._last, last)
        elif count:
            yield from _each(connection, self._last, last)
        self.overrides, self.instance = list(_overrides(connection)), _instance(connection)
        self._last = last or 0  # less than before where rows were forgotten: their ids come again
        self._version = version


def _overrides(connection: sqlite3.Connection) -> Iterator[tuple[str, object]]:
    """Yield the settings that say whether to remind, as they were changed at run time."""
    query = "SELECT key, value FROM settings WHERE key = 'reminders.missed_calls'"
    for key, value in connection.execute(query).fetchall():
        with contextlib.suppress(orjson.JSONDecodeError):  # written by something else: as the file says
            yield key, orjson.loads(value) if isinstance(value, str) else value


def _instance(connection: sqlite3.Connection) -> str:
    """Return the address of the Salesforce that was logged in to last, '' while there is none."""
    query = "SELECT json_extract(value, '$.url') FROM salesforce_state WHERE name = 'instance' AND json_valid(value)"
    rows = connection.execute(query).fetchall()
    return rows[0][0] if rows and isinstance(rows[0][0], str) else ""


def _each(
    connection: sqlite3.Connection, after: int, last: int
) -> Iterator[tuple[EventType, dict[str, Any]]]:
    query = 'SELECT id, at, who, what, "before", "after" FROM audit WHERE id > ? AND id <= ? ORDER BY id'
    for number, at, who, what, before, later in connection.execute(query, (after, last)).fetchall():
        type_ = _type(what)
        if type_ is not None:
            values = {"before": _columns(before), "after": _columns(later)}
            yield type_, {"change": number, "at": at, "who": who, "what": what, "count": 1, **values}


def _many(
    connection: sqlite3.Connection, after: int, last: int
) -> Iterator[tuple[EventType, dict[str, Any]]]:
    query = (
        "SELECT max(id), max(at), who, what, count(*) FROM audit WHERE id > ? AND id <= ? "
        "GROUP BY who, what ORDER BY 1"
    )
    for number, at, who, what, count in connection.execute(query, (after, last)).fetchall():
        type_ = _type(what)
        if type_ is not None:
            values = {"before": None, "after": None}
            yield type_, {"change": number, "at": at, "who": who, "what": what, "count": count, **values}


def _type(what: str) -> EventType | None:
    return _TYPES.get(what.partition(".")[0])


def _columns(text: str | None) -> dict[str, Any] | None:
    """Return the columns of a change, None where there are none."""
    try:
        columns = orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None
    if not isinstance(columns, dict):
        return None
    return {name: value for name, value in columns.items() if not any(word in name for word in _SECRET)}
