"""Checks of what is on this machine, and of what it is to keep in step with. Nothing is made or changed."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Agent
from agi_server.calls.hours import find_zone, parse_hours
from agi_server.cli.finding import Finding, Verdict
from agi_server.errors import InputError
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from storage import schema
from storage.agents import list_agents
from storage.backup import check_integrity
from storage.database import Database
from storage.engine import sqlite_path
from storage.migrate import HEAD, revision

T = TypeVar("T")

LEAST_SPACE = 100 * 1024**2  # bytes; below, the database soon cannot be written
SMALL_SPACE = 1024**3
ASTERISK = Path("/etc/asterisk")
SALESFORCE_TIMEOUT = 10.0  # seconds; a person waits


async def state_directory(settings: Settings) -> Finding:
    """Try to write to the database's directory."""
    directory = sqlite_path(storage_url(settings)).parent
    hint = f"give it to the user of the service: install -d -m 0700 -o ostiary -g ostiary {directory}"
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        return Finding(Verdict.FAIL, f"{directory} cannot be written: {error.strerror}", hint)
    owner, service = _name(directory.stat().st_uid), _name_of_service()
    if os.geteuid() == 0 and service and owner != service:
        return Finding(Verdict.WARN, f"{directory} belongs to {owner}, the service runs as {service}", hint)
    return Finding(Verdict.OK, f"{directory} can be written; it belongs to {owner}")


async def disk_space(settings: Settings) -> Finding:
    """See whether the journal has room to grow."""
    directory = sqlite_path(storage_url(settings)).parent
    while not directory.exists():
        directory = directory.parent
    free = shutil.disk_usage(directory).free
    text = f"{free / 1024**3:.1f} GiB free on {directory}"
    if free < SMALL_SPACE:
        verdict = Verdict.FAIL if free < LEAST_SPACE else Verdict.WARN
        return Finding(verdict, text, "without space calls go on, but nothing new is recorded")
    return Finding(Verdict.OK, text)


async def sound(settings: Settings, *, full: bool) -> Finding:
    """See whether the database is there, of this version, and undamaged."""
    path = sqlite_path(storage_url(settings))
    if not path.exists():
        return Finding(
            Verdict.WARN, f"{path} is not there yet", "make it with `ostiary migrate`, or start the server"
        )
    found = revision(path)
    if found is None or found < HEAD:
        return Finding(
            Verdict.WARN,
            f"{path} is at revision {found or 'none'}, not {HEAD}",
            "bring it up with `ostiary migrate`",
        )
    if found > HEAD:
        return Finding(
            Verdict.FAIL, f"{path} is of a later version ({found})", "use the Ostiary that wrote it"
        )
    problems = await asyncio.to_thread(check_integrity, path, full=full)
    if problems:
        return Finding(
            Verdict.FAIL,
            f"{path} is damaged: {'; '.join(problems[:3])}",
            "put a backup in place: `ostiary restore`",
        )
    return Finding(Verdict.OK, f"{path}, revision {found}, {'full' if full else 'quick'} check passed")


async def contents(settings: Settings) -> Finding:
    """Count what is in the database."""

    async def count(connection: AsyncConnection) -> str:
        parts = []
        for table, name in (
            (schema.contacts, "contacts"),
            (schema.agents, "agents"),
            (schema.blacklist, "rules"),
            (schema.dids, "DIDs"),
        ):
            rows = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            parts.append(f"{rows} {name}")
        return ", ".join(parts)

    counted = await read(settings, count)
    if counted is None:
        return Finding(Verdict.OFF, "no database yet")
    if counted.startswith("0 contacts"):
        return Finding(Verdict.WARN, counted, "nobody can be recognised; see `ostiary import contacts`")
    return Finding(Verdict.OK, counted)


async def agents(settings: Settings) -> Finding:
    """See whether every owner can be reached and every agent makes sense."""

    async def look(connection: AsyncConnection) -> tuple[list[Agent], list[str]]:
        return list(await list_agents(connection)), await _owners_without_agent(connection)

    found = await read(settings, look)
    if found is None:
        return Finding(Verdict.OFF, "no database yet")
    known, owners = found
    faults = [fault for agent in known for fault in _faults(agent)]
    if faults:
        return Finding(Verdict.WARN, "; ".join(faults[:5]), "mend them with `ostiary agents change`")
    if owners:
        shown = ", ".join(owners[:5]) + (f" and {len(owners) - 5} more" if len(owners) > 5 else "")
        return Finding(
            Verdict.WARN,
            f"owners of contacts without an agent: {shown}",
            "their callers are not routed; give them an extension: `ostiary agents add EXT --email …`",
        )
    return Finding(Verdict.OK, f"{len(known)} agents; every owner of a contact has one")


