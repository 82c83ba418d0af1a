"""What a row of the outbox becomes in Salesforce: which object, which fields, and values that fit them.

Nothing here talks to Salesforce or the database. What is known of an object is its describe ("sObject Describe",
REST API Developer Guide).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from agi_server.errors import InputError
from agi_server.salesforce.scopes import covers
from agi_server.salesforce.templates import DEFAULT_FIELDS, render
from agi_server.settings import CallEntry, CreateEntry
from storage.outbox import OutboxRow

UNKNOWN = "Unknown caller"  # LastName of who withholds name and number: Salesforce takes none that is empty

DEFAULT_ENTRY = CreateEntry(fields=DEFAULT_FIELDS)
_WAITING = " (docs/salesforce.md, Writing back); what should go there waits in the outbox"
_REQUIRED = {"lastname", "company", "name"}
_LATER = re.compile(r"([1-9]\d{3}-\d\d-\d\d)\s*\+\s*(\d{1,4})", re.ASCII)


class Shape:
    """An object's fields by name; Salesforce takes no notice of capitals."""

    def __init__(self, describe: Mapping[str, Any]) -> None:
        self._fields = {str(field["name"]).lower(): field for field in describe["fields"]}

    def get(self, name: str) -> Mapping[str, Any] | None:
        """Return what describe says of a field, None for one that is not there or that we may not see."""
        return self._fields.get(name.lower())


def entry_for(did: str, entries: Sequence[CreateEntry]) -> CreateEntry:
    """Return the first entry for a dialled number; without any that fits, a Contact with name and number."""
    return next((entry for entry in entries if covers(entry.did, did)), DEFAULT_ENTRY)


def values_of(row: OutboxRow, contact: int, known_as: str, zone: ZoneInfo) -> dict[str, str]:
    """Return what the variables of templates hold; `known_as` is the contact's name in the directory now."""
    payload = {key: str(value or "") for key, value in row.payload.items()}
    number, sent = payload.get("phone", ""), payload.get("name", "")
    at = datetime.fromtimestamp(row.created_at, zone)
    return {
        "Number": number,
        "Name": next((name for name in (known_as, sent) if name not in {"", number}), number) or UNKNOWN,
        "DID": payload.get("did", ""),
        "Key": payload.get("key", ""),
        "Database": payload.get("database", ""),
        "ContactId": str(contact),
        "Date": at.date().isoformat(),
        "DateTime": at.isoformat(),
    }


def build(entry: CreateEntry | CallEntry, shape: Shape, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a new record; those that come out empty are left out, but for the required ones.

    Raises InputError as `rendered` does.
    """
    record = rendered(entry.fields, shape, values, sobject=entry.object, setting=_setting(entry))
    for name in entry.fields:
        field = shape.get(name)
        if field is not None and name.lower() in _REQUIRED:
            record.setdefault(str(field["name"]), UNKNOWN)
    return record


def rendered(
    fields: Mapping[str, str], shape: Shape, values: Mapping[str, str], *, sobject: str, setting: str
) -> dict[str, Any]:
    """Return the values of an admin's templates by field; those that come out empty are left out.

    Raises InputError, with the setting to mend, for a field that is not there or may not be written.
    """
    record: dict[str, Any] = {}
    for name, template in fields.items():
        field = shape.get(name)
        if field is None:
            raise InputError(
                f"{setting}: {sobject} has no field {name} that the integration user may see; correct "
                "the name, or give the user access to the field"
            )
        if not field.get("createable"):
            raise InputError(
                f"{setting}: the integration user may not write {sobject}.{field['name']}; take it out "
                "of fields, or give the user Edit access to it"
            )
        text = plain(render(template, values))
        if text:
            record[str(field["name"])] = fitting(text, field)
    return record


def obstacle(sobject: str, shape: Shape | None, external_id: str, setting: str = "salesforce.create") -> str:
    """Return why no record of an object can be made, and what to do; '' where nothing is in the way."""
    if shape is None:
        return (
            f"{setting}: the integration user cannot see the object {sobject}; give it Create and Edit on "
            f"{sobject} in a permission set{_WAITING}"
        )
    name = external_id or "Ostiary_Id__c"
    field = shape.get(name) if external_id else None
    if field is None or not field.get("externalId"):
        return (
            f"salesforce.external_id_field: {sobject} has no external id {name} that the integration user may see; "
            f"create it: Setup, Object Manager, {sobject}, Fields & Relationships, New: type Text, length 64, "
            f"Unique, External ID, field name {name.removesuffix('__c')}; give the user Edit access to it{_WAITING}"
        )
    if not field.get("createable"):
        return (
            f"salesforce.external_id_field: the integration user may not write {sobject}.{name}; give it Edit "
            f"access to the field{_WAITING}"
        )
    return ""


def _setting(entry: CreateEntry | CallEntry) -> str:
    name = "salesforce.on_call" if isinstance(entry, CallEntry) else "salesforce.create"
    return f"{name} (did {entry.did!r})" if entry.did else name


def plain(text: str) -> str:
    """Return a text without control characters, which no field takes; lines stay."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc").strip()


def fitting(text: str, field: Mapping[str, Any]) -> str | bool | float:
    """Return a text as the field's type wants it, cut to its length; what does not fit is Salesforce's to refuse.

    A day may have days added to it: `2026-11-21 + 30`.
    """
    kind = field.get("type")
    if kind == "boolean":
        return text.lower() in {"true", "yes", "1"}
    if kind in {"int", "double", "currency", "percent"}:
        try:
            return int(text) if kind == "int" else float(text)
        except ValueError:
            return text
    if kind == "date" and (later := _LATER.fullmatch(text)):
        return (date.fromisoformat(later[1]) + timedelta(days=int(later[2]))).isoformat()
    length = int(field.get("length") or 0)
    if not length or len(text) * 2 <= length:
        return text
    # Salesforce counts UTF-16 units, and half a character is none.
    return text.encode("utf-16-le")[: length * 2].decode("utf-16-le", "ignore").rstrip()
