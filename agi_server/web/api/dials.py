"""Calls by a click: an agent's telephone rings, then somebody is dialled (docs/click-to-call.md)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, Field, StrictBool

from agi_server.calls.dialling import Refusal
from agi_server.errors import NotFoundError
from agi_server.web import dialling
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import Document, Line, json_answer, problems, show_time
from agi_server.web.paging import Listed, Paging
from agi_server.web.problems import problem
from agi_server.web.services import Use
from storage.dials import Dial, get, page

router = APIRouter(tags=["click to call"])

Read = Annotated[Actor, Depends(Needs(Scope.READ))]
Dialler = Annotated[Actor, Depends(Needs(Scope.DIAL))]
DialId = Annotated[str, Path(min_length=1, max_length=64)]

State = Literal["asked", "ringing-agent", "dialling", "ringing", "answered", "ended", "failed"]
# What the number itself says, whatever the settings are: 422. Anything else is a matter of rules: 409.
_UNUSABLE = frozenset({"no-number", "code", "self"})


class NewDial(Document):
    """Who is to call whom."""

    agent: Annotated[Line, Field(min_length=1)] = Field(
        description="Extension of the agent whose phone rings first."
    )
    number: Annotated[Line, Field(min_length=1)] = Field(
        description="A number in any spelling, a tel: link, or an extension."
    )
    override: StrictBool = Field(
        default=False,
        description="Dial though the number is blacklisted or does not want to be called; needs the scope admin.",
    )


class DialOut(BaseModel):
    """A call ordered by a click. `reason` says why it failed; `call_id` is the call that came of it, once known."""

    id: str
    agent: str
    number: str
    name: str
    contact_id: int | None
    state: State
    reason: str
    asked_at: str
    changed_at: str
    who: str
    call_id: str


@router.post(
    "/calls",
    status_code=202,
    response_model=DialOut,
    responses=problems(409, 429)
    | {200: {"model": DialOut, "description": "It was ordered a moment ago: it is the same call."}},
)
async def order(use: Use, actor: Dialler, new: NewDial) -> Response:
    """Have an agent's telephone ring, then dial. Progress comes as events `call.progress`."""
    ordered = await dialling.order(use, actor, new.agent, new.number, override=new.override)
    if isinstance(ordered, Refusal):
        status = 422 if ordered.reason in _UNUSABLE else 409
        return problem(status, ordered.text, reason=ordered.reason)
    if ordered.dial is None:
        return problem(
            429,
            f"the agent {new.agent} has dialled {use.settings.dialling.per_minute} times within a minute "
            "(dialling.per_minute); wait a little",
            headers={"Retry-After": str(ordered.wait)},
        )
    location = {"Location": f"/api/v1/dials/{ordered.dial.id}"}
    return json_answer(shown(ordered.dial), 202 if ordered.new else 200, location)


@router.get("/dials", response_model=Listed[DialOut], responses=problems())
async def list_dials(
    use: Use,
    _: Read,
    paging: Paging,
    agent: Annotated[str, Query(max_length=80, description="Extension of the agent who dials.")] = "",
) -> Response:
    """List the calls ordered by a click, the newest first."""
    found, after = await use.database.read(
        lambda conn: page(conn, agent=agent, limit=paging.limit, after=paging.after)
    )
    return json_answer({"items": [shown(dial) for dial in found], "next": after or None})


@router.get("/dials/{dial_id}", response_model=DialOut, responses=problems(404))
async def show(use: Use, _: Read, dial_id: DialId) -> Response:
    """Say how far a call has come that was ordered by a click."""
    found = await use.database.read(lambda conn: get(conn, dial_id))
    if found is None:
        raise NotFoundError(f"no call {dial_id!r} was ordered; they are forgotten after a time")
    return json_answer(shown(found))


@router.delete(
    "/dials/{dial_id}",
    status_code=202,
    response_model=DialOut,
    responses=problems(404) | {200: {"model": DialOut, "description": "It is over."}},
)
async def cancel(use: Use, actor: Dialler, dial_id: DialId) -> Response:
    """End a call that was ordered by a click, however far it has come; that it has ended comes as an event."""
    dial = await dialling.cancel(use, actor, dial_id)
    return json_answer(shown(dial), 200 if dial.over else 202)


def shown(dial: Dial) -> dict[str, Any]:
    """Return a dial as DialOut has it."""
    return {
        "id": dial.id,
        "agent": dial.agent,
        "number": dial.text,
        "name": dial.name,
        "contact_id": dial.contact_id,
        "state": dial.state,
        "reason": dial.reason,
        "asked_at": show_time(dial.asked_at) or "",
        "changed_at": show_time(dial.changed_at) or "",
        "who": dial.who,
        "call_id": dial.call_id,
    }
