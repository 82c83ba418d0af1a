"""Keeps one worker process running beside the call path."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog

from agi_server.journal import Journal
from agi_server.link import Told, WorkerLink
from agi_server.lookups import Lookups

log = structlog.get_logger()

FIRST_PAUSE = 0.1  # seconds before a worker that ended is started again; doubled each time
LONGEST_PAUSE = 30.0
LIVED_LONG = 60.0  # a worker that lived so long begins again with the first pause
LAST_WORDS = 5.0  # seconds a worker has to write what it holds when we stop


@contextlib.asynccontextmanager
async def worker(
    journal: Journal, config: Path | None, *, lookups: Lookups | None = None, told: Told | None = None
) -> AsyncIterator[None]:
    """Run a worker, and another one when it ends, until the context is left; see `WorkerLink` for who hears what."""
    task = asyncio.create_task(_supervise(lambda: WorkerLink(journal, lookups, told), config))
    try:
        yield
    finally:
        drained = asyncio.create_task(journal.drained(LAST_WORDS))
        # The supervisor ends first where all tasks are being cancelled: nobody confirms anything then.
        await asyncio.wait((drained, task), return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        if records := journal.pending():
            log.warning("the worker did not confirm everything in time", records=records)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _supervise(link: Callable[[], WorkerLink], config: Path | None) -> None:
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE
    while True:
        started = loop.time()
        try:
            code = await _run_once(link, config)
        except OSError as error:
            code = None
            log.error("the worker does not start", error=str(error))
        if loop.time() - started > LIVED_LONG:
            pause = FIRST_PAUSE
        log.warning("the worker ended; calls go on, the journal waits", code=code, next_try_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def _run_once(link: Callable[[], WorkerLink], config: Path | None) -> int:
    """Start one worker, feed it, and return its exit code."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "agi_server", "worker", str(theirs.fileno())]
    if config is not None:
        command[3:3] = ["--config", str(config)]
    with theirs:
        # A session of its own: Ctrl-C in our terminal is not meant for it, least of all while it still starts.
        process = await asyncio.create_subprocess_exec(
            *command, pass_fds=[theirs.fileno()], start_new_session=True
        )
    ours.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(link, sock=ours)
    try:
        return await process.wait()
    finally:
        transport.close()  # the worker reads to the end, writes it, and ends
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(asyncio.shield(process.wait()), LAST_WORDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
