"""The journal's whole way: the call path, the socket, a real worker process, a real database."""

import asyncio
import os
import select
import signal
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server import supervisor
from agi_server.calls.call import Call, Decision, Verdict
from agi_server.calls.directory import Rule, RuleKind
from agi_server.calls.numbers import normalise
from agi_server.journal import Journal
from agi_server.link import ServerLink
from agi_server.metrics import Metrics
from agi_server.settings import Settings
from agi_server.supervisor import worker
from agi_server.worker import NICENESS, _keep_house, store_records, write_journal
from storage.audit import note
from storage.blacklist import add_rule, list_rules
from storage.calls import record_calls
from storage.database import Database
from storage.migrate import migrate

STARTED = int(time.time())  # what is old would be forgotten


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path}/ostiary.db"
    await migrate(url)
    opened = await Database.open(url)
    yield opened
    await opened.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "ostiary.toml"
    path.write_text(f'[storage]\nstate_directory = "{tmp_path}"\n', encoding="utf-8")
    return path


def decision(call_id: str, *, rule: Rule | None = None) -> Decision:
    return Decision(
        call=Call(id=call_id, number="+493023125010", uniqueid=f"u-{call_id}"),
        number=normalise("+493023125010", "DE"),
        verdict=Verdict.BLOCK if rule else Verdict.ALLOW,
        rule=rule,
        display_name="Ana",
    )


def call_row(call_id: str, **columns: object) -> dict[str, Any]:
    return {"id": call_id, "started_at": STARTED, "rule_id": None, **columns}


async def rows(database: Database) -> list[Any]:
    async def job(connection: AsyncConnection) -> list[Any]:
        result = await connection.exec_driver_sql("SELECT * FROM calls ORDER BY id")
        return list(result)

    return await database.read(job)


async def children_of(pid: int) -> list[int]:
    text = await asyncio.to_thread(Path(f"/proc/{pid}/task/{pid}/children").read_text)
    return [int(child) for child in text.split()]


def readable(end: socket.socket) -> bool:
    return bool(select.select([end], [], [], 0)[0])


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so; the processes it waits for tell nobody."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_call_is_written_with_all_that_is_known_of_it(database: Database, config: Path) -> None:
    journal = Journal(Metrics())
    async with worker(journal, config):
        journal.decided(decision("1"), STARTED)
        journal.ended(
            call_id="",
            uniqueid="u-1",
            ended_at=STARTED + 9,
            disposition="answer",
            seconds=5,
            answered_by="100",
        )
        assert await journal.drained(20)
    (row,) = await rows(database)
    assert (row.number, row.name, row.verdict) == (493023125010, "Ana", "allow")
    assert (row.ended_at, row.seconds, row.answered_by) == (STARTED + 9, 5, "100")


async def test_workers_killed_at_any_moment_lose_and_double_nothing(database: Database, config: Path) -> None:
    rule = Rule(id=0, kind=RuleKind.EXACT, pattern="+493023125010")
    rule_id = await database.write(lambda connection: add_rule(connection, rule, who="test", now=STARTED))
    blocked = Rule(id=rule_id, kind=RuleKind.EXACT, pattern="+493023125010")
    journal = Journal(Metrics())
    async with worker(journal, config):
        for turn in range(3):
            for number in range(200):
                journal.decided(decision(f"{turn}-{number}", rule=blocked), STARTED)
            await until(lambda: journal.state() == "ok")
            for child in await children_of(os.getpid()):
                if b"worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(child, signal.SIGKILL)
            await until(lambda: journal.state() != "ok")
        assert await journal.drained(30)
    assert len(await rows(database)) == 600
    (stored,) = await database.read(list_rules)
    assert stored.hits == 600


async def test_the_worker_writes_what_it_was_sent_after_its_parent_is_gone(
    database: Database, config: Path
) -> None:
    """The parent closes its end without waiting for a confirmation, as one that is killed does."""
    import sys  # noqa: PLC0415

    ours, theirs = socket.socketpair()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agi_server", "--config", str(config), "worker", str(theirs.fileno()),
        pass_fds=[theirs.fileno()],
    )  # fmt: skip
    theirs.close()
    for number in range(50):
        ours.sendall(orjson.dumps((number + 1, "call", call_row(str(number)))) + b"\n")
    ours.close()
    assert await asyncio.wait_for(process.wait(), 60) == 0
    assert len(await rows(database)) == 50


