from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import DirectoryError, InputError
from storage.database import Database
from storage.lists import fetch, run_each
from storage.migrate import migrate
from tests.storage.conftest import Query, log_of, overwrite, remove, replace, url_of

Job = Callable[[AsyncConnection], Awaitable[int]]


def add(number: int, *, then: Exception | None = None) -> Job:
    """Return a job that notes a number, and perhaps fails afterwards."""

    async def job(connection: AsyncConnection) -> int:
        await connection.exec_driver_sql("INSERT INTO audit (at, who, what) VALUES (?, '', '')", (number,))
        if then is not None:
            raise then
        return number

    return job


async def noted(database: Database) -> list[int]:
    result = await database.read(
        lambda connection: connection.exec_driver_sql("SELECT at FROM audit ORDER BY at")
    )
    return list(result.scalars())


def count_commits(database: Database) -> list[object]:
    commits: list[object] = []
    event.listen(database._writer.sync_engine, "commit", commits.append)
    return commits


async def test_jobs_that_wait_together_share_a_commit(database: Database) -> None:
    commits = count_commits(database)
    assert await asyncio.gather(*(database.write(add(n)) for n in range(50))) == list(range(50))
    assert await noted(database) == list(range(50))
    assert len(commits) < 25


async def test_a_failing_job_harms_no_other(database: Database) -> None:
    jobs = [add(1), add(2, then=InputError("mine")), add(3), add(4, then=ZeroDivisionError()), add(5)]
    results = await asyncio.gather(*map(database.write, jobs), return_exceptions=True)
    assert [type(result) for result in results] == [int, InputError, int, ZeroDivisionError, int]
    assert await noted(database) == [1, 3, 5]


