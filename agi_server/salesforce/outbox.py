"""Deliver the outbox: what was made here goes to Salesforce, once.

Invariant: a row leaves the outbox only when Salesforce has said that it has the record, or that there is nothing to
write to any more, and in the transaction that notes the record's id. A process may die, or an answer be cut, at any
moment: the row is then sent again with the same external id, and changes the record that is there. A record that
is refused concerns no other: its row waits, for time or for an admin.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from agi_server.calls.hours import find_zone
from agi_server.errors import SalesforceDown, SalesforceRefusal
from agi_server.salesforce import making, task_rows
from agi_server.salesforce.client import MOST_RECORDS, Client, RowResult
from agi_server.salesforce.journal import without_culprit
from agi_server.salesforce.making import Making
from agi_server.salesforce.outgoing import Job, Outgoing, Shapes, Target
from agi_server.salesforce.results import Outcome, later, outcome_of
from agi_server.salesforce.task_rows import TaskRows
from agi_server.salesforce.variables import Surroundings
from agi_server.salesforce.verdicts import is_about_record, pause
from agi_server.settings import Settings
from agi_server.web.links import console_address
from storage import flags, outbox, salesforce_state
from storage.database import Database
from storage.outbox import OutboxRow

LONGEST_SILENCE = 600  # seconds a row waits that may be what Salesforce does not answer to
STATE = "outbox"  # in salesforce_state: how many records a call may carry, while not all


class Delivered(NamedTuple):
    """How many rows Salesforce has taken, will be asked for again, and wait for an admin.

    `error` says why all rows of a sort wait, and what an admin must do; they are due again at once. `notes` say which
    fields stay empty, and why.
    """

    sent: int
    later: int
    parked: int
    error: str = ""
    notes: tuple[str, ...] = ()


async def deliver(
    database: Database,
    client: Client,
    settings: Settings,
    *,
    shapes: Shapes | None = None,
    now: Callable[[], float] = time.time,
) -> Delivered:
    """Send what is due, after finding out which flags must be; `shapes` are the org's objects, if they are known.

    Raises SalesforceDown, SalesforceLoginError or SalesforceLimitError: what was not taken is due again at once.
    """
    if settings.salesforce.blacklist_field:
        await _collect(database, now)
    instance = await database.read(salesforce_state.instance)
    zone = find_zone(settings.routing.timezone)
    around = Surroundings(zone, console_address(settings), instance)
    delivery = _Delivery(database, client, settings, around, shapes=shapes or Shapes(client), now=now)
    while await delivery.once():
        pass
    counts = delivery.counts
    errors = "; ".join(dict.fromkeys(filter(None, delivery.obstacles.values())))
    return Delivered(counts["sent"], counts["later"], counts["parked"], errors, delivery.notes)


async def _collect(database: Database, now: Callable[[], float]) -> None:
    """Put changed rules into the outbox, page by page."""
    at = int(now())
    while not await database.read(lambda conn: flags.settled(conn, now=at)):
        await database.write(lambda conn: flags.collect(conn, now=at))


class _Delivery:
    """One run through the outbox."""

    def __init__(
        self,
        database: Database,
        client: Client,
        settings: Settings,
        around: Surroundings,
        *,
        shapes: Shapes,
        now: Callable[[], float],
    ) -> None:
        self.counts: dict[Outcome, int] = {"sent": 0, "idle": 0, "later": 0, "parked": 0}
        self.obstacles: dict[Target, str] = {}  # why nothing can be sent there; '': looked at, and it can
        self._database = database
        self._client = client
        self._now = now
        self._making = Making(database, client, settings, shapes, around, obstacles=self.obstacles)
        self._tasks = TaskRows(database, client, settings, shapes, around)
        self._batch = 0  # records in a call; 0: not known yet

    @property
    def notes(self) -> tuple[str, ...]:
        """Return which fields stay empty, and why."""
        return tuple(sorted(self._tasks.notes))

    async def once(self) -> bool:
        """Go through what is due once; return whether rows left or were parked, for that may make others due."""
        left = self._left()
        last = 0
        while rows := await self._due(last):
            last = rows[-1].id
            for target, outgoing in (await self._prepare(rows)).items():
                waiting = list(outgoing)
                while waiting:
                    size = await self._size()
                    await self._send(target, waiting[:size])
                    waiting = waiting[size:]
        return self._left() > left

    def _left(self) -> int:
        return self.counts["sent"] + self.counts["idle"] + self.counts["parked"]

    async def _due(self, after: int) -> list[OutboxRow]:
        """Return the next rows; those that make contacts or other records have their external ids, on disk."""
        at = int(self._now())
        rows = await self._database.read(lambda conn: outbox.due(conn, at, MOST_RECORDS, after=after))
        bare = [row.id for row in rows if row.kind in {"contact", "record"} and not row.ref]
        if not bare:
            return rows
        await self._database.write(lambda conn: outbox.ensure_refs(conn, bare))
        return await self._database.read(lambda conn: outbox.due(conn, at, MOST_RECORDS, after=after))

    async def _prepare(self, rows: Sequence[OutboxRow]) -> dict[Target, list[Outgoing]]:
        """Return what to send, by where; rows with nothing to send, or with no way to, are dealt with.

        Rows of other kinds belong to other versions and stay.
        """
        at = int(self._now())
        ready, jobs = await self._making.prepare([row for row in rows if row.kind in making.KINDS], at)
        of_tasks = await self._tasks.prepare(
            [row for row in rows if row.kind in task_rows.KINDS and row.key], at
        )
        if of_tasks.obstacle:
            self.obstacles[task_rows.CREATE] = of_tasks.obstacle
        await self._note([*jobs, *of_tasks.jobs])
        by_target: dict[Target, list[Outgoing]] = {}
        for outgoing in (*ready, *of_tasks.outgoing):
            by_target.setdefault(outgoing.target, []).append(outgoing)
        return by_target

    # sending it

    async def _send(self, target: Target, outgoing: Sequence[Outgoing]) -> None:
        """Write records in one call and note what became of each.

        When the call is refused as a whole, the records are tried in ever smaller parts, to find the one. A record
        that is refused for its owner, or for whom it is about, is sent again without.
        """
        if self.obstacles.get(target):
            return
        records = [each.record for each in outgoing]
        try:
            results = await asyncio.to_thread(
                self._client.write, target.method, target.sobject, records, target.external_id
            )
        except SalesforceDown as error:
            await self._unanswered(outgoing, error)
            raise
        except SalesforceRefusal as error:
            if len(outgoing) > 1:
                half = len(outgoing) // 2
                await self._send(target, outgoing[:half])
                await self._send(target, outgoing[half:])
                return
            if not is_about_record(error.code):  # no other would fare better, and none is parked for it
                self.obstacles[target] = str(error)
                row = outgoing[0].row
                await self._note([("later", later(row, str(error), int(self._now()) + pause(row.attempts)))])
                return
            results = [RowResult("", False, False, error.code, str(error), error.fields)]
        await self._answered()
        at = int(self._now())
        jobs, again = [], []
        for each, result in zip(outgoing, results, strict=True):
            if (leaner := _leaner(each, result)) is not None:
                again.append(leaner)
            else:
                jobs.append(outcome_of(each, result, at))
        await self._note(jobs)
        if again:
            await self._send(target, again)

    async def _note(self, jobs: Sequence[tuple[Outcome, Job]]) -> None:
        """Write down what became of rows: each is a job of its own, so that one that fails harms no other."""
        writes = (self._database.write(job) for _, job in jobs)
        ends = await asyncio.gather(*writes, return_exceptions=True)
        for (outcome, _), end in zip(jobs, ends, strict=True):
            self.counts[outcome] += end is None
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    # how many at once: a call that never answers is tried again with fewer records

    async def _size(self) -> int:
        if not self._batch:
            state = await self._database.read(lambda conn: salesforce_state.get(conn, STATE))
            self._batch = int(state["batch"]) if state else MOST_RECORDS
        return self._batch

    async def _answered(self) -> None:
        if self._batch < MOST_RECORDS:
            await self._resize(min(self._batch * 2, MOST_RECORDS))

    async def _unanswered(self, outgoing: Sequence[Outgoing], error: SalesforceDown) -> None:
        if len(outgoing) > 1:
            await self._resize(len(outgoing) // 2)
        else:  # perhaps it is this one: let others have their turn
            row = outgoing[0].row
            at = int(self._now()) + min(pause(row.attempts), LONGEST_SILENCE)
            await self._note([("later", later(row, str(error), at))])

    async def _resize(self, size: int) -> None:
        self._batch = size
        at = int(self._now())
        await self._database.write(lambda conn: salesforce_state.put(conn, STATE, {"batch": size}, at))


def _leaner(outgoing: Outgoing, result: RowResult) -> Outgoing | None:
    """Return a refused record without the reference it was refused for, None where it was not for one."""
    if result.success:
        return None
    record = without_culprit(outgoing.record, result.code, result.message, result.fields)
    return replace(outgoing, record=record) if record is not None else None
