"""Pieces of SQL that a compiled query is put together from."""

from __future__ import annotations

from collections.abc import Sequence

from tests.org.fields import Field, SObject
from tests.org.schema import ADDRESS_PARTS


def balanced(operator: str, parts: Sequence[str]) -> str:
    """Join conditions as a tree of little depth: SQLite takes no deep one."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({balanced(operator, parts[:half])} {operator} {balanced(operator, parts[half:])})"


def nulls(*, descending: bool, last: bool) -> str:
    """Say where nulls go: first, in either direction, unless it was said otherwise."""
    # Left out where SQLite does so anyway: said aloud it would keep an index from being used.
    if last:
        return "" if descending else "NULLS LAST"
    return "NULLS FIRST" if descending else ""


def type_of(tables: Sequence[tuple[SObject, str]]) -> str:
    """Give the kind of a polymorphic parent; `tables` are (object, alias)."""
    cases = []
    for sobject, alias in tables:
        kind = f'{alias}."Type"' if sobject.name == "Group" else f"'{sobject.name}'"
        cases.append(f'WHEN {alias}."Id" IS NOT NULL THEN {kind}')
    return f"CASE {' '.join(cases)} END"


def address_of(alias: str, whole: Field) -> str:
    """Give a compound address as JSON, null when all of its parts are."""
    prefix = whole.name.removesuffix("Address")
    parts = ", ".join(
        f"""'{part[0].lower()}{part[1:]}', {alias}."{prefix}{part}\"""" for part, _ in ADDRESS_PARTS
    )
    filled = ", ".join(f'{alias}."{prefix}{part}"' for part, _ in ADDRESS_PARTS)
    return f"CASE WHEN COALESCE({filled}) IS NOT NULL THEN json_object({parts}) END"
