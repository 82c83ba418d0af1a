"""Who says what between the serving process and its worker, over a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agi_server.journal import Journal
from agi_server.link import ServerLink, WorkerLink
from agi_server.lookups import Lookups
from agi_server.metrics import Metrics


@pytest.fixture
async def ends() -> AsyncIterator[tuple[asyncio.Transport, ServerLink, WorkerLink, list[Any]]]:
    """Both ends, and what was told besides the journal."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    told: list[Any] = []
    link = WorkerLink(Journal(Metrics()), Lookups(forget=60), lambda *what: told.append(what))
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)
    worker = ServerLink(theirs)
    yield transport, worker, link, told
    transport.close()
    worker.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


async def test_what_the_worker_says_of_salesforce_is_told(ends: Any) -> None:
    _, worker, _, told = ends
    await worker.send(("salesforce", {"up": 1, "lookups": ""}))
    await worker.send(("salesforce", {"up": 0, "lookups": "no"}))
    await until(lambda: len(told) == 2)
    assert told == [("salesforce", {"up": 1, "lookups": ""}), ("salesforce", {"up": 0, "lookups": "no"})]


async def test_what_the_worker_says_of_calls_and_pbxs_is_told(ends: Any) -> None:
    _, worker, _, told = ends
    await worker.send(("pbx", {"pbx": {"up": 1}}))
    await worker.send(("call", "answered", {"call_id": "1"}))
    await until(lambda: len(told) == 2)
    assert told == [("pbx", {"pbx": {"up": 1}}), ("call.answered", {"call_id": "1"})]
    worker.close()
    await until(lambda: len(told) == 3)
    assert told[2] == ("pbx", {"pbx": {"up": 0, "error": "the worker is away"}})


async def test_orders_reach_the_worker_and_are_no_records(ends: Any) -> None:
    transport, worker, link, _ = ends
    link.ask("dial", {"id": "1"})
    link.ask("hang_up", {"id": "1"})
    transport.close()
    got = [message for messages in [each async for each in worker.messages()] for message in messages]
    assert got == [[0, "dial", {"id": "1"}], [0, "hang_up", {"id": "1"}]]


async def test_a_worker_that_is_gone_keeps_nothing_in_step(ends: Any) -> None:
    _, worker, _, told = ends
    await worker.send(("salesforce", {"up": 1, "ok_at": 7, "lookups": ""}))
    await until(lambda: told)
    worker.close()
    await until(lambda: len(told) == 2)
    assert told[1] == ("salesforce", {"up": 0, "ok_at": 7, "lookups": "", "error": "the worker is away"})


async def test_confirmations_and_other_lines_share_the_socket(ends: Any) -> None:
    _, worker, link, told = ends
    journal = link._journal
    for name in ("a", "b"):
        journal.ended(call_id="", uniqueid=name, ended_at=1, disposition="", seconds=0, answered_by="")
    for line in (1, ("salesforce", {"lookups": ""}), 2):
        await worker.send(line)
    await until(lambda: not journal.pending())
    assert told == [("salesforce", {"lookups": ""})]


async def test_a_line_in_pieces_is_one_line(ends: Any) -> None:
    _, _, link, told = ends
    for byte in b'["salesforce",{"lookups":""}]\n':
        link.data_received(bytes([byte]))
    assert told == [("salesforce", {"lookups": ""})]


async def test_lines_of_several_tasks_are_whole(ends: Any) -> None:
    """Far more than the socket holds, so that each has to wait in the middle of a line."""
    transport, worker, _, told = ends
    transport.pause_reading()
    texts = [str(digit) * 300_000 for digit in range(8)]
    sending = [asyncio.create_task(worker.send(("salesforce", {"lookups": text}))) for text in texts]
    await asyncio.sleep(0)
    transport.resume_reading()
    await asyncio.wait_for(asyncio.gather(*sending), 60)
    await until(lambda: len(told) == len(texts))
    assert [each["lookups"] for _, each in told] == texts


async def test_the_worker_reads_to_the_end(ends: Any) -> None:
    transport, worker, _, _ = ends
    transport.write(b'[1,"a",{}]\n[2,"b",{}]\n')
    transport.close()
    got = [message for messages in [each async for each in worker.messages()] for message in messages]
    assert got == [[1, "a", {}], [2, "b", {}]]


async def test_nobody_there_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    worker = ServerLink(theirs)
    await worker.send(1)
    ours.close()  # with a line unread: the worker is told of a reset
    await worker.send(2)
    assert [each async for each in worker.messages()] == []
    worker.close()
