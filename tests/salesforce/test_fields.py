"""What is read of an object."""

from __future__ import annotations

from typing import Any

import pytest

from agi_server.salesforce.fields import Reading, plan, select, types_of
from agi_server.settings import Salesforce
from tests.org.records import Org

CONTACT = {
    "Id": "id", "IsDeleted": "boolean", "MasterRecordId": "reference", "AccountId": "reference", "LastName": "string",
    "FirstName": "string", "Name": "string", "Phone": "phone", "MobilePhone": "phone", "Email": "email",
    "OwnerId": "reference", "LastModifiedDate": "datetime", "SystemModstamp": "datetime", "LastActivityDate": "date",
}  # fmt: skip


def reading(
    types: dict[str, str] = CONTACT, *, names: bool = False, sobject: str = "Contact", **section: Any
) -> Reading:
    return plan(sobject, types, Salesforce.model_validate(section), account_names=names)


def test_what_a_contact_is_read_from() -> None:
    assert reading() == Reading(
        "Contact", name="Name", first_name="FirstName", last_name="LastName", email="Email", account_id="AccountId",
        owner_id="OwnerId", active_at="LastActivityDate", active_else="LastModifiedDate",
        phones=("Phone", "MobilePhone"), marks=("IsDeleted", "MasterRecordId"),
        columns=(
            "Id", "Name", "FirstName", "LastName", "Email", "AccountId", "OwnerId", "LastActivityDate",
            "LastModifiedDate", "Phone", "MobilePhone",
        ),
    )  # fmt: skip


def test_every_field_of_type_phone_is_read_and_what_the_settings_add() -> None:
    types = CONTACT | {"Fax": "phone", "Direct__c": "phone", "WhatsApp__c": "string", "Notes__c": "textarea"}
    found = reading(
        types,
        number_fields=["Contact.whatsapp__C", "Lead.Notes__c", "Contact.Phone"],
        ignored_fields=["Contact.FAX", "Lead.Phone"],
    )
    assert found.phones == ("Phone", "MobilePhone", "Direct__c", "WhatsApp__c")
    assert set(found.phones) < set(found.columns)
    assert "Fax" not in found.columns
    assert found.notes == ()


@pytest.mark.parametrize(
    "section",
    [
        {"number_fields": ["Contact.Gone__c"]},
        {"field_map": {"Contact.name": "Gone__c"}},
        {"field_map": {"Contact.active_at": "Gone__c"}},
    ],
)
def test_a_field_that_is_not_there_is_a_note(section: dict[str, Any]) -> None:
    found = reading(**section)
    [note] = found.notes
    assert f"Contact.Gone__c (salesforce.{next(iter(section))})" in note
    assert found == reading()


def test_a_field_that_can_hold_no_number_is_a_note() -> None:
    found = reading(CONTACT | {"MailingAddress": "address"}, number_fields=["Contact.MailingAddress"])
    assert "MailingAddress" not in found.columns
    assert "holds no number" in found.notes[0]


@pytest.mark.parametrize("hidden", [name for name in CONTACT if name not in {"Id", "SystemModstamp"}])
def test_a_hidden_field_is_not_asked_for(hidden: str) -> None:
    types = {name: kind for name, kind in CONTACT.items() if name != hidden}
    found = reading(types)
    assert hidden not in {*found.columns, *found.marks}
    assert set(found.columns) <= set(types)


def test_fields_in_the_place_of_others() -> None:
    found = reading(
        CONTACT | {"Nickname__c": "string", "Seen__c": "datetime"},
        field_map={"Contact.name": "nickname__c", "Contact.active_at": "Seen__c", "Lead.email": "Other__c"},
    )
    assert (found.name, found.name_else, found.active_at) == ("Nickname__c", "Name", "Seen__c")
    assert {"Nickname__c", "Name", "Seen__c"} < set(found.columns)


def test_without_a_last_activity_the_last_change_counts() -> None:
    types = {name: kind for name, kind in CONTACT.items() if name != "LastActivityDate"}
    assert (reading(types).active_at, reading(types).active_else) == ("LastModifiedDate", "")


def test_the_fields_that_mark_vips_and_blacklisted() -> None:
    found = reading(CONTACT | {"VIP__c": "boolean"}, vip_field="vip__c", blacklist_field="Spam__c")
    assert (found.vip, found.blacklist) == ("VIP__c", "")
    assert "VIP__c" in found.columns


def test_names_of_accounts_come_along_where_accounts_are_not_read() -> None:
    assert reading(names=True).account_name == "Account.Name"
    assert "Account.Name" in reading(names=True).columns
    hidden = {name: kind for name, kind in CONTACT.items() if name != "AccountId"}
    assert reading(hidden, names=True).account_name == ""


def test_a_lead_has_the_name_of_its_company_and_of_the_contact_it_became() -> None:
    types = CONTACT | {"Company": "string", "IsConverted": "boolean", "ConvertedContactId": "reference"}
    del types["AccountId"]
    found = reading(types, sobject="Lead")
    assert (found.account_name, found.converted, found.converted_contact) == (
        "Company",
        "IsConverted",
        "ConvertedContactId",
    )
    assert {"Company", "IsConverted", "ConvertedContactId"} < set(found.columns)


def test_the_filter_of_the_object() -> None:
    assert reading(filters={"Contact": "Title != null", "Lead": "x = 1"}).condition == "Title != null"
    assert reading(filters={"Lead": "x = 1"}).condition == ""


def test_only_what_may_be_queried_is_described() -> None:
    fields = [
        {"name": "Id", "type": "id"},
        {"name": "Old__c", "type": "phone", "deprecatedAndHidden": True},
        {"name": "Phone", "type": "phone", "deprecatedAndHidden": False},
    ]
    assert types_of({"queryable": True, "fields": fields}) == {"Id": "id", "Phone": "phone"}
    assert types_of({"queryable": False, "fields": fields}) == {}


@pytest.mark.parametrize("person_accounts", [False, True])
@pytest.mark.parametrize("sobject", ["Contact", "Account", "Lead"])
def test_what_is_planned_can_be_asked(sobject: str, person_accounts: bool) -> None:
    org = Org(person_accounts=person_accounts)
    try:
        found = plan(sobject, types_of(org.describe(sobject)), Salesforce(), account_names=True)
        header, rows = org.rows(select(sobject, found.columns))
        assert header == list(found.columns)
        assert list(rows) == []
        assert list(org.query(select(sobject, (*found.columns, *found.marks)), deleted=True)) == []
        assert bool(found.person) is (person_accounts and sobject != "Lead")
        assert bool(found.person_contact) is (person_accounts and sobject == "Account")
        assert ("PersonMobilePhone" in found.phones) is (person_accounts and sobject == "Account")
        assert found.notes == ()
    finally:
        org.close()


def test_an_object_without_numbers_has_no_phones() -> None:
    org = Org()
    try:
        assert plan("Opportunity", types_of(org.describe("Opportunity")), Salesforce()).phones == ()
    finally:
        org.close()


def test_soql() -> None:
    assert select("Lead", ("Id",)) == "SELECT Id FROM Lead"
    assert select("Lead", ("Id", "Name"), "", "A = 1 OR B = 2", "C = 3", order="Id") == (
        "SELECT Id, Name FROM Lead WHERE (A = 1 OR B = 2) AND (C = 3) ORDER BY Id"
    )
