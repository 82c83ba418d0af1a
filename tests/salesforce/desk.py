"""An Ostiary, as far as the outbox is concerned, and the org it writes to."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Agent, Rule, RuleKind
from agi_server.calls.numbers import Number, NumberState
from agi_server.calls.record import Disposition, Record
from agi_server.salesforce.client import Client
from agi_server.salesforce.creation import after_call
from agi_server.salesforce.outbox import Delivered, deliver
from agi_server.salesforce.sync import synchronise
from agi_server.settings import Settings
from storage.agents import put_agent
from storage.blacklist import add_rule, remove_rule
from storage.contacts import find_or_insert
from storage.database import Database
from storage.records import tell
from tests.org.records import Org
from tests.org.server import OrgServer

NOW = 1_800_000_000  # 2027-01-15T08:00:00Z
NUMBER = 493023125000


@dataclass
class Desk:
    """An Ostiary, as far as the outbox is concerned, and the org it writes to."""

    directory: Path
    org: Org
    server: OrgServer
    database: Database
    now: int = NOW
    clients: list[Client] = field(default_factory=list)
    sections: dict[str, Any] = field(default_factory=dict)  # of the settings, besides salesforce

    def settings(self, **changed: Any) -> Settings:
        section = self.server.settings() | {"timeout": 20, "blacklist_field": "Blacklisted__c"} | changed
        return Settings.model_validate(
            {
                "storage": {"state_directory": self.directory},
                "routing": {"timezone": "Europe/Lisbon"},
                "http": {"public_url": "https://ostiary.example"},
                "salesforce": section,
                **self.sections,
            }
        )

    async def deliver(self, **changed: Any) -> Delivered:
        settings = self.settings(**changed)
        client = Client(settings.salesforce, self.directory)
        self.clients.append(client)
        return await deliver(self.database, client, settings, now=lambda: self.now)

    async def synchronise(self) -> None:
        settings = self.settings()
        client = Client(settings.salesforce, self.directory)
        self.clients.append(client)
        self.now += 1  # what Salesforce was told in the second of its answer may not be in it
        outcome = await synchronise(self.database, client, settings, now=lambda: self.now)
        assert not outcome.errors

    async def call(
        self, data: str = "", *, number: int = 0, did: str = "", name: str = "", local: str = ""
    ) -> int:
        """A caller of whom a contact is made; return its id."""
        ani = Number(NumberState.ANONYMOUS)
        if number or local:
            state = NumberState.E164 if number else NumberState.LOCAL
            ani = Number(state, number, local or str(number), local or f"+{number}")

        async def job(conn: AsyncConnection) -> int:
            found = await find_or_insert(
                conn, data=data, ani=ani, database="crm", now=self.now, did=did, name=name
            )
            assert found.inserted
            return found.id

        return await self.database.write(job)

    async def calls(self, keys: Sequence[str]) -> list[int]:
        return await asyncio.gather(
            *(self.call(key, number=NUMBER + place) for place, key in enumerate(keys))
        )

    async def talked(self, linkedid: str, *, decided: Mapping[str, object] | None = None, **told: Any) -> str:
        """A call that ended, as AMI tells, and all that follows from it; return its id. Without more, it was missed."""
        usual: dict[str, Any] = {
            "linkedid": linkedid,
            "pbx": "pbx",
            "number": f"+{NUMBER}",
            "did": "4940",
            "started_at": self.now - 100.0,
            "ended_at": self.now - 10.0,
        }
        record = Record(**(usual | told))
        settings = self.settings(**self.sections.get("salesforce", {}))

        async def job(conn: AsyncConnection) -> str:
            call_id = await tell(
                conn, record, tasks=settings.tasks, region="DE", decided=decided, now=self.now
            )
            await after_call(conn, call_id, settings, self.now)
            return call_id

        return await self.database.write(job)

    async def answered(self, linkedid: str, by: str = "101", **told: Any) -> str:
        """A call of 42 seconds that an agent took, or made."""
        usual: dict[str, Any] = {
            "answered_at": self.now - 52.0,
            "disposition": Disposition.ANSWERED,
            "seconds": 42,
            "answered_by": by,
        }
        return await self.talked(linkedid, **(usual | told))

    async def agent(self, extension: str, name: str, email: str = "", user: str = "") -> None:
        agent = Agent(id=0, name=name, extension=extension, email=email, salesforce_user_id=user)
        await self.database.write(lambda conn: put_agent(conn, agent, who="cli:eva", now=self.now))

    def query(self, sql: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self.directory / "ostiary.db")) as connection:
            rows = connection.execute(sql, values).fetchall()
            connection.commit()
            return rows

    def waiting(self, columns: str = "id") -> list[Any]:
        return self.query(f"SELECT {columns} FROM outbox ORDER BY id")

    def records(self, sobject: str = "Contact", *fields: str) -> list[dict[str, Any]]:
        rows = self.org.query(f"SELECT {', '.join(fields or ('Id',))} FROM {sobject} ORDER BY Id")
        return [{name: value for name, value in row.items() if name != "attributes"} for row in rows]

    def writes(self) -> int:
        return sum("composite/sobjects" in target for _, target, _ in self.server.requests)

    async def block(self, number: str) -> None:
        rule = Rule(id=0, kind=RuleKind.EXACT, pattern=number)
        await self.database.write(lambda conn: add_rule(conn, rule, who="cli:eva", now=self.now))

    async def unblock(self, number: str) -> None:
        async def job(conn: AsyncConnection) -> int:
            return await remove_rule(
                conn, kind=RuleKind.EXACT, pattern=number, did="", allow=False, who="cli:eva", now=self.now
            )

        assert await self.database.write(job) == 1


_PROCESS = """
import asyncio, json, sys
from pathlib import Path
from agi_server.salesforce import outbox
from agi_server.salesforce.client import Client
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from storage.database import Database

outbox.MOST_RECORDS = int(sys.argv[2])

async def main():
    settings = Settings.model_validate(json.loads(sys.argv[1]))
    database = await Database.open(storage_url(settings))
    with Client(settings.salesforce, settings.storage.state_directory) as client:
        print(*await outbox.deliver(database, client, settings))
    await database.close()

asyncio.run(main())
"""


def process(desk: Desk, most_records: int, **salesforce: object) -> subprocess.Popen[str]:
    """Deliver in a process of its own; the fewer records a call has, the more moments there are to kill it."""
    settings = {
        "storage": {"state_directory": str(desk.directory)},
        "salesforce": desk.server.settings() | salesforce,
    }
    command = [sys.executable, "-c", _PROCESS, json.dumps(settings), str(most_records)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
