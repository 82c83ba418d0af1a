"""The front process: HTTP and MQTT, so that no browser, no phone book and no broker costs a caller anything.

It ends when the serving process does: the socket between them then reports its end. What it needs of the calls comes
over that socket (feed.py); everything else it reads from the local database and writes there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, NoReturn

import structlog

from agi_server.errors import DirectoryError, OstiaryError
from agi_server.events import calls, changes
from agi_server.events.event import EventType
from agi_server.events.hub import Hub
from agi_server.events.screen import Desk
from agi_server.feed import ServingProcess
from agi_server.loop import new_event_loop
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from agi_server.web.app import create_app
from agi_server.web.counts import Counts
from agi_server.web.links import console_address, welcome_link
from agi_server.web.server import serve_http
from agi_server.web.services import Services
from storage.database import Database
from storage.directory import SqliteDirectory
from storage.engine import sqlite_path
from storage.invitations import first_invitation

NICENESS = 10  # calls first, then the journal; a page may take a moment longer

log = structlog.get_logger()


async def serve_front(settings: Settings, end: socket.socket, listening: Sequence[socket.socket]) -> None:
    """Serve until the serving process ends its side of `end`."""
    path = sqlite_path(storage_url(settings))
    hub, counts = Hub(), Counts()
    server = ServingProcess(partial(_heard, hub))
    async with AsyncExitStack() as parts:
        directory = SqliteDirectory(path, settings)
        parts.callback(directory.close)
        hub.desk = Desk(directory, console_address(settings))
        database = Database(path)  # not `open`: a database that is away is told of, not a reason to end
        parts.push_async_callback(database.close)
        services = Services(
            settings=settings,
            database=database,
            directory=directory,
            server=server,
            events=hub,
            counts=counts,
        )
        await parts.enter_async_context(_running(changes.watch(path, hub, settings)))
        if settings.mqtt.url.get_secret_value():
            from agi_server.events import mqtt  # noqa: PLC0415  # not needed by most

            publishing = mqtt.publish(settings, hub, counts, database=database)
            await parts.enter_async_context(_running(publishing))
        await server.connect(end)
        if listening:
            await parts.enter_async_context(serve_http(create_app(services), settings.http, listening))
            parts.callback(hub.close)  # before the server ends, which waits for streams
            await _invite(services, listening[0])
        await server.gone.wait()


def _heard(hub: Hub, kind: str, content: Any) -> None:  # noqa: ANN401  # as JSON has it
    """Tell whoever listens what the serving process tells."""
    if kind == "decision":
        calls.announce_decision(hub, content)
    elif kind in {"answered", "call.answered"}:
        calls.announce_answered(hub, content)
    elif kind in {"ended", "call.ended"}:
        calls.announce_ended(hub, content)
    elif kind == "call.progress":
        calls.announce_progress(hub, content)
    elif kind == "chat":
        hub.publish(EventType.CHAT, content, extension=content["agent"])
    elif kind == "salesforce":
        hub.publish(EventType.SYNC, content)


async def _invite(services: Services, listening: socket.socket) -> None:
    """Say where the console is; while nobody can log in to it, say how the first one does."""
    scheme = "https" if services.settings.http.certificate_file else "http"
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    address = f"{scheme}://{host}:{port}/"
    try:
        secret = await first_invitation(services.database, int(services.clock()))
    except DirectoryError as error:
        log.error("the console waits for the database", error=str(error))
        return
    if secret is None:
        log.info("console", address=address)
    else:
        log.warning("console: choose the first password within a day", address=welcome_link(address, secret))


def _stand_back() -> None:
    """Leave processors to calls: keep to one of them where there are several, and give way there.

    Left alone, our threads run on all of them, and a call's p99 is twice as long while the console is busy.
    """
    with contextlib.suppress(OSError, AttributeError):  # a sandbox may forbid it; not every system has it
        os.nice(NICENESS)
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


@asynccontextmanager
async def _running(work: Any) -> AsyncIterator[None]:  # noqa: ANN401  # a coroutine that never returns
    task = asyncio.create_task(work)
    task.add_done_callback(_report)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a part of the front has ended", exc_info=error)


def main(
    settings: Settings, descriptor: int, listening: Sequence[int], *, close_log: Callable[[], None]
) -> NoReturn:
    """Run the front on inherited sockets; it ends with the first, not by the signals that end its parent."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    for each in (descriptor, *listening):
        os.set_inheritable(each, False)
    _stand_back()
    code = 1
    try:
        sockets = [socket.socket(fileno=each) for each in listening]
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(serve_front(settings, socket.socket(fileno=descriptor), sockets))
        code = 0
    except OstiaryError as error:
        log.error("the console and the API cannot be served", error=str(error))
    except BaseException:
        log.exception("the front failed")
    finally:
        close_log()
        os._exit(code)
