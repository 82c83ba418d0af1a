"""The standard objects with their real field names, as far as a telephone system meets them.

Names, types, lengths and the read-only marks follow the Object Reference of the Salesforce Platform; phone
fields are text of 40 characters. Fields of person accounts exist only where an org has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from tests.org.fields import (
    Field,
    SObject,
    checkbox,
    number,
    phone,
    picklist,
    plain,
    read_only,
    reference,
    text,
)
from tests.org.ids import PREFIXES

# What the Name object has: all that may be asked of a parent that can be of several objects.
NAME_FIELDS: Final = frozenset(
    {
        "Id",
        "Name",
        "FirstName",
        "LastName",
        "Email",
        "Phone",
        "Title",
        "Username",
        "Alias",
        "IsActive",
        "Type",
    }
)
# Whose end takes whose records along: (object, reference field of the child's object, child's object).
CASCADES: Final = (
    ("Account", "AccountId", "Contact"), ("Account", "AccountId", "Opportunity"), ("Account", "WhatId", "Task"),
    ("Opportunity", "WhatId", "Task"), ("Contact", "WhoId", "Task"), ("Lead", "WhoId", "Task"),
)  # fmt: skip
ADDRESS_PARTS: Final = (("Street", 255), ("City", 40), ("State", 80), ("PostalCode", 20), ("Country", 80))
# Field of a person account: field of its hidden contact.
PERSON_FIELDS: Final = {
    "FirstName": "FirstName", "LastName": "LastName", "Salutation": "Salutation", "Phone": "Phone", "Fax": "Fax",
    "PersonMobilePhone": "MobilePhone", "PersonHomePhone": "HomePhone", "PersonOtherPhone": "OtherPhone",
    "PersonAssistantPhone": "AssistantPhone", "PersonEmail": "Email", "PersonTitle": "Title", "OwnerId": "OwnerId",
}  # fmt: skip


def _stamps(*, deletable: bool = True, owner: tuple[str, ...] = ("User",)) -> list[Field]:
    """List what Salesforce itself keeps of a record."""
    made = [reference("OwnerId", *owner, nillable=False, defaulted=True)] if owner else []
    system = [
        plain("CreatedDate", "datetime", nillable=False, defaulted=True),
        reference("CreatedById", "User", nillable=False, defaulted=True),
        plain("LastModifiedDate", "datetime", nillable=False, defaulted=True),
        reference("LastModifiedById", "User", nillable=False, defaulted=True),
        plain("SystemModstamp", "datetime", nillable=False, defaulted=True),
    ]
    if deletable:
        system.insert(0, checkbox("IsDeleted", label="Deleted"))
    return made + [read_only(each) for each in system]


def _id(label: str) -> Field:
    return read_only(
        plain("Id", "id", length=18, label=label, nillable=False, defaulted=True, id_lookup=True),
    )


def _address(prefix: str) -> list[Field]:
    whole = f"{prefix}Address"
    parts = [
        text(prefix + part, length, "textarea" if part == "Street" else "string", compound=whole)
        for part, length in ADDRESS_PARTS
    ]
    return [*parts, read_only(plain(whole, "address"))]


def _person_name(*, required: bool = True) -> list[Field]:
    return [
        text("LastName", 80, nillable=not required, compound="Name"),
        text("FirstName", 40, compound="Name"),
        picklist("Salutation", "Mr.", "Ms.", "Mrs.", "Dr.", "Prof.", "Mx.", length=40, compound="Name"),
        read_only(text("Name", 121, label="Full Name", nillable=False)),
    ]


def _marks() -> list[Field]:
    """List the fields that Ostiary asks an admin to add."""
    return [checkbox("Blacklisted__c"), checkbox("VIP__c", label="VIP")]


def _key() -> Field:
    return text("Ostiary_Id__c", 64, label="Ostiary Id", external_id=True, unique=True, id_lookup=True)


def _account() -> list[Field]:
    return [
        _id("Account ID"),
        read_only(reference("MasterRecordId", "Account")),
        text("Name", label="Account Name", nillable=False),
        picklist("Type", "Prospect", "Customer - Direct", "Other", length=40, label="Account Type"),
        reference("ParentId", "Account", label="Parent Account ID"),
        *_address("Billing"),
        *_address("Shipping"),
        phone("Phone", label="Account Phone"),
        phone("Fax", label="Account Fax"),
        text("AccountNumber", 40),
        text("Website", 255, "url"),
        picklist("Industry", "Banking", "Technology", "Other", length=40),
        number("AnnualRevenue", 18, 0, "currency"),
        number("NumberOfEmployees", 8, 0, "int", label="Employees"),
        text("Description", 32000, "textarea", label="Account Description"),
        picklist("AccountSource", "Web", "Phone Inquiry", "Other", length=40),
        read_only(plain("LastActivityDate", "date", label="Last Activity")),
        *_marks(),
        *_stamps(),
    ]


def _contact() -> list[Field]:
    return [
        _id("Contact ID"),
        read_only(reference("MasterRecordId", "Contact")),
        reference("AccountId", "Account"),
        *_person_name(),
        *_address("Other"),
        *_address("Mailing"),
        phone("Phone", label="Business Phone"),
        phone("Fax", label="Business Fax"),
        phone("MobilePhone"),
        phone("HomePhone"),
        phone("OtherPhone"),
        phone("AssistantPhone", label="Asst. Phone"),
        reference("ReportsToId", "Contact"),
        text("Email", 80, "email", id_lookup=True),
        text("Title", 128),
        text("Department", 80),
        text("AssistantName", 40),
        picklist("LeadSource", "Web", "Phone Inquiry", "Other"),
        plain("Birthdate", "date"),
        text("Description", 32000, "textarea", label="Contact Description"),
        checkbox("HasOptedOutOfEmail", label="Email Opt Out"),
        checkbox("DoNotCall"),
        read_only(plain("LastActivityDate", "date", label="Last Activity")),
        text("EmailBouncedReason"),
        plain("EmailBouncedDate", "datetime"),
        _key(),
        *_marks(),
        *_stamps(),
    ]


def _lead() -> list[Field]:
    statuses = ("Open - Not Contacted", "Working - Contacted", "Closed - Converted", "Closed - Not Converted")
    return [
        _id("Lead ID"),
        read_only(reference("MasterRecordId", "Lead")),
        *_person_name(),
        text("Title", 128),
        text("Company", nillable=False),
        text("Street", 255, "textarea", compound="Address"),
        *[text(part, length, compound="Address") for part, length in ADDRESS_PARTS[1:]],
        read_only(plain("Address", "address")),
        phone("Phone"),
        phone("MobilePhone"),
        phone("Fax"),
        text("Email", 80, "email", id_lookup=True),
        text("Website", 255, "url"),
        text("Description", 32000, "textarea"),
        picklist("LeadSource", "Web", "Phone Inquiry", "Other"),
        picklist("Status", *statuses, nillable=False, default=statuses[0], defaulted=True),
        picklist("Industry", "Banking", "Technology", "Other"),
        picklist("Rating", "Hot", "Warm", "Cold"),
        checkbox("DoNotCall"),
        read_only(checkbox("IsConverted", label="Converted")),
        read_only(plain("ConvertedDate", "date")),
        read_only(reference("ConvertedAccountId", "Account")),
        read_only(reference("ConvertedContactId", "Contact")),
        read_only(reference("ConvertedOpportunityId", "Opportunity")),
        read_only(plain("LastActivityDate", "date", label="Last Activity")),
        _key(),
        *_marks(),
        *_stamps(owner=("Group", "User")),
    ]


def _opportunity() -> list[Field]:
    stages = ("Prospecting", "Qualification", "Closed Won", "Closed Lost")
    return [
        _id("Opportunity ID"),
        reference("AccountId", "Account"),
        text("Name", 120, nillable=False, id_lookup=True),
        text("Description", 32000, "textarea"),
        picklist("StageName", *stages, label="Stage", nillable=False),
        number("Amount", 18, 2, "currency"),
        number("Probability", 3, 0, "percent", label="Probability (%)"),
        plain("CloseDate", "date", nillable=False),
        picklist("Type", "New Customer", "Existing Customer - Upgrade", label="Opportunity Type"),
        text("NextStep"),
        picklist("LeadSource", "Web", "Phone Inquiry", "Other"),
        read_only(checkbox("IsClosed", label="Closed")),
        read_only(checkbox("IsWon", label="Won")),
        reference("ContactId", "Contact", relationship="Contact", updateable=False),
        read_only(plain("LastActivityDate", "date", label="Last Activity")),
        *_stamps(),
    ]


def _user() -> list[Field]:
    return [
        _id("User ID"),
        text("Username", 80, nillable=False, defaulted=True, id_lookup=True),
        *_person_name(),
        text("CompanyName", 80),
        text("Division", 80),
        text("Department", 80),
        text("Title", 80),
        *_address(""),
        text("Email", 128, "email", nillable=False, id_lookup=True),
        phone("Phone"),
        phone("Fax"),
        phone("MobilePhone", label="Mobile"),
        phone("Extension"),
        text("Alias", 8, nillable=False, defaulted=True),
        text("CommunityNickname", 40, label="Nickname", nillable=False, defaulted=True),
        checkbox("IsActive", default=True, label="Active"),
        picklist("TimeZoneSidKey", length=40, nillable=False, default="Europe/Berlin", defaulted=True),
        picklist("LocaleSidKey", length=40, nillable=False, default="en_US", defaulted=True),
        picklist("LanguageLocaleKey", length=40, nillable=False, default="en_US", defaulted=True),
        picklist("EmailEncodingKey", length=40, nillable=False, default="UTF-8", defaulted=True),
        picklist("UserType", "Standard", length=40, createable=False, updateable=False, default="Standard"),
        text("EmployeeNumber", 20),
        reference("ManagerId", "User"),
        text("FederationIdentifier", 512),
        *_stamps(deletable=False, owner=()),
    ]


def _group() -> list[Field]:
    return [
        _id("Group ID"),
        text("Name", 40, nillable=False),
        text("DeveloperName", 80, nillable=False, defaulted=True),
        reference("RelatedId", "User", createable=False, updateable=False),
        picklist("Type", "Regular", "Queue", length=40, default="Regular", defaulted=True, updateable=False),
        text("Email", 255, "email"),
        reference("OwnerId", "User", nillable=False, defaulted=True, createable=False, updateable=False),
        checkbox("DoesSendEmailToMembers", label="Send Email to Members"),
        checkbox("DoesIncludeBosses", default=True),
        *_stamps(deletable=False, owner=()),
    ]


def _task() -> list[Field]:
    subtypes = ("Task", "Email", "ListEmail", "Cadence", "Call", "LinkedIn")
    return [
        _id("Activity ID"),
        reference("WhoId", "Contact", "Lead", label="Name ID"),
        reference("WhatId", "Account", "Opportunity", label="Related To ID"),
        text("Subject", 255, "combobox"),
        plain("ActivityDate", "date", label="Due Date Only"),
        picklist("Status", "Not Started", "Completed", nillable=False, default="Not Started", defaulted=True),
        picklist("Priority", "High", "Normal", "Low", nillable=False, default="Normal", defaulted=True),
        read_only(checkbox("IsHighPriority")),
        text("Description", 32000, "textarea", label="Comments"),
        picklist("Type", "Call", "Email", "Meeting", "Other"),
        read_only(reference("AccountId", "Account")),
        read_only(checkbox("IsClosed", label="Closed")),
        number("CallDurationInSeconds", 8, 0, "int", label="Call Duration"),
        picklist("CallType", "Internal", "Inbound", "Outbound", length=40, restricted=True),
        text("CallDisposition", 255, label="Call Result"),
        text("CallObject", 255, label="Call Object Identifier"),
        picklist("TaskSubtype", *subtypes, length=40, restricted=True, updateable=False),
        read_only(plain("CompletedDateTime", "datetime")),
        *_stamps(owner=("Group", "User")),
    ]


def _organization() -> list[Field]:
    return [
        _id("Organization ID"),
        text("Name", 80, nillable=False),
        phone("Phone"),
        phone("Fax"),
        text("PrimaryContact", 80),
        picklist("LanguageLocaleKey", length=40),
        picklist("DefaultLocaleSidKey", length=40),
        picklist("OrganizationType", "Enterprise Edition", "Developer Edition", length=40, updateable=False),
        read_only(checkbox("IsSandbox")),
        text("InstanceName", 5, updateable=False),
        *_stamps(deletable=False, owner=()),
    ]


_OBJECTS: Final[dict[str, Callable[[], list[Field]]]] = {
    "Account": _account, "Contact": _contact, "Group": _group, "Lead": _lead, "Opportunity": _opportunity,
    "Organization": _organization, "Task": _task, "User": _user,
}  # fmt: skip


def _person_account(account: SObject, contact: SObject) -> None:
    account.add(
        [
            # A person account's name is made of its parts; a company's is not: so neither is required.
            text("Name", label="Account Name", compound="Name"),
            *_person_name(required=False)[:3],
            read_only(checkbox("IsPersonAccount")),
            read_only(reference("PersonContactId", "Contact", relationship="PersonContact")),
            phone("PersonMobilePhone", label="Mobile"),
            phone("PersonHomePhone", label="Home Phone"),
            phone("PersonOtherPhone", label="Other Phone"),
            phone("PersonAssistantPhone", label="Asst. Phone"),
            text("PersonEmail", 80, "email", label="Email"),
            text("PersonTitle", 80, label="Title"),
        ]
    )
    contact.add([read_only(checkbox("IsPersonAccount"))])


def standard(*, person_accounts: bool = False) -> dict[str, SObject]:
    """Make the objects of a fresh org, by name."""
    made = {}
    for name, fields in _OBJECTS.items():
        sobject = SObject(
            name,
            PREFIXES[name],
            deletable=name not in {"User", "Organization"},
            createable=name != "Organization",
            mergeable=name in {"Account", "Contact", "Lead"},
        )
        sobject.add(fields())
        made[name] = sobject
    if person_accounts:
        _person_account(made["Account"], made["Contact"])
    return made


def referrers(objects: Iterable[SObject], target: str) -> list[tuple[SObject, Field]]:
    """List the fields of all objects that may hold the id of a record of `target`."""
    return [
        (each, field)
        for each in objects
        for field in each.fields.values()
        if field.type == "reference" and target in field.reference_to
    ]
