"""What one PBX told and the database does not have yet.

Invariant: what is here stays until it is written; a record that cannot be stored, whatever it is, keeps no other
waiting. Writes come soon and in small pieces, each a transaction's part of its own: other processes write, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn

import structlog

from agi_server.ami.kept import pack
from agi_server.ami.writing import Answered, Line, Notes, write_answer, write_end, write_notes
from agi_server.calls.directory import Directory
from agi_server.calls.record import Record
from agi_server.errors import DirectoryError
from agi_server.settings import Settings
from agi_server.tracking.tracker import Told
from storage.database import Database

GATHER: Final = 0.05  # seconds that what is told may gather before it is written
RETRY: Final = 1.0  # seconds until what could not be written is tried again
SETTLE: Final = 1.0  # seconds from the end of a call to its record: its decision may still be on the way
HEARD: Final = 5.0  # seconds between two notes that the PBX is there
AT_ONCE: Final = 100  # answers and records handed to the database; it makes short transactions of them
MOST: Final = 20_000  # records and answers; some 50 MB

log = structlog.get_logger()


class Unwritten:
    """`snapshot` gives the state of a conversation (None: it is over), `there` whether the PBX is."""

    def __init__(
        self,
        pbx: str,
        settings: Settings,
        database: Database,
        directory: Directory,
        *,
        snapshot: Callable[[str], Mapping[str, Any] | None],
        there: Callable[[], bool],
        tell: Callable[[object], Awaitable[None]],
    ) -> None:
        self.too_much = False  # until half of it is written
        self._pbx = pbx
        self._settings = settings
        self._database = database
        self._directory = directory
        self._snapshot = snapshot
        self._there = there
        self._tell = tell
        self._changed: set[str] = set()  # conversations, by linkedid
        self._ended: dict[str, tuple[float, Record]] = {}  # and from when on they may be put on record
        self._answered: list[Answered] = []
        self._states: dict[str, str] = {}
        self._all_states = False
        self._heard_at = float("-inf")  # time of the loop
        self._wake = asyncio.Event()

    def note(self, told: Told) -> None:
        """Take what happened to a conversation."""
        record = told.record
        self._changed.add(record.linkedid)
        if told.was:
            self._changed.add(told.was)
        if told.what == "ended":
            self._ended[record.linkedid] = (time.time() + SETTLE, record)
        elif record.ended_at is None:
            self._ended.pop(record.linkedid, None)  # somebody made up its end
        if told.what == "answered":
            leg = told.leg
            extension = (leg.extension if leg else "") or record.answered_by or record.agent
            at = (leg.answered_at if leg else None) or record.answered_at or time.time()
            self._answered.append(Answered(record, extension, at))
        self.too_much = self.too_much or self._count() > MOST
        self._wake.set()

    def ended_before(self, record: Record) -> None:
        """Take a record that was finished when this process was another."""
        self._ended[record.linkedid] = (0.0, record)
        self._wake.set()

    def state(self, extension: str, state: str) -> None:
        """Take what a phone does."""
        self._states[extension] = state
        self._wake.set()

    def all_states(self, states: Mapping[str, str]) -> None:
        """Take what all phones do: of others nothing is known any more."""
        self._states = dict(states)
        self._all_states = True
        self._heard_at = float("-inf")
        self._wake.set()

    def wake(self) -> None:
        """Look at once whether there is something to write."""
        self._wake.set()

    async def write_on(self) -> NoReturn:
        """Write what comes, for ever."""
        failed = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
            await asyncio.sleep(GATHER)
            self._wake.clear()
            try:
                await self.write()
            except DirectoryError as error:
                if not failed:
                    log.error("AMI: calls not written, trying again", pbx=self._pbx, error=str(error))
                failed = True
                await asyncio.sleep(RETRY)
                self._wake.set()
            else:
                failed = False

    async def write(self) -> None:
        """Write what there is. Raises DirectoryError; nothing is lost then."""
        await self._write_notes()
        await self._write_calls()
        self.too_much = self.too_much and self._count() > MOST // 2

    def _pause(self) -> float:
        """Return for how long there is nothing to write, unless something is told."""
        due = min((at for at, _ in self._ended.values()), default=float("inf"))
        return max(0.0, min(due - time.time(), HEARD))

    def _count(self) -> int:
        return len(self._ended) + len(self._answered)

    async def _write_notes(self) -> None:
        changed, self._changed = self._changed, set()
        states, self._states = self._states, {}
        whole, self._all_states = self._all_states, False
        now = asyncio.get_running_loop().time()
        heard = self._there() and (bool(changed) or now - self._heard_at >= HEARD)
        if not (changed or states or whole or heard):
            return
        live = {linkedid: self._state_of(linkedid) for linkedid in changed}
        notes = Notes(live=live, states=states, all_states=whole, heard=heard)
        try:
            await self._database.write(lambda conn: write_notes(conn, self._pbx, notes, int(time.time())))
        except BaseException:
            self._changed |= changed
            if not self._all_states:
                self._states = states | self._states
                self._all_states = whole
            raise
        if heard:
            self._heard_at = now

    def _state_of(self, linkedid: str) -> Mapping[str, Any] | None:
        if linkedid in self._ended:
            return {"ended": pack(self._ended[linkedid][1])}
        return self._snapshot(linkedid)

    async def _write_calls(self) -> None:
        now = time.time()
        answered = self._answered[:AT_ONCE]
        due = [entry for entry in self._ended.values() if entry[0] <= now][:AT_ONCE]
        outcomes = await asyncio.gather(
            *(self._write_answer(each) for each in answered),
            *(self._write_end(record) for _, record in due),
            return_exceptions=True,
        )
        failures = [outcome for outcome in outcomes if isinstance(outcome, DirectoryError)]
        again = []
        for each, outcome in zip(answered, outcomes, strict=False):
            if isinstance(outcome, DirectoryError):
                again.append(each)
            else:
                await self._done(outcome)
        self._answered[: len(answered)] = again
        for entry, outcome in zip(due, outcomes[len(answered) :], strict=True):
            if not isinstance(outcome, DirectoryError):
                linkedid = entry[1].linkedid
                if self._ended.get(linkedid) is entry:  # it may have come to life again meanwhile
                    del self._ended[linkedid]
                if isinstance(outcome, BaseException):
                    self._changed.add(linkedid)  # so that nobody tries again after a restart
                    self._wake.set()
                await self._done(outcome)
        if failures:
            raise failures[0]
        if len(due) == AT_ONCE or len(answered) == AT_ONCE:
            self._wake.set()

    async def _write_answer(self, answered: Answered) -> Line:
        return await self._database.write(lambda conn: write_answer(conn, answered, self._settings))

    async def _write_end(self, record: Record) -> Line:
        return await self._database.write(
            lambda conn: write_end(conn, record, self._settings, self._directory)
        )

    async def _done(self, outcome: Line | BaseException) -> None:
        if isinstance(outcome, BaseException):
            log.error("AMI: a call cannot be stored and is left out", pbx=self._pbx, exc_info=outcome)
        else:
            await self._tell(outcome)
