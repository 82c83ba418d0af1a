"""Records as rows of the directory."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_server.salesforce.fields import Reading
from agi_server.salesforce.mapping import is_true, mapper, moment_of, owner, seconds_of, soql_time
from storage.contact_rows import ContactRow
from storage.sync import OwnerRow

CONTACT = Reading(
    "Contact", name="Name", first_name="FirstName", last_name="LastName", email="Email", account_id="AccountId",
    account_name="Account.Name", owner_id="OwnerId", active_at="LastActivityDate", active_else="LastModifiedDate",
    vip="VIP__c", phones=("Phone", "Direct__c"),
)  # fmt: skip
ANA = ContactRow(
    salesforce_id="003000000000001AAA", kind="Contact", name="Ana Muñoz", first_name="Ana", last_name="Muñoz",
    email="ana@example.com", account_salesforce_id="001000000000001AAA", account="Acme",
    owner_salesforce_id="005000000000001AAA", vip=True, active_at=calendar.timegm((2026, 5, 1, 0, 0, 0)),
    phones=(("Phone", "+49 30 1"), ("Direct__c", "030 2")),
)  # fmt: skip
CSV = {
    "Id": "003000000000001AAA", "Name": "Ana Muñoz", "FirstName": "Ana", "LastName": "Muñoz",
    "Email": "ana@example.com", "AccountId": "001000000000001AAA", "Account.Name": "Acme",
    "OwnerId": "005000000000001AAA", "LastActivityDate": "2026-05-01", "VIP__c": "true",
    "LastModifiedDate": "2026-05-02T10:00:00.000Z", "Phone": "+49 30 1", "Direct__c": "030 2",
}  # fmt: skip
REST: dict[str, Any] = {name: value for name, value in CSV.items() if name != "Account.Name"} | {
    "attributes": {"type": "Contact", "url": "/x"},
    "Account": {"attributes": {"type": "Account", "url": "/y"}, "Name": "Acme"},
    "VIP__c": True,
    "LastModifiedDate": "2026-05-02T10:00:00.000+0000",
}


@pytest.mark.parametrize("record", [CSV, REST])
def test_a_record_of_bulk_and_of_rest_is_the_same_row(record: dict[str, Any]) -> None:
    assert mapper(CONTACT)(record) == ANA


@pytest.mark.parametrize(
    "record",
    [dict.fromkeys(CSV, "") | {"Id": "x"}, dict.fromkeys(REST) | {"Id": "x"}],
)
def test_nothing_is_nothing(record: dict[str, Any]) -> None:
    row = mapper(CONTACT)(record)
    assert (row.name, row.email, row.account, row.account_salesforce_id, row.owner_salesforce_id) == ("",) * 5
    assert row.phones == ()
    assert row.active_at == 0
    assert not row.vip


def test_a_record_without_activity_is_as_active_as_its_last_change() -> None:
    row = mapper(CONTACT)(CSV | {"LastActivityDate": ""})
    assert row.active_at == calendar.timegm((2026, 5, 2, 10, 0, 0))


def test_fields_that_are_not_read_leave_what_is_stored() -> None:
    row = mapper(Reading("Contact", name="Name", phones=("Phone",)))(CSV)
    assert row == ContactRow(
        salesforce_id=ANA.salesforce_id, name="Ana Muñoz", vip=None, phones=(("Phone", "+49 30 1"),)
    )


def test_another_field_for_the_name_and_the_usual_one_where_it_is_empty() -> None:
    make = mapper(Reading("Contact", name="Nickname__c", name_else="Name"))
    assert make(CSV | {"Nickname__c": "Anita"}).name == "Anita"
    assert make(CSV | {"Nickname__c": ""}).name == "Ana Muñoz"


def test_text_is_one_line() -> None:
    make = mapper(Reading("Lead", name="Name", account_name="Company"))
    row = make({"Id": "x", "Name": "Ana\nHANGUP\r", "Company": "\u200eAcme\tInc "})
    assert (row.kind, row.name, row.account) == ("Lead", "Ana HANGUP", "Acme Inc")


@pytest.mark.parametrize(
    ("value", "typed"),
    [("+49 30 1 \ud83d", "+49 30 1 ?"), (493012345.0, "493012345"), (493012345, "493012345"), (True, "True")],
)
def test_a_number_field_of_any_type_holds_text_that_can_be_stored(value: object, typed: str) -> None:
    row = mapper(CONTACT)(REST | {"Phone": value, "Direct__c": None})
    assert row.phones == (("Phone", typed),)
    row.phones[0][1].encode()


def test_half_a_character_is_left_out() -> None:
    assert mapper(CONTACT)(REST | {"Name": "Ana \ud83d\udc4d"[:5]}).name == "Ana"


@pytest.mark.parametrize("value", [5.0, True, {"city": "Porto"}])
def test_what_is_no_date_is_none(value: object) -> None:
    assert mapper(CONTACT)(REST | {"LastActivityDate": value}).active_at == 0


PERSON = Reading(
    "Account", name="Name", first_name="FirstName", last_name="LastName", email="PersonEmail",
    person="IsPersonAccount", person_contact="PersonContactId", phones=("Phone", "PersonMobilePhone"),
)  # fmt: skip


@pytest.mark.parametrize("yes", [True, "true"])
def test_a_person_account_is_the_contact_behind_it(yes: object) -> None:
    row = mapper(PERSON)(
        {
            "Id": "001000000000009AAA", "IsPersonAccount": yes, "PersonContactId": "003000000000009AAA",
            "Name": "Bea Costa", "FirstName": "Bea", "LastName": "Costa", "PersonEmail": "bea@example.com",
            "Phone": "", "PersonMobilePhone": "+351 1",
        }
    )  # fmt: skip
    assert row == ContactRow(
        salesforce_id="003000000000009AAA", kind="Contact", name="Bea Costa", first_name="Bea", last_name="Costa",
        email="bea@example.com", phones=(("PersonMobilePhone", "+351 1"),),
    )  # fmt: skip


@pytest.mark.parametrize("no", [False, "false"])
def test_a_company_is_one(no: object) -> None:
    row = mapper(PERSON)(
        {"Id": "001000000000009AAA", "IsPersonAccount": no, "PersonContactId": None, "Name": "Acme"}
    )
    assert (row.salesforce_id, row.kind, row.name) == ("001000000000009AAA", "Account", "Acme")


def test_owners() -> None:
    assert owner({"Id": "005", "Name": "Ana M", "Email": "Ana@Example.COM"}) == OwnerRow(
        "005", "Ana M", "ana@example.com"
    )
    assert owner({"Id": "00G", "Name": "Queue"}) == OwnerRow("00G", "Queue", "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86400),
        ("1970-01-01T01:00:00.000Z", 3600),
        ("1970-01-01T01:00:00.000+0000", 3600),
        ("1970-01-01T01:00:00Z", 3600),
        ("1970-01-01T01:00:00.999+01:00", 0),
        ("1969-01-01", 0),
        ("", 0),
        (None, 0),
        ("soon", 0),
        ("2026-13-45", 0),
    ],
)
def test_dates(text: str | None, seconds: int) -> None:
    assert seconds_of(text) == seconds


@given(st.text())
def test_no_date_raises(text: str) -> None:
    assert seconds_of(text) >= 0


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  # bounds are naive
def test_times_come_back(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    assert moment_of(soql_time(moment)) == moment
    assert seconds_of(moment.strftime("%Y-%m-%dT%H:%M:%S.000+0000")) == moment.timestamp()


@pytest.mark.parametrize(
    ("value", "true"),
    [(True, True), ("true", True), (False, False), ("false", False), ("", False), (None, False)],
)
def test_checkboxes(value: object, true: bool) -> None:
    assert is_true(value) is true
