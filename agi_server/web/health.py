"""Health and metrics over HTTP.

Invariant: whoever is served here shares the event loop with calls, so nothing waits, and connections are few and
end; signals and logging stay with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

import orjson
import structlog
import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from uvicorn.protocols.http.h11_impl import H11Protocol

from agi_server.fastagi.sockets import bind
from agi_server.metrics import Metrics

READY = frozenset({"ok", "off", "degraded"})  # degraded: calls do not need it
NOT_CACHED = {"Cache-Control": "no-store"}
CONNECTIONS = 64  # open at most; a health check or a scrape needs one
LIFETIME = 60.0  # seconds a connection lasts at most; who scrapes may connect again
GRACE = 2  # seconds that requests in hand have to finish when we stop

log = structlog.get_logger()


def create_app(metrics: Metrics, readiness: Callable[[], Mapping[str, str]]) -> FastAPI:
    """Return the application: /healthz, /readyz and /metrics.

    `readiness` names the state of each part. A part is ready when the first word of its state is `ok`, `off` or
    `degraded`; what follows (`ok: 12 contacts`, `failed: disk full`) is for people.
    """
    app = FastAPI(title="Ostiary", docs_url=None, redoc_url=None, openapi_url=None)

    @app.api_route("/healthz", methods=["GET", "HEAD"])
    async def healthz() -> Response:
        """Say that the process is alive."""
        return Response("ok\n", media_type="text/plain", headers=NOT_CACHED)

    @app.api_route("/readyz", methods=["GET", "HEAD"])
    async def readyz() -> Response:
        """Say whether every part does its work: 200 or 503."""
        parts = dict(readiness())
        ready = all(state.split(":")[0].split(" ")[0] in READY for state in parts.values())
        return Response(
            orjson.dumps({"ready": ready, "parts": parts}),
            status_code=200 if ready else 503,
            media_type="application/json",
            headers=NOT_CACHED,
        )

    @app.get("/metrics")
    async def show_metrics() -> Response:
        """Show the numbers in Prometheus's text format."""
        return Response(generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return app


@contextlib.asynccontextmanager
async def serve_http(
    app: FastAPI, listen: str, sockets: Sequence[socket.socket] = ()
) -> AsyncIterator[list[str]]:
    """Serve `app` on this event loop until the context is left; yield the addresses, `host:port`.

    `sockets` that listen already are used instead of `listen`. Raises SettingsError when the address cannot be
    listened on.
    """
    listening = list(sockets) or [bind(listen, CONNECTIONS, setting="http.listen")]
    addresses = [_shown(each) for each in listening]
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            http=_Connection,
            ws="none",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
        )
    )
    task = asyncio.create_task(server.serve(sockets=listening), name="http")
    task.add_done_callback(_report)
    try:
        yield addresses
    finally:
        server.should_exit = True
        await asyncio.wait([task])


class _Connection(H11Protocol):
    """One of at most so many, and for so long at most: uvicorn itself waits for a request for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own type
        """Refuse what is too much, and set the end of what is not."""
        super().connection_made(transport)
        self._end = self.loop.call_later(LIFETIME, transport.close)
        if len(self.connections) > CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the end."""
        self._end.cancel()
        super().connection_lost(exc)


class _Server(uvicorn.Server):
    """A server that leaves SIGINT and SIGTERM to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("HTTP is no longer served", exc_info=error)


def _shown(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
