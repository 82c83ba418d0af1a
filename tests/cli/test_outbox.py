"""`ostiary outbox`."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ostiary

ROWS = (
    (1, "contact", 7, {"id": 7, "name": "Ana [red]", "phone": "+4930123456"}, 0, 0, "", 0),
    (
        2,
        "contact",
        8,
        {"id": 8, "name": "+4930123457", "phone": "+4930123457"},
        9,
        2,
        "STRING_TOO_LONG: no",
        1,
    ),
    (
        3,
        "flag",
        9,
        {"salesforce_id": "003000000000001AAA", "kind": "Contact", "value": True},
        0,
        1,
        "busy",
        0,
    ),
    (4, "flag", 9, {"salesforce_id": "003000000000001AAA", "kind": "Contact", "value": False}, 0, 0, "", 1),
)


@pytest.fixture
def filled(ostiary: Ostiary, state: Path) -> Ostiary:
    ostiary("migrate")
    rows = [(*row[:3], json.dumps(row[3]), *row[4:]) for row in ROWS]
    with closing(sqlite3.connect(state / "ostiary.db")) as connection:
        connection.executemany(
            "INSERT INTO outbox (id, kind, contact_id, payload, next_attempt_at, attempts, error, parked, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1800000000)",
            rows,
        )
        connection.commit()
    return ostiary


def left(ostiary: Ostiary, *options: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(ostiary("outbox", "list", "--json", *options).stdout)
    return rows


def audit(state: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(state / "ostiary.db")) as connection:
        return connection.execute("SELECT who, what FROM audit ORDER BY id").fetchall()


def test_an_empty_outbox(ostiary: Ostiary) -> None:
    assert left(ostiary) == []
    assert len(ostiary("outbox", "list").stdout.splitlines()) == 1


def test_list(filled: Ostiary) -> None:
    assert [row["id"] for row in left(filled)] == [2, 4, 1, 3]
    assert [row["id"] for row in left(filled, "--parked")] == [2, 4]
    row = left(filled)[0]
    assert (row["payload"]["phone"], row["attempts"], row["error"], row["parked"]) == (
        "+4930123457",
        2,
        "STRING_TOO_LONG: no",
        True,
    )
    assert row["created_at"] == "2027-01-15T08:00:00Z"
    lines = filled("outbox", "list").stdout.splitlines()
    assert lines[0].split() == ["id", "what", "contact", "since", "tries", "next", "reason"]
    assert lines[1].startswith("2   contact   8 +4930123457")
    assert "waits for you" in lines[1]
    assert lines[1].endswith("STRING_TOO_LONG: no")
    assert "flag off" in lines[2]
    assert "7 Ana [red]" in lines[3]
    assert "at once" in lines[3]


def test_what_is_not_shown_is_counted(filled: Ostiary) -> None:
    result = filled("outbox", "list", "--limit", "1")
    assert len(result.stdout.splitlines()) == 2
    assert "3 more" in result.stderr
    assert "1 more" in filled("outbox", "list", "--parked", "--limit", "1").stderr
    assert filled("outbox", "list", "--parked").stderr == ""


def test_retry(filled: Ostiary, state: Path) -> None:
    assert filled("outbox", "retry", "2").stdout == "1 to be sent again\n"
    rows = {row["id"]: row for row in left(filled)}
    assert (rows[2]["parked"], rows[2]["attempts"], rows[4]["parked"]) == (False, 0, True)
    assert filled("outbox", "retry", "--all").stdout == "1 to be sent again\n"
    assert left(filled, "--parked") == []
    assert audit(state) == [("cli:ana", "outbox.retry")] * 2


def test_drop(filled: Ostiary, state: Path) -> None:
    assert filled("outbox", "drop", "1", "3").stdout == "2 dropped\n"
    assert [row["id"] for row in left(filled)] == [2, 4]
    assert filled("outbox", "drop", "--all-parked").stdout == "2 dropped\n"
    assert left(filled) == []
    assert audit(state) == [("cli:ana", "outbox.drop")] * 4


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_a_row_that_is_not_there_changes_nothing(filled: Ostiary, state: Path, command: str) -> None:
    before = left(filled)
    result = filled("outbox", command, "2", "77", code=1)
    assert "only 1 are there" in str(result.exception)
    assert left(filled) == before
    assert audit(state) == []


@pytest.mark.parametrize(
    "words", [["retry"], ["drop"], ["retry", "2", "--all"], ["drop", "2", "--all-parked"], ["drop", "x"]]
)
def test_wrong_usage(filled: Ostiary, words: list[str]) -> None:
    filled("outbox", *words, code=2)
    assert len(left(filled)) == 4
