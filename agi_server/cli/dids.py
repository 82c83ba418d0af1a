"""`ostiary dids`: what applies to calls on one DID."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agi_server.calls.naming import check_template
from agi_server.cli.context import database, print_json, print_table, run, settings_of, who
from agi_server.errors import InputError
from agi_server.exchange.values import check_dialable
from storage.dids import DidRow, list_dids, put_did, remove_did

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="See and change what applies to calls on one DID."
)

Did = Annotated[str, typer.Argument(metavar="DID", help="The dialled number, as the trunk sends it.")]


def _flag(text: str) -> bool:
    if text.lower() in {"yes", "true", "on", "1"}:
        return True
    if text.lower() in {"no", "false", "off", "0"}:
        return False
    raise InputError(f"{text!r} is neither yes nor no")


def _region(text: str) -> str:
    if not re.fullmatch("[A-Z]{2}", text):
        raise InputError(f"{text!r} is no country; write its ISO code in capitals, like PT")
    return text


def _template(text: str) -> str:
    check_template(text)
    return text


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise InputError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return read


# Every column that may be set, and how its text is read.
COLUMNS: Mapping[str, Callable[[str], str | bool | int]] = {
    "name": str,
    "region": _region,
    "identify": _flag,
    "naming": _flag,
    "screening": _flag,
    "routing": _flag,
    "create_contacts": _flag,
    "template": _template,
    "default_agent": check_dialable,
    "ring_seconds": _number(1, 600),
    "fallback": check_dialable,
    "last_agent_minutes": _number(0, 525_600),
}


@app.command("list")
def list_(
    ctx: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the DIDs with rules of their own; `-` means: as the settings say."""

    async def job() -> Sequence[DidRow]:
        async with database(settings_of(ctx)) as opened:
            return await opened.read(list_dids)

    rows = run(job())
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ["DID", *COLUMNS], [[row.did, *(_shown(getattr(row, column)) for column in COLUMNS)] for row in rows]
    )


@app.command(
    "set", help=f"Set what applies to a DID. Keys: {', '.join(COLUMNS)}. `key=` means: as the settings say."
)
def set_(
    ctx: typer.Context,
    did: Did,
    values: Annotated[list[str], typer.Argument(metavar="KEY=VALUE…", help="What to set.")],
) -> None:
    """Set what applies to a DID; it is made if it is new."""
    new = parse_values(values)

    async def put(connection: AsyncConnection) -> None:
        known = next((row for row in await list_dids(connection) if row.did == did), DidRow(did=did))
        await put_did(connection, replace(known, **new), who=who(), now=int(time.time()))

    async def job() -> None:
        async with database(settings_of(ctx)) as opened:
            await opened.write(put)

    run(job())
    typer.echo(f"DID {did} set")


@app.command()
def remove(ctx: typer.Context, did: Did) -> None:
    """Forget a DID's own rules: the settings apply again."""

    async def delete(connection: AsyncConnection) -> None:
        if all(row.did != did for row in await list_dids(connection)):
            raise InputError(f"no DID {did!r} has rules of its own; see `ostiary dids list`")
        await remove_did(connection, did, who=who(), now=int(time.time()))

    async def job() -> None:
        async with database(settings_of(ctx)) as opened:
            await opened.write(delete)

    run(job())
    typer.echo(f"DID {did} removed")


def parse_values(values: Sequence[str]) -> dict[str, Any]:
    """Return columns and values of `key=value` texts; an empty value is None (a name: '').

    Raises InputError.
    """
    new: dict[str, Any] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or key not in COLUMNS:
            raise InputError(
                f"{text!r} cannot be set; write key=value with one of the keys {', '.join(COLUMNS)}"
            )
        try:
            new[key] = COLUMNS[key](value) if value else ("" if key == "name" else None)
        except InputError as error:
            raise InputError(f"{key}: {error}") from None
    return new


def _shown(value: str | bool | int | None) -> str:
    return (
        "" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    )


assert set(COLUMNS) == {field.name for field in fields(DidRow)} - {"id", "did"}
