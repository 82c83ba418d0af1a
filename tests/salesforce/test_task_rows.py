"""Tasks of calls, calls to return and chats, delivered to the stand-in: each once, whatever happens."""

from __future__ import annotations

import asyncio
import json
import random
import time
from functools import partial
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.record import Disposition, Way
from agi_server.errors import SalesforceDown
from agi_server.salesforce import outbox as delivery
from agi_server.salesforce.outbox import Delivered
from storage import history, outbox, tasks
from tests.salesforce.desk import NOW, NUMBER, Desk, process

TASK = (
    "Id", "Subject", "Description", "Status", "Priority", "ActivityDate", "Type", "TaskSubtype", "CallType",
    "CallDurationInSeconds", "CallDisposition", "CallObject", "WhoId", "WhatId", "OwnerId",
)  # fmt: skip
WAIT = 3  # seconds until a call is written
MANY = 450


def written(desk: Desk) -> list[dict[str, Any]]:
    return desk.records("Task", *TASK)


def user(desk: Desk, email: str, **more: Any) -> str:
    return desk.org.create("User", {"LastName": email.partition("@")[0], "Email": email, **more})


async def known(desk: Desk, sobject: str = "Contact", **fields: Any) -> str:
    """Somebody whom both sides know; return their Salesforce id."""
    usual = {"LastName": "Muster", "FirstName": "Erika", "Phone": f"+{NUMBER}"}
    record = desk.org.create(sobject, usual | fields)
    await desk.synchronise()
    return record


def contact_of(desk: Desk, record: str) -> int:
    ((number,),) = desk.query("SELECT id FROM contacts WHERE salesforce_id = ?", record)
    return int(number)


async def deliver(desk: Desk, **changed: Any) -> Delivered:
    """Deliver when what waits for others is due."""
    desk.now += WAIT
    return await desk.deliver(**changed)


async def test_an_answered_call(desk: Desk) -> None:
    ana = user(desk, "ana@ostiary.example")
    await desk.agent("101", "Ana Bell", "ana@ostiary.example")
    record = await known(desk)
    call = await desk.answered("1.1", decided={"contact_id": contact_of(desk, record)}, recording="x.wav")
    assert await deliver(desk) == Delivered(1, 0, 0)
    (task,) = written(desk)
    assert task == {
        "Id": task["Id"],
        "Subject": f"Call from Erika Muster +{NUMBER}",
        "Description": f"2027-01-15 07:58:21: +{NUMBER} Erika Muster called 4940, "
        "answered by Ana Bell (101), 00:00:42.\n"
        f"Recording: https://ostiary.example/recordings/{call}",
        "Status": "Completed",
        "Priority": "Normal",
        "ActivityDate": "2027-01-15",
        "Type": "Call",
        "TaskSubtype": "Call",
        "CallType": "Inbound",
        "CallDurationInSeconds": 42,
        "CallDisposition": "Answered",
        "CallObject": f"call:{call}",
        "WhoId": record,
        "WhatId": None,
        "OwnerId": ana,
    }
    assert desk.waiting() == []
    assert desk.query("SELECT key, salesforce_id, closed FROM tasks") == [(f"call:{call}", task["Id"], 1)]
    assert await deliver(desk) == Delivered(0, 0, 0)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, ("Missed call from Erika Muster +493023125000", "Inbound", "Missed", 0)),
        ({"disposition": Disposition.CANCELLED}, (..., "Inbound", "Cancelled", 0)),
        ({"disposition": Disposition.BUSY}, (..., "Inbound", "Busy", 0)),
        (
            {"way": Way.OUTBOUND, "agent": "101", "disposition": Disposition.BUSY},
            ("Call to Erika Muster +493023125000, not answered", "Outbound", "Busy", 0),
        ),
        ({"way": Way.OUTBOUND, "agent": "101"}, (..., "Outbound", "Not answered", 0)),
        (
            {
                "way": Way.OUTBOUND,
                "agent": "101",
                "disposition": Disposition.ANSWERED,
                "seconds": 7,
                "answered_by": "101",
            },
            ("Call to Erika Muster +493023125000", "Outbound", "Answered", 7),
        ),
    ],
)
async def test_what_each_outcome_writes(desk: Desk, told: dict[str, Any], expected: tuple[Any, ...]) -> None:
    ana = user(desk, "ana@ostiary.example")
    await desk.agent("101", "Ana Bell", "ana@ostiary.example")
    record = await known(desk)
    desk.sections = {"tasks": {"follow_up": False, "responsible": "101"}}
    await desk.talked("1.1", decided={"contact_id": contact_of(desk, record)}, **told)
    assert await deliver(desk) == Delivered(1, 0, 0)
    (task,) = written(desk)
    found = (task["Subject"], task["CallType"], task["CallDisposition"], task["CallDurationInSeconds"])
    assert all(
        each in {wanted, ...} for each, wanted in zip(found, expected, strict=True) if wanted is not ...
    )
    assert (task["WhoId"], task["OwnerId"]) == (record, ana)


