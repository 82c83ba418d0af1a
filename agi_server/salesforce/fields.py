"""Which fields of an object are read, from what `describe` shows of it.

Invariant: only fields that describe names are asked for, so that a field which is hidden from the integration
user, or which the org does not have, is a note and never an error. Names are taken as describe writes them,
whatever their case in the settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from agi_server.settings import Salesforce

Types = Mapping[str, str]
"""What is kept of a describe: type by name of field."""

_NO_TEXT: Final = frozenset({"address", "location", "base64"})  # Bulk refuses them, and no number is in them

# our column → the fields it is usually read from, the first that is there
_USUAL: Final[Mapping[str, tuple[str, ...]]] = {
    "name": ("Name",),
    "first_name": ("FirstName",),
    "last_name": ("LastName",),
    "email": ("Email", "PersonEmail"),
    "active_at": ("LastActivityDate", "LastModifiedDate"),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read of one object; a field that is not there is ''.

    `columns` is what a full query selects, `marks` what a query of changes selects besides. `phones` hold
    numbers. `name_else` is read where `name` is empty, `active_else` where `active_at` is. `condition` is the
    admin's filter; contacts of persons are let through, for their accounts are what it is asked of.
    """

    sobject: str
    name: str = ""
    name_else: str = ""
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    account_id: str = ""
    account_name: str = ""
    owner_id: str = ""
    active_at: str = ""
    active_else: str = ""
    vip: str = ""
    do_not_call: str = ""
    blacklist: str = ""
    person: str = ""  # an Account that is a person, or the Contact that belongs to one
    person_contact: str = ""
    converted: str = ""  # a Lead that became a contact
    converted_contact: str = ""
    phones: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    condition: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)


def types_of(describe: Mapping[str, Any]) -> dict[str, str]:
    """Return the types of an object's fields; none of an object that cannot be queried.

    `describe` is the answer of "sObject Describe" (REST API Developer Guide).
    """
    if not describe.get("queryable", True):
        return {}
    return {
        entry["name"]: entry["type"] for entry in describe["fields"] if not entry.get("deprecatedAndHidden")
    }


def plan(sobject: str, types: Types, settings: Salesforce, *, account_names: bool = False) -> Reading:
    """Return what to read of Contact, Account, Lead or Opportunity; without `phones` it is not worth reading.

    `account_names`: read the names of accounts with the object, because not all accounts are read themselves.
    """
    there = {name.lower(): name for name in types}
    notes: list[str] = []

    def usual(column: str) -> str:
        mapped = settings.field_map.get(f"{sobject}.{column}", "")
        if mapped and mapped.lower() not in there:
            notes.append(f"{sobject}.{mapped} (salesforce.field_map) is not there, or hidden from us")
        wanted = ((mapped,) if mapped else ()) + _USUAL[column]
        return next((there[name.lower()] for name in wanted if name.lower() in there), "")

    name, active_at, modified = usual("name"), usual("active_at"), there.get("lastmodifieddate", "")
    if "ownerid" not in there:
        notes.append(f"{sobject}.OwnerId is hidden from us: nobody is responsible for its records")
    reading = Reading(
        sobject,
        name=name,
        name_else=there["name"] if "name" in there and name != there["name"] else "",
        first_name=usual("first_name"),
        last_name=usual("last_name"),
        email=usual("email"),
        account_id=there.get("accountid", ""),
        account_name=_account_name(sobject, there, account_names=account_names),
        owner_id=there.get("ownerid", ""),
        active_at=active_at,
        active_else=modified if active_at != modified else "",
        vip=there.get(settings.vip_field.lower(), ""),
        do_not_call=there.get("donotcall") or there.get("persondonotcall", ""),
        blacklist=there.get(settings.blacklist_field.lower(), ""),
        person=there.get("ispersonaccount", "") if sobject in {"Contact", "Account"} else "",
        person_contact=there.get("personcontactid", ""),
        converted=there.get("isconverted", ""),
        converted_contact=there.get("convertedcontactid", ""),
        phones=_phones(sobject, types, there, settings, notes),
        marks=tuple(there[mark] for mark in ("isdeleted", "masterrecordid") if mark in there),
        condition=_condition(sobject, there, settings),
    )
    return replace(reading, columns=_columns(reading), notes=tuple(notes))


def select(sobject: str, columns: Iterable[str], *conditions: str, order: str = "") -> str:
    """Return SOQL; empty conditions do not count, the others must all hold."""
    asked = [f"({condition})" for condition in conditions if condition]
    where = f" WHERE {' AND '.join(asked)}" if asked else ""
    by = f" ORDER BY {order}" if order else ""
    return f"SELECT {', '.join(columns)} FROM {sobject}{where}{by}"  # noqa: S608  # describe's names, the admin's filter


def _columns(reading: Reading) -> tuple[str, ...]:
    wanted = (
        "Id", reading.name, reading.name_else, reading.first_name, reading.last_name, reading.email,
        reading.account_id, reading.account_name, reading.owner_id, reading.active_at, reading.active_else,
        reading.vip, reading.do_not_call, reading.blacklist, reading.person, reading.person_contact, reading.converted,
        reading.converted_contact, *reading.phones,
    )  # fmt: skip
    return tuple(dict.fromkeys(filter(None, wanted)))


def _account_name(sobject: str, there: Mapping[str, str], *, account_names: bool) -> str:
    """Return the field with the company's name; a lead knows no more of its company than that."""
    if sobject == "Lead":
        return there.get("company", "")
    return "Account.Name" if account_names and sobject != "Account" and "accountid" in there else ""


def filter_of(sobject: str, settings: Salesforce) -> str:
    """Return the admin's filter of an object, '' where there is none."""
    return {str(kind): text for kind, text in settings.filters.items()}.get(sobject, "")


def _condition(sobject: str, there: Mapping[str, str], settings: Salesforce) -> str:
    condition = filter_of(sobject, settings)
    person = there.get("ispersonaccount", "") if sobject == "Contact" else ""
    return f"({condition}) OR {person} = true" if condition and person else condition


def _phones(
    sobject: str, types: Types, there: Mapping[str, str], settings: Salesforce, notes: list[str]
) -> tuple[str, ...]:
    ignored = {name.lower() for name in _of(sobject, settings.ignored_fields)}
    phones = [name for name, kind in types.items() if kind == "phone" and name.lower() not in ignored]
    for name in _of(sobject, settings.number_fields):
        found = there.get(name.lower(), "")
        if not found:
            notes.append(f"{sobject}.{name} (salesforce.number_fields) is not there, or hidden from us")
        elif types[found] in _NO_TEXT:
            notes.append(f"{sobject}.{name} (salesforce.number_fields) is of a type that holds no number")
        else:
            phones.append(found)
    return tuple(dict.fromkeys(phones))


def _of(sobject: str, fields: Iterable[str]) -> list[str]:
    """Return the fields of this object, of names such as `Contact.WhatsApp__c`."""
    return [name for owner, _, name in (entry.partition(".") for entry in fields) if owner == sobject]
