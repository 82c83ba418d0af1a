"""What every admin command needs: the settings, the database, a place to print, and who is asking.

A command that writes as root must not take the database away from the service: whatever it creates in the
state directory belongs to the directory's owner afterwards (SQLite does so for its -wal and -shm files).
"""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import typer
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from agi_server.settings import Settings
from agi_server.settings_file import load_settings, storage_url

if TYPE_CHECKING:
    from storage.database import Database

T = TypeVar("T")

LONGEST_WHOLE = 24  # characters; a column of nothing longer (numbers, times) is not wrapped
console = Console(
    highlight=False
)  # standard output; looked up anew for every print, so that tests may swap it


def settings_of(ctx: typer.Context) -> Settings:
    """Return the settings of this command line. Raises SettingsError."""
    return load_settings(ctx.obj)


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database, migrated if need be; close it after use. Raises DirectoryError, SettingsError."""
    # `ostiary serve` imports this module too, and must answer soon after its start.
    from storage.database import Database  # noqa: PLC0415  # see above
    from storage.engine import sqlite_path  # noqa: PLC0415  # see above
    from storage.migrate import HEAD, migrate, revision  # noqa: PLC0415  # see above

    url = storage_url(settings)
    path = sqlite_path(url)
    if revision(path) != HEAD:
        await migrate(url)
        give_to_owner(path)
    opened = await Database.open(url)
    try:
        yield opened
    finally:
        await opened.close()


def give_to_owner(path: Path) -> None:
    """Give a file that root made to the owner of its directory; anybody else's stays as it is.

    Of a link, the link itself: that owner may have laid it, to a file that is root's for good reason.
    """
    if os.geteuid() == 0 and path.exists():
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run one command's work to its end."""
    return asyncio.run(coroutine)


def who() -> str:
    """Return who is asking, for the audit: `cli:` and who is behind sudo, or whose process this is."""
    name = os.environ.get("SUDO_USER")
    if not name:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a container's user without an entry
            name = str(os.getuid())
    return f"cli:{name}"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: on a terminal as a table, or record by record where it is too narrow; else as aligned text.

    Aligned text is one line a row, however long, with `-` for nothing.
    """
    if not console.is_terminal:
        _print_lines(columns, rows)
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=all(len(row[index]) <= LONGEST_WHOLE for row in rows))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: a `[` in a reason is no markup
    unbounded = console.options.update(max_width=10_000)  # a measure would end at the terminal's width
    if Measurement.get(console, unbounded, table).minimum <= console.width:
        console.print(table)
    else:
        _print_records(columns, rows)


def _print_lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    cells = [[" ".join(cell.split()) or "-" for cell in row] for row in [columns, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_records(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for row in rows:
        record = Table.grid(padding=(0, 2))
        for column, cell in zip(columns, row, strict=True):
            if cell:
                record.add_row(Text(column, style="bold"), Text(cell))
        console.print(record)
        console.print()


def print_json(value: object) -> None:
    """Print a value as JSON for another program."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())
