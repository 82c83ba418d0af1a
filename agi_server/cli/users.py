"""`ostiary users`: who may log in to the console."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from agi_server.cli.context import database, print_json, print_table, run, settings_of, who
from agi_server.exchange.values import json_time, show_time
from agi_server.web.links import console_address, welcome_link
from storage.invitations import DAY, invite, invite_again
from storage.users import (
    Hashed,
    User,
    add_user,
    hash_password,
    list_users,
    remove_user,
    set_disabled,
    set_password,
    set_role,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False, help="See and change console log-ins.")


class Role(StrEnum):
    """What a user may do in the console."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


Name = Annotated[str, typer.Argument(metavar="NAME", help="The log-in name.")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input (its first line).")
]


@app.command()
def add(
    ctx: typer.Context,
    name: Name,
    *,
    role: Annotated[Role, typer.Option(help="What the user may do.")] = Role.VIEWER,
    password_stdin: FromStdin = False,
) -> None:
    """Add a user; the password is asked for twice."""
    hashed = read_password(from_stdin=password_stdin)
    _write(ctx, lambda c: add_user(c, name, hashed, role, who=who(), now=int(time.time())))
    typer.echo(f"user {name} added ({role})")


@app.command("invite")
def invite_(
    ctx: typer.Context,
    name: Name,
    *,
    role: Annotated[Role, typer.Option(help="What the user may do.")] = Role.VIEWER,
    reset: Annotated[
        bool, typer.Option("--reset", help="For a user there is, who forgot the password; the role stays.")
    ] = False,
) -> None:
    """Print a link by which somebody chooses a password; it is good once, for 24 hours."""
    now = int(time.time())
    if reset:
        secret = _write(ctx, lambda c: invite_again(c, name=name, who=who(), now=now, seconds=DAY))
    else:
        secret = _write(ctx, lambda c: invite(c, name=name, role=role, who=who(), now=now, seconds=DAY))
    typer.echo(welcome_link(console_address(settings_of(ctx)), secret))


@app.command()
def password(ctx: typer.Context, name: Name, *, password_stdin: FromStdin = False) -> None:
    """Give a user a new password; whoever is logged in as this user no longer is."""
    hashed = read_password(from_stdin=password_stdin)
    _write(ctx, lambda c: set_password(c, name, hashed, who=who(), now=int(time.time())))
    typer.echo(f"user {name} has a new password")


@app.command("role")
def role_(
    ctx: typer.Context,
    name: Name,
    role: Annotated[Role, typer.Argument(help="What the user may do from now on.")],
) -> None:
    """Change what a user may do."""
    _write(ctx, lambda c: set_role(c, name, role, who=who(), now=int(time.time())))
    typer.echo(f"user {name} is {role} now")


@app.command()
def disable(ctx: typer.Context, name: Name) -> None:
    """Keep a user from logging in."""
    _write(ctx, lambda c: set_disabled(c, name, disabled=True, who=who(), now=int(time.time())))
    typer.echo(f"user {name} cannot log in any more")


@app.command()
def enable(ctx: typer.Context, name: Name) -> None:
    """Let a disabled user log in again."""
    _write(ctx, lambda c: set_disabled(c, name, disabled=False, who=who(), now=int(time.time())))
    typer.echo(f"user {name} can log in again")


@app.command()
def remove(ctx: typer.Context, name: Name) -> None:
    """Remove a user."""
    _write(ctx, lambda c: remove_user(c, name, who=who(), now=int(time.time())))
    typer.echo(f"user {name} removed")


@app.command("list")
def list_(
    ctx: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List all users."""

    async def job() -> list[User]:
        async with database(settings_of(ctx)) as opened:
            return await opened.read(list_users)

    users = run(job())
    if as_json:
        print_json([asdict(user) | {"created_at": json_time(user.created_at)} for user in users])
        return
    print_table(
        ["name", "role", "since", "state"],
        [[u.name, u.role, show_time(u.created_at), "disabled" if u.disabled else "active"] for u in users],
    )


def read_password(*, from_stdin: bool) -> Hashed:
    """Return what to keep of a password that is typed twice without echo, or is the first line of standard input.

    Raises InputError for one that is too short.
    """
    if from_stdin:
        new = sys.stdin.readline().rstrip("\r\n")
    else:
        new = typer.prompt("Password", hide_input=True, confirmation_prompt="The same again")
    return run(hash_password(new))


def _write(ctx: typer.Context, job: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    async def work() -> T:
        async with database(settings_of(ctx)) as opened:
            return await opened.write(job)

    return run(work())
