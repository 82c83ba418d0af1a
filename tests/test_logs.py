"""Logs: one line a line, masked, and never in anybody's way."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from agi_server import logs
from agi_server.calls.call import Call, Decision, Rung, TraceStep, Verdict
from agi_server.calls.directory import Agent, Rule, RuleKind
from agi_server.calls.numbers import Number, NumberState
from agi_server.logs import (
    LogWriter,
    configure_logs,
    lines_dropped,
    log_decision,
    mask_name,
    mask_number,
    render_json,
    render_text,
)
from agi_server.settings import Logs

ROOT = Path(__file__).parent.parent
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)


@pytest.fixture
def written() -> Iterator[Callable[..., str]]:
    """Log with these settings and return what was written."""
    stream = io.StringIO()

    def run(act: Callable[[Any], object], **settings: Any) -> str:
        writer = configure_logs(Logs(**settings), stream)
        act(structlog.get_logger())
        assert writer.flush()
        return stream.getvalue()

    yield run
    reset()


def reset() -> None:
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, logs._Handler)]:
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)
    if logs._current is not None:
        logs._current.close()
        logs._current = None


def record(text: str) -> dict[str, Any]:
    [line] = text.splitlines()
    result = json.loads(line)
    assert isinstance(result, dict)
    return result


# what is written


def test_a_line_of_json(written: Callable[..., str]) -> None:
    entry = record(written(lambda log: log.warning("disk nearly full", free=3, path=Path("/var"))))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry == {"level": "warning", "event": "disk nearly full", "free": 3, "path": "/var"}


def test_a_line_of_text(written: Callable[..., str]) -> None:
    text = written(
        lambda log: log.info("started", port=4573, name='Anna "B" C', none="", steps=["a=1", "b"]),
        format="text",
    )
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} info {5}started  port=4573  "
        r'name="Anna \\"B\\" C"  none=""  steps="a=1; b"\n',
        text,
    )


def test_times_are_now_and_the_same_in_both_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0625)
    monkeypatch.setenv("TZ", "UTC")
    assert '"time":"2023-11-14T22:13:20.062Z"' in render_json("info", "x", {})
    assert render_text("info", "x", {})[13:23] == ":13:20.062"  # the hour is the machine's


def test_the_level_decides(written: Callable[..., str]) -> None:
    def act(log: Any) -> None:
        for level in ("debug", "info", "warning", "error", "critical"):
            getattr(log, level)(level)

    assert [json.loads(line)["event"] for line in written(act, level="warning").splitlines()] == [
        "warning",
        "error",
        "critical",
    ]


def test_text_on_a_terminal_json_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = os.openpty()
    try:
        with os.fdopen(theirs, "w") as terminal:
            configure_logs(Logs(), terminal)
            structlog.get_logger().error("on a terminal")
            assert logs._current is not None
            assert logs._current.flush()
            line = os.read(ours, 1000)
            assert line.startswith(b"\x1b[31m")
            assert line.endswith(b"error    on a terminal\x1b[0m\r\n")
            monkeypatch.setenv("NO_COLOR", "1")
            configure_logs(Logs(), terminal)
            structlog.get_logger().error("plain")
            assert logs._current.flush()
            assert b"\x1b" not in os.read(ours, 1000)
            reset()
    finally:
        os.close(ours)
        reset()


def test_a_logger_in_use_follows_a_new_configuration(written: Callable[..., str]) -> None:
    log = structlog.get_logger()
    written(lambda _: log.info("one"))
    other = io.StringIO()
    writer = configure_logs(Logs(level="error"), other)
    log.info("two")
    log.error("three")
    writer.flush()
    assert record(other.getvalue())["event"] == "three"


def test_an_exception_is_one_line_of_json(written: Callable[..., str]) -> None:
    def act(log: Any) -> None:
        try:
            Path("broken\nfake line").stat()
        except OSError:
            log.exception("failed", call="x")

    entry = record(written(act))
    assert entry["event"] == "failed"
    assert entry["exception"].startswith("Traceback")
    assert entry["exception"].endswith("No such file or directory: 'broken\\nfake line'\n")
    assert "exc_info" not in entry


def test_every_line_of_a_traceback_is_marked_as_text(written: Callable[..., str]) -> None:
    error = ValueError("broken\n2025-01-01 00:00:00.000 info     forged \x1b[31m")
    first, *others = written(lambda log: log.error("failed", exc_info=error), format="text").splitlines()
    assert first.endswith("failed")
    assert all(line.startswith("    | ") for line in others)
    assert others[-1] == r"    | 2025-01-01 00:00:00.000 info     forged \x1b[31m"


def test_a_value_that_cannot_be_shown_does_not_fail_the_caller(written: Callable[..., str]) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    def act(log: Any) -> None:
        log.info("a", value=Broken())
        log.info("b", value=2**70, other={1: "x", "y": Broken()})

    for settings in ({}, {"format": "text"}):
        text = written(act, **settings)
        assert "unloggable" in text
        assert text.count("\n") == 2 if not settings else 4


@given(event=ANY_TEXT, value=ANY_TEXT, items=st.lists(ANY_TEXT, max_size=3))
@example("a\nb", "\x1b[2J", ["\r", "\u2028"])
@example("\ud800", "\U000e0001", ["\x85\x7f\x00"])
@example("", "\u202e\u200b", [])
def test_a_line_is_one_line_whatever_it_holds(event: str, value: str, items: list[str]) -> None:
    fields = {"value": value, "items": items}
    for line in (render_json("info", event, fields), render_text("info", event, fields)):
        assert line.isprintable()
        assert len(line.splitlines()) == 1
    parsed = json.loads(render_json("info", event, fields))
    assert (parsed["event"], parsed["value"], parsed["items"]) == (event, value, items)


@given(st.lists(ANY_TEXT, min_size=1, max_size=5))
@example([" \\", 'a="', '" b="'])
def test_a_value_of_text_cannot_pretend_to_be_another_field(values: list[str]) -> None:
    line = render_text("info", "event", {f"key{index}": value for index, value in enumerate(values)})
    unquoted = re.sub(r'"(?:\\.|[^"\\])*"', "", line)
    assert re.findall(r"(\w+)=", unquoted) == [f"key{index}" for index in range(len(values))]


# the standard library


def test_the_standard_library_logs_through_the_same_path(written: Callable[..., str]) -> None:
    def act(_: Any) -> None:
        logging.getLogger("uvicorn.error").info("chatter")
        logging.getLogger("asyncio").warning("slow %s", "callback\nforged")

    assert (
        record(written(act)).items()
        >= {
            "level": "warning",
            "event": "slow callback\nforged",
            "logger": "asyncio",
        }.items()
    )


def test_statements_with_their_parameters_are_personal_data(written: Callable[..., str]) -> None:
    def say(_: object) -> None:
        logging.getLogger("aiosqlite").debug("executing %s", ("+493023125010",))

    assert written(say, level="debug") == ""
    assert "+493023125010" in written(say, level="debug", personal_data=True)


def test_libraries_say_more_at_level_debug(written: Callable[..., str]) -> None:
    assert record(written(lambda _: logging.getLogger("alembic").info("x"), level="debug"))["event"] == "x"


def test_the_exception_of_a_library_is_logged(written: Callable[..., str]) -> None:
    def act(_: Any) -> None:
        try:
            dict[str, str]()["k"]
        except KeyError:
            logging.getLogger("x").exception("failed")

    assert "KeyError: 'k'" in record(written(act))["exception"]


def test_a_message_that_does_not_fit_its_arguments_does_not_fail(written: Callable[..., str]) -> None:
    def act(_: Any) -> None:
        [ours] = [handler for handler in logging.getLogger().handlers if isinstance(handler, logs._Handler)]
        ours.handle(logging.LogRecord("x", logging.ERROR, "/x.py", 7, "%d", ("no number",), None))

    assert record(written(act))["event"] == "log message that cannot be formatted, /x.py line 7"


# never in the way


def within(seconds: float, act: Callable[[], object]) -> None:
    """Fail when `act` takes longer, instead of hanging."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive()


