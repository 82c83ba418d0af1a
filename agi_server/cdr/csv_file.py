"""Reading the Master.csv that cdr_csv writes, from where it was left.

Invariant: every record is read once, whatever happens to the file: it may be moved away or copied and cut while we do
not look, end in half a line, or hold a damaged one. A place in it is therefore a file (its inode), an offset, and a
hash of what stands before that offset: a file that does not have it there is another one.

A caller chooses texts in it. cdr_csv doubles their quotes but writes their line breaks as they are, so that a record
ends at the line break behind an even number of quotes.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from agi_server.cdr.rows import Row, read_row
from agi_server.errors import InputError

MOST_BYTES: Final = 4_000_000  # of one look
LONGEST: Final = 2048  # bytes of a record: cdr_csv leaves out what is longer than 1,024
LOOK_BACK: Final = 32_000_000  # bytes in which earlier rows of a conversation are looked for
_HASHED: Final = 256  # bytes before the offset
_COMPRESSED: Final = (".gz", ".xz", ".bz2", ".zst")

_TIMES: Final = ("start", "answer", "end", "duration", "billsec")
_PARTIES: Final = ("src", "dst", "dcontext", "clid", "channel", "dstchannel")
_COLUMNS: Final = ("accountcode", *_PARTIES, "lastapp", "lastdata", *_TIMES, "disposition", "amaflags")
_MORE: Final = {  # by their number: what loguniqueid, loguserfield and newcdrcolumns add
    1: ("uniqueid",),
    2: ("uniqueid", "userfield"),
    3: ("peeraccount", "linkedid", "sequence"),
    4: ("uniqueid", "peeraccount", "linkedid", "sequence"),
    5: ("uniqueid", "userfield", "peeraccount", "linkedid", "sequence"),
}


class Place(NamedTuple):
    """Where reading goes on; `before` is the hash of what stands before the offset."""

    inode: int = 0
    offset: int = 0
    before: str = ""


class CsvRows:
    """The rows of one Master.csv. `zone` is that of its times, None for this machine's."""

    def __init__(self, path: Path, zone: tzinfo | None) -> None:
        self.bad = 0  # records that were none, since the start
        self._path = path
        self._zone = zone
        self._place = Place()

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def start(self, _now: float) -> dict[str, Any]:
        """Return the position behind all that is there. Raises OSError."""
        return at_end(self._path)._asdict()

    def read(self, position: Mapping[str, Any], _now: float) -> tuple[list[Row], dict[str, Any], bool]:
        """Return the rows not read before, the position behind them, and whether there is more to read at once.

        Raises OSError.
        """
        look = read_on(self._path, Place(**position))
        self._place = look.place
        self.bad += look.bad
        return self._rows(look.records), look.place._asdict(), look.more

    def of(self, linkedids: Collection[str]) -> list[Row]:
        """Return all rows of these conversations that were read. Raises OSError."""
        return [
            row
            for row in self._rows(earlier(self._path, linkedids, self._place))
            if row.linkedid in linkedids
        ]

    def newest(self) -> Row | None:
        """Return the last row, None for an empty file. Raises OSError, InputError: it is none."""
        data = _piece(self._path, self._path.stat().st_size, LONGEST)
        lines = data.splitlines(keepends=True)[-1:]
        return read_row(columns(lines[0]), self._zone) if lines else None

    def _rows(self, records: Sequence[bytes]) -> list[Row]:
        rows = []
        for record in records:
            try:
                rows.append(read_row(columns(record), self._zone))
            except InputError:
                self.bad += 1
        return rows


class Look(NamedTuple):
    """What one look found: whole records as they stand, how many pieces were none, and whether there is more."""

    records: list[bytes]
    bad: int
    place: Place
    more: bool = False


