"""What is counted and timed, in the format of Prometheus.

Invariant: whatever is called for each call costs well under a microsecond and takes no lock. It is called from
the event loop's thread only; a scrape may come from any thread.

Plain numbers and lists, shown by a collector when scraped, because prometheus-client's own counters and
histograms take a lock for each of some eight events a call: 5 µs together against 1 µs.
"""

from __future__ import annotations

import platform
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate, product
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from agi_server import __version__
from agi_server.calls.call import Decision, Direction, Rung, Verdict
from agi_server.logs import lines_dropped
from agi_server.lookups import OUTCOMES

BUCKETS = (  # seconds: a decision takes some 50 µs, an answer some 500 µs; fastagi.deadline is 1 s
    0.000_01,
    0.000_02,
    0.000_05,
    0.000_1,
    0.000_2,
    0.000_5,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
)
CONNECTIONS = {
    "refused": "refused_peer",
    "full": "refused_limit",
    "probe": "probe",
}  # kind of failure -> outcome
ERRORS = ("protocol", "deadline", "unknown_script", "script", "reply")  # shown as 0 until they happen


class _Histogram:
    """Counts of seconds by bucket; the last is for what is longer than all buckets."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        return list(zip([*map(str, BUCKETS), "+Inf"], accumulate(self.counts), strict=True))


class Metrics(Collector):
    """The numbers of one process; `registry` shows them.

    `journal_pending` and `front_dropped` are asked for at each scrape, `lookups` is read then; `salesforce` is what the
    worker last said (salesforce/report.py), None where it is not used or has said nothing yet; `pbxs` likewise, by name
    (ami/follow.py).
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.journal_pending: Callable[[], int] = lambda: 0
        self.front_dropped: Callable[[], int] = lambda: 0
        self.lookups: Mapping[str, int] = dict.fromkeys(OUTCOMES, 0)
        self.salesforce: Mapping[str, Any] | None = None
        self.pbxs: Mapping[str, Mapping[str, Any]] | None = None
        self._clock = clock
        self._calls = Counter(dict.fromkeys(product(Direction, Verdict, Rung), 0))
        self._decisions = _Histogram()
        self._answers: dict[str, _Histogram] = {}
        self._errors = Counter(dict.fromkeys(ERRORS, 0))
        self._connections = Counter(dict.fromkeys(["accepted", *CONNECTIONS.values()], 0))
        self._open = 0
        self._journal = Counter({"written": 0, "dropped": 0})
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def decided(self, decision: Decision, seconds: float) -> None:
        """Count a decision that took so long."""
        self.counted(decision.call.direction, decision.verdict, decision.rung, seconds)

    def counted(self, way: Direction, verdict: Verdict, rung: Rung, seconds: float) -> None:
        """Count a decision of any process."""
        self._calls[way, verdict, rung] += 1
        self._decisions.observe(seconds)

    def opened(self) -> None:
        """Count a connection that was let in; `closed` follows."""
        self._connections["accepted"] += 1
        self._open += 1

    def closed(self) -> None:
        """Count a connection that is over."""
        self._open -= 1

    def answered(self, script: str, seconds: float) -> None:
        """Count an answer, sent so long after its connection came in; `script` is one of those served."""
        histogram = self._answers.get(script)
        if histogram is None:
            histogram = self._answers[script] = _Histogram()
        histogram.observe(seconds)

    def failed(self, kind: str) -> None:
        """Count a failure: a connection not let in or without a word (`CONNECTIONS`), or an error."""
        if kind in CONNECTIONS:
            self._connections[CONNECTIONS[kind]] += 1
        else:
            self._errors[kind] += 1

    def journal_written(self) -> None:
        """Count a journal record that is on disk."""
        self._journal["written"] += 1

    def journal_dropped(self) -> None:
        """Count a journal record that is lost."""
        self._journal["dropped"] += 1

    def collect(self) -> Iterator[Metric]:
        """Yield everything, for `registry`."""
        build = {"version": __version__, "python": platform.python_version()}
        yield InfoMetricFamily("ostiary_build", "What runs here.", build)
        yield _counter(
            "ostiary_calls",
            "Calls decided. rung: how the other side was found.",
            {
                (str(way), str(verdict), str(rung)): count
                for (way, verdict, rung), count in self._calls.items()
            },
            "direction",
            "verdict",
            "rung",
        )
        decisions = HistogramMetricFamily("ostiary_decision_seconds", "Time to decide a call.")
        decisions.add_metric([], self._decisions.cumulative(), self._decisions.sum)
        yield decisions
        answers = HistogramMetricFamily(
            "ostiary_answer_seconds", "Time from a connection to the answer of its script.", labels=["script"]
        )
        for script, histogram in list(self._answers.items()):
            answers.add_metric([script], histogram.cumulative(), histogram.sum)
        yield answers
        yield _counter("ostiary_errors", "Requests that failed.", self._errors, "kind")
        yield _counter(
            "ostiary_connections",
            "Connections; accepted ones hold most probes.",
            self._connections,
            "outcome",
        )
        yield GaugeMetricFamily("ostiary_connections_open", "Connections that are open.", self._open)
        yield _counter("ostiary_journal_records", "Records of the journal.", self._journal, "outcome")
        yield GaugeMetricFamily(
            "ostiary_journal_pending", "Journal records that are not on disk yet.", self.journal_pending()
        )
        yield CounterMetricFamily(
            "ostiary_front_lines_dropped", "Events the front was too slow for.", self.front_dropped()
        )
        yield CounterMetricFamily(
            "ostiary_log_lines_dropped", "Log lines nobody read in time.", lines_dropped()
        )
        yield _counter(
            "ostiary_salesforce_lookups", "Unknown callers looked up in Salesforce.", self.lookups, "outcome"
        )
        yield from _salesforce(self.salesforce, self._clock())
        yield from _pbxs(self.pbxs or {})


