"""The journal: which calls, what was decided of each and why, whose it was, and how many."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.call import Direction, Rung
from agi_server.calls.numbers import normalise
from agi_server.errors import InputError, NotFoundError
from agi_server.events.schemas import Step
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import (
    LARGEST,
    Document,
    Moment,
    Whole,
    json_answer,
    problems,
    read_time,
    show_time,
)
from agi_server.web.paging import Asked, Listed, Paging
from agi_server.web.services import Services, Use
from storage.history import CallFilter, CallRow, assign, by_hour, by_verdict, calls, get_call, top_callers

router = APIRouter(prefix="/calls", tags=["calls"])

Reader = Annotated[Actor, Depends(Needs(Scope.READ))]
Keeper = Annotated[Actor, Depends(Needs(Scope.CONTACTS))]
CallId = Annotated[str, Path(min_length=1, max_length=100)]
Text = Annotated[str, Query(max_length=100)]

DAY: Final = 24 * 3600
LONGEST: Final = 93 * DAY  # of statistics: they read every call of that time


class CallOut(BaseModel):
    """A call; `ended_at` null: it goes on, or nobody told; `seconds` were spoken."""

    id: str
    uniqueid: str
    direction: str
    started_at: str
    ended_at: str | None
    number: str
    number_sent: str
    name: str
    did: str
    trunk: str
    contact_id: int | None
    contact_name: str
    rung: str
    verdict: str
    reason: str
    rule_id: int | None
    routed_to: str
    answered_by: str
    disposition: str
    seconds: int | None


class TracedCall(CallOut):
    """A call and how its decision came about."""

    trace: list[Step]


class ContactOfCall(Document):
    """Whose call it was; null: nobody's that we know."""

    contact_id: Annotated[Whole, Field(ge=1, le=LARGEST)] | None


class HourOut(BaseModel):
    """Inbound calls within one hour; hours without any are left out."""

    at: str
    allowed: int
    blocked: int


class CallerCount(BaseModel):
    """Who called how often."""

    number: str
    name: str
    contact_id: int | None
    count: int
    blocked: int
    last_at: str


class Statistics(BaseModel):
    """Inbound calls from `since` to before `until`."""

    since: str
    until: str
    verdicts: dict[str, int]
    hours: list[HourOut]
    callers: list[CallerCount]


@router.get("", response_model=Listed[CallOut], responses=problems())
async def list_calls(
    services: Use,
    _: Reader,
    page: Paging,
    *,
    q: Annotated[str, Query(max_length=100, description="Part of a name or a number as it was sent.")] = "",
    number: Annotated[str, Query(max_length=100, description="A number in any spelling.")] = "",
    contact_id: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    verdict: Literal["allow", "block"] | None = None,
    direction: Direction | None = None,
    did: Text = "",
    agent: Annotated[
        str, Query(max_length=100, description="Extension: routed to it, or answered by it.")
    ] = "",
    reason: Text = "",
    rung: Rung | None = None,
    since: Annotated[Moment | None, Query(description="The first second.")] = None,
    until: Annotated[Moment | None, Query(description="The last second.")] = None,
) -> Response:
    """List calls, the newest first. A page may be short, or empty, and have a next one: the search goes on there."""
    wanted = CallFilter(
        text=q,
        number=_number(services, number),
        contact_id=contact_id,
        verdict=verdict or "",
        direction=direction or "",
        did=did,
        agent=agent,
        reason=reason,
        rung=rung or "",
        since=read_time(since),
        until=read_time(until),
    )
    return json_answer(await list_of(services, wanted, page))


@router.get("/statistics", response_model=Statistics, responses=problems())
async def count(
    services: Use,
    _: Reader,
    since: Annotated[Moment | None, Query(description="Default: a day before `until`.")] = None,
    until: Annotated[Moment | None, Query(description="Default: now.")] = None,
    top: Annotated[int, Query(ge=1, le=100, description="Callers at most.")] = 10,
) -> Response:
    """Count inbound calls by hour, by verdict and by caller."""
    end = read_time(until) or int(services.clock())
    start = read_time(since) or end - DAY
    if not 0 <= end - start <= LONGEST:
        raise InputError(f"since … until: at most {LONGEST // DAY} days, and none the other way round")

    async def job(conn: AsyncConnection) -> dict[str, Any]:
        return {
            "since": show_time(start),
            "until": show_time(end),
            "verdicts": dict(await by_verdict(conn, start, end)),
            "hours": [
                {"at": show_time(hour.at), "allowed": hour.allowed, "blocked": hour.blocked}
                for hour in await by_hour(conn, start, end)
            ],
            "callers": [
                {
                    "number": f"+{caller.number}",
                    "name": caller.name,
                    "contact_id": caller.contact_id,
                    "count": caller.count,
                    "blocked": caller.blocked,
                    "last_at": show_time(caller.last_at),
                }
                for caller in await top_callers(conn, start, end, limit=top)
            ],
        }

    return json_answer(await services.database.read(job))


@router.get("/{call_id}", response_model=TracedCall, responses=problems(404))
async def show(services: Use, _: Reader, call_id: CallId) -> Response:
    """Return a call with the trace of its decision."""
    return json_answer(_traced(await services.database.read(lambda conn: _call(conn, call_id))))


@router.put("/{call_id}/contact", response_model=TracedCall, responses=problems(404))
async def assign_contact(services: Use, actor: Keeper, call_id: CallId, given: ContactOfCall) -> Response:
    """Say whose call it was."""

    async def job(conn: AsyncConnection) -> CallRow:
        await assign(conn, call_id, given.contact_id, who=actor.who, now=int(services.clock()))
        return await _call(conn, call_id)

    return json_answer(_traced(await services.database.write(job)))


async def list_of(services: Services, wanted: CallFilter, page: Asked) -> dict[str, Any]:
    """Return a page of calls as Listed[CallOut] has it."""
    rows, after = await services.database.read(
        lambda conn: calls(conn, wanted, limit=page.limit, after=page.after)
    )
    return {"items": [_shown(row) for row in rows], "next": after or None}


async def _call(conn: AsyncConnection, call_id: str) -> CallRow:
    row = await get_call(conn, call_id)
    if row is None:
        raise NotFoundError(f"there is no call {call_id!r}; calls are forgotten after a time")
    return row


def _number(services: Services, text: str) -> int:
    """Return the E.164 digits of a number; 0 for ''. Raises InputError."""
    number = normalise(text, services.directory.policy().default.region)
    if text and not number.e164:
        raise InputError(f"number: {text!r} is no telephone number; write it as +49301234567")
    return number.e164


def _shown(row: CallRow) -> dict[str, Any]:
    """Return a call as CallOut has it."""
    return {
        "id": row.id,
        "uniqueid": row.uniqueid,
        "direction": row.direction,
        "started_at": show_time(row.started_at) or "",
        "ended_at": show_time(row.ended_at),
        "number": f"+{row.number}" if row.number else "",
        "number_sent": row.number_text,
        "name": row.name,
        "did": row.did,
        "trunk": row.trunk,
        "contact_id": row.contact_id,
        "contact_name": row.contact_name,
        "rung": row.rung,
        "verdict": row.verdict,
        "reason": row.reason,
        "rule_id": row.rule_id,
        "routed_to": row.routed_to,
        "answered_by": row.answered_by,
        "disposition": row.disposition,
        "seconds": row.seconds,
    }


def _traced(row: CallRow) -> dict[str, Any]:
    return _shown(row) | {"trace": [step._asdict() for step in row.trace]}
