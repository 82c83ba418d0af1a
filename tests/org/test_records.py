from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from tests.org.errors import OrgError
from tests.org.fields import Field
from tests.org.records import Org

START = datetime(2026, 5, 7, 22, 7, 19, 987654, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def tick(self, seconds: float = 60) -> str:
        """Go on and give the new time as REST writes it."""
        self.now += timedelta(seconds=seconds)
        return self.now.strftime("%Y-%m-%dT%H:%M:%S.000+0000")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def org(clock: Clock) -> Iterator[Org]:
    made = Org(now=clock)
    yield made
    made.close()


def refusal(do: Callable[[], object]) -> OrgError:
    with pytest.raises(OrgError) as caught:
        do()
    return caught.value


def code(do: Callable[[], object]) -> tuple[str, tuple[str, ...]]:
    error = refusal(do)
    return error.code, error.fields


def contact(org: Org, **fields: Any) -> str:
    return org.create("Contact", {"LastName": "Muñoz"} | fields)


def stamp(org: Org, sobject: str, record: str) -> str:
    (found,) = org.query(f"SELECT SystemModstamp FROM {sobject} WHERE Id = '{record}'", deleted=True)
    return str(found["SystemModstamp"])


def ids(org: Org, sobject: str, *, deleted: bool = False) -> list[str]:
    return [record["Id"] for record in org.query(f"SELECT Id FROM {sobject}", deleted=deleted)]


# --- shapes


def test_a_record_has_the_shape_of_a_rest_answer(org: Org) -> None:
    account = org.create("Account", {"Name": "Acme", "BillingCity": "Berlin"})
    record = contact(org, FirstName="Ana", AccountId=account, Ostiary_Id__c="x1")
    fields = "Id, Name, Account.Name, Account.Owner.Email, ReportsTo.Account.Name, CreatedDate, VIP__c"
    base = "/services/data/v59.0/sobjects"
    assert list(org.query(f"SELECT {fields} FROM Contact")) == [
        {
            "attributes": {"type": "Contact", "url": f"{base}/Contact/{record}"},
            "Id": record,
            "Name": "Ana Muñoz",
            "Account": {
                "attributes": {"type": "Account", "url": f"{base}/Account/{account}"},
                "Name": "Acme",
                "Owner": {
                    "attributes": {"type": "User", "url": f"{base}/User/{org.user_id}"},
                    "Email": "integration@org.example",
                },
            },
            "ReportsTo": None,
            "CreatedDate": "2026-05-07T22:07:19.000+0000",
            "VIP__c": False,
        }
    ]
    (found,) = org.query("SELECT BillingAddress, ShippingAddress FROM Account")
    assert found["BillingAddress"]["city"] == "Berlin"
    assert found["ShippingAddress"] is None
    assert org.get("Contact", record[:15])["Ostiary_Id__c"] == "x1"


def test_csv_rows_are_as_bulk_has_them(org: Org) -> None:
    account = org.create("Account", {"Name": 'Say "hi", Ltd', "NumberOfEmployees": 7, "AnnualRevenue": 1000})
    first, second = contact(org, AccountId=account), contact(org)
    header, rows = org.rows(
        "SELECT id, account.name, IsDeleted, SystemModstamp, Account.NumberOfEmployees FROM Contact"
    )
    assert header == ["Id", "Account.Name", "IsDeleted", "SystemModstamp", "Account.NumberOfEmployees"]
    assert list(rows) == [
        [first, 'Say "hi", Ltd', "false", "2026-05-07T22:07:19.000Z", "7"],
        [second, "", "false", "2026-05-07T22:07:19.000Z", ""],
    ]


def test_the_owner_of_a_lead_is_a_name(org: Org) -> None:
    queue = org.create("Group", {"Name": "Inbound leads", "Type": "Queue", "Email": "queue@example.com"})
    for name, owner in (("Cem", queue), ("Dora", org.user_id)):
        org.create("Lead", {"LastName": name, "Company": "C", "OwnerId": owner})
    asked = "SELECT Owner.Name, Owner.Type, Owner.Email, Owner.IsActive FROM Lead"
    owners = [record["Owner"] for record in org.query(f"{asked} ORDER BY Owner.Name")]
    assert [(owner["Name"], owner["Type"], owner["IsActive"]) for owner in owners] == [
        ("Inbound leads", "Queue", None),
        ("Ostiary Integration", "User", True),
    ]
    assert owners[0]["Email"] == "queue@example.com"
    assert {owner["attributes"]["type"] for owner in owners} == {"Name"}
    assert owners[0]["attributes"]["url"].endswith(f"/Group/{queue}")
    (found,) = org.query(f"{asked} WHERE Owner.Type = 'queue'")
    assert found["Owner"]["Name"] == "Inbound leads"


# --- writing


def test_names_and_other_fields_follow(org: Org) -> None:
    record = contact(org, FirstName=" Ana ", Title="  ")
    org.update("Contact", record, {"lastname": "Ñu"})
    made = org.get("Contact", record)
    assert (made["Name"], made["Title"], made["OwnerId"]) == ("Ana Ñu", None, org.user_id)
    lead = org.get("Lead", org.create("Lead", {"LastName": "C", "Company": "D", "Status": None}))
    assert (lead["Status"], lead["IsConverted"]) == ("Open - Not Contacted", False)
    sale = {"Name": "Deal", "StageName": "Closed Won", "CloseDate": "2026-06-01", "Amount": 10.5}
    won = org.get("Opportunity", org.create("Opportunity", sale))
    assert (won["IsWon"], won["IsClosed"], won["Amount"], won["CloseDate"]) == (
        True,
        True,
        10.5,
        "2026-06-01",
    )


REFUSED: list[tuple[str, dict[str, Any], str, tuple[str, ...]]] = [
    ("Contact", {}, "REQUIRED_FIELD_MISSING", ("LastName",)),
    ("Contact", {"LastName": "  "}, "REQUIRED_FIELD_MISSING", ("LastName",)),
    ("Lead", {}, "REQUIRED_FIELD_MISSING", ("LastName", "Company")),
    ("Account", {}, "REQUIRED_FIELD_MISSING", ("Name",)),
    ("Opportunity", {"Name": "x"}, "REQUIRED_FIELD_MISSING", ("StageName", "CloseDate")),
    ("Contact", {"LastName": "x", "Nope": 1}, "INVALID_FIELD", ()),
    ("Contact", {"LastName": "x", "Account.Name": "y"}, "INVALID_FIELD", ()),
    ("Contact", {"LastName": "x", "Name": "y", "Id": None}, "INVALID_FIELD_FOR_INSERT_UPDATE", ("Name", "Id")),
    ("Contact", {"LastName": "x" * 81}, "STRING_TOO_LONG", ("LastName",)),
    ("Contact", {"LastName": "x", "Phone": "0" * 41}, "STRING_TOO_LONG", ("Phone",)),
    ("Contact", {"LastName": "x", "Ostiary_Id__c": "0" * 65}, "STRING_TOO_LONG", ("Ostiary_Id__c",)),
    ("Contact", {"LastName": "x", "Email": "nobody"}, "INVALID_EMAIL_ADDRESS", ("Email",)),
    ("Contact", {"LastName": 1}, "JSON_PARSER_ERROR", ()),
    ("Contact", {"LastName": "x", "VIP__c": "true"}, "JSON_PARSER_ERROR", ()),
    ("Contact", {"LastName": "x", "VIP__c": None}, "JSON_PARSER_ERROR", ()),
    ("Contact", {"LastName": "x", "Birthdate": "1.2.2000"}, "JSON_PARSER_ERROR", ()),
    ("Contact", {"LastName": "x", "AccountId": "nothing"}, "MALFORMED_ID", ("AccountId",)),
    ("Contact", {"LastName": "x", "AccountId": "001000000000001AAA"}, "INVALID_CROSS_REFERENCE_KEY", ("AccountId",)),
    ("Contact", {"LastName": "x", "AccountId": "003000000000001AAA"}, "FIELD_INTEGRITY_EXCEPTION", ("AccountId",)),
    ("Contact", {"LastName": "x", "OwnerId": "00G000000000001AAA"}, "FIELD_INTEGRITY_EXCEPTION", ("OwnerId",)),
    ("Account", {"Name": "x", "NumberOfEmployees": 1.5}, "JSON_PARSER_ERROR", ()),
    ("Account", {"Name": "x", "NumberOfEmployees": 10**8}, "NUMBER_OUTSIDE_VALID_RANGE", ("NumberOfEmployees",)),
    ("Task", {"CallType": "Sideways"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", ("CallType",)),
    ("Organization", {"Name": "x"}, "INVALID_TYPE_FOR_OPERATION", ()),
    ("Nope", {}, "NOT_FOUND", ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sobject", "fields", "wanted", "names"), REFUSED, ids=[f"{a} {b!r:.40}" for a, b, _, _ in REFUSED]
)
def test_records_that_cannot_be_are_refused(
    org: Org, sobject: str, fields: dict[str, Any], wanted: str, names: tuple[str, ...]
) -> None:
    assert code(lambda: org.create(sobject, fields)) == (wanted, names)
    assert ids(org, "Contact") == ids(org, "Account") == ids(org, "Task") == []


def test_texts_of_refusals_are_salesforces(org: Org) -> None:
    assert refusal(lambda: org.create("Contact", {})).message == "Required fields are missing: [LastName]"
    long = refusal(lambda: contact(org, MobilePhone="1" * 41)).message
    assert long == f"Mobile Phone: data value too large: {'1' * 41} (max length=40)"
    assert refusal(lambda: contact(org, Nope=1)).message == "No such column 'Nope' on sobject of type Contact"


def test_updates_are_refused_like_creations(org: Org) -> None:
    record = contact(org)
    assert code(lambda: org.update("Contact", record, {"LastName": None})) == (
        "REQUIRED_FIELD_MISSING",
        ("LastName",),
    )
    assert code(lambda: org.update("Contact", record, {"Id": record})) == (
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        ("Id",),
    )
    assert code(lambda: org.update("Contact", "nothing", {}))[0] == "MALFORMED_ID"
    assert code(lambda: org.update("Account", record, {}))[0] == "MALFORMED_ID"
    assert code(lambda: org.update("Contact", "003000000000001AAA", {}))[0] == "INVALID_CROSS_REFERENCE_KEY"
    org.delete("Contact", record)
    assert code(lambda: org.update("Contact", record, {}))[0] == "ENTITY_IS_DELETED"
    assert code(lambda: org.get("Contact", record))[0] == "ENTITY_IS_DELETED"
    gone = refusal(lambda: org.get("Contact", "003000000000001AAA"))
    assert (gone.status, gone.code) == (404, "NOT_FOUND")


def test_nobody_inactive_owns_anything(org: Org) -> None:
    user = org.create("User", {"LastName": "Gone", "Email": "gone@example.com"})
    org.update("User", user, {"IsActive": False})
    assert code(lambda: contact(org, OwnerId=user)) == ("INACTIVE_OWNER_OR_USER", ("OwnerId",))
    assert code(lambda: org.delete("User", user))[0] == "INVALID_TYPE_FOR_OPERATION"
    twice = {"LastName": "Gone", "Email": "other@example.com", "Username": "gone@example.com"}
    assert code(lambda: org.create("User", twice)) == ("DUPLICATE_USERNAME", ("Username",))


# --- external ids


def test_an_upsert_makes_or_changes(org: Org) -> None:
    record, created = org.upsert("Contact", "Ostiary_Id__c", "a/b", {"LastName": "Ana"})
    assert created
    assert org.get("Contact", record)["Ostiary_Id__c"] == "a/b"
    assert org.upsert("contact", "ostiary_id__c", "A/B", {"Title": "Chef"}) == (record, False)
    assert org.get("Contact", record)["Title"] == "Chef"
    assert org.find("Contact", "Ostiary_Id__c", "a/b") == [record]
    assert org.upsert("Contact", "Id", record[:15], {"Title": "x"}) == (record, False)
    org.delete("Contact", record)
    assert org.upsert("Contact", "Ostiary_Id__c", "a/b", {"LastName": "Ana"})[1]


def test_upserts_that_cannot_be_are_refused(org: Org) -> None:
    for name in ("Title", "Nope"):
        error = refusal(partial(org.upsert, "Contact", name, "x", {}))
        assert (error.status, error.code) == (404, "NOT_FOUND")
        assert error.message == f"Provided external ID field does not exist or is not accessible: {name}"
    assert code(lambda: org.upsert("Contact", "Ostiary_Id__c", "", {}))[0] == "MISSING_ARGUMENT"
    both = {"Ostiary_Id__c": "x", "LastName": "x"}
    assert code(lambda: org.upsert("Contact", "Ostiary_Id__c", "x", both)) == (
        "INVALID_FIELD",
        ("Ostiary_Id__c",),
    )
    assert code(lambda: org.upsert("Contact", "Ostiary_Id__c", "x", {}))[0] == "REQUIRED_FIELD_MISSING"
    assert code(lambda: org.find("Contact", "Ostiary_Id__c", "x"))[0] == "NOT_FOUND"


def test_a_key_that_several_have_is_status_300(org: Org) -> None:
    org.add_field("Contact", "Legacy__c", "double", external_id=True, precision=18)
    twins = [contact(org, Legacy__c=7), contact(org, Legacy__c=7)]
    error = refusal(lambda: org.upsert("Contact", "Legacy__c", "7", {"Title": "x"}))
    assert (error.status, error.fields) == (300, tuple(twins))
    org.delete("Contact", twins[0])
    assert org.upsert("Contact", "Legacy__c", "7", {"Title": "x"}) == (twins[1], False)
    made, created = org.upsert("Contact", "Legacy__c", 8, {"LastName": "x"})
    assert created
    assert org.get("Contact", made)["Legacy__c"] == 8.0


def test_unique_is_unique(org: Org) -> None:
    record = contact(org, Ostiary_Id__c="abc")
    error = refusal(lambda: contact(org, Ostiary_Id__c="ABC"))
    assert error.code == "DUPLICATE_VALUE"
    assert (
        error.message
        == f"duplicate value found: Ostiary_Id__c duplicates value on record with id: {record[:15]}"
    )
    other = contact(org)
    assert code(lambda: org.update("Contact", other, {"Ostiary_Id__c": "abc"}))[0] == "DUPLICATE_VALUE"
    org.update("Contact", record, {"Ostiary_Id__c": "abc"})
    org.create("Lead", {"LastName": "x", "Company": "x", "Ostiary_Id__c": "abc"})


# --- what goes wrong


def test_duplicate_rules_alert_or_block(org: Org) -> None:
    org.duplicates("Contact", "LastName", "Email")
    contact(org, Email="a@example.com")
    contact(org)
    error = refusal(lambda: contact(org, Email="A@example.com"))
    assert (error.status, error.code, error.message) == (
        400,
        "DUPLICATES_DETECTED",
        "Use one of these records?",
    )
    twin = {"LastName": "Muñoz", "Email": "a@example.com"}
    org.create("Contact", twin, allow_save=True)
    org.duplicates("Contact")
    org.duplicates("Contact", "Email", block=True)
    assert code(lambda: org.create("Contact", twin, allow_save=True))[0] == "DUPLICATES_DETECTED"
    upsert = refusal(lambda: org.upsert("Contact", "Ostiary_Id__c", "x", twin, allow_save=True))
    assert upsert.code == "DUPLICATES_DETECTED"


def test_rows_are_locked_on_command(org: Org) -> None:
    org.lock_rows(2)
    assert [code(lambda: contact(org))[0] for _ in range(2)] == ["UNABLE_TO_LOCK_ROW"] * 2
    assert ids(org, "Contact") == []
    contact(org)


def test_hidden_fields_are_not_there(org: Org) -> None:
    record = contact(org, MobilePhone="1", AccountId=org.create("Account", {"Name": "A"}))
    org.hide("Contact", "MobilePhone")
    org.hide("Contact", "AccountId")
    names = {field["name"] for field in org.describe("Contact")["fields"]}
    assert "MobilePhone" not in names
    error = refusal(lambda: org.query("SELECT Id, MobilePhone FROM Contact"))
    assert (error.code, "No such column 'MobilePhone' on entity 'Contact'." in error.message) == (
        "INVALID_FIELD",
        True,
    )
    assert code(lambda: org.query("SELECT Id FROM Contact WHERE MobilePhone = '1'"))[0] == "INVALID_FIELD"
    assert code(lambda: org.query("SELECT Account.Name FROM Contact"))[0] == "INVALID_FIELD"
    assert code(lambda: org.update("Contact", record, {"MobilePhone": "2"}))[0] == "INVALID_FIELD"
    assert "MobilePhone" not in org.get("Contact", record)
    org.show("Contact", "MobilePhone")
    assert org.get("Contact", record)["MobilePhone"] == "1"


def test_hidden_objects_are_not_there(org: Org) -> None:
    org.hide("Opportunity")
    assert "Opportunity" not in {each["name"] for each in org.describe_global()["sobjects"]}
    assert code(lambda: org.describe("Opportunity"))[0] == "NOT_FOUND"
    assert code(lambda: org.query("SELECT Id FROM Opportunity"))[0] == "INVALID_TYPE"
    assert code(lambda: org.create("Opportunity", {}))[0] == "NOT_FOUND"


# --- stamps, deletes, merges


def test_every_change_moves_the_stamp(org: Org, clock: Clock) -> None:
    record = contact(org)
    assert stamp(org, "Contact", record) == "2026-05-07T22:07:19.000+0000"
    now = ""
    for change in (
        partial(org.update, fields={"Title": "x"}),
        org.delete,
        org.undelete,
    ):
        now = clock.tick(1)
        change("Contact", record)
        assert stamp(org, "Contact", record) == now
    made = org.get("Contact", record)
    assert (made["CreatedDate"], made["LastModifiedDate"]) == ("2026-05-07T22:07:19.000+0000", now)


def test_the_deleted_are_seen_by_query_all_until_purged(org: Org) -> None:
    kept, gone = contact(org), contact(org)
    org.delete("Contact", gone)
    assert ids(org, "Contact") == [kept]
    assert org.count("SELECT COUNT() FROM Contact", deleted=True) == 2
    (found,) = org.query("SELECT Id, MasterRecordId FROM Contact WHERE IsDeleted = true", deleted=True)
    assert (found["Id"], found["MasterRecordId"]) == (gone, None)
    assert code(lambda: org.delete("Contact", gone))[0] == "ENTITY_IS_DELETED"
    assert code(lambda: org.purge("Contact", kept))[0] == "DELETE_FAILED"
    org.purge("Contact", gone)
    assert ids(org, "Contact", deleted=True) == [kept]
    assert code(lambda: org.undelete("Contact", gone))[0] == "INVALID_CROSS_REFERENCE_KEY"


def test_an_account_takes_its_records_along_and_back(org: Org, clock: Clock) -> None:
    account = org.create("Account", {"Name": "Acme"})
    first, second = contact(org, AccountId=account), contact(org, AccountId=account)
    task = org.create("Task", {"WhoId": first})
    org.delete("Contact", second)
    clock.tick()
    org.delete("Account", account)
    assert ids(org, "Contact") == ids(org, "Task") == []
    (parent,) = org.query(f"SELECT Account.Name FROM Contact WHERE Id = '{first}'", deleted=True)
    assert parent["Account"]["Name"] == "Acme"
    now = clock.tick()
    org.undelete("Account", account)
    assert (ids(org, "Contact"), ids(org, "Task")) == ([first], [task])
    assert stamp(org, "Task", task) == now


def test_a_deleted_parent_is_null(org: Org) -> None:
    boss = contact(org)
    contact(org, ReportsToId=boss)
    org.delete("Contact", boss)
    (found,) = org.query("SELECT ReportsTo.Name FROM Contact")
    assert found["ReportsTo"] is None
    assert org.count("SELECT COUNT() FROM Contact WHERE ReportsTo.Name = null") == 1
    assert code(lambda: contact(org, ReportsToId=boss)) == ("ENTITY_IS_DELETED", ("ReportsToId",))


def test_a_merge_names_the_master_and_moves_the_children(org: Org, clock: Clock) -> None:
    master, loser = org.create("Account", {"Name": "A"}), org.create("Account", {"Name": "B"})
    mine, child = contact(org, AccountId=master), contact(org, AccountId=loser)
    before = stamp(org, "Contact", mine)
    now = clock.tick()
    org.merge("Account", master, loser)
    (found,) = org.query(
        "SELECT Id, MasterRecordId, SystemModstamp FROM Account WHERE IsDeleted = true", deleted=True
    )
    assert (found["Id"], found["MasterRecordId"], found["SystemModstamp"]) == (loser, master, now)
    moved = org.get("Contact", child)
    assert (moved["AccountId"], moved["SystemModstamp"]) == (master, now)
    assert (stamp(org, "Account", master), stamp(org, "Contact", mine)) == (now, before)
    assert [
        each["id"]
        for each in org.deleted("Account", START, clock.now + timedelta(minutes=2))["deletedRecords"]
    ] == [loser]
    org.undelete("Account", loser)
    assert org.get("Account", loser)["MasterRecordId"] is None
    assert org.get("Contact", child)["AccountId"] == master


def test_merges_that_cannot_be_are_refused(org: Org) -> None:
    one, two, three, four = (contact(org) for _ in range(4))
    assert code(lambda: org.merge("Contact", one, two, three, four))[0] == "INVALID_OPERATION"
    assert code(lambda: org.merge("Contact", one))[0] == "INVALID_OPERATION"
    assert code(lambda: org.merge("Contact", one, two, one))[0] == "INVALID_ID_FIELD"
    assert ids(org, "Contact") == [one, two, three, four]
    org.merge("Contact", one, two, three)
    assert code(lambda: org.merge("Contact", one, two))[0] == "ENTITY_IS_DELETED"


def test_a_lead_is_converted(org: Org, clock: Clock) -> None:
    lead = org.create(
        "Lead", {"LastName": "Cem", "Company": "C Ltd", "Phone": "123", "Email": "c@example.com"}
    )
    task = org.create("Task", {"WhoId": lead})
    now = clock.tick()
    made = org.convert(lead)
    found = org.get("Lead", lead)
    assert (found["IsConverted"], found["ConvertedContactId"], found["SystemModstamp"]) == (True, made, now)
    person = org.get("Contact", made)
    assert (person["Name"], person["Phone"], person["AccountId"]) == (
        "Cem",
        "123",
        found["ConvertedAccountId"],
    )
    assert org.get("Task", task)["WhoId"] == made
    assert code(lambda: org.update("Lead", lead, {"Title": "x"}))[0] == "CANNOT_UPDATE_CONVERTED_LEAD"
    assert code(lambda: org.convert(lead))[0] == "CANNOT_UPDATE_CONVERTED_LEAD"
    other = org.create("Lead", {"LastName": "Dora", "Company": "D"})
    assert org.convert(other, made) == made


def test_a_task_is_about_a_lead_or_something_else(org: Org) -> None:
    lead = org.create("Lead", {"LastName": "Cem", "Company": "C"})
    account = org.create("Account", {"Name": "A"})
    assert code(lambda: org.create("Task", {"WhoId": lead, "WhatId": account})) == (
        "FIELD_INTEGRITY_EXCEPTION",
        ("WhatId",),
    )
    task = org.create("Task", {"WhoId": lead})
    assert code(lambda: org.update("Task", task, {"WhatId": account}))[0] == "FIELD_INTEGRITY_EXCEPTION"
    record = contact(org, AccountId=account)
    call = org.create("Task", {"WhoId": record, "TaskSubtype": "Call", "CallType": "Inbound"})
    assert org.get("Task", call)["AccountId"] == account


def test_a_finished_task_moves_the_stamp_of_its_person(org: Org, clock: Clock) -> None:
    record = contact(org)
    before = stamp(org, "Contact", record)
    now = clock.tick()
    task = org.create("Task", {"WhoId": record, "ActivityDate": "2026-05-07"})
    assert stamp(org, "Contact", record) == before
    org.update("Task", task, {"Status": "Completed"})
    found = org.get("Contact", record)
    assert (found["LastActivityDate"], found["SystemModstamp"], found["LastModifiedDate"]) == (
        "2026-05-07",
        now,
        before,
    )


# --- windows


def test_deletes_and_changes_are_told_by_minute(org: Org, clock: Clock) -> None:
    kept, gone, purged, back = (contact(org) for _ in range(4))
    clock.now = datetime(2026, 5, 7, 22, 10, 30, tzinfo=UTC)
    for each in (gone, purged, back):
        org.delete("Contact", each)
    org.purge("Contact", purged)
    org.undelete("Contact", back)
    org.update("Contact", kept, {"Title": "x"})
    clock.now = datetime(2026, 5, 7, 22, 20, 30, tzinfo=UTC)
    window = (datetime(2026, 5, 7, 22, 10, 59, tzinfo=UTC), datetime(2026, 5, 7, 22, 11, 1, tzinfo=UTC))
    told = org.deleted("Contact", *window)
    assert told == {
        "deletedRecords": [
            {"deletedDate": "2026-05-07T22:10:30.000+0000", "id": gone},
            {"deletedDate": "2026-05-07T22:10:30.000+0000", "id": purged},
        ],
        "earliestDateAvailable": "2026-04-22T22:20:30.000+0000",
        "latestDateCovered": "2026-05-07T22:11:00.000+0000",
    }
    assert org.updated("Contact", *window) == {
        "ids": [kept, back],
        "latestDateCovered": "2026-05-07T22:11:00.000+0000",
    }
    clock.now = datetime(2026, 5, 7, 22, 11, tzinfo=UTC)
    contact(org)
    assert org.updated("Contact", *window)["ids"] == [kept, back]
    clock.now = datetime(2026, 5, 7, 22, 20, 30, tzinfo=UTC)
    later = (window[1] + timedelta(minutes=1), clock.now)
    assert org.deleted("Contact", *later)["deletedRecords"] == org.updated("Contact", *later)["ids"] == []


def test_windows_have_their_limits(org: Org, clock: Clock) -> None:
    now, day = clock.now, timedelta(days=1)
    for start, end in (
        (now, now),
        (now, now - day),
        (now, now + timedelta(seconds=30)),
        (now + day, now + 2 * day),
    ):
        for ask in (org.deleted, org.updated):
            assert code(partial(ask, "Contact", start, end))[0] == "INVALID_REPLICATION_DATE"
    org.deleted("Contact", now - 15 * day, now)
    org.updated("Contact", now - 30 * day, now)
    assert code(lambda: org.deleted("Contact", now - 16 * day, now))[0] == "INVALID_REPLICATION_DATE"
    assert code(lambda: org.updated("Contact", now - 31 * day, now))[0] == "INVALID_REPLICATION_DATE"


# --- transactions


def test_a_transaction_is_seen_at_its_end_with_its_own_stamps(org: Org, clock: Clock) -> None:
    record = contact(org)
    now = clock.tick()
    with org.transaction():
        org.update("Contact", record, {"Title": "late"})
        made = contact(org, Title="new")
        org.update("Contact", made, {"Title": "newer"})
        end = clock.tick(600)
        assert [each["Title"] for each in org.query("SELECT Title FROM Contact")] == [None]
        assert org.updated("Contact", START, clock.now)["latestDateCovered"] == now
    seen = org.query("SELECT Title, SystemModstamp FROM Contact")
    assert [(each["Title"], each["SystemModstamp"]) for each in seen] == [("late", now), ("newer", now)]
    assert org.updated("Contact", START, clock.now)["latestDateCovered"][:16] == end[:16]


def test_others_write_meanwhile_but_not_the_same_rows(org: Org) -> None:
    mine, other = contact(org), contact(org)
    said: list[str] = []

    def meanwhile() -> None:
        org.update("Contact", other, {"Title": "meanwhile"})
        said.append(code(lambda: org.update("Contact", mine, {"Title": "no"}))[0])
        said.append(code(lambda: org.delete("Contact", mine))[0])
        said.append(code(lambda: contact(org, Ostiary_Id__c="ABC"))[0])

    with org.transaction():
        org.update("Contact", mine, {"Title": "late"})
        contact(org, Ostiary_Id__c="abc")
        thread = threading.Thread(target=meanwhile)
        thread.start()
        thread.join()
        assert [each["Title"] for each in org.query("SELECT Title FROM Contact")] == [None, "meanwhile"]
    assert said == ["UNABLE_TO_LOCK_ROW"] * 3
    assert [each["Title"] for each in org.query("SELECT Title FROM Contact")] == ["late", "meanwhile", None]


def test_an_exception_undoes_a_transaction(org: Org) -> None:
    record = contact(org)

    def fail() -> None:
        with org.transaction():
            org.delete("Contact", record)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert ids(org, "Contact") == [record]
    org.delete("Contact", record)


def test_a_refusal_within_a_transaction_undoes_only_itself(org: Org) -> None:
    with org.transaction():
        contact(org, Ostiary_Id__c="a")
        assert code(lambda: contact(org, Ostiary_Id__c="a"))[0] == "DUPLICATE_VALUE"
        contact(org, Ostiary_Id__c="b")
    assert len(ids(org, "Contact")) == 2


# --- reading while it changes, many records


def many(count: int) -> Iterator[dict[str, Any]]:
    return (
        {"LastName": f"P {place}", "Phone": f"+4930{place:07}", "VIP__c": place % 2 == 0}
        for place in range(count)
    )


def test_what_is_read_is_of_one_moment(org: Org) -> None:
    made = org.load("Contact", many(5000))
    header, rows = org.rows("SELECT Id, Title FROM Contact")
    records = org.query("SELECT Id, Title FROM Contact")
    next(rows)
    for record in (made[1], made[4999]):
        org.update("Contact", record, {"Title": "changed"})
    org.delete("Contact", made[2500])
    assert [row for row in rows if row[1]] == []
    found = list(records)
    assert [record for record in found if record["Title"]] == []
    assert (header, [record["Id"] for record in found]) == (["Id", "Title"], made)
    assert org.count("SELECT COUNT() FROM Contact WHERE Title = 'changed'") == 2


def test_answers_nobody_reads_to_the_end_cost_no_connection(org: Org) -> None:
    org.load("Contact", many(2500))
    idle = org._store._idle
    for ask in (org.query, lambda soql: org.rows(soql)[1]):
        for steps in range(2):
            answer = ask("SELECT Id FROM Contact")
            for _ in range(steps):
                next(answer)
            del answer
            gc.collect()
            assert len(idle) == 1


def test_loaded_records_are_like_others(org: Org, clock: Clock) -> None:
    old = datetime(2020, 1, 1, tzinfo=UTC)
    (record,) = org.load(
        "Contact", [{"FirstName": "A", "LastName": "B", "SystemModstamp": old, "CreatedDate": old}]
    )
    made = contact(org, FirstName="A", LastName="B")
    loaded, other = org.get("Contact", record), org.get("Contact", made)
    assert loaded.pop("SystemModstamp") == loaded.pop("CreatedDate") == "2020-01-01T00:00:00.000+0000"
    assert loaded == {name: value for name, value in other.items() if name in loaded} | {
        "Id": record, "attributes": loaded["attributes"],
    }  # fmt: skip
    clock.tick()
    org.update("Contact", record, {"Title": "x"})
    for row in ({"Nope": 1}, {"LastName": "x" * 81}):
        assert code(partial(org.load, "Contact", [row]))[0] in {"INVALID_FIELD", "STRING_TOO_LONG"}


def test_what_changed_is_found_by_an_index(org: Org) -> None:
    soql = (
        "SELECT Id, Account.Name, Owner.Email FROM Contact WHERE SystemModstamp >= 2026-05-07T22:00:00Z"
        " AND VIP__c = true ORDER BY SystemModstamp, Id LIMIT 2000"
    )
    for deleted in (False, True):
        statement = org._compile(soql, deleted=deleted)
        plan = " ".join(
            row["detail"] for row in org._store.rows(f"EXPLAIN QUERY PLAN {statement.sql}", statement.values)
        )
        assert "SEARCH t USING INDEX Contact.stamp" in plan
        assert "TEMP B-TREE" not in plan
        assert "SCAN" not in plan


def test_threads_may_do_as_they_like(org: Org) -> None:
    wrong: list[BaseException] = []
    done = threading.Event()

    def write(number: int) -> None:
        try:
            for place in range(40):
                key = f"{number % 2}-{place}"
                org.upsert("Contact", "Ostiary_Id__c", key, {"LastName": key, "Title": str(number)})
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test shows it
            wrong.append(error)

    def look() -> None:
        try:
            while not done.is_set():
                seen = len(ids(org, "Contact"))
                assert seen <= org.count("SELECT COUNT() FROM Contact")
                time.sleep(0)
        except BaseException as error:  # noqa: BLE001
            wrong.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    reader = threading.Thread(target=look)
    for thread in (*writers, reader):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert wrong == []
    assert len(ids(org, "Contact")) == 80


# --- fields


def test_fields_are_described_as_they_are(org: Org) -> None:
    fields = {field["name"]: field for field in org.describe("Contact")["fields"]}
    for name in ("Phone", "MobilePhone", "HomePhone", "OtherPhone", "AssistantPhone", "Fax"):
        assert (fields[name]["type"], fields[name]["length"]) == ("phone", 40)
    key = fields["Ostiary_Id__c"]
    assert (key["externalId"], key["unique"], key["idLookup"], key["custom"], key["length"]) == (
        True,
        True,
        True,
        True,
        64,
    )
    assert (fields["OwnerId"]["referenceTo"], fields["OwnerId"]["relationshipName"]) == (["User"], "Owner")
    assert (fields["LastName"]["nillable"], fields["Name"]["createable"], fields["Email"]["idLookup"]) == (
        False,
        False,
        True,
    )
    owner = next(field for field in org.describe("Lead")["fields"] if field["name"] == "OwnerId")
    assert (owner["referenceTo"], owner["polymorphicForeignKey"]) == (["Group", "User"], True)


@pytest.mark.parametrize(("kind", "value", "more"), [
    ("phone", "+49 30 1", {}),
    ("string", "x", {"default": "y"}),
    ("boolean", True, {}),
    ("double", 1.25, {"scale": 2}),
    ("date", "2026-01-02", {}),
    ("datetime", "2026-01-02T03:04:05.000+0000", {}),
])  # fmt: skip
def test_a_field_may_be_added_later(org: Org, kind: str, value: Any, more: dict[str, Any]) -> None:
    before = contact(org)
    org.add_field("Contact", "More__c", kind, **more)
    after = contact(org, More__c=value)
    default = more.get("default", False if kind == "boolean" else None)
    found = [each["More__c"] for each in org.query("SELECT More__c FROM Contact ORDER BY Id")]
    assert found == [default, value]
    assert org.get("Contact", contact(org))["More__c"] == default
    assert before < after
    field = next(each for each in org.describe("Contact")["fields"] if each["name"] == "More__c")
    assert (field["type"], field["label"], field["custom"]) == (kind, "More", True)


def test_labels_are_made_of_names() -> None:
    assert [Field(name=name, type="string").title for name in ("MobilePhone", "AccountId", "My_Phone__c")] == [
        "Mobile Phone", "Account ID", "My Phone",
    ]  # fmt: skip


# --- person accounts


def test_person_accounts_have_a_contact_in_hiding(clock: Clock) -> None:
    org = Org(person_accounts=True, now=clock)
    company = org.create("Account", {"Name": "Acme"})
    person = org.create(
        "Account", {"FirstName": "Ana", "LastName": "Muñoz", "PersonMobilePhone": "1", "Phone": "2"}
    )
    made = org.get("Account", person)
    assert (made["Name"], made["IsPersonAccount"], org.get("Account", company)["IsPersonAccount"]) == (
        "Ana Muñoz",
        True,
        False,
    )
    hidden = org.get("Contact", made["PersonContactId"])
    assert (hidden["Name"], hidden["MobilePhone"], hidden["Phone"], hidden["AccountId"]) == (
        "Ana Muñoz",
        "1",
        "2",
        person,
    )
    assert (hidden["IsPersonAccount"], ids(org, "Contact")) == (True, [hidden["Id"]])
    now = clock.tick()
    org.update("Account", person, {"LastName": "Ñu", "PersonMobilePhone": "3"})
    hidden = org.get("Contact", hidden["Id"])
    assert (hidden["Name"], hidden["MobilePhone"], hidden["SystemModstamp"]) == ("Ana Ñu", "3", now)
    refused = [
        lambda: org.create("Account", {"LastName": "x", "Name": "y"}),
        lambda: org.update("Account", person, {"Name": "y"}),
        lambda: org.update("Account", company, {"LastName": "y"}),
        lambda: org.update("Contact", hidden["Id"], {"Title": "y"}),
        lambda: org.delete("Contact", hidden["Id"]),
        lambda: org.update("Account", person, {"LastName": None}),
        lambda: org.create("Account", {}),
    ]
    codes = [code(do)[0] for do in refused]
    assert codes[:3] == ["INVALID_FIELD_FOR_INSERT_UPDATE"] * 3
    assert codes[3:] == ["INVALID_PERSON_ACCOUNT_OPERATION"] * 2 + ["REQUIRED_FIELD_MISSING"] * 2
    org.delete("Account", person)
    assert ids(org, "Contact") == []
    org.close()


def test_a_closed_org_leaves_nothing_behind() -> None:
    org = Org()
    path = org._store.path
    assert path.exists()
    answer = org.query("SELECT Id FROM User")
    org.close()
    assert not path.parent.exists()
    assert len(list(answer)) == 1
