from __future__ import annotations

import re
import sqlite3
import string
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simple_salesforce.format import format_soql

from tests.org.errors import OrgError
from tests.org.records import Org
from tests.org.soql import (
    Comparison,
    Condition,
    Joined,
    Literal,
    Negation,
    Path,
    pattern_of,
    read,
    text_of,
)

# --- reading


def where(condition: str) -> Condition:
    found = read(f"SELECT Id FROM Contact WHERE {condition}").where
    assert found is not None
    return found


def one(name: str, operator: str = "=", *sources: str, kind: str = "number") -> Comparison:
    return Comparison(Path((name,)), operator, tuple(Literal(kind, each) for each in sources or ("1",)))


def bare(part: Condition) -> Condition:
    """Forget where things stand in the text."""
    if isinstance(part, Comparison):
        return Comparison(Path(part.path.names), part.operator, part.values)
    if isinstance(part, Joined):
        return Joined(part.operator, tuple(map(bare, part.parts)))
    return Negation(bare(part.part))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a = 1 AND b=1 and c =1", Joined("AND", (one("a"), one("b"), one("c")))),
        ("a = 1 OR (b = 1 AND c = 1)", Joined("OR", (one("a"), Joined("AND", (one("b"), one("c")))))),
        ("NOT a = 1", Negation(one("a"))),
        ("(NOT (a = 1 OR b = 1)) AND c = 1",
         Joined("AND", (Negation(Joined("OR", (one("a"), one("b")))), one("c")))),
        ("a <> 1", one("a", "!=")),
        ("a not  in (1, 2)", one("a", "NOT IN", "1", "2")),
        ("in in (1)", one("in", "IN", "1")),
        ("nothing__c = 1", one("nothing__c")),
        ("order__c = 1", one("order__c")),
        ("a > 2026-05-07T22:07:19.000+00:00", one("a", ">", "2026-05-07T22:07:19.000+00:00", kind="datetime")),
        ("a > 2026-05-07T22:07:19Z", one("a", ">", "2026-05-07T22:07:19Z", kind="datetime")),
        ("a <= 2026-05-07", one("a", "<=", "2026-05-07", kind="date")),
        ("a = -1.5", one("a", "=", "-1.5")),
        ("a = TRUE", one("a", "=", "TRUE", kind="boolean")),
        ("a != null", one("a", "!=", "null", kind="null")),
        ("a LIKE 'x%'", one("a", "LIKE", "'x%'", kind="string")),
    ],
)  # fmt: skip
def test_conditions_are_read(text: str, meaning: Condition) -> None:
    assert bare(where(text)) == meaning


