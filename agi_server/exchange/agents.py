"""Agents from files and back.

Invariant: a file changes what it has a column for; whatever else is known of an agent stays. All agents of a
file are written in one transaction, so that delegates may stand below those who name them.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO
from zoneinfo import ZoneInfo

from agi_server.calls.directory import Agent
from agi_server.calls.hours import find_zone, parse_hours
from agi_server.errors import InputError
from agi_server.exchange.cells import clean, salesforce_id
from agi_server.exchange.headings import AGENT_HEADINGS, find_fields, nothing_known
from agi_server.exchange.report import ImportResult, Report
from agi_server.exchange.tables import describe, open_table
from agi_server.exchange.values import check_dialable, parse_until
from storage.agents import list_agents, put_agent
from storage.database import Database

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

COLUMNS = tuple(AGENT_HEADINGS)


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One row: what it says of an agent, by the names of `Agent`'s fields; the delegate by extension."""

    line: int
    extension: str
    values: Mapping[str, Any]
    delegate: str | None  # None: the file has no such column


@dataclass(slots=True)
class _Stored:
    """What storing did; reported once the transaction is through, as a job may be run again."""

    inserted: int = 0
    updated: int = 0
    refused: list[tuple[AgentRow, str]] = field(default_factory=list)
    delegates: list[tuple[AgentRow, str]] = field(default_factory=list)  # left out


class _Refused(Exception):  # noqa: N818  # takes the transaction back
    """Some rows cannot be stored, and the file was to be taken as a whole or not at all."""

    def __init__(self, stored: _Stored) -> None:
        self.stored = stored


async def import_agents(
    file: BinaryIO,
    *,
    database: Database | None,
    who: str,
    timezone: str = "UTC",
    report: Report | None = None,
    encoding: str = "",
    mapping: Mapping[str, str] | None = None,
    all_or_nothing: bool = False,
) -> ImportResult:
    """Read agents and store them; without a database only read and report.

    `timezone` is that of absences written without one, `who` is noted in the audit. Raises InputError when
    the file as a whole cannot be read, and DirectoryError when the database cannot be written.
    """
    started = time.monotonic()
    report = report or Report()
    result = ImportResult(report=report)
    rows = read_agents(file, report, timezone=timezone, encoding=encoding, mapping=mapping)
    result.rows = len(rows) + report.not_taken
    result.refused = all_or_nothing and database is not None and report.not_taken > 0
    if database is not None and not result.refused:
        try:
            stored = await database.write(lambda conn: _store(conn, rows, who, all_or_nothing=all_or_nothing))
            result.inserted, result.updated = stored.inserted, stored.updated
        except _Refused as refusal:
            stored = refusal.stored
            result.refused = True
        result.written = not result.refused
        for row, reason in stored.refused:
            report.refuse(row.line, "", reason, row.extension)
        for row, reason in stored.delegates:
            report.remark(row.line, "Delegate", reason, row.delegate or "")
    result.seconds = time.monotonic() - started
    return result


def read_agents(
    file: BinaryIO,
    report: Report,
    *,
    timezone: str = "UTC",
    encoding: str = "",
    mapping: Mapping[str, str] | None = None,
) -> list[AgentRow]:
    """Return the rows that make an agent; report the others. Raises InputError."""
    table = open_table(file, _count_known, encoding=encoding)
    fields = find_fields(table.headings, AGENT_HEADINGS, mapping)
    if "Extension" not in fields:
        raise nothing_known(table.headings, AGENT_HEADINGS)
    report.notes.append(describe(table))
    rows: list[AgentRow] = []
    seen: dict[tuple[str, str], int] = {}
    for line, cells in table.rows(report):
        row = {name: "" for name in fields if name}
        row |= {name: clean(cell) for name, cell in reversed([*zip(fields, cells, strict=False)]) if name}
        if not any(row.values()):
            continue
        column = ""
        try:
            values: dict[str, Any] = {}
            for column, text in row.items():
                attribute, read = _READERS[column]
                values[attribute] = read(text, timezone)
            for column in ("Extension", "Email", "SalesforceUserId"):
                _once(seen, column, values.get(_READERS[column][0]), line)
        except InputError as error:
            report.refuse(line, column, str(error), row[column])
            continue
        delegate = values.pop("delegate", None)
        rows.append(AgentRow(line, values["extension"], values, delegate))
    return rows


