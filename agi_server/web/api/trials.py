"""Try before you trust: decisions by rules and settings as they are, or as they might be; nothing is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field, JsonValue
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.call import Call, Decision, TraceStep
from agi_server.calls.document import document
from agi_server.calls.replay import Difference, Replay
from agi_server.events.schemas import Decision as DecisionDocument
from agi_server.events.schemas import Step
from agi_server.settings import Settings
from agi_server.trials import MOST_CALLS, Edit, replay_calls, try_call
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import LARGEST, Document, Moment, json_answer, problems, read_time, show_time
from agi_server.web.api.rules import RuleIn, read_rule
from agi_server.web.services import Services, Use
from storage.overrides import changed, effective

router = APIRouter(prefix="/trials", tags=["trials"])

Read = Annotated[Actor, Depends(Needs(Scope.READ))]

DAY: Final = 86_400  # seconds
SHOWN: Final = 500  # calls at most in an answer
LONGEST: Final = 1000  # characters
COMPARED: Final = (
    "Each call is decided twice for the time it came, by what is in force now and by the edit, and these two are "
    "compared: contacts, agents and absences are today's in both, so nothing shows but the edit. "
    "Salesforce is not asked."
)


class RulesEdit(Document):
    """Rules that are tried; a rule to add takes the place of one of the same kind, pattern, DID and list."""

    add: list[RuleIn] = Field(default=[], max_length=1000)
    remove: list[Annotated[int, Field(strict=True, ge=1, le=LARGEST)]] = Field(
        default=[], max_length=10_000, description="Ids."
    )


class Tried(Document):
    """What is tried."""

    rules: RulesEdit = RulesEdit()
    settings: dict[str, JsonValue] = Field(
        default={}, max_length=100, description='By key, e.g. {"routing.ring_seconds": 30}.'
    )


class TriedCall(Tried):
    """A call that might come now."""

    number: str = Field(max_length=LONGEST, description="As a trunk would send it; empty: anonymous.")
    name: str = Field(default="", max_length=LONGEST, description="What the trunk calls the caller.")
    did: str = Field(default="", max_length=LONGEST, description="The number dialled.")
    trunk: str = Field(default="", max_length=LONGEST)
    presentation: int = Field(
        default=0, ge=0, le=255, strict=True, description="As Asterisk's: 32 restricted."
    )


class TriedAgain(Tried):
    """Calls of the past."""

    since: Moment | None = Field(default=None, description="null: for a day.")


class Side(BaseModel):
    """What a call came to on one side, and the steps to it that the other side has not."""

    verdict: str
    reason: str
    treatment: str
    route: str
    route_type: str
    ring_seconds: int
    fallback: str
    display_name: str
    create_contact: bool
    why: list[Step]


class Otherwise(BaseModel):
    """A call that would go otherwise; `what` names the members that differ."""

    id: str
    at: str | None
    number: str
    name: str
    did: str
    what: list[str]
    was: Side
    would_be: Side


class Replayed(BaseModel):
    """What an edit would have done; `items` holds the newest SHOWN of the calls that would go otherwise."""

    since: str | None
    calls: int
    complete: bool = Field(description=f"No call was left out: there are no more than {MOST_CALLS}.")
    otherwise: int
    newly_blocked: int
    no_longer_blocked: int
    compared: str
    items: list[Otherwise]


@router.post("", response_model=DecisionDocument, responses=problems(404, 409))
async def try_(use: Use, _actor: Read, tried: TriedCall) -> Response:
    """Decide a call that does not come, as it would be now."""
    now = use.clock()
    call = Call(
        id="trial",
        number=tried.number,
        name=tried.name,
        did=tried.did,
        trunk=tried.trunk,
        presentation=tried.presentation,
    )
    edit = await edit_of(use, tried)
    decision = await asyncio.to_thread(try_call, use.database.path, use.settings, call, edit, now)
    return json_answer(document(decision, now))


@router.post("/replay", response_model=Replayed, responses=problems(404, 409))
async def replay(use: Use, _actor: Read, tried: TriedAgain) -> Response:
    """Decide the inbound calls of the last day, or since then, anew."""
    since = read_time(tried.since) or int(use.clock()) - DAY
    edit = await edit_of(use, tried)
    done = await asyncio.to_thread(replay_calls, use.database.path, use.settings, edit, since)
    return json_answer(replay_document(done, since))


async def edit_of(use: Services, tried: Tried) -> Edit:
    """Return what a document wants tried. Raises InputError, NotFoundError and ConflictError."""
    policy = use.directory.policy()
    settings: Settings | None = None
    if tried.settings:

        async def job(conn: AsyncConnection) -> Settings:
            return await effective(conn, use.settings)

        settings = await use.database.read(job)
        for key, value in tried.settings.items():
            settings = changed(settings, key, value)
    return Edit(
        add=[read_rule(rule, policy) for rule in tried.rules.add],
        remove=frozenset(tried.rules.remove),
        settings=settings,
    )


def replay_document(done: Replay, since: int) -> dict[str, Any]:
    """Return what a replay brought as a document."""
    return {
        "since": show_time(since),
        "calls": done.calls,
        "complete": done.calls < MOST_CALLS,
        "otherwise": len(done.differences),
        "newly_blocked": done.verdicts.get(("allow", "block"), 0),
        "no_longer_blocked": done.verdicts.get(("block", "allow"), 0),
        "compared": COMPARED,
        "items": [_otherwise(each) for each in islice(done.differences, SHOWN)],
    }


def _otherwise(difference: Difference) -> dict[str, Any]:
    past, was, would_be = difference.call, difference.was, difference.would_be
    return {
        "id": past.id,
        "at": show_time(past.at),
        "number": was.number.text or past.number,
        "name": past.name,
        "did": past.did,
        "what": difference.what,
        "was": _side(was, would_be.trace),
        "would_be": _side(would_be, was.trace),
    }


def _side(decision: Decision, other: Sequence[TraceStep]) -> dict[str, Any]:
    return {
        "verdict": decision.verdict,
        "reason": decision.reason,
        "treatment": decision.treatment,
        "route": decision.route,
        "route_type": decision.route_type,
        "ring_seconds": decision.ring_seconds,
        "fallback": decision.fallback,
        "display_name": decision.display_name,
        "create_contact": decision.create_contact,
        "why": [step._asdict() for step in decision.trace if step not in other],
    }