def test_the_whole_statement_is_read() -> None:
    query = read(
        "select Id, Account.Owner.Name\n from Contact where a = 1 order by a, B.c desc nulls last, d asc nulls first"
        " limit 5 offset 7"
    )
    assert [str(path) for path in query.fields] == ["Id", "Account.Owner.Name"]
    assert [(str(key.path), key.descending, key.nulls_last) for key in query.order] == [
        ("a", False, False), ("B.c", True, True), ("d", False, False),
    ]  # fmt: skip
    assert (query.sobject, query.limit, query.offset) == ("Contact", 5, 7)
    assert read("SELECT count () FROM Contact").fields == ()


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("", "<EOF>"),
        ("SELECT Id FROM", "<EOF>"),
        ("SELECT Id FORM Contact", "FORM"),
        ("SELECT Id, FROM Contact", "Contact"),
        ("SELECT * FROM Contact", "*"),
        ("SELECT Id FROM Contact;", ";"),
        ("SELECT Id FROM Contact c", "c"),
        ("SELECT Id FROM Contact, Lead", ","),
        ("SELECT (SELECT Id FROM Contacts) FROM Account", "("),
        ("SELECT FIELDS(ALL) FROM Contact LIMIT 1", "("),
        ("SELECT COUNT(Id) FROM Contact", "("),
        ("SELECT MAX(Id) FROM Contact", "("),
        ("SELECT Name FROM Contact GROUP BY Name", "GROUP"),
        ("SELECT Id FROM Contact USING SCOPE mine", "USING"),
        ("SELECT Id FROM Contact FOR VIEW", "FOR"),
        ("SELECT Id FROM Contact WHERE", "<EOF>"),
        ("SELECT Id FROM Contact WHERE a = 1 OR b = 1 AND c = 1", "AND"),
        ("SELECT Id FROM Contact WHERE a = 1 AND b = 1 OR c = 1", "OR"),
        ("SELECT Id FROM Contact WHERE a = 1 AND NOT b = 1", "b"),
        ("SELECT Id FROM Contact WHERE (a = 1", "<EOF>"),
        ("SELECT Id FROM Contact WHERE a = 1)", ")"),
        ("SELECT Id FROM Contact WHERE a IN ()", ")"),
        ("SELECT Id FROM Contact WHERE a IN (SELECT Id FROM Lead)", "SELECT"),
        ("SELECT Id FROM Contact WHERE a == 1", "="),
        ("SELECT Id FROM Contact WHERE a = b", "b"),
        ("SELECT Id FROM Contact WHERE a = TODAY", "TODAY"),
        ("SELECT Id FROM Contact WHERE a = 12abc", "12abc"),
        ("SELECT Id FROM Contact WHERE a = 'open", "'open"),
        ("SELECT Id FROM Contact WHERE a = 'x\ny'", "'x\ny'"),
        ('SELECT Id FROM Contact WHERE a = "x"', '"'),
        ("SELECT Id FROM Contact WHERE a > 2026-05-07T22:07:19", "2026"),
        ("SELECT Id FROM Contact WHERE a > 2026-05-07T22:07:19.000+0000", "2026"),
        ("SELECT Id FROM Contact WHERE a > 2026-05-07T22:07:19 00:00", "2026"),
        ("SELECT Id FROM Contact LIMIT 1.5", "1"),
        ("SELECT Id FROM Contact LIMIT -1", "-"),
        ("SELECT Id FROM Contact LIMIT 1 ORDER BY Id", "ORDER"),
        ("SELECT Id FROM Contact ORDER BY Id NULLS", "NULLS"),
    ],
)
def test_what_is_not_understood_is_refused(text: str, token: str) -> None:
    with pytest.raises(OrgError) as refusal:
        read(text)
    assert (refusal.value.status, refusal.value.code) == (400, "MALFORMED_QUERY")
    assert refusal.value.message.endswith(f"unexpected token: '{token}'")


def test_a_refusal_says_where() -> None:
    with pytest.raises(OrgError) as refusal:
        read("SELECT Id\nFROM Contact WHERE Name ~ 'x'")
    assert "\nERROR at Row:2:Column:25\n" in refusal.value.message


def test_a_statement_has_an_end() -> None:
    names = ", ".join(f"Field{place}__c" for place in range(8000))
    with pytest.raises(OrgError, match="100000 characters"):
        read(f"SELECT {names} FROM Contact")


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
AWKWARD = st.text("'\"\\%_nN\n\r\t\b\fa ", max_size=8)


@given(ANY_TEXT | AWKWARD)
def test_quoted_text_comes_back(text: str) -> None:
    found = where(format_soql("a = {}", text))
    assert isinstance(found, Comparison)
    assert text_of(found.values[0]) == text


@given(ANY_TEXT | AWKWARD, ANY_TEXT | AWKWARD)
def test_a_quoted_pattern_matches_itself_only(text: str, other: str) -> None:
    found = where(format_soql("a LIKE '{:like}'", text))
    assert isinstance(found, Comparison)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA case_sensitive_like = ON")
        for candidate in (text, other):
            (matched,) = connection.execute(
                "SELECT ? LIKE ? ESCAPE '\\'", (candidate, pattern_of(found.values[0]))
            ).fetchone()
            assert bool(matched) == (candidate == text)


@pytest.mark.parametrize("source", [r"'\x'", r"'a\%'", r"'\_'", r"'\u00e9'"])
def test_an_escape_that_is_none_is_refused(source: str) -> None:
    with pytest.raises(OrgError, match="Illegal character sequence"):
        text_of(Literal("string", source))


# --- evaluating

WHEN = [datetime(2026, 5, 7, 22, 7, second, tzinfo=UTC) for second in range(3)]
TITLES = [
    None,
    "Chef",
    "chef",
    "CHEF de rang",
    "100%",
    "a_b",
    "axb",
    "Ärztin",
    "äRZTIN",
    "O'Brien",
    "back\\slash",
]
SCORES = [None, 0, 1, 1.5, -2]
DAYS = [None, "2020-02-29", "2026-05-07"]


@dataclass(frozen=True)
class Row:
    id: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Filled:
    org: Org
    rows: list[Row]
    account_ids: list[str]


