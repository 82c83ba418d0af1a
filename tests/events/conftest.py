"""A real broker on a free loopback port, started and stopped as a test wants it, and a subscriber that sees all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiomqtt import Client, Message, MqttError, ProtocolVersion

from agi_server.events import mqtt
from agi_server.events.hub import Hub
from agi_server.settings import Settings
from agi_server.web.counts import Counts
from storage.database import Database
from storage.migrate import migrate
from tests.ports import free_port

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PATIENCE = 20.0  # seconds until a test gives up
SILENT = logging.getLogger("tests.mqtt")
SILENT.disabled = True


class Broker:
    """Mosquitto with a configuration of its own; who starts it anew finds the same port."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.more = "allow_anonymous true\n"  # of the configuration
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        process = self._spawn()
        async with asyncio.timeout(PATIENCE):
            while True:
                assert process.poll() is None, self.log
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
                    return

    @property
    def log(self) -> str:
        return (self._directory / "mosquitto.log").read_text()

    def _spawn(self) -> subprocess.Popen[bytes]:
        assert MOSQUITTO is not None
        configuration = self._directory / "mosquitto.conf"
        configuration.write_text(f"listener {self.port} 127.0.0.1\nuser root\n{self.more}")
        with (self._directory / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", configuration], stderr=log, stdout=log)
        return self._process

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)
            self._process = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed: MQTT is not tested against a broker")
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(mqtt, "LONGEST_PAUSE", 0.2)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("events") / "ostiary.db"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    """Return an empty, migrated database."""
    return Path(shutil.copy(template, tmp_path / "ostiary.db"))


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(f"sqlite+aiosqlite:///{path}")
    yield opened
    await opened.close()


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def value(counts: Counts) -> Callable[..., float]:
    """Return what a metric shows, e.g. value("ostiary_events_dropped_total", to="mqtt")."""

    def read(name: str, **labels: str) -> float:
        return counts.registry.get_sample_value(name, labels) or 0.0

    return read


def settings_for(
    port: int, directory: Path, *, scheme: str = "mqtt", user: str = "", **more: Any
) -> Settings:
    return Settings.model_validate(
        {
            "storage": {"state_directory": directory},
            "numbers": {"region": "DE"},
            "mqtt": {"url": f"{scheme}://{user}127.0.0.1:{port}", **more},
        }
    )


@asynccontextmanager
async def running(work: Awaitable[None]) -> AsyncIterator[asyncio.Future[None]]:
    """Run what never returns, and see that it did not."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)  # so that it listens
    try:
        yield task
        assert not task.done(), task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


Publishing = Callable[..., Any]


@pytest.fixture
def publishing(hub: Hub, counts: Counts, database: Database, tmp_path: Path) -> Publishing:
    """Publish at a port: publishing(port, user="ana:secret@", prefix="house")."""

    def run(port: int, **more: Any) -> Any:
        return running(mqtt.publish(settings_for(port, tmp_path, **more), hub, counts, database=database))

    return run


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


class Subscriber:
    """Everything below a topic, as it comes."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def next(self) -> Message:
        async with asyncio.timeout(PATIENCE):
            return await anext(aiter(self.client.messages))

    async def take(self, count: int) -> list[Message]:
        return [await self.next() for _ in range(count)]

    async def event(self) -> dict[str, Any]:
        """Return the next event, passing over the status."""
        while (message := await self.next()).topic.value.endswith("/status"):
            pass
        event = orjson.loads(message.payload)
        assert isinstance(event, dict)
        return event


def client(port: int, **options: Any) -> Client:
    return Client("127.0.0.1", port, protocol=ProtocolVersion.V5, logger=SILENT, **options)


@asynccontextmanager
async def subscribed(port: int, topic: str = "ostiary/#", **options: Any) -> AsyncIterator[Subscriber]:
    with contextlib.suppress(MqttError):  # a test that stops the broker leaves nothing to sign off from
        async with client(port, **options) as connected:
            await connected.subscribe(topic, qos=1)
            yield Subscriber(connected)
