"""A full load of one object: every record is read, what is not there any more is removed afterwards.

Invariant: how far it is stands in salesforce_state (`sync:<object>`, key `full`) behind what is stored, never before
it; a load that was stopped anywhere goes on there. Nothing is removed unless every record that Salesforce has was
met since the marks in `sync_seen` began; `sync:seen` says whose marks they are. What came about after the query began
(a look-up stored it, a call made it) is not in its result and is marked before anything is removed. The watermark it
leaves is the time before the query began: what changed meanwhile is read again as a change.

Sources: "Query" of Bulk API 2.0 (Bulk API 2.0 and Bulk API Developer Guide); "Query" (REST API Developer Guide).
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import sys
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import SalesforceRefusal
from agi_server.salesforce.batches import (
    IDS,
    Batch,
    Run,
    Work,
    ahead,
    batches,
    batches_beside,
    forget,
    keep,
    sorter,
)
from agi_server.salesforce.changes import WINDOW, State
from agi_server.salesforce.fields import Reading, select
from agi_server.salesforce.mapping import moment_of, soql_time
from agi_server.salesforce.merges import settle
from agi_server.salesforce.parsing import Parser
from storage import salesforce_state, sync

PAGE = 50_000  # records of a result page: what a restart may read again
PATIENCE = 600.0  # seconds to wait for a job; the next round goes on waiting
FEW = 5_000  # records that are parsed without a process of their own
SWITCH = 0.001  # seconds; Python's own is five times as long
NOTE_EVERY = 20  # batches, where there are no pages to note
MARKS = 5000  # forgotten in one transaction of some 5 ms
MANY = 100  # fewer records than that may all go
DOUBT = 86_400  # seconds until a load that removed nothing for good reason is made again

SEEN = "sync:seen"


def fingerprint(reading: Reading, region: str) -> str:
    """Return what tells this way of reading from another: when it changes, everything is read anew."""
    said = repr((replace(reading, notes=()), region))
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def is_due(state: State, reading: Reading, region: str, local: int) -> bool:
    """Return whether a full load is needed, whatever changed; `local` is our clock."""
    if "full" in state or state.get("reading") != fingerprint(reading, region):
        return True
    return "doubt" in state and local - state["doubt"]["at"] > DOUBT


async def load(run: Run, work: Work, state: State) -> State:
    """Read all records and remove the others; return the state after it.

    With `full` in it, Salesforce is still preparing the result, and the next round goes on. Raises what the
    client raises; where Bulk refuses, the query is asked through REST, whose refusal is final.
    """
    work.part.how = "full"
    mark = fingerprint(work.reading, run.settings.numbers.region)
    state = dict(state)
    if run.dry_run or not _usable(state.get("full"), mark, run.client.server_time()):
        state.pop("full", None)
    resumed = "full" in state
    while True:
        if "full" not in state:
            state["full"] = await _begin(run, work, mark)
        await _save(run, work, state)
        full = state["full"]
        try:
            if full["job"] and not await _completed(run, work, full["job"]):
                return state
            await _start_reading(run, work, state)
            await (_read_results if full["job"] else _read_query)(run, work, state)
            return await _finish(run, work, full)
        except SalesforceRefusal as error:
            if not full["job"]:
                raise
            del state["full"]
            if not resumed:  # else its results may have been kept too long: the same again
                work.part.note(f"Bulk API 2.0 did not do it ({error}): read through REST")
                state["full"] = _new(run, mark)
            resumed = False


def _usable(full: State | None, mark: str, now: datetime) -> bool:
    """Return whether a load that was stopped can go on; results of a job are kept for seven days."""
    return full is not None and full["reading"] == mark and now - moment_of(full["started"]) < WINDOW / 2


def _new(run: Run, mark: str) -> State:
    return {
        "reading": mark,
        "started": run.client.server_time().isoformat(),
        "asked": int(run.now()),
        "job": "",  # empty: through REST
        "stage": "",  # then `reading`, and `removing`
        "after": "",  # what is stored: up to this locator of a result page, or this id
        "marking": False,
    }


async def _begin(run: Run, work: Work, mark: str) -> State:
    full = _new(run, mark)
    query = select(work.kind, work.reading.columns, work.reading.condition)
    try:
        full["job"] = await asyncio.to_thread(run.client.start_job, query)
    except SalesforceRefusal as error:
        work.part.note(f"Bulk API 2.0 does not take it ({error}): read through REST")
    return full


async def _save(run: Run, work: Work, state: State) -> None:
    if not run.dry_run:
        now = int(run.now())
        await run.write(lambda conn: salesforce_state.put(conn, f"sync:{work.kind}", state, now))


async def _completed(run: Run, work: Work, job_id: str) -> bool:
    """Wait for a job; return whether it is complete. Raises SalesforceRefusal where it never will be."""
    until = time.monotonic() + PATIENCE
    pause = 0.05
    while True:
        job = await asyncio.to_thread(run.client.job, job_id)
        if job.state == "JobComplete":
            work.part.expected = job.records
            return True
        if job.state in {"Failed", "Aborted"}:
            raise SalesforceRefusal(f"job {job_id} ended as {job.state}: {job.error}", job.state.upper())
        if time.monotonic() > until:
            work.part.note(f"Salesforce is still preparing job {job_id}; the next round goes on")
            return False
        run.tell(work.part, "waiting")
        await asyncio.sleep(pause)
        pause = min(2 * pause, 10.0)


async def _start_reading(run: Run, work: Work, state: State) -> None:
    """Begin the marks, or begin anew where those of a load that was stopped are gone."""
    full, token = state["full"], f"{work.kind} {state['full']['started']}"
    seen = await run.database.read(lambda conn: salesforce_state.get(conn, SEEN))
    if full["stage"] and seen == {"of": token}:
        return
    known = await run.database.read(lambda conn: sync.count_kind(conn, work.kind))
    full |= {"after": "", "stage": "reading", "marking": known > 0}
    work.met.clear()
    now = int(run.now())
    await run.write(lambda conn: salesforce_state.remove(conn, SEEN))  # from here on they are nobody's
    await _forget_marks(run)

    async def job(conn: AsyncConnection) -> None:
        await salesforce_state.put(conn, SEEN, {"of": token}, now)
        await salesforce_state.put(conn, f"sync:{work.kind}", state, now)

    await run.write(job)


async def _forget_marks(run: Run) -> None:
    if not run.dry_run:  # its own were undone
        while await run.write(lambda conn: sync.forget_seen(conn, MARKS)):
            pass


async def _read_results(run: Run, work: Work, state: State) -> None:
    """Store the results of a Bulk job, page by page."""
    full, region = state["full"], run.settings.numbers.region
    sort = sorter(work.reading)

    def page(locator: str, following: list[str]) -> Generator[Batch, None, None]:
        with run.client.results(full["job"], locator, PAGE) as results:
            following.append(results.next)
            yield from (
                batches_beside(results.rows, sort, parser) if parser else batches(results.rows, sort, region)
            )

    with _beside(region) if work.part.expected > FEW else nullcontext() as parser:
        while full["stage"] == "reading":
            following: list[str] = []
            async with ahead(page(full["after"], following)) as taken:
                async for batch in taken:
                    await _keep(run, work, full, batch)
            full |= {"after": following[0]} if following[0] else {"stage": "removing"}
            await _save(run, work, state)


@contextmanager
def _beside(region: str) -> Iterator[Parser]:
    """Parse in another process, and let the threads of this one work side by side.

    A thread that has something to compute holds up all others for the switch interval, several times in each
    transaction; and looking for garbage among all that is loaded takes 0.1 s, which nobody should wait for.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    gc.freeze()
    try:
        with Parser(region) as parser:
            yield parser
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)


