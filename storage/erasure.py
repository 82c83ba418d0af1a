"""Erase one person everywhere, when the person asks for it.

What goes: the contact with its numbers, switchboards, aliases and search words, what waits for Salesforce about it,
what was noted of its unreadable numbers and flags, and stored answers to requests that name it. Calls stay, for they
are counted: without number, name, contact and the personal part of their trace. Audit rows stay, for they tell who did
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
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.numbers import Number
from agi_server.errors import ConflictError, NotFoundError
from storage.aliases import by_id
from storage.audit import note
from storage.database import Database
from storage.lists import LIST, as_json, change, fetch, run_each
from storage.people import ContactCard, get_contact

CALLS: Final = 500  # of one transaction; audit rows, too
_MERGE_PAGES = 100  # of the search index, written anew in one transaction
_SHORTEST = 3  # characters: a shorter name or number is found in too many texts that mean others
_ERASED: Final = json.dumps({"erased": True})

T = TypeVar("T")


class Erased(NamedTuple):
    """How many rows went, or lost what they said about the person."""

    contacts: int
    calls: int
    audit: int
    outbox: int
    rules: int


class _Person(NamedTuple):
    """What somebody is known by: ids past and present, E.164 numbers, digits without country, and all as texts."""

    ids: tuple[int, ...]
    numbers: tuple[int, ...]
    local: tuple[str, ...]
    texts: re.Pattern[str]

    def named_in(self, value: object) -> bool:
        """Return whether any text within a JSON value names them."""
        if isinstance(value, dict):
            return any(map(self.named_in, (*value.keys(), *value.values())))
        if isinstance(value, list):
            return any(map(self.named_in, value))
        return value is not None and self.texts.search(str(value)) is not None


def _pattern(texts: Iterable[str]) -> re.Pattern[str]:
    """Return what finds any of these texts, whole: a short name is part of many words."""
    words = [re.escape(text) for text in {*texts} if len(text) >= _SHORTEST]
    return re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)" if words else r"(?!)", re.IGNORECASE)


async def erase(database: Database, contact_id: int, *, who: str, now: int) -> Erased:
    """Erase a contact, and the calls of its numbers that are nobody else's.

    A contact that Salesforce has would come back: ConflictError says to delete it there first. Once the
    synchronisation has removed it, its id still finds its calls. Raises NotFoundError when nothing has that id.
    """
    card = await database.read(partial(get_contact, contact_id=contact_id))
    if card is not None and card.salesforce_id:
        raise ConflictError(
            f"contact {card.id} comes from Salesforce ({card.salesforce_id}) and would come back with the next "
            "synchronisation: delete it there, wait until it is gone here, then erase it here by the same id"
        )
    person = await database.read(partial(_person, contact_id=contact_id, card=card))
    if card is None and not await database.read(partial(_is_left, person=person)):
        raise NotFoundError(f"there is no contact {contact_id}, nor a call of one")
    erased = await _erase(database, person)
    contacts = await _write(database, partial(_forget, person=person)) if card is not None else 0
    await _forget_words(database)
    done = erased._replace(contacts=contacts)
    await database.write(
        lambda conn: note(
            conn, who=who, what="contact.erase", before={"id": contact_id}, after=done._asdict(), now=now
        )
    )
    return done


async def erase_number(database: Database, number: Number, *, who: str, now: int) -> Erased:
    """Erase the calls of a number that is no contact's, as `erase` does. Raises ConflictError when it is one's."""
    holders = await database.read(partial(_holders, number=number))
    if holders:
        listed = ", ".join(map(str, holders))
        raise ConflictError(
            f"this is a number of contact {listed}: erase the contact, or take the number from it"
        )
    numbers = (number.e164,) if number.e164 else ()
    local = () if number.e164 or not number.digits else (number.digits,)
    person = _Person((), numbers, local, _pattern([number.digits]))
    erased = await _erase(database, person)
    await database.write(
        lambda conn: note(conn, who=who, what="calls.erase", before=None, after=erased._asdict(), now=now)
    )
    return erased


# --- who it is


async def _person(conn: AsyncConnection, contact_id: int, card: ContactCard | None) -> _Person:
    if card is None:
        # Only a number that was found as this contact's own, not one behind a switchboard.
        query = (
            "SELECT DISTINCT number FROM calls WHERE contact_id = ? AND rung = 'exact' AND number IS NOT NULL"
        )
        numbers = tuple((await conn.exec_driver_sql(query, (contact_id,))).scalars())
        return _Person((contact_id,), numbers, (), _pattern(map(str, numbers)))
    aliases = await conn.exec_driver_sql("SELECT id FROM contact_aliases WHERE contact_id = ?", (card.id,))
    numbers = tuple(int(number[1:]) for number in card.numbers if number.startswith("+"))
    local = tuple(number for number in card.numbers if not number.startswith("+"))
    names = (card.name, f"{card.first_name} {card.last_name}".strip(), card.email)
    texts = _pattern([*names, *map(str, numbers), *local, *(text for _, text in card.phones)])
    return _Person((card.id, *aliases.scalars()), numbers, local, texts)


async def _is_left(conn: AsyncConnection, person: _Person) -> bool:
    query = "SELECT EXISTS (SELECT 1 FROM calls WHERE contact_id = ?)"
    return bool((await conn.exec_driver_sql(query, (person.ids[0],))).scalar())


async def _holders(conn: AsyncConnection, number: Number) -> list[int]:
    query = (
        "SELECT contact_id FROM phones WHERE number % 1000000 = ?1 % 1000000 AND +number = ?1 "
        "UNION SELECT contact_id FROM local_phones WHERE digits = ?2 ORDER BY 1 LIMIT 5"
    )
    return [*(await conn.exec_driver_sql(query, (number.e164, number.digits))).scalars()]


# --- what goes

_REST: Final = {  # statement -> query for its rows: key, contact, text
    f"DELETE FROM outbox WHERE id IN {LIST}": "SELECT id, contact_id, payload FROM outbox",  # noqa: S608  # constants, here and below
    f"UPDATE blacklist SET reason = '' WHERE id IN {LIST}": "SELECT id, NULL, reason FROM blacklist WHERE reason <> ''",  # noqa: S608
    f"DELETE FROM replies WHERE key IN {LIST}": "SELECT key, NULL, body FROM replies",  # noqa: S608
}


async def _erase(database: Database, person: _Person) -> Erased:
    """Erase all but the contact itself."""
    calls = await database.read(partial(_calls, person=person))
    for at in range(0, len(calls), CALLS):
        await _write(database, partial(_empty_calls, ids=calls[at : at + CALLS]))
    told = last = 0
    while page := await database.read(partial(_audit, after=last)):
        ids = [number for number, what, *values in page if _concerns(person, what, [*map(_parsed, values)])]
        await _write(database, partial(_empty_audit, ids=ids))
        told += len(ids)
        last = page[-1][0]
    found = await database.read(partial(_rest, person=person))
    gone = [
        await _write(database, partial(_end, statement=statement, ids=ids))
        for statement, ids in found.items()
    ]
    return Erased(0, len(calls), told, outbox=gone[0], rules=gone[1])


async def _calls(conn: AsyncConnection, person: _Person) -> list[str]:
    """Return the calls of a person: those of their ids, and those of their numbers that are no other's."""
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
        rows = await conn.exec_driver_sql(query)
        ids.update(row.id for row in rows if "".join(filter(str.isdigit, row.number_text)) in person.local)
    return sorted(ids)