@pytest.mark.parametrize(
    ("section", "count"),
    [({}, 0), ({"internal": True}, 1), ({"internal": True, "enabled": False}, 0)],
)
async def test_internal_calls(desk: Desk, section: dict[str, Any], count: int) -> None:
    desk.sections = {"tasks": section}
    await desk.answered("1.1", way=Way.INTERNAL, number="102", agent="101", did="")
    assert await deliver(desk) == Delivered(count, 0, 0)
    assert [task["CallType"] for task in written(desk)] == ["Internal"] * count
    assert desk.waiting() == []


async def test_a_setting_that_was_switched_off_meanwhile(desk: Desk) -> None:
    await desk.answered("1.1")
    desk.sections = {"tasks": {"enabled": False}}
    assert await deliver(desk) == Delivered(0, 0, 0)
    assert (desk.waiting(), written(desk)) == ([], [])


@pytest.mark.parametrize(
    ("sobject", "fields", "who", "what"),
    [
        ("Contact", {}, True, False),
        ("Lead", {"Company": "ACME"}, True, False),
        ("Account", {"Name": "ACME", "LastName": None, "FirstName": None}, False, True),
    ],
)
async def test_whom_it_is_about(
    desk: Desk, sobject: str, fields: dict[str, Any], who: bool, what: bool
) -> None:
    usual = {name: None for name in fields if fields[name] is None}
    values = {"LastName": "Muster", "FirstName": "Erika", "Phone": f"+{NUMBER}"} | fields
    record = desk.org.create(sobject, {name: value for name, value in values.items() if name not in usual})
    await desk.synchronise()
    await desk.answered("1.1", decided={"contact_id": contact_of(desk, record)})
    assert await deliver(desk) == Delivered(1, 0, 0)
    (task,) = written(desk)
    assert (task["WhoId"], task["WhatId"]) == (record if who else None, record if what else None)


async def test_the_task_of_a_person_account_is_about_its_contact(desk: Desk) -> None:
    account = desk.org.create("Account", {"LastName": "Muster", "Phone": f"+{NUMBER}"})
    await desk.synchronise()
    ((contact, number),) = desk.query("SELECT salesforce_id, id FROM contacts")
    await desk.answered("1.1", decided={"contact_id": number})
    assert await deliver(desk) == Delivered(1, 0, 0)
    assert contact.startswith("003")
    (task,) = written(desk)
    assert task["WhoId"] == contact
    assert desk.records("Task", "AccountId") == [{"AccountId": account}]


