"""The messages to systemd, read from a real datagram socket."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agi_server.watchdog import watchdog, watchdog_interval


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield listening


async def received(listening: socket.socket) -> list[str]:
    data = await asyncio.wait_for(asyncio.to_thread(listening.recv, 4096), 5)
    return data.decode().split("\n")


async def test_ready_alive_stopping(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    answered = iter(range(1000))
    async with watchdog(lambda: f"{next(answered)} calls"):
        assert await received(systemd) == ["READY=1", "STATUS=0 calls"]
        for n in range(1, 5):
            assert await received(systemd) == ["WATCHDOG=1", f"STATUS={n} calls"]
    assert (await last(systemd))[0] == "STOPPING=1"


async def last(listening: socket.socket) -> list[str]:
    message = await received(listening)
    while message[0] == "WATCHDOG=1":
        message = await received(listening)
    return message


async def test_beats_come_at_half_the_time_systemd_waits(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    async with watchdog():
        assert await received(systemd) == ["READY=1"]
        assert await received(systemd) == ["WATCHDOG=1"]
        start = time.monotonic()
        for _ in range(3):
            assert await received(systemd) == ["WATCHDOG=1"]
        assert 0.4 < time.monotonic() - start < 30


def hang_until_silence(listening: socket.socket) -> None:
    while listening.recv(4096):
        pass


async def test_a_hanging_loop_falls_silent(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000")
    systemd.settimeout(0.4)
    async with watchdog():
        assert await received(systemd) == ["READY=1"]
        assert await received(systemd) == ["WATCHDOG=1"]
        with pytest.raises(TimeoutError):  # the loop stands still in here: nobody may beat for it
            hang_until_silence(systemd)


async def test_an_error_inside_still_says_stopping(systemd: socket.socket) -> None:
    with pytest.raises(ZeroDivisionError):
        async with watchdog(lambda: "fine"):
            raise ZeroDivisionError
    assert (await received(systemd))[0] == "READY=1"
    assert (await received(systemd))[0] == "STOPPING=1"


async def test_without_watchdog_only_the_status_is_told(systemd: socket.socket) -> None:
    async with watchdog(lambda: "fine"):
        assert await received(systemd) == ["READY=1", "STATUS=fine"]
        assert await received(systemd) == ["STATUS=fine"]


async def test_a_failing_status_stops_no_beat(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000")
    async with watchdog(lambda: str(1 / 0)):
        assert await received(systemd) == ["READY=1"]
        assert await received(systemd) == ["WATCHDOG=1"]
        assert await received(systemd) == ["WATCHDOG=1"]


async def test_a_status_is_one_line_that_systemd_can_read(systemd: socket.socket) -> None:
    async with watchdog(lambda: "José\nREADY=0"):
        assert await received(systemd) == ["READY=1", "STATUS=Jos? READY=0"]


@pytest.mark.usefixtures("systemd")
def test_a_full_queue_holds_nobody_up() -> None:
    """Some 200 beats that nobody reads: in a process of its own, as a send that waits would wait for ever."""
    code = (
        "import asyncio\n"
        "from agi_server.watchdog import watchdog\n"
        "async def main():\n"
        "    async with watchdog():\n"
        "        await asyncio.sleep(0.2)\n"
        "asyncio.run(main())\n"
    )
    environment = os.environ | {"WATCHDOG_USEC": "2000"}
    subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=True)


async def test_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"ostiary-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        async with watchdog():
            assert await received(listening) == ["READY=1"]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # sdnotify drops the socket it cannot connect
@pytest.mark.parametrize("address", [None, "", "/nowhere/notify"])
async def test_without_systemd_nothing_happens(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    async with watchdog(lambda: "fine"):
        pass


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "7"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
    ],
)
def test_interval(environ: dict[str, str], interval: float | None) -> None:
    assert watchdog_interval(environ, 7) == interval


@pytest.mark.usefixtures("systemd")
def test_nothing_leaks() -> None:
    code = (
        "import asyncio, gc\n"
        "from agi_server.watchdog import watchdog\n"
        "async def main():\n"
        "    async with watchdog(): pass\n"
        "asyncio.run(main()); gc.collect()\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
