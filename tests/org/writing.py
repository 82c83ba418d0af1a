"""Records made and changed, with every refusal that Salesforce has for what a telephone system writes.

A write moves LastModifiedDate and SystemModstamp to the org's clock, in whole seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.org import persons, tasks
from tests.org.errors import OrgError
from tests.org.fields import Field, SObject
from tests.org.state import OBJECT_OF, State, changed_now, defaults, is_deleted, set_columns, stamp
from tests.org.store import Change
from tests.org.values import stored

_PERSONS: Final = frozenset({"Contact", "Lead", "User"})


@dataclass(frozen=True)
class _Draft:
    """A record as it will be: `written` are the fields that were given, `allow_save` overrides alerts."""

    sobject: SObject
    identity: str
    row: dict[str, Any]
    written: frozenset[str]
    allow_save: bool


def create(
    state: State, change: Change, name: str, fields: Mapping[str, Any], *, allow_save: bool = False
) -> str:
    """Make a record; gives its id. Raises OrgError as Salesforce does."""
    sobject = state.sobject(name)
    if not sobject.createable:
        raise OrgError("INVALID_TYPE_FOR_OPERATION", f"entity type {sobject.name} does not support create")
    written = _stored(sobject, fields, creating=True)
    filled = {each: value for each, value in written.items() if value is not None}
    row = dict.fromkeys(written) | defaults(sobject) | filled
    persons.check(sobject, filled, person="LastName" in filled and sobject.name == "Account")
    _require(sobject, row)
    identity = state.ids.next(sobject.prefix)
    stamp(state, sobject, row)
    _complete(state, change, sobject, row)
    _check(state, change, _Draft(sobject, identity, row, frozenset(filled), allow_save))
    row["Id"] = identity
    change.insert(sobject, row)
    if sobject.name == "Account" and row.get("IsPersonAccount"):
        persons.make_contact(state, change, row)
    if sobject.name == "Task":
        tasks.note(state, change, row)
    return identity


def update(
    state: State,
    change: Change,
    name: str,
    identity: str,
    fields: Mapping[str, Any],
    *,
    allow_save: bool = False,
) -> None:
    """Change a record. Raises OrgError as Salesforce does."""
    sobject = state.sobject(name)
    identity = state.record_id(sobject, identity)
    old = dict(state.existing(change, sobject, identity))
    if old.get("IsConverted"):
        raise OrgError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
    written = _stored(sobject, fields, creating=False)
    persons.check(sobject, written, person=bool(old.get("IsPersonAccount")))
    row = old | written
    _require(sobject, row, only=set(written))
    _complete(state, change, sobject, row)
    _check(state, change, _Draft(sobject, identity, row, frozenset(written), allow_save))
    moved = {column: value for column, value in row.items() if value != old[column]} | changed_now(state)
    set_columns(change, sobject, identity, moved)
    if sobject.name == "Account" and row.get("IsPersonAccount"):
        persons.follow(state, change, row, moved)
    if sobject.name == "Task":
        tasks.note(state, change, row)


# --- checks


def _stored(sobject: SObject, fields: Mapping[str, Any], *, creating: bool) -> dict[str, Any]:
    """Check names, rights and values; gives stored values by the fields' own names."""
    found: dict[Field, Any] = {}
    for name, value in fields.items():
        field = sobject.find(name)
        if field is None:
            raise OrgError("INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject.name}")
        found[field] = value
    refused = [each.name for each in found if not (each.createable if creating else each.updateable)]
    if refused:
        raise OrgError(
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            f"Unable to create/update fields: {', '.join(refused)}. Please check the security settings of this"
            " field and verify that it is read/write for your profile or permission set.",
            fields=refused,
        )
    return {field.name: stored(field, value) for field, value in found.items()}


def _require(sobject: SObject, row: Mapping[str, Any], only: set[str] | None = None) -> None:
    """Refuse empty fields that must not be: all when a record is made, those written when it is changed."""
    if only is None:
        needed = [each.name for each in sobject.fields.values() if each.required]
        needed += _names(sobject, person=bool(row.get("LastName")))
    else:
        person = bool(row.get("IsPersonAccount"))
        needed = [
            name
            for name in only
            if not sobject.fields[name].nillable or name in _names(sobject, person=person)
        ]
    absent = [name for name in needed if row.get(name) is None]
    if absent:
        raise OrgError(
            "REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(absent)}]", fields=absent
        )


