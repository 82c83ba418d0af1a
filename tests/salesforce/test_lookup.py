"""Unknown callers looked up: against the stand-in, over HTTP."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.salesforce.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Breaker
from agi_server.salesforce.client import Client
from agi_server.salesforce.fields import Reading
from agi_server.salesforce.lookup import AT_ONCE, Lookup, search_for
from agi_server.settings import Settings
from storage.database import Database
from storage.directory import SqliteDirectory
from storage.migrate import migrate
from tests.org.records import Org
from tests.org.server import OrgServer, running

ANA = "+493023125010"
E164 = 493023125010


@pytest.fixture
def server() -> Iterator[OrgServer]:
    with closing(Org()) as org, running(org) as started:
        yield started


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


class Desk:
    """A worker's look-ups with a directory of its own."""

    def __init__(self, server: OrgServer, database: Database, directory: Path, **more: Any) -> None:
        section = {**server.settings(), "lookup_deadline": 10, **more}
        self.settings = Settings.model_validate({"salesforce": section, "numbers": {"region": "DE"}})
        self.clock = Clock()
        self.org = server.org
        self.server = server
        self.client = Client(self.settings.salesforce, directory)
        self.lookup = Lookup(database, self.client, self.settings, clock=self.clock)
        self.directory = SqliteDirectory(database.path, self.settings)

    async def find(self, number: str = ANA) -> str:
        return (await self.lookup.find(number)).outcome

    def known(self) -> list[str]:
        return [contact.name for contact in self.directory.contacts_by_number(E164)]

    def searches(self) -> int:
        return sum(1 for _, target, _ in self.server.requests if "/search/" in target)

    def close(self) -> None:
        self.client.close()
        self.directory.close()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path}/ostiary.db"
    await migrate(url)
    opened = await Database.open(url)
    yield opened
    await opened.close()


