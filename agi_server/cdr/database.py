"""Reading call records from a database's table, such as FreePBX's asteriskcdrdb.cdr.

A row is written when its call ends, with the time it began, and nothing in such a table grows with each row. So rows of
the last while are read again and again, those of a longer while now and then (long calls), and each is taken once: what
ended lately is remembered by a hash. Nothing is ever written there.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final

from sqlalchemy import ColumnClause, Connection, Engine, column, create_engine, inspect, select, table
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from agi_server.cdr.rows import Row, epoch_of, read_row
from agi_server.errors import InputError, SettingsError
from storage.location import sqlite_uri

SHORT: Final = 900  # seconds before the last end that every look covers
LONG: Final = 12 * 3600  # and every so often, for calls that lasted long
LONG_EVERY: Final = 600
OVERLAP: Final = (
    1800  # seconds for which rows are remembered: more than LONG_EVERY and cdr.conf's batches together
)
WINDOW: Final = 6 * 3600  # seconds: what is read at once of a time when nobody did
DAY: Final = 86400.0
MOST_IDS: Final = 100  # conversations asked for at once
PATIENCE: Final = 30  # seconds a query may take

_NONE: Final = timedelta()
_WANTED: Final = (
    *("calldate", "start", "duration", "billsec", "disposition", "uniqueid", "linkedid", "sequence"),
    *("channel", "dstchannel", "src", "dst", "clid", "lastapp", "lastdata", "did", "cnum", "cnam"),
    "recordingfile",
)
_OPTIONS: Final[Mapping[str, Mapping[str, object]]] = {  # so that no thread waits for ever
    "pymysql": {"connect_timeout": 10, "read_timeout": PATIENCE},
    "psycopg": {"connect_timeout": 10, "options": f"-c statement_timeout={PATIENCE * 1000}"},
    "psycopg2": {"connect_timeout": 10, "options": f"-c statement_timeout={PATIENCE * 1000}"},
}


class TableRows:
    """The rows of one table. `zone` is that of its times, None for this machine's."""

    def __init__(self, url: str, name: str, zone: tzinfo | None) -> None:
        self.bad = 0  # rows that were none, since the start
        self._engine = _engine(url)
        self._schema, _, self._table = name.rpartition(".")
        self._zone = zone
        self._there: list[str] = []
        self._long_at = 0.0  # monotonic time of the last long look

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def start(self, now: float) -> dict[str, Any]:
        """Return the position behind all that is there."""
        return {"until": now, "seen": []}

    def read(self, position: Mapping[str, Any], now: float) -> tuple[list[Row], dict[str, Any], bool]:
        """Return the rows not read before, the position behind them, and whether there is more to read at once.

        Raises SQLAlchemyError, InputError.
        """
        until, seen = float(position["until"]), set(position["seen"])
        long = not self._long_at or time.monotonic() - self._long_at >= LONG_EVERY
        window = until + WINDOW
        with self._engine.connect() as connection:
            rows = self._select(connection, min(until, now) - (LONG if long else SHORT), window)
        new = [row for row in rows if row.ended_at > until - OVERLAP and _hash(row) not in seen]
        latest = max((row.ended_at for row in rows), default=until)
        after = window if window < now else max(until, min(latest, now))
        if window < now:
            self._long_at = 0.0
        elif long:
            self._long_at = time.monotonic()
        there = {_hash(row) for row in rows if row.ended_at > after - OVERLAP}
        kept = there if long else there | seen  # a long look sees all of them
        return new, {"until": after, "seen": sorted(kept)}, window < now

    def of(self, linkedids: Collection[str]) -> list[Row]:
        """Return all rows of these conversations. Raises SQLAlchemyError, InputError."""
        wanted = sorted(linkedids)
        with self._engine.connect() as connection:
            return [
                row
                for at in range(0, len(wanted), MOST_IDS)
                for row in self._asked(connection, wanted[at : at + MOST_IDS])
            ]

    def newest(self) -> Row | None:
        """Return the last row of the last while, None where there is none. Raises SQLAlchemyError, InputError."""
        with self._engine.connect() as connection:
            rows = self._select(connection, time.time() - SHORT)
        if self.bad and not rows:
            raise InputError("its rows are none; cdr.table must name the table of call records")
        return max(rows, key=lambda row: row.ended_at, default=None)

    def _asked(self, connection: Connection, linkedids: Sequence[str]) -> list[Row]:
        # The linkedid is that of the first channel, and says when it began.
        began = min(epoch_of(linkedid) or DAY for linkedid in linkedids)
        return self._select(connection, began - 2, linkedids=linkedids)

    def _select(
        self, connection: Connection, since: float, until: float = 0, linkedids: Sequence[str] = ()
    ) -> list[Row]:
        there = self._columns(connection)
        begin: ColumnClause[Any] = column("start" if "start" in there else "calldate")
        source = table(self._table, *map(column, there), schema=self._schema or None)
        query = select(source).where(begin >= self._local(since))
        if until:
            query = query.where(begin <= self._local(until, slack=3600))
        if linkedids:
            query = query.where(column("linkedid" if "linkedid" in there else "uniqueid").in_(linkedids))
        return [*self._rows(connection.execute(query).mappings().all())]

    def _local(self, at: float, *, slack: int = 0) -> str:
        """Return a time as the table has them; where clocks were set back since, from before that hour on."""
        local, now = (
            datetime.fromtimestamp(each, self._zone).astimezone(self._zone) for each in (at, time.time())
        )
        back = (local.utcoffset() or _NONE) - (now.utcoffset() or _NONE)
        return f"{local - max(back, _NONE) + timedelta(seconds=slack):%Y-%m-%d %H:%M:%S}"

    def _rows(self, found: Sequence[Mapping[Any, object]]) -> Iterator[Row]:
        for fields in found:
            try:
                yield read_row({str(name): value for name, value in fields.items()}, self._zone)
            except InputError:
                self.bad += 1

    def _columns(self, connection: Connection) -> list[str]:
        """Return which of the columns that tell something this table has, by the names it gives them."""
        if not self._there:
            found = {
                each["name"] for each in inspect(connection).get_columns(self._table, self._schema or None)
            }
            self._there = [name for name in _WANTED if name in found]
            missing = {"duration", "uniqueid", "channel", "disposition"} - found
            if missing or not found & {"start", "calldate"}:
                self._there = []
                raise InputError(
                    f"cdr.table {self._table}: it has no {', '.join(sorted(missing)) or 'calldate or start'}; name the "
                    "table of call records"
                )
        return self._there


