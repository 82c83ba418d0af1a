"""`ostiary sync`: bring the directory in step with Salesforce now, or see what that would change.

Exit codes: 0 in step; 1 failed: what was stored by then stays, and the next one goes on there; 2 wrong usage;
3 some objects are not in step, the others are.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from agi_server.cli.context import database, print_json, print_table, run, settings_of
from agi_server.errors import InputError, OstiaryError, SettingsError
from agi_server.salesforce import report
from agi_server.salesforce.client import Client
from agi_server.salesforce.lock import salesforce_lock
from agi_server.salesforce.outcome import Outcome, Progress, Report
from agi_server.salesforce.sync import synchronise
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from storage import salesforce_state
from storage.database import Database
from storage.engine import sqlite_path
from storage.sync import export_unread

EVERY = 10.0  # seconds between two lines where there is no terminal
WAIT = 60.0  # seconds for a round of the worker to end


def sync(
    ctx: typer.Context,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Read every record, and remove what is not there any more.")
    ] = False,
    accept_removals: Annotated[
        bool,
        typer.Option("--accept-removals", help="With --full: remove also where most records are gone."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would change, write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print counts, notes and errors as JSON.")] = False,
    unread: Annotated[
        str,
        typer.Option(
            "--unread",
            metavar="FILE",
            help="Instead, write the numbers that were not understood as CSV; - is standard output.",
        ),
    ] = "",
) -> None:
    """Bring the directory in step with Salesforce."""
    settings = settings_of(ctx)
    if unread:
        if full or accept_removals or dry_run or as_json:
            raise typer.BadParameter("--unread goes alone: it writes what earlier synchronisations noted")
        _write_unread(sqlite_path(storage_url(settings)), unread)
        return
    if accept_removals and not full:
        raise typer.BadParameter("--accept-removals goes with --full")
    told = _Told()
    try:
        outcome = _synchronised(settings, told, full=full, accept_removals=accept_removals, dry_run=dry_run)
    except OstiaryError as error:
        if as_json:
            print_json(told.outcome.as_dict() | {"error": str(error)})
        elif told.outcome.objects:
            _print(told.outcome)
        raise
    if as_json:
        print_json(outcome.as_dict() | {"error": "; ".join(outcome.errors)})
    else:
        _print(outcome)
    if outcome.errors:
        raise typer.Exit(3)


class _Told:
    """What was last told of a round that failed later."""

    def __init__(self) -> None:
        self.outcome = Outcome()


def _synchronised(
    settings: Settings, told: _Told, *, full: bool, accept_removals: bool, dry_run: bool
) -> Outcome:
    section, directory = settings.salesforce, settings.storage.state_directory
    if not section.client_id and not section.username:
        raise SettingsError(
            "salesforce.client_id is not set: there is nobody to sign in as (docs/salesforce.md says what to set)"
        )

    async def work(show: Report) -> Outcome:
        def both(progress: Progress) -> None:
            told.outcome = progress.outcome
            show(progress)

        async with database(settings) as opened:
            with Client(section, directory) as client:
                outcome = await synchronise(
                    opened,
                    client,
                    settings,
                    full=full,
                    dry_run=dry_run,
                    accept_removals=accept_removals,
                    report=both,
                )
                if not dry_run:
                    await _note(opened, client, outcome)
                if client.usage is not None:
                    used, total = client.usage
                    outcome.notes.append(f"{used:,} of {total:,} API calls of the last 24 hours are used")
                return outcome

    with salesforce_lock(directory, WAIT), _reporter() as show:
        return run(work(show))


async def _note(database: Database, client: Client, outcome: Outcome) -> None:
    """Keep how it went for `ostiary check`, as the worker's rounds do."""
    now = time.time()
    stand = report.Report(await database.read(lambda conn: salesforce_state.get(conn, report.STATE)), now)
    stand.called(outcome.calls, now)
    stand.usage = (client.usage.used, client.usage.total) if client.usage is not None else None
    stand.notes = outcome.all_notes
    if outcome.errors:
        stand.failed("part", "; ".join(outcome.errors), now)
    else:
        stand.succeeded(now)
    await database.write(lambda conn: salesforce_state.put(conn, report.STATE, stand.kept(), int(now)))


