"""The worker process: everything slow, so that no caller waits for it.

It writes the journal, counts the hits of rules, forgets old calls, and looks after the database. It ends when
the serving process does: the socket between them then reports its end, and what is in it is written first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import DirectoryError
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from storage.backup import check_integrity
from storage.blacklist import count_hits
from storage.calls import end_call, forget_calls, record_calls
from storage.database import Database
from storage.engine import sqlite_path

log = structlog.get_logger()

BATCH_BYTES = 256 * 1024  # about 500 calls: a transaction of some 10 ms
GATHER = (
    0.05  # seconds records may gather before the next commit: each costs a sync and the readers' page cache
)
HOUSEKEEPING = 3600  # seconds between two rounds
FORGET_ROWS = 1000  # calls forgotten in one transaction
RETRY = 1.0  # seconds until a failed batch is tried again

Record = tuple[int, str, dict[str, Any]]  # sequence, kind, columns


async def work(settings: Settings, link: socket.socket) -> None:
    """Write the journal that comes over `link` until it ends."""
    database = await Database.open(storage_url(settings))
    housekeeping = asyncio.create_task(_keep_house(settings, database))
    try:
        await write_journal(database, link)
    finally:
        housekeeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await housekeeping
        await database.close()


async def write_journal(database: Database, link: socket.socket) -> None:
    """Commit batch after batch and confirm each; a batch that fails is tried again until it is written."""
    loop = asyncio.get_running_loop()
    link.setblocking(False)
    rest = b""
    # Not a stream: when the other side is gone, a stream forgets what it has not read yet, and that is the journal.
    while data := await _received(loop, link):
        *lines, rest = (rest + data).split(b"\n")
        records: list[Record] = [orjson.loads(line) for line in lines]
        if not records:
            continue
        await _commit(database, records)
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(link, b"%d\n" % records[-1][0])
        await asyncio.sleep(GATHER)
    link.close()


async def _received(loop: asyncio.AbstractEventLoop, link: socket.socket) -> bytes:
    """Return what has come, nothing at the end: also where the other side died with confirmations unread."""
    try:
        return await loop.sock_recv(link, BATCH_BYTES)
    except ConnectionError:  # told only when all that was sent has been read (af_unix.c)
        return b""


async def _commit(database: Database, records: Sequence[Record]) -> None:
    while True:
        try:
            await database.write(lambda connection: store_records(connection, records))
        except DirectoryError as error:
            log.error("journal not written, trying again", error=str(error), records=len(records))
            await asyncio.sleep(RETRY)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if len(records) > 1:  # find the one that cannot be stored; the others must not wait for it
                for record in records:
                    await _commit(database, [record])
            else:
                log.error("a record of the journal cannot be stored and is left out", error=repr(error))
            return
        else:
            return


async def store_records(connection: AsyncConnection, records: Sequence[Record]) -> None:
    """Write one batch: calls not seen before, the hits of their rules, and how calls ended."""
    calls = [row for _, kind, row in records if kind == "call"]
    if calls:
        new = await record_calls(connection, calls)
        hits: dict[int, tuple[int, int]] = {}
        for row in calls:
            rule = row["rule_id"]
            if rule is not None and row["id"] in new:
                count, last = hits.get(rule, (0, 0))
                hits[rule] = (count + 1, max(last, row["started_at"]))
        if hits:
            await count_hits(connection, hits)
    for _, kind, row in records:
        if kind == "ended":
            await end_call(connection, **row)


async def _keep_house(settings: Settings, database: Database) -> None:
    if settings.storage.integrity_check:
        path = sqlite_path(storage_url(settings))
        problems = await asyncio.to_thread(check_integrity, path, full=False)
        for problem in problems:
            log.error("the database is damaged; restore a backup with `ostiary restore`", problem=problem)
    while settings.journal.retention_days:
        try:
            await _forget(database, int(time.time()) - settings.journal.retention_days * 86400)
        except DirectoryError as error:
            log.error("old calls not forgotten", error=str(error))
        await asyncio.sleep(HOUSEKEEPING)


async def _forget(database: Database, before: int) -> None:
    """Forget calls that began before `before`, a few at a time: nobody's write waits long."""
    while (
        await database.write(lambda connection: forget_calls(connection, before, FORGET_ROWS)) == FORGET_ROWS
    ):
        pass


def main(settings: Settings, descriptor: int) -> None:
    """Run the worker on an inherited socket; it ends with that, not by the signals that end its parent."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(descriptor, False)
    asyncio.run(work(settings, socket.socket(fileno=descriptor)))
