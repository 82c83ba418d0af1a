"""A directory, an org over HTTP, and what brings the one in step with the other."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from agi_server.salesforce.client import Client
from agi_server.salesforce.outcome import ObjectOutcome, Outcome
from agi_server.salesforce.sync import synchronise
from agi_server.settings import Settings
from storage.database import Database
from storage.migrate import migrate
from tests.org.records import Org
from tests.org.server import OrgServer, running
from tests.salesforce.truth import assert_same

_EMPTY: list[bytes] = []  # a migrated database, once there is one


class Clock:
    """The time of the org and of the directory; it stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, **time: float) -> None:
        """Go on by so many `minutes`, `days`, …"""
        self.moment += timedelta(**time)


class Sync:
    """Synchronises a directory of its own with the org; `settings` may be changed at any time."""

    def __init__(self, server: OrgServer, database: Database, directory: Path, clock: Clock) -> None:
        self.server = server
        self.org: Org = server.org
        self.database = database
        self.clock = clock
        self.directory = directory
        self.settings, self.client = self._opened()

    def configure(self, *, region: str = "DE", **section: Any) -> None:
        """Set keys of section [salesforce]; as in a new process, nothing was asked yet."""
        self.client.close()
        self.settings, self.client = self._opened(region, section)

    def _opened(
        self, region: str = "DE", section: Mapping[str, Any] | None = None
    ) -> tuple[Settings, Client]:
        values = {**self.server.settings(), **(section or {})}
        settings = Settings.model_validate({"salesforce": values, "numbers": {"region": region}})
        return settings, Client(settings.salesforce, self.directory)

    async def run(self, **options: Any) -> Outcome:
        """Do a round."""
        return await synchronise(
            self.database, self.client, self.settings, now=lambda: self.clock().timestamp(), **options
        )

    async def in_step(self, **options: Any) -> Outcome:
        """Do a round; afterwards the directory says what the org says."""
        outcome = await self.run(**options)
        assert outcome.errors == []
        self.check()
        return outcome

    def check(self) -> None:
        """Compare the directory with the org."""
        assert_same(self.database.path, self.org, self.settings)

    def check_here(self, salesforce_ids: Iterable[str]) -> None:
        """Fail unless all these records are in the directory."""
        here = {row[0] for row in self.rows("SELECT salesforce_id FROM contacts")}
        assert set(salesforce_ids) <= here

    def rows(self, query: str, *values: object) -> list[Any]:
        """Run SQL past all of the code under test."""
        with closing(sqlite3.connect(self.database.path)) as connection:
            found = connection.execute(query, values).fetchall()
            connection.commit()
            return found

    def one(self, query: str, *values: object) -> Any:
        """Return the only value of the only row."""
        [[value]] = self.rows(query, *values)
        return value

    def id_of(self, salesforce_id: str) -> int:
        """Return the local id of a record."""
        return int(self.one("SELECT id FROM contacts WHERE salesforce_id = ?", salesforce_id))

    def requests(self, pattern: str) -> int:
        """Return how many requests so far had `METHOD target` like this."""
        return sum(
            1
            for method, target, _ in self.server.requests
            if re.search(pattern, f"{method} {unquote_plus(target)}")
        )

    def dump(self) -> list[str]:
        """Return the whole database as SQL."""
        with closing(sqlite3.connect(self.database.path)) as connection:
            return list(connection.iterdump())


@asynccontextmanager
async def syncing(directory: Path, *, person_accounts: bool = False) -> AsyncIterator[Sync]:
    """Give an empty directory and an empty org; afterwards the stand-in must have made no mistake."""
    path = directory / "ostiary.db"
    url = f"sqlite+aiosqlite:///{path}"
    if not _EMPTY:
        await migrate(url)
        _EMPTY.append(path.read_bytes())
    path.write_bytes(_EMPTY[0])
    clock = Clock()
    with closing(Org(person_accounts=person_accounts, now=clock)) as org, running(org) as server:
        database = await Database.open(url)
        made = Sync(server, database, directory, clock)
        try:
            yield made
        finally:
            made.client.close()
            await database.close()
        assert server.mistakes == []


def part(outcome: Outcome, sobject: str) -> ObjectOutcome:
    """Return what became of one object."""
    [found] = [each for each in outcome.objects if each.sobject == sobject]
    return found
