"""The command line as a whole."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from agi_server import __version__
from agi_server.cli import COMMANDS, HIDDEN, app


def test_every_command_can_be_asked_for_help() -> None:
    for name in COMMANDS:
        result = CliRunner().invoke(app, [name, "--help"])
        assert result.exit_code == 0, name
        assert result.stdout.strip()


def test_the_overview_names_every_command_but_the_hidden() -> None:
    overview = CliRunner().invoke(app, ["--help"]).stdout
    for name in COMMANDS:
        assert (f" {name} " in overview) == (name not in HIDDEN), name


def test_the_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"ostiary {__version__}\n"


@pytest.mark.parametrize("words", [["nonsense"], ["serve", "--nonsense"], ["ask"]])
def test_wrong_usage_is_exit_2(words: list[str]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 2


def test_a_mistake_in_the_settings_is_one_clear_text() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "agi_server", "--config", "/nowhere/ostiary.toml", "serve"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert "/nowhere/ostiary.toml" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_settings_in_force_hide_secrets() -> None:
    result = CliRunner().invoke(app, ["settings"], env={"OSTIARY_AMI__SECRET": "hunter2"})
    assert '"secret"' in result.stdout
    assert "hunter2" not in result.stdout
