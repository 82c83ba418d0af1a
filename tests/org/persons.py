"""Person accounts: an Account that is a person, and its half-hidden Contact.

The account is what is written; its contact (PersonContactId) follows it and cannot be written itself. An account
is a person when it was made with a LastName, and stays what it was made as.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.org.errors import OrgError
from tests.org.fields import SObject
from tests.org.schema import PERSON_FIELDS
from tests.org.state import State, changed_now, defaults, set_columns, stamp
from tests.org.store import Change


def full_name(row: Mapping[str, Any]) -> str:
    """Give the Name of a person."""
    return " ".join(filter(None, (row.get("FirstName"), row.get("LastName"))))


def check(sobject: SObject, written: Mapping[str, Any], *, person: bool) -> None:
    """Refuse a company's name for a person, a person's fields for a company, and writing a person's contact."""
    if "IsPersonAccount" not in sobject.fields:
        return
    if sobject.name == "Contact" and person:
        raise OrgError(
            "INVALID_PERSON_ACCOUNT_OPERATION",
            "the contact of a person account is changed through its account",
        )
    if sobject.name != "Account":
        return
    own = {name for name in PERSON_FIELDS if name not in {"Phone", "Fax", "OwnerId"}}
    refused = [
        name for name in written if written[name] is not None and name in ({"Name"} if person else own)
    ]
    if refused:
        raise OrgError(
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            f"Unable to create/update fields: {', '.join(refused)}. Please check the security settings of this field"
            " and verify that it is read/write for your profile or permission set.",
            fields=refused,
        )


def complete(sobject: SObject, row: dict[str, Any]) -> None:
    """Fill what follows from an account's being a person or none."""
    if "IsPersonAccount" not in sobject.fields or sobject.name != "Account":
        return
    row["IsPersonAccount"] = int(bool(row.get("LastName")))
    if row["IsPersonAccount"]:
        row["Name"] = full_name(row)


def make_contact(state: State, change: Change, account: Mapping[str, Any]) -> None:
    """Make the contact of a new person account."""
    contact = state.objects["Contact"]
    row = defaults(contact) | {other: account.get(name) for name, other in PERSON_FIELDS.items()}
    row |= {"Name": account["Name"], "AccountId": account["Id"], "IsPersonAccount": 1}
    row["Id"] = state.ids.next(contact.prefix)
    stamp(state, contact, row)
    change.insert(contact, row)
    set_columns(change, state.objects["Account"], account["Id"], {"PersonContactId": row["Id"]})


def follow(state: State, change: Change, account: Mapping[str, Any], moved: Mapping[str, Any]) -> None:
    """Let the contact of a person account follow what was changed."""
    mirrored = {other: account[name] for name, other in PERSON_FIELDS.items() if name in moved}
    mirrored |= {"Name": account["Name"]} | changed_now(state)
    set_columns(change, state.objects["Contact"], account["PersonContactId"], mirrored)
