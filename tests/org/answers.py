"""Rows of the tables made into answers: records of JSON (REST), lines of CSV (Bulk 2.0)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from tests.org.ids import PREFIXES
from tests.org.select import Statement
from tests.org.values import to_csv, to_rest

_OBJECT_OF: Final = {prefix: name for name, prefix in PREFIXES.items()}


def rest_shape(statement: Statement, version: str) -> Callable[[Sequence[Any]], dict[str, Any]]:
    """Give what makes a record of a JSON answer from a row; parents are nested, one that is not there is null."""
    base = f"/services/data/v{version}/sobjects"
    plan = [(column.names[:-1], column.names[-1], to_rest(column.field)) for column in statement.columns]

    def attributes(identity: str, *, polymorphic: bool = False) -> dict[str, str]:
        name = _OBJECT_OF[identity[:3]]
        return {"type": "Name" if polymorphic else name, "url": f"{base}/{name}/{identity}"}

    def parent(record: dict[str, Any], row: Sequence[Any], path: tuple[str, ...]) -> dict[str, Any] | None:
        inside: dict[str, Any] = record
        for length in range(1, len(path) + 1):
            at, polymorphic = statement.parents[path[:length]]
            if row[at] is None:
                inside[path[length - 1]] = None
                return None
            fresh = {"attributes": attributes(row[at], polymorphic=polymorphic)}
            inside = inside.setdefault(path[length - 1], fresh)
        return inside

    def shape(row: Sequence[Any]) -> dict[str, Any]:
        record: dict[str, Any] = {"attributes": attributes(row[0])}
        for at, (path, key, convert) in enumerate(plan, 1):
            inside = parent(record, row, path) if path else record
            if inside is not None:
                inside[key] = None if row[at] is None else convert(row[at])
        return record

    return shape


def csv_shape(statement: Statement) -> tuple[list[str], Callable[[Sequence[Any]], list[str]]]:
    """Give the header of a CSV answer and what makes a line's cells from a row."""
    header = [".".join(column.names) for column in statement.columns]
    plan = [(at, to_csv(column.field)) for at, column in enumerate(statement.columns, 1)]

    def shape(row: Sequence[Any]) -> list[str]:
        return ["" if row[at] is None else convert(row[at]) for at, convert in plan]

    return header, shape