@pytest.fixture
async def desk(server: OrgServer, database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(server, database, tmp_path)
    await made.lookup.prepare()
    yield made
    made.close()


@pytest.mark.parametrize(
    "typed", [ANA, "+49 30 23125-010", "030 / 23 12 50 10", "0049 30 23125010", "(030) 23125010"]
)
async def test_whoever_has_the_number_is_found_and_stored(desk: Desk, typed: str) -> None:
    desk.org.create("Contact", {"LastName": "Muñoz", "FirstName": "Ana", "Phone": typed})
    assert not desk.known()
    assert await desk.find() == "found"
    assert desk.known() == ["Ana Muñoz"]


async def test_all_objects_are_searched_with_all_their_numbers(desk: Desk) -> None:
    desk.org.create("Contact", {"LastName": "Contact", "MobilePhone": ANA})
    desk.org.create("Account", {"Name": "Account", "Phone": ANA})
    desk.org.create("Lead", {"LastName": "Lead", "Company": "Acme", "Phone": ANA})
    assert await desk.find() == "found"
    assert sorted(desk.known()) == ["Account", "Contact", "Lead"]
    assert desk.searches() == 1


async def test_nobody_has_the_number(desk: Desk) -> None:
    desk.org.create("Contact", {"LastName": "Ben", "Phone": "+493023125011"})
    assert await desk.find() == "unknown"


async def test_whoever_has_but_its_last_digits_is_not_stored(desk: Desk, database: Database) -> None:
    """A search compares digits, and the same digits are another number elsewhere."""
    desk.org.create("Contact", {"LastName": "Paris", "Phone": "+33 30 23125010"})
    desk.org.create("Contact", {"LastName": "Ana", "Phone": ANA})
    assert await desk.find() == "found"
    names = await database.read(lambda conn: conn.exec_driver_sql("SELECT name FROM contacts"))
    assert [row[0] for row in names] == ["Ana"]


async def test_a_converted_lead_is_its_contact(desk: Desk) -> None:
    lead = desk.org.create("Lead", {"LastName": "Muñoz", "Company": "Acme", "Phone": ANA})
    desk.org.convert(lead)
    assert await desk.find() == "found"
    kinds = {contact.kind for contact in desk.directory.contacts_by_number(E164)}
    assert "Contact" in kinds
    assert "Lead" not in kinds


async def test_records_that_the_filters_leave_out_stay_out(
    server: OrgServer, database: Database, tmp_path: Path
) -> None:
    desk = Desk(server, database, tmp_path, filters={"Lead": "Company <> 'Junk' OR Company = 'x'"})
    await desk.lookup.prepare()
    desk.org.create("Lead", {"LastName": "Muñoz", "Company": "Junk", "Phone": ANA})
    assert await desk.find() == "unknown"
    desk.close()


async def test_objects_that_are_not_read_are_not_searched(
    server: OrgServer, database: Database, tmp_path: Path
) -> None:
    desk = Desk(server, database, tmp_path, objects=["Lead"])
    await desk.lookup.prepare()
    desk.org.create("Contact", {"LastName": "Muñoz", "Phone": ANA})
    assert await desk.find() == "unknown"
    desk.close()


async def test_the_blacklist_flag_comes_along(server: OrgServer, database: Database, tmp_path: Path) -> None:
    desk = Desk(server, database, tmp_path, blacklist_field="Blacklisted__c")
    await desk.lookup.prepare()
    desk.org.create("Contact", {"LastName": "Muñoz", "Phone": ANA, "Blacklisted__c": True})
    assert await desk.find() == "found"
    assert desk.directory.exact_rules(ANA)
    desk.close()


async def test_a_flag_that_was_sent_while_salesforce_was_asked_is_newer(
    server: OrgServer, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(server, database, tmp_path, blacklist_field="Blacklisted__c")
    await desk.lookup.prepare()
    desk.org.create("Contact", {"LastName": "Muñoz", "Phone": ANA})
    assert await desk.find() == "found"

    def search(*arguments: Any, **options: Any) -> Any:
        found = asked(*arguments, **options)
        with closing(sqlite3.connect(database.path)) as other, other:
            other.execute("UPDATE contacts SET blacklisted = 1, flag_sent_at = ?", (int(time.time()),))
        return found

    asked = desk.client.search
    monkeypatch.setattr(desk.client, "search", search)
    assert await desk.find() == "found"
    rows = await database.read(lambda conn: conn.exec_driver_sql("SELECT blacklisted FROM contacts"))
    assert rows.all() == [(1,)]
    desk.close()


async def test_an_object_that_is_refused_us_is_left_out(
    server: OrgServer, database: Database, tmp_path: Path
) -> None:
    server.faults.add("refused", path="/Lead/describe", code="INSUFFICIENT_ACCESS", times=None)
    desk = Desk(server, database, tmp_path)
    await desk.lookup.prepare()
    desk.org.create("Contact", {"LastName": "Muñoz", "Phone": ANA})
    assert await desk.find() == "found"
    desk.close()


async def test_a_full_synchronisation_under_way_does_not_forget_whom_it_found(
    desk: Desk, database: Database
) -> None:
    id_ = desk.org.create("Contact", {"LastName": "Muñoz", "Phone": ANA})
    await desk.find()
    seen = await database.read(lambda conn: conn.exec_driver_sql("SELECT salesforce_id FROM sync_seen"))
    assert [row[0] for row in seen] == [id_]


async def test_nothing_is_asked_before_the_fields_are_known(
    server: OrgServer, database: Database, tmp_path: Path
) -> None:
    desk = Desk(server, database, tmp_path)
    assert await desk.find() == "not_asked"
    assert not server.requests
    desk.close()


async def test_a_field_that_is_gone_is_learned_of(desk: Desk) -> None:
    desk.org.hide("Contact", "MobilePhone")
    assert await desk.find() == "failed"
    assert desk.lookup.closed()
    await desk.lookup.prepare()
    desk.org.create("Contact", {"LastName": "Muñoz", "Phone": ANA})
    assert await desk.find() == "found"


async def test_what_salesforce_says_of_a_refused_search_is_not_repeated(desk: Desk) -> None:
    desk.server.faults.add("refused", path="/search/", code="MALFORMED_SEARCH", text=f"FIND {{{ANA}}}")
    answer = await desk.lookup.find(ANA)
    assert (answer.outcome, "MALFORMED_SEARCH" in answer.why) == ("failed", True)
    assert ANA[1:] not in answer.why


async def test_too_short_a_number_is_not_searched_for(desk: Desk) -> None:
    assert await desk.find("+49112") == "not_asked"
    assert not desk.searches()


async def test_after_failures_nothing_is_asked_for_a_while(desk: Desk) -> None:
    desk.org.create("Contact", {"LastName": "Muñoz", "Phone": ANA})
    fault = desk.server.faults.add("limit", path="/search/", times=None)
    for _ in range(FAILURES):
        assert await desk.find() == "failed"
    taken = fault.taken
    assert await desk.find() == "not_asked"
    assert fault.taken == taken
    assert 0 < desk.lookup.opens_in() <= FIRST_PAUSE
    desk.clock.time += FIRST_PAUSE
    assert not desk.lookup.closed()
    assert await desk.find() == "failed"  # one tries
    assert await desk.find() == "not_asked"
    desk.server.faults.clear()
    desk.clock.time += 2 * FIRST_PAUSE
    assert [await desk.find(), await desk.find("+493023125011")] == ["found", "unknown"]
    assert desk.lookup.opens_in() == 0


async def test_answers_that_come_too_late_count_as_failures_and_are_stored(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.org.create("Contact", {"LastName": "Muñoz", "Phone": ANA})
    search = desk.client.search

    def slow(*args: Any, **more: Any) -> Any:
        desk.clock.time += 11
        return search(*args, **more)

    monkeypatch.setattr(desk.client, "search", slow)
    assert await desk.find() == "found"
    assert desk.known() == ["Muñoz"]
    for _ in range(FAILURES - 1):
        assert not desk.lookup.closed()
        await desk.find()
    assert "in time" in desk.lookup.closed()


async def test_the_share_of_api_calls_is_kept_to(desk: Desk) -> None:
    desk.server.api_limit = 100
    desk.server.api_calls = 78
    assert await desk.find() == "unknown"
    assert not desk.lookup.closed()
    assert await desk.find() == "unknown"
    assert "lookup_share" in desk.lookup.closed()
    searches = desk.searches()
    assert await desk.find() == "not_asked"
    assert desk.searches() == searches


async def test_a_few_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(desk.client, "search", lambda *_args, **_more: release.wait(20) and [])
    asked = [asyncio.create_task(desk.lookup.find(f"+4930231250{each:02}")) for each in range(AT_ONCE + 2)]
    done, _ = await asyncio.wait(asked, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    release.set()
    outcomes = [answer.outcome for answer in await asyncio.gather(*asked)]
    assert {task.result().outcome for task in done} == {"not_asked"}
    assert sorted(outcomes) == ["not_asked"] * 2 + ["unknown"] * AT_ONCE


async def test_whatever_goes_wrong_is_an_answer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: Any, **_more: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(desk.client, "search", broken)
    assert (await desk.lookup.find(ANA)) == ("failed", "ZeroDivisionError")


# --- the breaker


def test_the_pause_doubles_up_to_a_bound_and_an_answer_ends_it() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(FAILURES - 1):
        breaker.failed()
    assert breaker.wait() == 0
    pauses = []
    for _ in range(10):
        breaker.failed()
        pauses.append(breaker.wait())
        breaker.failed()  # one that was asked before
        assert breaker.wait() == pauses[-1]
        clock.time += pauses[-1]
        assert breaker.wait() == 0
        assert breaker.tripped
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    breaker.succeeded()
    assert not breaker.tripped
    for _ in range(FAILURES):
        breaker.failed()
    assert breaker.wait() == FIRST_PAUSE


# --- the search


def test_the_forms_people_store_are_searched_for() -> None:
    contact = Reading("Contact", columns=("Id", "Phone"))
    lead = Reading("Lead", columns=("Id",), converted="IsConverted", condition="A = 1 OR B = 2")
    assert search_for(ANA, [contact, lead]) == (
        "FIND {493023125010 OR 00493023125010 OR 3023125010 OR 03023125010} IN PHONE FIELDS RETURNING "
        "Contact(Id, Phone LIMIT 20), Lead(Id WHERE (A = 1 OR B = 2) AND IsConverted = false LIMIT 20)"
    )


@given(st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)), st.integers(0, 10**15))
@settings(max_examples=200)
def test_terms_are_digits_of_some_length_whatever_the_number(region: str, random: int) -> None:
    example = phonenumbers.example_number(region)
    numbers = [f"+{random}"]
    if example is not None:
        numbers.append(phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164))
    for number in numbers:
        sosl = search_for(number, [Reading("Contact", columns=("Id",))])
        if not sosl:
            assert len(number) - 1 < 7
            continue
        terms = sosl.partition("{")[2].partition("}")[0].split(" OR ")
        assert all(term.isascii() and term.isdigit() and len(term) >= 7 for term in terms)
        assert len(set(terms)) == len(terms)