def write_agents(agents: Sequence[Agent], out: TextIO) -> int:
    """Write agents as CSV under the headings that import reads; return how many."""
    extension_of = {agent.id: agent.extension for agent in agents}
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for agent in agents:
        absent = datetime.fromtimestamp(agent.absent_until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        writer.writerow(
            (
                agent.name, agent.email, agent.extension, agent.salesforce_user_id, agent.hours,
                agent.timezone, absent if agent.absent_until else "", extension_of.get(agent.delegate, ""),
                agent.ring_seconds or "", agent.fallback,
            )
        )  # fmt: skip
    return len(agents)


async def _store(
    connection: AsyncConnection, rows: Sequence[AgentRow], who: str, *, all_or_nothing: bool
) -> _Stored:
    now = int(time.time())
    stored = _Stored()
    there = {agent.extension: agent for agent in await list_agents(connection)}
    for row in rows:
        known = there.get(row.extension)
        agent = replace(known or Agent(id=0, name="", extension=row.extension), **row.values)
        if not agent.name:
            agent = replace(agent, name=row.extension)
        try:
            number = await put_agent(connection, agent, who=who, now=now)
        except InputError as error:
            stored.refused.append((row, str(error)))
            continue
        there[row.extension] = replace(agent, id=number)
        stored.inserted += known is None
        stored.updated += known is not None
    if all_or_nothing and stored.refused:
        raise _Refused(stored)
    for row in rows:
        if row.delegate is None or row.extension not in there:
            continue
        agent, other = there[row.extension], there.get(row.delegate)
        if row.delegate and (other is None or other is agent):
            reason = "nobody is their own delegate" if other else "no agent has this extension"
            stored.delegates.append((row, reason))
        elif agent.delegate != (other.id if other else 0):
            there[row.extension] = replace(agent, delegate=other.id if other else 0)
            await put_agent(connection, there[row.extension], who=who, now=now)
    return stored


def _once(seen: dict[tuple[str, str], int], column: str, value: str | None, line: int) -> None:
    if value and (first := seen.setdefault((column, value), line)) != line:
        raise InputError(f"the same as on line {first}")


def _text(text: str, _timezone: str) -> str:
    return text


def _email(text: str, _timezone: str) -> str:
    if text and "@" not in text:
        raise InputError("no e-mail address")
    return text.lower()


def _extension(text: str, _timezone: str) -> str:
    if not text:
        raise InputError("an agent needs an extension")
    return check_dialable(text)


def _user(text: str, _timezone: str) -> str:
    if text and not (found := salesforce_id(text)):
        raise InputError("no Salesforce id: 15 or 18 letters and digits")
    return found if text else ""


def _hours(text: str, _timezone: str) -> str:
    parse_hours(text)
    return text


def _zone(text: str, _timezone: str) -> str:
    return find_zone(text).key if text else ""


def _absent(text: str, timezone: str) -> int:
    return parse_until(text, now=0, zone=ZoneInfo(timezone)) if text else 0


def _seconds(text: str, _timezone: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and int(text) <= 600):
        raise InputError("write whole seconds, 600 at most")
    return int(text)


def _fallback(text: str, _timezone: str) -> str:
    return check_dialable(text)


# column → the field of `Agent` and how its text is read; the second argument is the time zone of the settings
_READERS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "Name": ("name", _text),
    "Email": ("email", _email),
    "Extension": ("extension", _extension),
    "SalesforceUserId": ("salesforce_user_id", _user),
    "Hours": ("hours", _hours),
    "Timezone": ("timezone", _zone),
    "AbsentUntil": ("absent_until", _absent),
    "Delegate": ("delegate", _text),
    "RingSeconds": ("ring_seconds", _seconds),
    "Fallback": ("fallback", _fallback),
}


def _count_known(headings: list[str]) -> int:
    return sum(map(bool, find_fields(headings, AGENT_HEADINGS)))
