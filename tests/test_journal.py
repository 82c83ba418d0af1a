import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from agi_server.journal import Journal
from agi_server.link import WorkerLink
from agi_server.metrics import Metrics


@asynccontextmanager
async def connected(journal: Journal) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Be a worker: yield what the journal sends and a way to confirm."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: WorkerLink(journal), sock=ours)
    reader, writer = await asyncio.open_connection(sock=theirs)
    try:
        yield reader, writer
    finally:
        transport.close()
        writer.close()
        await writer.wait_closed()


def note(journal: Journal, uniqueid: str) -> None:
    journal.ended(
        call_id="", uniqueid=uniqueid, ended_at=1, disposition="answer", seconds=2, answered_by="100"
    )


async def sequence_of(reader: asyncio.StreamReader) -> tuple[int, str]:
    sequence, kind, record = orjson.loads(await asyncio.wait_for(reader.readline(), 5))
    assert kind == "ended"
    return sequence, record["uniqueid"]


@pytest.fixture
def journal() -> Journal:
    return Journal(Metrics(), limit=3)


async def test_what_is_written_arrives_in_order(journal: Journal) -> None:
    async with connected(journal) as (reader, _):
        note(journal, "a")
        note(journal, "b")
        assert [await sequence_of(reader), await sequence_of(reader)] == [(1, "a"), (2, "b")]


async def test_what_is_not_confirmed_is_sent_again_to_the_next_worker(journal: Journal) -> None:
    async with connected(journal) as (reader, writer):
        note(journal, "a")
        note(journal, "b")
        await sequence_of(reader)
        await sequence_of(reader)
        writer.write(b"1\n")
        await writer.drain()
        while journal.pending() != 1:
            await asyncio.sleep(0)
    note(journal, "c")
    async with connected(journal) as (reader, _):
        assert [await sequence_of(reader), await sequence_of(reader)] == [(2, "b"), (3, "c")]


async def test_everything_confirmed_is_drained(journal: Journal) -> None:
    assert await journal.drained(0)
    async with connected(journal) as (reader, writer):
        note(journal, "a")
        assert not await journal.drained(0)
        await sequence_of(reader)
        writer.write(b"1\n")
        assert await journal.drained(5)


async def test_without_a_worker_memory_is_bounded_and_drops_are_counted(journal: Journal) -> None:
    for name in "abcd":
        note(journal, name)
    assert journal.state() == "the worker is away; 3 records wait"
    async with connected(journal) as (reader, _):
        assert [(await sequence_of(reader))[1] for _ in range(3)] == ["a", "b", "c"]
        assert journal.state() == "ok"