def _names(sobject: SObject, *, person: bool) -> set[str]:
    """Give what an account is named by, which must not be empty though describe says otherwise."""
    if sobject.name != "Account" or "IsPersonAccount" not in sobject.fields:
        return set()
    return {"LastName"} if person else {"Name"}


def _check(state: State, change: Change, draft: _Draft) -> None:
    for name in sorted(draft.written):
        field = draft.sobject.fields[name]
        if draft.row[name] is None:
            continue
        if field.type == "reference":
            _check_reference(state, change, draft, field)
        if field.unique:
            _check_unique(change, draft, field)
    if draft.sobject.name == "Task":
        tasks.check(draft.row)
    _check_duplicates(state, change, draft)


def _check_reference(state: State, change: Change, draft: _Draft, field: Field) -> None:
    identity = draft.row[field.name]
    target = state.objects[OBJECT_OF[identity[:3]]]
    found = change.rows(f'SELECT * FROM "{target.name}" WHERE "Id" = ?', (identity,))
    if not found:
        raise OrgError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", fields=(field.name,))
    if is_deleted(found[0]):
        raise OrgError("ENTITY_IS_DELETED", "entity is deleted", fields=(field.name,))
    if field.name == "OwnerId" and target.name == "User" and not found[0]["IsActive"]:
        owned = draft.sobject.name.lower()
        raise OrgError(
            "INACTIVE_OWNER_OR_USER",
            f"operation performed with inactive user [{identity}] as owner of {owned}",
            fields=(field.name,),
        )


def _check_unique(change: Change, draft: _Draft, field: Field) -> None:
    sobject, value = draft.sobject, draft.row[field.name]
    change.touch(f"{sobject.name}.{field.name}={str(value).casefold()}")
    alive = ' AND "IsDeleted" = 0' if "IsDeleted" in sobject.fields else ""
    statement = f'SELECT "Id" FROM "{sobject.name}" WHERE "{field.name}" = ? AND "Id" != ?{alive}'
    found = change.rows(statement, (value, draft.identity))
    if found:
        raise OrgError(
            "DUPLICATE_VALUE",
            f"duplicate value found: {field.name} duplicates value on record with id: {found[0]['Id'][:15]}",
        )


def _check_duplicates(state: State, change: Change, draft: _Draft) -> None:
    for rule in state.rules:
        if rule.sobject != draft.sobject.name or not draft.written & set(rule.fields):
            continue
        wanted = [draft.row.get(name) for name in rule.fields]
        if None in wanted or (draft.allow_save and not rule.block):
            continue
        same = " AND ".join(f'"{name}" = ?' for name in rule.fields)
        statement = (
            f'SELECT "Id" FROM "{rule.sobject}" WHERE {same} AND "Id" != ? AND "IsDeleted" = 0 LIMIT 1'
        )
        if change.rows(statement, (*wanted, draft.identity)):
            raise OrgError("DUPLICATES_DETECTED", "Use one of these records?")


# --- fields made of others


def _complete(state: State, change: Change, sobject: SObject, row: dict[str, Any]) -> None:
    """Fill the fields that follow from others."""
    if sobject.name in _PERSONS:
        row["Name"] = persons.full_name(row)
    match sobject.name:
        case "Account":
            persons.complete(sobject, row)
        case "User":
            row["Username"] = row.get("Username") or row["Email"]
            row["Alias"] = row.get("Alias") or row["Email"][:8]
            row["CommunityNickname"] = row.get("CommunityNickname") or row["Email"][:40]
            _check_user_name(change, row)
        case "Group":
            row["DeveloperName"] = row.get("DeveloperName") or row["Name"].replace(" ", "_")
        case "Opportunity":
            row["IsWon"] = int(row["StageName"] == "Closed Won")
            row["IsClosed"] = int(row["StageName"] in {"Closed Won", "Closed Lost"})
        case "Task":
            tasks.complete(state, change, row)
        case _:
            pass


def _check_user_name(change: Change, row: Mapping[str, Any]) -> None:
    found = change.rows('SELECT "Id" FROM "User" WHERE "Username" = ?', (row["Username"],))
    if any(each["Id"] != row.get("Id") for each in found):
        raise OrgError(
            "DUPLICATE_USERNAME",
            "Duplicate Username. The username already exists in this or another Salesforce organization.",
            fields=("Username",),
        )
