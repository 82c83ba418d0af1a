"""Whatever happens in the org, and wherever a round is stopped: in the end the directory says what the org says."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agi_server.errors import SalesforceError
from agi_server.salesforce import batches, changes, full
from storage.sync import resolve
from tests.org.people import phone_field, populate
from tests.salesforce.syncing import Sync, syncing


@pytest.fixture
async def sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sync]:
    monkeypatch.setattr(batches, "SIZE", 7)
    monkeypatch.setattr(full, "PAGE", 16)
    async with syncing(tmp_path) as made:
        populate(made.org, 40)
        yield made


class Stop(Exception):  # noqa: N818  # nothing failed
    """Stands for the end of the process."""


class Life:
    """An org where things happen, and what became of each record as an admin would tell it."""

    def __init__(self, sync: Sync, seed: int) -> None:
        self.sync, self.org, self.chance = sync, sync.org, random.Random(seed)
        self.became: dict[str, str] = {}
        self.deleted: set[str] = set()  # at any time
        self.bin: list[tuple[str, str]] = []

    def pick(self, sobject: str, count: int = 1) -> list[str]:
        more = " WHERE IsConverted = false" if sobject == "Lead" else ""
        there = [str(each["Id"]) for each in self.org.query(f"SELECT Id FROM {sobject}{more} ORDER BY Id")]
        return self.chance.sample(there, min(count, len(there)))

    def something(self) -> None:
        sobject = self.chance.choice(("Contact", "Contact", "Account", "Lead"))
        happenings: list[Callable[[str], None]] = [
            self.create, self.change, self.change, self.change, self.delete, self.purge, self.undelete, self.merge,
            self.convert,
        ]  # fmt: skip
        self.chance.choice(happenings)(sobject)

    def create(self, sobject: str) -> None:
        name = {"Account": {"Name": "New Ltd"}, "Lead": {"LastName": "New", "Company": "Newer"}}.get(sobject)
        self.org.create(
            sobject, (name or {"LastName": "New"}) | {"Phone": phone_field(self.chance, "DE").text}
        )

    def change(self, sobject: str) -> None:
        for record in self.pick(sobject):
            field = "Name" if sobject == "Account" else "LastName"
            [owner] = self.pick("User")
            values = {field: f"Changed {self.chance.random()}", "Phone": phone_field(self.chance, "DE").text}
            self.org.update(sobject, record, values | {"OwnerId": owner})

    def delete(self, sobject: str) -> None:
        for record in self.pick(sobject):
            below = self.org.query(f"SELECT Id FROM Contact WHERE AccountId = '{record}'")
            self.deleted |= {record, *(str(each["Id"]) for each in below)}
            self.org.delete(sobject, record)
            self.bin.append((sobject, record))

    def purge(self, _sobject: str) -> None:
        if self.bin and self.bin[-1][0] != "Account":
            self.org.purge(*self.bin.pop())

    def undelete(self, _sobject: str) -> None:
        self.bin.sort()  # accounts first: whose account is in the bin belongs to nobody
        if self.bin:
            self.org.undelete(*self.bin.pop(0))

    def merge(self, sobject: str) -> None:
        if len(found := self.pick(sobject, 2)) == 2:
            self.org.merge(sobject, found[0], found[1])
            self.became[found[1]] = found[0]

    def convert(self, _sobject: str) -> None:
        for lead in self.pick("Lead"):
            self.became[lead] = self.org.convert(lead)

    def story(self, record: str) -> list[str]:
        """Return what a record was and became, one after the other."""
        names = [record]
        while names[-1] in self.became:
            names.append(self.became[names[-1]])
        return names


@pytest.mark.parametrize("seed", range(6))
async def test_in_the_end_it_is_the_same(sync: Sync, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    life = Life(sync, seed)
    chance = life.chance
    meaning: dict[int, str] = {}  # every local id there ever was
    kept = batches.keep

    def stop_after(count: int) -> Callable[..., Any]:
        left = [count]

        async def keep(*arguments: Any, **options: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Stop
            await kept(*arguments, **options)
            if chance.random() < 0.2:
                life.something()  # in the middle of a round

        return keep

    for _ in range(14):
        for _ in range(chance.randrange(6)):
            life.something()
        sync.clock.forward(minutes=chance.choice((0, 1, 5, 30)))
        keep = stop_after(chance.choice((0, 1, 3, 6, 12, 1000)))
        monkeypatch.setattr(full, "keep", keep)
        monkeypatch.setattr(changes, "keep", keep)
        if chance.random() < 0.3:
            sync.server.faults.add(
                chance.choice(("cut", "error", "cut-answer")), after=chance.randrange(12), times=8
            )
        with suppress(Stop, SalesforceError):
            await sync.run(full=chance.random() < 0.2)
        sync.server.faults.clear()
        meaning |= dict(sync.rows("SELECT id, salesforce_id FROM contacts WHERE salesforce_id IS NOT NULL"))
    monkeypatch.setattr(full, "keep", kept)
    monkeypatch.setattr(changes, "keep", kept)
    sync.clock.forward(hours=2)
    await sync.in_step()
    for local, record in meaning.items():
        story = life.story(record)
        now = await sync.database.read(lambda conn, local=local: resolve(conn, str(local)))  # type: ignore[misc]
        here = sync.rows("SELECT id FROM contacts WHERE salesforce_id = ?", story[-1])
        if now is None and life.deleted.intersection(story):
            continue  # forgotten when it was deleted; it may have come back since, as another
        assert [(now,)] == here, f"{local} was {story}"
