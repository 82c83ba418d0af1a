"""The FastAGI server: accepts, keeps the time, and drains.

Invariant: within `deadline` of its connection a peer has an answer or a close, whatever it does or does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Mapping, Sequence

from agi_server.fastagi.admission import Admission
from agi_server.fastagi.connection import Answer, Connection, Observer, Script, Shared
from agi_server.fastagi.sockets import bind
from agi_server.settings import FastAgi

__all__ = ["Answer", "FastAgiServer", "Observer", "Script"]


class FastAgiServer:
    """Answers PBXes from `start` until it is drained or closed.

    `addresses` are those it listens on: (host, port) each.
    """

    def __init__(self, scripts: Mapping[str, Script], settings: FastAgi, observer: Observer) -> None:
        # One timer looks after all connections, and runs only while there are any. Since it may be late by
        # one tick, everyone is due one tick early.
        shortest = min(settings.deadline, settings.environment_deadline, settings.reply_deadline)
        self._shared = Shared(
            scripts=scripts,
            settings=settings,
            observer=observer,
            admission=Admission(settings),
            tick=min(0.05, shortest / 10),
            over=self._forget,
        )
        self.addresses: tuple[tuple[str, int], ...] = ()
        self._listeners: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self, sockets: Sequence[socket.socket] = ()) -> None:
        """Listen on `sockets`, which are then the server's to close, or else on `fastagi.listen`.

        Raises SettingsError when that address cannot be bound.
        """
        settings = self._shared.settings
        listening = list(sockets) or [bind(settings.listen, settings.backlog)]
        self.addresses = tuple(each.getsockname()[:2] for each in listening)
        for each in listening:
            self._listeners.append(
                await asyncio.get_running_loop().create_server(
                    self._accept, sock=each, backlog=settings.backlog
                )
            )

    async def drain(self, seconds: float) -> int:
        """Accept no more, let calls in hand finish for at most `seconds`; return how many had to be cut."""
        await self._stop_accepting()
        await self._wait_until_idle(seconds)
        cut = sum([connection.cut() for connection in list(self._connections)])
        await self._wait_until_idle(1.0)  # for what is cut to be closed; a script may refuse to be cancelled
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return cut

    async def close(self) -> None:
        """Stop at once; may be called again, and after `drain`."""
        await self.drain(0)

    async def _stop_accepting(self) -> None:
        """Close the listeners, but lose nobody who has been accepted.

        asyncio accepts in two steps, a turn of its loop apart. A server closed in between neither serves nor
        closes that connection (Server._attach fails, silently), and its caller would wait for ever. So stop the
        first step, let the second happen, then close. uvloop has but one step.
        """
        loop = asyncio.get_running_loop()
        if isinstance(loop, asyncio.SelectorEventLoop):
            for listener in self._listeners:
                for each in listener.sockets:
                    loop.remove_reader(each.fileno())
        await asyncio.sleep(0)
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def _accept(self) -> Connection:
        connection = Connection(self._shared)
        self._connections.add(connection)
        self._idle.clear()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._shared.tick, self._sweep)
        return connection

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._idle.set()

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in [each for each in self._connections if each.due <= now]:
            connection.expire()
        self._timer = None
        if self._connections:
            self._timer = asyncio.get_running_loop().call_later(self._shared.tick, self._sweep)

    async def _wait_until_idle(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
