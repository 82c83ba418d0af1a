"""The first part: the same calls to every server, in turns, so that a busy machine hits all alike."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench import data, load, processes
from tests.bench.processes import Server

OSTIARY = "Ostiary"
PANORAMISK = "panoramisk + SQLite"
RESPONDER = "asyncio responder"
PEERS = {
    PANORAMISK: "panoramisk",
    f"{PANORAMISK}, uvloop": "panoramisk-uvloop",
    RESPONDER: "responder",
    f"{RESPONDER}, uvloop": "responder-uvloop",
}
SERVERS = (OSTIARY, *PEERS)

LINES = "line by line"  # the environment block in 23 writes, as Asterisk does
WHOLE = "in one write"
Case = tuple[str, int]  # how the block is written, concurrent calls


@dataclass(frozen=True, slots=True)
class Figures:
    """What one server did in one case; times in milliseconds, CPU per call."""

    rate: float
    p50: float
    p99: float
    p999: float
    cpu: float  # of the answering process
    cpu_all: float  # of it and the processes it started
    generator_cpu: float
    answered: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """The medians of all rounds, and what each server sets for a known caller."""

    contacts: int
    calls: int  # per case and round
    rounds: int
    figures: dict[str, dict[Case, Figures]]
    variables: dict[str, list[str]]
    answered: int  # by Ostiary, over all rounds
    journalled: int  # of those, found in its journal afterwards


@contextlib.contextmanager
def started(state: Path) -> Iterator[dict[str, Server]]:
    """Run every server on the database of `state`."""
    with contextlib.ExitStack() as servers:
        yield {
            OSTIARY: servers.enter_context(processes.ostiary(state)),
            **{
                name: servers.enter_context(processes.peer(name, kind, state / "ostiary.db"))
                for name, kind in PEERS.items()
            },
        }


def compare(
    state: Path,
    *,
    contacts: int,
    calls: int,
    rounds: int,
    levels: Sequence[int],
    seconds: float,
    say: Callable[[str], None],
) -> Comparison:
    """Measure every server in every case; no round begins after `seconds`."""
    cases = [(LINES, level) for level in levels] + [(WHOLE, level) for level in levels if level in (1, 64)]
    samples: dict[tuple[str, Case], list[Figures]] = {}
    began = time.perf_counter()
    done = 0
    with started(state) as servers:
        variables = {name: _variables(server, data.number(0)) for name, server in servers.items()}
        warm_up = data.callers(contacts, min(calls, 500), seed=rounds)
        answered = {name: _measure(server, (WHOLE, 8), warm_up).answered for name, server in servers.items()}
        while done < rounds and time.perf_counter() - began < seconds:
            say(f"round {done + 1} of {rounds}")
            for case in cases:
                numbers = data.callers(contacts, calls if case[1] > 1 else max(1, calls // 4), seed=done)
                for name in SERVERS[done % len(SERVERS) :] + SERVERS[: done % len(SERVERS)]:
                    samples.setdefault((name, case), []).append(_measure(servers[name], case, numbers))
            done += 1
    figures: dict[str, dict[Case, Figures]] = {name: {} for name in SERVERS}
    for (name, case), measured in samples.items():
        figures[name][case] = _median(measured)
        answered[name] += figures[name][case].answered
    return Comparison(
        contacts=contacts,
        calls=calls,
        rounds=done,
        figures=figures,
        variables=variables,
        answered=answered[OSTIARY],
        journalled=_journalled(state / "ostiary.db"),
    )


def _measure(server: Server, case: Case, numbers: Sequence[str]) -> Figures:
    written, concurrent = case
    blocks = load.blocks(numbers, whole=written == WHOLE)
    own, everything = server.cpu()  # the last run left it settled
    result = load.run(server.port, concurrent, blocks)
    own_after, everything_after = server.settled_cpu()
    return Figures(
        rate=result.rate,
        p50=result.percentile(50),
        p99=result.percentile(99),
        p999=result.percentile(99.9),
        cpu=(own_after - own) * 1000 / result.calls,
        cpu_all=(everything_after - everything) * 1000 / result.calls,
        generator_cpu=result.generator_seconds * 1000 / result.calls,
        answered=len(result.milliseconds),
        failed=result.failed,
    )


def _median(measured: Sequence[Figures]) -> Figures:
    def middle(field: str) -> float:
        return float(median(getattr(figures, field) for figures in measured))

    times = {
        field: middle(field) for field in ("rate", "p50", "p99", "p999", "cpu", "cpu_all", "generator_cpu")
    }
    return Figures(
        **times,
        answered=sum(figures.answered for figures in measured),
        failed=sum(figures.failed for figures in measured),
    )


def _journalled(database: Path) -> int:
    """Return how many calls of the generator are in the journal."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        ((count,),) = connection.execute(
            "SELECT count(*) FROM calls WHERE uniqueid <> ?", (load.UNIQUEID + "0",)
        ).fetchall()
        return int(count)


def _variables(server: Server, number: str) -> list[str]:
    """Return the names of the variables a server sets for a caller, sorted."""
    names = []
    for line in load.ask(server.port, number):
        if line.startswith("SET VARIABLE "):
            names.append(line.split(" ")[2])
        elif line.startswith('EXEC MSet "'):
            # No value of the benchmark holds a comma, so the pairs need no unquoting.
            names += [pair.partition("=")[0] for pair in line[len('EXEC MSet "') : -1].split(",")]
    return sorted(names)
