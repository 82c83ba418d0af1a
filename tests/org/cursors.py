"""The results of queries that do not fit into one page, each in a file until it is forgotten.

A page may be asked for again, and with another size. The oldest result goes when there are too many.
"""

from __future__ import annotations

import os
import tempfile
import threading
from array import array
from collections.abc import Iterable
from typing import IO, Any, NamedTuple

import orjson

Row = dict[str, Any]


class Cursor(NamedTuple):
    """Rows as JSON, a comma behind each; row n lies between offsets n and n + 1."""

    file: IO[bytes]
    offsets: array[int]

    @property
    def total(self) -> int:
        return len(self.offsets) - 1


class Page(NamedTuple):
    total: int
    rows: bytes  # JSON of the rows, without the brackets around them


class Cursors:
    """Results by their locators' first part; safe in threads."""

    def __init__(self) -> None:
        self.most = 10  # a user's open results
        self._cursors: dict[str, Cursor] = {}
        self._count = 0
        self._lock = threading.Lock()

    def keep(self, rows: Iterable[Row]) -> str:
        """Write the rows down and return the name of the result."""
        file = tempfile.TemporaryFile()  # noqa: SIM115  # lives until it is forgotten
        offsets = array("Q", (0,))
        for row in rows:
            offsets.append(offsets[-1] + file.write(orjson.dumps(row) + b","))
        file.flush()
        with self._lock:
            self._count += 1
            name = f"01g5g{self._count:010d}AAA"
            self._cursors[name] = Cursor(file, offsets)
            while len(self._cursors) > self.most:
                self._cursors.pop(next(iter(self._cursors))).file.close()
        return name

    def page(self, name: str, start: int, size: int) -> Page | None:
        """Return at most `size` rows from row `start` on, or None: no such result, or no such row in it."""
        with self._lock:
            cursor = self._cursors.get(name)
            if cursor is None or not 0 <= start < cursor.total:
                return None
            end = min(start + size, cursor.total)
            first, last = cursor.offsets[start], cursor.offsets[end] - 1  # without the comma
            return Page(cursor.total, os.pread(cursor.file.fileno(), last - first, first))

    def forget(self) -> None:
        """Let every result go, as after two days."""
        with self._lock:
            for cursor in self._cursors.values():
                cursor.file.close()
            self._cursors.clear()
