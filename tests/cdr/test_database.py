"""Call records of a database: FreePBX's table, and what others leave out."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.exc import OperationalError

from agi_server.cdr import database as module
from agi_server.cdr.database import OVERLAP, WINDOW, TableRows, describe
from agi_server.cdr.rows import Row
from agi_server.errors import InputError, SettingsError
from tests.cdr.samples import BEGAN, text

NOW = float(BEGAN)
FREEPBX = (
    "CREATE TABLE cdr (calldate datetime NOT NULL, clid varchar(80), src varchar(80), dst varchar(80), "
    "dcontext varchar(80), channel varchar(80), dstchannel varchar(80), lastapp varchar(80), lastdata varchar(80), "
    "duration int, billsec int, disposition varchar(45), amaflags int, accountcode varchar(20), "
    "uniqueid varchar(32), userfield varchar(255), did varchar(50), recordingfile varchar(255), cnum varchar(80), "
    "cnam varchar(80), linkedid varchar(32), peeraccount varchar(80), sequence int)"
)


class Table:
    """A table of call records in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run(FREEPBX)

    def run(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute(statement, values)
            connection.commit()

    def ended(self, number: str, began: float, duration: int = 5, **more: object) -> None:
        """Write a row, as Asterisk does when its call has ended."""
        row: dict[str, object] = {
            "calldate": text(int(began)),
            "src": "0" + number,
            "cnum": number,
            "cnam": "Otto",
            "dst": "101",
            "channel": "PJSIP/trunk-00000001",
            "dstchannel": "PJSIP/101-00000002",
            "lastapp": "Dial",
            "lastdata": "PJSIP/101",
            "duration": duration,
            "billsec": duration,
            "disposition": "ANSWERED",
            "uniqueid": f"{int(began)}.{number[-2:]}",
            "linkedid": f"{int(began)}.{number[-2:]}",
            "did": "4930777100",
            "recordingfile": "in.wav",
            "sequence": 1,
        } | more
        marks = ", ".join("?" * len(row))
        self.run(f"INSERT INTO cdr ({', '.join(row)}) VALUES ({marks})", *row.values())


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path / "asteriskcdrdb.sqlite")


@pytest.fixture
def rows(table: Table) -> Iterator[TableRows]:
    opened = open_rows(table)
    yield opened
    opened.close()


def open_rows(table: Table, zone: Any = UTC) -> TableRows:
    return TableRows(f"sqlite:///{table.path}", "cdr", zone)


class Reader:
    """Reads on and on, keeping the position."""

    def __init__(self, rows: TableRows, now: float) -> None:
        self.rows = rows
        self.position = rows.start(now)

    def __call__(self, now: float) -> list[str]:
        found: list[Row] = []
        more = True
        while more:
            new, self.position, more = self.rows.read(self.position, now)
            found += new
        return [row.number for row in found]


def test_each_row_once(table: Table, rows: TableRows) -> None:
    table.ended("4930200001", NOW - OVERLAP - 100)
    read = Reader(rows, NOW)
    assert read(NOW) == []
    table.ended("4930200002", NOW + 1)
    assert read(NOW + 10) == ["4930200002"]
    assert read(NOW + 40) == []
    table.ended("4930200003", NOW + 2, duration=50)  # began before the last one ended
    assert read(NOW + 60) == ["4930200003"]
    after = Reader(open_rows(table), NOW)
    after.position = read.position
    assert after(NOW + 70) == []


def test_what_a_row_says(table: Table, rows: TableRows) -> None:
    table.ended("4930200001", NOW)
    ((row,), _, _) = rows.read(rows.start(NOW), NOW + 10)
    assert (row.number, row.name, row.did, row.recording) == ("4930200001", "Otto", "4930777100", "in.wav")
    assert (row.started_at, row.answered_at, row.ended_at) == (NOW, NOW, NOW + 5)


