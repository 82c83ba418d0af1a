"""The serving process: what starts in which order, and stops in the reverse.

Invariant: nothing that FastAGI needs to answer waits for the parts beside it, and a part that does not start is
logged and done without: calls go on. On the way down, FastAGI finishes the calls in hand first; then what they
left to write is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from agi_server import __version__
from agi_server.calls.call import Call, Decision
from agi_server.calls.decide import decide
from agi_server.errors import DirectoryError, OstiaryError
from agi_server.fastagi.server import FastAgiServer
from agi_server.fastagi.sockets import bind as listen
from agi_server.fastagi.sockets import inherited_sockets
from agi_server.feed import Feed
from agi_server.front_requests import front_requests
from agi_server.journal import Journal
from agi_server.logs import log_decision
from agi_server.lookups import Lookups
from agi_server.metrics import Metrics
from agi_server.observer import FastAgiObserver
from agi_server.scripts import bind
from agi_server.scripts.services import Services
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from agi_server.supervisor import Ask, front, worker
from agi_server.watchdog import watchdog
from storage.database import Database
from storage.directory import SqliteDirectory
from storage.engine import sqlite_path
from storage.migrate import HEAD, migrate, revision

log = structlog.get_logger()

WARM_UP = Call(id="warm-up", number="+15550100", name="Ana")

HTTP_BACKLOG = 512  # connections that wait while a front is started again
HTTP_PAUSE = 5.0  # seconds until an address that was taken is tried again

Ready = Callable[[FastAgiServer], None]


async def serve_until_stopped(settings: Settings, *, config: Path | None) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop_or_abort(number: signal.Signals) -> None:
        if stop.is_set():
            raise SystemExit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_or_abort, number)
    await serve(settings, config=config, stop=stop)


async def serve(
    settings: Settings, *, config: Path | None, stop: asyncio.Event, ready: Ready | None = None
) -> None:
    """Answer calls until `stop` is set; `ready` is called with the server once it answers.

    Raises OstiaryError when the FastAGI address cannot be bound; everything else that fails is logged.
    """
    url = storage_url(settings)
    await _bring_up_to_date(url)
    metrics = Metrics()
    directory = SqliteDirectory(sqlite_path(url), settings)
    feed = Feed()
    journal = Journal(metrics, keep=settings.journal.enabled, went_on=feed.went_on)
    metrics.journal_pending = journal.pending
    metrics.front_dropped = lambda: feed.dropped
    lookups = _lookups(settings, metrics)
    database = _Writer(url)
    services = Services(
        settings=settings,
        directory=directory,
        journal=journal,
        database=database.open,
        report=_reporter(settings, metrics, journal, feed),
        lookups=lookups,
    )
    decide(WARM_UP, directory, time.time())  # so that no caller pays for what the first call loads
    gc.collect()
    gc.freeze()  # what is there now stays: the collector need not walk it again and again while callers wait
    server = FastAgiServer(bind(services), settings.fastagi, FastAgiObserver(metrics))
    async with AsyncExitStack() as parts:  # left in reverse
        parts.callback(directory.close)
        parts.push_async_callback(database.close)
        await server.start(inherited_sockets("fastagi"))
        ask: Ask = lambda _kind, _content: None  # noqa: E731  # nobody is there to do it
        if settings.journal.enabled or settings.salesforce.enabled or settings.ami.host:

            def told(kind: str, content: Mapping[str, Any]) -> None:
                if kind == "salesforce":
                    metrics.salesforce = content
                elif kind == "pbx":
                    metrics.pbxs = content
                feed.told(kind, content)

            ask = await parts.enter_async_context(worker(journal, config, lookups=lookups, told=told))
        readiness = partial(_readiness, settings, directory, journal, metrics)
        feed.heard = front_requests(metrics, journal, readiness, ask)
        await parts.enter_async_context(_fronts(settings, feed, config))
        parts.push_async_callback(_drain, server, settings.fastagi.drain)
        await parts.enter_async_context(watchdog())
        log.info("answering", version=__version__, fastagi=server.addresses, database=str(sqlite_path(url)))
        if ready is not None:
            ready(server)
        await stop.wait()
        log.info("stopping; calls in hand are finished first")


async def _bring_up_to_date(url: str) -> None:
    """Migrate the database if it is not at this version's schema; without one, calls are still answered."""
    try:
        if revision(sqlite_path(url)) != HEAD:
            await migrate(url)
    except DirectoryError as error:
        log.error("the database cannot be used; every call is allowed until it can", error=str(error))


