"""`ostiary check`: whether every part is as it should be.

Each check is one function that returns a Finding; one that crashes is a FAIL and harms no other.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from agi_server.cli import parts, peers, sync_state
from agi_server.cli.context import console, print_json, run, settings_of
from agi_server.cli.finding import Finding, Verdict
from agi_server.errors import OstiaryError
from agi_server.settings import Settings
from agi_server.settings_file import DEFAULT_FILES

Check = Callable[[Settings], Awaitable[Finding]]


def check(
    ctx: typer.Context,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Read the whole database (minutes for a large one).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check every part; say how to mend what fails. Exit code 1 if anything fails."""
    checks: Mapping[str, Check] = {
        "state directory": parts.state_directory,
        "disk space": parts.disk_space,
        "database": partial(parts.sound, full=full),
        "contents": parts.contents,
        "agents": parts.agents,
        "time zone": parts.time_zone,
        "server": peers.server,
        "HTTP": peers.http,
        "dialplan": parts.dialplan,
        "Salesforce": parts.salesforce,
        "sync": sync_state.sync,
        "AMI": peers.ami,
        "CDR": peers.cdr,
        "MQTT": peers.mqtt,
    }
    findings = run(examine(ctx, checks))
    if as_json:
        print_json([{"part": part, **finding.as_json()} for part, finding in findings.items()])
    else:
        _print(findings)
    if any(finding.verdict is Verdict.FAIL for finding in findings.values()):
        raise typer.Exit(1)


async def examine(ctx: typer.Context, checks: Mapping[str, Check]) -> dict[str, Finding]:
    """Run all checks at the same time; without settings there is nothing to run them on."""
    try:
        settings = settings_of(ctx)
    except OstiaryError as error:
        return {"settings": Finding(Verdict.FAIL, str(error), "nothing else can be checked before")}
    findings = await asyncio.gather(*(_one(each, settings) for each in checks.values()))
    return {"settings": _settings_file(ctx.obj)} | dict(zip(checks, findings, strict=True))


async def _one(each: Check, settings: Settings) -> Finding:
    try:
        return await each(settings)
    except OstiaryError as error:
        return Finding(Verdict.FAIL, str(error))
    except Exception as error:  # noqa: BLE001  # a check that crashes is a finding of its own
        return Finding(Verdict.FAIL, f"the check itself failed: {type(error).__name__}: {error}")


def _settings_file(config: Path | None) -> Finding:
    named = config or os.environ.get("OSTIARY_CONFIG")
    file = named or next((file for file in DEFAULT_FILES if file.exists()), None)
    return Finding(Verdict.OK, str(file) if file else "no file: defaults and environment")


def _print(findings: Mapping[str, Finding]) -> None:
    if console.is_terminal:
        table = Table.grid(padding=(0, 2))
        for part, finding in findings.items():
            text = finding.text + (f"\n→ {finding.hint}" if finding.hint else "")
            table.add_row(Text(finding.verdict, style=finding.verdict.style), part, Text(text))
        console.print(table)
        return
    for part, finding in findings.items():
        hint = f" -> {finding.hint}" if finding.hint else ""
        typer.echo(f"{finding.verdict:<4}  {part:<15}  {' '.join(finding.text.split())}{hint}")