async def time_zone(settings: Settings) -> Finding:
    """Show the clock by which hours are reckoned."""
    there = datetime.now(find_zone(settings.routing.timezone))
    return Finding(
        Verdict.OK, f"routing.timezone is {settings.routing.timezone}, where it is {there:%a %H:%M}"
    )


async def dialplan(_settings: Settings) -> Finding:
    """See whether the PBX asks us, if it is on this machine."""
    return await asyncio.to_thread(_dialplan_in, ASTERISK)


def _dialplan_in(directory: Path) -> Finding:
    if not directory.is_dir():
        return Finding(
            Verdict.OFF, f"no {directory} here", "`ostiary dialplan asterisk` prints what to put on the PBX"
        )
    for file in sorted(directory.glob("extensions*.conf")):
        if "ostiary" in file.read_text(errors="replace"):
            return Finding(Verdict.OK, f"{file} mentions Ostiary")
    return Finding(
        Verdict.WARN,
        f"nothing in {directory}/extensions*.conf asks Ostiary",
        "see `ostiary dialplan asterisk|freepbx`",
    )


async def salesforce(settings: Settings) -> Finding:
    """Sign in to Salesforce and see whether the user may do what is asked of it."""
    if not settings.salesforce.enabled:
        return Finding(Verdict.OFF, "salesforce.enabled is false")
    return await asyncio.to_thread(_salesforce, settings)


def _salesforce(settings: Settings) -> Finding:
    from agi_server.salesforce.client import Client  # noqa: PLC0415  # 35 MiB; most commands do without
    from agi_server.salesforce.examine import examine  # noqa: PLC0415  # as above

    timeout = min(settings.salesforce.timeout, SALESFORCE_TIMEOUT)
    section = settings.salesforce.model_copy(update={"timeout": timeout})
    with Client(section, settings.storage.state_directory.absolute()) as client:
        found, warnings = examine(client, section, settings.tasks)
    if warnings:
        return Finding(Verdict.WARN, "; ".join([found, *warnings]), "see docs/salesforce.md, Connecting")
    return Finding(Verdict.OK, found)


async def read(settings: Settings, job: Callable[[AsyncConnection], Awaitable[T]]) -> T | None:
    """Run `job` on the database as it is; None where there is none of this version."""
    url = storage_url(settings)
    if revision(sqlite_path(url)) != HEAD:
        return None
    opened = await Database.open(url)
    try:
        return await opened.read(job)
    finally:
        await opened.close()


async def _owners_without_agent(connection: AsyncConnection) -> list[str]:
    owners, known = schema.owners, schema.agents
    rows = await connection.execute(
        select(owners.c.email, owners.c.name, owners.c.salesforce_id)
        .where(owners.c.id.in_(select(schema.contacts.c.owner_id)))
        .where(owners.c.email.not_in(select(known.c.email).where(known.c.email.is_not(None))))
        .where(
            owners.c.salesforce_id.is_(None)
            | owners.c.salesforce_id.not_in(
                select(known.c.salesforce_user_id).where(known.c.salesforce_user_id.is_not(None))
            )
        )
        .order_by(owners.c.email)
    )
    return [row.email or row.name or row.salesforce_id or "?" for row in rows]


def _faults(agent: Agent) -> list[str]:
    """Return what is wrong with an agent that something else than our commands may have written."""
    faults = []
    for read, text in ((parse_hours, agent.hours), (find_zone, agent.timezone)):
        try:
            if text:
                read(text)
        except InputError as error:
            faults.append(f"agent {agent.extension}: {error}")
    if agent.delegate == agent.id:
        faults.append(f"agent {agent.extension} is their own delegate")
    return faults


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _name_of_service() -> str:
    """Return the user that systemd/sysusers.d makes, '' where it was not made."""
    try:
        return pwd.getpwnam("ostiary").pw_name
    except KeyError:
        return ""