def _counter(name: str, text: str, counts: Mapping[Any, int], *labels: str) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in list(counts.items()):
        family.add_metric([values] if isinstance(values, str) else list(values), count)
    return family


def _salesforce(told: Mapping[str, Any] | None, now: float) -> Iterator[Metric]:
    """Yield how the exchange with Salesforce stands; families without a sample where nobody told."""
    told = told or {}
    outbox = told.get("outbox", {})
    for name, text, value in (
        ("salesforce_up", "Whether the last round with Salesforce was done.", told.get("up")),
        (
            "salesforce_sync_lag_seconds",
            "Time since the last round that was done.",
            _age(told.get("ok_at"), now),
        ),
        (
            "salesforce_unread_numbers",
            "Fields of records that hold no number anyone can dial.",
            told.get("unread"),
        ),
        ("outbox_waiting", "Records that must still reach Salesforce.", outbox.get("waiting")),
        ("outbox_parked", "Records that wait for an admin.", outbox.get("parked")),
        ("outbox_oldest_seconds", "Age of the oldest record that waits.", _age(outbox.get("oldest_at"), now)),
    ):
        family = GaugeMetricFamily(f"ostiary_{name}", text)
        if value is not None:
            family.add_metric([], value)
        yield family
    calls = GaugeMetricFamily(
        "ostiary_salesforce_api_calls", "API calls of the org in 24 hours.", labels=["what"]
    )
    for what, value in zip(("used", "limit"), told.get("usage") or (), strict=False):
        calls.add_metric([what], value)
    yield calls
    yield _counter("ostiary_salesforce_sync_errors", "Rounds that failed.", told.get("errors", {}), "kind")
    records = {
        (kind, what): count
        for kind, counts in told.get("records", {}).items()
        for what, count in counts.items()
    }
    yield _counter("ostiary_salesforce_records", "Records of Salesforce.", records, "object", "what")


def _pbxs(told: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    """Yield how the connections to PBXs stand, by name."""
    for name, text, what in (
        ("pbx_up", "Whether the PBX is connected.", "up"),
        ("pbx_calls", "Conversations followed now.", "calls"),
    ):
        family = GaugeMetricFamily(f"ostiary_{name}", text, labels=["pbx"])
        for pbx, state in told.items():
            family.add_metric([pbx], state[what])
        yield family
    events = {pbx: state["events"] for pbx, state in told.items()}
    yield _counter("ostiary_pbx_events", "Events read from the PBX.", events, "pbx")
    odd = {(pbx, what): count for pbx, state in told.items() for what, count in state["oddities"].items()}
    yield _counter("ostiary_pbx_oddities", "Events that were not believed.", odd, "pbx", "what")


def _age(since: float | None, now: float) -> float | None:
    """Return how long ago that was; 0 for what is not there at all (0)."""
    if since is None:
        return None
    return max(now - since, 0) if since else 0
