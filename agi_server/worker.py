"""The worker process: everything slow, so that no caller waits for it.

It writes the journal, counts the hits of rules, forgets old calls and changes, looks after the database, exchanges
data with Salesforce, and follows calls by what PBXs tell: over AMI, and in their own call records. It ends when the
serving process does: the socket between them then reports its end, and what is in it is written first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NoReturn

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server import recordings
from agi_server.conclusion import conclude_call, wanted_tasks
from agi_server.errors import DirectoryError, OstiaryError
from agi_server.link import ServerLink
from agi_server.salesforce.background import Exchange
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from storage.audit import forget_audit
from storage.backup import check_integrity
from storage.blacklist import count_hits
from storage.calls import answer_call, forget_calls, record_calls
from storage.database import Database
from storage.engine import sqlite_path

log = structlog.get_logger()

BATCH = 500  # records: a transaction of some 10 ms
QUEUE = 5000  # records read and not yet written; what comes beyond that waits in the socket
GATHER = (
    0.05  # seconds records may gather before the next commit: each costs a sync and the readers' page cache
)
HOUSEKEEPING = 3600  # seconds between two rounds
FORGET_ROWS = 1000  # rows forgotten in one transaction
RETRY = 1.0  # seconds until a failed batch is tried again
NICENESS = 5  # so that calls win where there is work for both
LAST_WORDS = 1.0  # seconds a request to Salesforce in hand has when we stop: it may bring a new refresh token

Record = tuple[int, str, dict[str, Any]]  # sequence, kind, columns
Asked = Callable[[str, Mapping[str, Any]], None]


async def work(settings: Settings, end: socket.socket) -> None:
    """Write the journal that comes over `end` until it ends, and exchange data with Salesforce meanwhile."""
    link = ServerLink(end)
    database = await Database.open(storage_url(settings))
    tasks = [asyncio.create_task(_keep_house(settings, database))]
    who: dict[str, Asked] = {}  # who is asked for what
    if settings.salesforce.enabled:
        exchange = Exchange(settings, database, link.send)
        tasks.append(asyncio.create_task(exchange.run()))
        who |= dict.fromkeys(("lookup", "sync"), exchange.asked)
    if settings.ami.host:
        from agi_server.ami.follow import Follower  # noqa: PLC0415  # many have no AMI

        follower = Follower(settings, database, link.send)
        tasks.append(asyncio.create_task(follower.run()))
        who |= dict.fromkeys(("dial", "hang_up"), follower.asked)
    if settings.cdr.csv_file or settings.cdr.url.get_secret_value():
        from agi_server.cdr import watch  # noqa: PLC0415  # as above

        tasks.append(asyncio.create_task(watch.watch(settings, database)))

    def asked(kind: str, content: Mapping[str, Any]) -> None:
        if kind in who:
            who[kind](kind, content)

    def stop() -> None:
        for task in tasks:
            task.cancel()

    try:
        await write_journal(settings, database, link, asked, stop)
    finally:
        stop()
        await asyncio.wait(tasks, timeout=LAST_WORDS)  # a round may have to wait for a thread of its own
        await database.close()
        link.close()


async def write_journal(
    settings: Settings,
    database: Database,
    link: ServerLink,
    asked: Asked | None = None,
    ended: Callable[[], None] | None = None,
) -> None:
    """Commit batch after batch and confirm each, until the link ends; `asked` gets questions as they come.

    A batch that fails is tried again until it is written. `ended` is called when the other side is gone: what it said
    last may take long to write, and who serves in its place has a worker of its own meanwhile.
    """
    waiting: asyncio.Queue[Record | None] = asyncio.Queue(QUEUE)  # None: the end
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_read(link, waiting, asked, ended))
        while batch := await _batch(waiting):
            await _commit(settings, database, batch)
            await link.send(batch[-1][0])
            await asyncio.sleep(GATHER)


async def _read(
    link: ServerLink,
    waiting: asyncio.Queue[Record | None],
    asked: Asked | None,
    ended: Callable[[], None] | None,
) -> None:
    async for messages in link.messages():
        for sequence, kind, content in messages:
            if sequence:
                await waiting.put((sequence, kind, content))
            elif asked is not None:
                asked(kind, content)
    if ended is not None:
        ended()
    await waiting.put(None)


async def _batch(waiting: asyncio.Queue[Record | None]) -> list[Record]:
    """Return the records that wait, once there is one; none at the end."""
    batch: list[Record] = []
    while not batch or not (waiting.empty() or len(batch) == BATCH):
        record = await waiting.get()
        if record is None:
            waiting.put_nowait(None)  # seen again when this batch is written
            break
        batch.append(record)
    return batch


async def _commit(settings: Settings, database: Database, records: Sequence[Record]) -> None:
    """Write a batch: calls first, as one job, then how calls went on, each as one of its own.

    Much may follow from how a call went on: jobs share transactions, and none of those is long (storage/database.py).
    """
    calls = [record for record in records if record[1] == "call"]
    await _write_all(settings, database, [calls] if calls else [])
    await _write_all(settings, database, [[record] for record in records if record[1] != "call"])


async def _write_all(settings: Settings, database: Database, jobs: Sequence[Sequence[Record]]) -> None:
    """Write records, however often that takes; one that cannot be stored is left out."""
    while jobs:
        writes = (database.write(partial(_stored, records=job, settings=settings)) for job in jobs)
        ends = await asyncio.gather(*writes, return_exceptions=True)
        again: list[Sequence[Record]] = []
        failure = ""
        for job, error in zip(jobs, ends, strict=True):
            if isinstance(error, DirectoryError):
                failure = str(error)
                again.append(job)
            elif isinstance(error, KeyError | TypeError | ValueError | OverflowError):
                if len(job) > 1:  # find the one that cannot be stored; the others must not wait for it
                    again += [[record] for record in job]
                else:
                    log.error("a record of the journal cannot be stored and is left out", error=repr(error))
            elif error is not None:
                raise error
        if failure:
            log.error("journal not written, trying again", error=failure, records=sum(map(len, again)))
            await asyncio.sleep(RETRY)
        jobs = again


async def _stored(connection: AsyncConnection, *, records: Sequence[Record], settings: Settings) -> None:
    await store_records(connection, records, settings)


async def store_records(connection: AsyncConnection, records: Sequence[Record], settings: Settings) -> None:
    """Write records: calls not seen before, the hits of their rules, and how calls went on."""
    calls = [row for _, kind, row in records if kind == "call"]
    if calls:
        new = await record_calls(connection, calls, tasks=wanted_tasks(settings))
        hits: dict[int, tuple[int, int]] = {}
        for row in calls:
            rule = row["rule_id"]
            if rule is not None and row["id"] in new:
                count, last = hits.get(rule, (0, 0))
                hits[rule] = (count + 1, max(last, row["started_at"]))
        if hits:
            await count_hits(connection, hits)
    for _, kind, row in records:
        if kind == "answered":
            await answer_call(connection, **row, tasks=wanted_tasks(settings))
        elif kind == "ended":
            await conclude_call(connection, row, settings)


async def _keep_house(settings: Settings, database: Database) -> None:
    if settings.storage.integrity_check:
        path = sqlite_path(storage_url(settings))
        problems = await asyncio.to_thread(check_integrity, path, full=False)
        for problem in problems:
            log.error("the database is damaged; restore a backup with `ostiary restore`", problem=problem)
    kept = (
        (forget_calls, settings.journal.retention_days),
        (forget_audit, settings.audit.retention_days),
    )
    while any(days for _, days in kept) or settings.recordings.retention_days:
        try:
            await recordings.forget(settings, database)  # before the calls that name them
            for forget, days in kept:
                if days:
                    await _forget(database, forget, int(time.time()) - days * 86400)
        except DirectoryError as error:
            log.error("old calls, changes and recordings not forgotten", error=str(error))
        await asyncio.sleep(HOUSEKEEPING)


async def _forget(
    database: Database, forget: Callable[[AsyncConnection, int, int], Awaitable[int]], before: int
) -> None:
    """Forget what is older than `before`, a few rows at a time: nobody's write waits long."""
    while await database.write(lambda connection: forget(connection, before, FORGET_ROWS)) == FORGET_ROWS:
        pass


def main(settings: Settings, descriptor: int, *, close_log: Callable[[], None]) -> NoReturn:
    """Run the worker on an inherited socket; it ends with that, not by the signals that end its parent.

    The process ends without waiting for threads: one that reads from a Salesforce that does not answer would hold up
    the server's own end, and nothing needs it, for whatever it is at survives kill -9 as well.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_inheritable(descriptor, False)
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.nice(NICENESS)
    threads = ThreadPoolExecutor(thread_name_prefix="worker")
    runner = asyncio.Runner()
    code = 1
    try:
        runner.get_loop().set_default_executor(threads)
        runner.run(work(settings, socket.socket(fileno=descriptor)))
        threads.shutdown(wait=False, cancel_futures=True)
        last_words = threading.Thread(target=threads.shutdown, daemon=True)
        last_words.start()
        last_words.join(LAST_WORDS)
        code = 0
    except OstiaryError as error:
        log.error("the worker cannot work", error=str(error))
    except BaseException:
        log.exception("the worker failed")
    finally:
        close_log()
        os._exit(code)
