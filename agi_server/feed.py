"""The socket between the serving process and its front: who says what on it.

One JSON value a line, both ways.

    server   ["decision", {…}]              a decision (calls/document.py)
             ["answered" | "ended", {…}]    how a call goes on (journal.py)
             ["salesforce", {…}]            how the exchange with Salesforce stands (salesforce/report.py)
             ["pbx", {…}]                   how the connections to PBXs stand (ami/follow.py)
             ["call.answered" | "call.ended" | "call.progress", {…}]   what a PBX tells of a call (ami/follow.py)
             ["chat", {…}]                  a chat began, or went on (chatting.py: event_of)
             ["answer", id, value]          the answer to question `id`
    front    ["decided", {…}, seconds]      a decision it made: the journal's record
             ["answered" | "ended", {…}]    how a call goes on, told over HTTP
             ["sync", {full, accept_removals}]
             ["dial" | "hang_up", {…}]      an order to a PBX (ami/follow.py)
             ["ask", id, "metrics" | "state"]

Invariant: a front that is slow, stuck or away costs a call nothing but the writing of a line, and no memory beyond
MOST_UNREAD bytes: what it does not take is dropped and counted. The journal does not pass here.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson

from agi_server.calls.document import document
from agi_server.errors import DirectoryError
from agi_server.journal import record_of

if TYPE_CHECKING:
    from agi_server.calls.call import Decision

GATHER = 0.005  # seconds between two writes at least: on busy days one carries several calls
MOST_UNREAD = 8 * 1024 * 1024  # bytes the front may be behind
ANSWER_WITHIN = 2.0  # seconds

Heard = Callable[[str, list[Any]], object]  # kind and the rest of a line; returns the answer to an "ask"


class Feed:
    """The serving process's side: it outlives the fronts that come and go. `dropped` counts lines nobody got."""

    def __init__(self) -> None:
        self.heard: Heard = lambda _kind, _rest: None  # what answers the front's lines
        self._link: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._flushed_at = 0.0  # time of the loop
        self._states: dict[str, Mapping[str, Any]] = {}  # of Salesforce and PBXs, as last told
        self.dropped = 0

    def decided(self, decision: Decision, at: float) -> None:
        """Tell of a decision made `at` (seconds since 1970)."""
        if self._link is not None:
            self._say(("decision", document(decision, at)))

    def went_on(self, kind: str, record: Mapping[str, object]) -> None:
        """Tell of a call that was `answered` or `ended`."""
        self._say((kind, record))

    def told(self, kind: str, content: Mapping[str, Any]) -> None:
        """Tell what the worker told: of calls, and how Salesforce and PBXs stand; those the next front hears, too."""
        if kind in {"salesforce", "pbx"}:
            self._states[kind] = content
        self._say((kind, content))

    def protocol(self) -> asyncio.Protocol:
        """Return what serves one front's end of the socket."""
        return _Lines(self._received, self._connected, self._disconnected)

    def _connected(self, link: asyncio.Transport) -> None:
        self._link = link
        for state in self._states.items():
            self._say(state)

    def _disconnected(self) -> None:
        self._link = None
        self._unsent.clear()

    def _received(self, line: list[Any]) -> None:
        kind, *rest = line
        if kind == "ask":
            number, what = rest
            self._say(("answer", number, self.heard(kind, [what])))
        else:
            self.heard(kind, rest)

    def _say(self, value: object) -> None:
        link = self._link
        if link is None:
            return
        if link.get_write_buffer_size() > MOST_UNREAD:
            self.dropped += 1
            return
        if not self._unsent:
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), self._flushed_at + GATHER), self._flush)
        self._unsent.append(orjson.dumps(value, default=list, option=orjson.OPT_APPEND_NEWLINE))

    def _flush(self) -> None:
        if self._link is not None:
            self._flushed_at = asyncio.get_running_loop().time()
            self._link.write(b"".join(self._unsent))
        self._unsent.clear()


