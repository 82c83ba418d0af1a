"""`ostiary tokens`: other programs' ways in to the API."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from agi_server.cli.context import database, print_json, print_table, run, settings_of, who
from agi_server.errors import NotFoundError
from agi_server.exchange.values import json_time, show_time
from agi_server.web.access import Scope
from storage.tokens import Token, add_token, list_tokens, remove_token

app = typer.Typer(no_args_is_help=True, add_completion=False, help="See and change tokens of other programs.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the token is for, e.g. crm.")]


@app.command()
def add(
    ctx: typer.Context,
    name: Name,
    *,
    scope: Annotated[list[Scope], typer.Option(help="What it may do; give it several times for several.")],
    days: Annotated[int, typer.Option(min=0, max=36500, help="How long it is good; 0: for ever.")] = 0,
) -> None:
    """Make a token and print its secret, which is not shown again."""
    now = int(time.time())
    expires_at = now + int(timedelta(days=days).total_seconds()) if days else 0

    async def job() -> str:
        async with database(settings_of(ctx)) as opened:
            _, secret = await opened.write(
                lambda c: add_token(c, name=name, scopes=scope, expires_at=expires_at, who=who(), now=now)
            )
            return secret

    typer.echo(run(job()))


@app.command()
def remove(ctx: typer.Context, name: Name) -> None:
    """Remove a token: whoever uses it is turned away within two seconds."""

    async def job() -> None:
        async with database(settings_of(ctx)) as opened:
            known = {token.name: token.id for token in await opened.read(list_tokens)}
            if name not in known:
                raise NotFoundError(f"there is no token {name!r}; see `ostiary tokens list`")
            await opened.write(lambda c: remove_token(c, known[name], who(), int(time.time())))

    run(job())
    typer.echo(f"token {name} removed")


@app.command("list")
def list_(
    ctx: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List all tokens, expired ones too; never their secrets."""

    async def job() -> list[Token]:
        async with database(settings_of(ctx)) as opened:
            return await opened.read(list_tokens)

    tokens = run(job())
    if as_json:
        times = ("created_at", "expires_at", "used_at")
        print_json(
            [asdict(token) | {key: json_time(getattr(token, key)) for key in times} for token in tokens]
        )
        return
    print_table(
        ["name", "may", "made", "by", "good until", "last used"],
        [
            (
                token.name,
                " ".join(token.scopes),
                show_time(token.created_at),
                token.created_by,
                show_time(token.expires_at),
                show_time(token.used_at),
            )
            for token in tokens
        ],
    )
