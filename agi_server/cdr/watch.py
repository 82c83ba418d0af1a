"""Telling the journal of calls that nothing but the PBX's own records tell of.

Invariant: a conversation is told once all its rows are there, as far as that can be known: when none has come for
`cdr.settle` seconds. Rows that come later still (a call that was handed on may go on for hours) have it told again,
whole. How far reading is gets written together with what was read and not told yet: a crash loses nothing, and
telling twice changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.extensions import own_extension
from agi_server.calls.hindsight import decide_afterwards
from agi_server.calls.hours import find_zone
from agi_server.calls.record import Record
from agi_server.cdr.conversation import conversation
from agi_server.cdr.csv_file import CsvRows
from agi_server.cdr.database import TableRows, describe
from agi_server.cdr.rows import Row, epoch_of
from agi_server.conclusion import conclude
from agi_server.errors import DirectoryError, OstiaryError
from agi_server.journal import record_of
from agi_server.settings import Settings
from storage.database import Database
from storage.directory import SqliteDirectory
from storage.positions import get_position, put_position

log = structlog.get_logger()

BEGINNING: Final = 3  # seconds after a conversation began within which its first row does
AT_ONCE: Final = 50  # conversations told at the same time


class Source(Protocol):
    """Where rows come from. Each method may take its time, and raises OSError, SQLAlchemyError or OstiaryError."""

    bad: int  # pieces that were no row, since the start

    def start(self, now: float, /) -> dict[str, Any]:
        """Return the position behind all that is there."""
        ...

    def read(self, position: Mapping[str, Any], now: float, /) -> tuple[list[Row], dict[str, Any], bool]:
        """Return the rows not read before, the position behind them, and whether there is more to read at once."""
        ...

    def of(self, linkedids: Collection[str], /) -> list[Row]:
        """Return all rows of these conversations, those read before, too."""
        ...

    def newest(self) -> Row | None:
        """Return the last row there is, None where there is none lately, for `ostiary check`."""
        ...


Make = Callable[[], Source]


async def watch(settings: Settings, database: Database) -> None:
    """Follow the PBX's own call records for ever: those of `cdr.csv_file`, of `cdr.url`, or both.

    Never returns or raises: what goes wrong is logged, once, and tried again.
    """
    directory = SqliteDirectory(database.path, settings)
    try:
        followers = [
            Follower(name, make, settings, database, directory) for name, make in sources(settings).items()
        ]
        await asyncio.gather(*(follower.run() for follower in followers))
        await asyncio.Event().wait()
    finally:
        directory.close()


def sources(settings: Settings) -> dict[str, Make]:
    """Return what makes each source of the PBX's own call records, by name; none where no journal is kept."""
    cdr = settings.cdr
    if not settings.journal.enabled:
        return {}
    zone = find_zone(cdr.timezone) if cdr.timezone else None
    found: dict[str, Make] = {}
    if cdr.csv_file is not None:
        found[f"cdr:{cdr.csv_file}"] = partial(CsvRows, cdr.csv_file, zone)
    if url := cdr.url.get_secret_value():
        found[f"cdr:{describe(url)}#{cdr.table}"] = partial(TableRows, url, cdr.table, zone)
    return found