@pytest.fixture(scope="module")
def filled() -> Iterator[Filled]:
    org = Org(now=lambda: WHEN[0])
    org.add_field("Contact", "Score__c", "double", precision=18, scale=2)
    accounts = [org.create("Account", {"Name": "Acme"}), org.create("Account", {"Name": "Ärzte"})]
    rows = []
    for place in range(60):
        account = [None, 0, 1][place % 3]
        fields = {
            "LastName": f"Person {place}",
            "Title": TITLES[place % len(TITLES)],
            "Score__c": SCORES[place % len(SCORES)],
            "Birthdate": DAYS[place % 7 % 3],
            "DoNotCall": place % 4 == 0,
            "AccountId": None if account is None else accounts[account],
            "EmailBouncedDate": [None, *WHEN][place % 4],
        }
        record = org.create("Contact", fields)
        rows.append(
            Row(record, fields | {"Account.Name": None if account is None else ["Acme", "Ärzte"][account]})
        )
    yield Filled(org, rows, accounts)
    org.close()


def quoted(text: str) -> str:
    return format_soql("{}", text)


TEXTS = st.sampled_from([each for each in TITLES if each] + ["che", "Z", "éa", "b"])
PATTERNS = st.lists(
    st.sampled_from(["%", "_", "che", "CHE", "f", "är", "Ä", "1", "\\%", "\\_", "\\\\", "'", "a", "b"]), max_size=4
)  # fmt: skip
COMPARE = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
SOME_DAYS = st.sampled_from(["2020-02-29", "2026-05-07", "2021-01-01"])
NULLABLE = st.sampled_from(["Title", "Account.Name", "Score__c", "AccountId", "EmailBouncedDate"])
WORDS = [
    "SELECT",
    "Id",
    "FROM",
    "Contact",
    "WHERE",
    "NOT",
    "AND",
    "OR",
    "(",
    ")",
    "=",
    "1",
    "'x'",
    "null",
    "IN",
    ",",
]
TextField = st.sampled_from(["Title", "Account.Name"])


@dataclass(frozen=True)
class Case:
    """A condition as SOQL, and what it means."""

    text: str
    holds: Any

    def __repr__(self) -> str:
        return self.text


def compared(name: str, operator: str, source: str, value: Any, key: Any = lambda value: value) -> Case:
    def holds(row: Row) -> bool:
        mine = row.values[name]
        if operator in {"=", "!="} or value is None:
            same = (mine is None and value is None) or (
                mine is not None and value is not None and key(mine) == key(value)
            )
            return same == (operator == "=")
        if mine is None:
            return False
        left, right = key(mine), key(value)
        return bool(
            {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]
        )

    return Case(f"{name} {operator} {source}", holds)


def liked(name: str, parts: list[str]) -> Case:
    text = "".join(part if part != "'" else "\\'" for part in parts)
    expression = "".join(
        {"%": ".*", "_": ".", "\\%": "%", "\\_": "_", "\\\\": r"\\"}.get(part, re.escape(part.casefold()))
        for part in parts
    )

    def holds(row: Row) -> bool:
        mine = row.values[name]
        return mine is not None and re.fullmatch(expression, mine.casefold(), re.DOTALL) is not None

    return Case(f"{name} LIKE '{text}'", holds)


def member(name: str, values: list[str | None], *, inside: bool) -> Case:
    sources = ", ".join("null" if value is None else quoted(value) for value in values)
    keys = {None if value is None else value.casefold() for value in values}

    def holds(row: Row) -> bool:
        mine = row.values[name]
        return ((None if mine is None else mine.casefold()) in keys) == inside

    return Case(f"{name} {'' if inside else 'NOT '}IN ({sources})", holds)


def joined(operator: str, parts: list[Case]) -> Case:
    fold = all if operator == "AND" else any
    return Case(
        f" {operator} ".join(f"({part.text})" for part in parts),
        lambda row: fold(part.holds(row) for part in parts),
    )


