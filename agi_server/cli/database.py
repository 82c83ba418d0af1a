"""`ostiary migrate`, `ostiary backup`, `ostiary restore`."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from agi_server.cli.context import console, give_to_owner, run, settings_of
from agi_server.errors import InputError
from agi_server.fastagi.sockets import reach
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from storage import backup as copies
from storage.engine import sqlite_path
from storage.migrate import HEAD, revision
from storage.migrate import migrate as upgrade


def migrate(ctx: typer.Context) -> None:
    """Bring the database to this version's schema; makes it if there is none."""
    url = storage_url(settings_of(ctx))
    path = sqlite_path(url)
    before = revision(path)
    if before == HEAD:
        typer.echo(f"{path} is at revision {HEAD} already")
        return
    run(upgrade(url))
    give_to_owner(path)
    typer.echo(f"{path}: {before or 'new'} -> {HEAD}")


def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
) -> None:
    """Copy the database while it is in use."""
    source = sqlite_path(storage_url(settings_of(ctx)))
    if file.exists() and not force:
        raise InputError(f"{file} is there already; choose another name, or replace it with --force")
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(f"Copying {source}", total=None)
        copies.backup(source, file, lambda done, total: progress.update(task, completed=done, total=total))
    typer.echo(f"{source} -> {file} ({file.stat().st_size} bytes)")


def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A copy made by `ostiary backup`.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Put a copy in the place of the database; the server must be stopped."""
    settings = settings_of(ctx)
    target = sqlite_path(storage_url(settings))
    _refuse_while_serving(settings)
    if not yes:
        typer.confirm(f"Replace {target} by {file}?", abort=True)
    copies.restore(file, target)
    run(upgrade(storage_url(settings)))
    for made in (target, target.with_name(f"{target.name}.before-restore")):
        give_to_owner(made)
    typer.echo(f"{file} -> {target}")


def _refuse_while_serving(settings: Settings) -> None:
    """Raise InputError when anything accepts calls: the server, or systemd's socket, which would start it."""
    listen = settings.fastagi.listen
    try:
        socket.create_connection(reach(listen), timeout=1).close()
    except OSError:
        return
    raise InputError(
        f"a server answers at {listen}; stop it first, with `systemctl stop ostiary.socket ostiary.service` "
        "where systemd runs it"
    )
