"""Where the time of a full synchronisation goes: its steps one after the other, with the code that does them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from agi_server.salesforce.batches import SIZE, Batch, Run, Work, keep, sorter
from agi_server.salesforce.client import Client
from agi_server.salesforce.fields import plan, select, types_of
from agi_server.salesforce.outcome import ObjectOutcome, Outcome
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from storage import sync
from storage.contact_rows import prepare
from storage.database import Database

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parts:
    """CPU seconds of this process for `records` contacts."""

    records: int
    fetching: float  # HTTP and CSV
    mapping: float
    parsing: float
    storing: float

    def share(self, seconds: float) -> float:
        """Return the percentage of the whole."""
        return 100 * seconds / (self.fetching + self.mapping + self.parsing + self.storing)


def measure(client: Client, settings: Settings, records: int) -> Parts:
    """Read contacts, forget them in the directory (untimed) and store them anew beside all others."""
    described = client.describe("Contact")
    assert described is not None
    reading = plan("Contact", types_of(described), settings.salesforce)
    sort = sorter(reading)
    job = client.start_job(select("Contact", reading.columns) + f" LIMIT {records}")
    while client.job(job).state != "JobComplete":
        time.sleep(0.1)
    with client.results(job, "", records) as results:
        rows, fetching = _timed(lambda: list(results.rows))
    chunks = [rows[at : at + SIZE] for at in range(0, len(rows), SIZE)]
    batches, mapping = _timed(lambda: [*map(sort, chunks)])
    region = settings.numbers.region
    parsed, parsing = _timed(
        lambda: [batch._replace(prepared=prepare(batch.prepared.rows, region)) for batch in batches]
    )
    storing = asyncio.run(_store(client, settings, Work(reading, reading, ObjectOutcome("Contact")), parsed))
    return Parts(len(rows), fetching, mapping, parsing, storing)


async def _store(client: Client, settings: Settings, work: Work, batches: list[Batch]) -> float:
    database = await Database.open(storage_url(settings))
    try:
        run = Run(database, client, settings, Outcome(), lambda _progress: None, time.time, client.calls)
        for batch in batches:
            await database.write(lambda conn, batch=batch: sync.forget(conn, batch.met))  # type: ignore[misc]
        began = time.process_time()
        for batch in batches:
            await keep(run, work.part, batch, mark=False, asked=int(time.time()))
        return time.process_time() - began
    finally:
        await database.close()


def _timed(make: Callable[[], T]) -> tuple[T, float]:
    began = time.process_time()
    made = make()
    return made, time.process_time() - began
