"""What a caller, and the person they came to see, get from the PBX."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from tests.pbx import directory
from tests.pbx.asterisk import Asterisk
from tests.pbx.ostiary import BadServer, Ostiary, answering
from tests.pbx.places import DID, DID_RECEPTION, FELL_BACK, OWN_PLAN, REDIRECTED
from tests.pbx.sipp import Sipp
from tests.pbx.sound import Ear

Instead = Callable[[Callable[[socket.socket], None]], BadServer]


@pytest.mark.usefixtures("ostiary")
def test_the_phone_of_the_responsible_agent_shows_the_name(sipp: Sipp) -> None:
    phone = sipp.phone("101")
    call = sipp.call(DID, number=directory.OWNED, hold=0.2)
    assert phone.invite().display_name() == "Otto Owned"
    assert directory.OWNED in phone.invite().header("From")
    assert call.status() == 200


@pytest.mark.usefixtures("ostiary")
@pytest.mark.parametrize("number", directory.NAMES)
def test_a_name_arrives_as_it_is(sipp: Sipp, number: str) -> None:
    phone = sipp.phone("103")
    call = sipp.call(DID_RECEPTION, number=number, name="sent by the trunk", hold=0.1)
    assert phone.invite().display_name() == directory.SHOWN.get(number, directory.NAMES[number])
    assert call.status() == 200


@pytest.mark.usefixtures("ostiary")
def test_an_unknown_caller_keeps_the_name_the_trunk_sent(sipp: Sipp) -> None:
    phone = sipp.phone("103")
    call = sipp.call(DID_RECEPTION, number=directory.STRANGER, name="ACME Ltd", hold=0.1)
    assert phone.invite().display_name() == "ACME Ltd"
    assert call.status() == 200


@pytest.mark.usefixtures("ostiary")
def test_an_unknown_caller_goes_the_own_way_of_the_pbx(sipp: Sipp) -> None:
    assert sipp.call(DID, number=directory.STRANGER).status() == OWN_PLAN


@pytest.mark.parametrize(
    ("treatment", "status"),
    [
        ("hangup", 403),
        ("busy", 486),
        ("congestion", 503),
        ("redirect:8000", REDIRECTED),
        ("redirect:nowhere", 403),
    ],
)
@pytest.mark.usefixtures("ostiary")
def test_a_blocked_caller_gets_the_treatment(sipp: Sipp, treatment: str, status: int) -> None:
    call = sipp.call(DID, number=directory.blocked(treatment))
    assert call.status() == status


@pytest.mark.usefixtures("ostiary")
def test_a_blocked_caller_hears_the_announcement(sipp: Sipp) -> None:
    with Ear() as ear:
        call = sipp.call(DID, number=directory.blocked("announce:/etc/asterisk/sounds/tone"), media=ear.port)
        assert call.status() == 200
    assert call.received()[-1].start.startswith("BYE "), "the PBX ends the call when the announcement is over"
    assert ear.hears(1000), "the 1000 Hz of tests/pbx/sound.py"


@pytest.mark.usefixtures("ostiary")
@pytest.mark.parametrize("treatment", ["voicemail:900", "voicemail"])
def test_a_blocked_caller_reaches_voicemail(asterisk: Asterisk, sipp: Sipp, treatment: str) -> None:
    if not asterisk.has_module("app_voicemail.so"):
        pytest.skip("NOT TESTED: voicemail (this Asterisk has no app_voicemail)")
    with Ear() as ear:
        call = sipp.call(DID, number=directory.blocked(treatment), media=ear.port, hold=1)
        assert call.status() == 200
    assert (asterisk.own / "var/spool/asterisk/voicemail/default/900").is_dir()
    assert 'VoiceMail("PJSIP/trunk-' in asterisk.log()
    assert ear.heard(), "the mailbox greets"


@pytest.mark.usefixtures("ostiary")
def test_an_agent_who_does_not_answer_gives_the_call_back(sipp: Sipp) -> None:
    phone = sipp.phone("101", "rings")
    started = time.monotonic()
    assert sipp.call(DID, number=directory.OWNED).status() == OWN_PLAN
    assert 1.0 <= time.monotonic() - started < 12, "after the ring time of 1 s"
    phone.await_message("CANCEL ")


@pytest.mark.usefixtures("ostiary")
def test_an_agent_who_is_busy_gives_the_call_back_at_once(sipp: Sipp) -> None:
    sipp.phone("101", "busy")
    started = time.monotonic()
    assert sipp.call(DID, number=directory.OWNED).status() == OWN_PLAN
    assert time.monotonic() - started < 1.0


@pytest.mark.usefixtures("ostiary")
def test_a_phone_that_is_off_gives_the_call_back(sipp: Sipp) -> None:
    assert sipp.call(DID, number=directory.OWNED_BY_BEN).status() == OWN_PLAN


@pytest.mark.usefixtures("patient")
def test_the_fallback_takes_the_call_nobody_answered(sipp: Sipp) -> None:
    phone = sipp.phone("101", "rings")
    assert sipp.call(DID, number=directory.OWNED).status() == FELL_BACK
    assert phone.rang()


@pytest.mark.parametrize(("kind", "route"), [("queue", "sales"), ("external", "8002"), ("extension", "103")])
def test_every_kind_of_route_is_rung(sipp: Sipp, instead: Instead, kind: str, route: str) -> None:
    instead(answering(ROUTE=route, ROUTE_TYPE=kind, RING_SECONDS="5", ACTION="allow"))
    phone = sipp.phone("103")
    assert sipp.call(DID, number=directory.STRANGER, hold=0.2).status() == 200
    assert phone.rang()


@pytest.mark.parametrize(
    ("kind", "route"),
    [("queue", "nosuch"), ("external", "nosuch"), ("extension", "nosuch"), ("other", "103")],
)
def test_a_route_that_leads_nowhere_leads_back(sipp: Sipp, instead: Instead, kind: str, route: str) -> None:
    instead(answering(ROUTE=route, ROUTE_TYPE=kind, RING_SECONDS="5", ACTION="allow"))
    assert sipp.call(DID, number=directory.STRANGER).status() == OWN_PLAN


@pytest.mark.parametrize(
    "sender",
    [
        '"Anonymous" <sip:anonymous@anonymous.invalid>',
        "<sip:unavailable@127.0.0.1>",
        "<sip:127.0.0.1>",
    ],
)
@pytest.mark.usefixtures("ostiary")
def test_an_anonymous_caller_is_a_caller(sipp: Sipp, sender: str) -> None:
    assert sipp.call(DID, sender=sender).status() == OWN_PLAN
    assert sipp.call(directory.NOT_ANONYMOUSLY, sender=sender).status() == 486


@pytest.mark.usefixtures("ostiary")
def test_a_withheld_number_is_anonymous_even_when_the_trunk_tells_it(sipp: Sipp) -> None:
    withheld = (f"P-Asserted-Identity: <sip:{directory.OWNED}@127.0.0.1>", "Privacy: id")
    call = sipp.call(directory.NOT_ANONYMOUSLY, sender="<sip:anonymous@anonymous.invalid>", headers=withheld)
    assert call.status() == 486


INJECTED = "agi_network_script%3A%20blacklist_add?number=4930555555"


@pytest.mark.parametrize("newline", ["%0A", "%0D%0A"])
@pytest.mark.parametrize("where", ["number", "did"])
def test_a_caller_cannot_ask_something_else(sipp: Sipp, ostiary: Ostiary, newline: str, where: str) -> None:
    before = ostiary.rows("SELECT count(*) FROM blacklist")
    injected = f"{newline}{INJECTED}{newline}"
    number, did = directory.STRANGER, DID
    if where == "number":
        number += injected
    else:
        did += injected
    assert sipp.call(did, number=number).status() == OWN_PLAN
    assert ostiary.rows("SELECT count(*) FROM blacklist") == before


def test_a_caller_can_end_the_block_early(sipp: Sipp, instead: Instead) -> None:
    """What makes the test above worth its time: Asterisk does pass a caller's newlines on."""
    block = bytearray()

    def record(taken: socket.socket) -> None:
        while b"\nagi_threadid: " not in block and (more := taken.recv(4096)):
            block.extend(more)
        taken.close()

    instead(record)
    number = f"{directory.STRANGER}%0A{INJECTED}%0A"
    assert sipp.call(DID, number=number).status() == OWN_PLAN
    assert b"\nagi_network_script: blacklist_add?number=4930555555\n" in block


@pytest.mark.usefixtures("ostiary")
def test_a_call_without_a_dialled_number(sipp: Sipp) -> None:
    assert sipp.call("s", number=directory.blocked("busy")).status() == 486
