"""What became of a row of the outbox, and the jobs that note it.

Invariant: what Salesforce made and that its row is done are noted in one job, so in one transaction or not at all.
"""

from __future__ import annotations

from typing import Literal

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.salesforce.client import RowResult
from agi_server.salesforce.outgoing import Job, Outgoing
from agi_server.salesforce.verdicts import Verdict, judge, pause, reason
from storage import flags, outbox, sync, tasks
from storage.outbox import OutboxRow

log = structlog.get_logger()

Outcome = Literal["sent", "idle", "later", "parked"]  # idle: it went without having been sent

# Keys of a contact's calls and chats that have a Task, or may have one under way.
_TASKS_OF = (
    "WITH ids(id) AS (SELECT ?1 UNION SELECT id FROM contact_aliases WHERE contact_id = ?1), "
    "mine(key) AS (SELECT 'call:' || id FROM calls WHERE contact_id IN ids "
    "UNION ALL SELECT 'follow-up:' || id FROM calls WHERE contact_id IN ids "
    "UNION ALL SELECT 'chat:' || id FROM chats WHERE contact_id IN ids) "
    "SELECT key FROM mine WHERE EXISTS (SELECT 1 FROM tasks t WHERE t.key = mine.key) "
    "OR EXISTS (SELECT 1 FROM outbox o WHERE o.key = mine.key)"
)


def outcome_of(outgoing: Outgoing, result: RowResult, at: int) -> tuple[Outcome, Job]:
    """Return what became of a row, and the job that notes it."""
    row = outgoing.row
    if result.success:
        return "sent", outgoing.taken(result.id)
    verdict = judge(result.code, result.message, tries=row.attempts, update=outgoing.update)
    why = reason(result.code, result.message, result.fields, outgoing.setting)
    if verdict is Verdict.GONE:
        return "idle", outgoing.gone
    if verdict is Verdict.LATER:
        return "later", later(row, why, at + pause(row.attempts))
    log.warning(
        "a record waits for an admin: see `ostiary outbox list --parked`", row=row.id, code=result.code
    )
    return "parked", parked(row, why)


def linked(row: OutboxRow, sobject: str, salesforce_id: str, at: int) -> Job:
    """Return the job that notes whom a contact became; Tasks of its calls follow."""

    async def job(conn: AsyncConnection) -> None:
        contact = await sync.link(conn, row.contact_id or 0, salesforce_id)
        await conn.exec_driver_sql(
            "UPDATE contacts SET kind = ? WHERE id = ? AND salesforce_id = ?",
            (sobject, contact, salesforce_id),
        )
        for key in (await conn.exec_driver_sql(_TASKS_OF, (contact,))).scalars().all():
            await tasks.want(conn, key, due=at, now=at)
        await outbox.done(conn, [row.id])

    return job


def flagged(row: OutboxRow, at: int) -> Job:
    """Return the job that notes that Salesforce knows a contact's flag."""

    async def job(conn: AsyncConnection) -> None:
        await flags.sent(conn, [row.contact_id or 0], now=at)
        await outbox.done(conn, [row.id])

    return job


def made(row: OutboxRow, key: str, salesforce_id: str, at: int, *, closed: bool, then: str = "") -> Job:
    """Return the job that notes what a key has in Salesforce; the Task of the key `then`, if there is one, follows."""

    async def job(conn: AsyncConnection) -> None:
        await tasks.made(conn, key, salesforce_id, closed=closed, now=at)
        await outbox.done(conn, [row.id])
        if then:
            await tasks.follow(conn, then, now=at)

    return job


def done(row: OutboxRow) -> Job:
    """Return the job that lets a row go."""
    return lambda conn: outbox.done(conn, [row.id])


def later(row: OutboxRow, why: str, at: int) -> Job:
    """Return the job that has a row tried again at `at`."""
    return lambda conn: outbox.later(conn, row.id, why, at)


def parked(row: OutboxRow, why: str) -> Job:
    """Return the job that has a row wait for an admin."""
    return lambda conn: outbox.park(conn, row.id, why)