class Follower:
    """Follows one source; `name` is that of its position."""

    def __init__(
        self, name: str, make: Make, settings: Settings, database: Database, directory: SqliteDirectory
    ) -> None:
        self._name = name
        self._make = make
        self._settings = settings
        self._database = database
        self._directory = directory
        self._source: Source | None = None
        self._kept: dict[str, Any] = {}  # as it is written down: position, since, waiting
        self._since = 0.0  # what began before is not told
        self._waiting: dict[str, float] = {}  # by linkedid, the end of the last row
        self._rows: dict[str, dict[Row, None]] = {}  # of those: what was read since this process began
        self._wrong = ""  # what was last said to be wrong
        self._bad_said = False

    async def run(self) -> None:
        """Look again and again; never returns or raises."""
        while True:
            more = False
            try:
                more = await self.look(time.time())
            except Exception as error:  # noqa: BLE001  # whatever is wrong there, it may be mended
                self._say(_words(error))
            else:
                self._say("")
            if not more:
                await asyncio.sleep(self._settings.cdr.interval)

    async def look(self, now: float) -> bool:
        """Read what is new and tell of what has settled; return whether there is more to read at once."""
        if self._source is None:
            self._source = await asyncio.to_thread(self._make)
        source = self._source
        if not self._kept:
            await self._resume(source, now)
        rows, position, more = await asyncio.to_thread(source.read, self._kept["position"], now)
        self._take(rows, now)
        settled = [] if more else self._settled(now)
        await self._complete(source, settled)
        for group in [settled[at : at + AT_ONCE] for at in range(0, len(settled), AT_ONCE)] or [[]]:
            await self._tell_all(group)
            # After each: who is far behind, and killed again and again, gets ahead nevertheless.
            await self._keep({"position": position, "since": self._since, "waiting": dict(self._waiting)})
        self._say_bad(source.bad)
        return more

    async def _resume(self, source: Source, now: float) -> None:
        kept = await self._database.read(lambda conn: get_position(conn, self._name))
        if kept is None:
            await self._keep(
                {"position": await asyncio.to_thread(source.start, now), "since": now, "waiting": {}}
            )
        else:
            self._kept = kept
        self._since = float(self._kept["since"])
        self._waiting = {str(linkedid): float(end) for linkedid, end in self._kept["waiting"].items()}

    async def _keep(self, kept: dict[str, Any]) -> None:
        if kept != self._kept:
            await self._database.write(lambda conn: put_position(conn, self._name, kept))
            self._kept = kept

    def _take(self, rows: Collection[Row], now: float) -> None:
        for row in rows:
            began = epoch_of(row.linkedid)
            if (row.started_at if began is None else began) >= self._since - 1:  # it has whole seconds
                end = min(row.ended_at, now)
                self._waiting[row.linkedid] = max(end, self._waiting.get(row.linkedid, 0.0))
                self._rows.setdefault(row.linkedid, {})[row] = None

    def _settled(self, now: float) -> list[str]:
        return [linkedid for linkedid, end in self._waiting.items() if end + self._settings.cdr.settle <= now]

    async def _complete(self, source: Source, linkedids: Collection[str]) -> None:
        """Fetch the rows of conversations whose first ones were read by another process, or told of before."""
        partly = [linkedid for linkedid in linkedids if not _has_beginning(self._rows.get(linkedid, {}))]
        if not partly:
            return
        for row in await asyncio.to_thread(source.of, partly):
            self._rows.setdefault(row.linkedid, {})[row] = None

    async def _tell_all(self, linkedids: Sequence[str]) -> None:
        """Tell of these: writes that wait together share a commit. Raises DirectoryError."""
        told = await asyncio.gather(*(self._tell(linkedid) for linkedid in linkedids), return_exceptions=True)
        for outcome in told:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _tell(self, linkedid: str) -> None:
        """Tell of one conversation and forget it; one that cannot be stored is left out. Raises DirectoryError."""
        rows = self._rows.get(linkedid)
        if rows:
            try:
                record = conversation(
                    [*rows], self._ours, pbx=self._settings.cdr.pbx or self._settings.ami.name
                )
                await self._database.write(lambda conn: self._store(conn, record))
            except DirectoryError:
                raise
            except Exception as error:  # noqa: BLE001  # the others must not wait for it
                log.error(
                    "a call record cannot be stored and is left out", source=self._name, error=repr(error)
                )
        self._waiting.pop(linkedid, None)
        self._rows.pop(linkedid, None)

    async def _store(self, conn: AsyncConnection, record: Record) -> str:
        decided = record_of(decide_afterwards(record, self._directory))
        return await conclude(conn, record, self._settings, decided=decided)

    def _ours(self, endpoint: str) -> str:
        policy = self._directory.policy()
        return own_extension(endpoint, policy.by_extension, policy.own_extensions, self._settings.ami.trunks)

    def _say(self, wrong: str) -> None:
        if wrong and wrong != self._wrong:
            log.error("call records cannot be read, trying again", source=self._name, error=wrong)
        elif self._wrong and not wrong:
            log.info("call records can be read again", source=self._name)
        self._wrong = wrong

    def _say_bad(self, count: int) -> None:
        if count and not self._bad_said:
            self._bad_said = True
            log.warning(
                "call records that cannot be read are left out; cdr.conf: loguniqueid=yes, newcdrcolumns=yes",
                source=self._name,
                count=count,
            )


def _has_beginning(rows: Collection[Row]) -> bool:
    """Return whether a conversation's first row is among these: its linkedid says when it began."""
    if not rows:
        return False
    first = min(rows, key=lambda row: row.started_at)
    began = epoch_of(first.linkedid)
    return began is None or first.started_at <= began + BEGINNING


def _words(error: Exception) -> str:
    """Return what an error says; of a database's, its driver's own words: the rest holds what was asked."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return str(error.orig)
    return str(error) if isinstance(error, OstiaryError | OSError | SQLAlchemyError) else repr(error)
