"""The SQLite file behind `storage.url`, and how connections to it are set up."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from agi_server.errors import SettingsError

READER_BUSY_MS = 5000
LOCK_SECONDS = 5.0  # how long a write waits for other processes in all


def sqlite_path(url: str) -> Path:
    """Return the file that `url` names; raises SettingsError for anything but a SQLite file."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise SettingsError(
            f"storage.url: {url!r} is not a database URL; expected sqlite+aiosqlite:////path/to/ostiary.db"
        ) from error
    if parsed.drivername not in {"sqlite", "sqlite+aiosqlite"}:
        raise SettingsError(
            f"storage.url: {parsed.drivername} is not supported in this version; "
            "expected sqlite+aiosqlite:////path/to/ostiary.db"
        )
    if not parsed.database or parsed.database == ":memory:" or parsed.query:
        raise SettingsError(
            "storage.url: expected a plain file, as in sqlite+aiosqlite:////path/to/ostiary.db"
        )
    return Path(parsed.database)


def sqlite_engine(
    path: Path,
    *,
    begin: str,
    busy_ms: int,
    connections: int,
    cache_kib: int = 4000,
    foreign_keys: bool = True,
) -> AsyncEngine:
    """Return an engine on an existing file; `begin` is the statement that opens its transactions.

    The events are SQLAlchemy's recipe for taking transactions over from the sqlite3 module ("Enabling
    Non-Legacy SQLite Transactional Modes" in the documentation of its SQLite dialect). `mode=rw`: never
    make a new file in place of one that vanished.
    """
    url = URL.create(
        "sqlite+aiosqlite",
        database=f"file:{quote(str(path.absolute()))}",
        query={"mode": "rw", "uri": "true"},
    )
    engine = create_async_engine(url, pool_size=connections, max_overflow=0, pool_timeout=LOCK_SECONDS)

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={READER_BUSY_MS}",  # opening may meet another process's recovery of the WAL
            "journal_mode=WAL",
            "synchronous=FULL",
            f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
            "secure_delete=FAST",  # some builds have it ON: emptying a table would then write every page of it
            # Pages, 64 MB: a long import writes the same pages of its indexes again and again, and only the last
            # version of each is copied into the database.
            "wal_autocheckpoint=16000",
            "journal_size_limit=83886080",  # 80 MiB: what the log never outgrows is not cut off, to be allotted anew
            f"cache_size=-{cache_kib}",
            f"busy_timeout={busy_ms}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
