"""Erase one person everywhere, when the person asks for it.

What goes: the contact with its numbers, switchboards, aliases and search words, what waits for Salesforce about it,
what was noted of its unreadable numbers and flags, and stored answers to requests that name it; chats with the person,
calls to them ordered by a click, and what is kept of a call that goes on. Calls stay, for they are counted: without
number, name, contact, recording, the personal part of their trace, the numbers of their legs and transfers, and the
link to their Tasks; of others' calls, such legs and transfers lose their number. Audit rows stay, for they tell who did
something and when: what it was before and after becomes {"erased": true}. A rule about one of the numbers stays, for
somebody does not want to be called from there, and a number alone names nobody; its reason goes when it names them.
What remains is not ours to take back: backups, until they are replaced (`ostiary backup` writes whole files), logs,
the journal's calls of the last seconds that are not stored yet, and what Salesforce, MQTT's subscribers and PBXs have.

Invariant: the contact goes last. An erasure that was stopped anywhere is done again from the beginning, and
finds what is left. Each step is one short transaction. Deleted bytes are overwritten in the file; those in the
write-ahead log are when the log is next written over.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.numbers import Number
from agi_server.errors import ConflictError, NotFoundError
from storage.aliases import by_id
from storage.audit import note
from storage.database import Database
from storage.forgetting import (
    calls_of,
    chats_naming,
    chats_of,
    empty_calls,
    empty_mentions,
    empty_messages,
    forget_chats,
    mentions_of,
    parsed,
    recordings_of,
)
from storage.lists import LIST, as_json, ask, change
from storage.people import get_contact
from storage.person import Person, holders, of_contact, of_number
from storage.recordings import Recorded

CALLS: Final = 500  # of one transaction; audit rows, too
_MERGE_PAGES = 100  # of the search index, written anew in one transaction
_ERASED: Final = json.dumps({"erased": True})

T = TypeVar("T")
Job = Callable[[AsyncConnection], Awaitable[T]]
Delete = Callable[[Sequence[Recorded]], Awaitable[int]]  # deletes files; returns how many


class Erased(NamedTuple):
    """How many rows went, or lost what they said about the person; and how many recordings were deleted."""

    contacts: int
    calls: int
    audit: int
    outbox: int
    rules: int
    chats: int = 0
    dials: int = 0
    recordings: int = 0


async def _leave(recordings: Sequence[Recorded]) -> int:
    del recordings
    return 0


async def erase(
    database: Database, contact_id: int, *, who: str, now: int, delete: Delete = _leave
) -> Erased:
    """Erase a contact, and the calls of its numbers that are nobody else's; `delete` deletes files of recordings.

    A contact that Salesforce has would come back: ConflictError says to delete it there first. Once the
    synchronisation has removed it, its id still finds its calls. Raises NotFoundError when nothing has that id.
    """
    card = await database.read(partial(get_contact, contact_id=contact_id))
    if card is not None and card.salesforce_id:
        raise ConflictError(
            f"contact {card.id} comes from Salesforce ({card.salesforce_id}) and would come back with the next "
            "synchronisation: delete it there, wait until it is gone here, then erase it here by the same id"
        )
    person = await database.read(partial(of_contact, contact_id=contact_id, card=card))
    if card is None and not await database.read(partial(_is_left, person=person)):
        raise NotFoundError(f"there is no contact {contact_id}, nor a call of one")
    erased = await _erase(database, person, delete)
    contacts = await _write(database, partial(_forget, person=person)) if card is not None else 0
    await _forget_words(database)
    done = erased._replace(contacts=contacts)
    await database.write(
        lambda conn: note(
            conn, who=who, what="contact.erase", before={"id": contact_id}, after=done._asdict(), now=now
        )
    )
    return done


async def erase_number(
    database: Database, number: Number, *, who: str, now: int, delete: Delete = _leave
) -> Erased:
    """Erase the calls of a number that is no contact's, as `erase` does. Raises ConflictError when it is one's."""
    if found := await database.read(partial(holders, number=number)):
        listed = ", ".join(map(str, found))
        raise ConflictError(
            f"this is a number of contact {listed}: erase the contact, or take the number from it"
        )
    erased = await _erase(database, of_number(number), delete)
    await database.write(
        lambda conn: note(conn, who=who, what="calls.erase", before=None, after=erased._asdict(), now=now)
    )
    return erased


async def _is_left(conn: AsyncConnection, person: Person) -> bool:
    query = (
        "SELECT 1 FROM calls WHERE contact_id = ?1 UNION SELECT 1 FROM chats WHERE contact_id = ?1 "
        "UNION SELECT 1 FROM dials WHERE contact_id = ?1"
    )
    return bool(await ask(conn, query, person.ids[0]))


_REST: Final = {  # statement -> query for its rows: key, contact, text
    f"DELETE FROM outbox WHERE id IN {LIST}": "SELECT id, contact_id, payload FROM outbox",  # noqa: S608  # constants, here and below
    f"UPDATE blacklist SET reason = '' WHERE id IN {LIST}": "SELECT id, NULL, reason FROM blacklist WHERE reason <> ''",  # noqa: S608
    f"DELETE FROM dials WHERE id IN {LIST}": "SELECT id, contact_id, number_text FROM dials",  # noqa: S608
    f"DELETE FROM replies WHERE key IN {LIST}": "SELECT key, NULL, body FROM replies",  # noqa: S608
    f"DELETE FROM live_calls WHERE pbx || ' ' || linkedid IN {LIST}": (  # noqa: S608
        "SELECT pbx || ' ' || linkedid, NULL, state FROM live_calls"
    ),
}


async def _erase(database: Database, person: Person, delete: Delete) -> Erased:
    """Erase all but the contact itself. Files go before the rows that name them."""
    calls = await database.read(partial(calls_of, person=person))
    recordings = 0
    for some in _batches(calls):
        recordings += await _delete(database, partial(recordings_of, ids=some), delete)
        await _write(database, partial(empty_calls, ids=some))
    for some in _batches(await database.read(partial(mentions_of, person=person))):
        recordings += await _delete(database, partial(recordings_of, ids=some, person=person), delete)
        await _write(database, partial(empty_mentions, person=person, ids=some))
    chats = await database.read(partial(chats_of, person=person))
    await _write(database, partial(forget_chats, ids=chats))
    for some in _batches(await database.read(partial(chats_naming, person=person))):
        await _write(database, partial(empty_messages, person=person, ids=some))
    told = last = 0
    while page := await database.read(partial(_audit, after=last)):
        ids = [number for number, what, *values in page if _concerns(person, what, [*map(parsed, values)])]
        await _write(database, partial(_empty_audit, ids=ids))
        told += len(ids)
        last = page[-1][0]
    found = await database.read(partial(_rest, person=person))
    outbox, rules, dials, *_ = [
        await _write(database, partial(_end, statement=statement, ids=ids))
        for statement, ids in found.items()
    ]
    return Erased(0, len(calls), told, outbox, rules, len(chats), dials, recordings)


async def _delete(database: Database, find: Job[list[Recorded]], delete: Delete) -> int:
    found = await database.read(find)
    return await delete(found) if found else 0


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[at : at + CALLS] for at in range(0, len(ids), CALLS))


async def _audit(conn: AsyncConnection, after: int) -> list[tuple[Any, ...]]:
    query = "SELECT id, what, before, after FROM audit WHERE id > ? ORDER BY id LIMIT ?"
    return [tuple(row) for row in await conn.exec_driver_sql(query, (after, CALLS))]


def _concerns(person: Person, what: str, values: Iterable[object]) -> bool:
    """Return whether an audit row is about a person: is of their contact, under whatever name then, or names them."""
    key = "id" if what in {"contact.add", "contact.change"} else "contact_id"
    return any(
        person.named_in(value) or (isinstance(value, dict) and value.get(key) in person.ids)
        for value in values
    )


async def _empty_audit(conn: AsyncConnection, ids: Collection[int]) -> None:
    for name in ("before", "after"):
        await conn.exec_driver_sql(
            f"UPDATE audit SET {name} = ? WHERE {name} IS NOT NULL AND {name} <> 'null' AND id IN {LIST}",  # noqa: S608
            (_ERASED, as_json(ids)),
        )


async def _rest(conn: AsyncConnection, person: Person) -> dict[str, list[Any]]:
    """Return what else names a person: statements that end it, and the keys of their rows."""
    found: dict[str, list[Any]] = {}
    for statement, query in _REST.items():
        rows = await conn.exec_driver_sql(query)
        found[statement] = [
            key
            for key, contact, text in map(tuple, rows)
            if contact in person.ids or person.named_in(parsed(text)) or person.dialled_in(parsed(text))
        ]
    return found


async def _end(conn: AsyncConnection, statement: str, ids: Collection[Any]) -> int:
    return await change(conn, statement, ids)


async def _forget(conn: AsyncConnection, person: Person) -> int:
    """Forget the contact; all that refers to it goes with it."""
    number = person.ids[0]
    named = await by_id(conn, number)
    if named is None:
        return 0
    query = "SELECT account_id FROM contacts WHERE id = ?"
    account = (await conn.exec_driver_sql(query, (number,))).scalar()
    await conn.exec_driver_sql(
        "DELETE FROM unread_numbers WHERE salesforce_id IN "
        "(SELECT salesforce_id FROM contact_aliases WHERE contact_id = ?)",
        (number,),
    )
    await conn.exec_driver_sql("DELETE FROM contacts WHERE id = ?", (number,))
    if account is not None:  # its name may be the person's; who else belongs to it, the search index knows
        await conn.exec_driver_sql(
            "DELETE FROM accounts WHERE id = ? AND salesforce_id IS NULL "
            "AND NOT EXISTS (SELECT 1 FROM contact_search WHERE contact_search MATCH ?)",
            (account, f'"\ue000{account}"'),
        )
    return 1


async def _forget_words(database: Database) -> None:
    """Write the search index anew, a little at a time: what was deleted is only marked so in its older parts."""
    pages = -_MERGE_PAGES  # the first is negative: all parts become one
    while await _write(database, partial(_merge, pages=pages)):
        pages = _MERGE_PAGES


async def _merge(conn: AsyncConnection, pages: int) -> bool:
    """Return whether there is more to merge: a merge that does nothing changes less than two rows (SQLite's FTS5)."""
    count = "SELECT total_changes()"
    before = (await conn.exec_driver_sql(count)).scalar_one()
    statement = "INSERT INTO contact_search (contact_search, rank) VALUES ('merge', ?)"
    await conn.exec_driver_sql(statement, (pages,))
    return int((await conn.exec_driver_sql(count)).scalar_one()) - int(before) >= 2


# --- how


async def _write(database: Database, job: Job[T]) -> T:
    """Run a job that overwrites what it deletes."""

    async def secured(conn: AsyncConnection) -> T:
        async with _overwriting(conn):
            return await job(conn)

    return await database.write(secured)


@asynccontextmanager
async def _overwriting(conn: AsyncConnection) -> AsyncIterator[None]:
    await conn.exec_driver_sql("PRAGMA secure_delete=ON")
    try:
        yield
    finally:
        await conn.exec_driver_sql("PRAGMA secure_delete=FAST")
