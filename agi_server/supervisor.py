"""Keeps a process running beside the call path: the worker, and the front.

Invariant: a process that ends is started again, later and later the sooner it ends, and calls go on meanwhile. It is
told to end by the end of the socket between it and us, and killed only when it does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from agi_server.feed import Feed
from agi_server.journal import Journal
from agi_server.link import Told, WorkerLink
from agi_server.lookups import Lookups

log = structlog.get_logger()

FIRST_PAUSE = 0.1  # seconds before a process that ended is started again; doubled each time
LONGEST_PAUSE = 30.0
LIVED_LONG = 60.0  # a process that lived so long begins again with the first pause
LAST_WORDS = 5.0  # seconds it has to finish what it holds when we stop


_ENDED = {name: f"the {name} ended; calls go on" for name in ("worker", "front")}
_NOT_STARTED = {name: f"the {name} does not start" for name in ("worker", "front")}

Ask = Callable[[str, Mapping[str, Any]], None]  # what the worker is to do, and its particulars


@contextlib.asynccontextmanager
async def worker(
    journal: Journal, config: Path | None, *, lookups: Lookups | None = None, told: Told | None = None
) -> AsyncIterator[Ask]:
    """Run a worker, and another one when it ends, until the context is left; see `WorkerLink` for who hears what.

    Yields what asks the worker for something; where none is there nothing happens.
    """
    link: WorkerLink | None = None

    def linked() -> WorkerLink:
        nonlocal link
        link = WorkerLink(journal, lookups, told)
        return link

    def ask(kind: str, content: Mapping[str, Any]) -> None:
        if link is not None:
            link.ask(kind, content)

    task = asyncio.create_task(_supervise("worker", linked, config, ()))
    try:
        yield ask
    finally:
        drained = asyncio.create_task(journal.drained(LAST_WORDS))
        # The supervisor ends first where all tasks are being cancelled: nobody confirms anything then.
        await asyncio.wait((drained, task), return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        if records := journal.pending():
            log.warning("the worker did not confirm everything in time", records=records)
        await _stopped(task)


@contextlib.asynccontextmanager
async def front(feed: Feed, config: Path | None, listening: Sequence[socket.socket]) -> AsyncIterator[None]:
    """Run a front on the sockets that listen for HTTP, and another one when it ends, until the context is left."""
    task = asyncio.create_task(_supervise("front", feed.protocol, config, listening))
    try:
        yield
    finally:
        await _stopped(task)


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _supervise(
    command: str,
    link: Callable[[], asyncio.BaseProtocol],
    config: Path | None,
    hand_over: Sequence[socket.socket],
) -> None:
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE
    while True:
        started = loop.time()
        try:
            code = await _run_once(command, link, config, hand_over)
        except OSError as error:
            code = None
            log.error(_NOT_STARTED[command], error=str(error))
        if loop.time() - started > LIVED_LONG:
            pause = FIRST_PAUSE
        log.warning(_ENDED[command], code=code, next_try_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def _run_once(
    command: str,
    link: Callable[[], asyncio.BaseProtocol],
    config: Path | None,
    hand_over: Sequence[socket.socket],
) -> int:
    """Start the process once, serve its link, and return its exit code."""
    ours, theirs = socket.socketpair()
    descriptors = [theirs.fileno(), *(each.fileno() for each in hand_over)]
    line = [sys.executable, "-m", "agi_server", command, *map(str, descriptors)]
    if config is not None:
        line[3:3] = ["--config", str(config)]
    with theirs:
        # A session of its own: Ctrl-C in our terminal is not meant for it, least of all while it still starts.
        process = await asyncio.create_subprocess_exec(*line, pass_fds=descriptors, start_new_session=True)
    ours.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(link, sock=ours)
    try:
        return await process.wait()
    finally:
        transport.close()  # the process reads to the end, finishes, and ends
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(LAST_WORDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
