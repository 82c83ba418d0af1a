"""`ostiary blacklist`: see, change and test the blacklist and the allow-list."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from agi_server.calls.call import Call, Decision, TraceStep
from agi_server.calls.decide import decide
from agi_server.calls.directory import Rule, RuleKind, Treatment
from agi_server.calls.hours import find_zone
from agi_server.calls.screening import check_rule
from agi_server.cli.context import database, print_json, print_table, run, settings_of, who
from agi_server.errors import InputError
from agi_server.exchange.values import json_time, parse_treatment, parse_until, show_time
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from storage.blacklist import RuleRow, add_rule, list_rules, remove_rule
from storage.directory import SqliteDirectory
from storage.engine import sqlite_path

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="See, change and test the blacklist and the allow-list."
)

Pattern = Annotated[
    str,
    typer.Argument(
        metavar="NUMBER|PATTERN",
        help="A number, or what --kind says: +49190 (prefix), ^\\+4919[0-9] (regex), RU or +7 (country), "
        "nothing (anonymous).",
    ),
]
Kind = Annotated[
    RuleKind | None,
    typer.Option(
        help="What the pattern is; default: prefix if it ends with *, anonymous if it says so, else exact."
    ),
]
Did = Annotated[str, typer.Option(help="Only calls to this number; without it, calls to every number.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    ctx: typer.Context,
    pattern: Pattern = "",
    *,
    kind: Kind = None,
    allow: Annotated[bool, typer.Option("--allow", help="Let in what another rule would block.")] = False,
    did: Did = "",
    treatment: Annotated[
        str,
        typer.Option(
            metavar="NAME[:TARGET]",
            help="hangup, busy, congestion, voicemail:201, announce:sound, redirect:8000; "
            "default: screening.default_treatment.",
        ),
    ] = "",
    reason: Annotated[str, typer.Option(help="Why; shown in lists and in the trace.")] = "",
    expires: Annotated[
        str, typer.Option(help="2026-12-31 (the whole day), 2026-12-31T14:00, 12h, 30d, 2w.")
    ] = "",
) -> None:
    """Add a rule, or change the one with the same kind, pattern and DID."""
    settings = settings_of(ctx)
    now = time.time()
    what, target = parse_treatment(treatment or settings.screening.default_treatment)
    kind, pattern = _canonical(kind, pattern, settings)
    rule = Rule(
        id=0,
        kind=kind,
        pattern=pattern,
        allow=allow,
        did=did,
        treatment=what,
        target=target,
        reason=reason,
        expires_at=parse_until(expires, now=now, zone=find_zone(settings.routing.timezone)) if expires else 0,
    )

    async def job() -> int:
        async with database(settings) as opened:
            return await opened.write(lambda c: add_rule(c, rule, who=who(), now=int(now)))

    number = run(job())
    typer.echo(f"rule {number}: {describe(rule)}")


@app.command()
def remove(
    ctx: typer.Context,
    pattern: Pattern = "",
    *,
    kind: Kind = None,
    did: Annotated[
        str | None, typer.Option(help="Only the rule for this number ('': for every number).")
    ] = None,
    allow: Annotated[
        bool | None, typer.Option("--allow/--block", help="Only the allow-list, or only the blacklist.")
    ] = None,
) -> None:
    """Remove the rules with this kind and pattern."""
    settings = settings_of(ctx)
    known, canonical = _canonical(kind, pattern, settings)

    async def delete(connection: AsyncConnection) -> int:
        return await remove_rule(
            connection, kind=known, pattern=canonical, did=did, allow=allow, who=who(), now=int(time.time())
        )

    async def job() -> int:
        async with database(settings) as opened:
            return await opened.write(delete)

    removed = run(job())
    if not removed:
        raise InputError(f"there is no {known} rule {canonical!r}; see `ostiary blacklist list`")
    typer.echo(f"{removed} removed: {known} {canonical}".rstrip())


@app.command("list")
def list_(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List all rules."""
    rows = run(_rules(settings_of(ctx)))
    if as_json:
        print_json([_json(row) for row in rows])
        return
    print_table(
        [
            "pattern",
            "kind",
            "action",
            "DID",
            "treatment",
            "reason",
            "who",
            "when",
            "hits",
            "last hit",
            "expires",
        ],
        [_cells(row) for row in rows],
    )


