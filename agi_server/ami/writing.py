"""What one PBX told, into the database.

Invariant: each of these may be done again, after a failure at any point, without doing anything twice; and a
conversation leaves `live_calls` in the transaction that puts its finished record into the journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Directory
from agi_server.calls.hindsight import decide_afterwards
from agi_server.calls.record import Record
from agi_server.conclusion import conclude, wanted_tasks
from agi_server.journal import record_of
from agi_server.settings import Settings
from storage import agent_states, live_calls
from storage.calls import answer_call
from storage.records import find

Line = tuple[str, str, dict[str, Any]]  # to the serving process: "call", what, content


@dataclass(frozen=True, slots=True)
class Answered:
    """Somebody began to speak, at `at` (seconds since 1970): one of ours, '' where that is not known."""

    record: Record
    extension: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """How things stand. `live` has None where a conversation is to be forgotten."""

    live: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)  # of phones, by extension
    all_states: bool = False  # of no other phone is anything known
    heard: bool = False  # the PBX is there


async def write_notes(conn: AsyncConnection, pbx: str, notes: Notes, now: int) -> None:
    """Write how things stand."""
    if notes.live:
        await live_calls.keep(conn, pbx, notes.live)
    if notes.all_states:
        await agent_states.forget(conn, pbx)
    if notes.states:
        await agent_states.put(conn, pbx, notes.states, now)
    if notes.heard:
        await agent_states.heard(conn, pbx, now)


async def write_answer(conn: AsyncConnection, answered: Answered, settings: Settings) -> Line:
    """Note who speaks, if he is the first; return what the serving process is to hear of it."""
    record, at = answered.record, int(answered.at)
    call_id = await _find(conn, record)
    if settings.journal.enabled and call_id and answered.extension == record.answered_by:
        tasks = wanted_tasks(settings)
        await answer_call(conn, call_id=call_id, at=at, extension=answered.extension, tasks=tasks)
    return "call", "answered", {**_which(record, call_id), "at": at, "extension": answered.extension}


async def write_end(conn: AsyncConnection, record: Record, settings: Settings, directory: Directory) -> Line:
    """Put a finished record into the journal; return what the serving process is to hear of it."""
    call_id = await _find(conn, record)
    if settings.journal.enabled:
        decided = None if call_id else record_of(decide_afterwards(record, directory))
        call_id = await conclude(conn, record, settings, decided=decided)
    await live_calls.keep(conn, record.pbx, {record.linkedid: None})
    ended_at = record.started_at if record.ended_at is None else record.ended_at
    content = {
        **_which(record, call_id),
        "ended_at": int(ended_at),
        "disposition": record.disposition.value,
        "seconds": record.seconds,
        "answered_by": record.answered_by,
        "direction": record.way.value,
        "number": record.number,
        "name": record.name,
        "did": record.did,
        "trunk": record.trunk,
    }
    return "call", "ended", content


async def _find(conn: AsyncConnection, record: Record) -> str:
    found = await find(conn, record.uniqueids, record.linkedid, pbx=record.pbx, at=record.started_at)
    return found or ""


def _which(record: Record, call_id: str) -> dict[str, Any]:
    return {"call_id": call_id, "uniqueid": record.linkedid, "uniqueids": list(record.uniqueids)}
