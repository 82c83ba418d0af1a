"""The third part: what keeping in step with Salesforce costs, and what callers notice of it.

The org is a process of its own (org.py), Ostiary runs as shipped. Calls come at a steady rate from beginning to
end. While everything is read for the first time, the org is frozen again and again: the worker then waits for it,
and callers have Ostiary to themselves, with the same directory, the same journal and the same noise of the machine
as just before and just after. These pauses count neither as seconds of the synchronisation nor as its calls.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from agi_server.salesforce.client import Client
from agi_server.salesforce.lock import FILE as LOCK
from agi_server.salesforce.lock import salesforce_lock
from agi_server.settings import Settings
from tests.bench import data, load, parts, processes
from tests.bench.processes import Server
from tests.org.__main__ import toml

MEGABYTE = 1_000_000
LOOK = 0.01  # seconds between two looks
MEMORY_EVERY = 1.0  # seconds
SETTLED = 0.15  # CPU seconds a second: a worker that writes nothing but its journal uses less
DRAIN = (
    10.0  # seconds a worker may take to store what had come when the org was frozen; else there is no pause
)
INTERVAL = 5  # seconds between two rounds
PATIENCE = 3600.0  # seconds; who waits longer waits in vain
AT_ONCE = 200  # changes in one call
Window = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Calls:
    """Milliseconds from connect to close."""

    count: int
    p50: float
    p99: float
    longest: float


@dataclass(slots=True)
class Full:
    """The first synchronisation; `seconds` without the pauses. CPU in seconds, memory in MB of 10^6 bytes."""

    seconds: float = 0.0
    syncing: list[Window] = field(default_factory=list)
    pauses: list[Window] = field(default_factory=list)
    worker_cpu: float = 0.0
    parser_cpu: float = 0.0
    server_cpu: float = 0.0
    org_cpu: float = 0.0
    others: float = 0.0
    worker_memory: float = 0.0
    all_memory: float = 0.0  # proportional share of the worker and of what it started


@dataclass(frozen=True, slots=True)
class Sync:
    """Everything of the third part."""

    contacts: int
    accounts: int
    full_seconds: float
    worker_cpu: float
    parser_cpu: float
    server_cpu: float
    org_cpu: float
    others: float  # percentage of the machine's CPU that other programs used meanwhile
    worker_memory: float
    all_memory: float
    parts: parts.Parts
    unchanged_seconds: float  # a round without changes
    changes: int
    changed_seconds: float  # from the beginning of a round until all are in the directory
    rate: float
    without: Calls
    during: Calls
    pauses: int
    calls: int
    lost: int
    journalled: int


@dataclass(frozen=True, slots=True)
class Spells:
    """Seconds of reading before each pause, and of each pause."""

    reading: float
    pause: float


def spells_for(records: int) -> Spells:
    """Return spells of which some fit into a full synchronisation of so many records."""
    reading = min(max(records / 100_000, 0.2), 12.0)
    return Spells(reading, reading * 2 / 3)


def measure(
    state: Path,
    *,
    contacts: int,
    accounts: int,
    say: Callable[[str], None],
    changes: int = 1000,
    rate: float = 50.0,
    sample: int = 30_000,
    spells: Spells | None = None,
    rounds_unchanged: int = 3,
) -> Sync:
    """Measure in a new state directory."""
    state = state.resolve()
    state.mkdir()
    say(f"filling an org with {contacts:,} contacts and {accounts:,} accounts")
    with _org(contacts, accounts) as (org, told):
        section = told["settings"] | {"sync_interval": INTERVAL, "timeout": 120}
        (state / "ostiary.toml").write_text(toml(section), encoding="utf-8")
        _import(state)
        settings = Settings.model_validate(
            {
                "storage": {"state_directory": state},
                "numbers": {"region": data.REGION},
                "salesforce": section,
            }
        )
        callers = _with_strangers(told["callers"])
        with processes.ostiary(state) as server, _calling(server, rate, callers) as calling:
            worker = _worker(server)
            rounds = Rounds(state, worker.pid)
            say("full synchronisation")
            full = _full(server, worker, org, rounds, spells or spells_for(contacts + accounts))
            say("rounds without changes")
            unchanged = median([_seconds(rounds.next()) for _ in range(rounds_unchanged)])
            say(f"{changes:,} changes")
            with Client(settings.salesforce, state / "bench") as client:
                changed = _changed(client, state, rounds, changes)
            stream = calling()
            _wait_for(lambda: journalled(state) >= len(stream.answered), "the journal")
        say("the parts")
        with Client(settings.salesforce, state / "bench") as client:
            shares = parts.measure(client, settings, sample)
    return Sync(
        contacts=contacts,
        accounts=accounts,
        full_seconds=full.seconds,
        worker_cpu=full.worker_cpu,
        parser_cpu=full.parser_cpu,
        server_cpu=full.server_cpu,
        org_cpu=full.org_cpu,
        others=full.others,
        worker_memory=full.worker_memory,
        all_memory=full.all_memory,
        parts=shares,
        unchanged_seconds=unchanged,
        changes=changes,
        changed_seconds=changed,
        rate=rate,
        without=_calls(stream, full.pauses),
        during=_calls(stream, full.syncing),
        pauses=len(full.pauses),
        calls=stream.calls,
        lost=stream.calls - len(stream.answered),
        journalled=journalled(state),
    )


# --- what runs


@contextlib.contextmanager
def _org(contacts: int, accounts: int) -> Iterator[tuple[psutil.Process, dict[str, Any]]]:
    """Run an org; yield its process, and what it says of itself."""
    command = (sys.executable, "-m", "tests.bench.org", str(contacts), str(accounts))
    with subprocess.Popen(
        command, cwd=processes.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield psutil.Process(process.pid), json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGCONT)
            process.stdin.close()


def _import(state: Path) -> None:
    data.write_agents(state / "agents.csv")
    data.write_blacklist(state / "blacklist.csv")
    for what in ("agents", "blacklist"):
        processes.command(state, "import", what, str(state / f"{what}.csv"))


def _with_strangers(numbers: list[str]) -> list[str]:
    """Put a number that nobody has after every ninth."""
    strangers = [f"+49176{place:08d}" for place in range(len(numbers) // 9)]
    mixed = []
    for place, number in enumerate(numbers):
        mixed.append(number)
        if place % 9 == 8:
            mixed.append(strangers.pop())
    return mixed


@contextlib.contextmanager
def _calling(server: Server, rate: float, callers: list[str]) -> Iterator[Callable[[], load.Stream]]:
    """Call all the time; what is yielded ends that and returns what became of the calls."""
    ended = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        stream = threads.submit(load.steady, server.port, rate, callers, ended)

        def finish() -> load.Stream:
            ended.set()
            return stream.result()

        try:
            yield finish
        finally:
            ended.set()


def _worker(server: Server) -> psutil.Process:
    _wait_for(lambda: bool(processes.parts(server.process, "worker")), "the worker")
    (worker,) = processes.parts(server.process, "worker")
    return worker


class Rounds:
    """The rounds of a process, seen from outside: during one, it has the file of their lock open."""

    def __init__(self, state: Path, process: int) -> None:
        self._lock = str(state / LOCK)
        self._files = Path(f"/proc/{process}/fd")

    def running(self) -> bool:
        """Return whether a round goes on."""
        for file in self._files.iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since
                if str(file.readlink()) == self._lock:
                    return True
        return False

    def begun(self) -> float:
        """Wait for a round to begin; return when it did."""
        _wait_for(self.running, "a round")
        return time.perf_counter()

    def over(self) -> float:
        """Wait for the round to end; return when it did."""
        _wait_for(lambda: not self.running(), "the end of a round")
        return time.perf_counter()

    def next(self) -> Window:
        """Wait for a whole round; return its beginning and its end."""
        self.over()
        return self.begun(), self.over()


def _seconds(window: Window) -> float:
    return window[1] - window[0]


def _wait_for(happened: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    until = time.perf_counter() + seconds
    while not happened():
        if time.perf_counter() > until:
            raise RuntimeError(f"waited {seconds:.0f} s for {what} in vain")
        time.sleep(LOOK)


# --- the first synchronisation


def _full(
    server: Server, worker: psutil.Process, org: psutil.Process, rounds: Rounds, spells: Spells
) -> Full:
    full = Full()
    before = _cpu(server, worker, org)
    began = rounds.begun()
    resumed = began
    watch = _Memory(full, worker)
    while rounds.running():
        watch.look()
        time.sleep(LOOK)
        if time.perf_counter() - resumed < spells.reading:
            continue
        full.syncing.append((resumed, time.perf_counter()))
        org.suspend()
        try:
            if drained := _drained(worker, rounds):
                time.sleep(spells.pause)
                full.pauses.append((drained, time.perf_counter()))
        finally:
            org.resume()
        resumed = time.perf_counter()
    ended = rounds.over()
    full.syncing.append((resumed, ended))
    full.seconds = ended - began - sum(map(_seconds, full.pauses))
    after = _cpu(server, worker, org)
    used = [now - then for now, then in zip(after, before, strict=True)]
    full.worker_cpu, full.parser_cpu, full.server_cpu, full.org_cpu, ours, all_busy, all_there = used
    full.others = max(100 * (all_busy - sum(used[:4]) - ours) / all_there, 0.0)
    return full


def _drained(worker: psutil.Process, rounds: Rounds) -> float:
    """Wait until the worker only waits; return when that was, 0.0 where it never was."""
    until = time.perf_counter() + DRAIN
    before = processes.cpu_seconds(worker.pid)
    while rounds.running() and time.perf_counter() < until:
        began = time.perf_counter()
        time.sleep(0.2)
        now = processes.cpu_seconds(worker.pid)
        if now - before < SETTLED * (time.perf_counter() - began):
            return time.perf_counter() if rounds.running() else 0.0
        before = now
    return 0.0


def _cpu(server: Server, worker: psutil.Process, org: psutil.Process) -> tuple[float, ...]:
    """Return CPU seconds: of the worker, of what it started and has ended, of the server, of the org, of ourselves.

    At the end those of the whole machine: spent, and there to be spent.
    """
    ended = worker.cpu_times()
    machine = psutil.cpu_times()
    idle = machine.idle + machine.iowait
    return (
        processes.cpu_seconds(worker.pid),
        ended.children_user + ended.children_system,
        processes.cpu_seconds(server.process.pid),
        processes.cpu_seconds(org.pid),
        time.process_time(),
        sum(machine[:8]) - idle,
        sum(machine[:8]),
    )


class _Memory:
    """Looks at the memory of the worker and of what it started, once in a while."""

    def __init__(self, full: Full, worker: psutil.Process) -> None:
        self._full = full
        self._worker = worker
        self._due = 0.0

    def look(self) -> None:
        if time.perf_counter() < self._due:
            return
        self._due = time.perf_counter() + MEMORY_EVERY
        own = self._worker.memory_full_info()
        together = own.pss
        for process in self._worker.children():
            with contextlib.suppress(psutil.Error):  # it may have ended
                together += process.memory_full_info().pss
        full = self._full
        full.worker_memory = max(full.worker_memory, own.rss / MEGABYTE)
        full.all_memory = max(full.all_memory, together / MEGABYTE)


# --- changes


def _changed(client: Client, state: Path, rounds: Rounds, changes: int) -> float:
    """Change contacts between two rounds; return the seconds from the next one's beginning until it has stored them."""
    with contextlib.closing(sqlite3.connect(f"file:{state / 'ostiary.db'}?mode=ro", uri=True)) as connection:
        ids = _some(connection, changes)
        wanted = json.dumps(ids)
        query = (
            "SELECT count(*) FROM contacts WHERE last_name LIKE 'Changed %' "
            "AND salesforce_id IN (SELECT value FROM json_each(?))"
        )
        with salesforce_lock(state, PATIENCE):  # no round begins meanwhile
            for at in range(0, len(ids), AT_ONCE):
                _change(client, ids[at : at + AT_ONCE], at)
        began = rounds.begun()
        _wait_for(lambda: connection.execute(query, (wanted,)).fetchone() == (len(ids),), "the changes")
        return time.perf_counter() - began


