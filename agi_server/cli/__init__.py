"""The command line.

Exit codes: 0 fine, 1 failed (the reason is on standard error), 2 wrong usage, 3 done in part.
A command's module is imported when the command is run, so that `ostiary serve` answers soon after its start.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from typer.core import TyperGroup

from agi_server import __version__
from agi_server.errors import OstiaryError

# command → the module of this package that holds it: a function of the command's name, or a Typer application
# called `app_<command>` or `app`
COMMANDS = {
    "serve": "serve",
    "demo": "demo",
    "ask": "ask",
    "check": "check",
    "import": "exchange",
    "export": "exchange",
    "blacklist": "blacklist",
    "agents": "agents",
    "dids": "dids",
    "users": "users",
    "tokens": "tokens",
    "dialplan": "dialplan",
    "migrate": "database",
    "backup": "database",
    "restore": "database",
    "settings": "settings",
    "sync": "sync",
    "outbox": "outbox",
    "salesforce": "salesforce",
    "worker": "serve",
    "front": "serve",
}
HIDDEN = {"worker", "front"}  # what `serve` runs beside itself


class _Commands(TyperGroup):
    """The commands by name, each imported when it is asked for."""

    def list_commands(self, _ctx: object) -> list[str]:
        return [name for name in COMMANDS if name not in HIDDEN]

    def get_command(self, _ctx: object, cmd_name: str) -> Any:  # noqa: ANN401  # a command of Typer's own click
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"agi_server.cli.{COMMANDS[cmd_name]}")
        application = getattr(module, f"app_{cmd_name}", None) or getattr(module, "app", None)
        if not isinstance(application, typer.Typer):
            function = getattr(module, cmd_name)
            application = typer.Typer(add_completion=False)
            application.command(cmd_name)(function)
        command = typer.main.get_command(application)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="ostiary",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The doorkeeper of a company's telephone system.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ostiary {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Settings file; see `ostiary settings`.", metavar="FILE"),
    ] = None,
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take what every command takes."""
    ctx.obj = config
    # Standard output is for answers.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def main() -> None:
    """Run the command line; an error Ostiary raised on purpose is one clear text, not a traceback."""
    try:
        app()
    except OstiaryError as error:
        print(f"ostiary: {error}", file=sys.stderr)
        sys.exit(1)
