"""`ostiary ask`: what would the PBX be told?"""

from __future__ import annotations

import time
from typing import Annotated

import orjson
import typer

from agi_server.calls.call import Call, Decision, TraceStep
from agi_server.calls.decide import decide
from agi_server.cli.context import console, print_json, print_table, run, settings_of
from agi_server.errors import OstiaryError
from agi_server.fastagi.client import ask as ask_server
from agi_server.fastagi.sockets import reach
from agi_server.scripts import variables
from agi_server.scripts.trace import MARK
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from storage.directory import SqliteDirectory
from storage.engine import sqlite_path

Answer = tuple[dict[str, str], list[TraceStep]]


def ask(
    ctx: typer.Context,
    number: Annotated[
        str, typer.Argument(help="The caller's number, as the trunk sends it; '' for anonymous.")
    ],
    did: Annotated[str, typer.Option(help="The number that was called.")] = "",
    name: Annotated[str, typer.Option(help="The name that the trunk sends.")] = "",
    server: Annotated[str, typer.Option(help="host:port of the server; default: fastagi.listen.")] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Ask the database directly, no server.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask as a PBX would; print the decision and how it came about."""
    settings = settings_of(ctx)
    if offline:
        values, trace = _offline(settings, number, did, name)
    else:
        values, trace = run(_online(server or settings.fastagi.listen, number, did, name))
    if as_json:
        print_json({"variables": values, "trace": [step._asdict() for step in trace]})
        return
    print_table(["variable", "value"], list(values.items()))
    if console.is_terminal:
        console.print("[bold]How it came about[/bold]")
    print_table(["stage", "outcome", "why", "who"], [list(step) for step in trace])


def _offline(settings: Settings, number: str, did: str, name: str) -> Answer:
    directory = SqliteDirectory(sqlite_path(storage_url(settings)), settings)
    try:
        decision = decide(Call(id="offline", number=number, did=did, name=name), directory, time.time())
    finally:
        directory.close()
    return _values(settings, decision), list(decision.trace)


def _values(settings: Settings, decision: Decision) -> dict[str, str]:
    return variables.of_decision(decision, settings.fastagi.prefix, name_variable=variables.CALLER_NAME)


async def _online(server: str, number: str, did: str, name: str) -> Answer:
    try:
        host, port = reach(server)
        outcome = await ask_server(
            host, port, "incoming", number=number, name=name, did=did, query={"trace": "1"}
        )
    except (OSError, TimeoutError) as error:
        raise OstiaryError(
            f"no server answers at {server} ({error}); start it with `ostiary serve`, or ask with --offline"
        ) from error
    steps = [
        TraceStep(*orjson.loads(line.removeprefix(MARK))) for line in outcome.verbose if line.startswith(MARK)
    ]
    return outcome.variables, steps
