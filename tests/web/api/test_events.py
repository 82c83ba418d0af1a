"""The stream of events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.events.event import Event, EventType
from agi_server.web.access import Scope
from agi_server.web.api import events
from storage.tokens import list_tokens, remove_token
from tests.web.front import Front

WITHIN = 30.0  # seconds; nothing here takes long


class Told(NamedTuple):
    """One event as a browser sees it."""

    type: str
    id: str
    data: Any


class Reader:
    """One who listens: takes what the application sends, unless `reads` is cleared."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.reads = asyncio.Event()
        self.reads.set()
        self.over = asyncio.Event()
        self._text = ""
        self._more = asyncio.Event()

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self._text += message.get("body", b"").decode("ascii")
            if not message.get("more_body"):
                self.over.set()
        self._more.set()
        await self.reads.wait()

    async def block(self) -> str:
        """Return the next block of lines, without the empty line behind it."""
        async with asyncio.timeout(WITHIN):
            while "\n\n" not in self._text:
                self._more.clear()
                await self._more.wait()
        block, _, self._text = self._text.partition("\n\n")
        return block

    async def next(self) -> Told:
        """Return the next event."""
        fields = dict(line.split(": ", 1) for line in (await self.block()).split("\n"))
        return Told(fields["event"], fields.get("id", ""), json.loads(fields["data"]))

    async def until_over(self) -> None:
        async with asyncio.timeout(WITHIN):
            await self.over.wait()


@asynccontextmanager
async def listening(
    front: Front, query: str = "", *, token: str | None = None, last: int | None = None
) -> AsyncIterator[Reader]:
    """Listen, as a client that goes away when the context is left."""
    secret = token or await front.token(Scope.READ)
    headers = [(b"host", b"127.0.0.1:8080"), (b"authorization", f"Bearer {secret}".encode())]
    if last is not None:
        headers.append((b"last-event-id", str(last).encode()))
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/api/v1/events", "raw_path": b"/api/v1/events", "root_path": "",
        "query_string": query.encode(), "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8080),
    }  # fmt: skip
    reader, gone = Reader(), asyncio.Event()
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if requests:
            return requests.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    task = asyncio.create_task(front.app(scope, receive, reader.send))
    try:
        yield reader
    finally:
        gone.set()
        reader.reads.set()
        async with asyncio.timeout(WITHIN):
            await task


async def begun(reader: Reader) -> Reader:
    place, retry = (await reader.block()).split("\n")
    assert place.startswith("id: ")
    assert retry == "retry: 3000"
    return reader


def publish(front: Front, type_: EventType = EventType.BLACKLIST, extension: str = "", **data: Any) -> Event:
    return front.services.events.publish(type_, data, extension=extension)


def streams(front: Front) -> float:
    return events.listening(front.services.counts)


def lost(front: Front) -> float:
    return front.services.counts.dropped.labels(to="stream")._value.get()  # type: ignore[no-any-return]