async def _empty_calls(conn: AsyncConnection, ids: Collection[str]) -> None:
    rows = await fetch(conn, f"SELECT id, trace FROM calls WHERE id IN {LIST}", ids)  # noqa: S608
    await run_each(
        conn,
        "UPDATE calls SET number = NULL, number_text = '', name = '', contact_id = NULL, trace = ? WHERE id = ?",
        [(json.dumps(_impersonal(_parsed(trace))), number) for number, trace in rows],
    )


def _impersonal(trace: object) -> object:
    """Return a trace without its steps' personal texts; see calls.call.TraceStep."""
    if not isinstance(trace, list):
        return None
    return [[*step[:3], ""] if isinstance(step, list) else step for step in trace]


async def _audit(conn: AsyncConnection, after: int) -> list[tuple[Any, ...]]:
    query = "SELECT id, what, before, after FROM audit WHERE id > ? ORDER BY id LIMIT ?"
    return [tuple(row) for row in await conn.exec_driver_sql(query, (after, CALLS))]


def _parsed(value: str | None) -> object:
    """Return a JSON text's value, any other text as it is."""
    try:
        return json.loads(value or "null")
    except ValueError:
        return value


def _concerns(person: _Person, what: str, values: Iterable[object]) -> bool:
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


async def _rest(conn: AsyncConnection, person: _Person) -> dict[str, list[Any]]:
    """Return what else names a person: statements that end it, and the keys of their rows."""
    found: dict[str, list[Any]] = {}
    for statement, query in _REST.items():
        rows = await conn.exec_driver_sql(query)
        found[statement] = [
            key
            for key, contact, text in map(tuple, rows)
            if contact in person.ids or person.named_in(_parsed(text))
        ]
    return found


async def _end(conn: AsyncConnection, statement: str, ids: Collection[Any]) -> int:
    return await change(conn, statement, ids)


async def _forget(conn: AsyncConnection, person: _Person) -> int:
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


async def _write(database: Database, job: Callable[[AsyncConnection], Awaitable[T]]) -> T:
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
