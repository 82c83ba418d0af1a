"""SOQL read into a tree, or refused: nothing that is not understood is ever passed over.

The grammar is that of the SOQL and SOSL Reference, "SOQL SELECT Syntax" and "conditionExpression": AND and OR
do not stand side by side without parentheses, and NOT beside either of them only in parentheses. Left out, and so
refused as MALFORMED_QUERY: sub-queries, semi-joins, aggregates but COUNT(), GROUP BY, date functions and relative
dates, TYPEOF, FIELDS(), aliases, FOR, USING SCOPE, WITH, ALL ROWS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken

from tests.org.errors import OrgError

LONGEST: Final = 100_000  # characters of a statement
_GRAMMAR: Final = r"""
soql: _SELECT (count | fields) _FROM NAME [where] [order] [limit] [offset]
returning: target ("," target)* [limit]
target: NAME ["(" fields [where] [order] [limit] [offset] ")"]
count: COUNT
fields: path ("," path)*
path: NAME ("." NAME)*
where: _WHERE condition
?condition: simple | conjunction | disjunction | negation
conjunction: simple (_AND simple)+
disjunction: simple (_OR simple)+
negation: _NOT simple
?simple: "(" condition ")" | comparison | membership
comparison: path (OPERATOR | LIKE) literal
membership: path (IN | NOT_IN) "(" literal ("," literal)* ")"
literal: STRING | DATETIME | DATE | NUMBER | TRUE | FALSE | NULL
order: _ORDER_BY sorting ("," sorting)*
sorting: path [ASC | DESC] [FIRST | LAST]
limit: _LIMIT INTEGER
offset: _OFFSET INTEGER

_SELECT.5: /select\b/i
_FROM.5: /from\b/i
_WHERE.5: /where\b/i
_AND.5: /and\b/i
_OR.5: /or\b/i
_NOT.5: /not\b/i
_ORDER_BY.5: /order\s+by\b/i
_LIMIT.5: /limit\b/i
_OFFSET.5: /offset\b/i
COUNT.6: /count\s*\(\s*\)/i
LIKE.5: /like\b/i
IN.5: /in\b/i
NOT_IN.6: /not\s+in\b/i
TRUE.5: /true\b/i
FALSE.5: /false\b/i
NULL.5: /null\b/i
ASC.5: /asc\b/i
DESC.5: /desc\b/i
FIRST.5: /nulls\s+first\b/i
LAST.5: /nulls\s+last\b/i
OPERATOR: /<=|>=|!=|<>|=|<|>/
STRING: /'(?:\\.|[^'\\\r\n])*'/
DATETIME.4: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?(?:Z|[+-]\d\d:\d\d)/
DATE.3: /\d{4}-\d\d-\d\d(?![T\d])/
INTEGER.2: /\d+(?![\d.\w-])/
NUMBER.1: /[+-]?\d+(?:\.\d+)?(?![\d.\w-])/
NAME: /[a-z][a-z0-9_]*/i
%ignore /\s+/
"""


@dataclass(frozen=True, slots=True)
class Path:
    """A field, through its parents: ("Account", "Owner", "Name"); `at` is where it stands in the text."""

    names: tuple[str, ...]
    at: int = 0

    def __str__(self) -> str:
        return ".".join(self.names)


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as written; `kind`: string, datetime, date, number, boolean or null."""

    kind: str
    source: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field held against values; `operator` is one of = != < <= > >= LIKE, IN and NOT IN."""

    path: Path
    operator: str
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """Conditions joined by one `operator`, AND or OR."""

    operator: str
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """The opposite of a condition."""

    part: Condition


Condition = Comparison | Joined | Negation


@dataclass(frozen=True, slots=True)
class Sorting:
    """One key of ORDER BY."""

    path: Path
    descending: bool = False
    nulls_last: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A whole statement; no fields: it counts."""

    fields: tuple[Path, ...]
    sobject: str
    sobject_at: int
    where: Condition | None = None
    order: tuple[Sorting, ...] = ()
    limit: int | None = None
    offset: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Returning:
    """What a search gives back: one query an object, and the most rows of all together."""

    targets: tuple[Query, ...]
    limit: int | None