@pytest.fixture
def pipe() -> Iterator[tuple[int, Any]]:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        yield reading, stream
    os.close(reading)


def read_until(descriptor: int, end: bytes) -> bytes:
    data = b""
    while end not in data:
        more = os.read(descriptor, 65536)
        assert more
        data += more
    return data


def test_a_reader_who_does_not_read_blocks_nobody(
    pipe: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "GATHER", 0.5)  # all is written before the first line is
    reading, stream = pipe
    writer = LogWriter(stream, render_json, limit=500)
    total = 5_000

    def act() -> None:
        for number in range(total):
            writer.write(f"{number} {'x' * 200}")

    within(10, act)
    assert writer.dropped > 0
    assert not writer.flush(0.05)
    data = b""
    while b"log lines dropped" not in data:
        data += read_until(reading, b"\n")
    *lines, report = data.decode().splitlines()
    assert json.loads(report)["lines"] == writer.dropped
    assert len(lines) + writer.dropped == total
    numbers = [int(line.split()[0]) for line in lines]
    assert numbers == sorted(numbers)
    writer.write("afterwards")
    assert writer.flush()
    assert os.read(reading, 100) == b"afterwards\n"
    writer.close()


def test_a_reader_who_is_gone_costs_lines_only() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        writer = LogWriter(stream, render_json)
        for number in range(10):
            writer.write(str(number))
        assert writer.flush()
        assert writer.dropped == 10
        writer.close()


