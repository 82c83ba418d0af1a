"""Asks a FastAGI server as an Asterisk 22 does, and clocks each call from connect to close.

Many at once, for what a server can do (`run`); or so many a second, for what a caller waits (`steady`).

One thread, one epoll, raw sockets: with two cores the generator must cost little itself. It answers every
command line with `200 result=1`, and an end of file as Asterisk does: `HANGUP`, then close. A call has failed
when it ends without a command, is refused, or the whole run passes its time limit.
"""

from __future__ import annotations

import gc
import resource
import select
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import NamedTuple

UNIQUEID = "1785312000."  # and a serial; 0 for `ask`
REPLY = b"200 result=1\n"
LEVEL = select.EPOLLIN | select.EPOLLRDHUP
PATIENCE = 10.0  # seconds that a steady stream waits for its last calls


@dataclass(slots=True)
class Load:
    """One run: `milliseconds` (sorted) from connect to close of every call that was answered."""

    calls: int
    seconds: float = 0.0
    generator_seconds: float = 0.0  # CPU of the generator itself
    failed: int = 0
    milliseconds: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answered calls per second."""
        return len(self.milliseconds) / self.seconds

    def percentile(self, percent: float) -> float:
        """Milliseconds within which `percent` of the calls were over."""
        return percentile(self.milliseconds, percent)


@dataclass(slots=True)
class _Call:
    connection: socket.socket
    lines: Sequence[bytes]
    began: float
    sent: bool = False
    commands: int = 0


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of a sorted sequence."""
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def environment(script: str, number: str, serial: int) -> list[bytes]:
    """The environment block of an Asterisk 22.10: 22 lines and the empty one, each a write of its own."""
    text = f"""\
agi_network: yes
agi_network_script: {script}
agi_request: agi://127.0.0.1:4573/{script}
agi_channel: PJSIP/trunk-{serial:08x}
agi_language: en
agi_type: PJSIP
agi_uniqueid: {UNIQUEID}{serial}
agi_version: 22.10.1
agi_callerid: {number}
agi_calleridname: unknown
agi_callingpres: 0
agi_callingani2: 0
agi_callington: 0
agi_callingtns: 0
agi_dnid: 4930555000
agi_rdnis: unknown
agi_context: from-trunk
agi_extension: 4930555000
agi_priority: 3
agi_enhanced: 0.0
agi_accountcode:{" "}
agi_threadid: 140209316071104

"""
    return [line + b"\n" for line in text.encode().split(b"\n")[:-1]]


def blocks(
    numbers: Iterable[str], *, script: str = "incoming", first: int = 1, whole: bool = False
) -> list[list[bytes]]:
    """Return what each call writes: 23 lines, or the whole block at once. Made before the clock runs."""
    made = [environment(script, number, serial) for serial, number in enumerate(numbers, first)]
    return [[b"".join(lines)] for lines in made] if whole else made


def run(port: int, concurrent: int, calls: Sequence[Sequence[bytes]], *, limit: float = 60.0) -> Load:
    """Make `calls` (as `blocks` returns them), so many at any time, for at most `limit` seconds."""
    load = Load(len(calls))
    waiting = iter(calls)
    epoll = select.epoll()
    active: dict[int, _Call] = {}
    gc.collect()
    gc.disable()
    used = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    try:
        for lines in (lines for _, lines in zip(range(concurrent), waiting, strict=False)):
            _begin(port, lines, epoll, active)
        while active and time.perf_counter() - began < limit:
            for descriptor, _ in epoll.poll(min(1.0, limit)):
                if _step(call := active[descriptor], epoll):
                    del active[descriptor]
                    if call.commands:
                        load.milliseconds.append((time.perf_counter() - call.began) * 1000)
                    if (following := next(waiting, None)) is not None:
                        _begin(port, following, epoll, active)
    finally:
        gc.enable()
        load.seconds = time.perf_counter() - began
        now = resource.getrusage(resource.RUSAGE_SELF)
        load.generator_seconds = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        for call in active.values():
            call.connection.close()
        epoll.close()
    load.failed = load.calls - len(load.milliseconds)
    load.milliseconds.sort()
    return load


