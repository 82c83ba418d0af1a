from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_server.calls.call import Call, Decision, RouteType
from agi_server.calls.directory import Contact
from agi_server.calls.numbers import Number, NumberState, normalise
from agi_server.scripts import variables

PLAIN = Decision(call=Call(id="1", number="+493023125010"), number=normalise("+493023125010", "DE"))


@given(st.text())
def test_only_what_a_dialplan_may_dial_is_passed_on(text: str) -> None:
    passed = variables.diallable(text)
    assert passed in {"", text}
    assert not set(passed) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/@.+&-")


@pytest.mark.parametrize("route", ["100,System(id)", "100)", "${EXTEN}", "100\n", "1 0"])
def test_a_route_that_is_none_is_dropped(route: str) -> None:
    told = variables.of_decision(
        replace(PLAIN, route=route, route_type=RouteType.EXTENSION, fallback=route), "X_", name_variable="N"
    )
    assert (told["X_ROUTE"], told["X_FALLBACK"]) == ("", "")


def test_clavesf() -> None:
    assert variables.clavesf(PLAIN) == ""
    assert variables.clavesf(replace(PLAIN, contact=Contact(id=7))) == "7-+493023125010"
    anonymous = Decision(
        call=Call(id="1", number=""), number=Number(NumberState.ANONYMOUS), contact=Contact(id=7)
    )
    assert variables.clavesf(anonymous) == "7-"


def test_a_contact_goes_by_its_salesforce_id_once_it_has_one() -> None:
    assert variables.contact_id(Contact(id=7)) == "7"
    assert variables.contact_id(Contact(id=7, salesforce_id="003")) == "003"
    assert variables.contact_id(None) == ""