def _change(client: Client, ids: Sequence[str], first: int) -> None:
    records = [
        {"Id": each, "LastName": f"Changed {place}", "Phone": f"+4930{555000000 + place}"}
        for place, each in enumerate(ids, first)
    ]
    results = client.write("PATCH", "Contact", records)
    if not all(result.success for result in results):
        raise RuntimeError(f"the org did not take a change: {results}")


def _some(connection: sqlite3.Connection, count: int) -> list[str]:
    """Return ids of contacts, spread over all."""
    every = "SELECT max((SELECT count(*) FROM contacts WHERE kind = 'Contact') / ?, 1)"
    ((step,),) = connection.execute(every, (count,))
    query = "SELECT salesforce_id FROM contacts WHERE kind = 'Contact' AND id % ? = 0 LIMIT ?"
    return [row[0] for row in connection.execute(query, (step, count))]


# --- what callers noticed


def _calls(stream: load.Stream, windows: list[Window]) -> Calls:
    times = stream.between(windows)
    percent = load.percentile
    return Calls(len(times), percent(times, 50), percent(times, 99), percent(times, 100))


def journalled(state: Path) -> int:
    """Return how many calls of the generator are in the journal."""
    with contextlib.closing(sqlite3.connect(state / "ostiary.db")) as connection:
        query = "SELECT count(*) FROM calls WHERE uniqueid LIKE ? AND uniqueid <> ?"
        ((count,),) = connection.execute(query, (f"{load.UNIQUEID}%", f"{load.UNIQUEID}0")).fetchall()
        return int(count)