def at_end(path: Path) -> Place:
    """Return the place behind all records there are. Raises OSError, but not for a file that is not there yet."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = max(0, size - LONGEST)
            file.seek(start)
            return _place(file, start + file.read(size - start).rfind(b"\n") + 1)
    except FileNotFoundError:
        return Place()


def read_on(path: Path, place: Place) -> Look:
    """Return the records behind a place, at most MOST_BYTES of them. Raises OSError.

    A file that was moved away is read to its end first, then those that came after it.
    """
    found = _locate(path, place)
    if found is None:
        return Look([], 0, place)
    with found.open("rb") as file:
        status = os.fstat(file.fileno())
        fits = _fits(file, place)
        if not fits and _locate(path, place) != found:  # it was moved away between finding and opening it
            return Look([], 0, place, more=True)
        start = place.offset if fits else 0
        file.seek(start)
        data = file.read(MOST_BYTES)
        records, bad, length = split(data)
        here = _place(file, start + length)
    if start + len(data) < status.st_size:
        return Look(records, bad, here, more=True)
    following = _following(path, found)
    if following is None:
        return Look(records, bad, here)
    # Nobody writes to this one any more: half a line at its end stays one.
    return Look(records, bad + (length < len(data)), Place(following.stat().st_ino), more=True)


def split(data: bytes) -> tuple[list[bytes], int, int]:
    """Return the whole records in `data`, how many pieces were none, and how many bytes all of these are."""
    records: list[bytes] = []
    bad = start = at = 0
    while (end := data.find(b"\n", at)) >= 0:
        if data.count(b'"', start, end) % 2 == 0:
            records.append(data[start : end + 1])
            start = at = end + 1
        elif end - start > LONGEST:  # a quote is missing: go on behind the first line break
            bad += 1
            start = at = data.index(b"\n", start) + 1
        else:
            at = end + 1
    if len(data) - start > LONGEST:  # no record ends here any more
        bad += 1
        after = data.find(b"\n", start) + 1
        start = after or len(data)
    return records, bad, start


def columns(record: bytes) -> dict[str, str]:
    """Return a record's columns by name. Raises InputError for what is none."""
    try:
        (cells,) = csv.reader([record.decode("utf-8", "replace")], strict=True)
    except (csv.Error, ValueError) as error:
        raise InputError("this is no record of cdr_csv") from error
    extra = len(cells) - len(_COLUMNS)
    if extra not in _MORE:
        raise InputError(f"a record of {len(cells)} columns")
    return dict(zip((*_COLUMNS, *_MORE[extra]), cells, strict=True))


def earlier(path: Path, linkedids: Collection[str], place: Place) -> list[bytes]:
    """Return the records before a place that may belong to these conversations. Raises OSError."""
    found = _locate(path, place)
    if found is None:
        return []
    pieces = [_piece(found, place.offset)]
    left = LOOK_BACK - len(pieces[0])
    older = _older(path, found)
    if left > 0 and older is not None:
        pieces.insert(0, _piece(older, older.stat().st_size, left))
    records: dict[bytes, None] = {}
    for data in pieces:
        for linkedid in linkedids:
            records.update(dict.fromkeys(_around(data, f'"{linkedid}"'.encode())))
    return list(records)


def _around(data: bytes, text: bytes) -> Iterator[bytes]:
    """Yield the lines that hold a text; one that a caller's own line break cut is no record."""
    at = data.find(text)
    while at >= 0:
        end = data.find(b"\n", at) + 1 or len(data)
        yield data[data.rfind(b"\n", 0, at) + 1 : end]
        at = data.find(text, end)


def _piece(path: Path, end: int, most: int = LOOK_BACK) -> bytes:
    with path.open("rb") as file:
        start = max(0, end - most)
        file.seek(start)
        return file.read(end - start)


def _place(file: BinaryIO, offset: int) -> Place:
    return Place(os.fstat(file.fileno()).st_ino, offset, _hash(file, offset))


def _hash(file: BinaryIO, offset: int) -> str:
    start = max(0, offset - _HASHED)
    file.seek(start)
    return hashlib.sha256(file.read(offset - start)).hexdigest()[:32] if offset else ""


def _fits(file: BinaryIO, place: Place) -> bool:
    """Return whether what was read before stands in this file."""
    return os.fstat(file.fileno()).st_size >= place.offset and _hash(file, place.offset) == place.before


def _locate(path: Path, place: Place) -> Path | None:
    """Return the file that a place is in, wherever it is now; the current one where it is nowhere."""
    files = _files(path)
    if not place.inode:  # there was none at all: the oldest is next, and what is too old in it is not told
        return files[-1] if files else None
    same = [each for each in files if each.stat().st_ino == place.inode]
    candidates = [*same, *files] if place.offset else same
    for each in candidates:
        with each.open("rb") as file:
            if _fits(file, place):
                return each
    return path if path in files else None


def _files(path: Path) -> list[Path]:
    """Return the current file and those it was rotated to, the newest first."""
    beside = [
        each
        for each in path.parent.glob(f"{_literal(path.name)}*")
        if each.is_file() and each.suffix not in _COMPRESSED
    ]
    return sorted(beside, key=lambda each: (each == path, each.stat().st_mtime_ns), reverse=True)


def _following(path: Path, found: Path) -> Path | None:
    """Return the file that came after one that was rotated; None for the current one."""
    files = _files(path)
    index = files.index(found) if found in files else 0
    return files[index - 1] if index else None


def _older(path: Path, found: Path) -> Path | None:
    files = _files(path)
    index = files.index(found) if found in files else len(files)
    return files[index + 1] if index + 1 < len(files) else None


def _literal(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)
