"""`ostiary agents`: people with an extension, their hours and absences."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agi_server.calls.directory import Agent
from agi_server.calls.hours import find_zone, parse_hours
from agi_server.cli.context import database, print_json, print_table, run, settings_of, who
from agi_server.errors import InputError
from agi_server.exchange.values import NO_END, check_dialable, json_time, parse_until, show_time
from agi_server.settings import Settings
from storage.agents import list_agents, put_agent, remove_agent

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="See and change agents, their extensions, hours and absences.",
)

Extension = Annotated[str, typer.Argument(metavar="EXT", help="The agent's extension.")]
Name = Annotated[str | None, typer.Option(help="The agent's name.")]
Email = Annotated[
    str | None, typer.Option(help="E-mail of the Salesforce User who owns the agent's contacts.")
]
User = Annotated[str | None, typer.Option("--salesforce-user", help="Id of that Salesforce User.")]
Hours = Annotated[
    str | None, typer.Option(help="\"Mo-Fr 09:00-13:00,14:00-18:00; Sa 10:00-12:00\"; '': always.")
]
Zone = Annotated[str | None, typer.Option("--timezone", help="Time zone of the hours; '': routing.timezone.")]
Delegate = Annotated[str | None, typer.Option(metavar="EXT", help="Who takes over; '': nobody.")]
Ring = Annotated[
    int | None, typer.Option("--ring-seconds", min=0, max=600, help="How long it rings; 0: as the DID says.")
]
Fallback = Annotated[str | None, typer.Option(help="What to dial when nobody answers; '': as the DID says.")]


@app.command("list")
def list_(
    ctx: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List all agents."""
    agents = run(_agents(settings_of(ctx)))
    extension_of = {agent.id: agent.extension for agent in agents}
    if as_json:
        print_json([_json(agent, extension_of) for agent in agents])
        return
    now = time.time()
    print_table(
        [
            "extension",
            "name",
            "e-mail",
            "Salesforce user",
            "hours",
            "time zone",
            "absent until",
            "delegate",
            "rings",
        ],
        [_cells(agent, extension_of, now) for agent in agents],
    )


def _new(agents: Sequence[Agent], extension: str) -> Agent:
    if _find(agents, extension):
        raise InputError(f"extension {extension} is an agent already; see `ostiary agents change`")
    if not check_dialable(extension):
        raise InputError("an agent needs an extension")
    return Agent(id=0, name="", extension=extension)


def _known(agents: Sequence[Agent], extension: str) -> Agent:
    if (agent := _find(agents, extension)) is None:
        raise InputError(f"no agent has the extension {extension!r}; see `ostiary agents list`")
    return agent


def _command(base: Callable[[Sequence[Agent], str], Agent], done: str) -> Callable[..., None]:
    """Return the command that changes the agent that `base` finds or makes."""

    def command(
        ctx: typer.Context,
        extension: Extension,
        *,
        name: Name = None,
        email: Email = None,
        salesforce_user: User = None,
        hours: Hours = None,
        timezone: Zone = None,
        delegate: Delegate = None,
        ring_seconds: Ring = None,
        fallback: Fallback = None,
    ) -> None:
        parse_hours(hours or "")
        if timezone:
            find_zone(timezone)
        wanted = {
            "name": name,
            "email": None if email is None else email.strip().lower(),
            "salesforce_user_id": salesforce_user,
            "hours": hours,
            "timezone": timezone,
            "ring_seconds": ring_seconds,
            "fallback": None if fallback is None else check_dialable(fallback),
        }

        def new(agents: Sequence[Agent]) -> Agent:
            values: dict[str, Any] = {key: value for key, value in wanted.items() if value is not None}
            if delegate is not None:
                values["delegate"] = _delegate(agents, delegate, of=extension)
            return replace(base(agents, extension), **values)

        run(_put(settings_of(ctx), new))
        typer.echo(f"agent {extension} {done}")

    return command


app.command("add", help="Add an agent.")(_command(_new, "added"))
app.command("change", help="Change an agent; what is not named stays, '' clears.")(
    _command(_known, "changed")
)


@app.command()
def remove(ctx: typer.Context, extension: Extension) -> None:
    """Remove an agent; whoever delegated to them then delegates to nobody."""

    async def delete(connection: AsyncConnection) -> None:
        _known(await list_agents(connection), extension)
        await remove_agent(connection, extension, who=who(), now=int(time.time()))

    async def job() -> None:
        async with database(settings_of(ctx)) as opened:
            await opened.write(delete)

    run(job())
    typer.echo(f"agent {extension} removed")


@app.command()
def absent(
    ctx: typer.Context,
    extension: Extension,
    *,
    until: Annotated[
        str,
        typer.Option(
            help="2026-12-31 (the whole day), 2026-12-31T14:00, 12h, 30d, 2w; default: further notice."
        ),
    ] = "",
) -> None:
    """Say that an agent is absent; calls go to the delegate."""
    settings = settings_of(ctx)

    def new(agents: Sequence[Agent]) -> Agent:
        agent = _known(agents, extension)
        zone = find_zone(agent.timezone or settings.routing.timezone)
        return replace(
            agent, absent_until=parse_until(until, now=time.time(), zone=zone) if until else NO_END
        )

    agent = run(_put(settings, new))
    end = show_time(agent.absent_until) if until else "further notice"
    typer.echo(f"agent {extension} is absent until {end}")


@app.command()
def back(ctx: typer.Context, extension: Extension) -> None:
    """Say that an agent is back."""
    run(_put(settings_of(ctx), lambda agents: replace(_known(agents, extension), absent_until=0)))
    typer.echo(f"agent {extension} is back")


def _delegate(agents: Sequence[Agent], extension: str, *, of: str) -> int:
    if not extension:
        return 0
    if extension == of:
        raise InputError(f"agent {extension} cannot be their own delegate")
    return _known(agents, extension).id


async def _agents(settings: Settings) -> Sequence[Agent]:
    async with database(settings) as opened:
        return await opened.read(list_agents)


async def _put(settings: Settings, new: Callable[[Sequence[Agent]], Agent]) -> Agent:
    """Write what `new` makes of the agents there are; reading and writing are one transaction."""

    async def job(connection: AsyncConnection) -> Agent:
        agent = new(await list_agents(connection))
        await put_agent(connection, agent, who=who(), now=int(time.time()))
        return agent

    async with database(settings) as opened:
        return await opened.write(job)


def _find(agents: Sequence[Agent], extension: str) -> Agent | None:
    return next((agent for agent in agents if agent.extension == extension), None)


def _cells(agent: Agent, extension_of: dict[int, str], now: float) -> list[str]:
    return [
        agent.extension,
        agent.name,
        agent.email,
        agent.salesforce_user_id,
        agent.hours or "always",
        agent.timezone,
        show_time(agent.absent_until) if agent.absent_until > now else "",
        extension_of.get(agent.delegate, ""),
        f"{agent.ring_seconds} s" if agent.ring_seconds else "",
    ]


def _json(agent: Agent, extension_of: dict[int, str]) -> dict[str, object]:
    return asdict(agent) | {
        "absent_until": json_time(agent.absent_until),
        "delegate": extension_of.get(agent.delegate),
    }
