"""Health and metrics over HTTP."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import structlog.testing
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from agi_server.errors import SettingsError
from agi_server.metrics import Metrics
from agi_server.web import health
from agi_server.web.health import create_app, serve_http

ANYWHERE = "127.0.0.1:0"


def app(**parts: str) -> FastAPI:
    return create_app(Metrics(), lambda: parts)


@asynccontextmanager
async def client(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


async def ask(address: str, path: str = "/healthz") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as opened:
        return await opened.get(f"http://{address}{path}")


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# what is said


async def test_alive() -> None:
    async with client(app(directory="failed")) as web:
        answer = await web.get("/healthz")
        assert (answer.status_code, answer.text) == (200, "ok\n")
        assert (await web.head("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({}, 200),
        ({"directory": "ok", "journal": "off"}, 200),
        ({"directory": "ok: 12 contacts", "journal": "ok (3 wait)"}, 200),
        ({"directory": "ok", "salesforce": "degraded: no answer"}, 200),
        ({"directory": "ok", "journal": "failed: disk full"}, 503),
        ({"directory": "starting"}, 503),
        ({"directory": ""}, 503),
        ({"directory": "okay"}, 503),
    ],
)
async def test_ready(parts: Mapping[str, str], status: int) -> None:
    async with client(app(**parts)) as web:
        answer = await web.get("/readyz")
        assert answer.status_code == status
        assert answer.json() == {"ready": status == 200, "parts": parts}
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert (await web.head("/readyz")).status_code == status


async def test_ready_asks_every_time() -> None:
    parts = {"directory": "starting"}
    async with client(create_app(Metrics(), lambda: parts)) as web:
        assert (await web.get("/readyz")).status_code == 503
        parts["directory"] = "ok"
        assert (await web.get("/readyz")).status_code == 200


async def test_metrics() -> None:
    metrics = Metrics()
    metrics.opened()
    async with client(create_app(metrics, dict)) as web:
        answer = await web.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["ostiary_connections_open"].samples[0].value == 1


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/openapi.json"])
async def test_nothing_else_yet(path: str) -> None:
    async with client(app()) as web:
        assert (await web.get(path)).status_code == 404


# how it is served


async def test_served_on_the_running_loop_until_the_end() -> None:
    async with serve_http(app(directory="ok"), ANYWHERE) as [address]:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await ask(address, path)).status_code == 200
    with pytest.raises(httpx.ConnectError):
        await ask(address)


async def test_served_on_ipv6() -> None:
    async with serve_http(app(), "[::1]:0") as [address]:
        assert address.startswith("[::1]:")
        assert (await ask(address)).status_code == 200


async def test_served_on_sockets_that_are_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with serve_http(app(), "127.0.0.1:1", [listening]) as addresses:
            assert addresses == [f"127.0.0.1:{port}"]
            assert (await ask(addresses[0])).status_code == 200


async def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError, match=f"http.listen: cannot listen on {address}: another program"):
            async with serve_http(app(), address):
                pass


async def test_signals_and_logging_stay_as_they_are() -> None:
    def state() -> list[object]:
        loggers = [logging.getLogger(name) for name in ("", "uvicorn", "uvicorn.error")]
        handlers = [(tuple(logger.handlers), logger.level, logger.propagate) for logger in loggers]
        return [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), handlers]

    before = state()
    async with serve_http(app(), ANYWHERE) as [address]:
        await ask(address)
        assert state() == before
    assert state() == before


async def test_nothing_is_left_behind() -> None:
    async def once() -> None:
        async with serve_http(app(), ANYWHERE) as [address]:
            await ask(address)

    await once()  # whatever is opened once and kept
    before = open_descriptors()
    tasks = len(asyncio.all_tasks())
    for _ in range(3):
        await once()
    assert open_descriptors() == before
    assert len(asyncio.all_tasks()) == tasks


@pytest.mark.parametrize("said", [b"", b"GET /hea", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_client_that_stays_hinders_neither_others_nor_the_end(said: bytes) -> None:
    async with asyncio.timeout(health.GRACE + 8):
        async with serve_http(app(), ANYWHERE) as [address]:
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(said)
            await writer.drain()
            assert (await ask(address)).status_code == 200
        await reader.read()  # to the end: the connection was closed
        writer.close()


async def test_a_request_that_does_not_end_does_not_stop_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "GRACE", 0.1)
    application, asked = FastAPI(), asyncio.Event()

    @application.get("/forever")
    async def forever() -> None:
        asked.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(60):
        async with serve_http(application, ANYWHERE) as [address]:
            request = asyncio.create_task(ask(address, "/forever"))
            await asked.wait()
        await asyncio.wait([request])  # an error or nothing, but no waiting


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CONNECTIONS", 3)
    async with serve_http(app(), ANYWHERE) as [address]:
        host, _, port = address.rpartition(":")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b""
        writer.close()
        idle[0][1].close()
        await idle[0][1].wait_closed()
        async with asyncio.timeout(60):
            while True:  # until the server has noticed
                try:
                    assert (await ask(address)).status_code == 200
                    break
                except httpx.TransportError:
                    continue
        for _, other in idle:
            other.close()


async def test_connections_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LIFETIME", 0.05)
    async with asyncio.timeout(60), serve_http(app(), ANYWHERE) as [address]:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b""
        writer.close()


async def test_an_early_end_of_the_server_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_self: object, sockets: object = None) -> None:
        raise RuntimeError(sockets)

    monkeypatch.setattr(health._Server, "serve", broken)
    with structlog.testing.capture_logs() as logged, socket.create_server(("127.0.0.1", 0)) as listening:
        async with serve_http(app(), ANYWHERE, [listening]):
            pass
    assert [entry["event"] for entry in logged] == ["HTTP is no longer served"]
