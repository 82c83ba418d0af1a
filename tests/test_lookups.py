"""The call path's side of a look-up; the worker is played."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from agi_server import lookups as module
from agi_server.calls.call import TraceStep
from agi_server.journal import Journal
from agi_server.link import ServerLink, WorkerLink
from agi_server.lookups import Lookups
from agi_server.metrics import Metrics

ANA = "+493023125010"
BEN = "+493023125011"
LONG = 20.0  # seconds; nobody waits so long where all is well


class Worker:
    """What a worker does, said by a test."""

    def __init__(self, asks: ServerLink, transport: asyncio.Transport) -> None:
        self._link = asks
        self._messages = asks.messages()
        self._waiting: list[list[object]] = []
        self.transport = transport  # of the other end

    async def open(self, lookups: Lookups, why: str = "") -> None:
        await self._link.send(("salesforce", {"lookups": why}))
        async with asyncio.timeout(LONG):
            while lookups._closed != why:
                await asyncio.sleep(0.001)

    async def question(self) -> tuple[int, str]:
        """Wait for the next question."""
        while not self._waiting:
            self._waiting = await asyncio.wait_for(anext(self._messages), LONG)
        sequence, kind, content = self._waiting.pop(0)
        assert (sequence, kind) == (0, "lookup")
        assert isinstance(content, dict)
        assert set(content) == {"id", "number"}
        return content["id"], content["number"]

    async def answer(self, id_: int, outcome: str, why: str = "") -> None:
        await self._link.send(("found", {"id": id_, "outcome": outcome, "why": why}))


@pytest.fixture
def lookups() -> Lookups:
    return Lookups(forget=900)


@pytest.fixture
async def worker(lookups: Lookups) -> AsyncIterator[Worker]:
    """A worker that is ready to be asked."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    journal = Journal(Metrics())
    transport, _ = await asyncio.get_running_loop().create_connection(
        lambda: WorkerLink(journal, lookups), sock=ours
    )
    link = ServerLink(theirs)
    played = Worker(link, transport)
    await played.open(lookups)
    yield played
    transport.close()
    link.close()
    await asyncio.sleep(0)


async def asked(lookups: Lookups, worker: Worker, number: str, outcome: str, why: str = "") -> TraceStep:
    """Ask, and have the worker answer so."""
    finding = asyncio.create_task(lookups.find(number, LONG))
    id_, got = await worker.question()
    assert got == number
    await worker.answer(id_, outcome, why)
    return await asyncio.wait_for(finding, LONG)


async def silent(lookups: Lookups, number: str, seconds: float = LONG) -> TraceStep:
    """Ask, and see that the worker was not: it would have to answer."""
    before = dict(lookups._numbers)
    step = await asyncio.wait_for(lookups.find(number, seconds), LONG)
    assert lookups._numbers == before
    return step


@pytest.mark.parametrize("outcome", ["found", "unknown", "failed", "not_asked"])
async def test_the_answer_is_the_outcome(lookups: Lookups, worker: Worker, outcome: str) -> None:
    step = await asked(lookups, worker, ANA, outcome, "it is so")
    assert (step.stage, step.outcome) == ("lookup", outcome)
    assert step.detail
    if outcome in {"failed", "not_asked"}:
        assert step.detail == "it is so"
    assert lookups.outcomes[outcome] == lookups.outcomes.total() == 1


async def test_a_late_answer_is_not_waited_for(lookups: Lookups, worker: Worker) -> None:
    step = await lookups.find(ANA, 0.01)
    assert (step.outcome, lookups.outcomes["late"]) == ("late", 1)
    id_, _ = await worker.question()
    await worker.answer(id_, "unknown")  # late as it is, it counts
    async with asyncio.timeout(LONG):
        while ANA not in lookups._unknown:
            await asyncio.sleep(0.001)
    assert (await silent(lookups, ANA)).outcome == "unknown"


async def test_callers_with_one_number_share_one_question(lookups: Lookups, worker: Worker) -> None:
    finding = [asyncio.create_task(lookups.find(ANA, LONG)) for _ in range(5)]
    late = await lookups.find(ANA, 0.01)
    id_, _ = await worker.question()
    await worker.answer(id_, "found")
    assert [step.outcome for step in await asyncio.gather(*finding)] == ["found"] * 5
    assert late.outcome == "late"
    assert not lookups._questions
    assert not lookups._numbers