def test_a_call_of_hours_is_found_at_a_later_look(
    table: Table, rows: TableRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Reader(rows, NOW)
    assert read(NOW) == []
    table.ended("4930200001", NOW + 60, duration=4 * 3600)
    now = NOW + 60 + 4 * 3600
    for each in range(4):  # somebody else's calls went on
        table.ended(f"493020001{each}", now - 100, duration=10)
    assert len(read(now)) in {4, 5}
    monkeypatch.setattr(module, "LONG_EVERY", 0)
    assert read(now + 30) in ([], ["4930200001"])
    assert read(now + 60) == []


def test_days_without_us_are_read_piece_by_piece(table: Table, rows: TableRows) -> None:
    read = Reader(rows, NOW)
    began = [NOW + at * WINDOW / 2 for at in range(1, 12)]
    for number, at in enumerate(began):
        table.ended(f"49302000{number:02}", at, duration=int(WINDOW / 3))
    assert read(NOW + WINDOW * 8) == [f"49302000{number:02}" for number in range(11)]
    assert read(NOW + WINDOW * 8 + 1) == []


def test_all_rows_of_a_conversation(table: Table, rows: TableRows) -> None:
    thread = f"{BEGAN}.1"
    table.ended("4930200001", NOW, linkedid=thread)
    table.ended("4930200001", NOW + 5000, linkedid=thread)
    table.ended("4930200002", NOW)
    assert [row.started_at for row in rows.of([thread, "none"])] == [NOW, NOW + 5000]
    assert [row.number for row in rows.of(["ostiary-dial-1"])] == []


def test_the_hour_that_comes_twice(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    change = int(datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp())  # in Berlin 03:00 is 02:00 again
    monkeypatch.setattr(time, "time", lambda: float(change + 400))
    rows = open_rows(table, ZoneInfo("Europe/Berlin"))
    read = Reader(rows, change - 300)
    assert read(change - 290) == []
    table.ended("4930200001", change + 5, calldate="2026-10-25 02:00:05")
    table.ended("4930200002", change - 200, calldate="2026-10-25 02:56:40")
    assert sorted(read(change + 400)) == ["4930200001", "4930200002"]
    assert read(change + 430) == []
    assert {row.started_at for row in rows.of([f"{change + 5}.01", f"{change - 200}.02"])} == {
        change + 5.0,
        change - 200.0,
    }
    rows.close()


def test_a_table_with_less_in_it(table: Table) -> None:
    table.run("DROP TABLE cdr")
    table.run(
        "CREATE TABLE cdr (start text, src text, dst text, channel text, dstchannel text, duration int, "
        "billsec int, disposition text, uniqueid text)"
    )
    table.run(
        "INSERT INTO cdr VALUES (?, '030', '1', 'PJSIP/t-00000001', 'PJSIP/101-00000002', 9, 5, 'ANSWERED', ?)",
        text(BEGAN),
        f"{BEGAN}.1",
    )
    rows = open_rows(table)
    ((row,), _, _) = rows.read(rows.start(NOW), NOW + 20)
    assert (row.linkedid, row.src, row.ended_at) == (f"{BEGAN}.1", "030", NOW + 9)
    assert rows.of([f"{BEGAN}.1"]) == [row]
    rows.close()


def test_rows_that_are_none_are_counted(table: Table, rows: TableRows) -> None:
    table.ended("4930200001", NOW, duration=-1)
    table.ended("4930200002", NOW)
    assert Reader(rows, NOW)(NOW + 10) == ["4930200002"]
    assert rows.bad == 1


def test_a_table_of_something_else(table: Table, rows: TableRows) -> None:
    table.run("DROP TABLE cdr")
    table.run("CREATE TABLE cdr (id int)")
    with pytest.raises(
        InputError, match=r"cdr\.table cdr: it has no channel, disposition, duration, uniqueid"
    ):
        rows.read(rows.start(NOW), NOW)


def test_nothing_is_written_and_no_file_made(table: Table, tmp_path: Path) -> None:
    rows = TableRows(f"sqlite:///{tmp_path / 'nothing.sqlite'}", "cdr", UTC)
    with pytest.raises(OperationalError):
        rows.read(rows.start(NOW), NOW)
    assert not (tmp_path / "nothing.sqlite").exists()
    before = table.path.read_bytes()
    Reader(open_rows(table), NOW)(NOW + 10)
    assert table.path.read_bytes() == before


@pytest.mark.parametrize("url", ["nonsense", "nosuch+driver://h/d", "mysql+nosuchdriver://h/d", "://"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(SettingsError, match=r"cdr\.url"):
        TableRows(url, "cdr", UTC)


def test_no_password_is_told() -> None:
    assert (
        describe("mysql+pymysql://reader:secret@h/asteriskcdrdb")
        == "mysql+pymysql://reader:***@h/asteriskcdrdb"
    )
    assert "secret" not in describe("://secret")
