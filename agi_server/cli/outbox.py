"""`ostiary outbox`: what must still reach Salesforce, and what waits for an admin."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from agi_server.cli.context import database, print_json, print_table, run, settings_of, who
from agi_server.errors import InputError
from agi_server.exchange.values import json_time, show_time
from storage import outbox
from storage.outbox import OutboxRow

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="See what must still reach Salesforce; send again or drop what it refused.",
)

Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Rows, as `list` numbers them.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    parked: Annotated[bool, typer.Option("--parked", help="Only what waits for an admin.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what waits: first what Salesforce refused for good, then the oldest."""

    async def job(connection: AsyncConnection) -> tuple[list[OutboxRow], outbox.Counts]:
        rows = await outbox.list_rows(connection, limit)
        return [row for row in rows if row.parked or not parked], await outbox.counts(connection)

    rows, counts = run(_read(ctx, job))
    if as_json:
        print_json([_json(row) for row in rows])
        return
    print_table(
        ["id", "what", "contact", "since", "tries", "next", "reason"],
        [_cells(row) for row in rows],
    )
    total = counts.parked + (0 if parked else counts.waiting)
    if total > len(rows):
        typer.echo(f"{total - len(rows)} more; see --limit", err=True)


@app.command()
def retry(
    ctx: typer.Context,
    ids: Ids = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="Everything that waits for an admin.")] = False,
) -> None:
    """Send rows again at the next round, as if they had never been tried."""
    chosen = _chosen(ids, everything=all_, option="--all")

    async def job(connection: AsyncConnection) -> int:
        count = await outbox.retry(connection, chosen, who(), int(time.time()))
        _complete(count, chosen)
        return count

    count = run(_write(ctx, job))
    typer.echo(f"{count} to be sent again")


@app.command()
def drop(
    ctx: typer.Context,
    ids: Ids = None,
    *,
    all_parked: Annotated[
        bool, typer.Option("--all-parked", help="Everything that waits for an admin.")
    ] = False,
) -> None:
    """Remove rows: Salesforce will not have them. The contact stays in the directory; the audit keeps the row."""
    chosen = _chosen(ids, everything=all_parked, option="--all-parked")

    async def job(connection: AsyncConnection) -> int:
        count = await outbox.drop(connection, chosen, who(), int(time.time()))
        _complete(count, chosen)
        return count

    count = run(_write(ctx, job))
    typer.echo(f"{count} dropped")


def _chosen(ids: list[int] | None, *, everything: bool, option: str) -> list[int] | None:
    """Return the rows that are meant, None for all that are parked."""
    if bool(ids) is everything:
        raise typer.BadParameter(f"name rows, or say {option}")
    return sorted(set(ids)) if ids else None


def _complete(count: int, chosen: Sequence[int] | None) -> None:
    """Raise InputError, which undoes the job, when a row is not there."""
    if chosen is not None and count < len(chosen):
        raise InputError(
            f"of the rows {', '.join(map(str, chosen))} only {count} are there, and nothing was changed; see "
            "`ostiary outbox list`"
        )


async def _read(ctx: typer.Context, job: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    async with database(settings_of(ctx)) as opened:
        return await opened.read(job)


async def _write(ctx: typer.Context, job: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    async with database(settings_of(ctx)) as opened:
        return await opened.write(job)


def _what(row: OutboxRow) -> str:
    if row.kind == "flag":
        return f"flag {'on' if row.payload.get('value') else 'off'}"
    return row.kind


def _contact(row: OutboxRow) -> str:
    """Return whom a row is about, as far as it says."""
    payload = row.payload
    name = str(payload.get("name") or payload.get("phone") or payload.get("salesforce_id") or "")
    number = "" if row.contact_id is None else str(row.contact_id)
    return f"{number} {name}".strip()


def _cells(row: OutboxRow) -> list[str]:
    following = "waits for you" if row.parked else show_time(row.next_attempt_at, none="at once")
    return [
        str(row.id),
        _what(row),
        _contact(row),
        show_time(row.created_at),
        str(row.attempts),
        following,
        row.error,
    ]


def _json(row: OutboxRow) -> dict[str, object]:
    return row._asdict() | {
        "created_at": json_time(row.created_at),
        "next_attempt_at": json_time(row.next_attempt_at),
    }