@pytest.mark.parametrize(
    ("section", "told", "owner"),
    [
        ({}, {"answered_by": "102"}, "ben"),  # by his User's id
        ({}, {"answered_by": "103"}, ""),  # nobody's phone: the integration user keeps it
        ({"responsible": "101"}, {"answered_by": "103"}, "ana"),
        ({"responsible": "101"}, {"answered_by": "", "disposition": "no answer", "seconds": 0}, "ana"),
        (
            {"queues": {"sales": "102"}, "responsible": "101"},
            {"answered_by": "", "disposition": "no answer", "seconds": 0, "queue": "sales"},
            "ben",
        ),
        (
            {"queues": {"sales": "102"}},
            {
                "answered_by": "",
                "disposition": "no answer",
                "seconds": 0,
                "queue": "sales",
                "decided": {"routed_to": "101"},
            },
            "ana",
        ),
        ({}, {"answered_by": "104"}, ""),  # of an e-mail that no User has
    ],
)
async def test_whose_it_is(desk: Desk, section: dict[str, Any], told: dict[str, Any], owner: str) -> None:
    users = {
        "ana": user(desk, "ana@ostiary.example"),
        "ben": user(desk, "ben@else.example"),
        "": desk.org.user_id,
    }
    await desk.synchronise()
    await desk.agent("101", "Ana Bell", "ana@ostiary.example")
    await desk.agent("102", "Ben Cook", user=users["ben"][:15])
    await desk.agent("104", "Dora", "dora@ostiary.example")
    desk.sections = {"tasks": {"follow_up": False} | section}
    await desk.answered("1.1", **told)
    assert await deliver(desk) == Delivered(1, 0, 0)
    assert [task["OwnerId"] for task in written(desk)] == [users[owner]]


async def test_an_owner_who_has_left_leaves_it_to_the_integration_user(desk: Desk) -> None:
    ana, ben = user(desk, "ana@ostiary.example"), user(desk, "ben@ostiary.example")
    await desk.synchronise()
    desk.org.update("User", ana, {"IsActive": False})
    await desk.agent("101", "Ana Bell", "ana@ostiary.example")
    await desk.agent("102", "Ben Cook", "ben@ostiary.example")
    for place, by in enumerate(("101", "102", "101")):
        await desk.answered(f"{place}.1", by=by)
    assert await deliver(desk) == Delivered(3, 0, 0)
    assert [task["OwnerId"] for task in written(desk)].count(desk.org.user_id) == 2
    assert ben in {task["OwnerId"] for task in written(desk)}


async def test_a_contact_deleted_in_salesforce_a_moment_ago(desk: Desk) -> None:
    ana = user(desk, "ana@ostiary.example")
    await desk.agent("101", "Ana Bell", "ana@ostiary.example")
    record = await known(desk)
    await desk.answered("1.1", decided={"contact_id": contact_of(desk, record)})
    desk.org.delete("Contact", record)
    assert await deliver(desk) == Delivered(1, 0, 0)
    (task,) = written(desk)
    assert (task["WhoId"], task["OwnerId"]) == (None, ana)


async def test_a_contact_that_became_one_with_another_is_followed(desk: Desk) -> None:
    first = await known(desk)
    second = await known(desk, LastName="Master", Phone="+493023125999")
    call = await desk.answered("1.1", decided={"contact_id": contact_of(desk, first)})
    desk.org.merge("Contact", second, first)
    await desk.synchronise()
    assert await deliver(desk) == Delivered(1, 0, 0)
    assert [(task["CallObject"], task["WhoId"]) for task in written(desk)] == [(f"call:{call}", second)]


async def test_the_task_follows_when_the_contact_is_corrected(desk: Desk) -> None:
    first = await known(desk)
    lead = desk.org.create("Lead", {"LastName": "Berg", "Company": "ACME", "Phone": "+493023125999"})
    await desk.synchronise()
    call = await desk.answered("1.1", decided={"contact_id": contact_of(desk, first)})
    await deliver(desk)
    (made,) = written(desk)
    desk.org.update("Task", made["Id"], {"Status": "Not Started", "Priority": "High"})  # as a person wants it
    for record in (lead, None):
        contact = contact_of(desk, record) if record else None
        await desk.database.write(
            partial(history.assign, call_id=call, contact_id=contact, who="user:eva", now=desk.now)
        )
        assert await deliver(desk) == Delivered(1, 0, 0)
        (task,) = written(desk)
        assert (task["Id"], task["WhoId"], task["WhatId"]) == (made["Id"], record, None)
        assert (task["Status"], task["Priority"]) == ("Not Started", "High")