def _begin(port: int, lines: Sequence[bytes], epoll: select.epoll, active: dict[int, _Call]) -> None:
    began = time.perf_counter()
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.connect_ex(("127.0.0.1", port))
    call = _Call(connection, lines, began)
    _send_block(call)
    epoll.register(connection, LEVEL if call.sent else LEVEL | select.EPOLLOUT)
    active[connection.fileno()] = call


def _send_block(call: _Call) -> None:
    send = call.connection.send
    try:
        for line in call.lines:
            send(line)
    except BlockingIOError:
        return  # on loopback the handshake is over by now, unless the server's backlog is full
    except OSError:
        pass  # refused or reset: the next read says so
    call.sent = True


def _step(call: _Call, epoll: select.epoll) -> bool:
    """Do what the socket is ready for; True when the call is over."""
    connection = call.connection
    if not call.sent:
        _send_block(call)
        if call.sent:
            epoll.modify(connection, LEVEL)
        return False
    try:
        while data := connection.recv(8192):
            lines = data.count(b"\n")
            call.commands += lines
            connection.send(REPLY * lines)
        connection.send(b"HANGUP\n")
    except BlockingIOError:
        return False
    except OSError:
        pass  # the server closed first: no HANGUP for it
    epoll.unregister(connection)  # a child just forked may hold it a moment longer, and so would epoll
    connection.close()
    return True


class Answered(NamedTuple):
    """A call of a steady stream: when it began (of time.perf_counter), and how long it took."""

    began: float
    milliseconds: float


@dataclass(slots=True)
class Stream:
    """Calls at a steady rate: how many, and those that were answered, in the order of their ends."""

    calls: int = 0
    answered: list[Answered] = field(default_factory=list)

    def between(self, windows: Iterable[tuple[float, float]]) -> list[float]:
        """Return the milliseconds, sorted, of the calls that began within any of these windows."""
        spans = [*windows]
        return sorted(
            call.milliseconds
            for call in self.answered
            if any(begin <= call.began < end for begin, end in spans)
        )


def steady(port: int, rate: float, numbers: Sequence[str], ended: threading.Event) -> Stream:
    """Call from `numbers` in turn, `rate` times a second whatever becomes of the calls, until `ended` is set."""
    stream = Stream()
    epoll = select.epoll()
    active: dict[int, _Call] = {}
    made = (environment("incoming", number, serial) for number, serial in zip(cycle(numbers), count(1)))
    due = time.perf_counter()
    try:
        while not ended.is_set():
            if time.perf_counter() >= due:
                _begin(port, next(made), epoll, active)
                stream.calls += 1
                due += 1 / rate
            _answer(epoll, active, stream, max(due - time.perf_counter(), 0))
        until = time.perf_counter() + PATIENCE
        while active and time.perf_counter() < until:
            _answer(epoll, active, stream, 1 / rate)
    finally:
        for call in active.values():
            call.connection.close()
        epoll.close()
    return stream


def _answer(epoll: select.epoll, active: dict[int, _Call], stream: Stream, wait: float) -> None:
    for descriptor, _ in epoll.poll(wait):
        if _step(call := active[descriptor], epoll):
            del active[descriptor]
            if call.commands:
                took = (time.perf_counter() - call.began) * 1000
                stream.answered.append(Answered(call.began, took))


def ask(port: int, number: str = "", *, script: str = "incoming", timeout: float = 5.0) -> list[str]:
    """Make one blocking call and return the command lines it was answered with; OSError when it was not."""
    commands: list[str] = []
    with (
        socket.create_connection(("127.0.0.1", port), timeout) as connection,
        connection.makefile("rb") as stream,
    ):
        connection.sendall(b"".join(environment(script, number, 0)))
        for line in stream:
            commands.append(line.decode().rstrip("\n"))
            connection.sendall(REPLY)
    return commands
