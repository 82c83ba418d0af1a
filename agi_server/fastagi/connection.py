"""One connection of a PBX, from its first byte to its close.

Invariants: a script that answers at once is answered inside `data_received`, without a task. Whatever goes
wrong, the PBX is let go without an answer, and goes on as if nobody had been asked.

The answer's last line is followed by a half-close: Asterisk then runs it, replies, sends HANGUP and closes.
We close after that, never before: a close with unread replies resets the connection, and the command is lost.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, cast

from agi_server.errors import OstiaryError, RemoteProtocolError
from agi_server.fastagi.admission import Admission
from agi_server.fastagi.commands import mset, verbose
from agi_server.fastagi.protocol import AgiRequest, Dialogue, Reply
from agi_server.settings import FastAgi


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script wants: lines for the PBX's console first, then variables in their order."""

    variables: Mapping[str, str]
    verbose: tuple[str, ...] = ()


Script = Callable[[AgiRequest], Answer | Awaitable[Answer]]


class Observer(Protocol):
    """Is told what happens; its methods neither wait nor raise."""

    def opened(self) -> None:
        """Count a connection that was let in; `closed` follows once."""

    def closed(self) -> None:
        """Count a connection that is over, and its script with it."""

    def answered(self, script: str, seconds: float) -> None:
        """Count an answer, sent so many seconds after its connection came in."""

    def failed(self, kind: str, detail: str) -> None:
        """Count what went wrong; `detail` says what, without a caller's number or name.

        Kinds: refused (not an allowed peer) · full (too many connections) · probe (came and left without a
        word: nothing to log) · protocol (no PBX talks like that) · deadline · unknown_script · script (it
        raised) · reply (the PBX did not do what it was told).
        """


@dataclass(frozen=True, slots=True)
class Shared:
    """What the connections of one server have in common; `tick` is how late `expire` may be called, in s."""

    scripts: Mapping[str, Script]
    settings: FastAgi
    observer: Observer
    admission: Admission
    tick: float
    over: Callable[[Connection], None]  # called once, when connection and script are over


class _Phase(Enum):
    BLOCK = "no whole environment block"
    SCRIPT = "no answer of script"
    REPLY = "no reply to a command of script"
    OVER = "no end"