async def test_other_numbers_are_other_questions(lookups: Lookups, worker: Worker) -> None:
    finding = [asyncio.create_task(lookups.find(number, LONG)) for number in (ANA, BEN)]
    questions = [await worker.question(), await worker.question()]
    assert [number for _, number in questions] == [ANA, BEN]
    for (id_, _), outcome in zip(reversed(questions), ("found", "unknown"), strict=True):
        await worker.answer(id_, outcome)
    assert [step.outcome for step in await asyncio.gather(*finding)] == ["unknown", "found"]


async def test_who_is_unknown_is_remembered_for_a_while(worker: Worker, lookups: Lookups) -> None:
    assert (await asked(lookups, worker, ANA, "unknown")).outcome == "unknown"
    step = await silent(lookups, ANA)
    assert step.outcome == "unknown"
    assert "short while ago" in step.detail
    assert lookups.outcomes["remembered"] == 1
    lookups._unknown[ANA] -= 900
    assert (await asked(lookups, worker, ANA, "found")).outcome == "found"
    assert not lookups._unknown


@pytest.mark.parametrize("outcome", ["found", "failed", "not_asked"])
async def test_nothing_else_is_remembered(lookups: Lookups, worker: Worker, outcome: str) -> None:
    for _ in range(2):
        assert (await asked(lookups, worker, ANA, outcome)).outcome == outcome


async def test_what_is_remembered_is_bounded(
    lookups: Lookups, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    for digit in range(4):
        await asked(lookups, worker, f"+4930231250{digit}", "unknown")
    assert list(lookups._unknown) == ["+49302312501", "+49302312502", "+49302312503"]


@pytest.mark.usefixtures("worker")
async def test_no_question_without_time(lookups: Lookups) -> None:
    for seconds in (0.0, -1.0):
        step = await silent(lookups, ANA, seconds)
        assert (step.outcome, "leaves no time" in step.detail) == ("not_asked", True)


async def test_no_question_while_the_worker_asks_nothing(lookups: Lookups, worker: Worker) -> None:
    await worker.open(lookups, "the budget is spent")
    assert await silent(lookups, ANA) == (
        "lookup", "not_asked", "the budget is spent", "",
    )  # fmt: skip
    await worker.open(lookups, "")
    assert (await asked(lookups, worker, ANA, "found")).outcome == "found"


async def test_no_question_while_the_worker_is_behind(lookups: Lookups, worker: Worker) -> None:
    lookups.pause(True)
    assert "behind" in (await silent(lookups, ANA)).detail
    lookups.pause(False)
    assert (await asked(lookups, worker, ANA, "found")).outcome == "found"


async def test_no_more_than_so_many_questions(
    lookups: Lookups, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPEN_QUESTIONS", 1)
    finding = asyncio.create_task(lookups.find(ANA, LONG))
    id_, _ = await worker.question()
    assert "too many" in (await silent(lookups, BEN)).detail
    await worker.answer(id_, "found")
    await finding
    assert (await asked(lookups, worker, BEN, "found")).outcome == "found"


async def test_a_worker_that_dies_is_waited_for_no_longer(lookups: Lookups, worker: Worker) -> None:
    finding = asyncio.create_task(lookups.find(ANA, LONG))
    await worker.question()
    worker.transport.abort()
    step = await asyncio.wait_for(finding, LONG)
    assert (step.outcome, step.detail) == ("not_asked", "the worker is away")
    assert (await lookups.find(BEN, LONG)).detail == "the worker is away"


async def test_a_new_worker_says_first_that_it_can_be_asked(lookups: Lookups) -> None:
    assert (await lookups.find(ANA, LONG)).detail == "the worker is away"
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(
        lambda: WorkerLink(Journal(Metrics()), lookups), sock=ours
    )
    assert "has not reached Salesforce" in (await lookups.find(ANA, LONG)).detail
    transport.close()
    theirs.close()


async def test_an_answer_to_nobody_is_ignored(lookups: Lookups, worker: Worker) -> None:
    await worker.answer(99, "found")
    assert (await asked(lookups, worker, ANA, "found")).outcome == "found"
    assert lookups.outcomes.total() == 1
