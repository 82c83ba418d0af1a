"""Records on their way into the directory, a few hundred at a time.

Reading and parsing happen in a thread, one batch ahead of storing; no more than two batches are in memory. Each
batch is one short job: contacts, the marks of a full load, unread numbers and blacklist flags go in together or not
at all. In a dry run the same job is undone at its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.salesforce.client import Client
from agi_server.salesforce.fields import Reading
from agi_server.salesforce.mapping import Record, is_true, mapper
from agi_server.salesforce.outcome import ObjectOutcome, Outcome, Progress, Report
from agi_server.salesforce.parsing import Parser
from agi_server.settings import Settings
from storage import flags, sync
from storage.contact_rows import Prepared, prepare
from storage.database import Database
from storage.merge import store

SIZE = 200  # records a job: within the 20 ms a transaction may take
IDS = 200  # ids in one job, or in one query: its URI stays below 16 KB

T = TypeVar("T")
Pair = tuple[str, str]  # Salesforce id that is gone, one that it became


@dataclass(frozen=True, slots=True)
class Run:
    """What one synchronisation works with."""

    database: Database
    client: Client
    settings: Settings
    outcome: Outcome
    report: Report
    now: Callable[[], float]
    calls_before: int
    full: bool = False
    dry_run: bool = False
    accept_removals: bool = False

    def tell(self, part: ObjectOutcome, phase: Literal["waiting", "reading", "removing"]) -> None:
        """Report progress."""
        self.outcome.calls = self.client.calls - self.calls_before
        self.report(Progress(self.outcome, part, phase))

    async def write(self, job: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run a job; in a dry run it is undone, and its result is what it would have been."""
        if not self.dry_run:
            return await self.database.write(job)
        results: list[T] = []

        async def undone(connection: AsyncConnection) -> None:
            results.append(await job(connection))
            raise _Undone

        with suppress(_Undone):
            await self.database.write(undone)
        return results[-1]


class _Undone(Exception):  # noqa: N818  # it is how a dry run ends
    """Undoes a job."""


@dataclass(frozen=True, slots=True)
class Work:
    """One object in hand: what is read of it, and of Contact if that is read too; what became of it.

    `met` are the ids that a dry run of a full load has met: its marks are undone.
    """

    reading: Reading
    contact: Reading | None
    part: ObjectOutcome
    met: set[str] = field(default_factory=set)

    @property
    def kind(self) -> str:
        """Return the object's name, which is the kind of its contacts."""
        return self.reading.sobject


class Batch(NamedTuple):
    """Records sorted: to be stored, gone, and become others.

    `prepared` has no numbers until they are parsed. `met` are all ids that a full load has met, `last` is the id of
    the last record.
    """

    read: int
    prepared: Prepared
    flags: dict[str, bool]
    met: list[str]
    gone: list[str]
    became: list[Pair]
    last: str


Sort = Callable[[Sequence[Record]], Batch]


def sorter(reading: Reading) -> Sort:
    """Return what sorts records of an object."""
    make = mapper(reading)
    is_contact = reading.sobject == "Contact"

    def sort(records: Sequence[Record]) -> Batch:
        rows, flagged, met, gone, became = [], {}, [], [], []
        for record in {record["Id"]: record for record in records}.values():
            own_id = record["Id"]
            if is_true(record.get("IsDeleted")):
                known_as = record.get(reading.person_contact) or own_id
                if known_as != own_id:  # a person
                    gone.append(own_id)
                if master := record.get("MasterRecordId"):
                    became.append((known_as, master))
                else:
                    gone.append(known_as)
                continue
            if is_true(record.get(reading.converted)):
                contact = record.get(reading.converted_contact)
                became.append((own_id, contact or ""))
                continue
            met.append(own_id)
            if is_contact and is_true(record.get(reading.person)):
                continue  # comes with its Account
            row = make(record)
            if row.salesforce_id != own_id:  # a person: no company of that id
                met[-1] = row.salesforce_id
                gone.append(own_id)
            rows.append(row)
            if reading.blacklist:
                flagged[row.salesforce_id] = is_true(record.get(reading.blacklist))
        return Batch(len(records), Prepared(rows, (), []), flagged, met, gone, became, records[-1]["Id"])

    return sort


