from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.calls.directory import Rule, RuleKind, Treatment
from agi_server.errors import InputError
from agi_server.exchange.blacklist import import_blacklist, read_rules, write_rules
from agi_server.exchange.cells import clean
from agi_server.exchange.report import Report
from storage.blacklist import list_rules
from storage.database import Database

SAMPLE = Path(__file__).parents[2].joinpath("agi_server/samples/blacklist.csv")


def read(text: str, region: str = "DE", timezone: str = "UTC") -> tuple[list[Rule], Report]:
    report = Report()
    file = io.BytesIO(text.encode())
    return [rule for _, rule in read_rules(file, report, region=region, timezone=timezone)], report


def one(text: str, headings: str = "Pattern,Kind,Did,Treatment,Reason,Expires") -> Rule:
    rules, report = read(f"{headings}\n{text}\n")
    assert report.count == 0, report.problems
    return rules[0]


@pytest.mark.parametrize(
    ("row", "kind", "pattern"),
    [
        ("+4930231250,,,,,", RuleKind.EXACT, "+4930231250"),
        ("030 23125 0,exact,,,,", RuleKind.EXACT, "+4930231250"),
        ("+49190*,,,,,", RuleKind.PREFIX, "+49190"),
        ("+49190,PREFIX,,,,", RuleKind.PREFIX, "+49190"),
        ("RU,country,,,,", RuleKind.COUNTRY, "RU"),
        (r"^\+4915.*77$,regex,,,,", RuleKind.REGEX, r"^\+4915.*77$"),
        (",anonymous,,,,", RuleKind.ANONYMOUS, ""),
        ("anonymous,,,,,", RuleKind.ANONYMOUS, ""),
    ],
)
def test_kinds(row: str, kind: RuleKind, pattern: str) -> None:
    rule = one(row)
    assert (rule.kind, rule.pattern, rule.allow) == (kind, pattern, False)


@pytest.mark.parametrize(
    ("text", "allow", "treatment", "target"),
    [
        ("", False, Treatment.HANGUP, ""),
        ("Busy", False, Treatment.BUSY, ""),
        ("redirect:8000", False, Treatment.REDIRECT, "8000"),
        ("voicemail: 100", False, Treatment.VOICEMAIL, "100"),
        ("announce:custom/blocked", False, Treatment.ANNOUNCE, "custom/blocked"),
        ("Allow", True, Treatment.HANGUP, ""),
    ],
)
def test_treatments(text: str, *, allow: bool, treatment: Treatment, target: str) -> None:
    rule = one(f"+4930231250,,,{text},,")
    assert (rule.allow, rule.treatment, rule.target) == (allow, treatment, target)


def test_a_rule_without_treatment_gets_the_settings() -> None:
    file = io.BytesIO(b"Pattern\n+4930231250\n")
    rules = [rule for _, rule in read_rules(file, Report(), region="DE", treatment="busy")]
    assert rules[0].treatment is Treatment.BUSY


@pytest.mark.parametrize(
    ("expires", "timezone", "moment"),
    [
        ("2026-12-31", "UTC", "2027-01-01T00:00:00+00:00"),
        ("2026-12-31", "Europe/Berlin", "2026-12-31T23:00:00+00:00"),
        ("2026-12-31T14:00", "Europe/Berlin", "2026-12-31T13:00:00+00:00"),
        ("2026-12-31T14:00:00Z", "Europe/Berlin", "2026-12-31T14:00:00+00:00"),
        ("2001-01-01", "UTC", "2001-01-02T00:00:00+00:00"),  # over, but it is what an export may hold
    ],
)
def test_expiry(expires: str, timezone: str, moment: str) -> None:
    rules, _ = read(f"Pattern,Expires\n+4930231250,{expires}\n", timezone=timezone)
    assert datetime.fromtimestamp(rules[0].expires_at, UTC).isoformat() == moment


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("not a number,,,,,", "Pattern"),
        ("+49*30,exact,,,,", "Pattern"),
        ("(,regex,,,,", "Pattern"),
        ("XX,country,,,,", "Pattern"),
        ("+4930231250,sometimes,,,,", "Pattern"),
        (",,,busy,,", "Pattern"),
        ("+4930231250,,,explode,,", "Treatment"),
        ("+4930231250,,,redirect,,", "Treatment"),
        ("+4930231250,,,redirect:80 00,,", "Treatment"),
        ("+4930231250,,,,,soon", "Expires"),
        ("+4930231250,,,,,30d", "Expires"),
        ("+4930231250,,,,,2026-02-30", "Expires"),
        ("^[0-9]{8,9}$,regex,,,,,2026-12-31", ""),
    ],
)
def test_rows_that_make_no_rule(row: str, column: str) -> None:
    rules, report = read(f"Pattern,Kind,Did,Treatment,Reason,Expires\n{row}\n+4930231251,,,,,\n")
    assert [rule.pattern for rule in rules] == ["+4930231251"]
    assert [(p.line, p.column, p.row_taken) for p in report.problems] == [(2, column, False)]


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("+4930231250\n030231251\n", ["+4930231250", "+4930231251"]),
        ("+4930231250;Spam\n+49190*;Premium\n", ["+4930231250", "+49190"]),
        ("number,description\n+4930231250,Spam\n", ["+4930231250"]),  # FreePBX
        ('"+4930231250","Spam, again"\n', ["+4930231250"]),
    ],
)
def test_plain_lists(text: str, patterns: list[str]) -> None:
    rules, report = read(text)
    assert [rule.pattern for rule in rules] == patterns
    assert report.count == 0
    if "Spam" in text:
        assert rules[0].reason.startswith("Spam")