@contextmanager
def _reporter() -> Iterator[Report]:
    """Show how far it is on standard error: bars on a terminal, a line now and then elsewhere."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield _lines()
        return
    columns = (
        TextColumn("{task.description:<11}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[text]}"),
    )
    with Bar(*columns, console=screen, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(progress: Progress) -> None:
            part = progress.current
            if part.sobject not in tasks:
                for earlier in tasks.values():
                    bar.stop_task(earlier)
                tasks[part.sobject] = bar.add_task(part.sobject, total=None, text="")
            number = tasks[part.sobject]
            seconds = next(task.elapsed for task in bar.tasks if task.id == number)
            bar.update(
                number,
                completed=part.read,
                total=max(part.expected, part.read) or None,
                text=_progress_line(progress, seconds or 0.0),
            )

        yield show


def _lines() -> Report:
    due = time.monotonic() + EVERY
    began: dict[str, float] = {}

    def show(progress: Progress) -> None:
        nonlocal due
        now = time.monotonic()
        started = began.setdefault(progress.current.sobject, now)
        if now >= due:
            due = now + EVERY
            typer.echo(f"{progress.current.sobject}: {_progress_line(progress, now - started)}", err=True)

    return show


def _progress_line(progress: Progress, seconds: float) -> str:
    part = progress.current
    if progress.phase == "waiting":
        return f"Salesforce is preparing the records, {progress.outcome.calls:,} API calls"
    of_all = f" of {part.expected:,}" if part.expected else ""
    rate = f"{part.read / seconds:,.0f}/s, " if seconds else ""
    removed = f"{part.removed:,} removed, " if progress.phase == "removing" else ""
    return (
        f"{part.read:,}{of_all} rows, {rate}{removed}{part.understood:,} numbers understood, "
        f"{part.unread:,} not, {progress.outcome.calls:,} API calls"
    )


def _print(outcome: Outcome) -> None:
    parts = [part for part in outcome.objects if part.how]
    print_table(
        ["object", "how", "read", "new", "changed", "removed", "merged", "numbers", "not understood", "s", "rows/s"],
        [
            [
                part.sobject, part.how, f"{part.read:,}", f"{part.inserted:,}", f"{part.updated:,}",
                f"{part.removed:,}", f"{part.became:,}", f"{part.understood:,}", f"{part.unread:,}",
                f"{part.seconds:.1f}", f"{part.rate:,.0f}",
            ]
            for part in parts
        ],
    )  # fmt: skip
    for part in outcome.objects:
        for note in part.notes:
            typer.echo(f"{part.sobject}: {note}")
    for note in outcome.notes:
        typer.echo(note)
    written = " (--dry-run: nothing written)" if outcome.dry_run else ""
    rows = sum(part.read for part in parts)
    typer.echo(f"{rows:,} rows, {outcome.calls:,} API calls, {outcome.seconds:.1f} s{written}")
    if any(part.unread for part in parts) and not outcome.dry_run:
        typer.echo("`ostiary sync --unread FILE` writes the numbers that are not understood")
    for error in outcome.errors:
        typer.echo(f"not in step: {error}", err=True)


def _write_unread(path: Path, file: str) -> None:
    if file == "-":
        _write_csv(path, sys.stdout)
        return
    try:
        with Path(file).open("w", newline="", encoding="utf-8") as out:
            count = _write_csv(path, out)
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from error
    typer.echo(f"{count:,} fields written to {file}")


def _write_csv(path: Path, out: TextIO) -> int:
    writer = csv.writer(out)
    writer.writerow(("Object", "Id", "Field", "Text"))
    count = 0
    for row in export_unread(path):
        writer.writerow((row.kind, row.salesforce_id, row.field, row.text))
        count += 1
    return count
