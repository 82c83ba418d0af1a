"""The front process beside the call path: what comes over, and that no call waits for it."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson
import pytest

from agi_server import app
from agi_server.settings_file import load_settings, storage_url
from storage.database import Database
from storage.tokens import add_token
from storage.users import list_users
from tests.house import House, furnish, process, serving, until_answering, write_settings
from tests.ports import free_port

KNOWN = "+493023125010"
MQTT_AWAY = '[mqtt]\nurl = "mqtt://127.0.0.1:9"\n'


def with_http(directory: Path, *, port: int = 0, more: str = "") -> tuple[Path, str]:
    """Return a settings file that serves HTTP, and where."""
    http = f"127.0.0.1:{free_port()}"
    config = write_settings(directory, port=port, more=more, deadline=30)
    text = config.read_text(encoding="utf-8").replace("enabled = false", f'listen = "{http}"')
    config.write_text(text, encoding="utf-8")
    return config, http


async def token(config: Path, *scopes: str) -> dict[str, str]:
    """Return the header of a new token."""
    database = await Database.open(storage_url(load_settings(config, environ={})))
    try:
        _, secret = await database.write(
            lambda conn: add_token(conn, name="test", scopes=scopes, expires_at=0, who="test", now=1)
        )
    finally:
        await database.close()
    return {"Authorization": f"Bearer {secret}"}


async def until_up(web: httpx.AsyncClient) -> None:
    async with asyncio.timeout(90):
        while True:
            try:
                if (await web.get("/healthz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


@asynccontextmanager
async def open_house(directory: Path, more: str = "") -> AsyncIterator[tuple[House, httpx.AsyncClient]]:
    config, http = with_http(directory, more=more)
    settings = load_settings(config, environ={})
    await furnish(settings)
    headers = await token(config, "read", "decide")
    async with (
        serving(settings, config) as ostiary,
        httpx.AsyncClient(base_url=f"http://{http}", trust_env=False, timeout=60, headers=headers) as web,
    ):
        await until_up(web)
        yield ostiary, web


async def test_a_call_is_seen_live_and_one_over_http_is_journalled(tmp_path: Path) -> None:
    async with open_house(tmp_path) as (ostiary, web):
        async with web.stream("GET", "/api/v1/events?types=call.*,decision") as stream:
            lines = stream.aiter_lines()
            answer = await ostiary.ask("incoming", KNOWN)
            seen = {}
            async with asyncio.timeout(60):
                async for line in lines:
                    if line.startswith("data:"):
                        data = orjson.loads(line.removeprefix("data:"))
                        text = orjson.dumps(data).decode()
                        if answer["OSTIARY_CALL"] in text:
                            seen["agi"] = data
                            break
            assert "Ana" in orjson.dumps(seen["agi"]).decode()
        decided = (await web.post("/api/v1/decisions", json={"number": KNOWN, "did": "200"})).json()
        assert decided["display_name"] == answer["CALLERID(name)"]
        row = await ostiary.until_row(f"SELECT did, name FROM calls WHERE id = '{decided['id']}'")
        assert row == ("200", answer["CALLERID(name)"])
        ended = {"disposition": "answer", "seconds": 7, "answered_by": "101"}
        assert (await web.post(f"/api/v1/calls/{decided['id']}/ended", json=ended)).status_code == 202
        await ostiary.until_row(f"SELECT 1 FROM calls WHERE id = '{decided['id']}' AND seconds = 7")
        shown = (await web.get("/metrics")).text
        assert 'ostiary_calls_total{direction="inbound",rung="exact",verdict="allow"} 2.0' in shown
        assert "ostiary_http_requests_total" in shown
        assert (await web.get("/readyz")).json()["ready"] is True


async def test_the_dialplan_tells_who_answered(tmp_path: Path) -> None:
    async with open_house(tmp_path) as (ostiary, web):
        async with web.stream("GET", "/api/v1/events?types=call.answered") as stream:
            call = (await ostiary.ask("incoming", KNOWN))["OSTIARY_CALL"]
            await ostiary.ask("answered", query={"call": call, "answered_by": "PJSIP/101-00000001"})
            async with asyncio.timeout(60):
                async for line in stream.aiter_lines():
                    if line.startswith("data:"):
                        assert call in line
                        assert '"101"' in line
                        break
        await ostiary.until_row(f"SELECT 1 FROM calls WHERE id = '{call}' AND answered_by = '101'")


async def test_a_message_is_told_of(tmp_path: Path) -> None:
    def plain(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    async with (
        open_house(tmp_path) as (ostiary, web),
        web.stream("GET", "/api/v1/events?types=chat.changed") as stream,
    ):
        told = await ostiary.ask("message", args=[plain(KNOWN), plain("101"), plain("Hello")])
        assert told["OSTIARY_RESULT"] == "kept"
        async with asyncio.timeout(60):
            async for line in stream.aiter_lines():
                if line.startswith("data:"):
                    event = orjson.loads(line.removeprefix("data:"))
                    assert (event["extension"], event["data"]["number"]) == ("101", KNOWN)
                    assert (event["data"]["channel"], event["data"]["agent"]) == ("sip-message", "101")
                    break


@pytest.mark.slow
async def test_a_front_killed_again_and_again_costs_no_call(tmp_path: Path) -> None:
    port = free_port()
    config, http = with_http(tmp_path, port=port)
    await furnish(load_settings(config, environ={}))
    async with httpx.AsyncClient(base_url=f"http://{http}", trust_env=False, timeout=60) as web:
        with process(config) as server:
            await until_answering(port)
            for _ in range(2):
                await until_up(web)
                os.kill(await front_of(server.pid), signal.SIGKILL)
                for _ in range(3):
                    await until_answering(port)
            await until_up(web)  # asked while it was away, answered when it was back: the socket stays
            server.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait, 60) == 0


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor only")
@pytest.mark.parametrize("more", ["", MQTT_AWAY], ids=["http alone", "with MQTT"])
async def test_an_address_that_is_freed_is_taken(
    tmp_path: Path, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a `kill -9` of the server alone: its front holds the address until it has ended."""
    monkeypatch.setattr(app, "HTTP_PAUSE", 0.1)
    config, http = with_http(tmp_path, more=more)
    settings = load_settings(config, environ={})
    await furnish(settings)
    with socket.create_server(("127.0.0.1", int(http.rpartition(":")[2]))) as other:
        async with (
            serving(settings, config) as ostiary,
            httpx.AsyncClient(base_url=f"http://{http}", trust_env=False, timeout=60) as web,
        ):
            assert (await ostiary.ask("incoming", KNOWN))["OSTIARY_REASON"] == "known"
            other.close()
            await until_up(web)


