"""The socket between the serving process and its worker: who says what on it.

One JSON value a line, both ways.

    server   [sequence, kind, {…}]                a record of the journal (see journal.py), sequence 1 and up
             [0, "lookup", {id, number}]          a question about a number, +…; no record: it is never sent again
             [0, "sync", {full, accept_removals}] synchronise with Salesforce at once
             [0, "dial" | "hang_up", {…}]         an order to a PBX (see ami/follow.py)
    worker   sequence                             all records up to here are committed
             ["found", {id, outcome, why}]        the answer to question `id` (see lookups.py)
             ["salesforce", {…}]                  how the exchange with Salesforce stands (see salesforce/report.py)
             ["pbx", {…}]                         how the connections to PBXs stand, by name (see ami/follow.py)
             ["call", what, {…}]                  what a PBX tells of a call: answered, ended, progress

Invariant: lines are whole and in order, and none waits for another's work: the worker reads on while it writes the
journal, up to QUEUE records ahead, so that a question is never behind a commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson

if TYPE_CHECKING:
    from agi_server.journal import Journal
    from agi_server.lookups import Lookups

READ_BYTES = 256 * 1024

Told = Callable[
    [str, Mapping[str, Any]], None
]  # "salesforce", "pbx", "call.answered" …, and what is told of it


class WorkerLink(asyncio.Protocol):
    """One worker's end of the line, seen from the serving process; `told` hears of Salesforce, PBXs and their calls."""

    def __init__(self, journal: Journal, lookups: Lookups | None = None, told: Told | None = None) -> None:
        self._journal = journal
        self._lookups = lookups
        self._told = told
        self._last: Mapping[str, Any] = {}  # what was told of Salesforce
        self._pbxs: Mapping[str, Any] = {}
        self._transport: asyncio.Transport | None = None  # while a worker is there
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand over what waits."""
        link = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._transport = link
        self._journal.connected(link)
        if self._lookups is not None:
            self._lookups.connected(link)

    def data_received(self, data: bytes) -> None:
        """Take what the worker says; of its confirmations only the newest matters."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        confirmed = 0
        for line in lines:
            value = orjson.loads(line)
            if isinstance(value, int):
                confirmed = value
            else:
                self._hear(*value)
        if confirmed:
            self._journal.confirmed(confirmed)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Remember that nobody listens."""
        self._transport = None
        self._journal.disconnected()
        if self._lookups is not None:
            self._lookups.disconnected()
        away = {"up": 0, "error": "the worker is away"}
        if self._told is not None and self._last:
            self._told("salesforce", {**self._last, **away})
        if self._told is not None and self._pbxs:
            self._told("pbx", {name: {**state, **away} for name, state in self._pbxs.items()})

    def ask(self, kind: str, content: Mapping[str, Any]) -> None:
        """Have the worker do something (sync, dial, hang_up), if it is there."""
        if self._transport is not None:
            self._transport.write(orjson.dumps((0, kind, content), option=orjson.OPT_APPEND_NEWLINE))

    def pause_writing(self) -> None:
        """Say no more than what is on its way: the worker is behind."""
        self._pause(True)

    def resume_writing(self) -> None:
        """Go on."""
        self._pause(False)

    def _pause(self, paused: bool) -> None:
        self._journal.pause(paused)
        if self._lookups is not None:
            self._lookups.pause(paused)

    def _hear(self, kind: str, *rest: Any) -> None:  # noqa: ANN401  # as JSON has it
        if kind == "found":
            if self._lookups is not None:
                self._lookups.answered(**rest[0])
            return
        if kind == "salesforce":
            self._last = rest[0]
            if self._lookups is not None:
                self._lookups.told(rest[0]["lookups"])
        elif kind == "pbx":
            self._pbxs = rest[0]
        elif kind == "call":
            kind = f"call.{rest[0]}"
        if self._told is not None:
            self._told(kind, rest[-1])


class ServerLink:
    """The serving process's end, seen from the worker; any task may send."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._sending = asyncio.Lock()  # a line that is cut in two by another is none

    async def messages(self) -> AsyncIterator[list[Any]]:
        """Yield what has come, as it comes, to the end.

        Not a stream: when the other side is gone, a stream forgets what it has not read yet, and that is the
        journal.
        """
        rest = b""
        while data := await self._received():
            *lines, rest = (rest + data).split(b"\n")
            if lines:
                yield [orjson.loads(line) for line in lines]

    async def send(self, value: object) -> None:
        """Send one line; nobody may be there to read it any more."""
        line = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
        async with self._sending:
            with contextlib.suppress(ConnectionError):
                await asyncio.get_running_loop().sock_sendall(self._end, line)

    def close(self) -> None:
        """Close our end."""
        self._end.close()

    async def _received(self) -> bytes:
        """Return what has come, nothing at the end: also where the other side died with lines of ours unread."""
        try:
            return await asyncio.get_running_loop().sock_recv(self._end, READ_BYTES)
        except ConnectionError:  # told only when all that was sent has been read (af_unix.c)
            return b""
