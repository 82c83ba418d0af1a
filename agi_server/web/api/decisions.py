"""The same decision for any switch that can ask over HTTP, and how its calls went.

Speed matters here as nowhere else in the API: bodies are read and answers written past FastAPI's own ways, the models
check the one and describe the other.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Annotated, Any, Final, Literal

import structlog
from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field, TypeAdapter

from agi_server.calls.call import Call, Decision, Direction
from agi_server.calls.decide import decide, decide_outgoing
from agi_server.calls.document import document
from agi_server.errors import DirectoryError
from agi_server.events.calls import announce_decision
from agi_server.events.schemas import Decision as DecisionDocument
from agi_server.scripts.insert import PATIENCE, insert_contact
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import Document, Whole, json_answer, problems
from agi_server.web.bodies import parse_body, read_body
from agi_server.web.services import Services, Use, services_of

router = APIRouter(tags=["decisions"])
log = structlog.get_logger()

Switch = Annotated[Actor, Depends(Needs(Scope.DECIDE))]
CallId = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._:-]+$")]
Extension = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_/@.+&-]*$")]

MOST_BYTES: Final = 16_384
LONGEST: Final = 1000  # characters of any text of a switch


class Asked(Document):
    """A call, as the switch tells of it; nothing is trusted."""

    number: str = Field(
        max_length=LONGEST, description="The caller's, of an outbound call the one dialled; empty: anonymous."
    )
    name: str = Field("", max_length=LONGEST, description="What the trunk calls the caller.")
    did: str = Field("", max_length=LONGEST, description="The number dialled.")
    trunk: str = Field("", max_length=LONGEST)
    presentation: Whole = Field(
        0, ge=0, le=255, description="As Asterisk's: 32 restricted, 64 not available."
    )
    direction: Literal["inbound", "outbound"] = "inbound"
    extension: str = Field("", max_length=LONGEST, description="Of an outbound call: who dials.")
    uniqueid: str = Field("", max_length=LONGEST, description="The switch's own id of the call.")


class Answered(Document):
    """Who answered."""

    extension: Extension = ""


class Ended(Document):
    """How a call went."""

    disposition: str = Field(
        "", max_length=40, pattern=r"^[A-Za-z0-9 _-]*$", description="answered, busy, no answer, …"
    )
    seconds: Whole = Field(0, ge=0, le=10_000_000, description="Spoken.")
    answered_by: Extension = ""


_ASKED: Final = TypeAdapter(Asked)


@router.post(
    "/decisions",
    response_model=DecisionDocument,
    responses=problems(413),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": Asked.model_json_schema()}},
        }
    },
)
async def make(request: Request, _: Switch) -> Response:
    """Decide a call. An answer comes with the database gone, too: the call is let in."""
    since = perf_counter()
    services = services_of(request)
    asked = parse_body(_ASKED, await read_body(request, MOST_BYTES))
    now = services.clock()
    call = Call(
        id=services.new_call_id(),
        number=asked.number,
        direction=Direction(asked.direction),
        name=asked.name,
        did=asked.did,
        trunk=asked.trunk,
        presentation=asked.presentation,
        extension=asked.extension,
        uniqueid=asked.uniqueid,
    )
    outbound = call.direction is Direction.OUTBOUND
    decision = (decide_outgoing if outbound else decide)(call, services.directory, now)
    services.server.decided(decision, perf_counter() - since)
    told = document(decision, now)
    announce_decision(services.events, told)
    if decision.create_contact:
        told = {**told, "contact": await _new_contact(services, decision, since)}
    return json_answer(told)


@router.post("/calls/{call_id}/answered", status_code=202, response_class=Response, responses=problems())
async def answered(services: Use, _: Switch, call_id: CallId, given: Answered) -> Response:
    """Tell that a call was answered."""
    services.server.answered(
        call_id=call_id, uniqueid="", at=int(services.clock()), extension=given.extension
    )
    return Response(status_code=202)


@router.post("/calls/{call_id}/ended", status_code=202, response_class=Response, responses=problems())
async def ended(services: Use, _: Switch, call_id: CallId, given: Ended) -> Response:
    """Tell how a call went."""
    services.server.ended(
        call_id=call_id,
        uniqueid="",
        ended_at=int(services.clock()),
        disposition=given.disposition.lower(),
        seconds=given.seconds,
        answered_by=given.answered_by,
    )
    return Response(status_code=202)


async def _new_contact(services: Services, decision: Decision, since: float) -> dict[str, Any] | None:
    """Make a contact of an unknown caller; None where that cannot be done in time: the call goes on."""
    left = since + services.settings.fastagi.deadline * PATIENCE - perf_counter()
    number = decision.number
    try:
        async with asyncio.timeout(left):
            found = await insert_contact(
                services.database,
                decision.call,
                data=number.text,
                ani=number,
                database="",
                now=int(services.clock()),
            )
    except DirectoryError as error:
        log.error("contact not stored, the call goes on", error=str(error))
        return None
    except TimeoutError:
        log.error("contact not stored in time, the call goes on", seconds=left)
        return None
    return {
        "id": found.id,
        "kind": "Contact",
        "name": number.text,
        "account": "",
        "owner": "",
        "owner_email": "",
        "vip": False,
        "salesforce_id": found.salesforce_id,
    }
