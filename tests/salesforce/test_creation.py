"""What calls make when they have ended, in the stand-in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agi_server.calls.record import Disposition, Way
from agi_server.salesforce.outbox import Delivered
from agi_server.settings import CallEntry, Salesforce
from storage.contacts import ContactRow, prepare, store
from tests.salesforce.desk import NUMBER, Desk

OTHER = 493023125777
CONTACT: dict[str, Any] = {"object": "Contact", "fields": {"LastName": "[Name]", "Phone": "[Number]"}}
LEAD: dict[str, Any] = {
    "object": "Lead",
    "fields": {"LastName": "[Name]", "Company": "Call to [DID]", "Phone": "[Number]"},
}
OPPORTUNITY: dict[str, Any] = {
    "object": "Opportunity",
    "fields": {"Name": "Call from [Name]", "StageName": "Prospecting", "CloseDate": "[Date] + 30"},
}


def rules(desk: Desk, *entries: dict[str, Any], **tasks: Any) -> None:
    desk.sections = {
        "salesforce": {**desk.server.settings(), "timeout": 20, "on_call": entries},
        "tasks": {"follow_up": False, **tasks},
    }


def people(desk: Desk) -> list[Any]:
    return desk.query("SELECT name, kind, created_at > 0 FROM contacts ORDER BY id")


def numbers(desk: Desk) -> list[Any]:
    return desk.query("SELECT number, label FROM phones ORDER BY number")


async def deliver(desk: Desk) -> Delivered:
    desk.now += 3
    return await desk.deliver()


async def test_an_unknown_caller_becomes_a_contact_and_the_task_is_about_it(desk: Desk) -> None:
    rules(desk, CONTACT)
    call = await desk.answered("1.1", name="Erika Muster")
    assert people(desk) == [("Erika Muster", "Contact", 1)]
    assert numbers(desk) == [(NUMBER, "Phone")]
    assert await deliver(desk) == Delivered(2, 0, 0)
    (record,) = desk.records("Contact", "Id", "LastName", "Phone")
    assert (record["LastName"], record["Phone"]) == ("Erika Muster", f"+{NUMBER}")
    assert desk.records("Task", "WhoId", "CallObject") == [
        {"WhoId": record["Id"], "CallObject": f"call:{call}"}
    ]
    await desk.synchronise()
    assert len(people(desk)) == 1


ANSWERED = {"answered_by": "101", "disposition": Disposition.ANSWERED, "seconds": 9}
SIX = [
    {
        "direction": direction,
        "outcome": outcome,
        "did": did,
        **LEAD,
        "fields": {**LEAD["fields"], "Company": name},
    }
    for direction, outcome, did, name in (
        ("inbound", "answered", "", "in, answered"),
        ("inbound", "missed", "4940", "in, missed, 4940"),
        ("inbound", "missed", "", "in, missed"),
        ("outbound", "answered", "", "out, answered"),
        ("outbound", "missed", "", "out, missed"),
    )
]


@pytest.mark.parametrize(
    ("told", "company"),
    [
        ({**ANSWERED}, "in, answered"),
        ({}, "in, missed, 4940"),
        ({"did": "4950"}, "in, missed"),
        ({**ANSWERED, "way": Way.OUTBOUND, "agent": "101", "did": ""}, "out, answered"),
        ({"way": Way.OUTBOUND, "agent": "101", "disposition": Disposition.BUSY, "did": ""}, "out, missed"),
    ],
)
async def test_rules_by_direction_outcome_and_did(desk: Desk, told: dict[str, Any], company: str) -> None:
    rules(desk, *SIX)
    await desk.talked("1.1", **told)
    await deliver(desk)
    assert desk.records("Lead", "Company", "LastName") == [{"Company": company, "LastName": f"+{NUMBER}"}]


@pytest.mark.parametrize(
    "told",
    [
        {"way": Way.INTERNAL, "number": "102", "agent": "101"},
        {"number": "anonymous"},
        {"number": "112"},
        {"number": "+4930990"},  # a number of our own
    ],
)
async def test_of_whom_nothing_is_made(desk: Desk, told: dict[str, Any]) -> None:
    rules(desk, CONTACT)
    desk.query("INSERT INTO dids (did) VALUES ('+4930990')")
    await desk.talked("1.1", **told)
    assert people(desk) == []


async def test_the_first_rule_that_fits_counts(desk: Desk) -> None:
    rules(desk, {"did": "4940", "object": "none"}, CONTACT)
    await desk.answered("1.1")
    assert people(desk) == []
    await desk.answered("2.1", did="4941")
    assert len(people(desk)) == 1


async def test_two_calls_at_once_from_one_number_make_one(desk: Desk) -> None:
    rules(desk, LEAD)
    calls = await asyncio.gather(*(desk.talked(f"{place}.1") for place in range(5)))
    assert len(people(desk)) == 1
    assert await deliver(desk) == Delivered(6, 0, 0)
    (lead,) = desk.records("Lead", "Id")
    assert {task["WhoId"] for task in desk.records("Task", "WhoId")} == {lead["Id"]}
    assert len(desk.records("Task")) == len(calls)


async def test_the_end_of_a_call_may_be_told_again_and_otherwise(desk: Desk) -> None:
    rules(
        desk,
        {"outcome": "missed", **LEAD},
        {"outcome": "answered", "caller": "any", **OPPORTUNITY},
    )
    desk.org.add_field("Opportunity", "Ostiary_Id__c", "string", external_id=True, unique=True)
    await desk.talked("1.1", told_by="ended")
    await desk.talked("1.1", told_by="cdr")
    await desk.answered("1.1", told_by="ami")
    await deliver(desk)
    assert (len(desk.records("Lead")), len(desk.records("Opportunity"))) == (1, 0)


@pytest.mark.parametrize("delivered", [True, False])
async def test_one_person_from_two_numbers_within_a_minute_is_one(desk: Desk, delivered: bool) -> None:
    rules(desk, CONTACT)
    await desk.talked("1.1", name="Erika Muster")
    if delivered:
        assert await deliver(desk) == Delivered(2, 0, 0)
    desk.now += 50
    await desk.talked("2.1", name="erika muster", number=f"+{OTHER}")
    assert people(desk) == [("Erika Muster", "Contact", 1)]
    assert numbers(desk) == [(NUMBER, "Phone"), (OTHER, "MobilePhone")]
    await deliver(desk)
    (record,) = desk.records("Contact", "Id", "Phone", "MobilePhone")
    assert (record["Phone"], record["MobilePhone"]) == (f"+{NUMBER}", f"+{OTHER}")
    assert {task["WhoId"] for task in desk.records("Task", "WhoId")} == {record["Id"]}
    assert desk.waiting() == []
    await desk.synchronise()
    assert numbers(desk) == [(NUMBER, "Phone"), (OTHER, "MobilePhone")]


@pytest.mark.parametrize(
    ("name", "seconds"), [("Erika Muster", 61), ("", 5), ("unknown", 5), ("0301234", 5), ("Karl", 5)]
)
async def test_who_is_another_person(desk: Desk, name: str, seconds: int) -> None:
    rules(desk, CONTACT)
    await desk.talked("1.1", name="Erika Muster" if name == "Karl" else name)
    desk.now += seconds
    await desk.talked("2.1", name=name, number=f"+{OTHER}")
    assert len(people(desk)) == 2


async def test_who_is_known_by_now_is_not_made_again(desk: Desk) -> None:
    rules(desk, CONTACT)
    rows = [ContactRow(name="Ana", phones=(("Phone", f"+{NUMBER}"),))]
    await desk.database.write(lambda conn: store(conn, prepare(rows, "DE"), source="import", now=desk.now))
    await desk.answered("1.1")
    assert people(desk) == [("Ana", "Contact", 1)]
    assert desk.query("SELECT contact_id FROM calls") == desk.query("SELECT id FROM contacts")


async def test_a_number_that_several_have_is_nobodys(desk: Desk) -> None:
    rules(desk, CONTACT)
    rows = [ContactRow(name=name, phones=(("Phone", f"+{NUMBER}"),)) for name in ("Ana", "Ben")]
    await desk.database.write(lambda conn: store(conn, prepare(rows, "DE"), source="import", now=desk.now))
    await desk.answered("1.1")
    assert len(people(desk)) == 2
    assert desk.query("SELECT contact_id FROM calls") == [(None,)]


@pytest.mark.parametrize(
    ("owner", "told", "expected"),
    [
        ("answered", {"answered_by": "102"}, "ben"),
        ("answered", {"answered_by": "103"}, "ana"),  # who has no User
        ("responsible", {"answered_by": "102", "decided": {"routed_to": "101"}}, "ana"),
        ("default", {"answered_by": "102"}, "cem"),
        ("", {"answered_by": "102"}, ""),
    ],
)
async def test_who_gets_it(desk: Desk, owner: str, told: dict[str, Any], expected: str) -> None:
    users = {"": desk.org.user_id}
    for extension, name in (("101", "ana"), ("102", "ben"), ("104", "cem")):
        email = f"{name}@ostiary.example"
        users[name] = desk.org.create("User", {"LastName": name, "Email": email})
        await desk.agent(extension, name, email)
    await desk.synchronise()
    rules(desk, {**CONTACT, "owner": owner}, responsible="104")
    await desk.answered("1.1", **({"decided": {"routed_to": "101"}} | told))
    await deliver(desk)
    assert desk.records("Contact", "OwnerId") == [{"OwnerId": users[expected]}]


async def test_a_known_caller_becomes_an_opportunity_once(desk: Desk) -> None:
    desk.org.add_field("Opportunity", "Ostiary_Id__c", "string", external_id=True, unique=True)
    account = desk.org.create("Account", {"Name": "ACME"})
    record = desk.org.create("Contact", {"LastName": "Muster", "Phone": f"+{NUMBER}", "AccountId": account})
    await desk.synchronise()
    ((contact,),) = desk.query("SELECT id FROM contacts WHERE kind = 'Contact'")
    desk.now += 200
    rules(desk, {"caller": "known", "direction": "inbound", **OPPORTUNITY})
    await desk.answered("1.1", decided={"contact_id": contact, "name": "Muster"})
    assert await deliver(desk) == Delivered(2, 0, 0)
    (made,) = desk.records("Opportunity", "Id", "Name", "StageName", "CloseDate", "AccountId")
    assert made == {
        "Id": made["Id"],
        "Name": "Call from Muster",
        "StageName": "Prospecting",
        "CloseDate": "2027-02-14",
        "AccountId": account,
    }
    assert desk.records("Task", "WhoId", "WhatId") == [{"WhoId": record, "WhatId": made["Id"]}]
    desk.now += 200
    await desk.answered("2.1", decided={"contact_id": contact})  # the same number, the same day
    assert await deliver(desk) == Delivered(1, 0, 0)
    assert len(desk.records("Opportunity")) == 1
    assert desk.waiting() == []


async def test_an_opportunity_whose_making_was_not_answered_is_made_once(desk: Desk) -> None:
    desk.org.add_field("Opportunity", "Ostiary_Id__c", "string", external_id=True, unique=True)
    rules(desk, {"caller": "any", **OPPORTUNITY})
    await desk.answered("1.1")
    desk.server.faults.add("done-cut", path="sobjects/Opportunity/Ostiary_Id__c")
    with pytest.raises(Exception, match="closed without an answer"):
        await deliver(desk)
    assert len(desk.records("Opportunity")) == 1
    desk.now += 60
    assert await deliver(desk) == Delivered(2, 0, 0)
    assert len(desk.records("Opportunity")) == 1


async def test_without_its_external_id_no_opportunity_is_made_and_the_call_goes_without(desk: Desk) -> None:
    rules(desk, {"caller": "any", **OPPORTUNITY})
    await desk.answered("1.1")
    delivered = await deliver(desk)
    assert delivered[:3] == (0, 0, 0)
    assert "Opportunity has no external id Ostiary_Id__c" in delivered.error
    desk.now += 900
    assert (await deliver(desk))[:3] == (1, 0, 0)
    desk.org.add_field("Opportunity", "Ostiary_Id__c", "string", external_id=True, unique=True)
    assert await deliver(desk) == Delivered(2, 0, 0)
    (made,) = desk.records("Opportunity")
    assert desk.records("Task", "WhatId") == [{"WhatId": made["Id"]}]


def test_the_settings_refuse_what_makes_no_sense() -> None:
    for entry, told in (
        ({"caller": "known", **LEAD}, "becomes no Lead"),
        ({"object": "Opportunity", "fields": {"Name": "x", "StageName": "y"}}, "needs the field CloseDate"),
        ({"object": "Contact", "fields": {"LastName": "[Agnet]"}}, r"did you mean \[Agent"),
    ):
        with pytest.raises(ValueError, match=told):
            Salesforce(on_call=(CallEntry.model_validate(entry),))
    assert Salesforce(on_call=(CallEntry.model_validate({"object": "none"}),)).on_call
