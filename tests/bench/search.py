"""What finding a contact costs among a million, and what keeping the index costs those who write."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from storage.contact_rows import ContactRow, Prepared, prepare
from storage.database import Database
from storage.merge import store
from storage.migrate import migrate
from storage.search import search
from tests.bench import data
from tests.bench.load import percentile

SHOWN = 50  # contacts of one page
BATCH = 200  # contacts of one transaction, as a synchronisation has them
ROUNDS = 3  # of writing with and without the index, in turn


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of searches of one sort, from asking to having the rows; `found`: contacts of a page, on average."""

    count: int
    p50: float
    p99: float
    longest: float
    found: float


@dataclass(frozen=True, slots=True)
class Search:
    """Searches by sort; seconds to write contacts with the index and without; transactions in milliseconds."""

    contacts: int
    sorts: dict[str, Times]
    every: Times
    written: int
    with_index: float
    without_index: float
    transaction_p50: float
    transaction_p99: float


def measure(directory: Path, *, contacts: int, searches: int, say: Callable[[str], None]) -> Search:
    """Measure everything in a new folder; `searches` of each sort."""
    directory.mkdir()
    return asyncio.run(_measure(directory, contacts, searches, say))


async def _measure(directory: Path, contacts: int, searches: int, say: Callable[[str], None]) -> Search:
    say(f"storing {contacts:,} contacts to be searched")
    path = directory / "large.db"
    await migrate(_url(path))
    await _write(path, contacts)
    say("searching")
    sorts = await _search(path, contacts, searches)
    written = min(contacts, 100_000)
    say(f"storing {written:,} contacts {2 * ROUNDS} times")
    seconds: dict[bool, list[float]] = {True: [], False: []}
    transactions: list[float] = []
    for turn in range(2 * ROUNDS):
        indexed = turn % 2 == 0
        path = directory / f"{turn}.db"
        await migrate(_url(path))
        if not indexed:
            _stop_indexing(path)
        times = await _write(path, written)
        seconds[indexed].append(sum(times))
        transactions += times if indexed else []
        path.unlink()
    transactions.sort()
    return Search(
        contacts=contacts,
        sorts={name: _times(found) for name, found in sorts.items()},
        every=_times([each for found in sorts.values() for each in found]),
        written=written,
        with_index=median(seconds[True]),
        without_index=median(seconds[False]),
        transaction_p50=percentile(transactions, 50) * 1000,
        transaction_p99=percentile(transactions, 99) * 1000,
    )


def _times(searches: Sequence[tuple[float, int]]) -> Times:
    """Return the times of searches: seconds and contacts found of each."""
    times = sorted(seconds * 1000 for seconds, _ in searches)
    found = sum(count for _, count in searches) / len(searches)
    return Times(len(times), percentile(times, 50), percentile(times, 99), times[-1], found)


def texts(contacts: int, count: int, *, seed: int = 1) -> dict[str, list[str]]:
    """Return what people type, `count` of each sort, about contacts as `data.write_contacts` makes them."""
    chance = random.Random(seed)

    def someone() -> int:
        return chance.randrange(contacts)

    def company(index: int) -> str:
        return f"{data.FIRST_NAMES[index % 10]} company {index // 5}"

    words = (*data.FIRST_NAMES, *data.LAST_NAMES, "Company", "example", "contact")
    sorts: dict[str, Callable[[], str]] = {
        "first letters": lambda: chance.choice(words)[: chance.randint(2, 5)],
        "first name": lambda: chance.choice(data.FIRST_NAMES),
        "first and last name": lambda: f"{chance.choice(data.FIRST_NAMES)} {chance.choice(data.LAST_NAMES)}",
        "name and company": lambda: company(someone()),
        "rare name": lambda: f"{chance.choice(data.LAST_NAMES)} {someone()}",
        "without umlauts": lambda: f"mueller {chance.choice(data.FIRST_NAMES)[:3]}",
        "number": lambda: data.number(someone()),
        "last digits": lambda: data.number(someone())[-7:],
        "e-mail": lambda: f"contact{someone()}@example.com",
        "nonsense": lambda: "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 9))),
    }
    return {name: [make() for _ in range(count)] for name, make in sorts.items()}


async def _search(path: Path, contacts: int, count: int) -> dict[str, list[tuple[float, int]]]:
    database = await Database.open(_url(path))
    measured: dict[str, list[tuple[float, int]]] = {}
    try:
        for name, typed in texts(contacts, count).items():
            measured[name] = []
            for text in typed:
                began = time.perf_counter()
                found, _ = await database.read(partial(search, text=text, limit=SHOWN, region=data.REGION))
                measured[name].append((time.perf_counter() - began, len(found)))
    finally:
        await database.close()
    return measured


async def _write(path: Path, count: int) -> list[float]:
    """Store contacts as a synchronisation does; return the seconds of each transaction."""
    database = await Database.open(_url(path))
    times = []
    try:
        for batch in _batches(count):
            began = time.perf_counter()
            await database.write(partial(store, prepared=batch, source="salesforce", now=1))
            times.append(time.perf_counter() - began)
    finally:
        await database.close()
    return times


def _batches(count: int) -> Iterator[Prepared]:
    for at in range(0, count, BATCH):
        yield prepare([_row(index) for index in range(at, min(at + BATCH, count))], data.REGION)


def _row(index: int) -> ContactRow:
    """Return a contact as `data.write_contacts` makes them."""
    first = data.FIRST_NAMES[index % len(data.FIRST_NAMES)]
    last = f"{data.LAST_NAMES[index // 10 % len(data.LAST_NAMES)]} {index}"
    company, owner = index // 5, index // 5 % data.OWNERS
    return ContactRow(
        salesforce_id=data.salesforce_id("003", index),
        name=f"{first} {last}",
        first_name=first,
        last_name=last,
        email=f"contact{index}@example.com",
        account_salesforce_id=data.salesforce_id("001", company),
        account=f"Company {company} GmbH",
        owner_salesforce_id=data.salesforce_id("005", owner),
        owner_email=f"agent{owner}@example.com",
        phones=(("Phone", data.number(index)),),
    )


def _stop_indexing(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        query = (
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%\\_search\\_%' ESCAPE '\\'"
        )
        for (name,) in connection.execute(query).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.commit()


def _url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"
