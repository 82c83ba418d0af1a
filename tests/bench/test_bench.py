"""The benchmark at toy size: that it runs and adds up, never how fast."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from agi_server.calls.numbers import read_field
from agi_server.salesforce.lock import salesforce_lock
from tests.bench import compare, data, load, parts, processes, report, sync
from tests.bench.__main__ import main
from tests.bench.compare import LINES, OSTIARY, PANORAMISK, RESPONDER, SERVERS, WHOLE, Comparison, Figures


@pytest.mark.slow
def test_the_whole_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = {"contacts": 300, "calls": 12, "rounds": 1, "size": 250, "decisions": 20, "searches": 3}
    options = [word for option, value in toy.items() for word in (f"--{option}", str(value))]
    main(
        [*options, "--levels", "1", "4", "64", "--web-seconds", "1", "--json", str(tmp_path / "figures.json")]
    )
    figures = json.loads((tmp_path / "figures.json").read_text())

    compared = figures["comparison"]
    assert set(compared["figures"]) == set(SERVERS)
    for cases in compared["figures"].values():
        assert {(case["block"], case["concurrent"]) for case in cases} == {
            *((LINES, level) for level in (1, 4, 64)),
            *((WHOLE, level) for level in (1, 64)),
        }
        assert [case for case in cases if case["failed"]] == []
        assert all(0 < case["p50"] <= case["p99"] <= case["p999"] for case in cases)
    assert compared["journalled"] == compared["answered"] > 50
    # The same work: everybody sets what Ostiary sets.
    assert len(compared["variables"][OSTIARY]) == 12
    assert all(names == compared["variables"][OSTIARY] for names in compared["variables"].values())

    scale = figures["scale"]
    assert scale["contacts"] == 250
    assert 0 < scale["decision_p50"] <= scale["decision_p99"] <= scale["decision_max"]
    assert all(scale[key] > 0 for key in ("ready_seconds", "resident", "unique", "database"))
    assert all(scale[kind]["rows"] > 0 < scale[kind]["cpu_seconds"] for kind in ("clean", "messy"))

    kept = figures["sync"]
    assert (kept["contacts"], kept["accounts"], kept["changes"]) == (250, 75, 50)
    assert kept["lost"] == 0
    assert kept["journalled"] == kept["calls"] > 50
    assert kept["parts"]["records"] == 250
    times = ("full_seconds", "unchanged_seconds", "changed_seconds", "worker_cpu", "server_cpu", "org_cpu")
    assert 0 <= kept["others"] <= 100
    assert all(kept[key] > 0 for key in (*times, "worker_memory", "all_memory"))
    assert 0 < kept["during"]["p50"] <= kept["during"]["p99"] <= kept["during"]["longest"]

    asked = figures["web"]
    assert all(0 < page["kilobytes"] <= 100 and page["p50"] > 0 for page in asked["pages"])
    if asked["decisions"] is not None:  # wrk is installed
        assert asked["decisions"]["rate"] > 0 < asked["console"]["rate"]
        assert asked["decisions"]["errors"] == asked["console"]["errors"] == asked["during"]["lost"] == 0

    followed = figures["calls"]
    assert followed["events"] > followed["calls"] == 12
    assert followed["left"] == 0
    assert followed["tasks_rate"] > 0 < followed["live_bytes"]

    printed = capsys.readouterr().out
    assert f"| {OSTIARY} " in printed
    assert "CPU per call, 64 at once" in printed
    assert "start to first answer" in printed
    assert "| round with 50 changes" in printed


def test_the_block_is_an_asterisks() -> None:
    lines = load.environment("incoming", "+4930123456", 7)
    assert len(lines) == 23
    assert lines[-1] == b"\n"
    assert all(line.startswith(b"agi_") and b": " in line for line in lines[:-1])
    assert b"agi_callerid: +4930123456\n" in lines
    assert load.blocks(["1"], whole=True) == [[b"".join(load.environment("incoming", "1", 1))]]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("sends", "failed"),
    [
        ([b'EXEC MSet "A=1"\n'], 0),
        ([b"VERBOSE one\n", b'SET VARIABLE A "1"\n'], 0),
        ([b"VERBOSE one\nVERBOSE two\n"], 0),
        ([], 3),  # closed without a word
    ],
)
def test_the_generator_answers_every_command(sends: list[bytes], failed: int, whole: bool) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_serve, args=(listener, 3, sends, heard))
        server.start()
        result = load.run(listener.getsockname()[1], 2, load.blocks(["1", "2", "3"], whole=whole), limit=20)
        server.join()
    assert (result.calls, result.failed, len(result.milliseconds)) == (3, failed, 3 - failed)
    assert heard == [load.REPLY * b"".join(sends).count(b"\n") + b"HANGUP\n"] * 3


def _serve(listener: socket.socket, calls: int, sends: list[bytes], heard: list[bytes]) -> None:
    """Answer call after call, each command after the reply to the one before; then half-close."""
    for _ in range(calls):
        connection, _address = listener.accept()
        with connection, connection.makefile("rb") as stream:
            while stream.readline() != b"\n":
                pass
            replies = b""
            for line in sends:
                connection.sendall(line)
                replies += b"".join(stream.readline() for _ in range(line.count(b"\n")))
            connection.shutdown(socket.SHUT_WR)
            heard.append(replies + stream.read())


def test_a_silent_server_costs_the_limit_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel accepts, nobody answers
        result = load.run(listener.getsockname()[1], 2, load.blocks(["1", "2"]), limit=0.2)
    assert result.failed == 2
    assert result.seconds < 2  # a bound, not a speed


def test_a_steady_stream_calls_until_it_is_ended_and_keeps_every_answer() -> None:
    ended = threading.Event()
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            _serve(listener, 5, [b"VERBOSE one\n"], heard)
            ended.set()
            listener.close()

        server = threading.Thread(target=serve)
        server.start()
        stream = load.steady(listener.getsockname()[1], 100, ["1", "2"], ended)
        server.join()
    assert len(stream.answered) == len(heard) == 5
    assert stream.calls >= 5
    began = [call.began for call in stream.answered]
    assert began == sorted(began)
    assert stream.between([(began[1], began[3])]) == sorted(
        call.milliseconds for call in stream.answered[1:3]
    )


def test_a_round_is_seen_by_its_lock(tmp_path: Path) -> None:
    rounds = sync.Rounds(tmp_path, os.getpid())
    assert not rounds.running()
    with salesforce_lock(tmp_path, 0):
        assert rounds.running()
        assert not sync.Rounds(tmp_path / "elsewhere", os.getpid()).running()
        with subprocess.Popen(["sleep", "60"]) as other:
            assert not sync.Rounds(tmp_path, other.pid).running()
            other.kill()
        assert rounds.begun() <= time.perf_counter()
    assert not rounds.running()
    assert rounds.over() <= time.perf_counter()


def test_a_worker_that_waits_is_drained_and_one_that_works_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "DRAIN", 0.5)
    rounds = sync.Rounds(tmp_path, os.getpid())
    ended = threading.Event()
    busy = threading.Thread(target=lambda: [sum(range(10_000)) for _ in iter(ended.is_set, True)])
    with salesforce_lock(tmp_path, 0):
        busy.start()
        try:
            assert sync._drained(psutil.Process(), rounds) == 0.0
        finally:
            ended.set()
            busy.join()
        monkeypatch.setattr(sync, "DRAIN", 60.0)
        assert sync._drained(psutil.Process(), rounds) > 0.0
    assert sync._drained(psutil.Process(), rounds) == 0.0  # the round is over


def test_one_caller_in_ten_is_a_stranger() -> None:
    numbers = [f"+49305550{place:02d}" for place in range(90)]
    mixed = sync._with_strangers(numbers)
    assert [number for number in mixed if number in numbers] == numbers
    assert len({*mixed} - {*numbers}) == 10


def test_cpu_time_is_that_of_the_process() -> None:
    assert abs(processes.cpu_seconds(os.getpid()) - time.process_time()) < 0.1
    assert processes.cpu_seconds(2**22 + 1) == 0.0  # no such process


def test_percentiles() -> None:
    thousand = [float(value) for value in range(1, 1001)]
    assert [load.percentile(thousand, percent) for percent in (50, 99, 99.9, 100)] == [501, 991, 1000, 1000]


def test_numbers_are_distinct_and_messy_ones_still_mean_the_same() -> None:
    numbers = {data.number(index) for index in range(20_000)}
    assert len(numbers) == 20_000
    ways = set()
    for index in range(64):
        typed = data.messy(index)
        ways.add(typed.translate(str.maketrans("", "", "0123456789")))
        if typed.startswith(("+", "00")):  # a national one of elsewhere means something else
            assert f"+{read_field(typed, data.REGION)[0].e164}" == data.number(index), typed
    assert len(ways) > 20


def test_a_tenth_of_the_callers_is_unknown() -> None:
    known = {data.number(index) for index in range(500)}
    callers = data.callers(500, 4000)
    unknown = sum(caller not in known for caller in callers)
    assert 300 < unknown < 500
    assert callers == data.callers(500, 4000)


def test_aims_say_met_or_by_how_much_not() -> None:
    fast = Figures(rate=9, p50=1, p99=2, p999=3, cpu=0.05, cpu_all=0.06, generator_cpu=0.1)
    slow = Figures(rate=3, p50=1.6, p99=4, p999=9, cpu=0.10, cpu_all=0.10, generator_cpu=0.2)
    case = {(LINES, 64): fast, (LINES, 1): fast}
    figures = {OSTIARY: case, PANORAMISK: {(LINES, 64): slow, (LINES, 1): slow}, RESPONDER: case}
    verdicts = report.aims(
        Comparison(contacts=1, calls=1, rounds=1, figures=figures, variables={}, answered=1, journalled=1)
    )
    assert [row[-1] for row in verdicts] == ["met", "missed by 11 %", "met", "met", "missed by 25 %"]


def test_aims_of_the_synchronisation() -> None:
    measured = sync.Sync(
        contacts=10, accounts=3, full_seconds=151.5, worker_cpu=1, parser_cpu=1, server_cpu=1, org_cpu=1, others=0,
        worker_memory=150, all_memory=290, parts=parts.Parts(10, 1, 2, 3, 4), unchanged_seconds=1, changes=5,
        changed_seconds=3, rate=50, without=sync.Calls(9, 1, 2, 3), during=sync.Calls(9, 1, 4, 3), pauses=1,
        calls=20, lost=1, journalled=19,
    )  # fmt: skip
    verdicts = [row[-1] for row in report.sync_aims(measured)]
    assert verdicts == ["missed by 1 %", "met", "met", "missed by 33 %", "missed"]
    printed = report.sync(measured)
    assert "10 / 20 / 30 / 40 %" in printed
    assert "| 1.00 × | 2.00 × | 1.00 × |" in printed


def test_medians_are_of_rounds_and_losses_add_up() -> None:
    rounds = [
        Figures(rate=r, p50=r, p99=r, p999=r, cpu=r, cpu_all=r, generator_cpu=r, answered=3, failed=1)
        for r in (1, 9, 2)
    ]
    middle = compare._median(rounds)
    assert (middle.rate, middle.cpu, middle.answered, middle.failed) == (2, 2, 9, 3)


def test_a_table_is_markdown() -> None:
    assert report.table(("a", "b"), [("one", "2")]).splitlines() == [
        "| a   | b |",
        "|-----|--:|",
        "| one | 2 |",
    ]