async def _read_query(run: Run, work: Work, state: State) -> None:
    """Store what a REST query gives, in the order of ids."""
    full = state["full"]
    if full["stage"] != "reading":
        return
    sort = sorter(work.reading)
    later = f"Id > '{full['after']}'" if full["after"] else ""
    query = select(work.kind, work.reading.columns, work.reading.condition, later, order="Id")
    made = (
        batch
        for page in run.client.query(query)
        for batch in batches(page, sort, run.settings.numbers.region)
    )
    count = 0
    async with ahead(made) as taken:
        async for batch in taken:
            await _keep(run, work, full, batch)
            full["after"] = batch.last
            count += 1
            if count % NOTE_EVERY == 0:
                await _save(run, work, state)
    full["stage"] = "removing"
    await _save(run, work, state)


async def _keep(run: Run, work: Work, full: State, batch: Batch) -> None:
    await keep(run, work.part, batch, mark=full["marking"], asked=full["asked"])
    if full["marking"]:
        await settle(run, work, batch.became)
        if run.dry_run:
            work.met.update(batch.met)


async def _finish(run: Run, work: Work, full: State) -> State:
    """Remove who is not there any more, and return the state after the load."""
    after: dict[str, Any] = {
        "watermark": full["started"],
        "deleted": full["started"],
        "reading": full["reading"],
        "at": int(run.now()),
    }
    if full["marking"]:
        await _follow_merges(run, work)
        if work.reading.person_contact and work.reading.condition:
            await _forget_persons(run, work)
        await _mark_recent(run, work, full)
        missing = 0
        async for ids in _missing(run, work):
            missing += len(ids)
        known = await run.database.read(lambda conn: sync.count_kind(conn, work.kind))
        if known > MANY and 2 * missing > known and not run.accept_removals:
            after["doubt"] = {"known": known, "missing": missing, "at": int(run.now())}
        elif missing:
            async for ids in _missing(run, work):
                await forget(run, work.part, ids)

    async def job(conn: AsyncConnection) -> None:
        await salesforce_state.remove(conn, SEEN)
        await salesforce_state.put(conn, f"sync:{work.kind}", after, after["at"])

    await run.write(job)
    await _forget_marks(run)
    return after


