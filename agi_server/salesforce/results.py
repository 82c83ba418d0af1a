"""What became of a row of the outbox, and the jobs that note it.

Invariant: what Salesforce made and that its row is done are noted in one job, so in one transaction or not at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.salesforce.client import RowResult
from agi_server.salesforce.verdicts import Verdict, judge, pause, reason
from storage import flags, outbox, sync
from storage.outbox import OutboxRow

log = structlog.get_logger()

Job = Callable[[AsyncConnection], Awaitable[None]]
Outcome = Literal["sent", "idle", "later", "parked"]  # idle: it went without having been sent


def outcome_of(row: OutboxRow, sobject: str, result: RowResult, at: int) -> tuple[Outcome, Job]:
    """Return what became of a row, and the job that notes it."""
    if result.success:
        return "sent", (_flagged(row, at) if row.kind == "flag" else _linked(row, sobject, result.id))
    verdict = judge(result.code, result.message, tries=row.attempts, update=row.kind == "flag")
    why = reason(result.code, result.message, result.fields)
    if verdict is Verdict.GONE:
        return "idle", done(row)
    if verdict is Verdict.LATER:
        return "later", later(row, why, at + pause(row.attempts))
    log.warning(
        "a record waits for an admin: see `ostiary outbox list --parked`", row=row.id, code=result.code
    )
    return "parked", parked(row, why)


def _linked(row: OutboxRow, sobject: str, salesforce_id: str) -> Job:
    async def job(conn: AsyncConnection) -> None:
        contact = await sync.link(conn, row.contact_id or 0, salesforce_id)
        await conn.exec_driver_sql(
            "UPDATE contacts SET kind = ? WHERE id = ? AND salesforce_id = ?",
            (sobject, contact, salesforce_id),
        )
        await outbox.done(conn, [row.id])

    return job


def _flagged(row: OutboxRow, at: int) -> Job:
    async def job(conn: AsyncConnection) -> None:
        await flags.sent(conn, [row.contact_id or 0], now=at)
        await outbox.done(conn, [row.id])

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
