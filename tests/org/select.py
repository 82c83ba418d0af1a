"""SOQL made into one SQL statement with parameters.

Null follows SOQL, not SQL: a comparison with a null field is false (so its opposite is true), `!=` and NOT IN
hold for null fields, a parent that is not there has null fields. Text compares without regard to case, ids with
it, 15 characters as 18. A polymorphic parent has the fields of the Name object only (SOQL and SOSL Reference,
"Understanding Relationship Fields and Polymorphic Fields").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from tests.org.criteria import check_operator, literal_value, sides
from tests.org.errors import OrgError, unknown_column, unknown_object, unknown_relationship
from tests.org.fields import TEXT, Field, SObject, picklist, text
from tests.org.schema import NAME_FIELDS
from tests.org.soql import Comparison, Condition, Joined, Literal, Path, Query, pattern_of, place
from tests.org.sql import address_of, balanced, nulls, type_of

_DEEPEST: Final = 5  # parents in a row
_MOST_SKIPPED: Final = 2000
_MOST_NESTED: Final = 200
_TYPE: Final = picklist("Type", length=40)


@dataclass(frozen=True, slots=True)
class Column:
    """A field as it can be asked of the joined tables."""

    names: tuple[str, ...]
    field: Field
    expression: str


@dataclass(slots=True)
class Parent:
    """A parent in the joined tables: (object, alias) of each object it can be."""

    tables: list[tuple[SObject, str]]
    polymorphic: bool


@dataclass(slots=True)
class Statement:
    """A compiled query. `columns`: what was asked, in order; none: it counts."""

    sobject: SObject
    sql: str
    count_sql: str
    values: list[Any]
    columns: list[Column]
    parents: dict[
        tuple[str, ...], tuple[int, bool]
    ]  # where in a row the id of a parent stands; is it polymorphic?
    bulk_refusal: str = ""


@dataclass(slots=True)
class Compiler:
    """Compiles one query against the objects the user may see."""

    objects: Mapping[str, SObject]
    query: Query
    deleted: bool
    source: str = ""
    sobject: SObject = field(init=False)
    joins: list[str] = field(default_factory=list)
    known: dict[tuple[str, ...], Parent] = field(default_factory=dict)
    values: list[Any] = field(default_factory=list)
    depth: int = 0

    def __post_init__(self) -> None:
        found = next(
            (each for name, each in self.objects.items() if name.lower() == self.query.sobject.lower()), None
        )
        if found is None or found.hidden:
            error = unknown_object(self.query.sobject)
            raise OrgError(error.code, self._place(self.query.sobject_at) + error.message)
        self.sobject = found
        self.known[()] = Parent([(found, "t")], polymorphic=False)

    def _place(self, at: int) -> str:
        return place(self.source, at) if self.source else ""

    # --- fields and parents

    def column(self, path: Path) -> Column:
        """Find a field through its parents. Raises OrgError (INVALID_FIELD)."""
        with self._at(path):
            names: tuple[str, ...] = ()
            for name in path.names[:-1]:
                names = self._parent(names, name)
            return self._leaf(names, path.names[-1])

    @contextmanager
    def _at(self, path: Path) -> Iterator[None]:
        """Let what is refused inside say where in the text it stands."""
        try:
            yield
        except OrgError as error:
            if error.message.startswith("\n"):  # says so already
                raise
            raise OrgError(error.code, self._place(path.at) + error.message) from None

    def _leaf(self, names: tuple[str, ...], name: str) -> Column:
        parent = self.known[names]
        if not parent.polymorphic:
            sobject, alias = parent.tables[0]
            found = sobject.find(name)
            if found is None:
                raise unknown_column(name, sobject.name)
            if found.type == "address":
                return Column((*names, found.name), found, address_of(alias, found))
            return Column((*names, found.name), found, f'{alias}."{found.name}"')
        canonical = next((each for each in NAME_FIELDS if each.lower() == name.lower()), None)
        if canonical is None:
            raise unknown_column(name, "Name")
        if canonical == "Type":
            return Column((*names, canonical), _TYPE, type_of(parent.tables))
        having = [(each.find(canonical), alias) for each, alias in parent.tables]
        made = next((each for each, _ in having if each is not None), text(canonical))
        parts = [f'{alias}."{canonical}"' for each, alias in having if each is not None]
        return Column((*names, canonical), made, f"COALESCE({', '.join([*parts, 'NULL', 'NULL'])})")

    def _parent(self, names: tuple[str, ...], name: str) -> tuple[str, ...]:
        parent = self.known[names]
        if parent.polymorphic:
            raise unknown_relationship(name)
        sobject, alias = parent.tables[0]
        link = sobject.relationships.get(name.lower())
        if link is None or link.name in sobject.hidden_fields:
            raise unknown_relationship(name)
        targets = [self.objects[each] for each in link.reference_to if not self.objects[each].hidden]
        if not targets:
            raise unknown_relationship(name)
        if len(names) == _DEEPEST:
            raise OrgError(
                "MALFORMED_QUERY", f"a relationship path cannot go through more than {_DEEPEST} parents"
            )
        path = (*names, link.relationship)
        if path not in self.known:
            tables = []
            for target in targets:
                other = f"p{len(self.joins)}"
                alive = (
                    f' AND {other}."IsDeleted" = 0'
                    if "IsDeleted" in target.fields and not self.deleted
                    else ""
                )
                self.joins.append(
                    f'LEFT JOIN "{target.name}" AS {other} ON {other}."Id" = {alias}."{link.name}"{alive}'
                )
                tables.append((target, other))
            self.known[path] = Parent(tables, link.polymorphic)
        return path

    # --- conditions

    def condition(self, part: Condition) -> str:
        """Compile a condition; its parameters go to `values`."""
        self.depth += 1
        if self.depth > _MOST_NESTED:
            raise OrgError(
                "QUERY_TOO_COMPLICATED", "query is either selecting too many fields or is too deep"
            )
        try:
            if isinstance(part, Comparison):
                return self._comparison(part)
            if isinstance(part, Joined):
                return balanced(part.operator, [self.condition(each) for each in part.parts])
            return f"(NOT COALESCE({self.condition(part.part)}, 0))"
        finally:
            self.depth -= 1

    def _comparison(self, part: Comparison) -> str:
        column = self.column(part.path)
        with self._at(part.path):
            check_operator(column.field, part)
            if part.operator == "LIKE":
                return self._like(column, part.values[0])
            if part.operator in {"IN", "NOT IN"}:
                return self._membership(column, part)
            return self._compared(column, part.operator, part.values[0])

    def _compared(self, column: Column, operator: str, literal: Literal) -> str:
        value = literal_value(column.field, literal)
        if value is None:
            return f"({column.expression} IS {'NOT ' if operator == '!=' else ''}NULL)"
        left, mark = sides(column.field, column.expression, [value])
        self.values.append(value)
        return f"({left} {'IS NOT' if operator == '!=' else operator} {mark})"

    def _like(self, column: Column, literal: Literal) -> str:
        value = pattern_of(literal)
        left, mark = sides(column.field, column.expression, [value])
        self.values.append(value)
        return f"({left} LIKE {mark} ESCAPE '\\')"

    def _membership(self, column: Column, part: Comparison) -> str:
        values = [literal_value(column.field, each) for each in part.values]
        present = [each for each in values if each is not None]
        left, mark = sides(column.field, column.expression, present)
        self.values += present
        inside = f"{left} IN ({', '.join([mark] * len(present))})"
        if len(present) < len(values):
            inside += f" OR {column.expression} IS NULL"
        return f"({inside})" if part.operator == "IN" else f"(NOT COALESCE({inside}, 0))"

    # --- the whole

    def compile(self) -> Statement:
        """Compile the query. Raises OrgError as Salesforce does."""
        query = self.query
        columns = [self.column(path) for path in query.fields]
        seen = set()
        for column in columns:
            if column.names in seen:
                raise OrgError("INVALID_FIELD", f"duplicate field selected: {'.'.join(column.names)}")
            seen.add(column.names)
        asked = self._asked_parents(columns)
        parents = {
            names: (at, self.known[names].polymorphic) for at, names in enumerate(asked, len(columns) + 1)
        }
        ids = [self._parent_id(names) for names in asked]
        where = self.condition(query.where) if query.where is not None else "1"
        if "IsDeleted" in self.sobject.fields and not self.deleted:
            where = f't."IsDeleted" = 0 AND {where}'
        order = self._order()
        source = f'FROM "{self.sobject.name}" AS t {" ".join(self.joins)} WHERE {where}'
        bounds = self._bounds()
        selected = ", ".join(['t."Id"', *(each.expression for each in columns), *ids])
        counted = (
            f"SELECT count(*) {source}" if not bounds else f"SELECT count(*) FROM (SELECT 1 {source}{bounds})"
        )
        return Statement(
            self.sobject,
            f"SELECT {selected} {source} ORDER BY {order}{bounds}",
            counted,
            self.values,
            columns,
            parents,
            self._bulk_refusal(columns),
        )

    def _asked_parents(self, columns: Sequence[Column]) -> list[tuple[str, ...]]:
        asked: dict[tuple[str, ...], None] = {}
        for column in columns:
            for length in range(1, len(column.names)):
                asked[column.names[:length]] = None
        return list(asked)

    def _parent_id(self, names: tuple[str, ...]) -> str:
        aliases = [f'{alias}."Id"' for _, alias in self.known[names].tables]
        return aliases[0] if len(aliases) == 1 else f"COALESCE({', '.join(aliases)})"

    def _order(self) -> str:
        if self.query.order and not self.query.fields:
            raise OrgError("MALFORMED_QUERY", "COUNT() cannot be used with ORDER BY")
        keys = []
        for sorting in self.query.order:
            column = self.column(sorting.path)
            if not column.field.filterable:
                raise OrgError("MALFORMED_QUERY", f"field '{sorting.path}' can not be sorted in a query call")
            collation = " COLLATE NOCASE" if column.field.type in TEXT else ""
            direction = "DESC" if sorting.descending else "ASC"
            ends = nulls(descending=sorting.descending, last=sorting.nulls_last)
            keys.append(f"{column.expression}{collation} {direction} {ends}")
        own = any(
            len(sorting.path.names) == 1 and sorting.path.names[0].lower() == "id"
            for sorting in self.query.order
        )
        return ", ".join(keys if own else [*keys, 't."Id"'])  # never left to chance

    def _bounds(self) -> str:
        query = self.query
        if query.offset is not None and query.offset > _MOST_SKIPPED:
            raise OrgError("NUMBER_OUTSIDE_VALID_RANGE", f"Maximum SOQL offset allowed is {_MOST_SKIPPED}")
        if query.limit is None and query.offset is None:
            return ""
        limit = -1 if query.limit is None else min(query.limit, 2**31 - 1)
        return f" LIMIT {limit} OFFSET {query.offset or 0}"

    def _bulk_refusal(self, columns: Sequence[Column]) -> str:
        if any(column.field.type == "address" for column in columns):
            return "Selecting compound data not supported in Bulk Query"
        if not columns:
            return "Aggregate queries are not supported in Bulk Query"
        if self.query.offset is not None:
            return "OFFSET clause is not supported in Bulk Query"
        return ""
