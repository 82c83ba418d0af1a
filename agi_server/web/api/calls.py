"""The journal: which calls, what was decided of each and why, whose it was, and how many."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.call import Rung
from agi_server.calls.numbers import normalise
from agi_server.calls.record import Leg
from agi_server.errors import InputError, NotFoundError
from agi_server.events.schemas import Step
from agi_server.recordings import TYPES
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
from agi_server.web.recordings import send_recording
from agi_server.web.services import Services, Use
from storage.follow_ups import dismiss
from storage.history import (
    CallFilter,
    CallRow,
    assign,
    by_hour,
    by_verdict,
    calls,
    get_call,
    to_call_back,
    top_callers,
)

router = APIRouter(prefix="/calls", tags=["calls"])

Reader = Annotated[Actor, Depends(Needs(Scope.READ))]
Keeper = Annotated[Actor, Depends(Needs(Scope.CONTACTS))]
CallId = Annotated[str, Path(min_length=1, max_length=100)]
Text = Annotated[str, Query(max_length=100)]

DAY: Final = 24 * 3600
LONGEST: Final = 93 * DAY  # of statistics: they read every call of that time


class LegOut(BaseModel):
    """One phone's part in a call: `extension` of one of ours, else `number`; `held` is seconds on hold."""

    extension: str
    number: str
    via: str = Field(description="caller, dial, queue, pickup, transfer, conference, park, click")
    queue: str
    began_at: str
    answered_at: str | None
    ended_at: str | None
    held: int
    outcome: str = Field(description="answered, no answer, busy, elsewhere, cancelled, failed")


class TransferOut(BaseModel):
    """A call that was handed on, `by` and `to` extensions, or a number outside."""

    kind: str = Field(description="blind or attended")
    at: str
    by: str
    to: str


class CallOut(BaseModel):
    """A call; `ended_at` null: it goes on, or nobody told; `seconds` were spoken."""

    id: str
    uniqueid: str
    direction: str = Field(description="inbound, outbound, internal")
    started_at: str
    answered_at: str | None
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
    queue: str = Field(description="The queue that it went through; empty: none.")
    pbx: str = Field(description="Which PBX told of it; empty: none did.")
    told_by: str = Field(
        description=(
            "Who told how it went: ami, cdr, ended (the dialplan, HTTP), glimpse (AMI, which was cut off while it "
            "rang); empty: nobody."
        )
    )
    recording: bool = Field(description="There is a recording: GET /calls/{call_id}/recording.")
    task_url: str | None = Field(
        description="Its Task in Salesforce; null: there is none yet, or none is known."
    )


class TracedCall(CallOut):
    """A call, whose phones had a part in it, and how its decision came about."""

    legs: list[LegOut]
    transfers: list[TransferOut]
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
    direction: Literal["inbound", "outbound", "internal"] | None = None,
    did: Text = "",
    agent: Annotated[
        str, Query(max_length=100, description="Extension: routed to it, or it had a part in the call.")
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


@router.get("/to-call-back", response_model=Listed[CallOut], responses=problems())
async def list_to_call_back(
    services: Use,
    _: Reader,
    *,
    days: Annotated[int, Query(ge=1, le=90)] = 7,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List the last missed call of each caller with whom nobody has spoken since, the newest first; one page."""
    since = int(services.clock()) - days * DAY
    rows = await services.database.read(lambda conn: to_call_back(conn, since, limit=limit))
    return json_answer({"items": [_shown(services, row) for row in rows], "next": None})


@router.get("/{call_id}", response_model=TracedCall, responses=problems(404))
async def show(services: Use, _: Reader, call_id: CallId) -> Response:
    """Return a call with the trace of its decision."""
    call = await services.database.read(lambda conn: _call(conn, call_id))
    return json_answer(_traced(services, call))


@router.get(
    "/{call_id}/recording",
    response_class=Response,
    responses=problems(404)
    | {
        200: {"description": "The sound.", "content": {type_: {} for type_ in sorted({*TYPES.values()})}},
        206: {"description": "The piece of it that the header Range asks for."},
        416: {"description": "There is no such piece."},
    },
)
async def recording(services: Use, actor: Reader, call_id: CallId) -> Response:
    """Return the recording of a call, or a part of it (Range); who listens is in the audit log."""
    return await send_recording(services, actor, call_id)


@router.put("/{call_id}/contact", response_model=TracedCall, responses=problems(404))
async def assign_contact(services: Use, actor: Keeper, call_id: CallId, given: ContactOfCall) -> Response:
    """Say whose call it was."""

    async def job(conn: AsyncConnection) -> CallRow:
        await assign(conn, call_id, given.contact_id, who=actor.who, now=int(services.clock()))
        return await _call(conn, call_id)

    return json_answer(_traced(services, await services.database.write(job)))


@router.post("/{call_id}/settled", status_code=204, response_class=Response, responses=problems(404))
async def settled(services: Use, actor: Keeper, call_id: CallId) -> Response:
    """Say that nobody need call back; the Task to do so is closed."""
    now = int(services.clock())
    await services.database.write(lambda conn: dismiss(conn, call_id, who=actor.who, now=now))
    return Response(status_code=204)


async def list_of(services: Services, wanted: CallFilter, page: Asked) -> dict[str, Any]:
    """Return a page of calls as Listed[CallOut] has it."""
    rows, after = await services.database.read(
        lambda conn: calls(conn, wanted, limit=page.limit, after=page.after)
    )
    return {"items": [_shown(services, row) for row in rows], "next": after or None}


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


def _shown(services: Services, row: CallRow) -> dict[str, Any]:
    """Return a call as CallOut has it."""
    return {
        "id": row.id,
        "uniqueid": row.uniqueid,
        "direction": row.direction,
        "started_at": show_time(row.started_at) or "",
        "answered_at": show_time(row.answered_at),
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
        "queue": row.queue,
        "pbx": row.pbx,
        "told_by": row.told_by,
        "recording": bool(row.recording) and services.settings.recordings.directory is not None,
        "task_url": services.events.desk.task_url(row.task_id) or None,
    }


def _traced(services: Services, row: CallRow) -> dict[str, Any]:
    return _shown(services, row) | {
        "legs": [_leg(leg) for leg in row.legs],
        "transfers": [
            {"kind": each.kind, "at": show_time(int(each.at)) or "", "by": each.by, "to": each.to}
            for each in row.transfers
        ],
        "trace": [step._asdict() for step in row.trace],
    }


def _leg(leg: Leg) -> dict[str, Any]:
    return {
        "extension": leg.extension,
        "number": leg.number,
        "via": leg.via,
        "queue": leg.queue,
        "began_at": show_time(int(leg.began_at)) or "",
        "answered_at": show_time(int(leg.answered_at or 0)),
        "ended_at": show_time(int(leg.ended_at or 0)),
        "held": round(leg.held),
        "outcome": leg.outcome,
    }
