"""Master.csv is read once, record by record, whatever happens to the file."""

from __future__ import annotations

import os
import shutil
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.cdr import csv_file
from agi_server.cdr.csv_file import LONGEST, CsvRows, Place, at_end, columns, read_on, split
from agi_server.cdr.rows import Row
from agi_server.errors import InputError
from tests.cdr.samples import BEGAN, record

LINES = [record(f"49302000{number:02}", began=BEGAN + number) for number in range(20)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "Master.csv"


def append(path: Path, *data: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(data))


class Reader:
    """Reads on and on, from a position that was written down each time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = CsvRows(path, UTC).start(0)
        self.bad = 0

    def __call__(self) -> list[str]:
        """Return the numbers in the rows that are new to a process that has just begun."""
        found: list[Row] = []
        more = True
        while more:
            rows = CsvRows(self.path, UTC)
            new, self.position, more = rows.read(self.position, 0)
            found += new
            self.bad += rows.bad
        return [row.src for row in found]


def numbers(lines: list[bytes]) -> list[str]:
    return [columns(line)["src"] for line in lines]


def test_what_was_there_before_is_not_read(path: Path) -> None:
    append(path, *LINES[:3])
    read = Reader(path)
    assert read() == []
    append(path, *LINES[3:5])
    assert read() == numbers(LINES[3:5])
    assert read() == []


def test_a_file_that_is_not_there_yet(path: Path) -> None:
    read = Reader(path)
    assert read() == []
    append(path, LINES[0])
    assert read() == numbers(LINES[:1])


def test_a_file_that_comes_and_is_moved_away_before_the_first_look(path: Path) -> None:
    read = Reader(path)
    append(path, LINES[0])
    path.rename(f"{path}.1")
    append(path, LINES[1])
    assert read() == numbers(LINES[:2])


def test_half_a_line_waits_for_its_other_half(path: Path) -> None:
    append(path, LINES[0], LINES[1][:30])
    read = Reader(path)
    assert read() == []
    append(path, LINES[1][30:], LINES[2][:-1])
    assert read() == numbers(LINES[1:2])
    append(path, LINES[2][-1:])
    assert read() == numbers(LINES[2:3])
    assert read.bad == 0


def test_a_file_that_is_moved_away(path: Path) -> None:
    append(path, LINES[0])
    read = Reader(path)
    append(path, LINES[1])
    assert read() == numbers(LINES[1:2])
    append(path, LINES[2])
    path.rename(f"{path}.1")
    append(path, LINES[3])
    assert read() == numbers(LINES[2:4])


def test_a_file_that_is_moved_away_and_not_made_anew_yet(path: Path) -> None:
    append(path, LINES[0])
    read = Reader(path)
    append(path, LINES[1])
    path.rename(f"{path}.1")
    assert read() == numbers(LINES[1:2])
    append(path, LINES[2])
    assert read() == numbers(LINES[2:3])


def test_a_rotation_between_finding_the_file_and_opening_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, *LINES[:3])
    read = Reader(path)
    append(path, *LINES[3:5])
    locate = csv_file._locate

    def rotating(where: Path, place: Place) -> Path | None:
        found = locate(where, place)
        monkeypatch.setattr(csv_file, "_locate", locate)
        path.rename(f"{path}.1")
        append(path, *LINES[5:7])
        return found

    monkeypatch.setattr(csv_file, "_locate", rotating)
    assert read() == numbers(LINES[3:7])


def test_several_rotations_while_nobody_looked(path: Path) -> None:
    append(path, LINES[0])
    read = Reader(path)
    append(path, LINES[1])
    for older, newer in ((f"{path}.2", f"{path}.1"), (f"{path}.1", path)):
        if Path(newer).exists():
            Path(newer).rename(older)
    os.utime(f"{path}.1", (BEGAN, BEGAN))
    Path(f"{path}.1").rename(f"{path}.2")
    append(path, LINES[2])
    path.rename(f"{path}.1")
    os.utime(f"{path}.1", (BEGAN + 1, BEGAN + 1))
    append(path, LINES[3])
    Path(f"{path}.3.gz").write_bytes(b"\x1f\x8b")
    assert read() == numbers(LINES[1:4])


def test_a_file_that_is_copied_and_cut(path: Path) -> None:
    append(path, *LINES[:2])
    read = Reader(path)
    append(path, LINES[2])
    shutil.copyfile(path, f"{path}.1")
    os.truncate(path, 0)
    append(path, LINES[3])
    assert read() == numbers(LINES[2:4])


def test_a_file_that_is_cut_and_grows_beyond_where_reading_was(path: Path) -> None:
    append(path, LINES[0])
    read = Reader(path)
    os.truncate(path, 0)
    append(path, *LINES[1:6])
    assert read() == numbers(LINES[1:6])


def test_a_line_break_of_a_caller(path: Path) -> None:
    read = Reader(path)
    evil = record('1"\n"","x","y"\r\nEvent: Hangup', name='"\n",,,,')
    append(path, LINES[0], evil, LINES[1])
    assert read()[::2] == numbers(LINES[:2])
    assert read.bad == 0


@settings(max_examples=200)
@given(st.lists(st.text(st.sampled_from('",\n\r1a;<>\\\x00é'), max_size=20), min_size=1, max_size=5))
def test_whatever_callers_call_themselves(names: list[str]) -> None:
    data = b"".join(record(name=name, began=BEGAN + at) for at, name in enumerate(names))
    records, bad, length = split(data)
    assert (len(records), bad, length) == (len(names), 0, len(data))
    for written, name in zip(records, names, strict=True):
        assert columns(written)["clid"] == f'"{name}" <4930200001>'
        assert columns(written)["billsec"] == "5"


def test_a_quote_that_is_missing_costs_what_it_must(path: Path) -> None:
    read = Reader(path)
    append(path, LINES[0], LINES[1][:41] + b"\n", *LINES[2:])
    found = read()
    assert found[0] == numbers(LINES)[0]
    append(path, *(record(f"493030{number:04}") for number in range(20)))
    found += read()
    assert {*found} >= {*numbers(LINES[10:]), *(f"493030{number:04}" for number in range(20))}
    assert read.bad >= 1


@pytest.mark.parametrize("size", [LONGEST + 1, 10 * LONGEST])
def test_what_never_ends_is_left_out(path: Path, size: int) -> None:
    read = Reader(path)
    append(path, b'"' + b"x" * size)
    assert read() == []
    assert read.bad == 1
    append(path, b"\n", LINES[0])
    assert read() == numbers(LINES[:1])


def test_lines_that_are_none_are_counted(path: Path) -> None:
    read = Reader(path)
    append(path, b"\n", b"# a comment\n", b'"a","b"\n', LINES[0], b'"x"y,"z"\n', LINES[1])
    assert read() == numbers(LINES[:2])
    assert read.bad == 4


def test_more_than_one_look(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "MOST_BYTES", 700)
    read = Reader(path)
    append(path, *LINES)
    assert read() == numbers(LINES)


@pytest.mark.parametrize(
    ("more", "uniqueid", "linkedid"),
    [
        ('"1795300000.7"', "1795300000.7", None),
        ('"1795300000.7","mine"', "1795300000.7", None),
        ('"","1795300000.6",3', None, "1795300000.6"),
        ('"1795300000.7","","1795300000.6",3', "1795300000.7", "1795300000.6"),
        ('"1795300000.7","mine","","1795300000.6",3', "1795300000.7", "1795300000.6"),
    ],
)
def test_columns_as_cdr_conf_wants_them(more: str, uniqueid: str | None, linkedid: str | None) -> None:
    plain = ",".join(record().decode().split(",")[:17])
    found = columns(f"{plain},{more}\n".encode())
    assert (found.get("uniqueid"), found.get("linkedid")) == (uniqueid, linkedid)


def test_columns_without_an_id_are_none() -> None:
    with pytest.raises(InputError):
        columns(",".join(record().decode().split(",")[:17]).encode())


def test_earlier_rows_of_a_conversation(path: Path) -> None:
    thread = f"{BEGAN}.1"
    old = [record(f"49{at}", linkedid=thread, uniqueid=f"{BEGAN + at}.1") for at in range(3)]
    liar = record("666", name=f'","{thread}","', linkedid="1.1", uniqueid="1.1")
    append(path, old[0], LINES[1], liar)
    path.rename(f"{path}.1")
    append(path, LINES[2], old[1])
    rows = CsvRows(path, UTC)
    _, position, _ = rows.read(at_end(path)._asdict(), 0)
    append(path, old[2])
    assert {row.src for row in rows.of([thread])} == {"490", "491"}
    rows.read(position, 0)
    assert {row.src for row in rows.of([thread, "nobody's"])} == {"490", "491", "492"}


def test_a_place_is_nothing_personal(path: Path) -> None:
    append(path, *LINES)
    place = at_end(path)
    assert place == Place(path.stat().st_ino, path.stat().st_size, place.before)
    assert len(place.before) == 32
    assert read_on(path, place).records == []
