"""Metrics: what is counted is what is shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agi_server import __version__, logs
from agi_server.calls.call import Call, Decision, Direction, Rung, Verdict
from agi_server.calls.numbers import Number, NumberState
from agi_server.lookups import OUTCOMES, Lookups
from agi_server.metrics import BUCKETS, CONNECTIONS, ERRORS, Metrics
from agi_server.salesforce.report import Report

ROOT = Path(__file__).parent.parent
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(metrics: Metrics) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


def decision(
    direction: Direction = Direction.INBOUND, verdict: Verdict = Verdict.ALLOW, rung: Rung = Rung.NONE
) -> Decision:
    call = Call(id="c", number="1", direction=direction)
    return Decision(call=call, number=Number(NumberState.LOCAL, 0, "1"), verdict=verdict, rung=rung)


def test_calls_by_direction_verdict_and_rung() -> None:
    metrics = Metrics()
    metrics.decided(decision(), 0.00004)
    metrics.decided(decision(), 0.00004)
    metrics.decided(decision(Direction.OUTBOUND, Verdict.BLOCK, Rung.TAIL), 0.1)
    name = "ostiary_calls_total"
    assert value(metrics, name, direction="inbound", verdict="allow", rung="none") == 2
    assert value(metrics, name, direction="outbound", verdict="block", rung="tail") == 1
    assert sum(count for (each, _), count in samples(metrics).items() if each == name) == 3


def test_what_has_not_happened_is_shown_as_zero() -> None:
    metrics = Metrics()
    for direction in Direction:
        for verdict in Verdict:
            for rung in Rung:
                labels = {"direction": direction.value, "verdict": verdict.value, "rung": rung.value}
                assert value(metrics, "ostiary_calls_total", **labels) == 0
    for kind in ERRORS:
        assert value(metrics, "ostiary_errors_total", kind=kind) == 0
    for outcome in ("accepted", "refused_peer", "refused_limit", "probe"):
        assert value(metrics, "ostiary_connections_total", outcome=outcome) == 0


@given(st.lists(st.floats(0, 5) | st.sampled_from(BUCKETS), max_size=20))
def test_a_histogram_counts_as_prometheus_does(seconds: list[float]) -> None:
    metrics = Metrics()
    for each in seconds:
        metrics.decided(decision(), each)
        metrics.answered("incoming", each)
    shown = samples(metrics)
    for name, labels in (
        ("ostiary_decision_seconds", {}),
        ("ostiary_answer_seconds", {"script": "incoming"}),
    ):
        if not seconds and labels:
            continue
        for bucket in BUCKETS:
            key = frozenset({**labels, "le": str(bucket)}.items())
            assert shown[f"{name}_bucket", key] == sum(each <= bucket for each in seconds)
        key = frozenset({**labels, "le": "+Inf"}.items())
        assert shown[f"{name}_bucket", key] == len(seconds)
        key = frozenset(labels.items())
        assert shown[f"{name}_count", key] == len(seconds)
        assert shown[f"{name}_sum", key] == pytest.approx(sum(seconds))


def test_buckets_reach_from_ten_microseconds_to_a_second() -> None:
    assert (BUCKETS[0], BUCKETS[-1]) == (1e-5, 1.0)
    assert list(BUCKETS) == sorted(set(BUCKETS))


def test_answers_by_script() -> None:
    metrics = Metrics()
    metrics.answered("ping", 0.001)
    metrics.answered("incoming", 0.002)
    metrics.answered("incoming", 0.003)
    assert value(metrics, "ostiary_answer_seconds_count", script="ping") == 1
    assert value(metrics, "ostiary_answer_seconds_sum", script="incoming") == pytest.approx(0.005)


def test_connections() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.opened()
    metrics.closed()
    for kind in ("refused", "full", "full", "probe"):
        metrics.failed(kind)
    name = "ostiary_connections_total"
    assert value(metrics, "ostiary_connections_open") == 2
    outcomes = ("accepted", "refused_peer", "refused_limit", "probe")
    assert [value(metrics, name, outcome=outcome) for outcome in outcomes] == [3, 1, 2, 1]
    assert not any(value(metrics, "ostiary_errors_total", kind=kind) for kind in ERRORS)
    assert set(CONNECTIONS.values()) < set(outcomes)


def test_errors_by_kind_also_new_kinds() -> None:
    metrics = Metrics()
    for kind in ("deadline", "deadline", "something_new"):
        metrics.failed(kind)
    assert value(metrics, "ostiary_errors_total", kind="deadline") == 2
    assert value(metrics, "ostiary_errors_total", kind="something_new") == 1


def test_the_journal() -> None:
    metrics = Metrics()
    pending = [1, 2, 3]
    metrics.journal_pending = lambda: len(pending)
    metrics.journal_written()
    metrics.journal_written()
    metrics.journal_dropped()
    assert value(metrics, "ostiary_journal_records_total", outcome="written") == 2
    assert value(metrics, "ostiary_journal_records_total", outcome="dropped") == 1
    assert value(metrics, "ostiary_journal_pending") == 3
    pending.clear()
    assert value(metrics, "ostiary_journal_pending") == 0


def test_salesforce_is_shown_as_the_worker_told() -> None:
    report = Report(None, 500)
    report.usage = (120, 100_000)
    report.unread = 7
    report.outbox = {"waiting": 3, "parked": 1, "oldest_at": 900}
    report.counted("Contact", {"read": 5, "inserted": 2})
    report.counted("Contact", {"read": 1, "removed": 1})
    report.succeeded(960)
    report.failed("down", "away", 970)
    report.failed("down", "away", 980)
    metrics = Metrics(clock=lambda: 1000.0)
    metrics.salesforce = orjson.loads(orjson.dumps(report.told("")))
    shown = {
        "up": 0,
        "sync_lag_seconds": 40,
        "unread_numbers": 7,
    }
    for name, wanted in shown.items():
        assert value(metrics, f"ostiary_salesforce_{name}") == wanted
    for name, wanted in (("waiting", 3), ("parked", 1), ("oldest_seconds", 100)):
        assert value(metrics, f"ostiary_outbox_{name}") == wanted
    calls = "ostiary_salesforce_api_calls"
    assert (value(metrics, calls, what="used"), value(metrics, calls, what="limit")) == (120, 100_000)
    errors = "ostiary_salesforce_sync_errors_total"
    assert (value(metrics, errors, kind="down"), value(metrics, errors, kind="login")) == (2, 0)
    records = {"read": 6, "inserted": 2, "updated": 0, "removed": 1}
    for what, count in records.items():
        name = "ostiary_salesforce_records_total"
        assert value(metrics, name, object="Contact", what=what) == count


def test_salesforce_in_step_and_with_nothing_to_write() -> None:
    report = Report(None, 500)
    metrics = Metrics(clock=lambda: 1000.0)
    metrics.salesforce = report.told("")
    assert value(metrics, "ostiary_salesforce_up") == 0
    assert value(metrics, "ostiary_salesforce_sync_lag_seconds") == 500  # since the worker's start
    assert value(metrics, "ostiary_outbox_oldest_seconds") == 0
    report.succeeded(1000)
    metrics.salesforce = report.told("")
    assert value(metrics, "ostiary_salesforce_up") == 1
    assert value(metrics, "ostiary_salesforce_sync_lag_seconds") == 0


def test_without_salesforce_nothing_of_it_is_shown_but_look_ups() -> None:
    metrics = Metrics()
    names = {name for name, _ in samples(metrics) if "salesforce" in name or "outbox" in name}
    assert names == {"ostiary_salesforce_lookups_total"}


def test_look_ups_by_outcome() -> None:
    metrics = Metrics()
    lookups = Lookups(forget=1)
    metrics.lookups = lookups.outcomes
    lookups.outcomes["found"] += 2
    name = "ostiary_salesforce_lookups_total"
    assert [value(metrics, name, outcome=outcome) for outcome in OUTCOMES] == [2, 0, 0, 0, 0, 0]


def test_build_process_and_log(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    python = ".".join(map(str, sys.version_info[:3]))
    assert value(metrics, "ostiary_build_info", version=__version__, python=python) == 1
    assert value(metrics, "process_resident_memory_bytes") > 0
    assert value(metrics, "ostiary_log_lines_dropped_total") == logs.lines_dropped()
    monkeypatch.setattr("agi_server.metrics.lines_dropped", lambda: 5)
    assert value(metrics, "ostiary_log_lines_dropped_total") == 5


def test_two_of_them_share_nothing() -> None:
    one, two = Metrics(), Metrics()
    one.opened()
    one.failed("script")
    one.decided(decision(), 1)
    assert value(two, "ostiary_connections_open") == 0
    assert value(two, "ostiary_errors_total", kind="script") == 0
    assert value(two, "ostiary_decision_seconds_count") == 0


def test_counting_needs_no_web_framework() -> None:
    code = "import sys, agi_server.metrics, agi_server.logs; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert not {"fastapi", "starlette", "uvicorn"} & set(done.stdout.split())
