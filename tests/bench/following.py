"""The fifth part: what following calls costs, and how fast Tasks reach Salesforce.

The tracker is measured alone, on events made beforehand (tests/tracking/traffic.py); the reading of them from bytes
besides. Memory is the interpreter's own count of live calls, and of the process over many.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from statistics import median

import psutil

from agi_server.ami.parsing import Reader
from agi_server.tracking.tracker import Tracker
from tests.bench import journal
from tests.tracking.traffic import answered, ours, stream

ROUNDS = 3
AT_ONCE = 2000  # calls that live when their memory is counted
CHUNK = 16 * 1024  # bytes read at once
WARM = 10_000  # calls before memory is looked at first

Event = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Following:
    """Events a second, followed alone and read besides; bytes a live call; MB of the process; Tasks a second."""

    calls: int
    events: int
    tracked: float
    read_and_tracked: float
    live_bytes: float
    memory_before: float
    memory_after: float
    followed: int
    left: int
    tasks: int
    tasks_rate: float


def measure(
    directory: Path, *, calls: int, followed: int, tasks: int, say: Callable[[str], None]
) -> Following:
    """Measure with `calls` calls a round, `followed` calls for the growth of memory, and so many Tasks."""
    events = list(stream(calls))
    say(f"{len(events):,} events of {calls:,} calls")
    tracked = median(len(events) / _seconds(events) for _ in range(ROUNDS))
    count, wire = len(events), b"".join(map(_block, events))
    read = median(count / _seconds(_read(wire)) for _ in range(ROUNDS))
    del wire, events
    live = _live_bytes()
    say(f"following {followed:,} calls")
    before, after, left = _growth(followed)
    say(f"delivering {tasks:,} Tasks")
    rate = journal.measure(directory, tasks=tasks)
    return Following(
        calls=calls,
        events=count,
        tracked=tracked,
        read_and_tracked=read,
        live_bytes=live,
        memory_before=before,
        memory_after=after,
        followed=followed,
        left=left,
        tasks=tasks,
        tasks_rate=rate,
    )


def _seconds(events: Iterable[Event]) -> float:
    tracker = Tracker("pbx", ours)
    started = time.process_time()
    for at, event in enumerate(events):
        tracker.event(event, at / 100)
    return time.process_time() - started


def _block(event: Event) -> bytes:
    """Return an event as Asterisk sends it."""
    return "".join(f"{name}: {value}\r\n" for name, value in event.items()).encode() + b"\r\n"


def _read(wire: bytes) -> Iterator[Event]:
    reader = Reader(lambda _what: None)
    list(reader.feed(b"Asterisk Call Manager/9.0.0\r\n"))
    for at in range(0, len(wire), CHUNK):
        yield from reader.feed(wire[at : at + CHUNK])


def _live_bytes() -> float:
    """Return the bytes that a call costs while two people speak."""
    born: list[Event] = []
    for number in range(AT_ONCE):
        born += takewhile(lambda event: event["Event"] != "HangupRequest", answered(number))
    tracker = Tracker("pbx", ours)
    gc.collect()
    tracemalloc.start()
    try:
        for at, event in enumerate(born):
            tracker.event(dict(event), at / 100)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / max(len(tracker), 1)
    finally:
        tracemalloc.stop()


def _growth(calls: int) -> tuple[float, float, int]:
    """Return the memory (MB) early and late in following so many calls, and how many the tracker keeps at the end."""
    tracker, process = Tracker("pbx", ours), psutil.Process()
    early = 0.0
    for done in range(0, calls, WARM):
        for at, event in enumerate(stream(min(WARM, calls - done))):
            tracker.event(event, done * 10 + at / 100)
        if not early:
            early = process.memory_info().rss / 1e6
    return early, process.memory_info().rss / 1e6, len(tracker)
