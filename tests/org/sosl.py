r"""SOSL: the search for telephone numbers, and nothing else of it.

`FIND {a OR b} IN PHONE FIELDS RETURNING Contact(Id, Name WHERE …), Lead [LIMIT n]`. Refused: other groups of
fields, AND, wildcards, `WITH`, and the characters `& | ! ( ) { } [ ] ^ " ~ * ? : \ ' + -` in a term without a
backslash (SOQL and SOSL Reference, "FIND {SearchQuery}").

How Salesforce matches a term against a phone field is not written down; this is an ASSUMPTION: a field matches when
its digits equal the term's, or one ends with the other and the shorter has at least seven. Nothing may rely on
matches that are looser than that, and whatever reads the answer has to check each match itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.org.answers import rest_shape
from tests.org.errors import OrgError
from tests.org.fields import SObject
from tests.org.select import Compiler
from tests.org.soql import Comparison, Condition, Joined, Literal, Path, Query, read_returning
from tests.org.store import TAIL, Store, digits

MOST: Final = 2000
_RESERVED: Final = "&|!(){}[]^\"~*?:\\'+-"
_STATEMENT: Final = re.compile(
    r"\s*FIND\s*\{(?P<terms>(?:\\.|[^\\{}])*)\}\s*IN\s+(?P<group>\w+)\s+FIELDS\s+RETURNING\s+(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Search:
    """A search as read: the digits of its terms, what it returns and at most how many."""

    terms: tuple[str, ...]
    targets: tuple[Query, ...]
    limit: int


def read(text: str) -> Search:
    """Read a search. Raises OrgError (MALFORMED_SEARCH, INVALID_SEARCH)."""
    found = _STATEMENT.fullmatch(text)
    if found is None:
        raise OrgError("MALFORMED_SEARCH", "No valid FIND {...} IN ... FIELDS RETURNING ... in the search")
    if found["group"].upper() != "PHONE":
        raise OrgError(
            "MALFORMED_SEARCH", f"unexpected search group: '{found['group']}'; only PHONE is known here"
        )
    returning = read_returning(found["rest"])
    terms = tuple(_term(part) for part in re.split(r"\s+OR\s+", found["terms"].strip()))
    return Search(terms, returning.targets, MOST if returning.limit is None else min(returning.limit, MOST))


def _term(source: str) -> str:
    plain = []
    for part in re.findall(r"\\.|[^\\]", source.strip(), re.DOTALL):
        if len(part) == 1 and part in _RESERVED:
            raise OrgError("INVALID_SEARCH", f"reserved character '{part}' in the search term: {source}")
        plain.append(part[-1])
    text = "".join(plain)
    if re.search(r"[A-Za-z]", text):
        raise OrgError("INVALID_SEARCH", f"only numbers can be searched for here: {source}")
    if len(digits(text)) < 2:
        raise OrgError("INVALID_SEARCH", "search term must be longer than one character: " + source)
    return digits(text)


def matches(field: str | None, term: str) -> bool:
    """Does a phone field match a term's digits? See the assumption above."""
    mine = digits(field)
    if mine == term:
        return bool(mine)
    return min(len(mine), len(term)) >= TAIL and (mine.endswith(term) or term.endswith(mine))


def run(store: Store, objects: Mapping[str, SObject], text: str, version: str) -> list[dict[str, Any]]:
    """Run a search; gives the records in the order of the objects named."""
    search = read(text)
    records: list[dict[str, Any]] = []
    for target in search.targets:
        sobject = Compiler(objects, target, deleted=False).sobject
        ids = _matching(store, sobject, search.terms)
        statement = Compiler(
            objects, replace(target, where=_among(ids, target.where)), deleted=False
        ).compile()
        shape = rest_shape(statement, version)
        records += map(shape, store.rows(statement.sql, statement.values))
    return records[: search.limit]


def _among(ids: list[str], where: Condition | None) -> Condition:
    literals = tuple(Literal("string", f"'{each}'") for each in ids) or (Literal("null", "null"),)
    mine = Comparison(Path(("Id",)), "IN", literals)
    return mine if where is None else Joined("AND", (mine, where))


def _matching(store: Store, sobject: SObject, terms: tuple[str, ...]) -> list[str]:
    phones = [each.name for each in sobject.visible() if each.type == "phone"]
    store.index_tails(sobject, phones)
    found: dict[str, None] = {}
    for name in phones:
        for term in terms:
            statement = f'SELECT "Id", "{name}" FROM "{sobject.name}" WHERE tail("{name}") = ?'
            statement += f' AND "{name}" IS NOT NULL'
            found |= {row[0]: None for row in store.rows(statement, (term[-TAIL:],)) if matches(row[1], term)}
    return list(found)