async def test_a_task_deleted_in_salesforce_is_not_made_again(desk: Desk) -> None:
    record = await known(desk)
    calls = [await desk.answered(f"{place}.1") for place in range(2)]
    await deliver(desk)
    for task in written(desk):
        desk.org.delete("Task", task["Id"])
    desk.org.purge("Task", desk.query("SELECT salesforce_id FROM tasks ORDER BY key")[1][0])
    for call in calls:
        await desk.database.write(
            partial(
                history.assign, call_id=call, contact_id=contact_of(desk, record), who="user:eva", now=NOW
            )
        )
    assert await deliver(desk) == Delivered(0, 0, 0)
    assert (written(desk), desk.waiting()) == ([], [])


async def test_a_call_waits_for_its_new_contact(desk: Desk) -> None:
    contact = await desk.call("k-1", number=NUMBER, name="Erika Muster")
    await desk.answered("1.1", decided={"contact_id": contact})
    desk.org.lock_rows(1)
    assert await deliver(desk) == Delivered(0, 1, 0)
    assert written(desk) == []
    desk.now += 30
    assert await deliver(desk) == Delivered(2, 0, 0)
    ((record,),) = desk.query("SELECT salesforce_id FROM contacts")
    assert [task["WhoId"] for task in written(desk)] == [record]


async def test_a_contact_that_cannot_be_made_holds_up_its_call_for_a_while_only(desk: Desk) -> None:
    contact = await desk.call("k-1", number=NUMBER)
    await desk.answered("1.1", decided={"contact_id": contact})
    desk.org.hide("Contact", "Ostiary_Id__c")
    assert (await deliver(desk))[:3] == (0, 0, 0)
    desk.now += 900
    assert (await deliver(desk))[:3] == (1, 0, 0)
    assert [task["WhoId"] for task in written(desk)] == [None]
    desk.org.show("Contact", "Ostiary_Id__c")
    assert await deliver(desk) == Delivered(2, 0, 0)  # the contact, and whom the Task is about
    ((record,),) = desk.query("SELECT salesforce_id FROM contacts")
    assert [task["WhoId"] for task in written(desk)] == [record]


async def test_a_task_follows_the_contact_that_is_made_while_it_is_on_its_way(desk: Desk) -> None:
    contact = await desk.call("k-1", number=NUMBER)
    await desk.answered("1.1", decided={"contact_id": contact})
    desk.now += 1000  # nothing was sent for long: the call has waited for its contact for long enough
    assert await deliver(desk) == Delivered(3, 0, 0)
    ((record,),) = desk.query("SELECT salesforce_id FROM contacts")
    assert [task["WhoId"] for task in written(desk)] == [record]


async def test_a_parked_contact_holds_up_nobody(desk: Desk) -> None:
    contact = await desk.call("no mail", number=NUMBER)
    await desk.answered("1.1", decided={"contact_id": contact})
    mail = [{"fields": {"LastName": "[Name]", "Email": "[Key]"}}]
    assert await deliver(desk, create=mail) == Delivered(1, 0, 1)
    assert len(written(desk)) == 1


# --- fields


async def test_fields_that_the_org_hides_stay_empty_and_are_told(desk: Desk) -> None:
    desk.org.hide("Task", "CallDisposition")
    desk.org.hide("Task", "Type")
    await desk.answered("1.1")
    delivered = await deliver(desk)
    assert delivered[:4] == (1, 0, 0, "")
    assert [note.partition(" is ")[0] for note in delivered.notes] == ["Task.CallDisposition", "Task.Type"]


async def test_without_callobject_nothing_is_sent_and_nothing_lost(desk: Desk) -> None:
    desk.org.hide("Task", "CallObject")
    await desk.answered("1.1")
    delivered = await deliver(desk)
    assert delivered[:3] == (0, 0, 0)
    assert "may not see and edit Task.CallObject" in delivered.error
    desk.org.hide("Task")
    assert "cannot see the object Task" in (await deliver(desk)).error
    desk.org.show("Task")
    desk.org.show("Task", "CallObject")
    assert await deliver(desk) == Delivered(1, 0, 0)


