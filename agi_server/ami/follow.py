"""All PBXs there are: their calls into the journal, their phones' states to routing, orders to dial to them.

Invariant: `run` never returns or raises; each PBX is followed as if it were the only one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn

import structlog

from agi_server.ami.connection import Connection, pbxs
from agi_server.ami.originate import Dialler
from agi_server.ami.watch import Watch
from agi_server.calls.extensions import own_extension
from agi_server.settings import Pbx, Settings
from storage.database import Database
from storage.directory import SqliteDirectory

REPORT: Final = 5.0  # seconds between two reports at least, unless a PBX comes or goes
AGENTS: Final = 2.0  # seconds between two looks at the list of agents

log = structlog.get_logger()


class Follower:
    """Runs on the worker's event loop; `tell` sends a line to the serving process."""

    def __init__(
        self, settings: Settings, database: Database, tell: Callable[[object], Awaitable[None]]
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._directory = SqliteDirectory(database.path, settings)
        self._policy = self._directory.policy()
        self._policy_at = time.monotonic()
        self._changed = asyncio.Event()
        connections: dict[str, Connection] = {}
        self._dialler = Dialler(
            settings.dialling, settings.ami.technology, database, connections=connections, tell=tell
        )
        self._watches = [
            Watch(
                pbx,
                settings,
                database,
                self._directory,
                ours=self._extension,
                dialler=self._dialler,
                tell=tell,
                changed=self._changed.set,
            )
            for pbx in _with_names_of_their_own(settings)
        ]
        connections |= {watch.name: watch.connection for watch in self._watches}

    async def run(self) -> None:
        """Go on for ever."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for watch in self._watches:
                    tasks.create_task(watch.run())
                tasks.create_task(self._dialler.run())
                tasks.create_task(self._report())
        finally:
            self._directory.close()

    def asked(self, kind: str, content: Mapping[str, Any]) -> None:
        """Take an order: `dial` {id, agent, number, shown, name} or `hang_up` {id}."""
        self._dialler.asked(kind, content)

    async def _report(self) -> NoReturn:
        last: dict[str, Any] = {}
        while True:
            states = {watch.name: watch.report() for watch in self._watches}
            if states != last:
                await self._tell(("pbx", states))
                last = states
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORT):
                    await self._changed.wait()
            self._changed.clear()

    def _extension(self, endpoint: str) -> str:
        """Return the extension whose phone an endpoint is, '' for a trunk."""
        now = time.monotonic()
        if now - self._policy_at > AGENTS:
            self._policy = self._directory.policy()
            self._policy_at = now
        return own_extension(
            endpoint, self._policy.by_extension, self._policy.own_extensions, self._settings.ami.trunks
        )


def _with_names_of_their_own(settings: Settings) -> list[Pbx]:
    """Return the PBXs there are; of two with one name the first, for `ostiary check` says so, and calls go on."""
    found: dict[str, Pbx] = {}
    for pbx in pbxs(settings):
        if found.setdefault(pbx.name, pbx) is not pbx:
            log.error("AMI: two PBXs have one name; this one is not followed", pbx=pbx.name, host=pbx.host)
    return list(found.values())
