"""What is made of a call when it has ended: a contact or a lead of an unknown caller, an opportunity.

Invariant: a call makes one record at most, however often and by whomever its end is told, and a number one contact,
however many calls it makes at once: what is there is looked for in the transaction that makes what is not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.numbers import digits_of, is_placeholder
from agi_server.calls.record import Disposition, disposition_of
from agi_server.calls.screening import scope_of
from agi_server.salesforce.scopes import covers
from agi_server.settings import CallEntry, Settings
from storage import call_facts, tasks, unknown_callers
from storage.call_facts import CallFacts
from storage.lists import LIST, fetch

SAME_PERSON = 60  # seconds within which one name from two numbers is one person
DAY = 86_400  # seconds within which a number makes one opportunity
SHORTEST = 6  # digits of a number somebody can be called back at


async def after_call(conn: AsyncConnection, call_id: str, settings: Settings, now: int) -> None:
    """Make what salesforce.on_call wants of a call that has ended; may be told again of the same call."""
    entries = settings.salesforce.on_call
    if not settings.salesforce.enabled or not entries:
        return
    call = (await call_facts.calls(conn, [call_id])).get(call_id)
    if call is None or not concerns(call):
        return
    entry = entry_for(entries, call, known=is_known(call), outcome=outcome(call))
    if entry is None or entry.object == "none" or await _is_ours(conn, call):
        return
    if entry.object == "Opportunity":
        made_of_it = call.person is not None and call.person.created_at >= (call.ended_at or 0)
        if not made_of_it and not await _has_record(conn, await _same_day(conn, call)):
            await tasks.want(conn, f"record:{call.id}", due=now, now=now)
    elif call.person is None and not await _has_record(conn, [call.id]):
        contact = await _contact_of(conn, call, entry, now)
        if contact is not None:
            await conn.exec_driver_sql("UPDATE calls SET contact_id = ? WHERE id = ?", (contact, call.id))


def concerns(call: CallFacts) -> bool:
    """Return whether anything may be made of a call: it has ended, was let in, and is with a number outside."""
    return (
        call.ended_at is not None
        and call.direction in {"inbound", "outbound"}
        and call.verdict != "block"
        and not call.part_of
        and len(_digits(call)) >= SHORTEST
    )


def is_known(call: CallFacts) -> bool:
    """Return whether the caller was known before the call; a contact made by the call itself does not count."""
    return call.person is not None and call.person.created_at < call.started_at


def is_answered(call: CallFacts) -> bool:
    """Return whether two people spoke."""
    return bool(call.answered_by) or disposition_of(call.disposition) is Disposition.ANSWERED


def outcome(call: CallFacts) -> str:
    """Return how a call ended, as entries say it."""
    return "answered" if is_answered(call) else "missed"


def entry_for(
    entries: Sequence[CallEntry], call: CallFacts, *, known: bool, outcome: str
) -> CallEntry | None:
    """Return the first entry that fits a call with this outcome, None where none does."""
    mine = {"direction": call.direction, "outcome": outcome, "caller": "known" if known else "unknown"}
    for entry in entries:
        if covers(entry.did, call.did) and all(
            getattr(entry, name) in {value, "any"} for name, value in mine.items()
        ):
            return entry
    return None


async def _contact_of(conn: AsyncConnection, call: CallFacts, entry: CallEntry, now: int) -> int | None:
    """Return the contact of a caller whom nobody knew when the call began; None where it cannot be told."""
    digits = "" if call.number else _digits(call)
    found = await unknown_callers.holders(conn, call.number, digits)
    if found:
        return found[0] if len(found) == 1 else None
    name = real_name(call)
    same = await unknown_callers.just_made(conn, name, now - SAME_PERSON, now) if name else None
    if same is not None:
        await unknown_callers.add_number(conn, same, call.number, digits, now)
        return same
    text = f"+{call.number}" if call.number else digits
    payload = {
        "call": call.id,
        "outcome": outcome(call),  # the entry that counts, whatever else is told of the call
        "did": call.did,
        "phone": text,
        "name": name or text,
    }
    return await unknown_callers.make(
        conn, kind=entry.object, name=name, number=call.number, digits=digits, payload=payload, now=now
    )


def real_name(call: CallFacts) -> str:
    """Return what the trunk calls the other party, '' where that is no name."""
    name = call.name.strip()
    if not any(map(str.isalpha, name)) or is_placeholder(name):
        return ""
    return name


async def _has_record(conn: AsyncConnection, calls: Collection[str]) -> bool:
    """Return whether a record was made, or is about to be, of one of these calls."""
    keys = [f"record:{call}" for call in calls]
    query = f"SELECT 1 FROM tasks WHERE key IN {LIST} UNION SELECT 1 FROM outbox WHERE key IN {LIST}"  # noqa: S608  # constants
    return bool(await fetch(conn, query, keys, keys))


async def _same_day(conn: AsyncConnection, call: CallFacts) -> list[str]:
    """Return the calls of a call's number within the day before it, and itself."""
    query = "SELECT id FROM calls WHERE number = ? AND started_at BETWEEN ? AND ?"
    rows = await conn.exec_driver_sql(query, (call.number, call.started_at - DAY, call.started_at))
    return [call.id, *rows.scalars()]


async def _is_ours(conn: AsyncConnection, call: CallFacts) -> bool:
    """Return whether the other party is a number of our own: a contact of it would be of every call from it."""
    rows = await conn.exec_driver_sql("SELECT did FROM dids")
    return _digits(call) in {scope_of(did) for did in rows.scalars()}


def _digits(call: CallFacts) -> str:
    return str(call.number) if call.number else digits_of(call.number_text)