class _Tree(Transformer[Token, Any]):
    """Makes the tree while the text is read."""

    def path(self, names: list[Token]) -> Path:
        return Path(tuple(map(str, names)), names[0].start_pos or 0)

    def fields(self, paths: list[Path]) -> tuple[Path, ...]:
        return tuple(paths)

    def count(self, _: list[Token]) -> tuple[Path, ...]:
        return ()

    def literal(self, tokens: list[Token]) -> Literal:
        kind = {"TRUE": "boolean", "FALSE": "boolean"}.get(tokens[0].type, tokens[0].type.lower())
        return Literal(kind, str(tokens[0]))

    def comparison(self, parts: list[Any]) -> Comparison:
        path, operator, literal = parts
        return Comparison(path, {"<>": "!="}.get(operator, operator.upper()), (literal,))

    def membership(self, parts: list[Any]) -> Comparison:
        path, operator, *literals = parts
        return Comparison(path, "IN" if operator.type == "IN" else "NOT IN", tuple(literals))

    def conjunction(self, parts: list[Condition]) -> Joined:
        return Joined("AND", tuple(parts))

    def disjunction(self, parts: list[Condition]) -> Joined:
        return Joined("OR", tuple(parts))

    def negation(self, parts: list[Condition]) -> Negation:
        return Negation(parts[0])

    def where(self, parts: list[Condition]) -> Condition:
        return parts[0]

    def sorting(self, parts: list[Any]) -> Sorting:
        path, direction, nulls = parts
        return Sorting(
            path,
            direction is not None and direction.type == "DESC",
            nulls is not None and nulls.type == "LAST",
        )

    def order(self, parts: list[Sorting]) -> tuple[Sorting, ...]:
        return tuple(parts)

    def limit(self, tokens: list[Token]) -> int:
        return int(tokens[0])

    def offset(self, tokens: list[Token]) -> int:
        return int(tokens[0])

    def soql(self, parts: list[Any]) -> Query:
        fields, name, where, order, limit, offset = parts
        return Query(fields, str(name), name.start_pos, where, order or (), limit, offset)

    def target(self, parts: list[Any]) -> Query:
        name, fields, where, order, limit, offset = parts
        fields = fields or (Path(("Id",)),)
        return Query(fields, str(name), name.start_pos, where, order or (), limit, offset)

    def returning(self, parts: list[Any]) -> Returning:
        *targets, limit = parts
        return Returning(tuple(targets), limit)


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(
        _GRAMMAR, parser="lalr", start=["soql", "returning"], maybe_placeholders=True, transformer=_Tree()
    )


def read(text: str) -> Query:
    """Read a statement. Raises OrgError (MALFORMED_QUERY, QUERY_TOO_COMPLICATED)."""
    if len(text) > LONGEST:
        raise OrgError("MALFORMED_QUERY", f"SOQL statements cannot be longer than {LONGEST} characters.")
    query = _read(text, "soql", "MALFORMED_QUERY")
    assert isinstance(query, Query)
    return query


def read_returning(text: str) -> Returning:
    """Read what stands behind RETURNING in a search. Raises OrgError (MALFORMED_SEARCH)."""
    returning = _read(text, "returning", "MALFORMED_SEARCH")
    assert isinstance(returning, Returning)
    return returning


def _read(text: str, start: str, code: str) -> Query | Returning:
    try:
        tree: Any = _parser().parse(text, start=start)
    except UnexpectedInput as error:
        at: Any = error.pos_in_stream
        if at is None or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
            at = len(text)
        if at >= len(text):
            raise OrgError(code, place(text, len(text)) + "unexpected token: '<EOF>'") from None
        found = re.match(r"'[^']*'?|\w+|\S", text[at:])
        raise OrgError(
            code, place(text, at) + f"unexpected token: '{found[0] if found else text[at]}'"
        ) from None
    assert isinstance(tree, Query | Returning)
    return tree


def place(text: str, at: int) -> str:
    """Give the lines that Salesforce puts before an error in a query: where in the text it is."""
    row = text.count("\n", 0, at)
    column = at - (text.rfind("\n", 0, at) + 1)
    line = text.split("\n")[row]
    around = line[max(column - 40, 0) : column + 20]
    arrow = " " * min(column, 40) + "^"
    return f"\n{around}\n{arrow}\nERROR at Row:{row + 1}:Column:{column + 1}\n"


_ESCAPES: Final = {
    "n": "\n", "N": "\n", "r": "\r", "R": "\r", "t": "\t", "T": "\t", "b": "\b", "B": "\b", "f": "\f", "F": "\f",
    '"': '"', "'": "'", "\\": "\\",
}  # fmt: skip


def text_of(literal: Literal) -> str:
    """Give what a string literal means outside LIKE. Raises OrgError for an escape that is none."""
    return "".join(letter for letter, _ in _letters(literal, like=False))


def pattern_of(literal: Literal) -> str:
    r"""Give a LIKE literal as a pattern of SQLite's with ESCAPE '\': % any run, _ one character."""
    made = []
    for letter, escaped in _letters(literal, like=True):
        plain = letter not in "%_\\" or (letter in "%_" and not escaped)
        made.append(letter if plain else "\\" + letter)
    return "".join(made)


def _letters(literal: Literal, *, like: bool) -> list[tuple[str, bool]]:
    letters: list[tuple[str, bool]] = []
    for part in re.findall(r"\\.|[^\\]", literal.source[1:-1], re.DOTALL):
        if len(part) == 1:
            letters.append((part, False))
        elif like and part[1] in "%_":
            letters.append((part[1], True))
        elif part[1] in _ESCAPES:
            letters.append((_ESCAPES[part[1]], True))
        else:
            raise OrgError(
                "MALFORMED_QUERY",
                f"Invalid string literal {literal.source}. Illegal character sequence '{part}' in string literal.",
            )
    return letters
