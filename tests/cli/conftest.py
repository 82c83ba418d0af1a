"""`ostiary`: run a command on a database of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agi_server.cli import app
from tests.ports import free_port

Ostiary = Callable[..., Result]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir()
    return directory


@pytest.fixture
def config(tmp_path: Path, state: Path) -> Path:
    """A settings file whose ports nobody listens on."""
    file = tmp_path / "ostiary.toml"
    file.write_text(
        f"""
[storage]
state_directory = "{state}"
[fastagi]
listen = "127.0.0.1:{free_port()}"
[http]
listen = "127.0.0.1:{free_port()}"
[numbers]
region = "DE"
[routing]
timezone = "Europe/Lisbon"
"""
    )
    return file


@pytest.fixture
def ostiary(config: Path, monkeypatch: pytest.MonkeyPatch) -> Ostiary:
    """Run a command line; a `CliRunner` result: exit_code, stdout, stderr, exception."""
    monkeypatch.setenv("SUDO_USER", "ana")

    def run(*arguments: str, typed: str | None = None, code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["--config", str(config), *arguments], input=typed)
        if result.exit_code != code:
            raise AssertionError(f"exit code {result.exit_code}: {result.output}") from result.exception
        return result

    return run


@pytest.fixture
def server(config: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real server on the ports of `config`, ready to answer; its own notice of readiness is waited for."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(30)
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        command = [sys.executable, "-m", "agi_server", "--config", str(config), "serve"]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            assert b"READY=1" in notices.recv(4096), (tmp_path / "log").read_text()
            yield process
        finally:
            process.terminate()
            process.wait(30)
