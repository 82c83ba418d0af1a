"""`ostiary settings`: what is in force, an example file, the reference."""

from __future__ import annotations

from typing import Annotated

import typer

from agi_server.cli.context import print_json, settings_of
from agi_server.settings_pages import render_example, render_reference


def settings(
    ctx: typer.Context,
    example: Annotated[
        bool, typer.Option("--example", help="Print an example file with every setting.")
    ] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print the reference page (Markdown).")
    ] = False,
) -> None:
    """Print the settings in force (secrets hidden) as JSON, an example file, or the reference."""
    if example:
        typer.echo(render_example(), nl=False)
    elif reference:
        typer.echo(render_reference(), nl=False)
    else:
        print_json(settings_of(ctx).model_dump(mode="json"))