class Connection(asyncio.Protocol):
    """Reads a request, has it answered and sends the answer; `due` is when `expire` must be called, in s."""

    __slots__ = (
        "_address",
        "_dialogue",
        "_ends",
        "_eof",
        "_lines",
        "_phase",
        "_replied",
        "_script",
        "_shared",
        "_since",
        "_task",
        "_transport",
        "due",
    )

    def __init__(self, shared: Shared) -> None:
        settings = shared.settings
        self._shared = shared
        self._since = time.monotonic()
        self._ends = self._since + settings.deadline - shared.tick
        self.due = min(self._ends, self._since + settings.environment_deadline - shared.tick)
        self._dialogue = Dialogue(
            max_line=settings.line_bytes,
            max_lines=settings.block_lines,
            max_bytes=16 * settings.line_bytes,
            since=self._since,
        )
        self._phase = _Phase.BLOCK
        self._address = ""  # of a peer that was let in
        self._script = ""
        self._lines: list[bytes] = []  # still to be sent
        self._replied = False  # to the last of them
        self._eof = False  # the peer sends no more
        self._task: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the peer in, or close."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        peer = transport.get_extra_info("peername")
        if not peer:
            self._fail("probe", "gone before it was accepted")
            return
        if refusal := self._shared.admission.enter(peer[0]):
            self._fail(*refusal)
            self._abort()
            return
        self._address = peer[0]
        self._shared.observer.opened()

    def data_received(self, data: bytes) -> None:
        """Read; most calls bring one more line of the block and end here."""
        try:
            events = self._dialogue.receive(data)
        except RemoteProtocolError as error:
            self._fail("protocol", str(error))
            return
        for event in events:
            if isinstance(event, AgiRequest):
                self._answer(event)
            elif isinstance(event, Reply) and self._phase is _Phase.REPLY:
                self._receive_reply(event)

    def eof_received(self) -> bool:
        """Close, but for a script at work: what it does (say, block a caller) is worth finishing.

        A caller who hangs up makes Asterisk close at once where AGIEXITONHANGUP is set.
        """
        self._eof = True
        if self._phase is _Phase.BLOCK:
            try:
                self._dialogue.receive_eof()
                self._fail("probe", "closed without a word")
            except RemoteProtocolError as error:
                self._fail("protocol", str(error))
        elif self._phase is _Phase.REPLY:
            self._send_rest()  # no reply will come; Asterisk runs what it has when it sees our half-close
        return self._phase is _Phase.SCRIPT

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the peer."""
        if self._phase is _Phase.BLOCK:
            kind = "protocol" if self._dialogue.pending else "probe"
            self._fail(kind, f"connection lost inside the environment block ({exc})")
        self._transport = None
        self._leave()

    # What the server calls

    def expire(self) -> None:
        """Let the peer go: its time is up."""
        if not self._replied:
            script = f" {self._script[:80]!r}" if self._script else ""
            waited = time.monotonic() - self._since
            self._fail("deadline", f"{self._phase.value}{script} after {waited:.2f} s")
        self._abort()

    def cut(self) -> bool:
        """End at once; return whether the peer goes without its answer."""
        unanswered = not self._replied and self._phase is not _Phase.OVER
        self._abort()
        return unanswered

    # The steps of a call

    def _answer(self, request: AgiRequest) -> None:
        self._script = request.script
        script = self._shared.scripts.get(request.script)
        if script is None:
            shown = repr(request.script[:80])
            self._shared.observer.failed("unknown_script", f"there is no script {shown}")
            self._send([verbose(f"Ostiary: unknown script {shown}")])
            return
        try:
            answer = script(request)
            if isinstance(answer, Answer):
                self._send_answer(answer)
                return
            self._task = asyncio.ensure_future(answer)
        except Exception as error:  # noqa: BLE001  # whatever a script does, its call goes on
            self._fail("script", _describe(request.script, error))
            return
        self._phase = _Phase.SCRIPT
        self.due = self._ends
        self._task.add_done_callback(self._script_done)

    def _script_done(self, task: asyncio.Future[Answer]) -> None:
        self._task = None
        try:
            answer = task.result()
            if self._phase is _Phase.SCRIPT:
                self._send_answer(answer)
        except asyncio.CancelledError:
            self._fail("script", f"script {self._script!r} was cancelled")
        except Exception as error:  # noqa: BLE001  # as above
            self._fail("script", _describe(self._script, error))
        self._leave()

    def _send_answer(self, answer: Answer) -> None:
        lines = [verbose(text) for text in answer.verbose] if answer.verbose else []
        self._send(lines + mset(answer.variables))
        self._shared.observer.answered(self._script, time.monotonic() - self._since)

    def _send(self, lines: list[bytes]) -> None:
        self._lines = lines
        self._phase = _Phase.REPLY
        if self._eof or not lines:
            self._send_rest()
        else:
            self._send_next()

    def _send_next(self) -> None:
        """Send one line, whole and with one write; half-close behind the last."""
        line = self._lines.pop(0)
        shared = self._shared
        self.due = min(self._ends, time.monotonic() + shared.settings.reply_deadline - shared.tick)
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(line)
        if not self._lines:
            try:
                self._transport.write_eof()
            except (OSError, RuntimeError):
                self._transport.abort()  # reset by the peer a moment ago

    def _send_rest(self) -> None:
        while self._lines:
            self._send_next()
        self._close()

    def _receive_reply(self, reply: Reply) -> None:
        if not reply.good:
            said = f"result={reply.result}" if reply.code == 200 else f"{reply.code} {reply.data}"
            self._shared.observer.failed(
                "reply", f"{said[:200]} to a command of script {self._script[:80]!r}"
            )
        if self._lines:
            self._send_next()
        else:
            self._replied = True

    # The end

    def _fail(self, kind: str, detail: str) -> None:
        """Say what is wrong, once, and close without an answer."""
        if self._phase is not _Phase.OVER:
            self._shared.observer.failed(kind, detail)
            self._close()

    def _close(self) -> None:
        self._phase = _Phase.OVER
        if self._transport is not None:
            self._transport.close()

    def _abort(self) -> None:
        self._phase = _Phase.OVER
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _leave(self) -> None:
        if self._transport is not None or self._task is not None:
            return
        if self._address:
            self._shared.admission.leave(self._address)
            self._shared.observer.closed()
            self._address = ""
        self._shared.over(self)


def _describe(script: str, error: Exception) -> str:
    """Say what a script raised, and where; a message may hold personal data unless it is one of our own."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    message = f": {error}" if isinstance(error, OstiaryError) else ""
    return f"script {script!r} raised {type(error).__name__}{place}{message}"