def _lookups(settings: Settings, metrics: Metrics) -> Lookups | None:
    """Return who asks Salesforce about unknown callers, None where nobody shall."""
    if not (settings.salesforce.enabled and settings.salesforce.lookup):
        return None
    lookups = Lookups(forget=settings.salesforce.lookup_forget)
    metrics.lookups = lookups.outcomes
    return lookups


def _reporter(
    settings: Settings, metrics: Metrics, journal: Journal, feed: Feed
) -> Callable[[Decision, float], None]:
    personal_data = settings.logs.personal_data
    clock = time.time
    bound = log.bind()

    def report(decision: Decision, seconds: float) -> None:
        metrics.decided(decision, seconds)
        log_decision(bound, decision, seconds, personal_data)
        now = clock()
        journal.decided(decision, now)
        feed.decided(decision, now)

    def report_later(decision: Decision, seconds: float) -> None:
        """Report behind the answer, in the same turn of the loop."""
        asyncio.get_running_loop().call_soon(report, decision, seconds)

    return report_later


async def _drain(server: FastAgiServer, seconds: float) -> None:
    cut = await server.drain(seconds)
    if cut:
        log.warning("calls cut off while stopping", calls=cut, drain_seconds=seconds)
    await server.close()


class _Writer:
    """The writing side of the database, opened when it is first needed and tried again when that failed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opening: asyncio.Task[Database] | None = None

    async def open(self) -> Database:
        """Return the database. Raises DirectoryError."""
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.create_task(Database.open(self._url))
        return await asyncio.shield(self._opening)

    async def close(self) -> None:
        if self._opening is not None:
            with contextlib.suppress(DirectoryError):
                await (await self._opening).close()


@contextlib.asynccontextmanager
async def _fronts(settings: Settings, feed: Feed, config: Path | None) -> AsyncIterator[None]:
    """Run the front until the context is left, if there is anything for it to do."""
    task = asyncio.create_task(_run_front(settings, feed, config))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _run_front(settings: Settings, feed: Feed, config: Path | None) -> None:
    """Run the front; while the address for HTTP is taken, one for MQTT alone."""
    publishes = bool(settings.mqtt.url.get_secret_value())
    listening: list[socket.socket] = []
    if settings.http.enabled:
        try:
            listening = [_listen(settings)]
        except OstiaryError as error:
            log.error("HTTP is not served", error=str(error), next_try_seconds=HTTP_PAUSE)
            async with front(feed, config, []) if publishes else contextlib.nullcontext():
                listening = [await _listen_later(settings)]
    if not listening and not publishes:
        return
    async with AsyncExitStack() as parts:
        for each in listening:
            parts.enter_context(each)
        await parts.enter_async_context(front(feed, config, listening))
        await asyncio.Event().wait()


async def _listen_later(settings: Settings) -> socket.socket:
    """Return the socket once the address is free: of a server that was killed, the front holds it a moment longer."""
    while True:
        await asyncio.sleep(HTTP_PAUSE)
        with contextlib.suppress(OstiaryError):
            return _listen(settings)


def _listen(settings: Settings) -> socket.socket:
    """Return the socket HTTP is served on: bound here, so that it stays while a front is started again."""
    return listen(settings.http.listen, HTTP_BACKLOG, setting="http.listen")


def _readiness(
    settings: Settings, directory: SqliteDirectory, journal: Journal, metrics: Metrics
) -> Mapping[str, str]:
    """Return the state of each part of this process."""
    return {
        "directory": directory.state(),
        "journal": journal.state() if settings.journal.enabled else "off",
        "salesforce": _salesforce_state(metrics.salesforce) if settings.salesforce.enabled else "off",
        "pbx": _pbx_state(metrics.pbxs) if settings.ami.host else "off",
    }


def _salesforce_state(told: Mapping[str, Any] | None) -> str:
    """Return what the readiness page says of Salesforce: calls go on without it, so it is degraded at worst."""
    if told is None:
        return "degraded: the worker has said nothing of it yet"
    return "ok" if told["up"] else f"degraded: {told['error'] or 'no round is done yet'}"


def _pbx_state(told: Mapping[str, Mapping[str, Any]] | None) -> str:
    """Return what the readiness page says of PBXs: calls are answered without them, so it is degraded at worst."""
    if not told:
        return "degraded: the worker has said nothing of it yet"
    away = [
        f"{name}: {state['error'] or 'not connected yet'}" for name, state in told.items() if not state["up"]
    ]
    return f"degraded: {'; '.join(away)}" if away else "ok"