def test_a_full_disk_costs_lines_and_is_told_when_there_is_room_again() -> None:
    class Disk(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    disk = Disk()
    writer = LogWriter(disk, render_json)
    writer.write("lost")
    assert writer.flush()
    disk.full = False
    writer.write("kept")
    assert writer.flush()
    kept, report = disk.getvalue().splitlines()
    assert kept == "kept"
    assert json.loads(report)["lines"] == 1 == writer.dropped
    writer.close()


def test_a_descriptor_that_does_not_block_gets_every_line(pipe: tuple[int, Any]) -> None:
    reading, stream = pipe
    os.set_blocking(stream.fileno(), False)
    writer = LogWriter(stream, render_json)
    for number in range(2_000):
        writer.write(f"{number} {'x' * 100}")
    data = read_until(reading, b"\n1999 ")
    assert len(data.splitlines()) == 2_000
    assert writer.dropped == 0
    writer.close()


def test_lines_of_many_threads_stay_whole(pipe: tuple[int, Any]) -> None:
    reading, stream = pipe
    writer = LogWriter(stream, render_json)

    def act(name: str) -> None:
        for _ in range(200):
            writer.write(name * 50)

    threads = [threading.Thread(target=act, args=[name]) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.write("end")
    lines = read_until(reading, b"end\n").decode().splitlines()
    assert sorted(lines) == sorted([name * 50 for name in "abcd" for _ in range(200)] + ["end"])
    writer.close()


def test_after_close_lines_are_written_at_once() -> None:
    stream = io.StringIO()
    writer = LogWriter(stream, render_json)
    writer.write("before")
    writer.close()
    assert stream.getvalue() == "before\n"
    writer.write("after")
    assert stream.getvalue() == "before\nafter\n"
    assert writer.flush()
    writer.close()


def test_drops_are_counted_for_the_metrics(written: Callable[..., str]) -> None:
    written(lambda _: None)
    assert logs._current is not None
    assert lines_dropped() == 0
    logs._current._drop(3)
    assert lines_dropped() == 3


CHILD = """
import sys, structlog
from agi_server.logs import configure_logs
from agi_server.settings import Logs
configure_logs(Logs())
for number in range(int(sys.argv[1])):
    structlog.get_logger().info("line", number=number, filling="x" * 100)
{end}
"""


@pytest.mark.parametrize("end", ["raise RuntimeError('crash')", "sys.exit(3)", ""])
def test_the_end_of_the_process_writes_what_waits(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(end=end), "100"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("{")]
    assert [json.loads(line)["number"] for line in lines] == list(range(100))
    assert ("RuntimeError: crash" in done.stderr) == ("crash" in end)


def test_a_reader_who_does_not_read_does_not_stop_the_exit() -> None:
    reading, writing = os.pipe()
    child = subprocess.Popen([sys.executable, "-c", CHILD.format(end=""), "9000"], stderr=writing, cwd=ROOT)
    os.close(writing)
    try:
        assert child.wait(30) == 0
    finally:
        child.kill()
        os.close(reading)


# masking


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+4930123456", "+49******56"),
        ("03012345678", "03*******78"),
        ("+123456", "+12**56"),
        ("123456", "******"),
        ("", ""),
    ],
)
def test_mask_number(number: str, masked: str) -> None:
    assert mask_number(number) == masked