class ServingProcess:
    """The front's side: what `web.services.Server` asks for. `heard` gets what is told, `gone` is set at the end."""

    def __init__(self, heard: Callable[[str, Any], None]) -> None:
        self._heard = heard
        self._link: asyncio.Transport | None = None
        self._questions: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self.gone = asyncio.Event()

    async def connect(self, end: socket.socket) -> None:
        """Take up the socket."""
        end.setblocking(False)
        await asyncio.get_running_loop().create_connection(
            lambda: _Lines(self._received, self._connected, self._disconnected), sock=end
        )

    def decided(self, decision: Decision, seconds: float) -> None:
        """Hand over a decision that took so long."""
        self._say(("decided", record_of(decision), seconds))

    def answered(self, *, call_id: str, uniqueid: str, at: int, extension: str) -> None:
        """Hand over that a call was answered."""
        record = {"call_id": call_id, "uniqueid": uniqueid, "at": at, "extension": extension}
        self._say(("answered", record))

    def ended(
        self, *, call_id: str, uniqueid: str, ended_at: int, disposition: str, seconds: int, answered_by: str
    ) -> None:
        """Hand over how a call went."""
        record = {
            "call_id": call_id,
            "uniqueid": uniqueid,
            "ended_at": ended_at,
            "disposition": disposition,
            "seconds": seconds,
            "answered_by": answered_by,
        }
        self._say(("ended", record))

    def synchronise(self, *, full: bool, accept_removals: bool) -> None:
        """Have the worker synchronise at once."""
        self._say(("sync", {"full": full, "accept_removals": accept_removals}))

    def dial(self, order: Mapping[str, Any]) -> None:
        """Have a PBX call somebody for an agent (see ami/originate.py)."""
        self._say(("dial", order))

    def hang_up(self, dial_id: str) -> None:
        """Have a PBX end a call that was ordered."""
        self._say(("hang_up", {"id": dial_id}))

    async def metrics(self) -> str:
        """Return the serving process's numbers. Raises DirectoryError when it does not answer."""
        return str(await self._ask("metrics"))

    async def state(self) -> dict[str, Any]:
        """Return `parts` and `salesforce`. Raises DirectoryError when it does not answer."""
        return cast("dict[str, Any]", await self._ask("state"))

    async def _ask(self, what: str) -> Any:  # noqa: ANN401  # as JSON has it
        number = next(self._numbers)
        self._questions[number] = asyncio.get_running_loop().create_future()
        try:
            self._say(("ask", number, what))
            async with asyncio.timeout(ANSWER_WITHIN):
                return await self._questions[number]
        except TimeoutError as error:
            raise DirectoryError(
                "the process that answers calls does not say how it is; see its log"
            ) from error
        finally:
            del self._questions[number]

    def _connected(self, link: asyncio.Transport) -> None:
        self._link = link

    def _disconnected(self) -> None:
        self._link = None
        self.gone.set()

    def _received(self, line: list[Any]) -> None:
        kind, *rest = line
        if kind != "answer":
            self._heard(kind, *rest)
            return
        number, value = rest
        question = self._questions.get(number)
        if question is not None and not question.done():
            question.set_result(value)

    def _say(self, value: object) -> None:
        if self._link is not None:
            self._link.write(orjson.dumps(value, default=list, option=orjson.OPT_APPEND_NEWLINE))


class _Lines(asyncio.Protocol):
    """Cuts what comes into lines."""

    def __init__(
        self,
        received: Callable[[list[Any]], None],
        connected: Callable[[asyncio.Transport], None],
        disconnected: Callable[[], None],
    ) -> None:
        self._received = received
        self._connected = connected
        self._disconnected = disconnected
        self._parts: list[bytes] = []  # of a line that has not ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connected(cast("asyncio.Transport", transport))  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        for line in self._whole(data):
            self._received(orjson.loads(line))

    def connection_lost(self, _exc: Exception | None) -> None:
        self._disconnected()

    def _whole(self, data: bytes) -> Iterable[bytes]:
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._parts, lines[0]))
            self._parts.clear()
        if rest:
            self._parts.append(rest)
        return lines
