"""Many records at once: what fills an org of a million people for a measurement.

Values are checked and names made as always; references, uniqueness and duplicates are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

from tests.org.errors import OrgError
from tests.org.fields import SObject
from tests.org.persons import full_name
from tests.org.state import State, defaults, stamp
from tests.org.values import stored

_BATCH: Final = 10_000


def load(state: State, name: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Make a record of each row, in commits of some thousands; gives their ids."""
    sobject = state.sobject(name)
    ids: list[str] = []
    source = iter(rows)
    while batch := list(islice(source, _BATCH)):
        base = defaults(sobject)
        stamp(state, sobject, base)
        made = [_row(state, sobject, base, row) for row in batch]
        columns = list(dict.fromkeys(column for row in made for column in row))
        named, marks = ", ".join(f'"{column}"' for column in columns), ", ".join("?" * len(columns))
        filled = [tuple(map(row.get, columns)) for row in made]
        state.store.insert_many(f'INSERT INTO "{sobject.name}" ({named}) VALUES ({marks})', filled)
        ids += [row["Id"] for row in made]
    return ids


def _row(state: State, sobject: SObject, base: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    row = base.copy()
    for name, value in given.items():
        field = sobject.fields.get(name)
        if field is None or name == "Id":
            raise OrgError("INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject.name}")
        row[name] = stored(field, value)
    if sobject.name in {"Contact", "Lead", "User"}:
        row["Name"] = full_name(row)
    row["Id"] = state.ids.next(sobject.prefix)
    return row
