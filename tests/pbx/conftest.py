"""A real Asterisk, real SIP, a real Ostiary process; skipped, and said so, where that cannot be."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pbx import directory, lanes
from tests.pbx.ami import Ami
from tests.pbx.asterisk import Asterisk, cache, tree
from tests.pbx.ostiary import BadServer, Ostiary
from tests.pbx.sipp import Sipp
from tests.ports import UDP, free_port

EXTENSIONS = ("101", "102", "103")
PHONE = {extension: f"127.0.0.{extension}" for extension in EXTENSIONS}

# what Asterisk logs when a dialplan is wrong
MISTAKE = re.compile(
    r"No application|not registered|syntax error|ast_yyerror|non-existent|nonexistent|no label|No such label"
    r"|requires an argument|requires arguments|Function .* cannot|more stack frames|Return without|Gosub stack"
)


def _missing() -> str:
    """Return what these tests need and do not find, '' when all is there."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("sipp", "unshare", "nsenter", "setpriv", "chroot"):
        if shutil.which(tool) is None:
            return f"no {tool}"
    if tree() is None:
        return f"no Asterisk in {cache()}"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and skip them with their reason where they cannot run."""
    here = Path(__file__).parent
    ours = [item for item in items if item.path.is_relative_to(here)]
    missing = _missing() if ours else ""
    for item in ours:
        item.add_marker(pytest.mark.pbx)
        if missing:
            item.add_marker(
                pytest.mark.skip(
                    reason=f"NOT TESTED: calls through a real Asterisk ({missing}; run tests/system-packages)"
                )
            )


@pytest.fixture(scope="session")
def ports() -> dict[str, int]:
    """Return free ports: SIP, AMI, the trunk's, and one for each phone."""
    return choose_ports()


def choose_ports() -> dict[str, int]:
    """Return such ports."""
    chosen = {"SIP": free_port(kind=UDP), "AMI": free_port(), "TRUNK": free_port(kind=UDP)}
    for extension, address in PHONE.items():
        chosen[f"PHONE{extension}"] = free_port(address, UDP)
    return chosen


@pytest.fixture(scope="session")
def asterisk(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Asterisk]:
    """Return a running Asterisk."""
    found = tree()
    assert found is not None
    running = Asterisk(
        found, tmp_path_factory.mktemp("asterisk"), {key: str(port) for key, port in ports.items()}
    )
    running.start()
    yield running
    running.stop()


@pytest.fixture
def sipp(asterisk: Asterisk, ports: dict[str, int], tmp_path: Path) -> Iterator[Sipp]:
    """Return the SIP side; it leaves no party and no channel behind, nor a mistake of the dialplan in the log."""
    before = asterisk.logged()
    phones = lanes.phones(ports)
    phones["trunk"] = ("127.0.0.1", ports["TRUNK"])
    asterisk.set_global("OSTIARY_SILENT", "0")
    parties = Sipp(tmp_path, ("127.0.0.1", ports["SIP"]), phones)
    yield parties
    parties.end()
    asterisk.console("channel request hangup all")
    asterisk.wait_for_no_channel()
    assert not [line for line in asterisk.log(before).splitlines() if MISTAKE.search(line)]


@pytest.fixture
def ami(ports: dict[str, int], asterisk: Asterisk) -> Iterator[Ami]:  # noqa: ARG001  # it must run
    """Return a manager connection of the tests' own."""
    with Ami(ports["AMI"]) as connection:
        yield connection


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state directory with the directory of these tests in it."""
    server = Ostiary(tmp_path_factory.mktemp("ostiary"))
    server.run("migrate")
    server.load("contacts", directory.contacts())
    server.load("agents", directory.AGENTS)
    server.load("blacklist", directory.blacklist())
    return server.state


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory, imported: Path) -> Iterator[Callable[..., Ostiary]]:
    """Return a maker of running servers, each with a copy of that directory; `settings` are environment variables."""
    running: list[Ostiary] = []

    def start(**settings: str) -> Ostiary:
        server = Ostiary(tmp_path_factory.mktemp("ostiary"), **settings)
        shutil.copytree(imported, server.state)
        server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def company(serve: Callable[..., Ostiary]) -> Ostiary:
    """Return the server most tests ask: agents' phones ring for 1 s, then the call is the PBX's own again."""
    return serve(OSTIARY_ROUTING__RING_SECONDS="1", OSTIARY_JOURNAL__ENABLED="true")


@pytest.fixture
def ostiary(asterisk: Asterisk, company: Ostiary) -> Ostiary:
    """Return the server most tests ask; the PBX asks it."""
    asterisk.set_global("OSTIARY_SERVER", company.address)
    return company


@pytest.fixture(scope="session")
def persistent(serve: Callable[..., Ostiary]) -> Ostiary:
    """Return a server whose agents' phones ring for 3 s, and then 8001 has the call."""
    return serve(OSTIARY_ROUTING__RING_SECONDS="3", OSTIARY_ROUTING__FALLBACK="8001")


@pytest.fixture
def patient(asterisk: Asterisk, persistent: Ostiary) -> Ostiary:
    """Return the server with the longer ring time and the fallback; the PBX asks it."""
    asterisk.set_global("OSTIARY_SERVER", persistent.address)
    return persistent


@pytest.fixture
def instead(asterisk: Asterisk) -> Iterator[Callable[[Callable[[socket.socket], None]], BadServer]]:
    """Return a maker of bad servers; the PBX asks the last one made."""
    made: list[BadServer] = []

    def start(behave: Callable[[socket.socket], None]) -> BadServer:
        server = BadServer(behave)
        made.append(server)
        asterisk.set_global("OSTIARY_SERVER", server.address)
        return server

    yield start
    for server in made:
        server.close()
