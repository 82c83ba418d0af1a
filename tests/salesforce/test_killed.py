"""kill -9 of the worker, anywhere: in the end the directory says what the org says, and nothing is lost or doubled.

Each trial has a place of its own (weather.py) and runs beside the others. Its worker is killed at random moments while
the org goes on, people call and their contacts are written. The seed is pytest-randomly's, shown by pytest.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
import pytest

from tests.org.people import phone_field
from tests.salesforce.weather import (
    Place,
    SteeredOrg,
    asked_for,
    configure,
    place,
    side_by_side,
    stand_in,
    until,
)

pytestmark = pytest.mark.slow

Outcomes = dict[str, Future[None]]

TRIALS: Final = 8
PAUSE: Final = 0.25  # seconds between two happenings in the org
SLOW: Final = 0.03  # seconds of each answer of the org, so that a round takes some time
PAGE: Final = 10  # records of a result page: twice the pages that a moment waits for, as the org may shrink
UNWRITTEN: Final = 0.4  # seconds until what is sent is written, when the moment is to be just then
NUMBERS: Final = [
    "Account.AccountNumber",
    "Contact.Title",
    "Lead.Title",
]  # to be read, or not: all is read anew then


class Moment(NamedTuple):
    """When `METHOD path` with `part` in it was asked so often at most by this worker, and within so many seconds."""

    part: str
    often: int
    within: float


MOMENTS: Final = {
    "load": Moment("/results", 8, 0.1),
    "round": Moment("/queryAll", 4, 0.1),
    "write": Moment("/Contact/describe", 1, 2 * UNWRITTEN),  # comes before the writing
    "start": Moment("", 0, 4.0),
}
KILLS: Final = 1 + len(MOMENTS)  # in a row, and few: the supervisor's pause doubles with each


class Life(threading.Thread):
    """Things happen in the org until `stop` is called."""

    def __init__(self, org: SteeredOrg, chance: random.Random) -> None:
        super().__init__(name="life")
        self._org = org
        self._chance = chance
        self._ended = threading.Event()
        self.error: BaseException | None = None
        self.happened = 0

    def stop(self) -> None:
        """Let nothing happen any more."""
        self._ended.set()
        self.join()
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        happenings: list[Callable[[], None]] = [
            self._create, self._create, self._change, self._change, self._change, self._change_written,
            self._rename_account, self._delete, self._delete_account, self._merge, self._merge_accounts, self._convert,
        ]  # fmt: skip
        try:
            while not self._ended.wait(PAUSE):
                self._chance.choice(happenings)()
                self.happened += 1
        except BaseException as error:  # noqa: BLE001  # told by `stop`
            self.error = error

    def _some(self, sobject: str, count: int, condition: str = "") -> list[str]:
        """Return some records, none where there are too few; Ana and whom we wrote stay as they are."""
        mine = "LastName != 'Muñoz' AND Ostiary_Id__c = null" if sobject != "Account" else "Name != 'none'"
        more = f" AND {condition}" if condition else ""
        found = [
            each["Id"] for each in self._org.query(f"SELECT Id FROM {sobject} WHERE {mine}{more} ORDER BY Id")
        ]
        return self._chance.sample(found, count) if len(found) >= count else []

    def _values(self, sobject: str) -> dict[str, Any]:
        name = f"New {self._chance.randrange(10**6)}"
        values = {"Name": name} if sobject == "Account" else {"LastName": name}
        values |= {"Company": f"{name} Ltd"} if sobject == "Lead" else {}
        field = "AccountNumber" if sobject == "Account" else "Title"
        return values | {each: phone_field(self._chance, "DE").text for each in ("Phone", field)}

    def _kind(self) -> str:
        return self._chance.choice(("Contact", "Contact", "Lead", "Account"))

    def _condition(self, sobject: str) -> str:
        return "IsConverted = false" if sobject == "Lead" else ""

    def _create(self) -> None:
        sobject = self._kind()
        self._org.do("create", sobject, self._values(sobject))

    def _change(self) -> None:
        sobject = self._kind()
        for record in self._some(sobject, 1, self._condition(sobject)):
            self._org.do("update", sobject, record, self._values(sobject))

    def _change_written(self) -> None:
        found = self._org.query("SELECT Id FROM Contact WHERE Ostiary_Id__c != null")
        if found:
            values = {"MobilePhone": phone_field(self._chance, "DE").text}
            self._org.do("update", "Contact", self._chance.choice(found)["Id"], values)

    def _rename_account(self) -> None:
        for record in self._some("Account", 1):
            self._org.do("update", "Account", record, {"Name": f"Renamed {self._chance.randrange(10**6)}"})

    def _delete(self) -> None:
        sobject = self._chance.choice(("Contact", "Lead"))
        for record in self._some(sobject, 1, self._condition(sobject)):
            self._org.do("delete", sobject, record)

    def _delete_account(self) -> None:
        for record in self._some("Account", 1):  # its contacts go with it
            self._org.do("delete", "Account", record)

    def _merge(self) -> None:
        if pair := self._some("Contact", 2):
            self._org.do("merge", "Contact", *pair)

    def _merge_accounts(self) -> None:
        if pair := self._some("Account", 2):
            self._org.do("merge", "Account", *pair)

    def _convert(self) -> None:
        for lead in self._some("Lead", 1, "IsConverted = false"):
            self._org.do("convert", lead)


def trial(seed: int, directory: Path) -> None:
    """Kill one worker after the other, each at another kind of moment; then all must be as it should."""
    chance = random.Random(seed)
    moments = ["load", *chance.sample(list(MOMENTS), len(MOMENTS))]
    with stand_in(seed=seed) as org:
        org.do("fault", "slow", times=None, path="^/services/data/", seconds=SLOW)
        org.do("set", **{"bulk.page": PAGE})
        with place(directory, org, overlap=0) as here:
            life = Life(org, random.Random(seed + 1))
            life.start()
            try:
                victim: psutil.Process | None = None
                for count, moment in enumerate(moments):
                    victim = kill(here, victim, moment, chance, then=[*moments, ""][count + 1])
            finally:
                life.stop()
            org.do("clear")
            here.assert_nothing_lost()
            assert life.happened
            assert here.log().count("the worker ended; calls go on") == KILLS


def kill(
    here: Place, last: psutil.Process | None, moment: str, chance: random.Random, then: str
) -> psutil.Process:
    """Kill the worker that comes after `last` at a moment; the next one finds what comes `then` to be done."""
    part, often, within = MOMENTS[moment]
    before = here.org.asked(part) if last else 0  # the first worker has begun already
    if moment == "write":
        here.org.do("fault", "slow", method="PATCH", seconds=UNWRITTEN)
    worker = until(lambda: here.worker_after(last), "another worker")
    assert worker is not None
    if part:
        wanted = before + chance.randint(1, often)
        until(lambda: here.org.asked(part) >= wanted, f"{moment}: {part}", pause=0.03)
    threading.Event().wait(chance.random() * within)
    if then == "load":
        read = here.settings.salesforce.number_fields
        configure(here.config, here.org, overlap=0, number_fields=[] if read else NUMBERS)
    worker.kill()
    until(lambda: _is_over(worker), "the worker's end")
    return worker


def _is_over(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # gone between the two questions
        return True


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """Begin with every trial that a test will ask for."""
    seed = int(request.config.getoption("randomly_seed", 1)) * TRIALS
    trials = {name: partial(trial, seed + int(name)) for name in asked_for(request)}
    with side_by_side(trials, "killed", tmp_path_factory) as futures:
        yield futures


@pytest.mark.parametrize("name", [str(count) for count in range(TRIALS)])
def test_the_worker_may_be_killed_at_any_moment(name: str, outcomes: Outcomes) -> None:
    outcomes[name].result()