async def test_further_fields(desk: Desk) -> None:
    desk.org.add_field("Task", "Queue__c", "string")
    desk.org.add_field("Task", "Began__c", "datetime")
    fields = {"Queue__c": "[QueueExtension]/[DID]", "Began__c": "[CallStartTimeUTC]", "CallObject": "mine"}
    desk.sections = {"tasks": {"fields": fields}}
    call = await desk.answered("1.1", queue="sales")
    assert await deliver(desk) == Delivered(1, 0, 0)
    assert desk.records("Task", "Queue__c", "Began__c", "CallObject") == [
        {"Queue__c": "sales/4940", "Began__c": "2027-01-15T07:58:20.000+0000", "CallObject": f"call:{call}"}
    ]


async def test_a_further_field_that_is_not_there_parks_the_call_until_it_is_mended(desk: Desk) -> None:
    desk.sections = {"tasks": {"fields": {"Queue__c": "[QueueExtension]"}}}
    await desk.answered("1.1", queue="sales")
    assert await deliver(desk) == Delivered(0, 0, 1)
    ((error,),) = desk.waiting("error")
    assert "tasks.fields: Task has no field Queue__c" in error
    desk.org.add_field("Task", "Queue__c", "string")
    await desk.database.write(lambda conn: outbox.retry(conn, None, "cli:ana", desk.now))
    assert await deliver(desk) == Delivered(1, 0, 0)
    assert len(written(desk)) == 1


HOSTILE = 'A"<b>\u2028\r\nEvent: Hangup\x00\u202e[Number] 😀' + "x" * 300


async def test_hostile_names_stay_names(desk: Desk) -> None:
    await desk.answered("1.1", name=HOSTILE, number="+49 30 1234567", queue=HOSTILE)
    assert await deliver(desk) == Delivered(1, 0, 0)
    (task,) = written(desk)
    assert task["Subject"].startswith('Call from A"<b> Event: Hangup\u202e[Number] 😀xxx')
    assert not set(task["Subject"]) & set("\r\n\0\u2028")
    assert len(task["Subject"].encode("utf-16-le")) // 2 <= 255
    assert task["Description"].count("\0") == 0


# --- to call back


async def test_a_missed_call_is_to_be_returned_until_it_is(desk: Desk) -> None:
    ana = user(desk, "ana@ostiary.example")
    await desk.agent("101", "Ana Bell", "ana@ostiary.example")
    record = await known(desk)
    decided = {"contact_id": contact_of(desk, record), "routed_to": "101"}
    call = await desk.talked("1.1", decided=decided)
    assert await deliver(desk) == Delivered(1, 0, 0)
    desk.now += 120
    assert await deliver(desk) == Delivered(1, 0, 0)
    (_, task) = written(desk)
    assert (task["CallObject"], task["Status"], task["WhoId"], task["OwnerId"]) == (
        f"follow-up:{call}",
        "Not Started",
        record,
        ana,
    )
    assert (task["Subject"], task["ActivityDate"], task["CallType"]) == (
        f"Call back Erika Muster +{NUMBER}",
        "2027-01-16",
        None,
    )
    await desk.answered("2.1", by="102", way=Way.OUTBOUND, agent="102", started_at=desk.now - 60.0)
    assert await deliver(desk) == Delivered(2, 0, 0)
    assert [each["Status"] for each in written(desk)] == ["Completed"] * 3
    assert desk.query("SELECT closed FROM tasks") == [(1,)] * 3
    assert await deliver(desk) == Delivered(0, 0, 0)


async def test_who_gets_through_in_time_needs_no_call(desk: Desk) -> None:
    await desk.talked("1.1")
    await desk.answered("2.1", started_at=desk.now - 50.0)
    desk.now += 1000
    assert await deliver(desk) == Delivered(2, 0, 0)
    assert [task["CallObject"].partition(":")[0] for task in written(desk)] == ["call", "call"]
    assert desk.waiting() == []


async def test_a_follow_up_that_a_person_deleted_or_closed_stays_so(desk: Desk) -> None:
    await desk.talked("1.1")
    desk.now += 1000
    assert await deliver(desk) == Delivered(2, 0, 0)
    (task,) = [each for each in written(desk) if each["CallObject"].startswith("follow-up:")]
    desk.org.delete("Task", task["Id"])
    await desk.answered("2.1", started_at=desk.now - 60.0)
    assert await deliver(desk) == Delivered(1, 0, 0)
    assert desk.waiting() == []
    assert desk.query("SELECT closed FROM tasks WHERE key LIKE 'follow-up:%'") == [(1,)]