async def test_the_front_leaves_processors_to_calls(tmp_path: Path) -> None:
    port = free_port()
    config, http = with_http(tmp_path, port=port)
    await furnish(load_settings(config, environ={}))
    async with httpx.AsyncClient(base_url=f"http://{http}", trust_env=False, timeout=60) as web:
        with process(config) as server:
            await until_up(web)
            front = await front_of(server.pid)
            assert len(os.sched_getaffinity(front)) == 1
            assert len(os.sched_getaffinity(server.pid)) > 1
            ours = os.getpriority(os.PRIO_PROCESS, server.pid)
            assert os.getpriority(os.PRIO_PROCESS, front) > ours


async def test_the_first_admin_follows_the_link_of_the_log(tmp_path: Path) -> None:
    port = free_port()
    config, http = with_http(tmp_path, port=port)
    settings = load_settings(config, environ={})
    await furnish(settings)
    async with httpx.AsyncClient(base_url=f"http://{http}", trust_env=False, timeout=60) as web:
        with process(config):
            await until_up(web)
            log = tmp_path / "serve.log"
            async with asyncio.timeout(60):
                while not (found := re.search(r"http://\S+/welcome/([\w-]+)", log.read_text())):
                    await asyncio.sleep(0.02)
            form = {"name": "ana", "password": "correct horse", "again": "correct horse"}
            assert (await web.post(f"/welcome/{found[1]}", data=form)).status_code == 303
            assert (await web.get("/")).status_code == 200
            assert (await web.post(f"/welcome/{found[1]}", data=form)).status_code == 404
    database = await Database.open(storage_url(settings))
    assert [(user.name, user.role) for user in await database.read(list_users)] == [("ana", "admin")]
    await database.close()


async def front_of(pid: int) -> int:
    """Return the process id of a server's front."""
    children = await asyncio.to_thread(Path(f"/proc/{pid}/task/{pid}/children").read_text)
    for child in children.split():
        line = await asyncio.to_thread(Path(f"/proc/{child}/cmdline").read_bytes)
        if b"front" in line.split(b"\0"):
            return int(child)
    raise LookupError("it has none")
