"""Who is it? Asked about a number, without a call: nothing is counted or put into the journal."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel

from agi_server import recordings
from agi_server.calls.call import Call, Decision, Rung
from agi_server.calls.decide import decide
from agi_server.calls.document import document
from agi_server.calls.numbers import NumberState, normalise
from agi_server.errors import InputError
from agi_server.events.schemas import Agent as AgentOut
from agi_server.events.schemas import Contact as ContactOut
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import NO_CACHE, json_answer, problems
from agi_server.web.api.contacts import ErasedOut
from agi_server.web.services import Services, Use
from storage.erasure import erase_number

router = APIRouter(prefix="/callers", tags=["callers"])

Keeper = Annotated[Actor, Depends(Needs(Scope.CONTACTS))]
Reader = Annotated[Actor, Depends(Needs(Scope.DECIDE))]
Number = Annotated[
    str, Path(max_length=255, description="As a trunk would send it: +4930…, 030…, 0049…, anonymous.")
]
Did = Annotated[str, Query(max_length=100, description="The number dialled.")]


class CallerOut(BaseModel):
    """Who has a number, and what would become of a call."""

    number: str
    number_state: NumberState
    display_name: str
    rung: Rung
    ambiguous: bool
    contact: ContactOut | None
    company: str
    agent: AgentOut | None
    verdict: Literal["allow", "block"]
    reason: str


@router.delete("/{number}", response_model=ErasedOut, responses=problems(409))
async def erase(services: Use, actor: Keeper, number: Number) -> Response:
    """Erase what is known of a number that is no contact's: who called, in calls and audit log.

    409 where it is a contact's: erase the contact.
    """
    normalised = normalise(number, services.directory.policy().default.region)
    if not normalised.digits:
        raise InputError(f"{number!r} is no number: of anonymous callers there is nothing to erase")
    erased = await erase_number(
        services.database,
        normalised,
        who=actor.who,
        now=int(services.clock()),
        delete=partial(recordings.erase, settings=services.settings),
    )
    return json_answer(erased._asdict())


@router.get("/{number}", response_model=CallerOut, responses=problems())
async def show(services: Use, _: Reader, number: Number, did: Did = "") -> Response:
    """Say who has a number."""
    told = document(_identified(services, number, did), 0)
    return json_answer({name: told[name] for name in CallerOut.model_fields})


@router.get(
    "/{number}/name",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
)
async def show_name(services: Use, _: Reader, number: Number, did: Did = "") -> Response:
    """Return the name to show, and nothing else; empty where nobody is known."""
    name = _identified(services, number, did).display_name
    return Response(name, media_type="text/plain; charset=utf-8", headers=NO_CACHE)


def _identified(services: Services, number: str, did: str) -> Decision:
    return decide(Call(id="", number=number, did=did), services.directory, services.clock())
