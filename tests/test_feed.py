"""What goes between the serving process and its front, over a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from agi_server import feed
from agi_server.calls.call import Call, Decision
from agi_server.calls.decide import decide
from agi_server.calls.document import document
from agi_server.errors import DirectoryError
from agi_server.feed import Feed, ServingProcess
from agi_server.front_requests import front_requests
from agi_server.journal import Journal, record_of
from agi_server.metrics import Metrics
from tests.calls.memory import MemoryDirectory

HOSTILE = 'Ana "<b>"\u2028\u202e\n'


def decision(number: str = "+4930123456", name: str = HOSTILE) -> Decision:
    return decide(Call(id="1", number=number, name=name, did="200"), MemoryDirectory(), 1.0)


@asynccontextmanager
async def both(serving: Feed) -> AsyncIterator[tuple[ServingProcess, list[tuple[str, Any]]]]:
    """The front's side, and what it heard."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    heard: list[tuple[str, Any]] = []
    front = ServingProcess(lambda *what: heard.append(what))
    await front.connect(theirs)
    transport, _ = await asyncio.get_running_loop().create_connection(serving.protocol, sock=ours)
    yield front, heard
    transport.close()
    async with asyncio.timeout(60):
        await front.gone.wait()


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


async def test_decisions_and_how_calls_go_on_come_in_order() -> None:
    serving = Feed()
    async with both(serving) as (_, heard):
        made = decision()
        serving.decided(made, 7.5)
        serving.went_on("answered", {"call_id": "1"})
        serving.went_on("ended", {"call_id": "1"})
        await until(lambda: len(heard) == 3)
    assert [kind for kind, _ in heard] == ["decision", "answered", "ended"]
    assert heard[0][1] == document(made, 7.5)
    assert heard[0][1]["name_sent"] == HOSTILE


async def test_nobody_there_costs_nothing_and_the_next_front_knows_of_salesforce() -> None:
    serving = Feed()
    serving.decided(decision(), 1.0)
    serving.told("salesforce", {"up": 1})
    serving.told("salesforce", {"up": 0})
    serving.told("pbx", {"pbx": {"up": 1}})
    serving.told("call.answered", {"call_id": "1"})
    for _ in range(2):
        async with both(serving) as (_, heard):
            await until(lambda heard=heard: len(heard) == 2)
            assert heard == [("salesforce", {"up": 0}), ("pbx", {"pbx": {"up": 1}})]


async def test_a_front_that_does_not_read_costs_a_bounded_amount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MOST_UNREAD", 100_000)
    serving = Feed()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(serving.protocol, sock=ours)
    async with asyncio.timeout(60):
        while not serving.dropped:
            serving.went_on("ended", {"name": "x" * 1000})
            await asyncio.sleep(0)
    assert transport.get_write_buffer_size() < 3_000_000
    theirs.close()
    await until(transport.is_closing)
    transport.close()


async def test_what_the_front_decided_is_counted_and_journalled() -> None:
    metrics, serving = Metrics(), Feed()
    written: list[Any] = []
    journal = Journal(metrics, went_on=lambda kind, record: written.append((kind, dict(record))))
    asked: list[Any] = []
    serving.heard = front_requests(
        metrics, journal, lambda: {"directory": "ok"}, lambda *what: asked.append(what)
    )
    async with both(serving) as (front, _):
        made = decision(name="Ana")
        front.decided(made, 0.001)
        front.answered(call_id="1", uniqueid="", at=5, extension="101")
        front.ended(call_id="1", uniqueid="", ended_at=9, disposition="answer", seconds=4, answered_by="101")
        front.synchronise(full=True, accept_removals=False)
        front.dial({"id": "d1", "agent": "101"})
        front.hang_up("d1")
        assert await front.state() == {"parts": {"directory": "ok"}, "salesforce": None}
        shown = await front.metrics()
    assert 'ostiary_calls_total{direction="inbound",rung="none",verdict="allow"} 1.0' in shown
    assert asked == [
        ("sync", {"full": True, "accept_removals": False}),
        ("dial", {"id": "d1", "agent": "101"}),
        ("hang_up", {"id": "d1"}),
    ]
    assert [kind for kind, _ in written] == ["answered", "ended"]
    lines = [orjson.loads(line) for _, line in journal._pending]
    assert [kind for _, kind, _ in lines] == ["call", "answered", "ended"]
    record = orjson.loads(orjson.dumps(record_of(made), default=list))
    assert {key: value for key, value in lines[0][2].items() if key != "started_at"} == record


async def test_nonsense_of_the_front_ends_nothing() -> None:
    serving = Feed()
    serving.heard = front_requests(Metrics(), Journal(Metrics()), dict, lambda *_: None)
    async with both(serving) as (front, _):
        for line in (["decided", {}, 1], ["dance"], ["ended", {"a": 1}], ["sync"]):
            front._say(line)
        assert (await front.state())["parts"] == {}


async def test_a_serving_process_that_does_not_answer_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "ANSWER_WITHIN", 0.05)
    ours, theirs = socket.socketpair()
    front = ServingProcess(lambda *_: None)
    await front.connect(theirs)
    with pytest.raises(DirectoryError, match="does not say how it is"):
        await front.state()
    ours.close()
    async with asyncio.timeout(60):
        await front.gone.wait()


async def test_lines_may_come_in_any_pieces() -> None:
    received: list[Any] = []
    lines = feed._Lines(received.append, lambda _: None, lambda: None)
    whole = b"".join(orjson.dumps([n, "ä" * n]) + b"\n" for n in range(5))
    for size in (1, 3, 7, len(whole)):
        received.clear()
        for start in range(0, len(whole), size):
            lines.data_received(whole[start : start + size])
        assert received == [[n, "ä" * n] for n in range(5)]
