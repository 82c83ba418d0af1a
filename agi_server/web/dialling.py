"""Calls by a click: who may order which, and the order itself. The API and the console's page share it.

Invariant: an order goes to a PBX once at most, and only after it is on disk.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.dialling import Refusal, Target, objection, target_of
from agi_server.errors import AccessError, ConflictError, DirectoryError, InputError, NotFoundError
from agi_server.events.calls import announce_progress
from agi_server.web.access import Actor, Scope
from agi_server.web.services import Services
from storage import dials
from storage.dials import Dial, Ordered, get, wants_no_calls, withdraw
from storage.users import find_user

# Parts of a channel's name (PJSIP/101): what else a dialplan may dial would ring somebody else.
_PHONE: Final = re.compile(r"[A-Za-z0-9_.+-]{1,80}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A number that somebody wants to dial: what keeps it from that, for good or unless overridden."""

    target: Target | None
    refusal: Refusal | None = None
    objection: Refusal | None = None


async def _check_agent(services: Services, actor: Actor, agent: str) -> None:
    """Raise InputError unless this is an agent's telephone, AccessError where it is not the actor's to use."""
    if agent not in services.directory.policy().by_extension:
        raise InputError(f"agent: no agent has the extension {agent!r}")
    if _PHONE.fullmatch(agent) is None:
        raise InputError(f"agent: {agent!r} is no single telephone; it takes letters, digits and _ . + -")
    own = await own_phone(services, actor)
    if own and agent != own:
        raise AccessError(f"{actor.who} may dial from the telephone {own} only", known=True)


async def own_phone(services: Services, actor: Actor) -> str:
    """Return the one extension that this actor may dial from, '' for any."""
    return "" if Scope.ADMIN in actor.scopes else await phone_of(services, actor)


async def phone_of(services: Services, actor: Actor) -> str:
    """Return the extension of this user's telephone, '' for none."""
    if not actor.user:
        return ""
    user = await services.database.read(lambda conn: find_user(conn, actor.user))
    return user.extension if user is not None else ""


async def plan(services: Services, agent: str, text: str) -> Plan:
    """Return whom a number means, and what keeps it from being dialled. Raises DirectoryError."""
    directory, now = services.directory, services.clock()
    policy = directory.policy()
    found = target_of(
        text, agent=agent, plan=services.settings.dialling, policy=policy, directory=directory, now=now
    )
    if isinstance(found, Refusal):
        return Plan(target=None, refusal=found)
    contact_id = found.contact.id if found.contact is not None else 0
    unwanted = await services.database.read(lambda conn: wants_no_calls(conn, found.number.e164, contact_id))
    against = objection(found, do_not_call=unwanted, policy=policy, directory=directory, now=now)
    return Plan(target=found, objection=against)


async def _check_pbx(services: Services) -> None:
    """Raise ConflictError where nobody is to dial, DirectoryError while no PBX can."""
    if not services.settings.dialling.enabled:
        raise ConflictError("click to call is switched off: see the setting dialling.enabled")
    state = str((await services.server.state())["parts"].get("pbx", "off"))
    if state == "off":
        raise DirectoryError("no PBX is there to dial: the settings ami name none")
    if not state.startswith("ok") and not services.settings.ami.others:
        raise DirectoryError(f"the PBX cannot dial now; {state}")


async def order(
    services: Services, actor: Actor, agent: str, number: str, *, override: bool
) -> Ordered | Refusal:
    """Order a call and have it dialled, unless it was ordered a moment ago or the agent dials too much.

    `override`: although a rule or the person called is against it. Raises AccessError where that, or this telephone,
    is not the actor's; InputError for an agent there is not; ConflictError and DirectoryError where nobody can dial.
    """
    if override and Scope.ADMIN not in actor.scopes:
        raise AccessError(f"{actor.who} may not: `override` needs the scope {Scope.ADMIN}", known=True)
    await _check_agent(services, actor, agent)
    planned = await plan(services, agent, number)
    if planned.target is None or (planned.objection is not None and not override):
        refusal = planned.refusal or planned.objection
        assert refusal is not None
        return refusal
    await _check_pbx(services)
    against = planned.objection.reason if planned.objection is not None else ""
    return await _place(services, actor, agent, planned.target, override=against)


async def _place(services: Services, actor: Actor, agent: str, target: Target, *, override: str) -> Ordered:
    wanted, now = services.settings.dialling, int(services.clock())
    dial = Dial(
        id=secrets.token_hex(8),
        agent=agent,
        number=target.number.e164 if target.text.startswith("+") else None,
        text=target.text,
        name=target.name,
        contact_id=target.contact.id if target.contact is not None else None,
        asked_at=now,
        who=actor.who,
    )

    async def job(conn: AsyncConnection) -> Ordered:
        return await dials.order(
            conn,
            dial,
            per_minute=wanted.per_minute,
            same_seconds=wanted.same_seconds,
            override=override,
            now=now,
        )

    ordered = await services.database.write(job)
    if ordered.new:
        services.server.dial(
            {"id": dial.id, "agent": agent, "number": target.dial, "shown": target.text, "name": target.name}
        )
        announce_progress(services.events, progress(dial, now))
    return ordered


async def cancel(services: Services, actor: Actor, dial_id: str) -> Dial:
    """End a call that was ordered, however far it has come; return it as it is now.

    Raises NotFoundError, or AccessError where it is another's.
    """
    found = await services.database.read(lambda conn: get(conn, dial_id))
    if found is None:
        raise NotFoundError(f"no call {dial_id!r} was ordered; they are forgotten after a time")
    own = await own_phone(services, actor)
    if own and found.agent != own and found.who != actor.who:
        raise AccessError(f"{actor.who} may end calls of the telephone {own} only", known=True)
    if found.over:
        return found
    now = int(services.clock())
    withdrawn = await services.database.write(lambda conn: withdraw(conn, dial_id, now))
    if withdrawn is not None:
        announce_progress(services.events, progress(withdrawn, now))
        return withdrawn
    services.server.hang_up(dial_id)
    return found


def progress(dial: Dial, at: int) -> dict[str, Any]:
    """Return what the event `call.progress` tells of a dial."""
    return {
        "id": dial.id,
        "agent": dial.agent,
        "number": dial.text,
        "state": dial.state,
        "reason": dial.reason,
        "at": at,
    }
