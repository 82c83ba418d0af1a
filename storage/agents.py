"""People with an extension."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import POPS, Agent
from agi_server.calls.hours import find_zone, parse_hours
from agi_server.errors import InputError
from storage.audit import note
from storage.schema import agents


async def put_agent(conn: AsyncConnection, agent: Agent, *, who: str, now: int) -> int:
    """Add an agent, or change the one with this id, else the one with this extension; return the id.

    Raises InputError when the extension is missing, the hours or the time zone cannot be read, the delegate
    does not exist, the extension, the e-mail or the Salesforce user is another agent's, or `pop` is none of POPS.
    """
    columns = _columns(agent)
    if not columns["extension"]:
        raise InputError("an agent needs an extension")
    if agent.pop not in POPS:
        raise InputError(f"callers cannot be shown {agent.pop!r}; expected one of {', '.join(POPS)}")
    parse_hours(agent.hours)
    if agent.timezone:
        find_zone(agent.timezone)
    which = {"id": agent.id} if agent.id else {"extension": columns["extension"]}
    found = (await conn.execute(select(agents).filter_by(**which))).mappings().one_or_none()
    own_id = int(found["id"]) if found is not None else 0
    for column, label in (
        ("extension", "extension"),
        ("email", "e-mail"),
        ("salesforce_user_id", "Salesforce user"),
    ):
        await _check_free(conn, column, columns[column], label, own_id)
    await _check_delegate(conn, agent, own_id)
    if found is None:
        result = await conn.execute(agents.insert().values(columns))
        assert result.inserted_primary_key is not None
        own_id = int(result.inserted_primary_key[0])
    else:
        await conn.execute(agents.update().where(agents.c.id == own_id).values(columns))
    before = {name: found[name] for name in columns} if found is not None else None
    if before != columns:
        await note(conn, who=who, what="agents.put", before=before, after=columns, now=now)
    return own_id


async def remove_agent(conn: AsyncConnection, extension: str, *, who: str, now: int) -> bool:
    """Remove an agent; who delegated to them delegates to nobody. Return whether there was one."""
    found = (await conn.execute(select(agents).filter_by(extension=extension))).mappings().one_or_none()
    if found is None:
        return False
    await conn.execute(agents.delete().where(agents.c.id == found["id"]))
    await note(conn, who=who, what="agents.remove", before=dict(found), after=None, now=now)
    return True


async def set_absence(
    conn: AsyncConnection, extension: str, until: int, *, who: str, now: int
) -> Agent | None:
    """Say that an agent is absent until then (seconds since 1970; 0: not absent); return the agent, None for none."""
    agent = await get_agent(conn, extension)
    if agent is None or agent.absent_until == until:
        return agent
    before, after = ({"extension": extension, "absent_until": at} for at in (agent.absent_until, until))
    await conn.execute(agents.update().where(agents.c.id == agent.id).values(absent_until=until))
    await note(conn, who=who, what="agents.absence", before=before, after=after, now=now)
    return replace(agent, absent_until=until)


async def get_agent(conn: AsyncConnection, extension: str) -> Agent | None:
    """Return the agent with this extension, if there is one."""
    row = (await conn.execute(select(agents).filter_by(extension=extension))).first()
    return _agent(row) if row is not None else None


async def list_agents(conn: AsyncConnection) -> list[Agent]:
    """Return all agents by extension."""
    rows = await conn.execute(select(agents).order_by(agents.c.extension))
    return [_agent(row) for row in rows]


def _agent(row: Row[Any]) -> Agent:
    return Agent(
        id=row.id,
        name=row.name,
        extension=row.extension,
        email=row.email or "",
        salesforce_user_id=row.salesforce_user_id or "",
        hours=row.hours,
        timezone=row.timezone,
        absent_until=row.absent_until,
        delegate=row.delegate_id or 0,
        ring_seconds=row.ring_seconds,
        fallback=row.fallback,
        pop=row.pop,
    )


def _columns(agent: Agent) -> dict[str, Any]:
    return {
        "name": agent.name,
        "email": agent.email.strip().lower() or None,
        "extension": agent.extension.strip(),
        "salesforce_user_id": agent.salesforce_user_id.strip() or None,
        "hours": agent.hours,
        "timezone": agent.timezone,
        "absent_until": agent.absent_until,
        "delegate_id": agent.delegate or None,
        "ring_seconds": agent.ring_seconds,
        "fallback": agent.fallback,
        "pop": agent.pop,
    }


async def _check_free(conn: AsyncConnection, column: str, value: str | None, label: str, own_id: int) -> None:
    if value is None:
        return
    other = (
        await conn.execute(select(agents.c.extension).where(agents.c[column] == value, agents.c.id != own_id))
    ).scalar()
    if other is not None:
        raise InputError(
            f"{label} {value!r} is that of the agent with extension {other}; change or remove that one"
        )


async def _check_delegate(conn: AsyncConnection, agent: Agent, own_id: int) -> None:
    if not agent.delegate:
        return
    if agent.delegate == own_id:
        raise InputError(f"agent {agent.extension} cannot be their own delegate")
    if (await conn.execute(select(agents.c.id).where(agents.c.id == agent.delegate))).scalar() is None:
        raise InputError(f"there is no agent with the id {agent.delegate} to delegate to")
