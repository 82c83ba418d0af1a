"""Records deleted, brought back, purged, merged and converted.

What is deleted stays in its table with IsDeleted until it is purged, takes its dependants along, and is noted in
the delete log, which is what getDeleted reads. Merged records are deleted with MasterRecordId, and whatever
referred to them refers to the master afterwards, with its stamps moved.
"""

from __future__ import annotations

from typing import Any, Final

from tests.org.errors import OrgError
from tests.org.fields import SObject
from tests.org.persons import check as check_person
from tests.org.schema import CASCADES, referrers
from tests.org.state import State, changed_now, is_deleted, set_columns
from tests.org.store import Change
from tests.org.writing import create

LOG: Final = 'CREATE TABLE "_Deleted" ("Object" TEXT, "Id" TEXT, "At" INTEGER, PRIMARY KEY ("Object", "Id"))'


def delete(state: State, change: Change, name: str, identity: str) -> None:
    """Put a record into the recycle bin. Raises OrgError."""
    sobject = state.sobject(name)
    if not sobject.deletable:
        raise OrgError("INVALID_TYPE_FOR_OPERATION", f"entity type {sobject.name} does not support delete")
    identity = state.record_id(sobject, identity)
    row = dict(state.existing(change, sobject, identity))
    if sobject.name == "Contact":
        check_person(sobject, {}, person=bool(row.get("IsPersonAccount")))
    _remove(state, change, sobject, identity, {})


def _remove(state: State, change: Change, sobject: SObject, identity: str, more: dict[str, Any]) -> None:
    if "IsDeleted" in sobject.fields:
        set_columns(change, sobject, identity, {"IsDeleted": 1} | changed_now(state) | more)
    else:
        change.touch(identity)
        change.run(f'DELETE FROM "{sobject.name}" WHERE "Id" = ?', (identity,))
    change.run('INSERT OR REPLACE INTO "_Deleted" VALUES (?, ?, ?)', (sobject.name, identity, state.moment()))
    for parent, field, child in CASCADES:
        if parent != sobject.name:
            continue
        statement = f'SELECT "Id" FROM "{child}" WHERE "{field}" = ? AND "IsDeleted" = 0'
        for row in change.rows(statement, (identity,)):
            _remove(state, change, state.objects[child], row["Id"], {"_With": identity})


def undelete(state: State, change: Change, name: str, identity: str) -> None:
    """Bring a record back, and what went with it. Raises OrgError (UNDELETE_FAILED)."""
    sobject = state.sobject(name)
    identity = state.record_id(sobject, identity)
    if not is_deleted(state.existing(change, sobject, identity, deleted=True)):
        raise OrgError("UNDELETE_FAILED", "entity is not in the recycle bin")
    _restore(state, change, sobject, identity)


def _restore(state: State, change: Change, sobject: SObject, identity: str) -> None:
    back: dict[str, Any] = {"IsDeleted": 0, "_With": None} | changed_now(state)
    if "MasterRecordId" in sobject.fields:
        back["MasterRecordId"] = None
    set_columns(change, sobject, identity, back)
    change.run('DELETE FROM "_Deleted" WHERE "Object" = ? AND "Id" = ?', (sobject.name, identity))
    for parent, _, child in CASCADES:
        if parent == sobject.name:
            for row in change.rows(f'SELECT "Id" FROM "{child}" WHERE "_With" = ?', (identity,)):
                _restore(state, change, state.objects[child], row["Id"])


def purge(state: State, change: Change, name: str, identity: str) -> None:
    """Empty a record from the recycle bin: only the delete log knows of it then. Raises OrgError."""
    sobject = state.sobject(name)
    identity = state.record_id(sobject, identity)
    if not is_deleted(state.existing(change, sobject, identity, deleted=True)):
        raise OrgError("DELETE_FAILED", "entity is not in the recycle bin")
    change.touch(identity)
    change.run(f'DELETE FROM "{sobject.name}" WHERE "Id" = ?', (identity,))


def merge(state: State, change: Change, name: str, master: str, losers: tuple[str, ...]) -> None:
    """Merge one or two records into a master. Raises OrgError."""
    sobject = state.sobject(name)
    if not sobject.mergeable or not 1 <= len(losers) <= 2:
        raise OrgError(
            "INVALID_OPERATION", "one or two accounts, contacts or leads can be merged into another"
        )
    master = state.record_id(sobject, master)
    state.existing(change, sobject, master)
    for loser in (state.record_id(sobject, each) for each in losers):
        if loser == master:
            raise OrgError("INVALID_ID_FIELD", "a record cannot be merged into itself")
        state.existing(change, sobject, loser)
        _reparent(state, change, sobject, loser, master)
        _remove(state, change, sobject, loser, {"MasterRecordId": master})
    set_columns(change, sobject, master, changed_now(state))


def _reparent(state: State, change: Change, sobject: SObject, loser: str, master: str) -> None:
    for child, field in referrers(state.objects.values(), sobject.name):
        if field.name == "MasterRecordId":
            continue
        alive = ' AND "IsDeleted" = 0' if "IsDeleted" in child.fields else ""
        statement = f'SELECT "Id" FROM "{child.name}" WHERE "{field.name}" = ?{alive}'
        for row in change.rows(statement, (loser,)):
            set_columns(change, child, row["Id"], {field.name: master} | changed_now(state))


def convert(state: State, change: Change, lead: str, contact: str | None) -> str:
    """Convert a lead into a contact, a new one with its company as account unless given; gives the contact's id."""
    sobject = state.sobject("Lead")
    lead = state.record_id(sobject, lead)
    row = state.existing(change, sobject, lead)
    if row["IsConverted"]:
        raise OrgError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
    owner = row["OwnerId"] if row["OwnerId"].startswith("005") else state.user_id
    if contact is None:
        made = {"Name": row["Company"], "Phone": row["Phone"], "OwnerId": owner}
        account = create(state, change, "Account", made, allow_save=True)
        taken = ("FirstName", "LastName", "Salutation", "Title", "Email", "Phone", "MobilePhone", "Fax")
        person = {name: row[name] for name in taken} | {"AccountId": account, "OwnerId": owner}
        contact = create(state, change, "Contact", person, allow_save=True)
    found = state.existing(
        change, state.objects["Contact"], state.record_id(state.objects["Contact"], contact)
    )
    converted = {
        "IsConverted": 1,
        "Status": "Closed - Converted",
        "ConvertedDate": state.now().date().isoformat(),
        "ConvertedContactId": found["Id"],
        "ConvertedAccountId": found["AccountId"],
    }
    set_columns(change, sobject, lead, converted | changed_now(state))
    for task in change.rows('SELECT "Id" FROM "Task" WHERE "WhoId" = ? AND "IsDeleted" = 0', (lead,)):
        moved = {"WhoId": found["Id"], "AccountId": found["AccountId"]} | changed_now(state)
        set_columns(change, state.objects["Task"], task["Id"], moved)
    return str(found["Id"])
