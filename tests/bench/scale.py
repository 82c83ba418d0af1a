"""The second part: what a directory of a million contacts costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from agi_server.calls.call import Call
from agi_server.calls.decide import decide
from agi_server.settings import Settings
from storage.directory import SqliteDirectory
from tests.bench import data, load, processes

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Imported:
    """One import; per core: rows by CPU second of the importing processes."""

    rows: int
    cpu_seconds: float

    @property
    def per_core(self) -> float:
        """Rows a second and core."""
        return self.rows / self.cpu_seconds


@dataclass(frozen=True, slots=True)
class Scale:
    """Times in µs (decision) and seconds (ready), sizes in MB of 10^6 bytes."""

    contacts: int
    decisions: int
    decision_p50: float
    decision_p99: float
    decision_max: float
    ready_seconds: float
    resident: float
    unique: float
    shared: float
    calls: int  # answered before memory was read
    database: float
    clean: Imported
    messy: Imported


def import_contacts(state: Path, count: int, *, messy: bool = False) -> Imported:
    """Fill a new state directory through `ostiary import`."""
    state.mkdir()
    data.write_agents(state / "agents.csv")
    processes.command(state, "import", "agents", str(state / "agents.csv"))
    data.write_blacklist(state / "blacklist.csv")
    processes.command(state, "import", "blacklist", str(state / "blacklist.csv"))
    contacts = state / "contacts.csv"
    (data.write_messy if messy else data.write_contacts)(contacts, count)
    used = processes.command(state, "import", "contacts", str(contacts))
    contacts.unlink()
    return Imported(count, used)


def measure(
    directory: Path, *, contacts: int, messy: int, decisions: int, calls: int, say: Callable[[str], None]
) -> Scale:
    """Measure everything of the second part in a new folder."""
    state = directory / "large"
    say(f"importing {contacts:,} contacts")
    clean = import_contacts(state, contacts)
    say(f"importing {messy:,} contacts with messy numbers")
    untidy = import_contacts(directory / "messy", messy, messy=True)
    say("deciding")
    times = _decide(state, contacts, decisions)
    starts = []
    for _ in range(2):
        with processes.ostiary(state, script="ping") as server:
            starts.append(server.seconds_to_answer)
    say(f"{calls:,} calls")
    with processes.ostiary(state, script="ping") as server:
        starts.append(server.seconds_to_answer)
        load.run(server.port, 16, load.blocks(data.callers(contacts, calls)))
        memory = server.process.memory_full_info()
    return Scale(
        contacts=contacts,
        decisions=decisions,
        decision_p50=load.percentile(times, 50),
        decision_p99=load.percentile(times, 99),
        decision_max=times[-1],
        ready_seconds=median(starts),
        resident=memory.rss / MEGABYTE,
        unique=memory.uss / MEGABYTE,
        shared=memory.shared / MEGABYTE,
        calls=calls,
        database=sum(file.stat().st_size for file in state.glob("ostiary.db*")) / MEGABYTE,
        clean=clean,
        messy=untidy,
    )


def _decide(state: Path, contacts: int, count: int) -> list[float]:
    """Return the sorted µs of `count` decisions, each on a number of its own."""
    directory = SqliteDirectory(
        state / "ostiary.db",
        Settings.model_validate({"storage": {"state_directory": state}, "numbers": {"region": data.REGION}}),
    )
    clock = time.perf_counter_ns
    times = []
    try:
        for number in data.callers(contacts, count):
            call = Call(id="bench", number=number, did="4930555000")
            began = clock()
            decide(call, directory, time.time())
            times.append((clock() - began) / 1000)
    finally:
        directory.close()
    return sorted(times)
