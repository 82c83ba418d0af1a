"""Everything that happens passes here once, and everyone who listens gets it.

Invariant: publishing never waits. Who listens too slowly loses the oldest events, which are counted; memory is bounded
by the sizes of the queues.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from agi_server.events.event import Event, EventType
from agi_server.events.memory import Memory
from agi_server.events.screen import Desk

KEPT = 500  # events for who comes back after a break
UNWRITTEN = 5.0  # seconds by which the database may be behind what was told


class Subscription:
    """One listener's queue; `dropped` counts what it was too slow for, `on_drop` is called each time."""

    def __init__(self, most: int, on_drop: Callable[[], object] | None = None) -> None:
        self._events: deque[Event] = deque()
        self._most = most
        self._on_drop = on_drop
        self._there = asyncio.Event()
        self.dropped = 0

    def put(self, event: Event) -> None:
        """Append an event; the oldest gives way where there is no room."""
        if len(self._events) >= self._most:
            self._events.popleft()
            self.dropped += 1
            if self._on_drop is not None:
                self._on_drop()
        self._events.append(event)
        self._there.set()

    async def next(self) -> Event:
        """Return the oldest event, once there is one; it is no longer in the queue."""
        while not self._events:
            self._there.clear()
            await self._there.wait()
        return self._events.popleft()

    def __len__(self) -> int:
        return len(self._events)


class Hub:
    """Lives on the event loop of the front process; `calls` is what is known of calls in progress, `desk` of agents.

    `remind` says whether agents are told of missed calls (events/changes.py keeps it in step with the setting).
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.calls = Memory()
        self.desk = Desk()
        self.remind = True
        self._clock = clock
        self._last = int(clock() * 1000)  # ids go on growing after a restart
        self._listeners: set[Subscription] = set()
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self.closed = asyncio.Event()

    def close(self) -> None:
        """Have streams that never end by themselves end now."""
        self.closed.set()

    def publish(self, type_: EventType, data: dict[str, Any], *, extension: str = "") -> Event:
        """Give an event to everyone who listens."""
        self._last += 1
        event = Event(self._last, type_, self._clock(), data, extension)
        self._kept.append(event)
        for listener in self._listeners:
            listener.put(event)
        return event

    @property
    def last(self) -> int:
        """Return the id of the newest event."""
        return self._last

    def unread(self) -> int:
        """Return the id behind which a reader of the database has to go on listening: what follows may not be in it."""
        at = self._clock() - UNWRITTEN
        return next((event.id - 1 for event in self._kept if event.at >= at), self._last)

    def since(self, last: int) -> list[Event]:
        """Return what is still known of events after the one with this id."""
        return [event for event in self._kept if event.id > last]

    @contextlib.contextmanager
    def listen(
        self, most: int, *, since: int | None = None, on_drop: Callable[[], object] | None = None
    ) -> Iterator[Subscription]:
        """Listen until the context is left, from the event behind `since` on where it is still known.

        The queue holds `most` events; `on_drop` is called for each that has to give way.
        """
        listener = Subscription(most, on_drop)
        for event in self.since(since) if since is not None else ():
            listener.put(event)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
