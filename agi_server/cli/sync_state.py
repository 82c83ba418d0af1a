"""The check of the exchange with Salesforce: how the worker's last round went, as the database knows it."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.cli import parts
from agi_server.cli.finding import Finding, Verdict
from agi_server.salesforce.report import STATE
from agi_server.settings import Settings
from storage import outbox, salesforce_state
from storage import sync as directory

LATE = 10  # intervals without a round that was done
LEAST_LATE = 900  # seconds
LASTING = {"login", "settings"}  # failures that only an admin ends


class _Stand(NamedTuple):
    last: dict[str, Any] | None
    waits: outbox.Counts
    unread: int


async def sync(settings: Settings) -> Finding:
    """See whether the directory is in step with Salesforce, and what waits to be written there."""
    if not settings.salesforce.enabled:
        return Finding(Verdict.OFF, "salesforce.enabled is false")

    async def job(connection: AsyncConnection) -> _Stand:
        return _Stand(
            await salesforce_state.get(connection, STATE),
            await outbox.counts(connection),
            await directory.count_unread(connection),
        )

    stand = await parts.read(settings, job)
    if stand is None:
        return Finding(Verdict.OFF, "no database yet")
    return _found(stand, settings.salesforce.sync_interval, int(time.time()))


def _found(stand: _Stand, interval: int, now: int) -> Finding:
    last = stand.last
    waits = _waits(stand, now)
    if last is None:
        return Finding(
            Verdict.WARN,
            f"no round was tried yet; {waits}",
            "start the server: its worker does them (`ostiary sync` alone is none)",
        )
    age = now - last["ok_at"] if last["ok_at"] else None
    done = f"last in step {_span(age)} ago" if age is not None else "never in step yet"
    late = age is None or age > max(LATE * interval, LEAST_LATE)
    if last["kind"]:
        verdict = Verdict.FAIL if last["kind"] in LASTING or late else Verdict.WARN
        text = f"{last['error']} (for {_span(now - last['since'])}); {done}; {waits}"
        return Finding(verdict, text, "calls go on with what is known; the log has more")
    used = "" if not last["usage"] else f"{last['usage'][0]} of {last['usage'][1]} API calls used; "
    text = f"{done}; {used}{waits}"
    if late:
        return Finding(Verdict.WARN, text, "does the server run, or `ostiary sync` hold it up?")
    if stand.waits.parked:
        return Finding(Verdict.WARN, text, "see what Salesforce refused: `ostiary outbox list --parked`")
    if last["notes"]:
        return Finding(Verdict.OK, f"{text}; {'; '.join(last['notes'])}")
    return Finding(Verdict.OK, text)


def _waits(stand: _Stand, now: int) -> str:
    waits = stand.waits
    oldest = f" (the oldest for {_span(now - waits.oldest_at)})" if waits.oldest_at else ""
    return (
        f"to be written: {waits.waiting}{oldest}, refused: {waits.parked}; "
        f"fields without a number that can be dialled: {stand.unread}"
    )


def _span(seconds: int) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"
