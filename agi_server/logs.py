"""Log lines: made where something is logged, written by a thread of their own.

Invariants: logging never waits, however slow or dead the reader of the log is. A line that finds the queue
full is dropped and counted, and a later line says how many were. Nothing in a value can begin a line of its
own or speak to a terminal: what is not printable is shown as an escape.
"""

from __future__ import annotations

import atexit
import io
import json
import logging
import os
import re
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import lru_cache, partial
from queue import SimpleQueue
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import FilteringBoundLogger

from agi_server.calls.call import Decision, Rung
from agi_server.settings import Logs

QUEUE_LINES = 10_000  # some 5 MB
BATCH_LINES = 1_000
GATHER = 0.01  # seconds the thread lets lines gather after the first: one write, one wake-up for all of them
LAST_WORDS = 2.0  # seconds the reader has at exit to take what waits

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
COLOURS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31;1m"}
NEEDS_QUOTES = re.compile(r'[ "=]').search

Render = Callable[[str, str, Mapping[str, object]], str]  # level, event, fields -> one line without its end


class LogWriter:
    """Takes lines from any thread and writes them from one of its own."""

    def __init__(self, stream: TextIO, render: Render, *, limit: int = QUEUE_LINES) -> None:
        self.dropped = 0  # lines, since the start
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._render = render
        self._limit = limit
        self._queue: SimpleQueue[str | threading.Event | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, line: str) -> None:
        """Take one line, without its end."""
        if self._closed:
            self._output([line])
        elif self._queue.qsize() < self._limit:
            self._queue.put(line)
        else:
            self._drop(1)

    debug = info = warning = error = critical = write  # what structlog calls

    def flush(self, timeout: float = LAST_WORDS) -> bool:
        """Wait until what was taken before is written; return whether it was in time (seconds)."""
        if self._closed:
            return True
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout)

    def close(self, timeout: float = LAST_WORDS) -> None:
        """Write what waits and end the thread; later lines are written at once, if anybody reads at all."""
        atexit.unregister(self.close)
        if self._closed:
            return
        self._queue.put(None)
        self._thread.join(timeout)
        self._closed = not self._thread.is_alive()
        while self._closed and not self._queue.empty():  # what another thread logged meanwhile
            if isinstance(line := self._queue.get(), str):
                self._output([line])

    def _run(self) -> None:
        reported = 0
        batch: list[str | threading.Event | None] = []
        while None not in batch:
            batch = [self._queue.get()]
            time.sleep(GATHER)
            while len(batch) < BATCH_LINES and not self._queue.empty():
                batch.append(self._queue.get())
            self._output([item for item in batch if isinstance(item, str)])
            if (dropped := self.dropped) > reported:
                report = self._render("warning", "log lines dropped", {"lines": dropped - reported})
                if self._written([report]):
                    reported = dropped
            for item in batch:
                if isinstance(item, threading.Event):
                    item.set()

    def _output(self, lines: Sequence[str]) -> None:
        if lines and not self._written(lines):
            self._drop(len(lines))

    def _written(self, lines: Sequence[str]) -> bool:
        text = "\n".join(lines) + "\n"
        try:
            if self._descriptor is None:
                self._stream.write(text)
                self._stream.flush()
            else:  # past the stream: a thread stuck with a stream's lock in its hands would stop the exit
                _write_all(self._descriptor, text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):  # the disk is full, the reader is gone, the stream is closed
            return False
        return True

    def _drop(self, lines: int) -> None:
        with self._lock:
            self.dropped += lines


_current: LogWriter | None = None


def configure_logs(logs: Logs, stream: TextIO | None = None) -> LogWriter:
    """Send what structlog and the standard library log to `stream` (standard error).

    May be called again, also with loggers in use. Of what libraries log, warnings are written at level info,
    the rest at level debug only.
    """
    global _current  # noqa: PLW0603  # a process has one log
    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    render: Render = render_json
    if logs.format == "text" or (logs.format == "auto" and terminal):
        render = partial(render_text, colour=terminal and "NO_COLOR" not in os.environ)
    render = partial(_never_fail, render)
    if _current is not None:
        _current.close()
    writer = _current = LogWriter(stream, render)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[logs.level]),
        processors=[partial(_line, render)],
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,  # saves nothing here, and would hold on to a former configuration
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(handler)
    root.addHandler(_Handler(writer, render))
    root.setLevel(logging.WARNING if logs.level == "info" else LEVELS[logs.level])
    # At level debug they tell statements with parameters, and addresses with queries: callers' numbers and names.
    for name in ("aiosqlite", "urllib3"):
        logging.getLogger(name).setLevel(logging.NOTSET if logs.personal_data else logging.INFO)
    return writer


def lines_dropped() -> int:
    """Return how many lines were dropped since the log was last configured."""
    return _current.dropped if _current is not None else 0


