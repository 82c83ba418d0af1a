"""The worker's rounds, with a real client, against the stand-in."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from agi_server.calls.record import Record
from agi_server.errors import SalesforceDown, SalesforceError, SalesforceRefusal
from agi_server.salesforce import background, verdicts
from agi_server.salesforce.background import LONGEST_LOGIN_PAUSE, LONGEST_PAUSE, STRETCH, Exchange
from agi_server.salesforce.breaker import FAILURES
from agi_server.salesforce.client import Client
from agi_server.salesforce.lock import salesforce_lock
from agi_server.salesforce.report import STATE, Report
from agi_server.settings import Settings
from storage import salesforce_state
from storage.database import Database
from storage.migrate import migrate
from storage.records import tell
from tests.org.records import Org
from tests.org.server import OrgServer, running

ANA = "+493023125010"
LONG = 30.0  # seconds until a test gives up


@pytest.fixture
def server() -> Iterator[OrgServer]:
    with closing(Org()) as org, running(org) as started:
        yield started


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path}/ostiary.db"
    await migrate(url)
    opened = await Database.open(url)
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE", 0.0)


class Worker:
    """An exchange that runs, and what it says."""

    def __init__(self, server: OrgServer, database: Database, directory: Path, **more: Any) -> None:
        section = {**server.settings(), "lookup": True, "lookup_deadline": 10, "timeout": 10, **more}
        settings = Settings.model_validate(
            {"salesforce": section, "storage": {"state_directory": directory}, "numbers": {"region": "DE"}}
        )
        quick = settings.salesforce.model_copy(update={"sync_interval": more.get("sync_interval", 0.05)})
        self.settings = settings.model_copy(update={"salesforce": quick})
        self.database = database
        self.said: list[tuple[str, dict[str, Any]]] = []
        self._news = asyncio.Condition()
        self.exchange = Exchange(self.settings, database, self._send)

    async def _send(self, value: Any) -> None:
        kind, content = json.loads(json.dumps(value))
        async with self._news:
            self.said.append((kind, content))
            self._news.notify_all()

    async def until(
        self, condition: Callable[[dict[str, Any]], object], kind: str = "salesforce"
    ) -> dict[str, Any]:
        """Return the next thing said of which that is so."""
        start = len(self.said)
        async with asyncio.timeout(LONG), self._news:
            while True:
                for each, content in self.said[start:]:
                    if each == kind and condition(content):
                        return content
                start = len(self.said)
                await self._news.wait()

    async def names(self) -> list[str]:
        query = "SELECT name FROM contacts ORDER BY name"
        rows = await self.database.read(lambda conn: conn.exec_driver_sql(query))
        return [row[0] for row in rows]

    async def kept(self) -> dict[str, Any]:
        found = await self.database.read(lambda conn: salesforce_state.get(conn, STATE))
        assert found is not None
        return found


@asynccontextmanager
async def at_work(
    server: OrgServer, database: Database, directory: Path, **more: Any
) -> AsyncIterator[Worker]:
    worker = Worker(server, database, directory, **more)
    task = asyncio.create_task(worker.exchange.run())
    try:
        yield worker
    finally:
        task.cancel()
        await asyncio.wait((task,))


def events(logs: list[Any], word: str) -> list[Any]:
    return [each for each in logs if word in each["event"]]


async def test_rounds_bring_the_directory_in_step(
    server: OrgServer, database: Database, tmp_path: Path
) -> None:
    server.org.create("Contact", {"LastName": "Muñoz", "Phone": ANA, "MobilePhone": "nobody knows"})
    async with at_work(server, database, tmp_path) as worker:
        told = await worker.until(lambda told: told["up"])
        assert "Muñoz" in await worker.names()
        contact = told["records"]["Contact"]
        assert (contact["read"], contact["inserted"], contact["removed"]) == (1, 1, 0)
        assert told["unread"] == 1
        assert (told["error"], told["lookups"]) == ("", "")
        assert told["usage"][1] == server.api_limit
        assert told["ok_at"] == pytest.approx(time.time(), abs=60)
        server.org.create("Contact", {"LastName": "Ben", "Phone": "+493023125011"})
        told = await worker.until(lambda told: told["records"]["Contact"]["inserted"] == 2)
    assert {"Ben", "Muñoz"} <= set(await worker.names())
    kept = await worker.kept()
    assert (kept["kind"], kept["usage"][1]) == ("", server.api_limit)
    assert kept["calls"] == pytest.approx(server.api_calls, abs=5)  # a round was cut off at the end


async def talked(database: Database, linkedid: str, settings: Settings) -> None:
    ended = time.time() - 60
    record = Record(pbx="pbx", linkedid=linkedid, started_at=ended - 9, ended_at=ended)
    await database.write(
        lambda conn: tell(conn, record, tasks=settings.tasks, region="DE", decided=None, now=int(ended))
    )


async def test_a_call_becomes_a_task_and_what_stays_empty_is_said_once(
    server: OrgServer, database: Database, tmp_path: Path
) -> None:
    server.org.hide("Task", "CallDisposition")
    with structlog.testing.capture_logs() as logs:
        async with at_work(server, database, tmp_path) as worker:
            for place in range(2):
                await talked(database, f"{place}.1", worker.settings)
                await until_written(server, place + 1)
            assert await database.read(salesforce_state.instance) == server.settings()["login_url"]
            await worker.until(lambda told: told["up"])
        assert "Task.CallDisposition is hidden" in str(await worker.kept())
    assert len(events(logs, "a field of Tasks is left out")) == 1


async def test_a_call_does_not_wait_for_the_next_round(
    server: OrgServer, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "BETWEEN", 0.05)
    monkeypatch.setattr(verdicts, "FIRST_PAUSE", 1)
    async with at_work(server, database, tmp_path, sync_interval=3600) as worker:
        await worker.until(lambda told: told["up"])
        for place in range(2):
            await talked(database, f"{place}.1", worker.settings)
            await until_written(server, place + 1)
        asked = [target for _, target, _ in server.requests if "/Task/describe" in target]
        assert len(asked) == 1
        server.faults.add("refused", times=None, path="composite/sobjects", code="SERVER_UNAVAILABLE")
        await talked(database, "2.1", worker.settings)
        await asyncio.to_thread(server.wait_for, "POST .*composite/sobjects", 3)
        server.faults.clear()
        worker.exchange.asked("sync", {})  # what failed between two rounds waits for the next one
        await until_written(server, 3)


async def until_written(server: OrgServer, count: int) -> None:
    async with asyncio.timeout(LONG):
        while len(list(server.org.query("SELECT Id FROM Task"))) < count:
            await asyncio.sleep(0.05)


async def test_salesforce_away_is_said_once_and_mended_by_itself(
    server: OrgServer, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "LONGEST_PAUSE", 0.05)
    server.faults.add("refused", times=None, path="^/services/data/", status=403, code="SERVER_UNAVAILABLE")
    with structlog.testing.capture_logs() as logs:
        async with at_work(server, database, tmp_path) as worker:
            told = await worker.until(lambda told: told["errors"]["down"] >= 3)
            assert told["up"] == 0
            assert "SERVER_UNAVAILABLE" in told["error"]
            assert (await worker.kept())["kind"] == "down"
            server.faults.clear()
            told = await worker.until(lambda told: told["up"])
            assert told["error"] == ""
    (failed,) = events(logs, "not in step")
    assert failed["log_level"] == "error"
    assert failed["todo"]
    assert len(events(logs, "in step")) == 2


@pytest.mark.parametrize(
    ("fault", "kind"), [({"kind": "login-refused"}, "login"), ({"kind": "limit"}, "limit")]
)
async def test_the_kind_of_a_failure_is_told(
    server: OrgServer, database: Database, tmp_path: Path, fault: Any, kind: str
) -> None:
    server.faults.add(**fault, times=None)
    async with at_work(server, database, tmp_path) as worker:
        told = await worker.until(lambda told: told["errors"][kind])
        assert told["up"] == 0
        assert told["error"]
        assert sum(told["errors"].values()) == told["errors"][kind]


async def test_one_object_that_cannot_be_read_is_a_failure_in_part(
    server: OrgServer, database: Database, tmp_path: Path
) -> None:
    server.org.create("Contact", {"LastName": "Muñoz", "Phone": ANA})
    async with at_work(server, database, tmp_path, filters={"Lead": "Nonsense__c = 1"}) as worker:
        told = await worker.until(lambda told: told["errors"]["part"])
        assert "Lead" in told["error"]
        assert "Muñoz" in await worker.names()


@pytest.mark.parametrize("error", [SalesforceDown("cut"), SalesforceRefusal("no", "QUERY_TIMEOUT")])
async def test_what_cannot_be_written_does_not_keep_us_from_reading(
    server: OrgServer,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: SalesforceError,
) -> None:
    from agi_server.salesforce import outbox  # noqa: PLC0415

    async def deliver(*_args: Any, **_more: Any) -> Any:
        raise error

    monkeypatch.setattr(outbox, "deliver", deliver)
    server.org.create("Contact", {"LastName": "Muñoz", "Phone": ANA})
    async with at_work(server, database, tmp_path) as worker:
        told = await worker.until(lambda told: told["errors"]["part"])
        assert (told["error"], sum(told["errors"].values())) == (str(error), told["errors"]["part"])
        assert "Muñoz" in await worker.names()
        monkeypatch.undo()
        await worker.until(lambda told: told["up"])


async def test_our_own_mistakes_do_not_end_it(
    server: OrgServer, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agi_server.salesforce import sync  # noqa: PLC0415

    real = sync.synchronise

    async def broken(*_args: Any, **_more: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(sync, "synchronise", broken)
    with structlog.testing.capture_logs() as logs:
        async with at_work(server, database, tmp_path) as worker:
            told = await worker.until(lambda told: told["errors"]["fault"])
            assert told["error"] == "ZeroDivisionError"
            monkeypatch.setattr(sync, "synchronise", real)
            await worker.until(lambda told: told["up"])
    (failed,) = events(logs, "not in step")
    assert isinstance(failed["exc_info"], ZeroDivisionError)


async def test_a_state_that_cannot_be_noted_does_not_end_it(
    server: OrgServer, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Exchange._note
    failed = asyncio.Event()

    async def broken(_exchange: Exchange) -> None:
        failed.set()
        raise ZeroDivisionError

    monkeypatch.setattr(Exchange, "_note", broken)
    with structlog.testing.capture_logs() as logs:
        async with at_work(server, database, tmp_path) as worker:
            await asyncio.wait_for(failed.wait(), LONG)
            monkeypatch.setattr(Exchange, "_note", real)
            await worker.until(lambda told: told["up"])
    assert events(logs, "not accounted for")


async def test_a_round_is_left_out_while_somebody_else_is_at_it(
    server: OrgServer, database: Database, tmp_path: Path
) -> None:
    with structlog.testing.capture_logs() as logs:
        with salesforce_lock(tmp_path, 0):
            async with at_work(server, database, tmp_path) as worker:
                told = await worker.until(lambda _: len(worker.said) >= 3)
                assert not any(told["errors"].values())
        assert not server.requests
    assert len(events(logs, "left out")) == 1


async def test_what_the_worker_before_knew_is_known(
    server: OrgServer, database: Database, tmp_path: Path
) -> None:
    report = Report(None, 5)
    report.succeeded(1000)
    report.failed("login", "no", 2000)
    report.called(7, time.time())
    await database.write(lambda conn: salesforce_state.put(conn, STATE, report.kept(), 2000))
    server.faults.add("limit", times=None)
    async with at_work(server, database, tmp_path) as worker:
        told = await worker.until(lambda told: told["errors"]["limit"])
        assert told["ok_at"] == 1000
        kept = await worker.kept()
        assert kept["calls"] >= 7


# --- pauses


@pytest.mark.parametrize(
    ("failure", "failures", "share", "pause"),
    [
        ("", 0, 0.5, 60),
        ("", 0, 0.9, 60 * STRETCH),
        ("down", 1, 0.5, 60),
        ("down", 2, 0.5, 120),
        ("down", 4, 0.5, 480),
        ("down", 100, 0.5, LONGEST_PAUSE),
        ("login", 100, 0.5, LONGEST_LOGIN_PAUSE),
        ("part", 5, 0.5, 60),
        ("part", 5, 0.95, 60 * STRETCH),
    ],
)
async def test_the_pause_between_rounds(
    database: Database, failure: str, failures: int, share: float, pause: float
) -> None:
    exchange = Exchange(Settings(), database, lambda _: asyncio.sleep(0))
    exchange._failures = failures
    exchange._report.usage = (int(share * 100), 100)
    assert exchange._pause(failure) == pause


async def test_a_long_interval_is_never_shortened(database: Database) -> None:
    settings = Settings.model_validate({"salesforce": {"sync_interval": 7200}})
    exchange = Exchange(settings, database, lambda _: asyncio.sleep(0))
    exchange._failures = 3
    assert exchange._pause("down") == 7200


# --- look-ups


async def test_a_question_is_answered(server: OrgServer, database: Database, tmp_path: Path) -> None:
    async with at_work(server, database, tmp_path) as worker:
        worker.exchange.asked("lookup", {"id": 1, "number": ANA})
        answer = await worker.until(lambda answer: answer["id"] == 1, "found")
        assert answer["outcome"] == "not_asked"
        await worker.until(lambda told: told["up"])
        worker.exchange.asked("lookup", {"id": 2, "number": ANA})
        answer = await worker.until(lambda answer: answer["id"] == 2, "found")
        assert answer == {"id": 2, "outcome": "unknown", "why": ""}


async def test_the_server_is_told_when_look_ups_stop_and_when_they_go_on(
    server: OrgServer, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agi_server.salesforce.breaker.FIRST_PAUSE", 0.2)
    async with at_work(server, database, tmp_path) as worker:
        await worker.until(lambda told: told["up"])
        rounds = asyncio.Event()
        monkeypatch.setattr(worker.exchange, "_round", rounds.wait)  # nothing else tells
        server.faults.add("limit", path="/search/", times=FAILURES)
        for id_ in range(FAILURES):
            worker.exchange.asked("lookup", {"id": id_, "number": ANA})
            await worker.until(lambda _: True, "found")
        closed = [content["lookups"] for kind, content in worker.said if kind == "salesforce"][-1]
        assert "left out for a while" in closed
        await worker.until(lambda told: told["lookups"] == "")


async def test_without_look_ups_none_is_made(server: OrgServer, database: Database, tmp_path: Path) -> None:
    async with at_work(server, database, tmp_path, lookup=False) as worker:
        told = await worker.until(lambda told: told["up"])
        assert told["lookups"]


# --- the whole worker


def write_config(server: OrgServer, directory: Path, **more: object) -> Path:
    section = {**server.settings(), "sync_interval": 5, **more}
    lines = [f"{key} = {json.dumps(value)}" for key, value in section.items()]
    path = directory / "ostiary.toml"
    path.write_text(
        f'[storage]\nstate_directory = "{directory}"\n[salesforce]\n' + "\n".join(lines) + "\n",
        encoding="utf-8",
    )
    return path


@asynccontextmanager
async def process(config: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, socket.socket]]:
    """Run a worker as the server does; yield it and our end of the link."""
    ours, theirs = socket.socketpair()
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agi_server", "--config", str(config), "worker", str(theirs.fileno()),
        pass_fds=[theirs.fileno()],
    )  # fmt: skip
    theirs.close()
    try:
        yield started, ours
    finally:
        ours.close()
        if started.returncode is None:
            os.kill(started.pid, signal.SIGKILL)
        await started.wait()


@pytest.mark.parametrize("path", ["data", "query"])  # the first request; one that is read as it comes
async def test_a_salesforce_that_does_not_answer_does_not_hold_up_the_end(
    server: OrgServer, database: Database, tmp_path: Path, path: str
) -> None:
    server.faults.add("mute", times=None, path=f"/{path}/")
    async with process(write_config(server, tmp_path, timeout=300)) as (started, link):
        await asyncio.to_thread(server.wait_for, f"/{path}/")
        line = json.dumps((1, "call", {"id": "1", "started_at": int(time.time()), "rule_id": None}))
        link.sendall(line.encode() + b"\n")
        link.close()
        assert await asyncio.wait_for(started.wait(), LONG) == 0
    rows = await database.read(lambda conn: conn.exec_driver_sql("SELECT id FROM calls"))
    assert [row[0] for row in rows] == ["1"]
    server.faults.clear()


async def test_a_killed_worker_leaves_nothing_that_stops_the_next(
    server: OrgServer, database: Database, tmp_path: Path
) -> None:
    server.org.create("Contact", {"LastName": "Muñoz", "Phone": ANA})
    server.faults.add("mute", path="/services/data/")
    config = write_config(server, tmp_path)
    async with process(config) as (started, _):
        await asyncio.to_thread(server.wait_for, "/services/data/")
        os.kill(started.pid, signal.SIGKILL)
        await started.wait()
    server.faults.clear()
    async with process(config) as (_, link):
        await asyncio.to_thread(server.wait_for, "/services/data/", 5)
        link.setblocking(False)
        said = b""
        async with asyncio.timeout(LONG):
            while b'"up":1' not in said:
                said += await asyncio.get_running_loop().sock_recv(link, 65536)
    rows = await database.read(lambda conn: conn.exec_driver_sql("SELECT name FROM contacts"))
    assert "Muñoz" in [row[0] for row in rows]


def test_the_worker_without_salesforce_imports_nothing_of_it() -> None:
    code = "import sys, agi_server.worker, agi_server.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"simple_salesforce", "requests"} & set(done.stdout.split())
    assert Client.__module__ == "agi_server.salesforce.client"
