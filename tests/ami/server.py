"""A PBX's manager interface that does what a test wants, on a port of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from agi_server.settings import Pbx

Headers = Sequence[tuple[str, str]] | Mapping[str, str]

SECRET = "s3cret-of-the-test"


def block(headers: Headers) -> bytes:
    """Return a message as Asterisk writes it."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return ("".join(f"{name}: {value}\r\n" for name, value in pairs) + "\r\n").encode()


class FakePbx:
    """Takes log-ins with SECRET. `lists` has the items of list actions, `answers` what other actions answer."""

    def __init__(self) -> None:
        self.port = 0
        self.greeting = b"Asterisk Call Manager/9.0.0\r\n"
        self.mute = False  # reads, and says nothing
        self.login_delay = 0.0
        self.lists: dict[str, list[dict[str, str]]] = {
            "CoreShowChannels": [],
            "DeviceStateList": [],
            "ExtensionStateList": [],
        }
        self.lost_items = 0  # of lists: counted, but not sent
        self.answers: dict[str, dict[str, str] | None] = {}  # None: none
        self.before_list: dict[str, Callable[[], None]] = {}  # called before a list is sent
        self.actions: list[dict[str, str]] = []
        self.seen: Counter[str] = Counter()
        self.log_ins = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._arrived = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Be away."""
        if self._server is not None:
            self._server.close()
            self.cut()
            for task in list(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            await self._server.wait_closed()
            self._server = None

    def cut(self) -> None:
        """End all connections."""
        for writer in list(self._writers):
            writer.transport.abort()

    def event(self, name: str, privilege: str = "call,all", **headers: str) -> None:
        """Send an event to all who are logged in."""
        self.raw(block({"Event": name, "Privilege": privilege, **headers}))

    def raw(self, data: bytes) -> None:
        """Send bytes to all who are logged in."""
        for writer in list(self._writers):
            writer.write(data)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so, looking whenever an action arrives."""
        async with asyncio.timeout(30):
            while not condition():
                self._arrived.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self._arrived.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            writer.write(self.greeting)
            while True:
                text = (await reader.readuntil(b"\r\n\r\n")).decode()
                action: dict[str, str] = {}
                for line in text.split("\r\n")[:-2]:
                    name, _, value = line.partition(": ")
                    action[name] = value
                await self._act(action, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _act(self, action: dict[str, str], writer: asyncio.StreamWriter) -> None:
        name, action_id = action["Action"], action["ActionID"]
        self.actions.append(action)
        self.seen[name] += 1
        self._arrived.set()
        if self.mute:
            return
        if name == "Login":
            await asyncio.sleep(self.login_delay)
            right = action["Secret"] == SECRET
            if right:
                self.log_ins += 1
                self._writers.add(writer)
            answer = ("Success", "Authentication accepted") if right else ("Error", "Authentication failed")
            writer.write(block({"Response": answer[0], "ActionID": action_id, "Message": answer[1]}))
        elif name in self.answers:
            given = self.answers[name]
            if given is not None:
                writer.write(block({"Response": "Success", "ActionID": action_id, **given}))
        elif name in self.lists:
            self.before_list.get(name, lambda: None)()
            self._list(name, action_id, writer)
        elif name == "Ping":
            writer.write(block({"Response": "Success", "ActionID": action_id, "Ping": "Pong"}))
        else:
            text = "Invalid/unknown command"
            writer.write(block({"Response": "Error", "ActionID": action_id, "Message": text}))

    def _list(self, name: str, action_id: str, writer: asyncio.StreamWriter) -> None:
        items = self.lists[name]
        writer.write(block({"Response": "Success", "ActionID": action_id, "EventList": "start"}))
        for item in items[: len(items) - self.lost_items]:
            event, *rest = item.items()
            writer.write(block([event, ("ActionID", action_id), *rest]))
        end = {"Event": f"{name}Complete", "ActionID": action_id, "EventList": "Complete"}
        writer.write(block({**end, "ListItems": str(len(items))}))


@asynccontextmanager
async def pbx(tls: ssl.SSLContext | None = None) -> AsyncIterator[FakePbx]:
    """Run a PBX."""
    fake = FakePbx()
    await fake.start(tls)
    try:
        yield fake
    finally:
        await fake.stop()


def where(fake: FakePbx, **changes: object) -> Pbx:
    """Return the settings that lead to a PBX."""
    values = {"name": "pbx", "host": "127.0.0.1", "port": fake.port, "username": "ostiary", "secret": SECRET}
    return Pbx.model_validate({**values, **changes})


CHANNEL = {
    "ChannelState": "6",
    "ChannelStateDesc": "Up",
    "CallerIDNum": "+493023125010",
    "CallerIDName": "Ana",
    "ConnectedLineNum": "<unknown>",
    "ConnectedLineName": "<unknown>",
    "Language": "en",
    "AccountCode": "",
    "Context": "from-trunk",
    "Exten": "4930777100",
    "Priority": "1",
}


def channel(name: str, uniqueid: str, linkedid: str = "", **changes: str) -> dict[str, str]:
    """Return the headers by which events describe a channel."""
    return {"Channel": name, **CHANNEL, "Uniqueid": uniqueid, "Linkedid": linkedid or uniqueid, **changes}


def listed(name: str, uniqueid: str, linkedid: str = "", **changes: str) -> dict[str, str]:
    """Return an item of CoreShowChannels."""
    more = {"Application": "Dial", "ApplicationData": "", "Duration": "00:00:07", "BridgeId": ""}
    return {"Event": "CoreShowChannel", **channel(name, uniqueid, linkedid), **more, **changes}
