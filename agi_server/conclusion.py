"""What follows from the end of a call, whoever tells of it: its record, its Tasks, a contact of an unknown caller.

Invariant: all of it is one transaction of the teller's, so that a call that is on record has what follows from it; and
each part may be done again without doing it twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.record import Record
from agi_server.salesforce.creation import after_call
from agi_server.settings import Settings, Tasks
from storage.calls import end_call
from storage.records import tell

_NO_TASKS = Tasks(enabled=False, follow_up=False)


def wanted_tasks(settings: Settings) -> Tasks:
    """Return which Tasks are to be made of calls: none where Salesforce is not used."""
    return settings.tasks if settings.salesforce.enabled else _NO_TASKS


async def conclude(
    conn: AsyncConnection, record: Record, settings: Settings, *, decided: Mapping[str, object] | None = None
) -> str:
    """Put a finished conversation on record; return the call's id. See `storage.records.tell` for `decided`."""
    now = int(time.time())
    call_id = await tell(
        conn,
        record,
        tasks=wanted_tasks(settings),
        region=settings.numbers.region,
        decided=decided,
        now=now,
    )
    await after_call(conn, call_id, settings, now)
    return call_id


async def conclude_call(conn: AsyncConnection, told: Mapping[str, Any], settings: Settings) -> None:
    """Put on record how a call went, as its dialplan or another program tells (a record of journal.py's `ended`)."""
    call_id = await end_call(conn, **told, tasks=wanted_tasks(settings))
    if call_id:
        await after_call(conn, call_id, settings, int(time.time()))
