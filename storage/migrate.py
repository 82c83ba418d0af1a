"""Bring a database file to the schema of this version.

Two processes may try at once: the second waits for the first and finds nothing left to do. Alembic is
imported only when there is something to do.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from agi_server.errors import DirectoryError
from storage.engine import sqlite_engine, sqlite_path
from storage.faults import explain, is_busy
from storage.location import sqlite_uri

HEAD: Final = "0004"  # the newest in migrations/versions; names sort by age

_LOCK_MS = 30_000
_LOCK_RETRY_SECONDS = 0.005


def revision(path: Path) -> str | None:
    """Return the schema version of the file, None where it has none; raises DirectoryError if it is damaged."""
    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(sqlite_uri(path, "ro"), uri=True)
        try:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        if "no such table" in str(error):
            return None
        raise explain(error, path) from error
    return str(rows[0][0]) if rows else None


async def migrate(url: str) -> None:
    """Create or upgrade the database at `url`; raises SettingsError or DirectoryError."""
    path = sqlite_path(url)
    found = await asyncio.to_thread(revision, path)
    if found == HEAD:
        return
    refuse_newer(path, found)
    await asyncio.to_thread(_create, path)
    await asyncio.to_thread(_write_ahead, path)
    # Rebuilding a table drops the old one, and with foreign keys on that would empty those that refer to it.
    engine = sqlite_engine(path, begin="BEGIN IMMEDIATE", busy_ms=_LOCK_MS, connections=1, foreign_keys=False)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    except DBAPIError as error:
        raise explain(error.orig or error, path) from error
    finally:
        await engine.dispose()


def refuse_newer(path: Path, found: str | None) -> None:
    """Raise DirectoryError when a newer Ostiary made the file."""
    if found is not None and found > HEAD:
        raise DirectoryError(
            f"database {path}: it is of version {found}, this Ostiary knows up to {HEAD}; install the newer Ostiary "
            "or restore an older backup"
        )


def _create(path: Path) -> None:
    """Make the directory (0700) and an empty file (0600), where missing; SQLite gives its WAL the file's mode."""
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DirectoryError(
            f"database {path}: cannot be created or written ({error.strerror}); the user Ostiary runs as must own "
            f"{path.parent}, and its file system must have space and not be read-only"
        ) from error


def _write_ahead(path: Path) -> None:
    """Turn the file into a WAL database.

    Of several processes that turn one file at once, SQLite refuses all but one without waiting: each holds
    the lock the other needs, so `busy_timeout` does not count (https://www.sqlite.org/c3ref/busy_handler.html).
    """
    deadline = time.monotonic() + _LOCK_MS / 1000
    while True:
        connection = sqlite3.connect(sqlite_uri(path, "rw"), uri=True, timeout=0)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.Error as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise explain(error, path) from error
            time.sleep(_LOCK_RETRY_SECONDS)
        else:
            return
        finally:
            connection.close()


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  # costs time and memory that a running server can do without
    from alembic.config import Config  # noqa: PLC0415  # likewise

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(5):
        raise DirectoryError(
            f"the upgrade would leave rows that refer to nothing, so it was undone: {broken}"
        )
