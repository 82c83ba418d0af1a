"""How the HTTP side is served: bounded connections, TLS, proxies, and an end."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI, Request

from agi_server.errors import SettingsError
from agi_server.settings import Http
from agi_server.web import server


def app() -> FastAPI:
    application = FastAPI()

    @application.get("/healthz")
    async def healthz() -> str:
        return "ok"

    @application.get("/who")
    async def who(request: Request) -> dict[str, Any]:
        return {"scheme": request.url.scheme, "host": request.client.host if request.client else ""}

    return application


@asynccontextmanager
async def served(
    application: FastAPI | None = None, address: str = "127.0.0.1", **settings: Any
) -> AsyncIterator[str]:
    """Serve on a free port; yield `host:port`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listening:
        host, port = listening.getsockname()[:2]
        async with server.serve_http(application or app(), Http(**settings), [listening]):
            yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def ask(address: str, path: str = "/healthz") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as opened:
        return await opened.get(f"http://{address}{path}")


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_served_on_the_running_loop_until_the_end() -> None:
    async with served() as address:
        assert (await ask(address)).status_code == 200
    with pytest.raises(httpx.ConnectError):
        await ask(address)


async def test_signals_and_logging_stay_as_they_are() -> None:
    def state() -> list[object]:
        loggers = [logging.getLogger(name) for name in ("", "uvicorn", "uvicorn.error")]
        handlers = [(tuple(logger.handlers), logger.level, logger.propagate) for logger in loggers]
        return [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), handlers]

    before = state()
    async with served() as address:
        await ask(address)
        assert state() == before
    assert state() == before


async def test_nothing_is_left_behind() -> None:
    async def once() -> None:
        async with served() as address:
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
    async with asyncio.timeout(server.GRACE + 8):
        async with served() as address:
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(said)
            await writer.drain()
            assert (await ask(address)).status_code == 200
        await reader.read()  # to the end: the connection was closed
        writer.close()


async def test_a_request_that_does_not_end_does_not_stop_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "GRACE", 0.1)
    application, asked = FastAPI(), asyncio.Event()

    @application.get("/forever")
    async def forever() -> None:
        asked.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(60):
        async with served(application) as address:
            request = asyncio.create_task(ask(address, "/forever"))
            await asked.wait()
        await asyncio.wait([request])  # an error or nothing, but no waiting


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 3)
    async with served() as address:
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


async def test_an_early_end_of_the_server_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_self: object, sockets: object = None) -> None:
        raise RuntimeError(sockets)

    monkeypatch.setattr(server._Server, "serve", broken)
    with structlog.testing.capture_logs() as logged:
        async with served():
            pass
    assert [entry["event"] for entry in logged] == ["HTTP is no longer served"]


async def test_served_on_ipv6() -> None:
    async with served(address="::1") as address:
        assert (await ask(address)).status_code == 200


async def test_whoever_asks_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FIRST_REQUEST_WITHIN", 0.05)
    async with asyncio.timeout(60), served() as address:
        host, _, port = address.rpartition(":")
        for said in (b"", b"GET /hea"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(said)
            assert await reader.read() == b""
            writer.close()


async def test_only_a_named_proxy_is_believed() -> None:
    told = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as web:
        async with served() as address:
            answer = await web.get(f"http://{address}/who", headers=told)
            assert answer.json() == {"scheme": "http", "host": "127.0.0.1"}
        async with served(trusted_proxies=[ip_network("127.0.0.0/8")]) as address:
            answer = await web.get(f"http://{address}/who", headers=told)
            assert answer.json() == {"scheme": "https", "host": "203.0.113.9"}
        async with served(trusted_proxies=[ip_network("192.0.2.1")]) as address:
            answer = await web.get(f"http://{address}/who", headers=told)
            assert answer.json() == {"scheme": "http", "host": "127.0.0.1"}


def certificate(directory: Path, name: str = "ostiary.example") -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that signs itself; return it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "cert.pem", directory / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


async def name_shown(address: str) -> str:
    """Return whose certificate a server shows."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    (name,) = x509.load_der_x509_certificate(shown).subject
    return str(name.value)


async def test_tls_and_a_renewed_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CERTIFICATE_LOOK", 0.01)
    cert, key = certificate(tmp_path, "first")
    async with served(certificate_file=cert, private_key_file=key) as address:
        trusting = ssl.create_default_context(cafile=str(cert))
        async with httpx.AsyncClient(trust_env=False, verify=trusting, timeout=60) as web:
            assert (await web.get(f"https://{address}/who")).json()["scheme"] == "https"
        assert await name_shown(address) == "first"
        certificate(tmp_path, "second")
        async with asyncio.timeout(60):
            while await name_shown(address) != "second":
                await asyncio.sleep(0.01)


async def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="certificate_file"):
        async with served(certificate_file=tmp_path / "none.pem"):
            pass
