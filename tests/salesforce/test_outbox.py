"""Delivering the outbox to the stand-in."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import SalesforceDown, SalesforceLimitError
from agi_server.salesforce import outbox as delivery
from agi_server.salesforce.client import Client
from agi_server.salesforce.outbox import Delivered
from agi_server.salesforce.verdicts import LONGEST_PAUSE, TRIES, Verdict, judge, pause
from storage import outbox, salesforce_state, sync
from storage.contacts import ContactRow, prepare, store
from tests.salesforce.desk import NOW, NUMBER, Desk, process

REF = "Ostiary_Id__c"
MANY = 600


async def test_a_call_becomes_a_contact(desk: Desk) -> None:
    contact = await desk.call("k-1", number=NUMBER, name="Erika Muster", did="4940")
    assert await desk.deliver() == Delivered(1, 0, 0)
    assert desk.waiting() == []
    (record,) = desk.records("Contact", "Id", "LastName", "Phone", REF)
    assert (record["LastName"], record["Phone"]) == ("Erika Muster", f"+{NUMBER}")
    assert len(record[REF]) == 32
    assert desk.query("SELECT id, salesforce_id, kind FROM contacts") == [(contact, record["Id"], "Contact")]
    assert await desk.deliver() == Delivered(0, 0, 0)
    # What was given out for it goes on to work, whichever id it is made of.
    for text in (f"{contact}-k-1", f"{record['Id']}-k-1", f"{record['Id'][:15]}-", str(contact)):
        assert await desk.database.read(partial(sync.resolve, contact=text)) == contact
    await desk.synchronise()
    assert desk.query("SELECT id, name FROM contacts") == [(contact, "Erika Muster")]


@pytest.mark.parametrize(
    ("caller", "last_name", "phone"),
    [
        ({}, "Unknown caller", None),
        ({"number": NUMBER}, f"+{NUMBER}", f"+{NUMBER}"),
        ({"local": "1" * 40}, "1" * 40, "1" * 40),
        ({"name": "Ana \x07Bell\x00"}, "Ana Bell", None),
        ({"name": "x" * 100}, "x" * 80, None),
        ({"name": "x" * 79 + "😀"}, "x" * 79, None),
    ],
)
async def test_names_and_numbers_that_fit(
    desk: Desk, caller: dict[str, Any], last_name: str, phone: str | None
) -> None:
    await desk.call(**caller)
    assert await desk.deliver() == Delivered(1, 0, 0)
    assert desk.records("Contact", "LastName", "Phone") == [{"LastName": last_name, "Phone": phone}]


async def test_what_is_done_by_did(desk: Desk) -> None:
    rules = [
        {"did": "+49 (30) 1*", "object": "Lead", "fields": {"LastName": "[Name]", "Company": "Call to [DID]"}},
        {"did": "4940", "object": "none"},
        {"did": "Sales-?", "fields": {"LastName": "Sales [Number]", "Description": "[[[Key]] [Date] [DateTime]"}},
        {"did": "493?", "fields": {"LastName": "[Database]", "VIP__c": "yes", "Blacklisted__c": "no"}},
    ]  # fmt: skip
    dids = ("+49301", "4940", "sales-1", "4931", "49301234", "49302", "Sales-12")
    made = [await desk.call(f"k{place}", number=NUMBER + place, did=did) for place, did in enumerate(dids)]
    assert await desk.deliver(create=rules) == Delivered(6, 0, 0)
    assert desk.waiting() == []
    assert desk.records("Lead", "LastName", "Company", "Phone") == [
        {"LastName": f"+{NUMBER}", "Company": "Call to +49301", "Phone": None},
        {"LastName": f"+{NUMBER + 4}", "Company": "Call to 49301234", "Phone": None},
    ]
    found = desk.records("Contact", "LastName", "Description", "VIP__c", "Phone")
    assert sorted(found, key=str) == sorted(
        [
            {
                "LastName": f"Sales +{NUMBER + 2}",
                "Description": "[k2] 2027-01-15 2027-01-15T08:00:00+00:00",
                "VIP__c": False,
                "Phone": None,
            },
            {"LastName": "crm", "Description": None, "VIP__c": True, "Phone": None},
            {"LastName": f"+{NUMBER + 5}", "Description": None, "VIP__c": False, "Phone": f"+{NUMBER + 5}"},
            {"LastName": f"+{NUMBER + 6}", "Description": None, "VIP__c": False, "Phone": f"+{NUMBER + 6}"},
        ],
        key=str,
    )
    kinds = dict(desk.query("SELECT id, kind FROM contacts WHERE salesforce_id IS NOT NULL"))
    expected = ("Lead", None, "Contact", "Contact", "Lead", "Contact", "Contact")
    assert [kinds.get(number) for number in made] == list(expected)


MAIL = [{"fields": {"LastName": "[Name]", "Email": "[Key]"}}]


async def test_450_rows_with_failures_in_between(desk: Desk) -> None:
    bad = {3, 199, 200, 201, 400, 449}
    keys = [f"no mail {place}" if place in bad else f"a{place}@ostiary.example" for place in range(450)]
    contacts = await desk.calls(keys)
    assert await desk.deliver(create=MAIL) == Delivered(450 - len(bad), 0, len(bad))
    assert desk.writes() == 3
    written = {record["Email"]: record["Id"] for record in desk.records("Contact", "Id", "Email")}
    assert set(written) == {key for place, key in enumerate(keys) if place not in bad}
    linked = dict(desk.query("SELECT id, salesforce_id FROM contacts"))
    for contact, key in zip(contacts, keys, strict=True):
        assert linked[contact] == written.get(key)
    parked = desk.waiting("contact_id, parked, error")
    assert {contact for contact, *_ in parked} == {contacts[place] for place in bad}
    assert all(waits and error.startswith("INVALID_EMAIL_ADDRESS: ") for _, waits, error in parked)
    assert await desk.deliver(create=MAIL) == Delivered(0, 0, 0)
    assert desk.writes() == 3


async def test_parked_mended_retried(desk: Desk) -> None:
    await desk.calls(["a@ostiary.example", "b@ostiary.example"])
    wrong = [{"fields": {"LastName": "[Name]", "Source__c": "phone"}}]
    assert await desk.deliver(create=wrong) == Delivered(0, 0, 2)
    ((error,), _) = desk.waiting("error")
    assert "salesforce.create: Contact has no field Source__c" in error
    assert desk.writes() == 0
    desk.org.add_field("Contact", "Source__c", "string")
    assert await desk.deliver(create=wrong) == Delivered(0, 0, 0)  # it waits for an admin
    await desk.database.write(lambda conn: outbox.retry(conn, None, "cli:ana", NOW))
    assert await desk.deliver(create=wrong) == Delivered(2, 0, 0)
    assert desk.records("Contact", "Source__c") == [{"Source__c": "phone"}] * 2


async def test_a_field_that_cannot_be_written(desk: Desk) -> None:
    desk.org.add_field("Contact", "Fixed__c", "string", createable=False)
    await desk.call(number=NUMBER, did="4930")
    rule = [{"did": "4930", "fields": {"LastName": "[Name]", "fixed__C": "x"}}]
    assert await desk.deliver(create=rule) == Delivered(0, 0, 1)
    ((error,),) = desk.waiting("error")
    assert "salesforce.create (did '4930'): the integration user may not write Contact.Fixed__c" in error


async def test_crash_between_sending_and_noting(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    contacts = await desk.calls([f"k{place}" for place in range(30)])
    link = sync.link
    crashes = iter([contacts[7]])

    async def crashing(conn: AsyncConnection, contact_id: int, salesforce_id: str) -> int:
        if contact_id == contacts[7] and next(crashes, None):
            raise ZeroDivisionError
        return await link(conn, contact_id, salesforce_id)

    monkeypatch.setattr(sync, "link", crashing)
    with pytest.raises(ZeroDivisionError):
        await desk.deliver()
    assert len(desk.records()) == 30
    assert desk.waiting("contact_id") == [(contacts[7],)]  # the others are noted
    assert await desk.deliver() == Delivered(1, 0, 0)
    assert_written_once(desk, contacts)


def assert_written_once(desk: Desk, contacts: Sequence[int]) -> None:
    ids = {record["Id"] for record in desk.records()}
    assert len(ids) == len(contacts)
    assert dict(desk.query("SELECT id, salesforce_id FROM contacts")).keys() == set(contacts)
    assert {row[0] for row in desk.query("SELECT salesforce_id FROM contacts")} == ids
    assert desk.waiting() == []


async def test_a_synchronisation_between_sending_and_noting(desk: Desk) -> None:
    contacts = await desk.calls([f"k{place}" for place in range(5)])
    contacts.append(await desk.call("k9", number=NUMBER + 9, name="Named Caller"))
    desk.server.faults.add("done-cut", path="composite/sobjects", method="PATCH")
    with pytest.raises(SalesforceDown):
        await desk.deliver()
    await desk.synchronise()
    assert (await desk.deliver()).error == ""
    assert_written_once(desk, contacts)


@pytest.mark.parametrize("fault", ["done-cut", "cut-answer", "cut", "error"])
async def test_no_answer(desk: Desk, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MOST_RECORDS", 20)
    contacts = await desk.calls([f"k{place}" for place in range(25)])
    desk.server.faults.add(fault, path="composite/sobjects", method="PATCH")
    with pytest.raises(SalesforceDown):
        await desk.deliver()
    assert len(desk.waiting()) == 25
    assert set(desk.waiting("attempts, parked, next_attempt_at")) == {(0, 0, NOW)}  # due again at once
    assert desk.writes() == 1
    assert await state(desk) == {"batch": 10}
    assert await desk.deliver() == Delivered(25, 0, 0)
    assert desk.writes() == 4  # 10 and 10 of the first twenty, 5
    assert await state(desk) == {"batch": 20}
    assert_written_once(desk, contacts)


async def state(desk: Desk) -> dict[str, Any] | None:
    return await desk.database.read(lambda conn: salesforce_state.get(conn, delivery.STATE))


async def test_a_record_that_salesforce_never_answers_to_lets_others_go_first(desk: Desk) -> None:
    first, second = await desk.calls(["a", "b"])
    desk.server.faults.add("cut", path="composite/sobjects", method="PATCH", times=2)
    for _ in range(2):
        with pytest.raises(SalesforceDown):
            await desk.deliver()
    ((contact, attempts, at, error), _) = desk.waiting("contact_id, attempts, next_attempt_at, error")
    assert (contact, attempts, at) == (first, 1, NOW + 30)
    assert error
    assert await desk.deliver() == Delivered(1, 0, 0)
    assert desk.waiting("contact_id") == [(first,)]
    desk.now += 30
    assert await desk.deliver() == Delivered(1, 0, 0)
    assert_written_once(desk, [first, second])


async def test_no_calls_left(desk: Desk) -> None:
    await desk.calls(["a"])
    desk.server.faults.add("limit", path="composite/sobjects")
    with pytest.raises(SalesforceLimitError):
        await desk.deliver()
    assert desk.waiting("attempts, parked, next_attempt_at") == [(0, 0, NOW)]
    assert await desk.deliver() == Delivered(1, 0, 0)


async def test_locked_rows_wait_ever_longer(desk: Desk) -> None:
    contacts = await desk.calls(["a", "b", "c"])
    desk.org.lock_rows(2)
    assert await desk.deliver() == Delivered(1, 2, 0)
    assert desk.waiting("contact_id, attempts, next_attempt_at, parked") == [
        (contacts[0], 1, NOW + 30, 0),
        (contacts[1], 1, NOW + 30, 0),
    ]
    assert desk.waiting("error")[0][0].startswith("UNABLE_TO_LOCK_ROW: ")
    desk.now += 29
    assert await desk.deliver() == Delivered(0, 0, 0)
    desk.now += 1
    desk.org.lock_rows(1)
    assert await desk.deliver() == Delivered(1, 1, 0)
    assert desk.waiting("next_attempt_at") == [(desk.now + 60,)]
    desk.now += 60
    assert await desk.deliver() == Delivered(1, 0, 0)
    assert_written_once(desk, contacts)


def test_verdicts() -> None:
    assert [pause(tries) for tries in range(4)] == [30, 60, 120, 240]
    assert pause(9) == 15360
    assert pause(10) == pause(1000) == LONGEST_PAUSE == 21600
    unheard = [judge("NEVER_HEARD_OF", "", tries=tries) for tries in range(TRIES)]
    assert unheard == [Verdict.LATER] * (TRIES - 1) + [Verdict.PARK]
    assert judge("UNABLE_TO_LOCK_ROW", "", tries=1000) is Verdict.LATER
    trigger = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
    assert judge(trigger, "Task: UNABLE_TO_LOCK_ROW, obtain", tries=99) is Verdict.LATER
    assert judge(trigger, "null pointer", tries=99) is Verdict.PARK
    assert judge("STRING_TOO_LONG", "", tries=0) is Verdict.PARK
    assert judge("ENTITY_IS_DELETED", "", tries=0, update=True) is Verdict.GONE
    assert judge("ENTITY_IS_DELETED", "", tries=0) is Verdict.LATER


async def test_duplicate_rules(desk: Desk) -> None:
    desk.org.create("Contact", {"LastName": "Ana", "Phone": f"+{NUMBER}"})
    desk.org.duplicates("Contact", "Phone")
    await desk.call("a", number=NUMBER)
    assert await desk.deliver(allow_duplicates=False) == Delivered(0, 0, 1)
    ((error,),) = desk.waiting("error")
    assert error.startswith("DUPLICATES_DETECTED: ")
    assert "a duplicate rule blocks it" in error
    await desk.database.write(lambda conn: outbox.retry(conn, None, "cli:ana", NOW))
    assert await desk.deliver() == Delivered(1, 0, 0)
    desk.org.duplicates("Contact", "Phone", block=True)
    await desk.call("b", number=NUMBER)
    assert await desk.deliver() == Delivered(0, 0, 1)
    desk.org.duplicates("Contact")
    await desk.database.write(lambda conn: outbox.retry(conn, None, "cli:ana", NOW))
    assert await desk.deliver() == Delivered(1, 0, 0)
    assert len(desk.records()) == 3


async def test_without_the_external_id_nothing_is_sent_and_all_else_is(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "MOST_RECORDS", 20)
    rules = [{"did": "1", "object": "Lead", "fields": {"LastName": "x", "Company": "y"}}]
    await desk.calls([f"k{place}" for place in range(25)])
    await desk.call("lead", number=NUMBER + 999, did="1")
    desk.org.hide("Contact", REF)
    delivered = await desk.deliver(create=rules)
    assert delivered[:3] == (1, 0, 0)
    assert "salesforce.external_id_field: Contact has no external id Ostiary_Id__c" in delivered.error
    assert "type Text, length 64, Unique, External ID, field name Ostiary_Id" in delivered.error
    assert (len(desk.records()), len(desk.records("Lead")), len(desk.waiting())) == (0, 1, 25)
    assert set(desk.waiting("attempts, parked, next_attempt_at")) == {(0, 0, NOW)}
    desk.org.show("Contact", REF)
    assert await desk.deliver(create=rules) == Delivered(25, 0, 0)


async def test_an_object_that_cannot_be_seen(desk: Desk) -> None:
    await desk.calls(["a"])
    desk.org.hide("Contact")
    delivered = await desk.deliver()
    assert delivered[:3] == (0, 0, 0)
    assert "cannot see the object Contact" in delivered.error
    assert len(desk.waiting()) == 1


async def test_a_call_that_is_refused_as_a_whole_is_tried_in_parts(desk: Desk) -> None:
    contacts = await desk.calls([f"k{place}" for place in range(8)])
    desk.server.faults.add("refused", path="composite/sobjects", code="JSON_PARSER_ERROR", times=4)
    assert await desk.deliver() == Delivered(7, 0, 1)  # 8, 4, 2, 1: the first is to blame
    assert desk.waiting("contact_id, parked") == [(contacts[0], 1)]


async def test_a_refusal_that_is_about_no_record_parks_none(desk: Desk) -> None:
    contacts = await desk.calls([f"k{place}" for place in range(8)])
    desk.server.faults.add("refused", path="composite/sobjects", code="FUNCTIONALITY_NOT_ENABLED", times=None)
    for _ in range(TRIES + 1):
        desk.now += LONGEST_PAUSE
        delivered = await desk.deliver()
        assert delivered[:3] == (0, 1, 0)
        assert "FUNCTIONALITY_NOT_ENABLED" in delivered.error
    assert desk.writes() == 4 * (TRIES + 1)
    desk.server.faults.clear()
    desk.now += LONGEST_PAUSE
    assert await desk.deliver() == Delivered(8, 0, 0)
    assert_written_once(desk, contacts)


async def test_who_is_known_by_now_or_gone_is_not_created(desk: Desk) -> None:
    known, gone, stays = await desk.calls(["a", "b", "c"])
    record = desk.org.create("Contact", {"LastName": "Ana"})
    await desk.database.write(lambda conn: sync.link(conn, known, record))
    desk.query("DELETE FROM contacts WHERE id = ?", gone)
    assert await desk.deliver() == Delivered(1, 0, 0)
    assert len(desk.records()) == 2
    assert desk.waiting() == []
    assert desk.query("SELECT salesforce_id IS NOT NULL FROM contacts WHERE id = ?", stays) == [(1,)]


async def test_rows_of_another_version_stay_and_hold_nobody_up(desk: Desk) -> None:
    row = "SELECT 'call', '{}' FROM json_each(?)"
    desk.query(f"INSERT INTO outbox (kind, payload) {row}", json.dumps([0] * 230))
    await desk.calls(["a"])
    assert await desk.deliver() == Delivered(1, 0, 0)
    assert desk.waiting("DISTINCT kind, attempts, parked, error") == [("call", 0, 0, "")]


async def test_rows_without_a_ref_get_one_before_they_are_sent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    contacts = await desk.calls(["a", "b"])
    desk.query("UPDATE outbox SET ref = NULL")
    write = Client.write
    stored: list[set[Any]] = []

    def looked_at(self: Client, *arguments: Any) -> Any:
        stored.append({ref for (ref,) in desk.waiting("ref")})
        return write(self, *arguments)

    monkeypatch.setattr(Client, "write", looked_at)
    assert await desk.deliver() == Delivered(2, 0, 0)
    assert stored == [{record[REF] for record in desk.records("Contact", REF)}]
    assert_written_once(desk, contacts)


# --- order, flags


async def flag(desk: Desk, contact: int, value: bool) -> None:
    desk.query(
        "INSERT INTO outbox (kind, contact_id, payload) VALUES ('flag', ?, ?)",
        contact,
        json.dumps({"salesforce_id": "", "kind": "Contact", "value": value}),
    )


async def test_order_of_a_contacts_rows(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for key in ("a@ostiary.example", "no mail"):
        made.append(await desk.call(key, number=NUMBER))
        for value in (True, False, True):
            await flag(desk, made[-1], value)
    two = made[1]
    sent: list[Any] = []
    write = Client.write

    def noted(self: Client, method: Any, sobject: str, records: Any, external_id: str = "") -> Any:
        sent.extend(record.get("Blacklisted__c", "made") for record in records)
        return write(self, method, sobject, records, external_id)

    monkeypatch.setattr(Client, "write", noted)
    assert await desk.deliver(create=MAIL) == Delivered(4, 0, 1)
    assert sent == ["made", "made", True, False, True]
    assert desk.waiting("contact_id, parked") == [(two, 1), (two, 0), (two, 0), (two, 0)]
    assert desk.records("Contact", "Blacklisted__c") == [{"Blacklisted__c": True}]


async def test_a_rule_here_sets_the_flag_there_and_the_other_way_round(desk: Desk) -> None:
    record = desk.org.create(
        "Contact", {"LastName": "Ana", "Phone": f"+{NUMBER}", "MobilePhone": "+493023125999"}
    )
    desk.org.create("Opportunity", {"Name": "o", "StageName": "s", "CloseDate": "2027-01-01"})
    await desk.synchronise()
    await desk.block(f"+{NUMBER}")
    assert await desk.deliver() == Delivered(1, 0, 0)
    assert desk.records("Contact", "Blacklisted__c") == [{"Blacklisted__c": True}]
    assert desk.query("SELECT blacklisted, flag_sent_at FROM contacts WHERE kind = 'Contact'") == [
        (1, desk.now)
    ]
    for _ in range(2):  # the same change is read again and again
        await desk.synchronise()
        assert desk.query("SELECT pattern, created_by FROM blacklist") == [(f"+{NUMBER}", "cli:eva")]
        assert await desk.deliver() == Delivered(0, 0, 0)
    desk.org.update("Contact", record, {"Blacklisted__c": False})
    await desk.synchronise()
    assert desk.query("SELECT pattern FROM blacklist") == []
    desk.org.update("Contact", record, {"Blacklisted__c": True})
    await desk.synchronise()
    assert desk.query("SELECT pattern, created_by FROM blacklist ORDER BY 1") == [
        (f"+{NUMBER}", "salesforce"),
        ("+493023125999", "salesforce"),
    ]
    assert await desk.deliver() == Delivered(0, 0, 0)
    await desk.unblock(f"+{NUMBER}")
    await desk.unblock("+493023125999")
    desk.server.faults.add("cut", path="composite/sobjects")
    with pytest.raises(SalesforceDown):
        await desk.deliver()
    await desk.synchronise()  # says what it said before, for it has not been told
    assert desk.query("SELECT pattern FROM blacklist") == []
    desk.now += 30
    assert await desk.deliver() == Delivered(1, 0, 0)
    assert desk.records("Contact", "Blacklisted__c") == [{"Blacklisted__c": False}]


async def test_flags_of_records_that_are_gone_or_have_none(desk: Desk) -> None:
    people = {
        "bin": desk.org.create("Contact", {"LastName": "Ana", "Phone": "+493023125001"}),
        "purged": desk.org.create("Contact", {"LastName": "Ben", "Phone": "+493023125002"}),
        "lead": desk.org.create("Lead", {"LastName": "Cem", "Company": "x", "Phone": "+493023125003"}),
    }
    await desk.synchronise()
    for place in (1, 2, 3):
        await desk.block(f"+49302312500{place}")
    desk.org.delete("Contact", people["bin"])
    desk.org.delete("Contact", people["purged"])
    desk.org.purge("Contact", people["purged"])
    desk.org.hide("Lead", "Blacklisted__c")
    assert await desk.deliver() == Delivered(0, 0, 0)
    assert desk.waiting() == []


async def test_an_id_that_is_none_parks_its_own_flag_only(desk: Desk) -> None:
    desk.org.create("Contact", {"LastName": "Ana", "Phone": "+493023125001"})
    await desk.synchronise()
    row = ContactRow(salesforce_id="003NoSuchThing", name="From a file", phones=(("Phone", "+493023125002"),))
    await desk.database.write(lambda conn: store(conn, prepare([row], "DE"), source="import", now=desk.now))
    for place in (1, 2):
        await desk.block(f"+49302312500{place}")
    assert await desk.deliver() == Delivered(1, 0, 1)
    assert "MALFORMED_ID" in desk.waiting("error")[0][0]


async def test_a_flag_that_may_not_be_written(desk: Desk) -> None:
    desk.org.add_field("Contact", "Shut__c", "boolean", updateable=False)
    desk.org.create("Contact", {"LastName": "Ana", "Phone": f"+{NUMBER}"})
    await desk.synchronise()
    await desk.block(f"+{NUMBER}")
    assert await desk.deliver(blacklist_field="Shut__c") == Delivered(0, 0, 1)
    ((error,),) = desk.waiting("error")
    assert "salesforce.blacklist_field: the integration user may not change Contact.Shut__c" in error


async def test_without_the_setting_no_flag_is_sent(desk: Desk) -> None:
    desk.org.create("Contact", {"LastName": "Ana", "Phone": f"+{NUMBER}"})
    await desk.synchronise()
    await desk.block(f"+{NUMBER}")
    assert await desk.deliver(blacklist_field="") == Delivered(0, 0, 0)
    assert desk.waiting() == []


async def test_the_flag_of_a_person_account(desk: Desk) -> None:
    desk.org.create("Account", {"LastName": "Ana", "Phone": f"+{NUMBER}"})
    await desk.synchronise()
    assert desk.query("SELECT kind FROM contacts") == [("Contact",)]
    await desk.block(f"+{NUMBER}")
    assert await desk.deliver() == Delivered(1, 0, 0)
    assert desk.records("Account", "Blacklisted__c") == [{"Blacklisted__c": True}]


# --- kill -9


@pytest.mark.slow
async def test_killed_at_any_moment(desk: Desk) -> None:
    desk.now = int(time.time())  # the process has no other clock
    bad = {17, 300}
    keys = [f"no mail {place}" if place in bad else f"a{place}@ostiary.example" for place in range(MANY)]
    contacts = await desk.calls(keys)
    for _ in range(10):
        before = desk.writes()
        with process(desk, 20, create=MAIL) as child:
            wanted = before + random.randint(1, 3)
            await asyncio.to_thread(desk.server.wait_for, r"PATCH .*composite/sobjects", wanted)
            await asyncio.sleep(random.uniform(0, 0.08))
            assert child.poll() is None, child.communicate()
            child.kill()
    left = len(desk.waiting())
    assert 0 < left < MANY
    with process(desk, 20, create=MAIL) as child:
        _, err = await asyncio.to_thread(child.communicate, timeout=120)
    assert child.returncode == 0, err
    written = desk.records("Contact", "Id", "Email")
    assert sorted(record["Email"] for record in written) == sorted(
        key for place, key in enumerate(keys) if place not in bad
    )
    linked = dict(desk.query("SELECT salesforce_id, key FROM contacts WHERE salesforce_id IS NOT NULL"))
    assert linked == {record["Id"]: record["Email"] for record in written}
    assert desk.waiting("contact_id, parked") == [(contacts[place], 1) for place in sorted(bad)]