async def test_what_happens_is_told_as_it_happens(front: Front) -> None:
    async with listening(front) as reader:
        await begun(reader)
        assert (reader.status, reader.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert reader.headers["cache-control"] == "no-store"
        name = "<b>\u2028\r\ndata: x\u202e\x85\"'é"
        event = publish(front, EventType.RINGING, name=name)
        told = await reader.next()
        assert told == Told("call.ringing", str(event.id), event.document())
        assert told.data["data"]["name"] == name
        assert streams(front) == 1
    assert streams(front) == 0


async def test_types_and_extensions_may_be_chosen(front: Front) -> None:
    async with (
        listening(front, "types=call.*,blacklist.changed") as calls,
        listening(front, "extension=101") as mine,
        listening(front, "extension=101&types=screen.pop") as pops,
    ):
        for reader in (calls, mine, pops):
            await begun(reader)
        publish(front, EventType.DECISION)
        publish(front, EventType.MISSED, "101", n=1)
        publish(front, EventType.SCREEN_POP, "102", n=2)
        publish(front, EventType.SCREEN_POP, "101", n=3)
        publish(front, EventType.ENDED, n=4)
        publish(front, EventType.BLACKLIST, n=5)
        assert [(await calls.next()).data["data"]["n"] for _ in range(2)] == [4, 5]
        assert [(await mine.next()).data["data"]["n"] for _ in range(2)] == [1, 3]
        assert (await pops.next()).data["data"]["n"] == 3


@pytest.mark.parametrize(
    "query", ["types=nonsense", "types=call", "types=call.*,", "types=", "extension=a%20b"]
)
async def test_what_cannot_be_chosen(front: Front, query: str) -> None:
    client = await front.client(Scope.READ)
    answer = await client.get(f"/api/v1/events?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


async def test_who_comes_back_goes_on_where_they_were(front: Front) -> None:
    first, *others = [publish(front, n=n) for n in range(3)]
    async with listening(front, last=first.id) as reader:
        await begun(reader)
        assert [(await reader.next()).id for _ in others] == [str(event.id) for event in others]
        event = publish(front)
        assert (await reader.next()).id == str(event.id)


async def test_who_comes_back_before_anything_happened_misses_nothing(front: Front) -> None:
    publish(front)
    async with listening(front) as reader:
        place = (await reader.block()).split("\n")[0].removeprefix("id: ")
    event = publish(front)
    async with listening(front, last=int(place)) as reader:
        await begun(reader)
        assert (await reader.next()).id == str(event.id)


async def test_a_page_goes_on_behind_what_its_reading_may_not_have_had(front: Front) -> None:
    quiet = front.services.events.unread()
    async with listening(front, f"since={quiet}") as reader:
        await begun(reader)  # and no gap: nothing was told so far
        event = publish(front)
        assert (await reader.next()).id == str(event.id)
    async with listening(front, f"since={front.services.events.unread()}") as reader:
        await begun(reader)
        assert (await reader.next()).id == str(event.id), "it may not be written yet"


async def test_a_place_of_an_earlier_run_is_a_gap(front: Front) -> None:
    async with listening(front, f"since={front.services.events.last - 1}") as reader:
        await begun(reader)
        assert await reader.next() == Told("gap", "", {"dropped": None})


async def test_who_comes_back_too_late_is_told(front: Front) -> None:
    forgotten = publish(front)
    for _ in range(600):
        publish(front)
    for last in (forgotten.id, 5):
        async with listening(front, last=last) as reader:
            await begun(reader)
            assert await reader.next() == Told("gap", "", {"dropped": None})
            assert int((await reader.next()).id) > forgotten.id


async def test_who_reads_too_slowly_loses_the_oldest_and_is_told(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "QUEUE", 3)
    async with listening(front) as reader:
        await begun(reader)
        reader.reads.clear()
        stuck = publish(front, n=0)
        assert (await reader.next()).id == str(stuck.id)  # sent, and the sending does not end
        for n in range(1, 9):
            publish(front, n=n)
        reader.reads.set()
        assert await reader.next() == Told("gap", "", {"dropped": 5})
        assert [(await reader.next()).data["data"]["n"] for _ in range(3)] == [6, 7, 8]
    assert lost(front) == 5


async def test_silence_is_broken(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BEAT", 0.01)
    async with listening(front) as reader:
        await begun(reader)
        assert [await reader.block() for _ in range(2)] == [":", ":"]


async def test_silence_is_broken_where_others_are_told_much(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BEAT", 0.05)
    async with listening(front, "extension=101") as reader:
        await begun(reader)
        busy = asyncio.create_task(_talk(front))
        assert await reader.block() == ":"
        busy.cancel()


async def _talk(front: Front) -> None:
    while True:
        publish(front)
        await asyncio.sleep(0.001)


async def test_a_stream_ends_with_its_token(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "CHECK", 0.0)
    token = await front.token(Scope.READ)
    async with listening(front, token=token) as reader:
        await begun(reader)
        publish(front)
        await reader.next()
        (row,) = await front.database.read(list_tokens)
        await front.database.write(
            lambda conn: remove_token(conn, row.id, who="test", now=int(front.clock()))
        )
        front.clock.ahead += 60  # who was known a moment ago is not asked for again at once
        publish(front)
        await reader.until_over()
    assert streams(front) == 0


async def test_streams_end_when_the_hub_closes(front: Front) -> None:
    async with listening(front) as reader:
        await begun(reader)
        front.services.events.close()
        await reader.until_over()


async def test_so_many_listen_at_once_and_no_more(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST", 2)
    async with listening(front) as first, listening(front) as second:
        await begun(first)
        await begun(second)
        async with listening(front) as third:
            await third.until_over()
            assert (third.status, third.headers["retry-after"]) == (503, "30")
            assert third.headers["content-type"] == "application/problem+json"
        publish(front)
        await first.next()
    async with listening(front) as third:
        await begun(third)


async def test_it_needs_the_right_to_read(front: Front) -> None:
    assert (await (await front.client(Scope.DECIDE)).get("/api/v1/events")).status_code == 403
    assert (await (await front.client()).get("/api/v1/events")).status_code == 401


@settings(max_examples=100)
@given(text=st.text(st.characters()), number=st.integers(0, 10**15))
def test_no_text_breaks_a_line(text: str, number: int) -> None:
    event = Event(number, EventType.DECISION, 1.5, {"name": text, text: [text]}, "101")
    lines = events.frame(event).decode("ascii").splitlines()
    assert lines[:2] == ["event: decision", f"id: {number}"]
    assert json.loads(lines[2].removeprefix("data: ")) == event.document()
    assert lines[3:] == [""]
