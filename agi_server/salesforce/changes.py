"""What changed in Salesforce since the last look.

Invariant: the watermark moves only when everything up to it is stored, to a time (Salesforce's own) before the
query began; the next query begins an overlap earlier, since a long transaction shows later than its stamps say.
What is read twice is written once.

Sources: "QueryAll", "sObject Get Deleted" (REST API Developer Guide); "System Fields" (Object Reference).
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import SalesforceRefusal
from agi_server.salesforce.batches import IDS, Batch, Pair, Run, Work, ahead, batches, forget, keep, sorter
from agi_server.salesforce.fields import Reading, select
from agi_server.salesforce.mapping import Record, is_true, moment_of, soql_time
from agi_server.salesforce.merges import one_of, settle
from storage import sync
from storage.salesforce_ids import long_id

WINDOW = timedelta(days=14)  # getDeleted and the recycle bin go back 15 days
LOOK = timedelta(hours=1)  # between two looks at what was deleted for good
SHORTEST = timedelta(minutes=2)  # of a look: getDeleted knows no seconds
MOST = 200_000  # ids held in memory; where more have changed, a full load is faster

UNTOLD = {"EXCEEDED_ID_LIMIT", "INVALID_REPLICATION_DATE"}  # more, or older, than getDeleted tells

State = dict[str, Any]


class NeedsFull(Exception):  # noqa: N818  # not an error: the other way to go
    """What changed cannot be told any more, or is too much to be asked for in this way."""


def is_fresh(state: State, now: datetime, local: int) -> bool:
    """Return whether changes since the watermark can still be asked for.

    `now` is Salesforce's clock at its last answer, which may be as long ago as the last round; so ours counts too.
    """
    if "watermark" not in state:
        return False
    age = timedelta(seconds=local - state["at"])
    return max(age, now - moment_of(state["watermark"])) < WINDOW


async def read_changes(run: Run, work: Work, state: State) -> State:
    """Store what changed and return the state after it. Raises NeedsFull."""
    part = work.part
    part.how = part.how or "changes"
    began = run.client.server_time()
    asked = int(run.now())
    became: list[Pair] = []
    async with ahead(_changed(run, work, moment_of(state["watermark"]))) as taken:
        async for batch in taken:
            became += batch.became
            await keep(run, part, batch, mark=False, asked=asked)
    await settle(run, work, became)
    deleted = await _forget_deleted(run, work, state)
    return state | {"watermark": began.isoformat(), "deleted": deleted.isoformat()}


def _changed(run: Run, work: Work, watermark: datetime) -> Generator[Batch, None, None]:
    reading = work.reading
    since = watermark - timedelta(seconds=run.settings.salesforce.overlap)
    recent = f"SystemModstamp >= {soql_time(since)}"
    query = select(reading.sobject, (*reading.columns, *reading.marks), recent, order="SystemModstamp, Id")
    sort = sorter(reading)
    matching: set[str] | None = None
    for page in run.client.query(query, deleted=True):
        if page and reading.condition and matching is None:
            # After the first query, not before: what changes in between is then judged as it is now.
            matching = _ids(run, select(reading.sobject, ("Id",), recent, reading.condition))
        found = page if matching is None else _filtered(page, reading, matching)
        yield from batches(found, sort, run.settings.numbers.region)


def _ids(run: Run, query: str) -> set[str]:
    ids: set[str] = set()
    for page in run.client.query(query):
        ids.update(record["Id"] for record in page)
        if len(ids) > MOST:
            raise NeedsFull
    return ids


def _filtered(page: Iterable[Record], reading: Reading, matching: set[str]) -> Iterator[Record]:
    """Yield the records, as deleted where they do not fulfil the filter; a lead that became a contact is that."""
    for record in page:
        if record["Id"] in matching or is_true(record.get(reading.converted)):
            yield record
        else:
            yield {"MasterRecordId": None} | dict(record) | {"IsDeleted": True}


async def _forget_deleted(
    run: Run,
    work: Work,
    state: State,
) -> datetime:
    """Forget what was deleted and purged, which queries do not show; return up to when. Raises NeedsFull.

    Once an hour, and when a round was missed.
    """
    last, now = moment_of(state["deleted"]), run.client.server_time()
    interval = timedelta(seconds=2 * run.settings.salesforce.sync_interval + 60)
    if now - last < LOOK and now - moment_of(state["watermark"]) < interval:
        return last
    overlap = max(timedelta(seconds=run.settings.salesforce.overlap), SHORTEST)
    start = max(last - overlap, now - WINDOW)
    covered = now
    persons_only = work.reading.person_contact and work.contact is None
    for sobject in (work.kind, *(["Contact"] if persons_only else [])):
        try:
            found = await asyncio.to_thread(run.client.deleted, sobject, start, now)
        except SalesforceRefusal as error:
            if error.code in UNTOLD:
                raise NeedsFull from None
            raise
        if found.earliest > last:
            raise NeedsFull
        covered = min(covered, found.latest)
        ids = [long_id(each) for each in found.ids]
        for at in range(0, len(ids), IDS):
            await _forget_gone(run, work, sobject, ids[at : at + IDS])
    return max(last, covered)


async def _forget_gone(run: Run, work: Work, sobject: str, ids: Sequence[str]) -> None:
    """Forget those of these records that are gone: one may have been undeleted since, or merged a moment ago."""

    async def here(conn: AsyncConnection) -> list[str]:
        return [each for each in ids if await sync.resolve(conn, each) is not None]

    if not (known := await run.database.read(here)):
        return
    marks = work.reading.marks if sobject == work.kind else ("IsDeleted",)
    query = select(sobject, ("Id", *marks), one_of(known))
    pages = await asyncio.to_thread(lambda: list(run.client.query(query, deleted=True)))
    found = {record["Id"]: record for page in pages for record in page}
    merged = {each: master for each in found if (master := found[each].get("MasterRecordId"))}
    await settle(run, work, [*merged.items()])
    gone = [each for each in known if each not in merged and (each not in found or found[each]["IsDeleted"])]
    await forget(run, work.part, gone)
