"""Reading a CSV file as it comes: any encoding, any separator, broken rows among good ones.

Invariant: whatever the bytes are, every row is either yielded or reported, with the line of the file on which
it begins, and memory stays bounded by one row.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from agi_server.errors import InputError
from agi_server.exchange.decoding import SAMPLE, find_encoding
from agi_server.exchange.report import Report

Row = tuple[int, list[str]]

LINES_OF_A_ROW = 500  # more belong to a quote that was opened and never closed
LOST = "\ufffd"  # what undecodable bytes are read as
_OPEN = 'a quote (") is opened here and never closed'
_TOO_LONG = f"a cell is longer than {csv.field_size_limit()} characters"
_TOO_MANY = "{} cells under {} headings: is a cell with a separator in it not quoted?"
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SEPARATOR_LINE = re.compile(r'^"?sep=(.)"?\s*$', re.IGNORECASE)  # Excel's own hint, in the first line


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file: how to read it, and its first row that is not blank (`headings`, if it has any)."""

    file: BinaryIO
    encoding: str
    delimiter: str
    headings: list[str]

    def rows(self, report: Report, *, headings: bool = False) -> Iterator[Row]:
        """Yield line and cells of each row, without blank rows, and (unless asked) without the headings.

        Rows that cannot be read are reported: bytes that are not of the encoding, a quote that never closes,
        a cell beyond csv.field_size_limit(), cells without a heading (if there are headings).
        """
        return _rows(self, report, plain=headings)


class _OpenQuote(Exception):  # noqa: N818  # never leaves this module
    """A quote was opened and is still open many lines later, or at the end of the file."""


def open_table(file: BinaryIO, known: Callable[[list[str]], int], *, encoding: str = "") -> Table:
    """Find out how `file` is written. Raises InputError when it is empty or not text.

    `known` counts the headings in a row that somebody reads: of all separators the one that makes most of
    them known is taken, then the one that gives most columns.
    """
    codec = find_encoding(file, encoding)
    head = io.TextIOWrapper(io.BytesIO(file.read(SAMPLE)), codec, errors="replace", newline="").read()
    file.seek(0)
    lines = head.splitlines(keepends=True)
    if len(lines) > 1 and len(head) >= SAMPLE // 4:
        del lines[-1]  # it may be cut
    if not any(line.strip() for line in lines):
        raise InputError("the file is empty")
    if hint := _SEPARATOR_LINE.match(lines[0]):
        return Table(file, codec, hint[1], _first_row(lines[1:], hint[1]))
    readings = [(_first_row(lines, delimiter), delimiter) for delimiter in DELIMITERS]
    headings, delimiter = max(readings, key=lambda reading: (known(reading[0]), len(reading[0])))
    return Table(file, codec, delimiter, headings)


def describe(table: Table) -> str:
    """Return how the file is read, in words."""
    encoding = "utf-8" if table.encoding == "utf-8-sig" else table.encoding
    return f"read as {encoding}, separated by {DELIMITERS.get(table.delimiter, table.delimiter)}"


def _first_row(lines: list[str], delimiter: str) -> list[str]:
    with suppress(csv.Error):
        for cells in csv.reader(lines[:LINES_OF_A_ROW], delimiter=delimiter):
            if any(cell.strip() for cell in cells):
                return [cell.strip() for cell in cells]
    return []


def _rows(table: Table, report: Report, *, plain: bool) -> Iterator[Row]:
    table.file.seek(0)
    text = io.TextIOWrapper(table.file, table.encoding, errors="replace", newline="")
    try:
        yield from _read(text, table, report, plain=plain)
    finally:
        with suppress(ValueError):  # closed by whoever opened it
            text.detach()  # the file is not ours to close


def _read(text: Iterator[str], table: Table, report: Report, *, plain: bool) -> Iterator[Row]:
    held: list[str] = []  # the lines of the row in hand
    again: deque[str] = deque()  # lines to be read once more, after a quote that never closed
    skip_first = not plain
    width = 0 if plain else len(table.headings)
    line = 1
    if (first := next(text, "")) and _SEPARATOR_LINE.match(first):
        line = 2
    else:
        again.append(first)
    while True:
        try:
            for cells in csv.reader(_lines(again, text, held), delimiter=table.delimiter):
                start = line
                line += len(held)
                lost = (len(held) > 1 or not held[0].isascii()) and any(LOST in part for part in held)
                held.clear()
                if not cells or (joined := "".join(cells)) == "" or joined.isspace():
                    continue
                if skip_first:
                    skip_first = False
                elif lost:
                    value = next((cell for cell in cells if LOST in cell), "")
                    report.refuse(start, "", f"bytes that are not {table.encoding} (--encoding)", value)
                elif width and len(cells) > width and any(cells[width:]):
                    report.refuse(start, "", _TOO_MANY.format(len(cells), width), table.delimiter.join(cells))
                else:
                    yield start, cells
        except (_OpenQuote, csv.Error) as error:
            report.refuse(line, "", _OPEN if isinstance(error, _OpenQuote) else _TOO_LONG, held[0])
            line += 1
            again.extendleft(reversed(held[1:]))
            held.clear()
        else:
            return


def _lines(again: deque[str], text: Iterator[str], held: list[str]) -> Iterator[str]:
    while again:
        line = again.popleft()
        held.append(line)
        yield line
        if len(held) > LINES_OF_A_ROW:
            raise _OpenQuote
    for line in text:
        held.append(line)
        yield line
        if len(held) > LINES_OF_A_ROW:
            raise _OpenQuote
    if held:  # the reader wants more of a row, and there is no more
        raise _OpenQuote
