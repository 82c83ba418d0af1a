"""`ostiary import` and `ostiary export`: contacts, blacklist and agents from and to files.

Exit codes: 0 every row was taken; 1 failed, or refused as a whole (--all-or-nothing): nothing is written;
2 wrong usage; 3 some rows were not taken, all others were. A number that is not understood is reported, but
its contact is taken.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from agi_server.calls.directory import Agent
from agi_server.cli.context import database, print_json, print_table, run, settings_of, who
from agi_server.errors import InputError
from agi_server.exchange.agents import import_agents, write_agents
from agi_server.exchange.blacklist import import_blacklist, write_rules
from agi_server.exchange.contacts import ContactFile, import_contacts, write_table
from agi_server.exchange.report import ImportResult, Problem, Progress, Report
from agi_server.exchange.vcard import write_cards
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from storage.agents import list_agents
from storage.blacklist import RuleRow, list_rules
from storage.contacts import export_contacts
from storage.database import Database
from storage.engine import sqlite_path

SHOWN = 20  # problems on the screen
VCARD_SUFFIXES = frozenset({".vcf", ".vcard"})

app_import = typer.Typer(
    no_args_is_help=True,
    help="Take contacts, blacklist or agents from a file.",
    epilog="Exit codes: 0 every row was taken; 1 failed or refused, nothing written; 3 some rows were not taken.",
)
app_export = typer.Typer(no_args_is_help=True, help="Write contacts, blacklist or agents to a file.")

Source = Annotated[
    str, typer.Argument(metavar="FILE", help="CSV (contacts also vCard); - is standard input.")
]
Target = Annotated[str, typer.Argument(metavar="FILE", help="Where to write; - is standard output.")]
AllOrNothing = Annotated[
    bool, typer.Option("--all-or-nothing", help="Write nothing when any row cannot be taken.")
]
Encoding = Annotated[str, typer.Option(help="utf-8, utf-16, cp1252, …; default: find out.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Read and report only, write nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print counts and problems as one JSON object.")]
ReportFile = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Write every problem to this CSV file.")
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map", metavar="THEIRS=OURS", help="What a column is: --map “Tel. 1=Phone”; “Tel. 1=”: skip."
    ),
]

Work = Callable[[BinaryIO, Database | None, Report, Progress | None], Coroutine[Any, Any, ImportResult]]
Write = Callable[[TextIO], int]


@app_import.command("contacts")
def import_contacts_command(
    ctx: typer.Context,
    file: Source,
    *,
    database_id: Annotated[
        str,
        typer.Option("--database", metavar="ID", help="Database (iddatabase) that the contacts belong to."),
    ] = "",
    all_or_nothing: AllOrNothing = False,
    encoding: Encoding = "",
    mapping: Map = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    report: ReportFile = None,
) -> None:
    """Take contacts from CSV (Salesforce, Google, Outlook or your own headings) or vCard 2.1 to 4.0."""
    settings = settings_of(ctx)
    vcards = True if Path(file).suffix.lower() in VCARD_SUFFIXES else None
    named = _mapping(mapping)

    async def work(
        opened: BinaryIO, db: Database | None, problems: Report, progress: Progress | None
    ) -> ImportResult:
        source = ContactFile(
            file=opened, encoding=encoding, mapping=named, database=database_id, vcards=vcards
        )
        return await import_contacts(
            source,
            database=db,
            region=settings.numbers.region,
            report=problems,
            all_or_nothing=all_or_nothing,
            progress=progress,
        )

    _import(settings, file, work, dry_run=dry_run, as_json=as_json, report_file=report)


@app_import.command("blacklist")
def import_blacklist_command(
    ctx: typer.Context,
    file: Source,
    *,
    all_or_nothing: AllOrNothing = False,
    encoding: Encoding = "",
    mapping: Map = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    report: ReportFile = None,
) -> None:
    """Take blacklist and allow-list entries from CSV.

    Headings: Pattern, Kind, Did, Treatment, Reason, Expires. A plain list of numbers needs none.
    """
    settings = settings_of(ctx)
    named = _mapping(mapping)

    async def work(
        opened: BinaryIO, db: Database | None, problems: Report, progress: Progress | None
    ) -> ImportResult:
        return await import_blacklist(
            opened,
            database=db,
            region=settings.numbers.region,
            who=who(),
            timezone=settings.routing.timezone,
            treatment=settings.screening.default_treatment,
            report=problems,
            encoding=encoding,
            mapping=named,
            all_or_nothing=all_or_nothing,
            progress=progress,
        )

    _import(settings, file, work, dry_run=dry_run, as_json=as_json, report_file=report)


@app_import.command("agents")
def import_agents_command(
    ctx: typer.Context,
    file: Source,
    *,
    all_or_nothing: AllOrNothing = False,
    encoding: Encoding = "",
    mapping: Map = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    report: ReportFile = None,
) -> None:
    """Take agents from CSV.

    Headings: Name, Email, Extension, SalesforceUserId; Hours, Timezone, Delegate, RingSeconds, Fallback.
    """
    settings = settings_of(ctx)
    named = _mapping(mapping)

    async def work(
        opened: BinaryIO, db: Database | None, problems: Report, _: Progress | None
    ) -> ImportResult:
        return await import_agents(
            opened,
            database=db,
            who=who(),
            timezone=settings.routing.timezone,
            report=problems,
            encoding=encoding,
            mapping=named,
            all_or_nothing=all_or_nothing,
        )

    _import(settings, file, work, dry_run=dry_run, as_json=as_json, report_file=report)


@app_export.command("contacts")
def export_contacts_command(ctx: typer.Context, file: Target) -> None:
    """Write all contacts as CSV that `import` reads back, or as vCards where FILE ends in .vcf."""
    settings = settings_of(ctx)
    write = write_cards if Path(file).suffix.lower() in VCARD_SUFFIXES else write_table
    _export(file, lambda out: write(export_contacts(sqlite_path(storage_url(settings))), out), "contacts")


@app_export.command("blacklist")
def export_blacklist_command(ctx: typer.Context, file: Target) -> None:
    """Write all blacklist and allow-list entries as CSV."""
    rules = run(_rules(settings_of(ctx)))
    _export(file, lambda out: write_rules(rules, out), "entries")


@app_export.command("agents")
def export_agents_command(ctx: typer.Context, file: Target) -> None:
    """Write all agents as CSV."""
    agents = run(_agents(settings_of(ctx)))
    _export(file, lambda out: write_agents(agents, out), "agents")


def _import(
    settings: Settings, file: str, work: Work, *, dry_run: bool, as_json: bool, report_file: Path | None
) -> None:
    """Run an import with all that is around it; leave with its exit code."""

    async def job() -> ImportResult:
        async with AsyncExitStack() as parts:
            opened = parts.enter_context(_source(file))
            report = Report(parts.enter_context(_sink(report_file)))
            progress = parts.enter_context(_progress())
            db = None if dry_run else await parts.enter_async_context(database(settings))
            return await work(opened, db, report, progress)

    try:
        result = run(job())
    except InputError as error:
        raise InputError(f"{'standard input' if file == '-' else file}: {error}") from error
    if as_json:
        print_json(result.as_dict())
    else:
        _print_result(result, dry_run=dry_run, reported=report_file)
    if result.refused:
        raise typer.Exit(1)
    if result.report.not_taken:
        raise typer.Exit(3)


def _print_result(result: ImportResult, *, dry_run: bool, reported: Path | None) -> None:
    report = result.report
    for note in report.notes:
        typer.echo(note)
    counts = [f"{result.rows:,} rows"]
    if result.refused:
        counts.append(f"nothing written: {report.not_taken:,} cannot be taken (--all-or-nothing)")
    elif dry_run:
        counts.append(
            f"{result.taken:,} would be taken, {report.not_taken:,} not (--dry-run: nothing written)"
        )
    else:
        counts.append(f"{result.taken:,} taken ({result.inserted:,} new, {result.updated:,} changed)")
        counts.append(f"{report.not_taken:,} not taken")
    if values := report.count - report.not_taken:
        counts.append(f"{values:,} value{'s' if values > 1 else ''} left out")
    typer.echo(f"{', '.join(counts)}; {result.seconds:.1f} s")
    if not report.problems:
        return
    print_table(
        ["line", "column", "reason", "value", "row"],
        [
            [
                str(problem.line),
                problem.column,
                problem.reason,
                problem.value,
                "taken" if problem.row_taken else "not taken",
            ]
            for problem in report.problems[:SHOWN]
        ],
    )
    if more := report.count - SHOWN if report.count > SHOWN else 0:
        where = f"all are in {reported}" if reported else "--report FILE writes them all"
        typer.echo(f"… and {more:,} more; {where}")


def _mapping(entries: Sequence[str] | None) -> dict[str, str]:
    named: dict[str, str] = {}
    for entry in entries or ():
        theirs, equals, ours = entry.rpartition("=")
        if not equals:
            raise typer.BadParameter(f"--map {entry!r}: write “Their heading=Phone”")
        named[theirs.strip()] = ours.strip()
    return named


@contextmanager
def _source(file: str) -> Iterator[BinaryIO]:
    """Open a file to read; what cannot be read twice (standard input, a pipe) is copied first."""
    with ExitStack() as parts:
        try:
            given: BinaryIO = sys.stdin.buffer if file == "-" else parts.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}") from error
        if file != "-" and given.seekable():
            yield given
            return
        copy = parts.enter_context(tempfile.TemporaryFile())
        shutil.copyfileobj(given, copy)
        yield copy


@contextmanager
def _sink(path: Path | None) -> Iterator[Callable[[Problem], None] | None]:
    """Open the file that every problem is written to."""
    if path is None:
        yield None
        return
    try:
        out = path.open("w", newline="", encoding="utf-8")
    except OSError as error:
        raise InputError(f"the report cannot be written to {path}: {error.strerror}") from error
    with out:
        writer = csv.writer(out)
        writer.writerow(("line", "column", "reason", "value", "row"))

        def write(problem: Problem) -> None:
            taken = "taken" if problem.row_taken else "not taken"
            writer.writerow((problem.line, problem.column, problem.reason, problem.value, taken))

        yield write


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show how far an import is, on standard error if that is a terminal."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.fields[rows]}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bar(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("", total=1.0, rows="")
        started = time.monotonic()

        def show(rows: int, share: float) -> None:
            rate = rows / max(time.monotonic() - started, 0.001)
            bar.update(task, completed=share, rows=f"{rows:,} rows, {rate:,.0f}/s")

        yield show


def _export(file: str, write: Write, what: str) -> None:
    """Write a file as a whole or not at all: under another name first, then in place of what was there."""
    if file == "-":
        out = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="", write_through=True)
        try:
            write(out)
        finally:
            out.detach()
        return
    path = Path(file)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as out:
            count = write(out)
        part.replace(path)
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    typer.echo(f"{count:,} {what} written to {file}")


async def _rules(settings: Settings) -> Sequence[RuleRow]:
    async with database(settings) as opened:
        return await opened.read(list_rules)


async def _agents(settings: Settings) -> Sequence[Agent]:
    async with database(settings) as opened:
        return await opened.read(list_agents)
