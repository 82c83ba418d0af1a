"""What the rows tell reaches the journal: once, whole, and whatever happens in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from agi_server.cdr.csv_file import CsvRows
from agi_server.cdr.watch import Follower, watch
from agi_server.conclusion import conclude
from agi_server.errors import DirectoryError
from agi_server.settings import Settings
from storage.calls import record_calls
from storage.database import Database
from storage.directory import SqliteDirectory
from tests.cdr.samples import BEGAN, record

NOW = float(BEGAN)
THREAD = f"{BEGAN}.1"


@pytest.fixture
def path(settings: Settings) -> Path:
    assert settings.cdr.csv_file is not None
    return settings.cdr.csv_file


@pytest.fixture
def begin(
    settings: Settings, database: Database, directory: SqliteDirectory, path: Path
) -> Callable[[], Follower]:
    """Return a maker of followers, each as a new process would have it."""
    return lambda: Follower("cdr:test", partial(CsvRows, path, UTC), settings, database, directory)


def append(path: Path, *data: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(data))


async def told(database: Database) -> list[dict[str, Any]]:
    async def job(conn: Any) -> list[dict[str, Any]]:
        rows = await conn.execute(text("SELECT * FROM calls WHERE part_of = '' ORDER BY started_at, id"))
        return [dict(row) for row in rows.mappings()]

    return await database.read(job)


async def decided(database: Database, **columns: object) -> None:
    row = {"id": "d1", "started_at": BEGAN, "uniqueid": THREAD, "number": 4930200001, **columns}
    await database.write(lambda conn: record_calls(conn, [row]))


async def test_a_call_nobody_asked_about(
    begin: Callable[[], Follower], database: Database, path: Path
) -> None:
    follower = begin()
    await follower.look(NOW - 5)
    append(path, record())
    assert not await follower.look(NOW + 16)
    assert await told(database) == []  # its last row ended 9 s ago: AMI and the dialplan go first
    await follower.look(NOW + 17)
    (call,) = await told(database)
    assert (call["id"], call["linkedid"], call["told_by"]) == (f"pbx-{THREAD}", THREAD, "cdr")
    assert (call["direction"], call["number"], call["number_text"]) == (
        "inbound",
        4930200001,
        "4930200001",
    )
    assert (call["disposition"], call["seconds"], call["answered_by"]) == ("answered", 5, "101")
    assert (call["started_at"], call["ended_at"], call["did"]) == (BEGAN, BEGAN + 7, "4930777100")
    assert (call["verdict"], call["trunk"], call["name"]) == ("allow", "PJSIP/trunk", "Otto")


async def test_a_call_that_was_decided_gets_its_end(
    begin: Callable[[], Follower], database: Database, path: Path
) -> None:
    follower = begin()
    await follower.look(NOW - 5)
    await decided(database, did="030777", name="Otto Owned")
    append(path, record(name="whoever"))
    await follower.look(NOW + 20)
    (call,) = await told(database)
    assert (call["id"], call["name"], call["did"], call["seconds"]) == ("d1", "Otto Owned", "030777", 5)


async def test_who_sees_more_is_believed(
    begin: Callable[[], Follower], database: Database, path: Path
) -> None:
    follower = begin()
    await follower.look(NOW - 5)
    await decided(
        database,
        told_by="ami",
        ended_at=BEGAN + 4,
        seconds=4,
        answered_by="102",
        disposition="answered",
        linkedid=THREAD,
        pbx="pbx",
    )
    append(path, record())
    await follower.look(NOW + 20)
    (call,) = await told(database)
    assert (call["told_by"], call["seconds"], call["answered_by"]) == ("ami", 4, "102")


async def test_rows_of_one_conversation_come_at_different_times(
    begin: Callable[[], Follower], database: Database, path: Path
) -> None:
    follower = begin()
    await follower.look(NOW - 5)
    append(path, record())
    await follower.look(NOW + 8)
    append(
        path,
        record(began=BEGAN + 7, uniqueid=THREAD, to="PJSIP/102-00000003", spoke=20),
    )
    await follower.look(NOW + 18)
    assert await told(database) == []
    await follower.look(NOW + 39)
    (call,) = await told(database)
    assert (call["answered_by"], call["seconds"], call["ended_at"]) == ("101", 25, BEGAN + 29)


async def test_rows_that_come_long_after_the_others(
    begin: Callable[[], Follower], database: Database, path: Path
) -> None:
    follower = begin()
    await follower.look(NOW - 5)
    append(path, record())
    await follower.look(NOW + 30)
    (before,) = await told(database)
    append(
        path,
        record(began=BEGAN + 7, uniqueid=THREAD, to="PJSIP/102-00000003", rang=0, spoke=3600),
    )
    await begin().look(NOW + 4000)  # in a new process, too
    (call,) = await told(database)
    assert (call["id"], call["answered_by"], call["seconds"]) == (before["id"], "101", 3605)


async def test_what_began_before_the_first_look_is_not_told(
    begin: Callable[[], Follower], database: Database, path: Path
) -> None:
    append(path, record(began=BEGAN - 100))
    follower = begin()
    await follower.look(NOW)
    append(path, record(began=BEGAN - 60, spoke=50, uniqueid=f"{BEGAN - 60}.9"))
    append(path, record("4930200002", began=BEGAN + 1, uniqueid=f"{BEGAN + 1}.2"))
    await follower.look(NOW + 30)
    assert [call["number"] for call in await told(database)] == [4930200002]


async def test_a_process_that_was_killed_in_between(
    begin: Callable[[], Follower], database: Database, path: Path
) -> None:
    follower = begin()
    await follower.look(NOW - 5)
    append(path, record())
    await follower.look(NOW + 8)  # read, not told
    path.rename(f"{path}.1")
    append(path, record("4930200002", began=BEGAN + 1, uniqueid=f"{BEGAN + 1}.2"))
    after = begin()
    await after.look(NOW + 30)
    await after.look(NOW + 31)
    assert [call["number"] for call in await told(database)] == [4930200001, 4930200002]


async def test_a_write_that_fails_is_tried_again(
    begin: Callable[[], Follower], database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = begin()
    await follower.look(NOW - 5)
    append(path, record(), record("4930200002", began=BEGAN + 1, uniqueid=f"{BEGAN + 1}.2"))

    async def full(*_: object, **__: object) -> str:
        raise DirectoryError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("agi_server.cdr.watch.conclude", full)
        with pytest.raises(DirectoryError):
            await follower.look(NOW + 30)
    assert await told(database) == []
    await follower.look(NOW + 31)
    calls = await told(database)
    assert [call["number"] for call in calls] == [4930200001, 4930200002]
    assert all(len(call["legs"]) > 2 for call in calls)
    assert '"101"' in calls[0]["legs"]
    assert calls[0]["legs"].count("extension") == 1  # rows that were read twice count once


async def test_who_is_far_behind_and_killed_again_and_again_gets_ahead(
    begin: Callable[[], Follower], database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process is killed while it writes the second of the groups that wait."""
    await begin().look(NOW - 5)
    append(
        path,
        *(record(f"493020000{n}", began=BEGAN + n, uniqueid=f"{BEGAN + n}.{n}") for n in range(1, 6)),
    )
    done: list[str] = []

    async def killed(conn: Any, said: Any, *more: Any, **named: Any) -> str:
        if len(done) == 2:
            raise DirectoryError("killed")
        done.append(said.number)
        return await conclude(conn, said, *more, **named)

    monkeypatch.setattr("agi_server.cdr.watch.AT_ONCE", 2)
    monkeypatch.setattr("agi_server.cdr.watch.conclude", killed)
    for numbers in ([1, 2], [3, 4], [5]):
        done.clear()
        with suppress(DirectoryError):
            await begin().look(NOW + 40)
        assert done == [f"493020000{n}" for n in numbers]
    assert [call["number"] for call in await told(database)] == [int(f"493020000{n}") for n in range(1, 6)]


