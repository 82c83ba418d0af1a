"""Blacklist and allow-list entries from files and back.

Invariant: a rule is written only as it was checked. A file without headings is a plain list: numbers in the
first column, what they are in the second (FreePBX's export).
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, TextIO
from zoneinfo import ZoneInfo

from agi_server.calls.directory import Rule, RuleKind, Treatment
from agi_server.calls.screening import check_rule
from agi_server.errors import InputError
from agi_server.exchange.cells import clean
from agi_server.exchange.headings import BLACKLIST_HEADINGS, find_fields, nothing_known
from agi_server.exchange.report import ImportResult, Progress, Report
from agi_server.exchange.tables import describe, open_table
from agi_server.exchange.values import parse_treatment, parse_until
from storage.blacklist import RuleRow, add_rule, list_rules
from storage.database import Database

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

BATCH = 10  # rules a transaction: about 20 ms, so that nobody's write waits longer
COLUMNS = tuple(BLACKLIST_HEADINGS)
_PLAIN_LIST = ("Pattern", "Reason")


async def import_blacklist(
    file: BinaryIO,
    *,
    database: Database | None,
    region: str,
    who: str,
    timezone: str = "UTC",
    treatment: Treatment | str = Treatment.HANGUP,
    report: Report | None = None,
    encoding: str = "",
    mapping: Mapping[str, str] | None = None,
    all_or_nothing: bool = False,
    progress: Progress | None = None,
) -> ImportResult:
    """Read rules and store them; without a database only read and report.

    `region` and `timezone` are those of numbers and dates written without one, `treatment` that of rules that
    name none, `who` is noted in the audit. Raises InputError when the file as a whole cannot be read, and
    DirectoryError when the database cannot be written.
    """
    started = time.monotonic()
    report = report or Report()
    result = ImportResult(report=report)
    rules = [
        rule
        for _, rule in read_rules(
            file,
            report,
            region=region,
            timezone=timezone,
            treatment=treatment,
            encoding=encoding,
            mapping=mapping,
        )
    ]
    result.rows = len(rules) + report.not_taken
    result.refused = all_or_nothing and database is not None and report.not_taken > 0
    if database is not None and not result.refused:
        there = {rule.id for rule in await database.read(list_rules)}
        for at in range(0, len(rules), BATCH):
            stored = await _store(database, rules[at : at + BATCH], who)
            new = len({*stored} - there)
            result.inserted += new
            result.updated += len(stored) - new
            there.update(stored)
            if progress is not None:
                progress(at + len(stored), (at + len(stored)) / len(rules))
        result.written = True
    result.seconds = time.monotonic() - started
    return result


def read_rules(
    file: BinaryIO,
    report: Report,
    *,
    region: str,
    timezone: str = "UTC",
    treatment: Treatment | str = Treatment.HANGUP,
    encoding: str = "",
    mapping: Mapping[str, str] | None = None,
) -> Iterator[tuple[int, Rule]]:
    """Yield line and rule of every row that makes one; report the others. Raises InputError."""
    table = open_table(file, _count_known, encoding=encoding)
    fields: Sequence[str] = find_fields(table.headings, BLACKLIST_HEADINGS, mapping)
    plain = "Pattern" not in fields
    if plain:
        if any(character.isalpha() for character in table.headings[0]) or mapping:
            raise nothing_known(table.headings, BLACKLIST_HEADINGS)
        fields = _PLAIN_LIST
    report.notes.append(describe(table) + (", a list without headings" if plain else ""))
    zone = ZoneInfo(timezone)
    for line, cells in table.rows(report, headings=plain):
        row = {name: clean(cell) for name, cell in reversed([*zip(fields, cells, strict=False)]) if name}
        if not any(row.values()):
            continue
        column = "Pattern"
        try:
            kind, pattern = _kind(row.get("Kind", ""), row.get("Pattern", ""))
            canonical = check_rule(kind, pattern, region)
            column = "Treatment"
            allow, what, target = _treatment(row.get("Treatment", "") or str(treatment))
            column = "Expires"
            expires = _until(row["Expires"], zone) if row.get("Expires") else 0
        except InputError as error:
            report.refuse(line, column, str(error), row.get(column, ""))
            continue
        yield line, Rule(
            id=0, kind=RuleKind(kind), pattern=canonical, allow=allow, did=row.get("Did", ""), treatment=what,
            target=target, reason=row.get("Reason", ""), expires_at=expires,
        )  # fmt: skip


def write_rules(rules: Iterable[Rule | RuleRow], out: TextIO, *, headings: bool = True) -> int:
    """Write rules as CSV under the headings that import reads; return how many."""
    writer = csv.writer(out)
    if headings:
        writer.writerow(COLUMNS)
    count = 0
    for rule in rules:
        treatment = f"{rule.treatment}:{rule.target}" if rule.target else str(rule.treatment)
        expires = (
            datetime.fromtimestamp(rule.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            if rule.expires_at
            else ""
        )
        writer.writerow(
            (
                rule.pattern,
                str(rule.kind),
                rule.did,
                "allow" if rule.allow else treatment,
                rule.reason,
                expires,
            )
        )
        count += 1
    return count


def _kind(kind: str, pattern: str) -> tuple[str, str]:
    """Return kind and pattern; without a kind a pattern that ends in * is a prefix, any other one number."""
    if kind:
        return kind.lower(), pattern
    if pattern.lower() == RuleKind.ANONYMOUS:
        return RuleKind.ANONYMOUS, ""
    return (
        (RuleKind.PREFIX, pattern.removesuffix("*")) if pattern.endswith("*") else (RuleKind.EXACT, pattern)
    )


def _treatment(text: str) -> tuple[bool, Treatment, str]:
    """Return whether it is an allow-list entry, the treatment and its target."""
    name, colon, target = text.partition(":")
    name = name.strip().lower()
    if name == "allow" and not colon:
        return True, Treatment.HANGUP, ""
    return False, *parse_treatment(f"{name}{colon}{target.strip()}")


def _until(text: str, zone: ZoneInfo) -> int:
    """Return the end of a rule; one that is over already is kept, as an export of it must come back."""
    if "-" not in text:
        raise InputError(f"{text!r} is no date; write 2026-12-31 (the whole day) or 2026-12-31T14:00")
    return parse_until(text, now=0, zone=zone)


def _count_known(headings: list[str]) -> int:
    return sum(map(bool, find_fields(headings, BLACKLIST_HEADINGS)))


async def _store(database: Database, rules: Sequence[Rule], who: str) -> list[int]:
    async def job(connection: AsyncConnection) -> list[int]:
        now = int(time.time())
        return [await add_rule(connection, rule, who=who, now=now) for rule in rules]

    return await database.write(job)
