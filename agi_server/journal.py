"""What happened on the call path, on its way to the worker.

Invariant: a record leaves this process's memory only when the worker says that it is committed. The worker may be
away for a while or die half-way: what it has not confirmed is sent again, and it ignores what it has seen. What
the socket has taken survives the death of this process, for the worker reads on to the end; the socket has a record
at once, or where calls come thick within GATHER seconds.

On the wire (see link.py): one JSON array a line, `[sequence, kind, {…}]`; back come lines `sequence`, meaning all up
to here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import orjson

from agi_server.calls.call import Decision

if TYPE_CHECKING:
    from agi_server.metrics import Metrics

GATHER = 0.005  # seconds between two writes to the socket at least: on busy days one carries several calls
LIMIT = 100_000  # records kept for a worker that is away; some 50 MB


WentOn = Callable[[str, Mapping[str, object]], None]


def record_of(decision: Decision) -> dict[str, object]:
    """Return what the journal keeps of a call as it was decided; `started_at` is missing."""
    call = decision.call
    number = decision.number
    return {
        "id": call.id,
        "uniqueid": call.uniqueid,
        "direction": call.direction,
        "number": number.e164 or None,
        "number_text": call.number,
        "name": decision.display_name or call.name,
        "did": call.did,
        "trunk": call.trunk,
        "contact_id": decision.contact.id if decision.contact else None,
        "rung": decision.rung,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "rule_id": decision.rule.id if decision.rule else None,
        "routed_to": decision.agent.extension if decision.agent else "",
        "trace": decision.trace,
    }


class Journal:
    """The sending side, on the event loop of the call path. Writing never waits and never fails.

    Nothing is kept where `keep` is false; `went_on` hears of every call that was answered or ended all the same.
    """

    def __init__(
        self, metrics: Metrics, *, limit: int = LIMIT, keep: bool = True, went_on: WentOn | None = None
    ) -> None:
        self._metrics = metrics
        self._limit = limit
        self._keep = keep
        self._went_on = went_on
        self._sequence = 0
        self._pending: deque[tuple[int, bytes]] = deque()  # not yet confirmed, oldest first
        self._unsent: list[bytes] = []  # of those, not yet handed to the socket
        self._link: asyncio.Transport | None = None
        self._paused = False
        self._flush_due = False
        self._flushed_at = 0.0  # time of the loop
        self._idle = asyncio.Event()
        self._idle.set()

    def decided(self, decision: Decision, now: float) -> None:
        """Record one call as it was decided."""
        if self._keep:
            self.recorded(record_of(decision), now)

    def recorded(self, record: Mapping[str, object], now: float) -> None:
        """Record one call as another process decided it (`record_of`)."""
        if self._keep:
            self._write("call", {**record, "started_at": int(now)})

    def answered(self, *, call_id: str, uniqueid: str, at: int, extension: str) -> None:
        """Record who answered a call, while it goes on."""
        self._call_went_on(
            "answered", {"call_id": call_id, "uniqueid": uniqueid, "at": at, "extension": extension}
        )

    def ended(
        self, *, call_id: str, uniqueid: str, ended_at: int, disposition: str, seconds: int, answered_by: str
    ) -> None:
        """Record how a call went."""
        self._call_went_on(
            "ended",
            {
                "call_id": call_id,
                "uniqueid": uniqueid,
                "ended_at": ended_at,
                "disposition": disposition,
                "seconds": seconds,
                "answered_by": answered_by,
            },
        )

    def chatted(self, chat: Mapping[str, object]) -> None:
        """Tell of a chat that began or went on (chatting.py: event_of); it is kept elsewhere."""
        if self._went_on is not None:
            self._went_on("chat", chat)

    def pending(self) -> int:
        """Return how many records are not confirmed yet."""
        return len(self._pending)

    def state(self) -> str:
        """Return `ok`, or what is wrong, for the readiness page."""
        if self._link is not None:
            return "ok"
        return f"the worker is away; {len(self._pending)} records wait"

    async def drained(self, seconds: float) -> bool:
        """Wait until everything is confirmed; return whether it was within `seconds`."""
        if self._idle.is_set():
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def connected(self, link: asyncio.Transport) -> None:
        """A worker is there: send it all that no worker has confirmed."""
        self._link = link
        self._paused = False
        self._unsent = [line for _, line in self._pending]
        self._flush()

    def disconnected(self) -> None:
        """The worker is gone: keep what it has not confirmed."""
        self._link = None

    def pause(self, paused: bool) -> None:
        """Stop or go on: the socket is full, or no longer so."""
        self._paused = paused
        if not paused:
            self._flush()

    def confirmed(self, sequence: int) -> None:
        """Forget everything up to `sequence`: it is on disk."""
        pending = self._pending
        while pending and pending[0][0] <= sequence:
            pending.popleft()
            self._metrics.journal_written()
        if not pending:
            self._idle.set()

    def _call_went_on(self, kind: str, record: Mapping[str, object]) -> None:
        if self._went_on is not None:
            self._went_on(kind, record)
        if self._keep:
            self._write(kind, record)

    def _write(self, kind: str, record: Mapping[str, object]) -> None:
        if len(self._pending) >= self._limit:
            self._metrics.journal_dropped()
            return
        self._sequence += 1
        line = orjson.dumps((self._sequence, kind, record), default=list, option=orjson.OPT_APPEND_NEWLINE)
        self._pending.append((self._sequence, line))
        self._unsent.append(line)
        self._idle.clear()
        if not self._flush_due:
            self._flush_due = True
            loop = asyncio.get_running_loop()
            wait = self._flushed_at + GATHER - loop.time()
            if wait > 0:
                loop.call_later(wait, self._flush)
            else:
                loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._link is None or self._paused or not self._unsent:
            return
        self._flushed_at = asyncio.get_running_loop().time()
        self._link.write(b"".join(self._unsent))
        self._unsent.clear()
