"""How fast calls become Tasks: the outbox, full of calls, delivered to the stand-in, a process of its own."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Agent
from agi_server.calls.record import Disposition, Leg, LegOutcome, Record, Way
from agi_server.salesforce.client import Client
from agi_server.salesforce.outbox import deliver
from agi_server.salesforce.sync import synchronise
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from storage.agents import put_agent
from storage.database import Database
from storage.migrate import migrate
from storage.records import tell

CONTACTS, ACCOUNTS, AGENTS = 500, 100, 50  # the stand-in has a User for each of these agents
AT_ONCE = 100  # calls stored in one job
LATER = 10  # seconds after the calls, when all of them are due


def measure(directory: Path, *, tasks: int) -> float:
    """Return Tasks a second: from the outbox until their ids are noted on disk."""
    directory.mkdir(parents=True, exist_ok=True)
    with _org() as reached:
        settings = Settings.model_validate(
            {"storage": {"state_directory": directory}, "salesforce": reached, "tasks": {"follow_up": False}}
        )
        return asyncio.run(_measure(settings, tasks))


@contextmanager
def _org() -> Iterator[Mapping[str, Any]]:
    command = [sys.executable, "-m", "tests.bench.org", str(CONTACTS), str(ACCOUNTS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as org:
        assert org.stdin is not None
        assert org.stdout is not None
        try:
            yield json.loads(org.stdout.readline())["settings"]
        finally:
            org.stdin.close()


async def _measure(settings: Settings, count: int) -> float:
    await migrate(storage_url(settings))
    database = await Database.open(storage_url(settings))
    try:
        with Client(settings.salesforce, settings.storage.state_directory) as client:
            outcome = await synchronise(database, client, settings)
            assert not outcome.errors, outcome.errors
            now = int(time.time())
            contacts = await _fill(database, settings, count, now)
            started = time.perf_counter()
            delivered = await deliver(database, client, settings, now=lambda: now + LATER)
            seconds = time.perf_counter() - started
            assert delivered.sent == count, delivered
            found = sum(len(page) for page in client.query("SELECT Id FROM Task WHERE TaskSubtype = 'Call'"))
            assert found == count, found
            assert contacts
    finally:
        await database.close()
    return count / seconds


async def _fill(database: Database, settings: Settings, count: int, now: int) -> int:
    """Put agents and calls on record; return how many contacts they are shared among."""
    for place in range(AGENTS):
        agent = Agent(
            id=0, name=f"Agent {place}", extension=str(100 + place), email=f"agent{place}@example.com"
        )
        await database.write(lambda conn, agent=agent: put_agent(conn, agent, who="bench", now=now))  # type: ignore[misc]
    contacts = await database.read(_contacts)
    chance = random.Random(1)  # the same calls each time
    records = [_record(place, chance, now) for place in range(count)]
    for at in range(0, count, AT_ONCE):

        async def job(conn: AsyncConnection, at: int = at) -> None:
            for place, record in enumerate(records[at : at + AT_ONCE], at):
                decided = {"contact_id": contacts[place % len(contacts)], "rung": "exact"}
                await tell(conn, record, tasks=settings.tasks, region="DE", decided=decided, now=now)

        await database.write(job)
    return len(contacts)


async def _contacts(conn: AsyncConnection) -> list[int]:
    return [*(await conn.exec_driver_sql("SELECT id FROM contacts WHERE kind = 'Contact'")).scalars()]


def _record(place: int, chance: random.Random, now: int) -> Record:
    """Return a call as AMI tells of it: two in three answered, by one of three whose phones rang."""
    answered = chance.random() < 2 / 3
    began = now - 300.0
    extensions = [str(100 + chance.randrange(AGENTS)) for _ in range(3)]
    legs = [
        Leg(
            extension=extension,
            began_at=began,
            answered_at=began + 5 if answered and extension == extensions[0] else None,
            ended_at=began + 60,
            outcome=LegOutcome.ANSWERED if answered and extension == extensions[0] else LegOutcome.NO_ANSWER,
        )
        for extension in extensions
    ]
    return Record(
        pbx="pbx",
        linkedid=f"1800000000.{place}",
        way=Way.INBOUND if chance.random() < 1 / 2 else Way.OUTBOUND,
        number=f"+4930{23_000_000 + place}",
        name="Erika Muster",
        did="4940",
        agent=extensions[0],
        started_at=began,
        answered_at=began + 5 if answered else None,
        ended_at=began + 60,
        disposition=Disposition.ANSWERED if answered else Disposition.NO_ANSWER,
        seconds=55 if answered else 0,
        answered_by=extensions[0] if answered else "",
        legs=tuple(legs),
    )


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ostiary-journal-") as folder:
        print(f"{measure(Path(folder), tasks=2000):,.0f} Tasks/s")