def test_headings_nobody_knows() -> None:
    with pytest.raises(InputError, match="“Wer”"):
        read("Wer,Warum\n+4930231250,Spam\n")


async def test_rules_are_stored_once(database: Database) -> None:
    text = b"Pattern,Kind,Treatment\n+4930231250,,busy\n+4930231250,,hangup\n+49190*,,\nnonsense,,\n"
    result = await import_blacklist(io.BytesIO(text), database=database, region="DE", who="test")
    assert (result.rows, result.taken, result.inserted, result.updated) == (4, 3, 2, 1)
    again = await import_blacklist(io.BytesIO(text), database=database, region="DE", who="test")
    assert (again.inserted, again.updated) == (0, 3)
    rules = await database.read(list_rules)
    assert [(rule.pattern, rule.treatment, rule.created_by) for rule in rules] == [
        ("+4930231250", Treatment.HANGUP, "test"),
        ("+49190", Treatment.HANGUP, "test"),
    ]


async def test_all_or_nothing(database: Database) -> None:
    text = b"Pattern\n+4930231250\nnonsense\n"
    result = await import_blacklist(
        io.BytesIO(text), database=database, region="DE", who="test", all_or_nothing=True
    )
    assert (result.refused, result.written, result.taken, result.report.not_taken) == (True, False, 0, 1)
    assert await database.read(list_rules) == []


async def test_the_sample_is_taken(database: Database) -> None:
    file = io.BytesIO(SAMPLE.read_bytes())
    result = await import_blacklist(file, database=database, region="DE", who="test")
    assert result.report.problems == []
    assert result.rows == result.inserted > 8


NUMBER = st.integers(49_3023_1000, 49_3023_9999).map(lambda number: f"+{number}000")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=20).map(clean)
RULE = st.builds(
    Rule,
    id=st.just(0),
    kind=st.just(RuleKind.EXACT),
    pattern=NUMBER,
    allow=st.just(False),
    did=TEXT,
    treatment=st.just(Treatment.REDIRECT),
    target=st.from_regex(r"[A-Za-z0-9_/@.+&-]{1,10}", fullmatch=True),
    reason=TEXT,
    expires_at=st.just(0) | st.integers(1, 250_000_000_000),
) | st.sampled_from(
    [
        Rule(id=0, kind=RuleKind.ANONYMOUS, did="+493023125100"),
        Rule(id=0, kind=RuleKind.COUNTRY, pattern="+7", treatment=Treatment.BUSY),
        Rule(id=0, kind=RuleKind.REGEX, pattern=r"^\+49.*,7+$", treatment=Treatment.VOICEMAIL, target="100"),
        Rule(id=0, kind=RuleKind.PREFIX, pattern="+49190", allow=True),
    ]
)


@settings(max_examples=150)
@given(st.lists(RULE, max_size=6))
def test_what_is_exported_is_imported_as_it_was(rules: list[Rule]) -> None:
    out = io.StringIO(newline="")
    write_rules(rules, out)
    found, report = read(out.getvalue())
    assert found == rules
    assert report.count == 0
