"""`ostiary salesforce`: authorise Ostiary in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agi_server.cli.context import settings_of
from agi_server.errors import SettingsError
from agi_server.salesforce import authorise as authorisation
from agi_server.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Authorise Ostiary at Salesforce.")

PATIENCE = 600.0  # seconds a person may take in the browser


@app.callback()
def group() -> None:
    """Authorise Ostiary at Salesforce."""


@app.command()
def authorise(
    ctx: typer.Context,
    *,
    paste: Annotated[
        bool,
        typer.Option("--paste", help="Ask for the address the browser ends at; for a browser elsewhere."),
    ] = False,
) -> None:
    """Let a person sign in with a browser, and keep the permission (flow web-server)."""
    settings = settings_of(ctx)
    section, directory = settings.salesforce, state_directory(settings)
    attempt = authorisation.begin(section)
    typer.echo(f"Open this address and sign in as the integration user:\n\n{attempt.url}\n")
    if paste or not authorisation.listens(section):
        text = typer.prompt("The address the browser ended at, or the code in it")
        code = authorisation.code_in(attempt, text)
    else:
        with authorisation.listener(section, attempt) as listener:
            typer.echo(f"Waiting at {section.redirect_url} (a browser on another machine: --paste).")
            code = listener.wait(PATIENCE)
    token = authorisation.finish(section, directory, attempt, code)
    typer.echo(f"authorised at {token.instance_url}; `ostiary check` tells as whom")


def state_directory(settings: Settings) -> Path:
    """Return the directory of the token file, made if missing. Raises SettingsError."""
    directory = settings.storage.state_directory.absolute()
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"storage.state_directory {directory} cannot be made: {error.strerror}") from None
    return directory
