"""What calls, chats and dials lose when a person is erased.

Each function is one short transaction, or one look. Rows of the person's own are those of their ids, and those of
their numbers that are no other contact's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.numbers import digits_of
from storage import tasks
from storage.lists import LIST, as_json, ask, change, fetch, run_each
from storage.person import Person
from storage.recordings import Recorded

_TAIL: Final = 6  # digits by which numbers within texts are looked for
_OUTSIDE: Final = 5  # digits of a number that is hardly an extension of ours
_NUMBERS: Final = ("number", "by", "to")  # of legs and transfers


async def calls_of(conn: AsyncConnection, person: Person) -> list[str]:
    """Return the calls of a person, with those that are part of them."""
    found = await fetch(
        conn,
        f"SELECT id FROM calls WHERE contact_id IN {LIST} "  # noqa: S608  # constants, here and below
        f"UNION SELECT id FROM calls WHERE number IN {LIST} AND contact_id IS NULL",
        person.ids,
        person.numbers,
    )
    ids = {row[0] for row in found}
    if person.local:  # no index has them: one look at all calls without a number, beside all writers
        query = "SELECT id, number_text FROM calls WHERE number IS NULL AND contact_id IS NULL AND number_text <> ''"
        ids.update(key for key, text in await ask(conn, query) if digits_of(text) in person.local)
    parts = await fetch(conn, f"SELECT id FROM calls WHERE part_of <> '' AND part_of IN {LIST}", ids)  # noqa: S608
    return sorted(ids.union(row[0] for row in parts))


async def recordings_of(
    conn: AsyncConnection, ids: Collection[str], person: Person | None = None
) -> list[Recorded]:
    """Return the recordings of calls; of a person, only those that are named after a number of theirs."""
    query = f"SELECT id, recording, started_at FROM calls WHERE recording <> '' AND id IN {LIST}"  # noqa: S608
    rows = [Recorded(*row) for row in await fetch(conn, query, ids)]
    return [each for each in rows if person is None or _is_named_after(each.name, person)]


def _is_named_after(recording: str, person: Person) -> bool:
    return any(map(person.has, re.findall(r"\d+", recording)))


async def empty_calls(conn: AsyncConnection, ids: Collection[str]) -> None:
    """Take from calls what tells of a person, the names of recordings, too."""
    rows = await fetch(conn, f"SELECT id, trace, legs, transfers FROM calls WHERE id IN {LIST}", ids)  # noqa: S608
    await run_each(
        conn,
        "UPDATE calls SET number = NULL, number_text = '', name = '', contact_id = NULL, recording = '', trace = ?, "
        "legs = ?, transfers = ? WHERE id = ?",
        [
            (
                json.dumps(_impersonal(parsed(trace))),
                _without(legs, bool),
                _without(transfers, _outside),
                key,
            )
            for key, trace, legs, transfers in rows
        ],
    )
    await tasks.forget(conn, [key for call_id in ids for key in tasks.keys_of(call_id)])


async def mentions_of(conn: AsyncConnection, person: Person) -> list[str]:
    """Return calls that a number of the person may have had a part in: one look at all of them."""
    query = (
        "SELECT id FROM calls WHERE (legs IS NOT NULL OR recording <> '') AND EXISTS (SELECT 1 FROM json_each(?) j "
        "WHERE instr(replace(replace(replace(replace(ifnull(legs, '') || ifnull(transfers, '') || recording, "
        "' ', ''), '-', ''), '/', ''), '.', ''), j.value))"
    )
    tails = [number[-_TAIL:] for number in (*map(str, person.numbers), *person.local)]
    return [row[0] for row in await ask(conn, query, as_json(tails))] if tails else []


async def empty_mentions(conn: AsyncConnection, person: Person, ids: Collection[str]) -> None:
    """Take a person's numbers from the legs and transfers of others' calls, and recordings named after them."""
    query = f"SELECT id, legs, transfers, recording FROM calls WHERE id IN {LIST}"  # noqa: S608
    changes = []
    for key, legs, transfers, recording in await fetch(conn, query, ids):
        kept = "" if _is_named_after(recording, person) else recording
        now = (_without(legs, person.has), _without(transfers, person.has), kept)
        if now != (legs, transfers, recording):
            changes.append((*now, key))
    await run_each(conn, "UPDATE calls SET legs = ?, transfers = ?, recording = ? WHERE id = ?", changes)


async def chats_of(conn: AsyncConnection, person: Person) -> list[str]:
    """Return the chats with a person: one look at all of them."""
    rows = await ask(conn, "SELECT id, contact_id, number, number_text, email FROM chats")
    return [
        key
        for key, contact, number, text, email in rows
        if contact in person.ids
        or (
            contact is None
            and (number in person.numbers or person.has(text) or (email and email.lower() == person.email))
        )
    ]


async def forget_chats(conn: AsyncConnection, ids: Collection[str]) -> int:
    """Forget chats, and what waits for Salesforce of them; return how many those were."""
    await tasks.forget(conn, [f"chat:{each}" for each in ids])
    return await change(conn, f"DELETE FROM chats WHERE id IN {LIST}", ids)  # noqa: S608


async def chats_naming(conn: AsyncConnection, person: Person) -> list[str]:
    """Return chats in which a person is named: one look at all of them."""
    rows = await ask(conn, "SELECT id, messages FROM chats")
    return [key for key, text in rows if person.named_in(parsed(text))]


async def empty_messages(conn: AsyncConnection, person: Person, ids: Collection[str]) -> None:
    """Take from these chats the messages that name the person."""
    changes = []
    for key, text in await fetch(conn, f"SELECT id, messages FROM chats WHERE id IN {LIST}", ids):  # noqa: S608
        messages = parsed(text)
        if isinstance(messages, list):
            kept = [[*each[:1], "", ""] if person.named_in(each) else each for each in messages]
            changes.append((as_json(kept), key))
    await run_each(conn, "UPDATE chats SET messages = ? WHERE id = ?", changes)


def _impersonal(trace: object) -> object:
    """Return a trace without its steps' personal texts; see calls.call.TraceStep."""
    if not isinstance(trace, list):
        return None
    return [[*step[:3], ""] if isinstance(step, list) else step for step in trace]


def _outside(text: str) -> bool:
    return len(digits_of(text)) >= _OUTSIDE


def _without(text: str | None, gone: Callable[[str], bool]) -> str | None:
    """Return legs or transfers without the numbers that are to go."""
    found = parsed(text)
    if not isinstance(found, list):
        return text
    parts = [each for each in found if isinstance(each, dict)]
    return as_json(
        [each | {name: "" for name in _NUMBERS if name in each and gone(str(each[name]))} for each in parts]
    )


def parsed(value: str | None) -> object:
    """Return a JSON text's value, any other text as it is."""
    try:
        return json.loads(value or "null")
    except ValueError:
        return value
