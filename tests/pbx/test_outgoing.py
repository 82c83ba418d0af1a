"""What the phone of one of our own shows when it calls out."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.pbx import directory
from tests.pbx.ostiary import BadServer, silent
from tests.pbx.sipp import Call, Message, Sipp

ERIKA = "4930100001"


def dial(sipp: Sipp, number: str) -> Call:
    return sipp.call(f"0{number}", sender="<sip:101@127.0.0.101>", address="127.0.0.101", hold=0.2)


def rings_and_answers(call: Call) -> list[Message]:
    return [
        message
        for message in call.received()
        if message.status in {180, 200} and "INVITE" in message.header("CSeq")
    ]


@pytest.mark.usefixtures("ostiary")
def test_the_caller_sees_whom_they_call(sipp: Sipp) -> None:
    trunk = sipp.phone("trunk")
    call = dial(sipp, ERIKA)
    assert call.status() == 200
    assert trunk.invite().start.startswith("INVITE sip:")
    shown = {
        message.status: message.display_name("P-Asserted-Identity") for message in rings_and_answers(call)
    }
    assert shown == {180: "Erika Mustermann", 200: "Erika Mustermann"}


@pytest.mark.usefixtures("ostiary")
def test_a_number_nobody_knows_is_dialled_all_the_same(sipp: Sipp) -> None:
    trunk = sipp.phone("trunk")
    assert dial(sipp, directory.STRANGER).status() == 200
    assert trunk.rang()


def test_a_silent_server_does_not_keep_us_from_calling(
    sipp: Sipp, instead: Callable[[Callable[[socket.socket], None]], BadServer]
) -> None:
    instead(silent)
    trunk = sipp.phone("trunk")
    assert dial(sipp, ERIKA).status() == 200
    assert trunk.rang()