# --- chats


async def chat(desk: Desk, number: str = "c-1", **more: Any) -> None:
    usual = {
        "id": number,
        "started_at": NOW - 60,
        "ended_at": NOW - 30,
        "number": NUMBER,
        "number_text": f"+{NUMBER}",
        "messages": json.dumps([[NOW - 60, "Erika", "Hello [Name]"], [NOW - 30, "Ana", "Hi\nthere"]]),
    }
    row = usual | more
    marks = ", ".join("?" * len(row))
    desk.query(f"INSERT INTO chats ({', '.join(row)}) VALUES ({marks})", *row.values())
    await desk.database.write(lambda conn: tasks.want(conn, f"chat:{number}", due=desk.now, now=desk.now))


async def test_a_chat(desk: Desk) -> None:
    ana = user(desk, "ana@ostiary.example")
    record = await known(desk)
    await desk.agent("101", "Ana Bell", "ana@ostiary.example")
    await chat(desk, contact_id=contact_of(desk, record), agent="101")
    assert await deliver(desk) == Delivered(1, 0, 0)
    (task,) = written(desk)
    assert task["Subject"] == f"Chat with Erika Muster +{NUMBER}"
    assert (
        task["Description"] == "2027-01-15 07:59:00 Erika: Hello [Name]\n2027-01-15 07:59:30 Ana: Hi\nthere"
    )
    assert (task["WhoId"], task["OwnerId"], task["Status"], task["CallType"], task["CallObject"]) == (
        record,
        ana,
        "Completed",
        None,
        "chat:c-1",
    )
    desk.query('UPDATE chats SET messages = \'[[1800000000, "Erika", "Bye"]]\'')
    await desk.database.write(lambda conn: tasks.want(conn, "chat:c-1", due=desk.now, now=desk.now))
    assert await deliver(desk) == Delivered(1, 0, 0)
    assert [each["Description"] for each in written(desk)] == ["2027-01-15 08:00:00 Erika: Bye"]


async def test_a_long_chat_is_cut(desk: Desk) -> None:
    await chat(desk, messages=json.dumps([[NOW, "Erika", "😀" * 20_000]]))
    assert await deliver(desk) == Delivered(1, 0, 0)
    (task,) = written(desk)
    assert 31_990 < len(task["Description"].encode("utf-16-le")) // 2 <= 32_000


# --- each once


def assert_once(desk: Desk, calls: list[str]) -> None:
    keys = sorted(task["CallObject"] for task in written(desk))
    assert keys == sorted(f"call:{call}" for call in calls)
    assert dict(desk.query("SELECT key, salesforce_id FROM tasks")) == {
        task["CallObject"]: task["Id"] for task in written(desk)
    }
    assert desk.waiting() == []


