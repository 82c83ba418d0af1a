"""One batch ahead, whatever happens to who makes or who takes them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from typing import Any

import pytest

from agi_server.salesforce.batches import ahead, batches, sorter
from agi_server.salesforce.fields import Reading


class Source:
    """A blocking generator that tells how far it is and in which threads it ran."""

    def __init__(self, count: int, *, fails_at: int = -1) -> None:
        self.made: list[int] = []
        self.closed = threading.Event()
        self.threads: set[int] = set()
        self._count, self._fails_at = count, fails_at

    def items(self) -> Generator[int, None, None]:
        try:
            for place in range(self._count):
                self.threads.add(threading.get_ident())
                if place == self._fails_at:
                    raise LookupError(place)
                self.made.append(place)
                yield place
        finally:
            self.closed.set()


async def test_one_is_made_while_the_one_before_is_taken() -> None:
    source = Source(5)
    async with ahead(source.items()) as taken:
        async for item in taken:
            async with asyncio.timeout(30):
                while item < 4 and len(source.made) < item + 2:
                    await asyncio.sleep(0)
            assert len(source.made) <= item + 2
    assert source.made == [0, 1, 2, 3, 4]
    assert threading.get_ident() not in source.threads
    assert source.closed.is_set()


async def test_an_error_comes_where_it_belongs() -> None:
    source, got = Source(5, fails_at=3), list[int]()

    async def take() -> None:
        async with ahead(source.items()) as taken:
            async for item in taken:
                got.append(item)  # what came before the error counts

    with pytest.raises(LookupError):
        await take()
    assert got == [0, 1, 2]


async def test_who_stops_taking_closes_it() -> None:
    source = Source(100)

    async def take() -> None:
        async with ahead(source.items()) as taken:
            async for _ in taken:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await take()
    assert source.closed.is_set()
    assert len(source.made) <= 2


async def test_who_is_cancelled_waits_for_the_thread() -> None:
    busy, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def items() -> Generator[int, None, None]:
        try:
            busy.set()
            go_on.wait(30)
            yield 1
        finally:
            closed.set()

    async def take() -> None:
        async with ahead(items()) as taken:
            async for _ in taken:
                pass

    task = asyncio.create_task(take())
    await asyncio.to_thread(busy.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()


READING = Reading(
    "Account", name="Name", person="IsPersonAccount", person_contact="PersonContactId", blacklist="Spam__c",
    phones=("Phone",),
)  # fmt: skip
COMPANY = {"Id": "001A", "Name": "Acme", "Phone": "+49 30 1234567", "Spam__c": True}
PERSON = {"Id": "001P", "Name": "Bea", "IsPersonAccount": True, "PersonContactId": "003P", "Phone": None}


def sort(*records: dict[str, Any]) -> Any:
    [batch] = batches(records, sorter(READING), "DE")
    return batch


def test_records_are_sorted() -> None:
    batch = sort(
        COMPANY,
        PERSON,
        {"Id": "001D", "IsDeleted": True, "MasterRecordId": None},
        {"Id": "001M", "IsDeleted": True, "MasterRecordId": "001A"},
        {"Id": "001Q", "IsDeleted": True, "MasterRecordId": None, "PersonContactId": "003Q"},
        {"Id": "001R", "IsDeleted": "true", "MasterRecordId": "001P", "PersonContactId": "003R"},
    )
    assert (batch.read, batch.last) == (6, "001R")
    assert [row.salesforce_id for row in batch.prepared.rows] == ["001A", "003P"]
    assert [list(phones.numbers) for phones in batch.prepared.phones] == [[49301234567], []]
    assert batch.met == ["001A", "003P"]
    assert batch.flags == {"001A": True, "003P": False}
    assert batch.gone == ["001P", "001D", "001Q", "003Q", "001R"]
    assert batch.became == [("001M", "001A"), ("003R", "001P")]


def test_of_two_versions_the_later_counts() -> None:
    batch = sort(COMPANY, COMPANY | {"Name": "Acme Ltd"})
    assert [row.name for row in batch.prepared.rows] == ["Acme Ltd"]
    assert batch.read == 2


def test_contacts_of_persons_are_met_and_not_stored_and_leads_become() -> None:
    contact = Reading("Contact", name="Name", person="IsPersonAccount", phones=("Phone",))
    [batch] = batches([{"Id": "003P", "IsPersonAccount": "true"}], sorter(contact), "DE")
    assert (list(batch.prepared.rows), batch.met, batch.gone) == ([], ["003P"], [])
    lead = Reading("Lead", converted="IsConverted", converted_contact="ConvertedContactId", phones=("Phone",))
    records: list[dict[str, Any]] = [
        {"Id": "00QA", "IsConverted": "true", "ConvertedContactId": "003A"},
        {"Id": "00QB", "IsConverted": True, "ConvertedContactId": None},
        {"Id": "00QC", "IsConverted": "false", "ConvertedContactId": ""},
    ]
    [batch] = batches(records, sorter(lead), "DE")
    assert batch.became == [("00QA", "003A"), ("00QB", "")]
    assert batch.met == ["00QC"]
