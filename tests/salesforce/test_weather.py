"""Bad weather, with the real processes: calls are answered as if nothing were, and everything is mended by itself.

The scenarios run at the same time, each in a place of its own (weather.py); each test tells of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.salesforce.weather import Place, SteeredOrg, asked_for, place, side_by_side, stand_in, until

pytestmark = pytest.mark.slow

Scenario = Callable[[Path], None]
Outcomes = dict[str, Future[None]]

# What one Ostiary asks at most while Salesforce does not answer it: a few rounds, a few look-ups, three tries each.
MOST_ASKED = 60
MOST_LOGINS = 3


def nobody_listens_at_first(directory: Path) -> None:
    with stand_in() as org:
        org.close_port()
        with place(directory, org, lookup=True) as here:
            here.until_alarm("down")
            here.callers.more()
            found = here.check()
            assert found["sync"]["verdict"] in {"warn", "FAIL"}
            assert "no connection" in found["sync"]["text"]
            assert found["sync"]["hint"]
            assert found["Salesforce"]["verdict"] == "FAIL"
            org.open_port()
            mended(here)


def nobody_listens_in_the_middle_of_a_full_load(directory: Path) -> None:
    with stand_in() as org:
        org.do("fault", "slow", times=None, path="/results", seconds=0.5)
        with place(directory, org) as here:
            until(lambda: org.asked("/results") >= 4, "results of a full load", pause=0.02)
            org.close_port()
            here.until_alarm("down", 2)
            org.open_port()
            assert here.rows("SELECT 1 FROM contacts WHERE salesforce_id IS NOT NULL LIMIT 1")
            mended(here)
            assert org.do("statistics")["jobs"] == 3  # each went on where it was


def pages_are_cut(directory: Path) -> None:
    with stand_in() as org:
        org.do("fault", "cut-answer", times=None, path="/results", after=3)
        with place(directory, org) as here:
            here.until_alarm("down")
            org.do("clear")
            org.do("fault", "cut", times=2, path="/results")
            mended(here)
            assert org.do("statistics")["jobs"] == 3


def it_answers_after_seconds(directory: Path) -> None:
    storm(directory, "down", {"kind": "slow", "seconds": 6}, timeout=2)


def it_never_answers(directory: Path) -> None:
    storm(directory, "down", {"kind": "mute"}, timeout=2)


def connections_are_cut(directory: Path) -> None:
    def then(here: Place) -> None:
        here.org.do("fault", "done-cut", method="PATCH")
        here.until_alarm("part")

    storm(directory, "down", {"kind": "cut"}, then=then)


def answers_are_cut(directory: Path) -> None:
    def then(here: Place) -> None:
        here.org.do("fault", "cut-answer", method="PATCH")
        here.until_alarm("part")

    storm(directory, "down", {"kind": "cut-answer"}, then=then)


def a_page_with_503(directory: Path) -> None:
    storm(directory, "down", {"kind": "error", "status": 503}, rounds=2, checked="503")


def a_page_with_200(directory: Path) -> None:
    storm(directory, "down", {"kind": "error", "status": 200})


def the_token_is_refused(directory: Path) -> None:
    storm(directory, "login", {"kind": "expired"}, rounds=2)


def the_log_in_is_refused(directory: Path) -> None:
    fault = {"kind": "login-refused", "code": "invalid_grant", "text": "authentication failure"}
    storm(directory, "login", fault, rounds=2, begin=lambda org: org.do("expire"), checked="invalid_grant")


def over_its_limit(directory: Path) -> None:
    storm(directory, "limit", {"kind": "limit"}, rounds=2)


def storm(
    directory: Path,
    alarm: str,
    fault: dict[str, Any],
    *,
    rounds: int = 1,
    begin: Callable[[SteeredOrg], object] = lambda _: None,
    then: Callable[[Place], None] = lambda _: None,
    checked: str = "",
    **section: object,
) -> None:
    """In step, then a lasting fault until so many rounds have failed; then it is over, but for what comes `then`."""
    with stand_in() as org, place(directory, org, lookup=True, **section) as here:
        here.until_in_step()
        here.callers.ana_is_known.set()
        here.callers.more("ana", 1)
        asked, logins = org.asked(), org.logins()
        org.do("fault", times=None, **fault)
        begin(org)
        change(org)
        here.until_alarm(alarm, rounds)
        here.callers.more()
        here.callers.more("unknown", 1)
        if checked:
            found = here.check()["sync"]
            assert found["verdict"] in {"warn", "FAIL"}
            assert checked in found["text"]
            assert found["hint"]
        assert org.asked() - asked <= MOST_ASKED
        assert org.logins() - logins <= MOST_LOGINS
        org.do("clear")
        then(here)
        mended(here)
        assert org.logins() - logins <= 2 * MOST_LOGINS


def change(org: SteeredOrg) -> None:
    """Let the org go on meanwhile."""
    renamed, gone, master, loser = (
        each["Id"]
        for each in org.query("SELECT Id FROM Contact WHERE LastName != 'Muñoz' ORDER BY Id LIMIT 4")
    )
    org.do("update", "Contact", renamed, {"LastName": "Newname", "Phone": "+49 30 7654321"})
    org.do("delete", "Contact", gone)
    org.do("merge", "Contact", master, loser)
    org.do("create", "Contact", {"LastName": "Newcomer", "Phone": "+49 30 7654322"})


def mended(here: Place) -> None:
    """Wait until it is over, without help; nothing is lost or doubled, and no call had a wrong answer."""
    until(lambda: here.metrics().get("up"), "up again")
    here.assert_nothing_lost()


SCENARIOS: dict[str, Scenario] = {
    each.__name__: each
    for each in (  # the longest first
        the_token_is_refused,
        the_log_in_is_refused,
        nobody_listens_at_first,
        nobody_listens_in_the_middle_of_a_full_load,
        over_its_limit,
        a_page_with_503,
        connections_are_cut,
        answers_are_cut,
        it_never_answers,
        it_answers_after_seconds,
        a_page_with_200,
        pages_are_cut,
    )
}


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """Begin with every scenario that a test will ask for."""
    asked = asked_for(request)
    chosen = {name: scenario for name, scenario in SCENARIOS.items() if name in asked}
    with side_by_side(chosen, "weather", tmp_path_factory) as futures:
        yield futures


@pytest.mark.parametrize("name", SCENARIOS)
def test_calls_are_answered_and_all_is_mended(name: str, outcomes: Outcomes) -> None:
    outcomes[name].result()
