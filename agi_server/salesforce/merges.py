"""Records that became others: merged with them, or, leads, converted to contacts.

Invariant: what was known by the former id is known by the latter's contact, as long as Salesforce tells of it: the
one that stays may itself have been merged meanwhile, or may not be here yet. What became of nobody is forgotten.

Sources: MasterRecordId of Account, Contact and Lead, ConvertedContactId of Lead (Object Reference).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.exchange.cells import KIND_OF_PREFIX
from agi_server.salesforce.batches import IDS, Pair, Run, Work, ahead, batches, keep, sorter
from agi_server.salesforce.fields import Reading, select
from agi_server.salesforce.outcome import ObjectOutcome
from storage import sync
from storage.salesforce_ids import long_id

LONGEST = 10  # merges in a row that are followed


async def settle(run: Run, work: Work, pairs: Sequence[Pair]) -> None:
    """Let records become what they were merged with or converted to; nobody: forget them.

    Of merged persons, the one that stays is named by its account.
    """
    targets = [work.reading, work.contact] if work.reading.converted else [work.reading]
    pairs = _to_the_last(pairs)
    for start in range(0, len(pairs), IDS):
        chunk = pairs[start : start + IDS]
        for target in targets:
            if target is not None:
                chunk = await _met(run, work, target, chunk)
        await _become(run, work.part, chunk)


def _to_the_last(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """Return the pairs, each with what the one that stays became itself."""
    latest = dict(pairs)

    def last(stays: str) -> str:
        for _ in range(LONGEST):
            if not latest.get(stays):
                break
            stays = latest[stays]
        return stays

    return [(gone, last(stays)) for gone, stays in pairs]


async def _met(run: Run, work: Work, target: Reading, pairs: Sequence[Pair]) -> Sequence[Pair]:
    """Return the pairs with those of an object that stay as they are called by now; they are here afterwards."""
    missing = _of(target, await _missing(run, pairs))
    if not missing:
        return pairs
    stays = await asyncio.to_thread(_staying, run, target, missing)
    pairs = [(gone, stays.get(other, other)) for gone, other in pairs]
    if missing := _of(target, await _missing(run, pairs)):
        await _fetch(run, target, work.part, missing)
    return pairs


def _of(reading: Reading, ids: Iterable[str]) -> list[str]:
    return [each for each in ids if KIND_OF_PREFIX.get(each[:3]) == reading.sobject]


async def _become(run: Run, part: ObjectOutcome, pairs: Sequence[Pair]) -> None:
    async def job(conn: AsyncConnection) -> tuple[int, int]:
        known = [pair for pair in pairs if pair[1] and await sync.resolve(conn, pair[1]) is not None]
        others = [pair[0] for pair in pairs if pair not in known]
        return await sync.become(conn, known), await sync.forget(conn, others)

    became, removed = await run.write(job)
    part.became += became
    part.removed += removed


async def _missing(run: Run, pairs: Iterable[Pair]) -> list[str]:
    """Return what known records became and nobody here knows."""

    async def job(conn: AsyncConnection) -> list[str]:
        return [
            stays
            for gone, stays in pairs
            if stays
            and await sync.resolve(conn, gone) is not None
            and await sync.resolve(conn, stays) is None
        ]

    return await run.database.read(job)


def _staying(run: Run, reading: Reading, ids: Iterable[str]) -> Mapping[str, str]:
    """Return what records are called that were merged on, or are persons, by their former ids."""
    latest = {each: each for each in ids}
    for _ in range(LONGEST if "MasterRecordId" in reading.marks else 0):
        query = select(
            reading.sobject, ("Id", "MasterRecordId"), one_of(latest.values()), "MasterRecordId != null"
        )
        masters = _pairs(run, query, "MasterRecordId", deleted=True)
        if not masters:
            break
        latest = {each: masters.get(last, last) for each, last in latest.items()}
    if reading.person_contact:
        query = select(reading.sobject, ("Id", reading.person_contact), one_of(latest.values()))
        contacts = _pairs(run, query, reading.person_contact, deleted=False)
        latest = {each: contacts.get(last, last) for each, last in latest.items()}
    return latest


def _pairs(run: Run, query: str, field: str, *, deleted: bool) -> dict[str, str]:
    pages = run.client.query(query, deleted=deleted)
    return {record["Id"]: record[field] for page in pages for record in page if record[field]}


async def _fetch(run: Run, reading: Reading, part: ObjectOutcome, ids: Iterable[str]) -> None:
    query = select(reading.sobject, reading.columns, one_of(ids), reading.condition)
    sort, region, asked = sorter(reading), run.settings.numbers.region, int(run.now())
    made = (batch for page in run.client.query(query) for batch in batches(page, sort, region))
    async with ahead(made) as taken:
        async for batch in taken:
            await keep(run, part, batch, mark=False, asked=asked)


def one_of(ids: Iterable[str]) -> str:
    """Return the condition that a record has one of these ids."""
    quoted = [f"'{long_id(each)}'" for each in dict.fromkeys(ids)]
    return f"Id IN ({', '.join(quoted)})"
