"""Many calls at once, and restarts among them: none is lost."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.pbx.asterisk import Asterisk
from tests.pbx.ostiary import Ostiary
from tests.pbx.places import DID_ANSWERED
from tests.pbx.sipp import Sipp
from tests.pbx.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def patience(asterisk: Asterisk) -> Iterator[None]:
    """Have calls wait for Ostiary on a busy machine, too."""
    asterisk.set_global("OSTIARY_SECONDS", "30")
    yield
    asterisk.set_global("OSTIARY_SECONDS", "1.5")


def journalled(server: Ostiary, number: str) -> int:
    """Return how many calls of a number are in the journal with the name's decision and their end."""
    [(count,)] = server.rows(
        "SELECT count(*) FROM calls WHERE number = ? AND ended_at IS NOT NULL", int(number)
    )
    assert isinstance(count, int)
    return count


def reached(server: Ostiary, number: str, wanted: int) -> bool:
    return journalled(server, number) >= wanted


def test_fifty_calls_a_second(asterisk: Asterisk, sipp: Sipp, serve: Callable[..., Ostiary]) -> None:
    server = serve(OSTIARY_FASTAGI__DEADLINE="30")
    asterisk.set_global("OSTIARY_SERVER", server.address)
    number = "4930100001"
    done = sipp.flood(DID_ANSWERED, number=number, rate=50, calls=1000)
    assert done.returncode == 0, done.stdout.decode()[-3000:]
    until(partial(reached, server, number, 1000))
    assert journalled(server, number) == 1000


def test_restarts_during_calls(asterisk: Asterisk, sipp: Sipp, serve: Callable[..., Ostiary]) -> None:
    """The listening socket belongs to the service manager: while Ostiary is away, calls wait in its queue."""
    server = serve()
    server.stop()
    number = "4930100001"
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        server.start(handed_over=listener)
        asterisk.set_global("OSTIARY_SERVER", server.address)
        floods: list[subprocess.CompletedProcess[bytes]] = []
        calls = threading.Thread(
            target=lambda: floods.append(sipp.flood(DID_ANSWERED, number=number, rate=20, calls=200))
        )
        calls.start()
        for wanted in (40, 100):
            until(partial(reached, server, number, wanted))
            server.stop()
            server.start(handed_over=listener)
        calls.join()
        (done,) = floods
        assert done.returncode == 0, done.stdout.decode()[-3000:]
        until(partial(reached, server, number, 200))
        assert journalled(server, number) == 200
