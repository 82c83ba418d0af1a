"""One PBX: its conversations and its phones, followed for as long as the worker lives.

Invariant: what is known is on disk soon (a snapshot of each conversation that goes on, the finished record of each that
is over), so that neither a break of the connection nor the end of this process loses a call or makes one up; memory is
bounded, for a PBX is left alone while what it told cannot be written; nothing ends `run`, and no other PBX waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

import structlog

from agi_server.ami.connection import Connection
from agi_server.ami.kept import unpack
from agi_server.ami.originate import Dialler
from agi_server.ami.states import States
from agi_server.ami.unwritten import Unwritten
from agi_server.calls.directory import Directory
from agi_server.errors import DirectoryError, PbxDown, PbxRefusal
from agi_server.settings import Pbx, Settings
from agi_server.tracking.tracker import Told, Tracker
from storage import agent_states, live_calls
from storage.database import Database

SILENT: Final = 15.0  # seconds without a word after which a PBX is not there
CLOSER_LOOK: Final = 5.0  # seconds from an oddity until we ask which channels there are,
LOOK: Final = 600.0  # and without one

_FULL: Final = "what it told before cannot be written"
_MOST_FAULTS: Final = 100

log = structlog.get_logger()


class Watch:
    """`tell` sends a line to the serving process, `ours` gives the extension of an endpoint of ours."""

    def __init__(
        self,
        pbx: Pbx,
        settings: Settings,
        database: Database,
        directory: Directory,
        *,
        ours: Callable[[str], str],
        dialler: Dialler,
        tell: Callable[[object], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self.name = pbx.name
        self.connection = Connection(pbx, hear=self._hear, odd=self._odd)
        self.tracker = Tracker(pbx.name, ours)
        self.states = States(ours, settings.ami.technology)
        self.events = 0
        self.unwritten = Unwritten(
            pbx.name,
            settings,
            database,
            directory,
            snapshot=self.tracker.snapshot,
            there=self._there,
            tell=tell,
        )
        self._database = database
        self._dialler = dialler
        self._went = changed
        self._restored = False
        self._heard_before: float | None = None  # by the process before this one, seconds since 1970
        self._looked_at = 0.0  # time of the loop
        self._oddities = 0  # when we last looked
        self._looks = 0  # that are still to come
        self._faults: set[str] = set()  # that the log knows of

    async def run(self) -> None:
        """Go on for ever."""
        others = (asyncio.create_task(self.unwritten.write_on()), asyncio.create_task(self._look_on()))
        try:
            await self.connection.keep(self._begin, self._moved)
        finally:
            for task in others:
                task.cancel()
            await asyncio.wait(others)
            with contextlib.suppress(DirectoryError):
                await self.unwritten.write()

    def report(self) -> dict[str, Any]:
        """Return how it stands, for the serving process."""
        return {
            "up": int(self.connection.up),
            "error": self.connection.error,
            "since": self.connection.since,
            "calls": len(self.tracker),
            "oddities": dict(self.tracker.oddities),
            "events": self.events,
        }

    async def _begin(self) -> None:
        """Learn how things stand, after each log-in.

        The channels are asked for first and looked at last: of what began or ended since the log-in, events tell more,
        and by then they are here.
        """
        if self.unwritten.too_much:
            raise PbxDown(_FULL)
        await self._restore()
        heard_at = self.connection.heard_at or self._heard_before or time.time()
        with self.connection.holding() as held:
            channels, at = await self._channels(), time.time()
            self.states.begin()
            for action in ("DeviceStateList", "ExtensionStateList", "QueueStatus"):
                with contextlib.suppress(PbxRefusal):  # a module that is not loaded, or a right we have not
                    for item in await self.connection.listing({"Action": action}, whole=False):
                        self.states.event(item)
            self.unwritten.all_states(self.states.known)
            coming = [event for event, _ in held]
            self._note(self._safely(lambda: self.tracker.resync(channels, at, heard_at, coming)))
        await self._dialler.resynced(self.name, channels)

    def _moved(self) -> None:
        """Take it that the PBX came or went; only when it is noted as there do its phones' states count."""
        self.unwritten.wake()
        self._went()

    async def _channels(self) -> list[dict[str, str]]:
        """Ask which channels there are."""
        self._oddities = sum(self.tracker.oddities.values())
        self._looked_at = asyncio.get_running_loop().time()
        return await self.connection.listing({"Action": "CoreShowChannels"})

    async def _look(self) -> None:
        """Compare what is known with the channels that there are."""
        with self.connection.holding():
            channels = await self._channels()
            self._note(self._safely(lambda: self.tracker.resync(channels, time.time())))

    async def _restore(self) -> None:
        """Take up what was kept when this process, or the one before, was last alive."""
        if self._restored:
            return
        live = []
        for state in await self._database.read(lambda conn: live_calls.kept(conn, self.name)):
            if "ended" not in state:
                live.append(state)
                continue
            try:
                self.unwritten.ended_before(unpack(state["ended"]))
            except (KeyError, TypeError, ValueError) as error:
                log.error("AMI: a kept record cannot be read", pbx=self.name, error=repr(error))
        self._heard_before = await self._database.read(lambda conn: agent_states.last_heard(conn, self.name))
        self.tracker.restore(live)
        self._restored = True

    def _hear(self, event: Mapping[str, str], at: float) -> None:
        self.events += 1
        self._note(self._safely(lambda: self.tracker.event(event, at)))
        self._dialler.event(self.name, event)
        if extension := self.states.event(event):
            self.unwritten.state(extension, self.states.known[extension])

    def _odd(self, what: str) -> None:
        self.tracker.odd(what)

    def _safely(self, ask: Callable[[], list[Told]]) -> list[Told]:
        """Return what the tracker tells; a fault of its own must not end the connection."""
        try:
            return ask()
        except Exception as error:
            kind = repr(error)[:200]
            if kind not in self._faults and len(self._faults) < _MOST_FAULTS:
                self._faults.add(kind)
                log.exception("AMI: an event could not be followed", pbx=self.name)
            self.tracker.odd("fault")
            return []

    def _note(self, news: Iterable[Told]) -> None:
        for told in news:
            self.unwritten.note(told)
        if self.unwritten.too_much:
            self.connection.drop(_FULL)

    def _there(self) -> bool:
        return self.connection.up and self.connection.silence < SILENT

    async def _look_on(self) -> NoReturn:
        """Look which channels there are when something was odd: a call whose end was made unreadable must end.

        Twice, for a list may be ahead of the events: what two in a row have is so.
        """
        while True:
            await asyncio.sleep(CLOSER_LOOK)
            overdue = asyncio.get_running_loop().time() - self._looked_at > LOOK
            if overdue or sum(self.tracker.oddities.values()) != self._oddities:
                self._looks = 2
            if self._looks and self.connection.up and len(self.tracker):
                self._looks -= 1
                with contextlib.suppress(PbxDown, PbxRefusal):  # then it looks again when it is back
                    await self._look()
