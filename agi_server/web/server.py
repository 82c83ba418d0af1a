"""Serve the application: connections are bounded and end, TLS where it is set, proxies believed where they are named.

Signals and logging stay with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, cast

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from agi_server.errors import SettingsError
from agi_server.settings import Http

CONNECTIONS = 500  # open at most, streams of events among them
FIRST_REQUEST_WITHIN = 20.0  # seconds
KEEP_ALIVE = 30  # seconds between two requests of one connection
GRACE = 2  # seconds that requests in hand have to finish when we stop
CERTIFICATE_LOOK = 60.0  # seconds between two looks for a renewed certificate

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def serve_http(app: ASGIApp, settings: Http, sockets: Sequence[socket.socket]) -> AsyncIterator[None]:
    """Serve `app` on sockets that listen, on this event loop, until the context is left. Raises SettingsError."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        http=_Connection,
        ws="none",
        lifespan="off",
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
        server_header=False,
        date_header=True,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )
    config.load()
    config.ssl = _tls(settings)
    server = _Server(config)
    tasks = [asyncio.create_task(server.serve(sockets=list(sockets)), name="http")]
    tasks[0].add_done_callback(_report)
    if config.ssl is not None:
        tasks.append(asyncio.create_task(_renew(config.ssl, settings)))
    try:
        yield
    finally:
        server.should_exit = True
        for task in tasks[1:]:
            task.cancel()
        await asyncio.wait(tasks)


class _Connection(HttpToolsProtocol):
    """One of at most so many; whoever connects and asks nothing is sent away (uvicorn would wait for ever)."""

    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own type
        """Refuse what is too much, and set the end of what asks nothing."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._end = self.loop.call_later(FIRST_REQUEST_WITHIN, self._asked_nothing)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the end."""
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)

    def _asked_nothing(self) -> None:
        if cast("Any", self).cycle is None:  # no request has come whole so far
            self.transport.close()


class _Server(uvicorn.Server):
    """A server that leaves SIGINT and SIGTERM to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _tls(settings: Http) -> ssl.SSLContext | None:
    if settings.certificate_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load(context, settings)
    return context


def _load(context: ssl.SSLContext, settings: Http) -> None:
    assert settings.certificate_file is not None
    try:
        context.load_cert_chain(settings.certificate_file, settings.private_key_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"http.certificate_file, http.private_key_file: no certificate with its key can be read there ({error}); "
            "both are PEM files that the user Ostiary runs as may read"
        ) from error


async def _renew(context: ssl.SSLContext, settings: Http) -> None:
    """Take a renewed certificate for new connections."""
    known = _changed_at(settings)
    while True:
        await asyncio.sleep(CERTIFICATE_LOOK)
        if (now := _changed_at(settings)) != known:
            try:
                _load(context, settings)
            except SettingsError as error:
                log.error("the renewed certificate is not used", error=str(error))
            else:
                log.info("the renewed certificate is used")
            known = now


def _changed_at(settings: Http) -> list[float]:
    files = (settings.certificate_file, settings.private_key_file)
    with contextlib.suppress(OSError):
        return [os.stat(file).st_mtime for file in files if file is not None]  # noqa: PTH116
    return []


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("HTTP is no longer served", exc_info=error)
