"""What Ostiary learns of how a call went, from the dialplan alone."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.pbx import directory
from tests.pbx.asterisk import Asterisk
from tests.pbx.ostiary import Ostiary
from tests.pbx.places import DID, DID_ANSWERED, DID_RECEPTION, OWN_PLAN
from tests.pbx.sipp import Sipp
from tests.pbx.waiting import until


def journal(server: Ostiary, number: str) -> tuple[str, int, str]:
    """Return disposition, seconds and answered_by of the only call of a number, once it has ended."""
    query = "SELECT disposition, seconds, answered_by FROM calls WHERE number = ? AND ended_at IS NOT NULL"
    rows = until(lambda: server.rows(query, int(number)))
    assert len(rows) == 1
    disposition, seconds, answered_by = rows[0]
    assert isinstance(seconds, int)
    return str(disposition), seconds, str(answered_by)


def test_the_agent_spoke(sipp: Sipp, asterisk: Asterisk, serve: Callable[..., Ostiary]) -> None:
    server = serve(OSTIARY_ROUTING__RING_SECONDS="5")
    asterisk.set_global("OSTIARY_SERVER", server.address)
    sipp.phone("101")
    before = time.monotonic()
    assert sipp.call(DID, number=directory.OWNED, hold=1.2).status() == 200
    disposition, seconds, answered_by = journal(server, directory.OWNED)
    assert (disposition, answered_by) == ("answer", "101")
    assert 1 <= seconds <= time.monotonic() - before


def test_nobody_spoke(sipp: Sipp, ostiary: Ostiary) -> None:
    number = "4930444001"
    assert sipp.call(DID, number=number).status() == OWN_PLAN
    disposition, seconds, answered_by = journal(ostiary, number)
    assert (seconds, answered_by) == (0, "")
    assert disposition not in {"answer", "answered"}


def test_the_own_plan_answered(sipp: Sipp, ostiary: Ostiary) -> None:
    number = "4930444002"
    assert sipp.call(DID_ANSWERED, number=number).status() == 200
    assert journal(ostiary, number) == ("answered", 0, "")


def test_who_last_spoke_with_a_caller_is_asked_first(
    sipp: Sipp, asterisk: Asterisk, serve: Callable[..., Ostiary]
) -> None:
    server = serve(OSTIARY_ROUTING__LAST_AGENT_MINUTES="10", OSTIARY_ROUTING__RING_SECONDS="5")
    asterisk.set_global("OSTIARY_SERVER", server.address)
    phone = sipp.phone("103")
    assert sipp.call(DID_RECEPTION, number=directory.STRANGER, hold=0.2).status() == 200  # by the own plan
    phone.wait()
    assert journal(server, directory.STRANGER)[2] == "103"
    again = sipp.phone("103")
    assert sipp.call(DID, number=directory.STRANGER, hold=0.2).status() == 200
    assert again.rang()