@given(st.from_regex(r"\+?[0-9]{0,20}", fullmatch=True))
def test_a_masked_number_keeps_its_length_and_hides_its_middle(number: str) -> None:
    masked = mask_number(number)
    assert len(masked) == len(number)
    assert sum(character.isdigit() for character in masked) <= 4
    if number:
        assert "*" in masked or number == "+"


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("Maria González", "M*** G***"),
        ("a b c d e", "a*** b*** c***"),
        ("  ", ""),
        ("", ""),
        ("Ökoladen", "Ö***"),
    ],
)
def test_mask_name(name: str, masked: str) -> None:
    assert mask_name(name) == masked


# calls

DECISION = Decision(
    call=Call(id="c-1", number="030 1234567", name="Trunkname", did="+49305550", uniqueid="1700.1"),
    number=Number(NumberState.E164, 49301234567, "49301234567", "030 1234567"),
    verdict=Verdict.BLOCK,
    reason="blacklisted",
    rung=Rung.EXACT,
    display_name="Maria González",
    rule=Rule(id=7, kind=RuleKind.EXACT, pattern="+49301234567"),
    treatment="busy",
    agent=Agent(id=1, name="Agent", extension="201"),
    trace=(
        TraceStep("number", "e164", "", "+49301234567"),
        TraceStep("match", "exact", "one contact", "Maria González"),
        TraceStep("screen", "block", "rule 7"),
    ),
)


def decided(written: Callable[..., str], decision: Decision, *, personal_data: bool) -> dict[str, Any]:
    return record(written(lambda log: log_decision(log, decision, 0.0000421, personal_data)))


def test_a_call_is_one_line_without_personal_data(written: Callable[..., str]) -> None:
    entry = decided(written, DECISION, personal_data=False)
    entry.pop("time")
    assert entry == {
        "level": "info",
        "event": "call",
        "call": "c-1",
        "uniqueid": "1700.1",
        "direction": "inbound",
        "verdict": "block",
        "reason": "blacklisted",
        "rung": "exact",
        "rule": 7,
        "treatment": "busy",
        "number": "+49*******67",
        "name": "M*** G***",
        "did": "+49305550",
        "agent": "201",
        "microseconds": 42,
        "trace": ["number=e164", "match=exact one contact", "screen=block rule 7"],
    }


def test_a_setting_shows_numbers_and_names(written: Callable[..., str]) -> None:
    entry = decided(written, DECISION, personal_data=True)
    assert (entry["number"], entry["name"]) == ("+49301234567", "Maria González")
    assert entry["trace"] == [
        "number=e164  [+49301234567]",
        "match=exact one contact [Maria González]",
        "screen=block rule 7",
    ]


def test_own_extensions_are_not_masked_and_the_anonymous_are_called_so(written: Callable[..., str]) -> None:
    call = Call(id="c", number="2011234")
    own = Decision(call=call, number=Number(NumberState.LOCAL, 0, "2011234"), rung=Rung.EXTENSION)
    assert decided(written, own, personal_data=False)["number"] == "2011234"


def test_the_anonymous_are_called_so(written: Callable[..., str]) -> None:
    call = Call(id="c", number="")
    anonymous = Decision(call=call, number=Number(NumberState.ANONYMOUS), rung=Rung.ANONYMOUS)
    assert decided(written, anonymous, personal_data=False)["number"] == "anonymous"
