"""What is shipped for FreePBX, among stand-ins for the contexts FreePBX generates (config/freepbx.conf)."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.pbx import directory
from tests.pbx.asterisk import Asterisk
from tests.pbx.ostiary import BadServer, silent
from tests.pbx.sipp import Call, Sipp

DID = "4930888100"
DID_RECEPTION = "4930888102"
ROUTE = 410  # the inbound route of the DID
ROUTE_OF_CALLER = 502  # the inbound route of DID and caller
DIRECT = 501  # an extension's direct number
CATCH_ALL = 484


def ring(sipp: Sipp, did: str, number: str) -> Call:
    return sipp.call(did, sender=f"<sip:{number}@127.0.0.2>", address="127.0.0.2", hold=0.2)


@pytest.mark.parametrize(
    ("did", "number", "status"),
    [
        (DID, directory.STRANGER, ROUTE),
        (DID, "4930999998", ROUTE_OF_CALLER),
        ("101", directory.STRANGER, DIRECT),
        ("4930888999", directory.STRANGER, CATCH_ALL),
        ("s", directory.STRANGER, CATCH_ALL),
        (DID, directory.blocked("busy"), 486),
        ("s", directory.blocked("busy"), 486),
    ],
)
@pytest.mark.usefixtures("ostiary")
def test_inbound_routes_work_as_before(sipp: Sipp, did: str, number: str, status: int) -> None:
    assert ring(sipp, did, number).status() == status


@pytest.mark.usefixtures("ostiary")
def test_the_inbound_route_shows_the_name(sipp: Sipp) -> None:
    phone = sipp.phone("103")
    call = ring(sipp, DID_RECEPTION, "4930100001")
    assert phone.invite().display_name() == "Erika Mustermann"
    assert call.status() == 200


@pytest.mark.usefixtures("ostiary")
def test_the_responsible_agent_is_rung(sipp: Sipp) -> None:
    phone = sipp.phone("101")
    assert ring(sipp, DID, directory.OWNED).status() == 200
    assert phone.rang()


@pytest.mark.usefixtures("ostiary")
def test_nobody_answers_and_the_inbound_route_has_the_call(sipp: Sipp) -> None:
    phone = sipp.phone("101", "rings")
    assert ring(sipp, DID, directory.OWNED).status() == ROUTE
    assert phone.rang()


def test_a_silent_server_leaves_the_inbound_route(
    sipp: Sipp, instead: Callable[[Callable[[socket.socket], None]], BadServer]
) -> None:
    instead(silent)
    assert ring(sipp, DID, directory.OWNED).status() == ROUTE


@pytest.mark.usefixtures("ostiary")
@pytest.mark.parametrize("hook", ["16", "17"])
@pytest.mark.parametrize("answers", [True, False])
def test_outgoing_calls(
    asterisk: Asterisk,
    sipp: Sipp,
    instead: Callable[[Callable[[socket.socket], None]], BadServer],
    hook: str,
    answers: bool,
) -> None:
    if hook == "16" and not asterisk.has_module("app_macro.so"):
        pytest.skip("this Asterisk has no app_macro, as no FreePBX before 17 would run on it")
    if not answers:
        instead(silent)
    trunk = sipp.phone("trunk")
    call = sipp.call(f"{hook}4930100001", sender="<sip:101@127.0.0.101>", address="127.0.0.101", hold=0.2)
    assert call.status() == 200
    assert trunk.rang()
    if answers and hook == "17":
        assert call.final().display_name("P-Asserted-Identity") == "Erika Mustermann"