SIMPLE = st.one_of(
    st.builds(lambda name, op, text: compared(name, op, quoted(text), text, str.casefold), TextField, COMPARE, TEXTS),
    st.builds(lambda op, value: compared("Score__c", op, str(value), value), COMPARE, st.sampled_from(SCORES[1:])),
    st.builds(lambda op, day: compared("Birthdate", op, day, day), COMPARE, SOME_DAYS),
    st.builds(
        lambda op, when: compared("EmailBouncedDate", op, when.strftime("%Y-%m-%dT%H:%M:%S.000Z"), when),
        COMPARE, st.sampled_from(WHEN),
    ),
    st.builds(
        lambda op, value: compared("DoNotCall", op, str(value).lower(), value),
        st.sampled_from(["=", "!="]), st.booleans(),
    ),
    st.builds(
        lambda name, op: compared(name, op, "null", None),
        NULLABLE, st.sampled_from(["=", "!="]),
    ),
    st.builds(liked, TextField, PATTERNS),
    st.builds(
        lambda name, values, inside: member(name, values, inside=inside),
        TextField, st.lists(st.none() | TEXTS, min_size=1, max_size=3), st.booleans(),
    ),
)  # fmt: skip
CASES = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds(joined, st.sampled_from(["AND", "OR"]), st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda part: Case(f"NOT ({part.text})", lambda row: not part.holds(row)), inner),
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(case=CASES)
def test_conditions_mean_what_they_say(filled: Filled, case: Case) -> None:
    found = [record["Id"] for record in filled.org.query(f"SELECT Id FROM Contact WHERE {case.text}")]
    assert found == [row.id for row in filled.rows if case.holds(row)]
    assert filled.org.count(f"SELECT COUNT() FROM Contact WHERE {case.text}") == len(found)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("descending", [False, True])
def test_order_with_nulls(filled: Filled, *, descending: bool, last: bool) -> None:
    ends = f"{'DESC' if descending else 'ASC'}{' NULLS LAST' if last else ''}"
    records = list(filled.org.query(f"SELECT Id, Score__c FROM Contact ORDER BY Score__c {ends}, Id DESC"))
    rows = sorted(filled.rows, key=lambda row: row.id, reverse=True)
    known = [row for row in rows if row.values["Score__c"] is not None]
    known.sort(key=lambda row: row.values["Score__c"], reverse=descending)
    unknown = [row for row in rows if row.values["Score__c"] is None]
    wanted = known + unknown if last else unknown + known
    assert [record["Id"] for record in records] == [row.id for row in wanted]


def test_limit_and_offset(filled: Filled) -> None:
    every = [row.id for row in filled.rows]
    found = filled.org.query("SELECT Id FROM Contact ORDER BY Id LIMIT 5 OFFSET 3")
    assert [record["Id"] for record in found] == every[3:8]
    assert filled.org.count("SELECT COUNT() FROM Contact LIMIT 7") == 7


def test_ids_compare_with_case_and_in_both_lengths(filled: Filled) -> None:
    row = filled.rows[10]
    for text in (row.id, row.id[:15]):
        (record,) = filled.org.query(f"SELECT Id FROM Contact WHERE Id = '{text}'")
        assert record["Id"] == row.id
    later = filled.org.query(f"SELECT Id FROM Contact WHERE Id > '{row.id}' LIMIT 1")
    assert [record["Id"] for record in later] == [filled.rows[11].id]


def test_names_may_be_written_in_any_case(filled: Filled) -> None:
    record = next(
        iter(filled.org.query("SELECT iD, ACCOUNT.name FROM contact WHERE accountid != null LIMIT 1"))
    )
    assert set(record) == {"attributes", "Id", "Account"}
    assert record["Account"]["Name"] == "Acme"


