"""Whatever happens to Ostiary, the call goes on; and a caller who gives up leaves nothing behind."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.pbx import directory
from tests.pbx.asterisk import Asterisk
from tests.pbx.dialog import Dialog
from tests.pbx.ostiary import BadServer, Ostiary, dying, dying_halfway, half_a_line, silent
from tests.pbx.places import DID, DID_LONG, DID_SHORT, OWN_PLAN, REDIRECTED
from tests.pbx.sipp import Sipp
from tests.pbx.waiting import until
from tests.ports import free_port

Instead = Callable[[Callable[[socket.socket], None]], BadServer]


@pytest.fixture
def patience(asterisk: Asterisk) -> Iterator[None]:
    """Have calls wait long for an answer: who goes on sooner did not wait for it."""
    asterisk.set_global("OSTIARY_SECONDS", "20")
    yield
    asterisk.set_global("OSTIARY_SECONDS", "1.5")


@pytest.mark.usefixtures("patience")
def test_nobody_listens(asterisk: Asterisk, sipp: Sipp) -> None:
    asterisk.set_global("OSTIARY_SERVER", f"127.0.0.1:{free_port()}")
    started = time.monotonic()
    assert sipp.call(DID, number=directory.OWNED).status() == OWN_PLAN
    assert time.monotonic() - started < 15


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("behave", [dying, dying_halfway, half_a_line])
def test_the_server_dies_in_the_middle(
    sipp: Sipp, instead: Instead, behave: Callable[[socket.socket], None]
) -> None:
    server = instead(behave)
    phone = sipp.phone("101")
    started = time.monotonic()
    assert sipp.call(DID, number=directory.OWNED).status() == OWN_PLAN
    assert time.monotonic() - started < 15
    assert server.asked() == 1, "a call that got no answer is not reported either"
    assert not phone.rang(), "half an answer is none"


def test_a_silent_server_costs_one_and_a_half_seconds(sipp: Sipp, instead: Instead) -> None:
    server = instead(silent)
    started = time.monotonic()
    assert sipp.call(DID, number=directory.OWNED).status() == OWN_PLAN
    assert time.monotonic() - started > 1.4
    assert server.asked() == 1


@pytest.mark.usefixtures("patience")
def test_a_caller_who_gives_up_on_a_silent_server_leaves_no_channel(
    asterisk: Asterisk, sipp: Sipp, instead: Instead
) -> None:
    server = instead(silent)
    call = sipp.call(DID, number=directory.OWNED, scenario="hangs_up", hold=3)
    assert call.status() == 487
    assert server.asked() == 1
    asterisk.wait_for_no_channel()


def test_the_time_out_of_the_own_plan_strikes_when_it_is_due(sipp: Sipp, instead: Instead) -> None:
    instead(silent)
    started = time.monotonic()
    assert sipp.call(DID_SHORT, number=directory.OWNED).status() == REDIRECTED
    assert time.monotonic() - started > 0.9


@pytest.mark.usefixtures("patient")
def test_the_time_out_of_the_own_plan_strikes_while_the_agent_rings(sipp: Sipp) -> None:
    phone = sipp.phone("101", "rings")
    started = time.monotonic()
    assert sipp.call(DID_SHORT, number=directory.OWNED).status() == REDIRECTED
    assert time.monotonic() - started > 0.9
    phone.await_message("CANCEL ")


@pytest.mark.usefixtures("ostiary")
@pytest.mark.parametrize("server", ["answers", "silent"])
def test_the_time_out_of_the_own_plan_goes_on_as_before(
    asterisk: Asterisk, sipp: Sipp, instead: Instead, server: str
) -> None:
    if server == "silent":
        instead(silent)
    since = asterisk.logged()
    assert sipp.call(DID_LONG, number=directory.STRANGER).status() == OWN_PLAN
    until(lambda: "own limit left " in asterisk.log(since))
    left = float(asterisk.log(since).rpartition("own limit left ")[2].split()[0].strip('")'))
    spent = 1.5 if server == "silent" else 0.0
    assert 20.0 - spent < left < 30.0 - spent


@pytest.mark.usefixtures("ostiary")
def test_the_own_hang_up_code_runs(asterisk: Asterisk, sipp: Sipp) -> None:
    before = asterisk.log().count("own h of ")
    assert sipp.call(DID, number=directory.blocked("busy")).status() == 486
    asterisk.wait_for_no_channel()
    until(lambda: asterisk.log().count("own h of ") > before)


def test_killed_in_the_middle_of_a_call(
    asterisk: Asterisk, sipp: Sipp, serve: Callable[..., Ostiary]
) -> None:
    server = serve(OSTIARY_ROUTING__RING_SECONDS="5")
    asterisk.set_global("OSTIARY_SERVER", server.address)
    phone = sipp.phone("101")
    talking = sipp.call(DID, number=directory.OWNED, hold=1.5)
    assert talking.final().status == 200
    server.stop(signal.SIGKILL)
    assert sipp.call(DID, number=directory.OWNED).status() == OWN_PLAN, "the next call goes its own way"
    talking.wait()
    phone.await_message("BYE ")  # the first one ends when the caller hangs up
    asterisk.wait_for_no_channel()


def test_killed_while_callers_wait(asterisk: Asterisk, sipp: Sipp, serve: Callable[..., Ostiary]) -> None:
    """A server that is stopped with calls in hand, then killed: each of them goes its own way at once."""
    server = serve()
    asterisk.set_global("OSTIARY_SERVER", server.address)
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    waiting = [sipp.call(DID, number=directory.OWNED) for _ in range(5)]
    for call in waiting:
        call.await_message("SIP/2.0 100")
    server.stop(signal.SIGKILL)
    assert [call.status() for call in waiting] == [OWN_PLAN] * 5


@pytest.mark.usefixtures("ostiary")
def test_once_found_silent_a_server_is_not_told_how_calls_went(
    asterisk: Asterisk, sipp: Sipp, instead: Instead
) -> None:
    """A channel that has hung up would wait for a silent server until that server ends."""
    sipp.phone("101")
    talking = sipp.call(DID, number=directory.OWNED, hold=60)
    assert talking.final().status == 200
    server = instead(silent)
    assert sipp.call(DID, number=directory.STRANGER).status() == OWN_PLAN  # finds it silent
    Dialog(talking, "127.0.0.1", sipp.server).hang_up()
    asterisk.wait_for_no_channel(20)
    assert server.asked() == 1


@pytest.mark.usefixtures("ostiary")
def test_a_channel_that_waits_to_tell_goes_with_the_server(
    asterisk: Asterisk, sipp: Sipp, instead: Instead
) -> None:
    sipp.phone("101")
    talking = sipp.call(DID, number=directory.OWNED, hold=0.5)
    assert talking.final().status == 200
    server = instead(silent)
    talking.wait()
    server.close()
    asterisk.wait_for_no_channel(20)
