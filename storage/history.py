"""The journal as people look at it: which calls, of whom, and how many.

A row that is part of another call is shown nowhere, and asked for by its id it is that other one.

A page of the history never reads more than SCAN calls: what no index finds (a name, a reason, an agent) is looked for
among so many, the newest first, and the page may then be short, or empty, and still have a next one that goes on from
there. By number, contact and time the calls are found through an index. Times are seconds since 1970.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.call import TraceStep
from agi_server.calls.numbers import digits_of
from agi_server.calls.record import Leg, LegOutcome, Transfer
from agi_server.errors import InputError, NotFoundError
from storage import claims, conversations, tasks
from storage.aliases import by_id
from storage.audit import note
from storage.follow_ups import WAITS
from storage.schema import calls as table

SCAN: Final = 5_000  # calls looked at for one page
_SHORTEST_NUMBER = 6  # digits of a text that is looked for as a whole number, too


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls; what is empty or 0 is not asked for.

    `text` is part of a name or of a number as sent, or a whole number with its plus. `number` is E.164 digits. `agent`
    is the extension a call was routed to or answered by, or whose phone had a part in it. `since` is the first second,
    `until` the last.
    """

    text: str = ""
    number: int = 0
    contact_id: int = 0
    verdict: str = ""
    direction: str = ""
    did: str = ""
    agent: str = ""
    reason: str = ""
    rung: str = ""
    since: int = 0
    until: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """A call; the columns are those of the table, `contact_name` is what the contact is called now.

    `contact_id` is as it was written; `ended_at` None: it goes on, or nobody told; `seconds` were spoken. `told_by` is
    one of record.py's TELLERS. `task_id` is its Task's id in Salesforce, '' where there is none.
    """

    id: str
    uniqueid: str
    direction: str
    started_at: int
    ended_at: int | None
    number: int | None
    number_text: str
    name: str
    did: str
    trunk: str
    contact_id: int | None
    rung: str
    verdict: str
    reason: str
    rule_id: int | None
    routed_to: str
    answered_by: str
    disposition: str
    seconds: int | None
    trace: tuple[TraceStep, ...]
    contact_name: str
    pbx: str = ""
    linkedid: str = ""
    answered_at: int | None = None
    queue: str = ""
    recording: str = ""
    legs: tuple[Leg, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    told_by: str = ""
    task_id: str = ""


class Hour(NamedTuple):
    """Calls that came in within one hour; `at` is its first second."""

    at: int
    allowed: int
    blocked: int


@dataclass(frozen=True, slots=True)
class Caller:
    """A number that called; `name` is what its last call's contact is called now, else what was shown."""

    number: int  # E.164 digits
    name: str
    contact_id: int | None
    count: int
    blocked: int
    last_at: int


_Part = TypeVar("_Part", Leg, Transfer)

_CURSOR = re.compile(r"([0-9]{1,15}):(.{0,200})", re.DOTALL)
_NAME = (
    "coalesce((SELECT name FROM contacts WHERE id = k.contact_id), (SELECT c.name FROM contact_aliases a "
    "JOIN contacts c ON c.id = a.contact_id WHERE a.id = k.contact_id), '') AS contact_name"
)
_TASK = "coalesce((SELECT salesforce_id FROM tasks WHERE key = 'call:' || k.id), '') AS task_id"
_GIVEN = {"contact_name", "task_id"}  # with a row, besides its columns
_COLUMNS = ", ".join(f"k.{each.name}" for each in fields(CallRow) if each.name not in _GIVEN)
_ROWS = (
    f"SELECT {_COLUMNS}, {_NAME}, {_TASK} FROM calls k WHERE k.id IN (SELECT value FROM json_each(?)) "  # noqa: S608  # constants
    "ORDER BY k.started_at DESC, k.id DESC"
)


async def calls(
    conn: AsyncConnection, wanted: CallFilter, *, limit: int, after: str = ""
) -> tuple[list[CallRow], str]:
    """Return at most `limit` calls, the newest first, and where the next page begins, '' where there is none.

    Raises InputError when `after` is no such place.
    """
    indexed, values = await _indexed(conn, wanted)
    if after:
        indexed.append("(started_at, id) < (:at, :id)")
        values |= _place(after)
    chosen, more_values = _chosen(wanted)
    # The inner query gives its rows one by one: the outer one stops it when it has enough.
    scanned = (
        "SELECT id, started_at, number_text, name, verdict, direction, did, routed_to, answered_by, reason, rung, "  # noqa: S608  # constants
        f"legs FROM calls WHERE {' AND '.join(indexed)} ORDER BY started_at DESC, id DESC LIMIT {SCAN}"
    )
    query = f"SELECT id, started_at FROM ({scanned}) WHERE {' AND '.join(chosen) or '1'} LIMIT :limit"  # noqa: S608  # likewise
    rows = [*await conn.exec_driver_sql(query, values | more_values | {"limit": limit + 1})]
    found = await _fetch(conn, [row.id for row in rows[:limit]])
    if len(rows) > limit:
        return found, f"{rows[limit - 1].started_at}:{rows[limit - 1].id}"
    last = f"SELECT id, started_at FROM ({scanned}) LIMIT 1 OFFSET {SCAN - 1}"  # noqa: S608  # likewise
    end = (await conn.exec_driver_sql(last, values)).first()
    return found, f"{end.started_at}:{end.id}" if end is not None else ""


def _place(after: str) -> dict[str, Any]:
    match = _CURSOR.fullmatch(after)
    if match is None:
        raise InputError("this is no place in the history; begin again without it")
    return {"at": int(match[1]), "id": match[2]}


async def _indexed(conn: AsyncConnection, wanted: CallFilter) -> tuple[list[str], dict[str, Any]]:
    """Return conditions that an index answers, with their values."""
    conditions, values = ["part_of = ''"], dict[str, Any]()
    number = wanted.number or _number_of(wanted.text)
    if number:
        conditions.append("number = :number")
        values["number"] = number
    if wanted.contact_id:
        conditions.append("contact_id IN (SELECT value FROM json_each(:contacts))")
        values["contacts"] = json.dumps(await _ids(conn, wanted.contact_id))
    if wanted.since:
        conditions.append("started_at >= :since")
        values["since"] = wanted.since
    if wanted.until:
        conditions.append("started_at <= :until")
        values["until"] = wanted.until
    return conditions, values


def _number_of(text: str) -> int:
    """Return the E.164 number that a text is, written with its plus; 0: it is none."""
    digits = digits_of(text)
    whole = re.fullmatch(r"\s*\+[\d\s()./-]+", text) is not None
    return int(digits) if whole and _SHORTEST_NUMBER <= len(digits) <= 15 else 0


async def _ids(conn: AsyncConnection, contact_id: int) -> list[int]:
    """Return every id that a contact has or had: calls keep the one of their time."""
    named = await by_id(conn, contact_id)
    if named is None:
        return [contact_id]
    aliases = await conn.exec_driver_sql("SELECT id FROM contact_aliases WHERE contact_id = ?", (named.id,))
    return [named.id, *aliases.scalars()]


def _chosen(wanted: CallFilter) -> tuple[list[str], dict[str, Any]]:
    """Return conditions that are looked at call by call, with their values."""
    conditions = [
        f"{name} = :{name}"
        for name in ("verdict", "direction", "did", "reason", "rung")
        if getattr(wanted, name)
    ]
    values = {name: getattr(wanted, name) for name in ("verdict", "direction", "did", "reason", "rung")}
    if wanted.agent:
        conditions.append("(routed_to = :agent OR answered_by = :agent OR instr(legs, :leg))")
        values |= {"agent": wanted.agent, "leg": f'"extension": {json.dumps(wanted.agent)}'}
    if wanted.text.strip() and not _number_of(wanted.text):
        conditions.append("(name LIKE :text ESCAPE '\\' OR number_text LIKE :text ESCAPE '\\')")
        values["text"] = "%" + re.sub(r"([\\%_])", r"\\\1", wanted.text.strip()) + "%"
    return conditions, values


async def _fetch(conn: AsyncConnection, ids: list[str]) -> list[CallRow]:
    rows = await conn.exec_driver_sql(_ROWS, (json.dumps(ids),))
    return [_row(dict(row)) for row in rows.mappings()]


def _row(row: dict[str, Any]) -> CallRow:
    return CallRow(
        **row
        | {
            "trace": steps_of(json.loads(row["trace"] or "[]")),
            "legs": _parts(Leg, row["legs"]),
            "transfers": _parts(Transfer, row["transfers"]),
        }
    )


def _parts(kind: type[_Part], text: str | None) -> tuple[_Part, ...]:
    """Return legs or transfers as they were before they became JSON; what is none is left out."""
    found = json.loads(text or "[]")
    parts = []
    for each in found if isinstance(found, list) else []:
        try:
            more = {"outcome": LegOutcome(each["outcome"])} if kind is Leg else {}
            parts.append(kind(**each | more))
        except (KeyError, TypeError, ValueError):
            continue
    return tuple(parts)


def steps_of(trace: object) -> tuple[TraceStep, ...]:
    """Return a trace as it was before it became JSON; what is none is left out."""
    steps = trace if isinstance(trace, list) else []
    return tuple(
        TraceStep(*map(str, step))
        for step in steps
        if isinstance(step, list) and 2 <= len(step) <= len(TraceStep._fields)
    )


async def get_call(conn: AsyncConnection, call_id: str) -> CallRow | None:
    """Return a call, or the one it is part of; None where there is none with that id."""
    row = await conversations.get(conn, call_id)
    found = await _fetch(conn, [row["id"]]) if row is not None else []
    return found[0] if found else None


async def assign(conn: AsyncConnection, call_id: str, contact_id: int | None, *, who: str, now: int) -> None:
    """Note whose call it was (None: nobody's that we know); its Tasks follow. Raises NotFoundError."""
    row = await conversations.get(conn, call_id)
    if row is None:
        raise NotFoundError(f"there is no call {call_id}; calls are forgotten after a time")
    contact = contact_id
    if contact_id is not None:
        named = await by_id(conn, contact_id)
        if named is None:
            raise NotFoundError(f"there is no contact {contact_id}")
        contact = named.id
    marks = claims.marked(row, claims.ASSIGNED)
    await conn.execute(table.update().where(table.c.id == row["id"]).values(contact_id=contact, marks=marks))
    if contact == row["contact_id"]:
        return
    before, after = ({"id": row["id"], "contact_id": each} for each in (row["contact_id"], contact))
    await note(conn, who=who, what="calls.assign", before=before, after=after, now=now)
    for key in tasks.keys_of(row["id"]):
        await tasks.follow(conn, key, now=now)


async def by_hour(conn: AsyncConnection, since: int, until: int, *, offset: int = 0) -> list[Hour]:
    """Return the inbound calls from `since` to before `until` by hour, hours without any left out.

    `offset` is the seconds by which the clock is ahead of UTC: where that is no whole hour, hours begin otherwise.
    """
    query = (
        "SELECT (started_at + :offset) / 3600 * 3600 - :offset AS hour, sum(verdict <> 'block'), "
        "sum(verdict = 'block') FROM calls WHERE started_at >= :since AND started_at < :until "
        "AND direction = 'inbound' AND part_of = '' GROUP BY hour ORDER BY hour"
    )
    values = {"since": since, "until": until, "offset": offset}
    return [Hour(*[*row]) for row in await conn.exec_driver_sql(query, values)]


async def by_verdict(conn: AsyncConnection, since: int, until: int) -> Mapping[str, int]:
    """Return how many inbound calls from `since` to before `until` had which verdict."""
    query = (
        "SELECT verdict, count(*) AS inbound FROM calls WHERE started_at >= ? AND started_at < ? "
        "AND direction = 'inbound' AND part_of = '' GROUP BY verdict ORDER BY verdict"
    )
    return {row.verdict: row.inbound for row in await conn.exec_driver_sql(query, (since, until))}


_TOP = (
    f"SELECT k.number, k.contact_id, t.calls, t.blocked, k.started_at, k.name, {_NAME} FROM "  # noqa: S608  # constants
    "(SELECT number, count(*) AS calls, sum(verdict = 'block') AS blocked, max(started_at) AS last FROM calls "
    "WHERE started_at >= :since AND started_at < :until AND direction = 'inbound' AND number IS NOT NULL "
    "AND part_of = '' GROUP BY number ORDER BY calls DESC, last DESC LIMIT :limit) t JOIN calls k ON k.id = "
    "(SELECT id FROM calls WHERE number = t.number AND started_at = t.last AND direction = 'inbound' "
    "AND part_of = '' ORDER BY id DESC LIMIT 1) ORDER BY t.calls DESC, k.started_at DESC"
)


async def top_callers(conn: AsyncConnection, since: int, until: int, *, limit: int) -> list[Caller]:
    """Return who called most often from `since` to before `until`."""
    values = {"since": since, "until": until, "limit": limit}
    return [
        Caller(
            row.number, row.contact_name or row.name, row.contact_id, row.calls, row.blocked, row.started_at
        )
        for row in await conn.exec_driver_sql(_TOP, values)
    ]


_MISSED = (
    f"SELECT k.id, max(k.started_at) FROM calls k WHERE k.started_at >= :since AND {WAITS} "  # noqa: S608  # constants
    "GROUP BY k.number ORDER BY 2 DESC LIMIT :limit"
)


async def to_call_back(conn: AsyncConnection, since: int, *, limit: int) -> list[CallRow]:
    """Return the last missed call since `since` of each number that is still to be called back, the newest first.

    follow_ups.py says which those are.
    """
    rows = await conn.exec_driver_sql(_MISSED, {"since": since, "limit": limit})
    return await _fetch(conn, [row[0] for row in rows])
