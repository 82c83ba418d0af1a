"""What a Task says, whose it is, and what becomes of fields that an org does not take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agi_server.salesforce.journal import (
    REFERENCES,
    about,
    call_task,
    chat_keepers,
    chat_task,
    day,
    disposition,
    fit,
    follow_up,
    keepers,
    shape_notes,
    without_culprit,
)
from agi_server.salesforce.records import Shape
from agi_server.salesforce.templates import TASK_VARIABLES, check_task
from agi_server.salesforce.variables import Surroundings, call_values, chat_values, clock
from agi_server.settings import Tasks
from storage.call_facts import AgentFacts, CallFacts, ChatFacts, Person
from tests.org.describe import describe_object
from tests.org.schema import standard

BEGAN = 1_800_000_000  # 2027-01-15T08:00:00Z
AROUND = Surroundings(ZoneInfo("Europe/Berlin"), "https://ostiary.example", "https://acme.my.salesforce.com")
ANA = AgentFacts("101", "Ana Maria Bell", "ana@ostiary.example", "005000000000001AAA")
BEN = AgentFacts("102", "Ben", "ben@ostiary.example", "")
AGENTS = {"101": ANA, "102": BEN}
PERSON = Person(
    id=7,
    salesforce_id="003000000000001AAA",
    kind="Contact",
    name="Erika Muster",
    first_name="Erika",
    last_name="Muster",
    email="erika@acme.example",
    company="ACME",
    account="001000000000001AAA",
    created_at=1,
)
CALL = CallFacts(
    id="c/1",
    direction="inbound",
    started_at=BEGAN,
    answered_at=BEGAN + 5,
    ended_at=BEGAN + 70,
    number=493023125000,
    number_text="030 23125000",
    name="Muster GmbH",
    did="4940",
    trunk="provider",
    verdict="allow",
    routed_to="102",
    answered_by="101",
    disposition="answered",
    seconds=65,
    queue="sales",
    recording="x.wav",
    legs=(),
    transfers=(),
    told_by="ami",
    part_of="",
    person=PERSON,
)
MISSED = replace(CALL, answered_at=None, answered_by="", disposition="no answer", seconds=0)
CHAT = ChatFacts(
    id="c-1",
    channel="chat",
    direction="inbound",
    started_at=BEGAN,
    ended_at=BEGAN + 60,
    number=0,
    number_text="",
    email="erika@acme.example",
    name="Erika",
    did="",
    queue="sales",
    agent="101",
    messages=[[BEGAN, "Erika", "Hello"], ["soon", "x", "y"], [BEGAN, "x"]],
    person=None,
)
TASK = Shape(describe_object(standard()["Task"], standard().values(), "59.0"))


def test_the_variables_of_a_call() -> None:
    assert call_values(CALL, ANA, AGENTS, AROUND) == {
        "Number": "+493023125000",
        "Name": "Erika Muster",
        "CallType": "Inbound",
        "CallDirection": "Inbound",
        "EntityId": PERSON.salesforce_id,
        "EntityType": "Contact",
        "FoundRecordCount": "1",
        "Contact::ContactID": PERSON.salesforce_id,
        "Contact::ContactUrl": ("https://acme.my.salesforce.com/lightning/r/Contact/003000000000001AAA/view"),
        "Contact::EntityId": PERSON.salesforce_id,
        "Contact::EntityType": "Contact",
        "Contact::FirstName": "Erika",
        "Contact::LastName": "Muster",
        "Contact::FullName": "Erika Muster",
        "Contact::CompanyName": "ACME",
        "Contact::Email": "erika@acme.example",
        "Company": "ACME",
        "Email": "erika@acme.example",
        "Agent": "101",
        "AgentName": "Ana Maria Bell",
        "AgentFirstName": "Ana Maria",
        "AgentLastName": "Bell",
        "AgentEmail": "ana@ostiary.example",
        "Duration": "00:01:05",
        "DurationTimespan": "00:01:05",
        "DateTime": "2027-01-15 09:00:00",
        "CallStartTimeLocal": "2027-01-15T09:00:00+01:00",
        "CallStartTimeUTC": "2027-01-15T08:00:00Z",
        "CallEstablishedTimeLocal": "2027-01-15T09:00:05+01:00",
        "CallEstablishedTimeUTC": "2027-01-15T08:00:05Z",
        "CallEndTimeLocal": "2027-01-15T09:01:10+01:00",
        "CallEndTimeUTC": "2027-01-15T08:01:10Z",
        "QueueExtension": "sales",
        "RecordingUrl": "https://ostiary.example/recordings/c%2F1",
        "RecordingHyperLink": "https://ostiary.example/recordings/c%2F1",
        "LineBreak": "\n",
        "DID": "4940",
        "Trunk": "provider",
        "CallId": "c/1",
        "Outcome": "answered",
        "Details": "\nRecording: https://ostiary.example/recordings/c%2F1",
    }


def test_every_variable_that_is_told_is_one_that_templates_may_have() -> None:
    told = {*call_values(CALL, ANA, AGENTS, AROUND), *chat_values(CHAT, ANA, AROUND)}
    assert told <= set(TASK_VARIABLES)
    assert set(TASK_VARIABLES) - told == {
        "Transcription",
        "Summary",
        "Sentiment",
    }  # of a PBX that writes them


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({"person": None, "name": "Muster GmbH"}, {"Name": "Muster GmbH", "FoundRecordCount": "0"}),
        ({"person": None, "name": "+493023125000"}, {"Name": ""}),
        ({"person": None, "name": "anonymous", "number": 0, "number_text": ""}, {"Name": "Unknown caller"}),
        (
            {"person": replace(PERSON, salesforce_id="")},
            {"EntityId": "", "EntityType": "", "Contact::ContactUrl": ""},
        ),
        ({"number": 0, "number_text": "0815"}, {"Number": "0815"}),
        ({"seconds": 100_000}, {"Duration": "27:46:40", "DurationTimespan": "1.03:46:40"}),
        ({"recording": ""}, {"RecordingUrl": "", "RecordingHyperLink": "", "Details": ""}),
        ({"verdict": "block"}, {"Outcome": "blocked"}),
        ({"direction": "outbound"}, {"CallType": "Outbound"}),
        (
            {"answered_by": "", "disposition": "cancelled", "answered_at": None},
            {"CallType": "Missed", "Outcome": "cancelled"},
        ),
        ({"direction": "outbound", "answered_by": "", "disposition": "busy"}, {"CallType": "Notanswered"}),
    ],
)
def test_variables_of_other_calls(changes: dict[str, Any], values: dict[str, str]) -> None:
    found = call_values(replace(CALL, **changes), ANA, AGENTS, AROUND)
    assert {name: found.get(name, "") for name in values} == values


def leg(extension: str, began: int, answered: int | None, ended: int, **more: Any) -> dict[str, Any]:
    at = {"began_at": BEGAN + began, "ended_at": BEGAN + ended}
    usual = {"extension": extension, "number": "", "via": "dial", "queue": "", "held": 0.0}
    return (
        usual
        | at
        | {"answered_at": None if answered is None else BEGAN + answered, "outcome": "no answer"}
        | more
    )


def test_the_details_of_a_call_that_went_round() -> None:
    legs = [
        leg("", 0, 1, 70, via="caller", number="+493023125000"),
        leg("102", 1, None, 5, queue="sales", via="queue", outcome="elsewhere"),
        leg("101", 1, 5, 35, queue="sales", via="queue", outcome="answered", held=12.0),
        leg("103", 36, 40, 70, via="transfer", outcome="answered"),
    ]
    transfers = [{"kind": "blind", "at": BEGAN + 35.5, "by": "101", "to": "103"}]
    call = replace(CALL, legs=legs, transfers=transfers, recording="")
    assert call_values(call, ANA, AGENTS, AROUND)["Details"].split("\n") == [
        "",
        "09:00:01 Ben (102): queue sales, rang 00:00:04, elsewhere",
        "09:00:01 Ana Maria Bell (101): queue sales, rang 00:00:04, spoke 00:00:30, on hold 00:00:12",
        "09:00:35 Ana Maria Bell (101) handed on to 103 (blind)",
        "09:00:36 103: spoke 00:00:30, transfer",
    ]
    assert call_values(replace(call, legs=legs[:2], transfers=()), ANA, AGENTS, AROUND)["Details"] == ""


TEXTS = st.text(max_size=40)


@settings(max_examples=60)
@example(name="\x07", number="0", legs=[])  # nothing is left of the name, nor of the space behind it
@given(
    name=TEXTS,
    number=TEXTS,
    legs=st.lists(
        st.dictionaries(st.sampled_from(["extension", "via", "began_at", "held", "x"]), TEXTS), max_size=3
    ),
)
def test_whatever_a_call_holds_its_task_fits(name: str, number: str, legs: list[dict[str, str]]) -> None:
    call = replace(CALL, person=None, number=0, number_text=number, name=name * 20, legs=legs, queue=name)
    fields, _ = call_task("call:x", call, Tasks(), AGENTS, AROUND, opportunity="")
    record = fit(fields, TASK, set(), update=False)
    subject = record["Subject"]
    assert subject == " ".join(subject.split())
    assert len(subject.encode("utf-16-le")) // 2 <= 255
    assert len(record["Description"].encode("utf-16-le")) // 2 <= 32_000
    assert record["CallObject"] == "call:x"


# --- whose


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["101", "900"]),
        ({"answered_by": "", "disposition": "no answer"}, ["102", "500", "900"]),
        ({"answered_by": "", "disposition": "no answer", "routed_to": ""}, ["500", "900"]),
        ({"direction": "outbound"}, ["102", "900"]),
        ({"direction": "outbound", "routed_to": "", "answered_by": "101"}, ["101", "900"]),
        (
            {
                "direction": "internal",
                "routed_to": "",
                "answered_by": "",
                "legs": [{"via": "click", "extension": "103"}],
            },
            ["103", "900"],
        ),
    ],
)
def test_whose_a_call_is(changes: dict[str, Any], expected: list[str]) -> None:
    assert keepers(replace(CALL, **changes), Tasks(queues={"sales": "500"}, responsible="900")) == expected


def test_whose_a_chat_is() -> None:
    tasks = Tasks(queues={"sales": "500"}, responsible="900")
    assert chat_keepers(CHAT, tasks) == ["101", "500", "900"]
    assert chat_keepers(replace(CHAT, agent=""), tasks) == ["500", "900"]


# --- what


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "Answered"),
        ({"answered_by": "", "disposition": "no answer"}, "Missed"),
        ({"answered_by": "", "disposition": "noanswer"}, "Missed"),
        ({"answered_by": "", "disposition": ""}, "Missed"),
        ({"answered_by": "", "disposition": "no answer", "direction": "outbound"}, "Not answered"),
        ({"answered_by": "", "disposition": "CANCEL"}, "Cancelled"),
        ({"answered_by": "", "disposition": "busy"}, "Busy"),
        ({"answered_by": "", "disposition": "congestion"}, "Failed"),
        ({"answered_by": "", "disposition": "answer"}, "Answered"),
        ({"answered_by": "", "disposition": "busy", "verdict": "block"}, "Blocked"),
    ],
)
def test_the_result_of_a_call(changes: dict[str, Any], expected: str) -> None:
    assert disposition(replace(CALL, **changes)) == expected


@pytest.mark.parametrize(
    ("record", "opportunity", "who", "what"),
    [
        ("003000000000001AAA", "", True, ""),
        ("003000000000001AAA", "006000000000001AAA", True, "006000000000001AAA"),
        ("00Q000000000001AAA", "006000000000001AAA", True, ""),
        ("001000000000001AAA", "", False, "001000000000001AAA"),
        ("001000000000001AAA", "006000000000001AAA", False, "006000000000001AAA"),
        ("006000000000002AAA", "", False, "006000000000002AAA"),
        ("a00000000000001AAA", "", False, ""),
        ("", "", False, ""),
    ],
)
def test_whom_a_task_is_about(record: str, opportunity: str, who: bool, what: str) -> None:
    found = about(replace(PERSON, salesforce_id=record), opportunity)
    assert found == {"WhoId": record if who else None, "WhatId": what or None}
    assert about(None) == {"WhoId": None, "WhatId": None}


def test_the_day_is_that_of_the_zone() -> None:
    late = 1_800_054_000  # 2027-01-15T23:00:00Z
    assert (day(late, AROUND.zone), day(late, ZoneInfo("UTC"))) == ("2027-01-16", "2027-01-15")
    due = follow_up("follow-up:x", MISSED, Tasks(follow_up_hours=48), AGENTS, AROUND)["ActivityDate"]
    assert due == "2027-01-17"


def test_a_text_of_several_lines_has_a_subject_of_one() -> None:
    tasks = Tasks(
        chat_subject="Chat[LineBreak]with  [Email]", chat_text="[ChatStartTimeUTC][LineBreak][ChatMessages]"
    )
    fields = chat_task("chat:c-1", CHAT, tasks, AGENTS, AROUND)
    assert fields["Subject"] == "Chat with erika@acme.example"
    assert fields["Description"] == "2027-01-15T08:00:00Z\n2027-01-15 09:00:00 Erika: Hello"
    assert fields["OwnerId"] == ANA.user_id


def test_the_default_templates_are_ones() -> None:
    texts = [value for name, value in Tasks().model_dump().items() if name.endswith(("_subject", "_text"))]
    assert len(texts) == 12
    for text in texts:
        check_task(text)


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0, 59, 3599, 360_000)] == [
        "00:00:00",
        "00:00:59",
        "00:59:59",
        "100:00:00",
    ]


# --- as the org takes it


def fields(**more: Any) -> dict[str, Any]:
    return call_task("call:x", CALL, Tasks(), AGENTS, AROUND, opportunity="")[0] | more


def described(**changes: dict[str, Any]) -> Shape:
    """The Task of an org whose fields are otherwise; None: not there."""
    description = describe_object(standard()["Task"], standard().values(), "59.0")
    kept = [
        field | changes.get(field["name"], {})
        for field in description["fields"]
        if changes.get(field["name"], {}) is not None
    ]
    return Shape({"fields": kept})


def test_a_new_task_has_no_empty_references_and_a_changed_one_loses_them() -> None:
    nobody = fields(WhoId=None, OwnerId="")
    new, changed = (fit(nobody, TASK, set(), update=update) for update in (False, True))
    assert not set(REFERENCES) & set(new)
    assert (changed["WhoId"], changed["WhatId"]) == (None, None)
    assert "OwnerId" not in changed
    assert not {"Status", "Priority", "TaskSubtype"} & set(changed)
    assert {"Status", "Priority", "TaskSubtype"} <= set(new)


def test_what_the_org_does_not_offer_is_left_out_and_noted() -> None:
    shape = described(
        Type={"picklistValues": [{"value": "Telefonat", "active": True}, {"value": "Call", "active": False}]},
        CallType={"picklistValues": [{"value": "Outbound", "active": True}]},
        Description={"createable": False},
        CallDisposition=None,  # type: ignore[arg-type]
    )
    notes: set[str] = set()
    record = fit(fields(), shape, notes, update=False)
    assert not {"Type", "CallType", "Description", "CallDisposition"} & set(record)
    assert sorted(notes) == [
        "Task.CallDisposition is hidden from the integration user, or may not be written: it stays empty",
        "Task.CallType has no value 'Inbound': it stays empty",
        "Task.Description is hidden from the integration user, or may not be written: it stays empty",
    ]


def test_a_status_that_the_org_does_not_have_is_told() -> None:
    assert shape_notes(TASK, Tasks()) == set()
    assert shape_notes(TASK, Tasks(status="Erledigt")) == {
        "Task.Status has no value 'Erledigt' (tasks.status); there are Completed, Not Started"
    }


GIVEN = {"OwnerId": "005000000000001AAA", "WhoId": "003000000000001AAA", "Subject": "x"}


@pytest.mark.parametrize(
    ("code", "message", "named", "left"),
    [
        ("INACTIVE_OWNER_OR_USER", "operation performed with inactive user", (), {"WhoId", "Subject"}),
        (
            "INVALID_CROSS_REFERENCE_KEY",
            "Owner ID: owner cannot be blank",
            ("OwnerId",),
            {"WhoId", "Subject"},
        ),
        ("ENTITY_IS_DELETED", "entity is deleted", ("WhoId",), {"OwnerId", "Subject"}),
        ("ENTITY_IS_DELETED", "entity is deleted", (), {"OwnerId", "Subject"}),
        (
            "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
            "insufficient access rights on cross-reference id: 005000000000001",
            (),
            {"WhoId", "Subject"},
        ),
        ("STRING_TOO_LONG", "Subject", ("Subject",), None),
        ("REQUIRED_FIELD_MISSING", "OwnerId", ("OwnerId",), None),
    ],
)
def test_the_reference_that_a_task_was_refused_for(
    code: str, message: str, named: tuple[str, ...], left: set[str] | None
) -> None:
    record = without_culprit(GIVEN, code, message, named)
    assert (set(record) if record is not None else None) == left


def test_in_the_end_no_reference_is_left_to_blame() -> None:
    tried: list[dict[str, Any]] = [GIVEN | {"WhatId": "001000000000001AAA"}]
    while (record := without_culprit(tried[-1], "ENTITY_IS_DELETED", "", ())) is not None:
        tried.append(record)
    assert (set(tried[-1]), len(tried)) == ({"Subject"}, 3)