async def test_a_statement_that_fails_is_a_directory_error(database: Database) -> None:
    async def wrong(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("INSERT INTO revisions (name) VALUES ('dids')")

    with pytest.raises(DirectoryError, match="UNIQUE"):
        await database.write(wrong)
    assert await database.write(add(1)) == 1


async def test_a_job_that_loses_the_transaction_fails_alone(database: Database) -> None:
    async def lose(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("ROLLBACK")  # as SQLite does by itself when the disk is full
        await connection.exec_driver_sql("SELECT * FROM nowhere")

    results = await asyncio.gather(*map(database.write, [add(1), lose, add(2)]), return_exceptions=True)
    assert [type(result) for result in results] == [int, DirectoryError, int]
    assert "nowhere" in str(results[1])
    assert await noted(database) == [1, 2]


async def test_a_write_whose_caller_has_gone_harms_no_other(database: Database) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: AsyncConnection) -> int:
        started.set()
        await go_on.wait()
        return await add(1)(connection)

    running = asyncio.create_task(database.write(slow))
    await started.wait()
    waiting = asyncio.create_task(database.write(add(2)))
    other = asyncio.create_task(database.write(add(3)))
    await asyncio.sleep(0)
    running.cancel()
    waiting.cancel()
    go_on.set()
    assert await other == 3
    assert running.cancelled() or await asyncio.gather(running, return_exceptions=True)
    # What had begun is finished, what had not is never begun.
    assert await noted(database) == [1, 3]


async def test_close_finishes_what_was_asked(path: Path, query: Query) -> None:
    database = await Database.open(url_of(path))
    writes = [asyncio.create_task(database.write(add(n))) for n in range(20)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*writes) == list(range(20))
    assert len(query("SELECT at FROM audit")) == 20
    await database.close()
    with pytest.raises(DirectoryError, match="closed"):
        await database.write(add(1))
    with pytest.raises(DirectoryError, match="closed"):
        await database.read(lambda connection: connection.exec_driver_sql("SELECT 1"))


async def test_a_commit_waits_for_the_disk(database: Database) -> None:
    async def job(connection: AsyncConnection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in names]

    assert await database.write(job) == ["wal", 2, 1]


async def test_a_write_takes_the_lock_before_it_reads(database: Database, path: Path) -> None:
    """A deferred transaction that reads first could not be upgraded once another process has written."""
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def job(connection: AsyncConnection) -> int:
        await connection.exec_driver_sql("SELECT count(*) FROM audit")
        reading.set()
        await go_on.wait()
        return await add(1)(connection)

    write = asyncio.create_task(database.write(job))
    await reading.wait()
    with (
        closing(sqlite3.connect(path, timeout=0)) as other,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("INSERT INTO audit (at, who, what) VALUES (2, '', '')")
    go_on.set()
    assert await write == 1


async def test_a_write_waits_for_another_process(database: Database, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        write = asyncio.create_task(database.write(add(1)))
        done, _ = await asyncio.wait([write], timeout=0.3)
        assert not done
        other.execute("COMMIT")
    assert await write == 1


async def test_a_lock_that_stays_is_reported(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.database.LOCK_SECONDS", 0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        results = await asyncio.gather(*(database.write(add(n)) for n in range(3)), return_exceptions=True)
        assert all(isinstance(result, DirectoryError) and "locked" in str(result) for result in results)
        other.execute("COMMIT")
    assert await database.write(add(7)) == 7


async def test_the_log_does_not_grow_while_a_reader_sits_there(database: Database, path: Path) -> None:
    async def big(connection: AsyncConnection) -> None:
        rows = [(1, "x" * 1000)] * 1000
        await connection.exec_driver_sql("INSERT INTO audit (at, who, what) VALUES (?, ?, '')", rows)
        await connection.exec_driver_sql("DELETE FROM audit")

    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
        for _ in range(130):  # 130 MB and more
            await database.write(big)
            assert reader.execute("SELECT count(*) FROM audit").fetchall() == [(0,)]
    assert os.stat(log_of(path)).st_size < 80 << 20  # noqa: PTH116  # nothing blocks for long here


async def test_the_log_shrinks_after_a_big_transaction(database: Database, path: Path) -> None:
    async def big(connection: AsyncConnection) -> None:
        rows = [(1, "x" * 100_000)] * 1000
        await connection.exec_driver_sql("INSERT INTO audit (at, who, what) VALUES (?, ?, '')", rows)

    await database.write(big)
    assert os.stat(log_of(path)).st_size > 100_000_000  # noqa: PTH116
    await database.write(add(1))
    assert os.stat(log_of(path)).st_size <= 80 << 20  # noqa: PTH116


async def test_a_replaced_file_is_followed(database: Database, path: Path, tmp_path: Path) -> None:
    await database.write(add(1))
    other = tmp_path / "other.db"
    await migrate(url_of(other))
    replace(path, other)
    await database.write(add(2))
    assert await noted(database) == [2]
    with closing(sqlite3.connect(path)) as check:
        assert check.execute("SELECT at FROM audit").fetchall() == [(2,)]


async def test_a_file_that_is_gone_takes_no_writes(database: Database, path: Path) -> None:
    await database.write(add(1))
    remove(path)
    with pytest.raises(DirectoryError, match="gone"):
        await database.write(add(2))
    with pytest.raises(DirectoryError, match="gone"):
        await noted(database)
    with pytest.raises(FileNotFoundError):
        remove(path)  # nobody has made a new one


async def test_only_a_migrated_database_is_opened(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="ostiary migrate"):
        await Database.open(url_of(tmp_path / "none.db"))
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_a_full_disk_fails_the_big_write_only(database: Database, query: Query) -> None:
    @event.listens_for(database._writer.sync_engine, "connect")
    def limit(connection: object, _record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA max_page_count = 200")
        cursor.close()

    async def big(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql(
            "INSERT INTO audit (at, who, what) VALUES (9, ?, '')", ("x" * 2_000_000,)
        )

    results = await asyncio.gather(*map(database.write, [add(1), big, add(2)]), return_exceptions=True)
    assert [type(result) for result in results] == [int, DirectoryError, int]
    assert "disk is full" in str(results[1])
    assert await noted(database) == [1, 2]
    assert query("PRAGMA integrity_check") == [("ok",)]


LIMITED = """
import asyncio, resource, sys
from agi_server.errors import DirectoryError
from storage.database import Database

async def main():
    database = await Database.open(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
    for number in range(10_000):
        async def job(connection):
            await connection.exec_driver_sql(
                "INSERT INTO audit (at, who, what) VALUES (?, ?, '')", (number, "x" * 5000))
        try:
            await database.write(job)
        except DirectoryError as error:
            print("error", error, flush=True)
            break
        print(number, flush=True)
    await database.close()
asyncio.run(main())
"""


def test_what_was_acknowledged_before_the_disk_was_full_is_there(path: Path, query: Query) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, url_of(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    *acknowledged, last = done.stdout.splitlines()
    assert last.startswith("error database"), done.stderr
    assert len(acknowledged) > 10
    assert [str(row[0]) for row in query("SELECT at FROM audit ORDER BY at")] == acknowledged
    assert query("PRAGMA integrity_check") == [("ok",)]


READ_ONLY = """
import asyncio, os, sys
from agi_server.errors import DirectoryError
from storage.database import Database
from storage.lists import fetch, run_each
from storage.migrate import migrate

async def write(connection):
    await connection.exec_driver_sql("INSERT INTO audit (at, who, what) VALUES (1, '', '')")

async def use(url):
    await migrate(url)
    database = await Database.open(url)
    await database.write(write)
    await database.close()

async def main():
    await use(sys.argv[2])  # imports everything while it may still be read
    if os.geteuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    try:
        await use(sys.argv[1])
    except DirectoryError as error:
        print(error, flush=True)
asyncio.run(main())
os._exit(0)
"""


@pytest.mark.parametrize(("directory_mode", "fresh"), [(0o555, True), (0o555, False), (0o755, False)])
def test_a_database_that_may_not_be_written_says_so(
    template: Path, tmp_path: Path, directory_mode: int, *, fresh: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own directories admit their owner only
        path = Path(name, "ostiary.db")
        if not fresh:
            path.write_bytes(template.read_bytes())
            path.chmod(0o444)
        Path(name).chmod(directory_mode)
        command = [sys.executable, "-c", READ_ONLY, url_of(path), url_of(tmp_path / "scratch.db")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        Path(name).chmod(0o755)
    assert "must own" in done.stdout or "belongs to the user" in done.stdout, (done.stdout, done.stderr)


async def test_a_damaged_database_says_so(database: Database, path: Path) -> None:
    for number in range(300):
        await database.write(add(number))
    await database.close()
    overwrite(path, 4096 * 4, os.urandom(4096 * 100))
    with pytest.raises(DirectoryError, match="restore a backup"):
        await Database.open(url_of(path))


async def test_a_database_damaged_while_open_says_so(database: Database, path: Path, query: Query) -> None:
    await database.write(add(1))
    query("PRAGMA wal_checkpoint(TRUNCATE)")
    ((page,),) = query("SELECT rootpage FROM sqlite_master WHERE name = 'audit'")
    await database._dispose()  # what is cached hides the damage
    overwrite(path, 4096 * (page - 1), os.urandom(4096))
    results = await asyncio.gather(
        *map(database.write, [add(2), add_elsewhere, add(3)]), return_exceptions=True
    )
    assert [isinstance(result, DirectoryError) for result in results] == [True, False, True]
    assert "restore a backup" in str(results[0])


async def add_elsewhere(connection: AsyncConnection) -> int:
    await connection.exec_driver_sql("INSERT INTO owners (email) VALUES ('a')")
    return 1


WRITER = """
import asyncio, sys
from agi_server.calls.numbers import Number, NumberState
from storage.contacts import find_or_insert
from storage.database import Database

async def main():
    database = await Database.open(sys.argv[1])
    async def work(lane):
        for turn in range(1000000):
            data = f"{sys.argv[2]}.{lane}.{turn}"
            ani = Number(NumberState.E164, 49300000000 + hash(data) % 10**6, "49300000000", "")
            found = await database.write(
                lambda conn: find_or_insert(conn, data=data, ani=ani, database="", now=1))
            print(found.id, data, flush=True)
    await asyncio.gather(*(work(lane) for lane in range(4)))
asyncio.run(main())
"""


def test_what_was_acknowledged_survives_kill_9(path: Path, query: Query) -> None:
    acknowledged: dict[str, str] = {}
    for turn in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, url_of(path), str(turn)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        lines = []
        for line in child.stdout:  # the moment of death: within a commit somewhere after so many
            lines.append(line)
            if len(lines) == 1 + 7 * turn:
                child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
        acknowledged.update(reversed(line.split()) for line in lines if line.endswith("\n"))  # type: ignore[misc]
        stored = {key: str(number) for number, key in query("SELECT id, key FROM contacts")}
        assert acknowledged.items() <= stored.items()
        assert query("PRAGMA integrity_check") == [("ok",)]
        # Whole or not at all: no contact without its place in the outbox.
        assert query("SELECT count(*) FROM contacts WHERE id NOT IN (SELECT contact_id FROM outbox)") == [
            (0,)
        ]
    assert len(acknowledged) > 400


async def test_what_the_driver_refuses_is_explained_and_harms_no_other(
    database: Database, path: Path
) -> None:
    async def twice(connection: AsyncConnection) -> None:
        await run_each(
            connection, "INSERT INTO audit (id, at, who, what) VALUES (?, 1, '', '')", [(7,), (7,)]
        )

    results = await asyncio.gather(
        database.write(add(1)), database.write(twice), database.write(add(2)), return_exceptions=True
    )
    assert [results[0], results[2]] == [1, 2]
    assert isinstance(results[1], DirectoryError)
    assert "UNIQUE constraint failed" in str(results[1])
    with pytest.raises(DirectoryError, match="ostiary migrate"):
        await database.read(lambda connection: fetch(connection, "SELECT 1 FROM no_such_table"))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM audit WHERE id = 7").fetchone() == (0,)
