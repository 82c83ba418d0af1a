import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agi_server.cli import app
from agi_server.settings_file import load_settings
from tests.house import furnish, process, until_answering, write_settings
from tests.ports import free_port

KNOWN = "03023125010"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def config(tmp_path: Path, port: int) -> Path:
    path = write_settings(tmp_path, port=port)
    await furnish(load_settings(path, environ={}))
    return path


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["--config", str(config), "ask", *words])


def test_offline(config: Path) -> None:
    result = run(config, KNOWN, "--offline")
    assert result.exit_code == 0
    assert "Ana Muñoz" in result.stdout
    assert "the owner" in result.stdout


async def test_a_running_server_says_the_same(config: Path, port: int) -> None:
    import asyncio  # noqa: PLC0415  # here only

    with process(config):
        await until_answering(port)
        online = json.loads((await asyncio.to_thread(run, config, KNOWN, "--json")).stdout)
    offline = json.loads(run(config, KNOWN, "--json", "--offline").stdout)
    for answer in (online, offline):
        answer["variables"].pop("OSTIARY_CALL")
    assert online == offline
    assert online["variables"]["OSTIARY_ROUTE"] == "101"
    assert {"stage": "match", "outcome": "exact"}.items() <= online["trace"][1].items()


def test_without_a_server_it_says_what_to_do(config: Path) -> None:
    result = run(config, KNOWN)
    assert result.exit_code == 1
    assert "ostiary serve" in str(result.exception)
    assert "--offline" in str(result.exception)