async def _missing(run: Run, work: Work) -> AsyncIterator[list[str]]:
    """Yield ids that Salesforce has not shown, a few at a time."""
    after = ""
    look = sync.known if run.dry_run else sync.unseen  # a dry run's marks were undone: `met` holds them

    async def job(conn: AsyncConnection) -> list[str]:
        return await look(conn, work.kind, after, IDS)

    while ids := await run.database.read(job):
        after = ids[-1]
        yield [each for each in ids if each not in work.met]


async def _mark_recent(run: Run, work: Work, full: State) -> None:
    """Mark what came about after the query began, and what may have shown too late for it."""
    since = moment_of(full["started"]) - timedelta(seconds=run.settings.salesforce.overlap)
    query = select(work.kind, ("Id",), f"SystemModstamp >= {soql_time(since)}", work.reading.condition)
    async with ahead(page for page in run.client.query(query)) as pages:
        async for page in pages:
            ids = [record["Id"] for record in page]
            if run.dry_run:
                work.met.update(ids)
            for at in range(0, len(ids), IDS):
                await run.write(lambda conn, some=ids[at : at + IDS]: sync.mark_seen(conn, some))  # type: ignore[misc]


async def _follow_merges(run: Run, work: Work) -> None:
    """Let merged records become what they were merged with, as far as the recycle bin remembers them."""
    if "MasterRecordId" not in work.reading.marks:
        return
    person = work.reading.person_contact
    columns = ("Id", "MasterRecordId", *([person] if person else []))
    query = select(work.kind, columns, "IsDeleted = true", "MasterRecordId != null")
    async with ahead(page for page in run.client.query(query, deleted=True)) as pages:
        async for page in pages:
            pairs = [(record.get(person) or record["Id"], record["MasterRecordId"]) for record in page]
            await settle(run, work, pairs)


async def _forget_persons(run: Run, work: Work) -> None:
    """Forget persons who do not fulfil the filter of Account: among the contacts they are met nevertheless."""
    contact, person = work.reading.person_contact, work.reading.person
    query = select(work.kind, (contact,), f"{person} = true", f"NOT ({work.reading.condition})")
    async with ahead(page for page in run.client.query(query)) as pages:
        async for page in pages:
            await forget(run, work.part, [record[contact] for record in page if record[contact]])
