"""Every write to the local database.

A write is acknowledged when its commit is on disk (WAL with synchronous=FULL), not before. Jobs that wait at
the same time share one commit; each has a savepoint of its own, so that one that fails harms no other. No
transaction takes new jobs for longer than TRANSACTION_SECONDS: other processes write to the same file.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import DirectoryError
from storage.engine import LOCK_SECONDS, READER_BUSY_MS, sqlite_engine, sqlite_path
from storage.faults import explain, is_busy
from storage.migrate import HEAD, revision

T = TypeVar("T")

TRANSACTION_SECONDS = 0.02

# SQLite sleeps ever longer between two looks at a lock (up to 100 ms). A process that commits often would
# starve us, so a writer's busy_timeout covers the first, short sleeps only and `_begin` starts over.
_WRITER_BUSY_MS = 20

# What a batch of contacts changes must fit, or SQLite writes pages before they are whole; and the upper levels of a
# million contacts' indexes.
_WRITER_CACHE_KIB = 32_000


class _Ticket(Generic[T]):
    """A job that waits for its commit."""

    def __init__(self, job: Callable[[AsyncConnection], Awaitable[T]]) -> None:
        self.job = job
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.result: T
        self.error: Exception | None = None

    async def run(self, connection: AsyncConnection) -> None:
        """Run the job; an error here means that the whole transaction is lost, not the job alone."""
        self.error = None
        savepoint = await connection.begin_nested()
        try:
            self.result = await self.job(connection)
        except Exception as error:  # noqa: BLE001  # whatever a job raises goes to the one who asked for it
            self.error = error
            await savepoint.rollback()
        else:
            await savepoint.commit()

    def settle(self, path: Path) -> None:
        """Tell the one who asked, who may have gone."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(_told(self.error, path))

    def fail(self, error: Exception, path: Path) -> None:
        """Tell the one who asked that the transaction failed; the job's own error says more, if it has one."""
        self.error = self.error or error
        self.settle(path)


class Database:
    """The local database for everything that writes, and for reads that may take their time."""

    def __init__(self, path: Path) -> None:
        """Use `open`."""
        self.path = path
        self._writer = sqlite_engine(
            path,
            begin="BEGIN IMMEDIATE",
            busy_ms=_WRITER_BUSY_MS,
            connections=1,
            cache_kib=_WRITER_CACHE_KIB,
        )
        self._reader = sqlite_engine(path, begin="BEGIN", busy_ms=READER_BUSY_MS, connections=4)
        self._waiting: deque[_Ticket[Any]] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._closed = False
        self._inode = _inode(path)

    @classmethod
    async def open(cls, url: str) -> Database:
        """Return the migrated database at `url`; raises SettingsError or DirectoryError."""
        path = sqlite_path(url)
        found = await asyncio.to_thread(revision, path)
        if found != HEAD:
            raise DirectoryError(
                f"database {path}: its tables are those of version {found or 'none'}, expected {HEAD}; "
                "run `ostiary migrate`"
            )
        return cls(path)

    async def close(self) -> None:
        """Finish what was asked, then close; may be called twice."""
        self._closed = True
        if self._runner is not None:
            await asyncio.wait([self._runner])
        await self._dispose()

    async def write(self, job: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `job` and return its result once it is on disk; raises what `job` raises, or DirectoryError.

        `job` may run a second time when a transaction it shared was lost, so it has no effects but on the
        database. Who cancels the call never learns whether the job was done.
        """
        if self._closed:
            raise DirectoryError(f"database {self.path}: it is closed")
        ticket = _Ticket(job)
        self._waiting.append(ticket)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._drain())
        return await ticket.future

    async def read(self, job: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `job` on a consistent view of the database; raises what `job` raises, or DirectoryError."""
        if self._closed:
            raise DirectoryError(f"database {self.path}: it is closed")
        try:
            await self._follow_file()
            async with self._reader.connect() as connection:
                return await job(connection)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise _told(error, self.path) from error

    async def _drain(self) -> None:
        while self._waiting:
            await self._transaction(self._waiting)

    async def _transaction(self, waiting: deque[_Ticket[Any]]) -> None:
        """Run jobs of `waiting` in one transaction and settle them."""
        ran: list[_Ticket[Any]] = []
        try:
            async with self._begin() as connection:
                until = asyncio.get_running_loop().time() + TRANSACTION_SECONDS
                while waiting and asyncio.get_running_loop().time() < until:
                    ticket = waiting.popleft()
                    if not ticket.future.cancelled():
                        ran.append(ticket)
                        await ticket.run(connection)
        except (SQLAlchemyError, DirectoryError) as error:
            await self._lost(ran, waiting, error)
        except BaseException:  # the loop is being torn down
            for ticket in (*ran, *waiting):
                ticket.future.cancel()
            waiting.clear()
            raise
        else:
            for ticket in ran:
                ticket.settle(self.path)

    async def _lost(self, ran: list[_Ticket[Any]], waiting: deque[_Ticket[Any]], error: Exception) -> None:
        """Give each job that shared a lost transaction one of its own, so that the guilty one fails alone."""
        await self._dispose()
        if not ran:  # not even begun: the same would happen to all
            while waiting:
                waiting.popleft().fail(error, self.path)
        elif len(ran) == 1:
            ran[0].fail(error, self.path)
        else:
            for ticket in ran:
                if not ticket.future.cancelled():
                    await self._transaction(deque([ticket]))

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        """Open a write transaction, waiting for other processes, and commit it."""
        await self._follow_file()
        loop = asyncio.get_running_loop()
        until = loop.time() + LOCK_SECONDS
        async with self._writer.connect() as connection:
            while True:
                try:
                    await connection.begin()
                except DBAPIError as error:
                    if loop.time() > until or not is_busy(_cause(error)):
                        raise
                else:
                    break
            yield connection
            await connection.commit()

    async def _follow_file(self) -> None:
        """Let go of a file that was replaced: what is written to it would be lost."""
        inode = _inode(self.path)
        if inode != self._inode:
            await self._dispose()
            self._inode = inode
        if inode is None:
            raise DirectoryError(
                f"database {self.path}: the file is gone; restore a backup, or run `ostiary migrate` for an empty one"
            )

    async def _dispose(self) -> None:
        await self._writer.dispose()
        await self._reader.dispose()


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116  # Path.stat costs twice as much
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _cause(error: BaseException) -> BaseException:
    """Return the driver's own error."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _told(error: Exception, path: Path) -> Exception:
    return explain(_cause(error), path) if isinstance(error, SQLAlchemyError | sqlite3.Error) else error