async def test_a_parent_that_died_before_it_read_a_confirmation_is_no_error(database: Database) -> None:
    ours, theirs = socket.socketpair()
    link = ServerLink(theirs)
    writing = asyncio.create_task(write_journal(Settings(), database, link))
    ours.sendall(orjson.dumps((1, "call", call_row("1"))) + b"\n")
    await until(lambda: readable(ours))
    ours.close()  # with the confirmation unread: the other end is told of a reset
    await asyncio.wait_for(writing, 60)
    link.close()
    assert len(await rows(database)) == 1


async def test_a_question_is_not_behind_a_commit(database: Database) -> None:
    """The database is locked, so that nothing of the journal can be written."""
    locker = sqlite3.connect(database.path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    ours, theirs = socket.socketpair()
    link = ServerLink(theirs)
    asked: asyncio.Queue[Any] = asyncio.Queue()
    writing = asyncio.create_task(
        write_journal(Settings(), database, link, lambda *what: asked.put_nowait(what))
    )
    for number in range(1, 4):
        ours.sendall(orjson.dumps((number, "call", call_row(str(number)))) + b"\n")
        ours.sendall(orjson.dumps((0, "lookup", {"id": number})) + b"\n")
        assert await asyncio.wait_for(asked.get(), 60) == ("lookup", {"id": number})
    assert not readable(ours)
    locker.execute("COMMIT")
    locker.close()
    ours.shutdown(socket.SHUT_WR)
    await asyncio.wait_for(writing, 60)
    link.close()
    confirmed = ours.recv(4096).split()
    ours.close()
    assert confirmed[-1] == b"3"
    assert len(await rows(database)) == 3


async def test_nothing_else_is_done_for_who_is_gone(database: Database) -> None:
    """Another worker may be there by now: two that follow one PBX would tell each call twice."""
    locker = sqlite3.connect(database.path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    ours, theirs = socket.socketpair()
    link, gone = ServerLink(theirs), asyncio.Event()
    writing = asyncio.create_task(write_journal(Settings(), database, link, ended=gone.set))
    ours.sendall(orjson.dumps((1, "call", call_row("1"))) + b"\n")
    ours.close()
    await asyncio.wait_for(gone.wait(), 60)
    assert not writing.done()
    locker.execute("COMMIT")
    locker.close()
    await asyncio.wait_for(writing, 60)
    link.close()
    assert len(await rows(database)) == 1


async def test_what_is_read_ahead_is_bounded_and_written_to_the_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agi_server.worker.QUEUE", 3)
    monkeypatch.setattr("agi_server.worker.BATCH", 2)
    monkeypatch.setattr("agi_server.worker.GATHER", 0)
    ours, theirs = socket.socketpair()
    lines = [orjson.dumps((number, "call", call_row(str(number)))) + b"\n" for number in range(1, 12)]
    ours.sendall(b"".join(lines))
    ours.shutdown(socket.SHUT_WR)
    link = ServerLink(theirs)
    await asyncio.wait_for(write_journal(Settings(), database, link), 60)
    link.close()
    assert ours.recv(4096).split() == [b"2", b"4", b"6", b"8", b"10", b"11"]
    ours.close()
    assert len(await rows(database)) == 11


async def test_a_question_nobody_takes_is_no_record(database: Database) -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(b'[0,"lookup",{"id":1}]\n')
    ours.sendall(orjson.dumps((7, "call", call_row("1"))) + b"\n")
    ours.shutdown(socket.SHUT_WR)
    link = ServerLink(theirs)
    await asyncio.wait_for(write_journal(Settings(), database, link), 60)
    link.close()
    assert ours.recv(4096) == b"7\n"
    ours.close()


@pytest.mark.usefixtures("database")
async def test_the_worker_lets_calls_go_first(config: Path) -> None:
    others = await children_of(os.getpid())
    journal = Journal(Metrics())
    async with worker(journal, config):
        journal.ended(call_id="", uniqueid="", ended_at=1, disposition="", seconds=0, answered_by="")
        assert await journal.drained(20)
        (child,) = set(await children_of(os.getpid())) - set(others)
        assert os.getpriority(os.PRIO_PROCESS, child) == os.getpriority(os.PRIO_PROCESS, 0) + NICENESS


@pytest.mark.usefixtures("database")
async def test_ctrl_c_in_our_terminal_does_not_reach_the_worker(config: Path) -> None:
    others = await children_of(os.getpid())
    async with worker(Journal(Metrics()), config):
        async with asyncio.timeout(60):
            while not (workers := set(await children_of(os.getpid())) - set(others)):
                await asyncio.sleep(0.01)
        assert {os.getsid(child) for child in workers} == workers


@pytest.mark.usefixtures("database")
async def test_nobody_waits_for_a_worker_when_all_tasks_are_cancelled(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the second Ctrl-C does."""
    monkeypatch.setattr(supervisor, "LAST_WORDS", 300.0)
    journal = Journal(Metrics())
    journal.decided(decision("1"), STARTED)

    async def serve() -> None:
        async with worker(journal, config):
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await until(lambda: journal.state() == "ok")
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    async with asyncio.timeout(100):
        await asyncio.wait([serving])


async def test_a_batch_sent_twice_counts_once(database: Database) -> None:
    rule = Rule(id=0, kind=RuleKind.PREFIX, pattern="+4930")
    rule_id = await database.write(lambda connection: add_rule(connection, rule, who="test", now=STARTED))
    batch = [(1, "call", call_row("a", rule_id=rule_id)), (2, "call", call_row("b", rule_id=rule_id))]
    for _ in range(2):
        await database.write(lambda connection: store_records(connection, batch, Settings()))
    (stored,) = await database.read(list_rules)
    assert (stored.hits, stored.last_hit_at) == (2, STARTED)


async def test_a_record_that_cannot_be_stored_does_not_hold_up_the_others(
    database: Database, config: Path
) -> None:
    journal = Journal(Metrics())
    async with worker(journal, config):
        journal.decided(decision("good"), STARTED)
        journal._write("ended", {"nonsense": 1})
        journal.decided(decision("also good"), STARTED)
        assert await journal.drained(20)
    assert [row.id for row in await rows(database)] == ["also good", "good"]


async def test_a_locked_database_delays_the_journal_and_loses_nothing(
    database: Database, config: Path
) -> None:
    journal = Journal(Metrics())
    locker = sqlite3.connect(database.path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    async with worker(journal, config):
        journal.decided(decision("1"), STARTED)
        await until(lambda: journal.state() == "ok")
        assert not await journal.drained(0.5)
        locker.execute("COMMIT")
        locker.close()
        assert await journal.drained(20)
    assert len(await rows(database)) == 1


async def test_what_is_old_is_forgotten(database: Database) -> None:
    settings = Settings.model_validate(
        {
            "storage": {"url": f"sqlite+aiosqlite:///{database.path}"},
            "journal": {"retention_days": 2},
            "audit": {"retention_days": 3},
        }
    )
    days = {age: int(time.time()) - age * 86400 for age in (1, 2, 3)}

    async def put(connection: AsyncConnection) -> None:
        await record_calls(connection, [{"id": str(age), "started_at": at - 60} for age, at in days.items()])
        for age, at in days.items():
            await note(connection, who=str(age), what="x", before=None, after=None, now=at - 60)

    async def left(connection: AsyncConnection) -> list[tuple[Any, ...]]:
        query = "SELECT id FROM calls UNION ALL SELECT who FROM audit"
        return [tuple(row) for row in await connection.exec_driver_sql(query)]

    await database.write(put)
    task = asyncio.create_task(_keep_house(settings, database))
    async with asyncio.timeout(60):
        while len(await database.read(left)) > 3:
            await asyncio.sleep(0.01)
    task.cancel()
    assert await database.read(left) == [("1",), ("1",), ("2",)]
