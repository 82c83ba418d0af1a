"""Feature codes: *30 blocks a number, *31 unblocks it, *32 blocks the last caller."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.pbx import directory
from tests.pbx.ostiary import BadServer, Ostiary, silent
from tests.pbx.places import DID, OWN_PLAN
from tests.pbx.sipp import Sipp
from tests.pbx.sound import Ear
from tests.pbx.waiting import until

DONE = (660, 880)  # Hz
FAILED = 330
BLOCKED = 403


def dial(sipp: Sipp, code: str, phone: str = "127.0.0.101") -> Ear:
    with Ear(phone) as ear:
        call = sipp.call(code, sender=f"<sip:phone@{phone}>", address=phone, media=ear.port)
        assert call.status() == 200
    return ear


def confirmed(ear: Ear) -> bool:
    return all(ear.hears(hertz) for hertz in DONE) and not ear.hears(FAILED)


def refused(ear: Ear) -> bool:
    return ear.hears(FAILED) and not any(ear.hears(hertz) for hertz in DONE)


@pytest.mark.usefixtures("ostiary")
@pytest.mark.parametrize("dialled", ["+4930666001", "030666001", "004930666001"])
def test_a_number_is_blocked_and_unblocked(sipp: Sipp, dialled: str) -> None:
    caller = "4930666001"
    assert sipp.call(DID, number=caller).status() == OWN_PLAN
    assert confirmed(dial(sipp, f"*30{dialled}"))
    assert sipp.call(DID, number=caller).status() == BLOCKED
    assert confirmed(dial(sipp, f"*31{dialled}"))
    assert sipp.call(DID, number=caller).status() == OWN_PLAN


def test_who_blocked_a_number_is_known(sipp: Sipp, ostiary: Ostiary) -> None:
    assert confirmed(dial(sipp, "*30030666002"))
    found = ostiary.rows("SELECT created_by FROM blacklist WHERE pattern = '+4930666002'")
    assert found == [("extension:101",)]
    assert confirmed(dial(sipp, "*31030666002"))


def test_the_last_caller_is_blocked(sipp: Sipp, patient: Ostiary) -> None:
    sipp.phone("101")
    assert sipp.call(DID, number=directory.OWNED, hold=0.2).status() == 200
    until(
        lambda: patient.rows(
            "SELECT id FROM calls WHERE number = ? AND answered_by = '101'", int(directory.OWNED)
        )
    )
    assert confirmed(dial(sipp, "*32"))
    assert sipp.call(DID, number=directory.OWNED).status() == BLOCKED
    assert confirmed(dial(sipp, f"*31+{directory.OWNED}"))


@pytest.mark.usefixtures("patient")
def test_nobody_called(sipp: Sipp) -> None:
    assert refused(dial(sipp, "*32", phone="127.0.0.103"))


@pytest.mark.usefixtures("ostiary")
def test_a_number_that_was_not_blocked(sipp: Sipp) -> None:
    assert refused(dial(sipp, "*31030666003"))


def test_a_silent_server(sipp: Sipp, instead: Callable[[Callable[[socket.socket], None]], BadServer]) -> None:
    instead(silent)
    assert refused(dial(sipp, "*30030666004"))


def test_a_caller_from_outside_has_no_feature_codes(sipp: Sipp, ostiary: Ostiary) -> None:
    assert sipp.call("*30030666005", number=directory.STRANGER).status() == 404
    assert not ostiary.rows("SELECT id FROM blacklist WHERE pattern = '+4930666005'")
