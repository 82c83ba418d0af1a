"""Pages of agents: who has which extension, who is absent, who stands in, who is responsible by default."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

from fastapi import APIRouter, Depends, Request, Response

from agi_server.calls.directory import POPS, Agent
from agi_server.calls.hours import at_work, find_zone, parse_hours
from agi_server.calls.policy import Policy
from agi_server.errors import InputError, NotFoundError
from agi_server.exchange.cells import salesforce_id
from agi_server.exchange.values import NO_END, check_dialable
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import Id
from agi_server.web.console.entry import LARGEST_ID, Entry, entry_of, whole_number
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.render import page, redirect
from agi_server.web.console.rules import end, end_text
from agi_server.web.console.versions import version_of
from agi_server.web.services import Services, Use
from storage.agents import list_agents, put_agent, remove_agent
from storage.overrides import put_override

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")

router = APIRouter()
Reader = Annotated[Actor, Depends(Needs(Scope.READ, page=True))]
Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN, page=True))]

DEFAULT = "routing.default_agent"
LONGEST_RING = 600  # seconds
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


@router.get("/agents")
async def show_agents(request: Request, use: Use, actor: Reader) -> Response:
    """Show everybody with an extension."""
    return await _list(request, use, actor, Entry({}))


@router.post("/agents")
async def change_default(request: Request, use: Use, actor: Admin) -> Response:
    """Say who is responsible for callers without an owner."""
    entry = await entry_of(request)
    extension = entry.read("default_agent", check_dialable, "")
    if entry.mistakes:
        return await _list(request, use, actor, entry)

    async def job(connection: AsyncConnection) -> None:
        await put_override(
            connection, DEFAULT, extension, settings=use.settings, who=actor.who, now=int(use.clock())
        )

    await use.database.write(job)
    _ = gettext_of(request)
    return redirect(request, "/agents", notice=_("The default responsible was saved."))


@router.get("/agents/new")
async def new_agent(request: Request, use: Use, actor: Admin) -> Response:
    """Show an empty form."""
    return await _form(request, use, actor, Entry({"extension": request.query_params.get("extension", "")}))


@router.post("/agents/new")
async def add_agent(request: Request, use: Use, actor: Admin) -> Response:
    """Add an agent."""
    return await _save(request, use, actor, None)


@router.get("/agents/{agent_id:int}")
async def show_agent(request: Request, use: Use, actor: Reader, agent_id: Id) -> Response:
    """Show one agent, in a form for who may change it."""
    agents = await use.database.read(list_agents)
    agent = _find(agents, agent_id)
    return await _form(
        request, use, actor, _entry(agent, use.directory.policy()), agent, version=version_of(agent)
    )


@router.post("/agents/{agent_id:int}")
async def change_agent(request: Request, use: Use, actor: Admin, agent_id: Id) -> Response:
    """Change an agent, unless somebody else did in the meantime."""
    agents = await use.database.read(list_agents)
    return await _save(request, use, actor, _find(agents, agent_id))


@router.post("/agents/{agent_id:int}/remove")
async def remove(request: Request, use: Use, actor: Admin, agent_id: Id) -> Response:
    """Ask first, then remove an agent."""
    agents = await use.database.read(list_agents)
    agent = _find(agents, agent_id)
    entry = await entry_of(request)
    if entry["sure"] != "yes":
        return page(
            request,
            actor,
            "agent_remove.html",
            agent=agent,
            delegating=[other for other in agents if other.delegate == agent.id],
            is_default=use.directory.policy().default.default_agent == agent.extension,
        )

    async def job(connection: AsyncConnection) -> None:
        await remove_agent(connection, agent.extension, who=actor.who, now=int(use.clock()))

    await use.database.write(job)
    _ = gettext_of(request)
    return redirect(
        request, "/agents", notice=_("%(name)s was removed.") % {"name": agent.name or agent.extension}
    )


async def _list(request: Request, use: Services, actor: Actor, entry: Entry) -> Response:
    agents = await use.database.read(list_agents)
    policy, now = use.directory.policy(), use.clock()
    return page(
        request,
        actor,
        "agents.html",
        status=422 if entry.mistakes else 200,
        entry=entry,
        agents=agents,
        name_of={agent.id: agent.name or agent.extension for agent in agents},
        at_work={agent.id for agent in agents if at_work(agent, policy, now)},
        default=policy.default.default_agent,
        now=now,
        no_end=NO_END,
    )


async def _form(
    request: Request,
    use: Services,
    actor: Actor,
    entry: Entry,
    agent: Agent | None = None,
    *,
    version: str = "",
    theirs: Entry | None = None,
) -> Response:
    """Return the form; `theirs` is what somebody else has saved in the meantime."""
    agents = await use.database.read(list_agents)
    return page(
        request,
        actor,
        "agent.html",
        status=409 if theirs is not None else 422 if entry.mistakes else 200,
        entry=entry,
        agent=agent,
        others=[other for other in agents if agent is None or other.id != agent.id],
        seen=version,
        theirs=theirs,
        policy=use.directory.policy(),
        longest_ring=LONGEST_RING,
        pops=POPS,
    )


async def _save(request: Request, use: Services, actor: Actor, known: Agent | None) -> Response:
    """Write what the form says, or show it again."""
    entry = await entry_of(request)
    policy = use.directory.policy()
    agent = _read(entry, policy, use.clock(), known)
    version = entry["version"]
    if entry.mistakes:
        return await _form(request, use, actor, entry, known, version=version)

    async def job(connection: AsyncConnection) -> Agent | None:
        stored = {other.id: other for other in await list_agents(connection)}
        if known is not None and (there := stored.get(known.id)) is not None and version_of(there) != version:
            return there
        if known is None and any(other.extension == agent.extension for other in stored.values()):
            raise InputError(f"extension {agent.extension} is another agent's; one extension, one agent")
        await put_agent(connection, agent, who=actor.who, now=int(use.clock()))
        return None

    try:
        theirs = await use.database.write(job)
    except InputError as error:
        entry.mistakes[_field_of(str(error))] = str(error)
        return await _form(request, use, actor, entry, known, version=version)
    if theirs is not None:
        return await _form(
            request, use, actor, entry, known, version=version_of(theirs), theirs=_entry(theirs, policy)
        )
    _ = gettext_of(request)
    return redirect(
        request, "/agents", notice=_("%(name)s was saved.") % {"name": agent.name or agent.extension}
    )


def _read(entry: Entry, policy: Policy, now: float, known: Agent | None) -> Agent:
    """Return the agent of a form, whose mistakes are then in `entry`."""
    timezone = entry.read("timezone", _zone, "")
    zone = find_zone(timezone or policy.timezone)

    def absence(text: str) -> int:
        if not text:
            return 0
        if known is not None and text == end_text(known.absent_until, zone):
            return known.absent_until
        return end(text, now, zone)

    absent_until = NO_END if entry["absent"] == "open" else 0
    if entry["absent"] == "until":
        absent_until = entry.read("absent_until", _required(absence, "say until when"), 0)
    return Agent(
        id=known.id if known is not None else 0,
        name=entry.read("name", str, ""),
        extension=entry.read("extension", _required(check_dialable, "an agent needs an extension"), ""),
        email=entry.read("email", _email, ""),
        salesforce_user_id=entry.read("salesforce_user_id", _salesforce_user, ""),
        hours=entry.read("hours", _hours, ""),
        timezone=timezone,
        absent_until=absent_until,
        delegate=entry.read("delegate", whole_number(0, LARGEST_ID), 0),
        ring_seconds=entry.read("ring_seconds", whole_number(0, LONGEST_RING), 0),
        fallback=entry.read("fallback", check_dialable, ""),
        pop=entry.read("pop", _pop, "ringing"),
    )


def _entry(agent: Agent, policy: Policy) -> Entry:
    """Return the form that shows an agent."""
    zone = find_zone(agent.timezone or policy.timezone)
    open_end = agent.absent_until >= NO_END
    return Entry(
        {
            "name": agent.name,
            "extension": agent.extension,
            "email": agent.email,
            "salesforce_user_id": agent.salesforce_user_id,
            "hours": agent.hours,
            "timezone": agent.timezone,
            "absent": "open" if open_end else "until" if agent.absent_until else "",
            "absent_until": "" if open_end else end_text(agent.absent_until, zone),
            "delegate": str(agent.delegate or ""),
            "ring_seconds": str(agent.ring_seconds or ""),
            "fallback": agent.fallback,
            "pop": agent.pop,
        }
    )


def _find(agents: Sequence[Agent], agent_id: int) -> Agent:
    for agent in agents:
        if agent.id == agent_id:
            return agent
    raise NotFoundError("this agent is not there, or no longer")


def _field_of(error: str) -> str:
    """Return the field that a refusal of the storage is about."""
    words = {"e-mail": "email", "Salesforce user": "salesforce_user_id", "delegate": "delegate"}
    return next((field for word, field in words.items() if word in error), "extension")


def _required(parse: Callable[[str], T], missing: str) -> Callable[[str], T]:
    def required(text: str) -> T:
        if not text:
            raise InputError(missing)
        return parse(text)

    return required


def _zone(text: str) -> str:
    return text and find_zone(text).key


def _hours(text: str) -> str:
    parse_hours(text)
    return text


def _email(text: str) -> str:
    if text and _EMAIL.fullmatch(text) is None:
        raise InputError(f"{text!r} is no e-mail address; write e.g. ana@example.com")
    return text.lower()


def _pop(text: str) -> str:
    if text and text not in POPS:
        raise InputError(f"{text!r} is no moment to show a caller; choose one of {', '.join(POPS)}")
    return text or POPS[0]


def _salesforce_user(text: str) -> str:
    if text and not salesforce_id(text):
        raise InputError(
            f"{text!r} is no id of Salesforce; it has 15 or 18 letters and digits and begins with 005"
        )
    return salesforce_id(text)