@pytest.mark.parametrize("fault", ["done-cut", "cut-answer", "cut", "error"])
async def test_no_answer(desk: Desk, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MOST_RECORDS", 20)
    calls = [await desk.answered(f"{place}.1") for place in range(25)]
    desk.server.faults.add(fault, path="composite/sobjects", method="POST")
    with pytest.raises(SalesforceDown):
        await deliver(desk)
    assert len(desk.waiting()) == 25
    assert (await deliver(desk))[:3] == (5, 0, 0)  # the others may have been written
    assert len(desk.waiting()) == 20
    desk.now += 41
    assert await deliver(desk) == Delivered(20, 0, 0)
    assert_once(desk, calls)


async def test_salesforce_goes_on_when_we_have_given_up(desk: Desk) -> None:
    calls = [await desk.answered(f"{place}.1") for place in range(3)]
    fault = desk.server.faults.add("slow", path="composite/sobjects", method="POST", seconds=6.0)
    with pytest.raises(SalesforceDown):
        await deliver(desk, timeout=3)
    assert (await desk.deliver(timeout=3))[:3] == (0, 0, 0)  # not before it must have ended
    assert fault.taken == 1
    async with asyncio.timeout(60):
        while len(written(desk)) < 3:
            await asyncio.sleep(0.05)
    desk.now += 7
    assert await desk.deliver(timeout=20) == Delivered(3, 0, 0)
    assert_once(desk, calls)


async def test_what_changes_while_it_is_sent_is_written_afterwards(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await known(desk)
    call = await desk.answered("1.1")
    made = tasks.made
    assign = partial(
        history.assign, call_id=call, contact_id=contact_of(desk, record), who="user:eva", now=desk.now
    )
    first = True

    async def changing(conn: AsyncConnection, *arguments: Any, **more: Any) -> None:
        nonlocal first
        if first:
            first = False
            await assign(conn)
        await made(conn, *arguments, **more)

    monkeypatch.setattr(tasks, "made", changing)
    assert await deliver(desk) == Delivered(2, 0, 0)
    assert [task["WhoId"] for task in written(desk)] == [record]


async def test_a_crash_between_sending_and_noting(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [await desk.answered(f"{place}.1") for place in range(30)]
    made = tasks.made

    async def crashing(conn: AsyncConnection, key: str, *arguments: Any, **more: Any) -> None:
        if key == f"call:{calls[7]}":
            raise ZeroDivisionError
        await made(conn, key, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(tasks, "made", crashing)
        with pytest.raises(ZeroDivisionError):
            await deliver(desk)
    assert (len(written(desk)), len(desk.waiting())) == (30, 1)
    desk.now += 41
    assert await deliver(desk) == Delivered(1, 0, 0)
    assert_once(desk, calls)


async def test_keys_are_compared_with_their_capitals(desk: Desk) -> None:
    desk.org.create("Task", {"Subject": "x", "CallObject": "CALL:PBX-1.1"})
    await desk.answered("1.1")
    desk.server.faults.add("cut", path="composite/sobjects", method="POST")
    with pytest.raises(SalesforceDown):
        await deliver(desk)
    desk.now += 41
    assert await deliver(desk) == Delivered(1, 0, 0)
    assert sorted(task["CallObject"] for task in written(desk)) == ["CALL:PBX-1.1", "call:pbx-1.1"]
    assert desk.query("SELECT key FROM tasks") == [("call:pbx-1.1",)]


@pytest.mark.parametrize(
    ("section", "seconds"),
    [
        ({"cdr": {"csv_file": "/nowhere/Master.csv", "interval": 50, "settle": 10}}, 60),
        ({"ami": {"host": "127.0.0.1"}}, 30),
        ({}, 0),
    ],
)
async def test_who_sees_more_of_a_call_may_tell_first(
    desk: Desk, section: dict[str, Any], seconds: int
) -> None:
    desk.sections = section
    await desk.answered("1.1", told_by="ended", ended_at=desk.now)
    await desk.answered("2.1", told_by="ami", ended_at=desk.now)
    now = 1 if seconds else 2
    assert await deliver(desk) == Delivered(now, 0, 0)
    desk.now += seconds - WAIT
    assert await desk.deliver() == Delivered(2 - now, 0, 0)


@pytest.mark.slow
async def test_killed_at_any_moment(desk: Desk) -> None:
    desk.now = int(time.time()) - WAIT  # the process has no other clock
    calls = [await desk.answered(f"{place}.1") for place in range(MANY)]
    for _ in range(6):
        before = desk.writes()
        with process(desk, 10, timeout=5) as child:
            wanted = before + random.randint(1, 3)
            await asyncio.to_thread(desk.server.wait_for, r"POST .*composite/sobjects", wanted)
            await asyncio.sleep(random.uniform(0, 0.08))
            assert child.poll() is None, child.communicate()
            child.kill()
    assert 0 < len(desk.waiting()) < MANY
    async with asyncio.timeout(300):
        while desk.waiting():  # what may have been sent is due again when Salesforce must have ended
            with process(desk, 10, timeout=5) as child:
                _, err = await asyncio.to_thread(child.communicate, timeout=120)
            assert child.returncode == 0, err
    assert_once(desk, calls)