def _hash(row: Row) -> str:
    text = f"{row.uniqueid}|{row.linkedid}|{row.channel}|{row.dstchannel}|{row.started_at}|{row.ended_at}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def _engine(url: str) -> Engine:
    """Return an engine that keeps no connection open. Raises SettingsError."""
    try:
        parts = make_url(url)
        if parts.get_backend_name() == "sqlite":
            return create_engine("sqlite://", creator=lambda: _read_only(parts), poolclass=NullPool)
        options = dict(_OPTIONS.get(parts.get_driver_name(), {}))
        return create_engine(parts, connect_args=options, poolclass=NullPool, hide_parameters=True)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "cdr.url: this is no address of a database; write e.g. mysql+pymysql://user:password@host/asteriskcdrdb"
        ) from None
    except (NoSuchModuleError, ImportError) as error:
        raise SettingsError(
            f"cdr.url: there is no driver for it here ({error}); for MySQL and MariaDB write mysql+pymysql://…"
        ) from None


def _read_only(url: URL) -> sqlite3.Connection:
    return sqlite3.connect(sqlite_uri(Path(url.database or ""), "ro"), uri=True, timeout=PATIENCE)


def describe(url: str) -> str:
    """Return the address without its password, for logs and as the name of the position."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError):
        return "cdr.url"