@app.command("test")
def try_(
    ctx: typer.Context,
    number: Annotated[str, typer.Argument(help="A caller's number as a trunk sends it; '' for anonymous.")],
    *,
    did: Annotated[str, typer.Option(help="The number that was called.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say which rule a caller would meet, and why; asks the database, needs no server."""
    settings = settings_of(ctx)
    run(_prepared(settings))
    directory = SqliteDirectory(sqlite_path(storage_url(settings)), settings)
    try:
        decision = decide(Call(id="test", number=number, did=did), directory, time.time())
    finally:
        directory.close()
    if as_json:
        print_json(_verdict_json(decision))
        return
    caller = decision.number.text or "anonymous"
    rule = f"rule {decision.rule.id}: {describe(decision.rule)}" if decision.rule else "no rule decides"
    typer.echo(f"{caller}: {decision.verdict} ({decision.reason}); {rule}")
    print_table(["stage", "outcome", "why", "who"], [list(step) for step in _screening(decision)])


def describe(rule: Rule) -> str:
    """Return one line that says what a rule does."""
    action = "allow" if rule.allow else f"block, {_treatment(rule)}"
    scope = f", calls to {rule.did}" if rule.did else ""
    until = f", until {show_time(rule.expires_at)}" if rule.expires_at else ""
    return f"{rule.kind} {rule.pattern}".rstrip() + f": {action}{scope}{until}"


def _canonical(kind: RuleKind | None, pattern: str, settings: Settings) -> tuple[RuleKind, str]:
    """Return kind and pattern as they are stored. Raises InputError."""
    if kind is None and pattern.lower() == RuleKind.ANONYMOUS:
        kind, pattern = RuleKind.ANONYMOUS, ""
    elif kind is None and pattern.endswith("*"):
        kind, pattern = RuleKind.PREFIX, pattern.removesuffix("*")
    kind = kind or RuleKind.EXACT
    return kind, check_rule(kind, pattern, settings.numbers.region)


async def _prepared(settings: Settings) -> None:
    """Make or migrate the database, where that is still to be done."""
    async with database(settings):
        pass


async def _rules(settings: Settings) -> Sequence[RuleRow]:
    async with database(settings) as opened:
        return await opened.read(list_rules)


def _screening(decision: Decision) -> list[TraceStep]:
    """Return the steps of the trace that lead to the verdict."""
    return [step for step in decision.trace if step.stage in {"number", "match", "screen", "error"}]


def _treatment(rule: Rule | RuleRow) -> str:
    return f"{rule.treatment}:{rule.target}" if rule.target else str(rule.treatment)


def _cells(row: RuleRow) -> list[str]:
    return [
        row.pattern,
        row.kind,
        "allow" if row.allow else "block",
        row.did,
        "" if row.allow else _treatment(row),
        row.reason,
        row.created_by,
        show_time(row.created_at),
        str(row.hits),
        show_time(row.last_hit_at, none="never"),
        show_time(row.expires_at, none="never"),
    ]


def _json(row: RuleRow) -> dict[str, object]:
    return {
        "id": row.id,
        "kind": row.kind,
        "pattern": row.pattern,
        "allow": row.allow,
        "did": row.did,
        "treatment": row.treatment,
        "target": row.target,
        "reason": row.reason,
        "created_by": row.created_by,
        "created_at": json_time(row.created_at),
        "hits": row.hits,
        "last_hit_at": json_time(row.last_hit_at),
        "expires_at": json_time(row.expires_at),
    }


def _verdict_json(decision: Decision) -> dict[str, object]:
    rule = decision.rule
    return {
        "number": decision.number.text,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "rule": rule
        and {
            "id": rule.id,
            "kind": rule.kind,
            "pattern": rule.pattern,
            "allow": rule.allow,
            "did": rule.did,
            "treatment": Treatment(rule.treatment),
            "target": rule.target,
            "reason": rule.reason,
            "expires_at": json_time(rule.expires_at),
        },
        "trace": [step._asdict() for step in _screening(decision)],
    }