CONDITIONS_REFUSED = [
    ("Nope = 1", "INVALID_FIELD", "No such column 'Nope' on entity 'Contact'. If you are attempting"),
    ("Account.Nope = 1", "INVALID_FIELD", "No such column 'Nope' on entity 'Account'"),
    ("Nope.Name = 'x'", "INVALID_FIELD", "Didn't understand relationship 'Nope' in field path"),
    ("Account = null", "INVALID_FIELD", "No such column 'Account' on entity 'Contact'"),
    ("Title = 1", "INVALID_FIELD", "field 'Title' must be of type string and should be enclosed in quotes"),
    ("Score__c = '1'", "INVALID_FIELD", "field 'Score__c' must be of type double and should not be enclosed"),
    ("DoNotCall = 'true'", "INVALID_FIELD", "must be of type boolean and should not be enclosed in quotes"),
    (
        "SystemModstamp > '2026-05-07T22:07:19Z'",
        "INVALID_FIELD",
        "must be of type dateTime and should not be",
    ),
    ("SystemModstamp > 2026-05-07", "INVALID_FIELD", "must be of type dateTime and should not be"),
    ("Birthdate > 2026-05-07T22:07:19Z", "INVALID_FIELD", "must be of type date and should not be"),
    ("Description = 'x'", "INVALID_FIELD", "field 'Description' can not be filtered in a query call"),
    ("MailingAddress = 'x'", "INVALID_FIELD", "field 'MailingAddress' can not be filtered in a query call"),
    ("Score__c LIKE '1%'", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on double field"),
    ("Id LIKE '003%'", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on id field"),
    ("Title LIKE null", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on string field"),
    ("DoNotCall > true", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on boolean field"),
    ("Title > null", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on string field"),
    ("Id = 'nothing'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: nothing"),
    ("Birthdate = 2026-13-01", "MALFORMED_QUERY", "Invalid date: 2026-13-01"),
    ("Title = 'a\\q'", "MALFORMED_QUERY", "Illegal character sequence '\\q' in string literal"),
    ("Account.Parent.Parent.Parent.Parent.Parent.Name = 'x'", "MALFORMED_QUERY", "more than 5 parents"),
]


@pytest.mark.parametrize(
    ("condition", "code", "text"), CONDITIONS_REFUSED, ids=[each[0] for each in CONDITIONS_REFUSED]
)
def test_conditions_that_do_not_fit_are_refused(filled: Filled, condition: str, code: str, text: str) -> None:
    for ask in (filled.org.query, filled.org.rows):
        with pytest.raises(OrgError) as refusal:
            ask(f"SELECT Id FROM Contact WHERE {condition}")
        assert refusal.value.code == code
        assert text in refusal.value.message


STATEMENTS_REFUSED = [
    ("SELECT Id FROM Nope", "INVALID_TYPE", "sObject type 'Nope' is not supported. If you are attempting"),
    ("SELECT Id, Nope FROM Contact", "INVALID_FIELD", "No such column 'Nope' on entity 'Contact'"),
    ("SELECT Id, id FROM Contact", "INVALID_FIELD", "duplicate field selected: Id"),
    ("SELECT MasterRecordId FROM Opportunity", "INVALID_FIELD", "No such column 'MasterRecordId'"),
    ("SELECT Owner.MobilePhone FROM Lead", "INVALID_FIELD", "No such column 'MobilePhone' on entity 'Name'"),
    ("SELECT Owner.Manager.Name FROM Lead", "INVALID_FIELD", "Didn't understand relationship 'Manager'"),
    ("SELECT Owner.Type FROM Contact", "INVALID_FIELD", "No such column 'Type' on entity 'User'"),
    ("SELECT PersonContactId FROM Account", "INVALID_FIELD", "No such column 'PersonContactId'"),
    ("SELECT Id FROM Contact ORDER BY Description", "MALFORMED_QUERY", "can not be sorted in a query call"),
    ("SELECT COUNT() FROM Contact ORDER BY Id", "MALFORMED_QUERY", "ORDER BY"),
    ("SELECT Id FROM Contact OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE", "2000"),
]


@pytest.mark.parametrize(
    ("soql", "code", "text"), STATEMENTS_REFUSED, ids=[each[0] for each in STATEMENTS_REFUSED]
)
def test_statements_that_do_not_fit_are_refused(filled: Filled, soql: str, code: str, text: str) -> None:
    with pytest.raises(OrgError) as refusal:
        filled.org.query(soql)
    assert (refusal.value.status, refusal.value.code) == (400, code)
    assert text in refusal.value.message


def test_what_bulk_does_not_do_is_refused(filled: Filled) -> None:
    for soql, text in (
        ("SELECT Id, MailingAddress FROM Contact", "Selecting compound data not supported in Bulk Query"),
        ("SELECT COUNT() FROM Contact", "Aggregate"),
        ("SELECT Id FROM Contact OFFSET 1", "OFFSET"),
    ):
        with pytest.raises(OrgError, match=text):
            filled.org.rows(soql)


def test_long_conditions_are_no_trouble_and_deep_ones_are_refused(filled: Filled) -> None:
    every = " OR ".join(f"LastName = 'Person {place}'" for place in range(3000))
    assert filled.org.count(f"SELECT COUNT() FROM Contact WHERE {every}") == 60
    deep = "NOT (" * 5000 + "Id = null" + ")" * 5000
    with pytest.raises(OrgError) as refusal:
        filled.org.query(f"SELECT Id FROM Contact WHERE {deep}")
    assert refusal.value.code == "QUERY_TOO_COMPLICATED"


@settings(max_examples=150)
@given(
    text=st.text(string.printable, max_size=40) | st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)
)
def test_no_text_gets_anything_but_an_answer_or_a_refusal(filled: Filled, text: str) -> None:
    with suppress(OrgError):
        assert len(list(filled.org.query(text))) <= len(filled.rows)
