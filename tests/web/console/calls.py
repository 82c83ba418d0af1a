"""Calls for the console's tests, decided and written as the call path and the journal do."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.call import Call, Decision, Direction
from agi_server.calls.decide import decide, decide_outgoing
from agi_server.calls.record import Record
from agi_server.journal import record_of
from storage.calls import end_call, record_calls
from storage.records import tell
from tests.web.front import Front

NAUGHTY = "<img src=x onerror=alert(1)>\u2028\u202e\x07\"'&"  # a name that a caller chose


async def journal(front: Front, id_: str, number: str, *, ago: int = 60, **more: Any) -> Decision:
    """Have a call decided so many seconds ago, and write it down; `disposition` ends it."""
    at = int(front.clock()) - ago
    disposition, by = more.pop("disposition", ""), more.pop("answered_by", "")
    call = Call(id=id_, number=number, **more)
    outbound = call.direction is Direction.OUTBOUND
    decision = (decide_outgoing if outbound else decide)(call, front.services.directory, at)
    record = orjson.loads(orjson.dumps(record_of(decision) | {"started_at": at}, default=list))

    async def job(conn: AsyncConnection) -> None:
        await record_calls(conn, [record])
        if disposition:
            await end_call(
                conn, call_id=id_, ended_at=at + 30, disposition=disposition, seconds=20, answered_by=by
            )

    await front.database.write(job)
    return decision


async def converse(front: Front, linkedid: str, *, ago: int = 60, **more: Any) -> str:
    """Have AMI tell of a conversation that began so many seconds ago and took 30; return the call's id."""
    at = int(front.clock()) - ago
    record = Record(
        pbx="pbx", linkedid=linkedid, started_at=at, ended_at=at + 30, **{"number": "+34911234567"} | more
    )

    async def job(conn: AsyncConnection) -> str:
        return await tell(
            conn, record, tasks=front.settings.tasks, region="DE", decided=None, now=int(front.clock())
        )

    return await front.database.write(job)
