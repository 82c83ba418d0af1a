"""A server under test, an observer that remembers, and peers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from agi_server.fastagi.client import Outcome, ask, environment
from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer, FastAgiServer, Script
from agi_server.settings import FastAgi

BLOCK = environment("incoming", number="+4930123456", name="Erika Mustermann", did="4930555000")
LONG = 10.0  # s; what no test should wait for


class Recorder:
    """An observer that remembers everything, and lets a test wait for it."""

    def __init__(self) -> None:
        self.opens = 0
        self.closes = 0
        self.answers: list[tuple[str, float]] = []
        self.failures: list[tuple[str, str]] = []
        self._changed = asyncio.Event()

    def opened(self) -> None:
        self.opens += 1
        self._changed.set()

    def closed(self) -> None:
        self.closes += 1
        self._changed.set()

    def answered(self, script: str, seconds: float) -> None:
        self.answers.append((script, seconds))
        self._changed.set()

    def failed(self, kind: str, detail: str) -> None:
        self.failures.append((kind, detail))
        self._changed.set()

    @property
    def kinds(self) -> Counter[str]:
        return Counter(kind for kind, _ in self.failures)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONG):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def all_closed(self) -> None:
        await self.until(lambda: self.opens == self.closes)


def incoming(request: AgiRequest) -> Answer:
    """Echo what was understood; a stand-in for the real script."""
    return Answer(
        {
            "CALLERID(name)": request.get("name", "calleridname"),
            "NUMBER": request.get("number", "callerid"),
            "DID": request.get("did", "extension", "dnid"),
            "OSTIARY_ACTION": "allow",
        }
    )


class Running:
    """A server, how to reach it and what it reports."""

    def __init__(self, server: FastAgiServer, recorder: Recorder) -> None:
        self.server = server
        self.recorder = recorder
        self.address = server.addresses[0]

    async def ask(self, script: str = "incoming", **options: Any) -> Outcome:
        return await ask(*self.address, script, **options)

    async def connect(self, source: str = "") -> Peer:
        local = (source, 0) if source else None
        return Peer(*await asyncio.open_connection(*self.address, local_addr=local))

    async def still_answers(self, source: str = "") -> None:
        assert (await self.ask(source=source)).variables["OSTIARY_ACTION"] == "allow"


class Peer:
    """A connection that may do anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        if not self.writer.is_closing():  # the server may have let us go already
            self.writer.write(data)

    async def rest(self) -> bytes:
        """Return all that comes until the server closes; a reset is a close."""
        received = b""
        async with asyncio.timeout(LONG):
            try:
                while data := await self.reader.read(65536):
                    received += data
            except ConnectionError:
                pass
        return received

    async def line(self) -> bytes:
        async with asyncio.timeout(LONG):
            return await self.reader.readline()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        if not self.writer.is_closing():
            taken: socket.socket = self.writer.get_extra_info("socket")
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def serving(
    scripts: Mapping[str, Script] | None = None, *, sockets: Sequence[socket.socket] = (), **settings: Any
) -> AsyncIterator[Running]:
    """A server on a free loopback port with settings of the test."""
    recorder = Recorder()
    chosen = FastAgi.model_validate({"listen": "127.0.0.1:0", **settings})
    server = FastAgiServer({"incoming": incoming} if scripts is None else scripts, chosen, recorder)
    await server.start(sockets)
    try:
        yield Running(server, recorder)
    finally:
        await server.close()
