"""Records found by an external id."""

from __future__ import annotations

from typing import Any

from tests.org.errors import OrgError
from tests.org.fields import NUMBER, TEXT, Field, SObject
from tests.org.state import State
from tests.org.store import Change, Store


def check_key(sobject: SObject, name: str) -> Field:
    """Find a field that may be used as a key. Raises OrgError (NOT_FOUND)."""
    found = sobject.find(name)
    if found is None or not (found.external_id or found.id_lookup):
        text = f"Provided external ID field does not exist or is not accessible: {name}"
        raise OrgError("NOT_FOUND", text, status=404)
    return found


def find(state: State, tables: Change | Store, sobject: SObject, key: Field, value: Any) -> list[str]:
    """Give the ids of the records that have that value; none for an empty Id."""
    if key.name == "Id":
        if not value:
            return []
        return [str(state.existing(tables, sobject, state.record_id(sobject, str(value)))["Id"])]
    if value is None or str(value).strip() == "":
        raise OrgError("MISSING_ARGUMENT", f"{key.name} not specified", fields=(key.name,))
    alive = ' AND "IsDeleted" = 0' if "IsDeleted" in sobject.fields else ""
    statement = f'SELECT "Id" FROM "{sobject.name}" WHERE "{key.name}" = ?{alive} ORDER BY "Id"'
    return [row["Id"] for row in tables.rows(statement, (_value(key, value),))]


def _value(key: Field, value: Any) -> Any:
    if key.type in TEXT:
        return str(value).strip()
    if key.type in NUMBER:
        try:
            return float(value)
        except (TypeError, ValueError):
            text = f"{key.title}: value not of required type: {value}"
            raise OrgError("INVALID_FIELD", text, fields=(key.name,)) from None
    return value
