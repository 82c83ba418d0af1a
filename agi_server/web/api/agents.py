"""Agents: people with an extension. One extension, one agent; the default responsible is routing.default_agent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import POPS, Agent
from agi_server.errors import InputError, NotFoundError
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import (
    Document,
    Line,
    LongLine,
    Moment,
    json_answer,
    problems,
    read_time,
    show_time,
)
from agi_server.web.etags import IfMatch, IfNoneMatch, etag, require, require_put
from agi_server.web.paging import Listed, Paging
from agi_server.web.services import Use
from storage.agents import list_agents, put_agent, remove_agent, set_absence

router = APIRouter(prefix="/agents", tags=["agents"])

# As a dialplan may dial it, but for the slash, which ends a step of a path.
EXTENSION = r"^[A-Za-z0-9_@+&-][A-Za-z0-9_@.+&-]*$"
DIALLABLE = r"^[A-Za-z0-9_/@.+&-]*$"

Extension = Annotated[str, Path(max_length=80, pattern=EXTENSION, description="The agent's extension.")]
Pop = Literal["ringing", "answer", "off"]
Read = Annotated[Actor, Depends(Needs(Scope.READ))]
Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN))]


class AgentValues(Document):
    """What an agent is besides the extension; what is left out is empty."""

    name: Line = ""
    email: Line = Field(default="", description="Of the Salesforce User who owns the agent's contacts.")
    salesforce_user_id: Line = ""
    hours: LongLine = Field(
        default="", description="Mo-Fr 09:00-13:00,14:00-18:00; Sa 10:00-12:00; empty: always."
    )
    timezone: Line = Field(default="", description="Of the hours; empty: routing.timezone.")
    delegate: Annotated[str, Field(max_length=80, pattern=DIALLABLE)] | None = Field(
        default=None, description="Extension of the agent who takes over."
    )
    ring_seconds: int = Field(default=0, strict=True, ge=0, le=600, description="0: as the DID says.")
    fallback: str = Field(
        default="",
        max_length=80,
        pattern=DIALLABLE,
        description="What to dial when nobody answers; empty: as the DID says.",
    )
    pop: Pop = Field(default="ringing", description="When a caller is put on the agent's screen.")


class AgentDocument(BaseModel):
    """An agent."""

    extension: str
    name: str
    email: str
    salesforce_user_id: str
    hours: str
    timezone: str
    delegate: str | None
    ring_seconds: int
    fallback: str
    pop: Pop
    absent_until: str | None


class Absence(Document):
    """How long an agent is away."""

    until: Moment | None = Field(description="null: the agent is there.")


@router.get("", response_model=Listed[AgentDocument], responses=problems())
async def list_(use: Use, _actor: Read, paging: Paging) -> Response:
    """List the agents by extension."""
    agents = await use.database.read(list_agents)
    extension_of = {agent.id: agent.extension for agent in agents}
    left = [agent for agent in agents if agent.extension > paging.after]
    page = left[: paging.limit]
    after = page[-1].extension if len(left) > len(page) else None
    return json_answer({"items": [document(agent, extension_of) for agent in page], "next": after})


@router.get("/{extension}", response_model=AgentDocument, responses=problems(404))
async def get(use: Use, _actor: Read, extension: Extension) -> Response:
    """Return the agent with this extension."""
    return _answer(await use.database.read(lambda conn: _known(conn, extension)))


@router.put(
    "/{extension}",
    response_model=AgentDocument,
    responses=problems(404, 412) | {201: {"model": AgentDocument, "description": "It is new."}},
)
async def put(
    use: Use,
    actor: Admin,
    extension: Extension,
    values: AgentValues,
    *,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Add an agent, or change the one with this extension. Absence stays as it is."""

    async def job(conn: AsyncConnection) -> tuple[dict[str, Any], bool]:
        agents = await list_agents(conn)
        there = _find(agents, extension)
        require_put(if_match, if_none_match, etag(_document(there, agents)) if there is not None else None)
        delegate = 0
        if values.delegate:
            if (other := _find(agents, values.delegate)) is None:
                raise InputError(f"delegate: no agent has the extension {values.delegate!r}")
            delegate = other.id
        agent = Agent(
            id=there.id if there is not None else 0,
            extension=extension,
            absent_until=there.absent_until if there is not None else 0,
            delegate=delegate,
            **values.model_dump(exclude={"delegate"}),
        )
        await put_agent(conn, agent, who=actor.who, now=int(use.clock()))
        return await _known(conn, extension), there is None

    put_, new = await use.database.write(job)
    return _answer(put_, status=201 if new else 200)


@router.delete("/{extension}", status_code=204, responses=problems(404, 412))
async def delete(use: Use, actor: Admin, extension: Extension, if_match: IfMatch = None) -> Response:
    """Remove an agent; who delegated to them delegates to nobody."""

    async def job(conn: AsyncConnection) -> None:
        require(if_match, etag(await _known(conn, extension)))
        await remove_agent(conn, extension, who=actor.who, now=int(use.clock()))

    await use.database.write(job)
    return Response(status_code=204)


@router.post("/{extension}/absence", response_model=AgentDocument, responses=problems(404))
async def absence(use: Use, actor: Admin, extension: Extension, absent: Absence) -> Response:
    """Say until when an agent is away: calls go to the delegate meanwhile."""
    until = read_time(absent.until)

    async def job(conn: AsyncConnection) -> dict[str, Any]:
        await set_absence(conn, extension, until, who=actor.who, now=int(use.clock()))
        return await _known(conn, extension)

    return _answer(await use.database.write(job))


def document(agent: Agent, extension_of: Mapping[int, str]) -> dict[str, Any]:
    """Return an agent as a document; `extension_of` names delegates by id."""
    return {
        "extension": agent.extension,
        "name": agent.name,
        "email": agent.email,
        "salesforce_user_id": agent.salesforce_user_id,
        "hours": agent.hours,
        "timezone": agent.timezone,
        "delegate": extension_of.get(agent.delegate),
        "ring_seconds": agent.ring_seconds,
        "fallback": agent.fallback,
        "pop": agent.pop if agent.pop in POPS else POPS[0],
        "absent_until": show_time(agent.absent_until),
    }


async def _known(conn: AsyncConnection, extension: str) -> dict[str, Any]:
    agents = await list_agents(conn)
    agent = _find(agents, extension)
    if agent is None:
        raise NotFoundError(f"no agent has the extension {extension!r}")
    return _document(agent, agents)


def _document(agent: Agent, agents: Iterable[Agent]) -> dict[str, Any]:
    return document(agent, {each.id: each.extension for each in agents})


def _find(agents: Iterable[Agent], extension: str) -> Agent | None:
    return next((agent for agent in agents if agent.extension == extension), None)


def _answer(agent: Mapping[str, Any], status: int = 200) -> Response:
    return json_answer(agent, status, {"ETag": etag(agent)})