async def keep(run: Run, part: ObjectOutcome, batch: Batch, *, mark: bool, asked: int) -> None:
    """Store a batch, and forget who is gone; `mark` them as met. `asked` is when Salesforce was, in our time."""
    rows = batch.prepared.rows
    unread = [
        (rows[index].salesforce_id, rows[index].kind, label, text)
        for index, label, text in batch.prepared.unread
    ]
    now = int(run.now())

    async def job(conn: AsyncConnection) -> tuple[int, int, int]:
        stored = await store(conn, batch.prepared, source="salesforce", now=now)
        removed = await sync.forget(conn, batch.gone) if batch.gone else 0
        if mark:
            await sync.mark_seen(conn, batch.met)
        await sync.note_unread(conn, [row.salesforce_id for row in rows], unread)
        if batch.flags:
            await flags.apply(conn, batch.flags, now=now, as_of=asked)
        return stored.inserted, stored.updated, removed

    if rows or batch.gone or (mark and batch.met):
        inserted, updated, removed = await run.write(job)
        part.inserted += inserted
        part.updated += updated
        part.removed += removed
    part.read += batch.read
    part.unread += len(unread)
    part.understood += sum(len(row.phones) for row in rows) - len(unread)
    run.tell(part, "reading")


async def forget(run: Run, part: ObjectOutcome, ids: Sequence[str]) -> None:
    """Remove contacts, a few at a time."""
    for at in range(0, len(ids), IDS):
        part.removed += await run.write(lambda conn, some=ids[at : at + IDS]: sync.forget(conn, some))  # type: ignore[misc]
        run.tell(part, "removing")


def batches(records: Iterable[Record], sort: Sort, region: str) -> Generator[Batch, None, None]:
    """Yield records sorted and parsed, SIZE at a time; `region` is the country of numbers without one."""
    for batch in _sorted(records, sort):
        yield batch._replace(prepared=prepare(batch.prepared.rows, region))


def batches_beside(records: Iterable[Record], sort: Sort, parser: Parser) -> Generator[Batch, None, None]:
    """Yield records sorted and parsed: one batch is parsed while the next one comes in."""
    waiting: Batch | None = None
    for batch in _sorted(records, sort):
        ready = waiting._replace(prepared=parser.take()) if waiting is not None else None
        parser.send(batch.prepared.rows)
        if ready is not None:
            yield ready
        waiting = batch
    if waiting is not None:
        yield waiting._replace(prepared=parser.take())


def _sorted(records: Iterable[Record], sort: Sort) -> Iterator[Batch]:
    rest = iter(records)
    while chunk := list(islice(rest, SIZE)):
        yield sort(chunk)


@asynccontextmanager
async def ahead(made: Generator[T, None, None]) -> AsyncIterator[AsyncIterator[T]]:
    """Give what a blocking generator yields, made in a thread one ahead of who takes it; closes it at the end."""
    pending: list[asyncio.Future[T | None]] = []

    async def take() -> AsyncIterator[T]:
        while True:
            # Waited for, not awaited: who is cancelled here must not lose sight of the thread.
            await asyncio.wait(pending)
            item = pending[0].result()
            if item is None:
                return
            pending[0] = _next(made)
            yield item

    pending.append(_next(made))
    try:
        yield take()
    finally:
        await asyncio.wait(pending)  # a generator cannot be closed while it runs
        if not pending[0].cancelled():
            pending[0].exception()
        await asyncio.to_thread(made.close)


def _next(made: Generator[T, None, None]) -> asyncio.Future[T | None]:
    return asyncio.ensure_future(asyncio.to_thread(next, made, None))