def log_decision(log: FilteringBoundLogger, decision: Decision, seconds: float, personal_data: bool) -> None:
    """Log one call: what was decided, why, and how long it took.

    The other side's number and name are masked unless `personal_data`; DIDs and the PBX's own extensions are
    nobody's private affair.
    """
    call = decision.call
    number, name = decision.number.text, decision.display_name
    if not personal_data:
        name = mask_name(name)
        if decision.rung is not Rung.EXTENSION:
            number = mask_number(number)
    fields: dict[str, object] = {
        "call": call.id,
        "direction": call.direction,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "rung": decision.rung,
        "number": number or "anonymous",
        "name": name,
        "did": call.did,
    }
    if call.uniqueid:
        fields["uniqueid"] = call.uniqueid
    if decision.rule is not None:
        fields["rule"] = decision.rule.id
    if decision.treatment:
        fields["treatment"] = decision.treatment
    if decision.agent is not None:
        fields["agent"] = decision.agent.extension
    fields["microseconds"] = int(seconds * 1_000_000)
    fields["trace"] = [
        f"{stage}={outcome} {detail} [{personal}]"
        if personal_data and personal
        else f"{stage}={outcome} {detail}"
        if detail
        else f"{stage}={outcome}"
        for stage, outcome, detail, personal in decision.trace
    ]
    log.info("call", **fields)


def mask_number(number: str) -> str:
    """Return a number of which the beginning and the last two digits are left: +49******56."""
    if len(number) < 7:
        return "*" * len(number)
    shown = 3 if number[0] == "+" else 2
    return f"{number[:shown]}{'*' * (len(number) - shown - 2)}{number[-2:]}"


def mask_name(name: str) -> str:
    """Return the initials of a name (three words at most): A*** L***."""
    return " ".join([word[0] + "***" for word in name.split(maxsplit=3)[:3]])


def render_json(level: str, event: str, fields: Mapping[str, object]) -> str:
    """Return one line of JSON; times are UTC."""
    now = time.time()
    stamp = f"{_utc(int(now))}.{int(now * 1000) % 1000:03d}Z"
    record = {"time": stamp, "level": level, "event": event, **fields}
    try:
        line = orjson.dumps(record, default=str).decode()
    except TypeError:  # half a surrogate pair, a very large number, a key that is no text
        line = json.dumps(record, default=str, skipkeys=True)
    return line if line.isprintable() else "".join(map(_json_escape, line))


def render_text(level: str, event: str, fields: Mapping[str, object], *, colour: bool = False) -> str:
    """Return one line for people, times local; a traceback follows, each line of it marked with `    | `."""
    now = time.time()
    parts = [f"{_local(int(now))}.{int(now * 1000) % 1000:03d} {level:<8} {event}"]
    for key, value in fields.items():
        if key == "exception":
            continue
        text = "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        if not text or NEEDS_QUOTES(text):
            text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        parts.append(f"{key}={text}")
    line = _visible("  ".join(parts))
    if colour and level in COLOURS:
        line = f"{COLOURS[level]}{line}\x1b[0m"
    if "exception" in fields:
        lines = str(fields["exception"]).rstrip("\n").split("\n")
        line = "\n    | ".join([line, *map(_visible, lines)])
    return line


def _never_fail(render: Render, level: str, event: str, fields: Mapping[str, object]) -> str:
    try:
        return render(level, event, fields)
    except Exception as error:  # noqa: BLE001  # a value that cannot be shown must not stop what logs it
        return render(
            level, repr(event), {"unloggable": type(error).__name__, "keys": ",".join(map(repr, fields))}
        )


def _line(render: Render, _logger: object, level: str, fields: MutableMapping[str, Any]) -> str:
    """Turn what structlog gathered into a line; its last processor."""
    event = fields.pop("event", "")
    if (given := fields.pop("exc_info", None)) and (text := _traceback(given)):
        fields["exception"] = text
    return render(level, event if isinstance(event, str) else str(event), fields)


class _Handler(logging.Handler):
    """Takes what the standard library's loggers log."""

    def __init__(self, writer: LogWriter, render: Render) -> None:
        super().__init__()
        self._writer = writer
        self._render = render

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = record.getMessage()
        except Exception:  # noqa: BLE001  # arguments that do not fit the message: no reason to fail
            event = f"log message that cannot be formatted, {record.pathname} line {record.lineno}"
        fields: dict[str, object] = {"logger": record.name}
        if record.exc_info and (text := _traceback(record.exc_info)):
            fields["exception"] = text
        level = record.levelname.lower()
        self._writer.write(self._render(level if level in LEVELS else "info", event, fields))


def _traceback(given: object) -> str:
    """Return the traceback of an exception, of `sys.exc_info()`, or (True) of what is being handled."""
    if isinstance(given, tuple):
        given = given[1]
    elif not isinstance(given, BaseException):
        given = sys.exc_info()[1]
    return "".join(traceback.format_exception(given)) if isinstance(given, BaseException) else ""


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _json_escape(character: str) -> str:
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


@lru_cache(maxsize=2)
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@lru_cache(maxsize=2)
def _local(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (io.UnsupportedOperation, AttributeError, ValueError):
        return None


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # somebody made the descriptor non-blocking, for all who share it
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll(1000)