async def test_one_that_cannot_be_stored_holds_up_nobody(
    begin: Callable[[], Follower], database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = begin()
    await follower.look(NOW - 5)
    append(path, record(), record("4930200002", began=BEGAN + 1, uniqueid=f"{BEGAN + 1}.2"))

    async def picky(conn: Any, said: Any, *more: Any, **named: Any) -> str:
        if said.number == "4930200001":
            raise ValueError("odd")
        return await conclude(conn, said, *more, **named)

    monkeypatch.setattr("agi_server.cdr.watch.conclude", picky)
    with capture_logs() as logs:
        await follower.look(NOW + 30)
    assert [call["number"] for call in await told(database)] == [4930200002]
    assert [each["event"] for each in logs] == ["a call record cannot be stored and is left out"]


async def test_bad_lines_are_told_of_once(
    begin: Callable[[], Follower], database: Database, path: Path
) -> None:
    follower = begin()
    await follower.look(NOW - 5)
    with capture_logs() as logs:
        append(path, b"nonsense\n", record())
        await follower.look(NOW + 30)
        append(path, b"more of it\n")
        await follower.look(NOW + 31)
    assert [(each["log_level"], each["count"]) for each in logs] == [("warning", 1)]
    assert len(await told(database)) == 1


async def test_nothing_personal_is_kept_of_what_waits(
    begin: Callable[[], Follower], database: Database, path: Path
) -> None:
    follower = begin()
    await follower.look(NOW - 5)
    append(path, record("4930200001", name="Otto"))
    await follower.look(NOW + 8)

    async def job(conn: Any) -> list[str]:
        return [str(row[0]) for row in await conn.execute(text("SELECT value FROM positions"))]

    (kept,) = await database.read(job)
    assert THREAD in kept
    assert "4930200001" not in kept
    assert "Otto" not in kept


async def test_watching_goes_on_when_the_file_cannot_be_read(
    database: Database, settings: Settings, path: Path
) -> None:
    path.mkdir()  # what stands there is no file
    cdr = settings.cdr.model_copy(update={"interval": 0.01, "settle": 0})
    with capture_logs() as logs:
        task = asyncio.create_task(watch(settings.model_copy(update={"cdr": cdr}), database))
        async with asyncio.timeout(30):
            while not logs:
                await asyncio.sleep(0.01)
            path.rmdir()
            while len(logs) < 2:
                await asyncio.sleep(0.01)
            append(path, record(began=int(time.time()), rang=0, spoke=0))
            while not await told(database):
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
    assert [each["log_level"] for each in logs] == ["error", "info"]


async def test_nothing_to_watch(database: Database) -> None:
    task = asyncio.create_task(watch(Settings(), database))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
