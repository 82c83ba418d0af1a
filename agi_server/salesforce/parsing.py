"""Telephone numbers of a full load, parsed by a process beside this one: parsing takes one core, storing another.

The child gets texts and gives numbers, frame by frame over its pipes; never are two frames on their way, so that
neither side waits for the other to read. It ends when its pipes do: it never outlives who started it. Where it
fails, the numbers are parsed here.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import BinaryIO, Self, cast

import structlog

from storage.contact_rows import ContactRow, Phones, Prepared, prepare

LENGTH = 8  # bytes in front of a frame
NICE = 5  # calls go first

log = structlog.get_logger()


class Parser:
    """Parses rows in another process: `send` them, then `take` them; `region` is that of numbers without one."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._rows: Sequence[ContactRow] = ()
        self._failed = False
        self._process = subprocess.Popen(  # noqa: S603  # ourselves
            [sys.executable, "-m", __name__, region], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._to, self._from = cast("BinaryIO", self._process.stdin), cast("BinaryIO", self._process.stdout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):  # it ended before it had all
            self._to.close()
        self._from.close()
        self._process.wait()

    def send(self, rows: Sequence[ContactRow]) -> None:
        """Let rows be parsed; those sent before must have been taken."""
        self._rows = rows
        if not self._failed:
            try:
                _write(self._to, [(row.kind, row.phones) for row in rows])
            except OSError:
                self._fail()

    def take(self) -> Prepared:
        """Return the rows that were sent, parsed."""
        rows, self._rows = self._rows, ()
        if not self._failed:
            try:
                phones, unread = cast("_Parsed", _read(self._from))
            except EOFError:
                self._fail()
            else:
                return Prepared(rows, [Phones(*each) for each in phones], unread)
        return prepare(rows, self._region)

    def _fail(self) -> None:
        self._failed = True
        log.warning("the process that parses numbers ended; they are parsed without it")


_Numbers = dict[int, tuple[str, str | None]]
_Local = dict[str, tuple[str, str | None]]
_Boards = dict[int, tuple[int, int]]
_Parsed = tuple[list[tuple[_Numbers, _Local, _Boards]], list[tuple[int, str, str]]]
_Asked = list[tuple[str, tuple[tuple[str, str], ...]]]  # kind, and label and text of each number


def _write(pipe: BinaryIO, value: _Asked | _Parsed) -> None:
    frame = marshal.dumps(value)
    pipe.write(len(frame).to_bytes(LENGTH) + frame)
    pipe.flush()


def _read(pipe: BinaryIO) -> object:
    """Read a frame. Raises EOFError where there is none, or not all of it."""
    length = int.from_bytes(pipe.read(LENGTH))
    frame = pipe.read(length)
    if not length or len(frame) < length:
        raise EOFError
    return marshal.loads(frame)  # noqa: S302  # between us and our own child


def parse(requests: BinaryIO, answers: BinaryIO, region: str) -> None:
    """Answer requests until there are no more."""
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            asked = cast("_Asked", _read(requests))
            done = prepare([ContactRow(kind=kind, phones=phones) for kind, phones in asked], region)
            _write(answers, ([(p.numbers, p.local, p.switchboards) for p in done.phones], done.unread))


def main() -> None:
    """Be the child; signals are for who started it."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    os.nice(NICE)
    parse(sys.stdin.buffer, sys.stdout.buffer, sys.argv[1])


if __name__ == "__main__":
    main()
