"""Calls and chats with all that a Task says of them: the contact as it is called now, agents with their Users.

What is written to Salesforce is built of this when it is sent, so that whatever changed before then is in it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import InputError
from storage.lists import LIST, fetch
from storage.salesforce_ids import long_id

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A contact; `salesforce_id` is of 18 characters, '' where Salesforce does not have it. So is `account`."""

    id: int
    salesforce_id: str
    kind: str
    name: str
    first_name: str
    last_name: str
    email: str
    company: str
    account: str
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """A call; columns as in the table, `number` is E.164 digits, 0 where not known, `person` whose it is."""

    id: str
    direction: str
    started_at: int
    answered_at: int | None
    ended_at: int | None
    number: int
    number_text: str
    name: str
    did: str
    trunk: str
    verdict: str
    routed_to: str
    answered_by: str
    disposition: str
    seconds: int
    queue: str
    recording: str
    legs: Sequence[Object]
    transfers: Sequence[Object]
    told_by: str
    part_of: str
    person: Person | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFacts:
    """A chat; columns as in the table. `messages` are (at, who, text)."""

    id: str
    channel: str
    direction: str
    started_at: int
    ended_at: int
    number: int
    number_text: str
    email: str
    name: str
    did: str
    queue: str
    agent: str
    messages: Sequence[Sequence[Any]]
    person: Person | None


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """An agent; `user_id` is the Salesforce User's id, '' where nobody has that e-mail."""

    extension: str
    name: str
    email: str
    user_id: str


_CALLS = (
    "SELECT k.id, k.direction, k.started_at, k.answered_at, k.ended_at, k.number, k.number_text, k.name, k.did, "  # noqa: S608  # constants, here and below
    "k.trunk, k.verdict, k.routed_to, k.answered_by, k.disposition, k.seconds, k.queue, k.recording, k.legs, "
    "k.transfers, k.told_by, k.part_of, coalesce(a.contact_id, k.contact_id) FROM calls k "
    f"LEFT JOIN contact_aliases a ON a.id = k.contact_id WHERE k.id IN {LIST}"
)
_CHATS = (
    "SELECT k.id, k.channel, k.direction, k.started_at, k.ended_at, k.number, k.number_text, k.email, k.name, k.did, "  # noqa: S608
    "k.queue, k.agent, k.messages, coalesce(a.contact_id, k.contact_id) FROM chats k "
    f"LEFT JOIN contact_aliases a ON a.id = k.contact_id WHERE k.id IN {LIST}"
)
_PERSONS = (
    "SELECT c.id, ifnull(c.salesforce_id, ''), c.kind, c.name, c.first_name, c.last_name, c.email, "  # noqa: S608
    "ifnull(a.name, ''), ifnull(a.salesforce_id, ''), c.created_at FROM contacts c "
    f"LEFT JOIN accounts a ON a.id = c.account_id WHERE c.id IN {LIST}"
)
_AGENTS = (
    "SELECT extension, name, ifnull(email, ''), ifnull(salesforce_user_id, ''), ifnull((SELECT salesforce_id "  # noqa: S608
    "FROM owners o WHERE o.email = agents.email AND o.salesforce_id LIKE '005%' ORDER BY o.id LIMIT 1), '') "
    f"FROM agents WHERE extension IN {LIST}"
)


async def calls(conn: AsyncConnection, ids: Collection[str]) -> dict[str, CallFacts]:
    """Return those of these calls that are there, by id."""
    rows = await fetch(conn, _CALLS, ids)
    persons = await _persons(conn, rows)
    found = {}
    for (
        id_, direction, started_at, answered_at, ended_at, number, number_text, name, did, trunk, verdict, routed_to,
        answered_by, disposition, seconds, queue, recording, legs, transfers, told_by, part_of, contact,
    ) in rows:  # fmt: skip
        found[id_] = CallFacts(
            id=id_,
            direction=direction,
            started_at=started_at,
            answered_at=answered_at,
            ended_at=ended_at,
            number=number or 0,
            number_text=number_text,
            name=name,
            did=did,
            trunk=trunk,
            verdict=verdict,
            routed_to=routed_to,
            answered_by=answered_by,
            disposition=disposition,
            seconds=seconds or 0,
            queue=queue,
            recording=recording,
            legs=_objects(legs),
            transfers=_objects(transfers),
            told_by=told_by,
            part_of=part_of,
            person=persons.get(contact),
        )
    return found


async def chats(conn: AsyncConnection, ids: Collection[str]) -> dict[str, ChatFacts]:
    """Return those of these chats that are there, by id."""
    rows = await fetch(conn, _CHATS, ids)
    persons = await _persons(conn, rows)
    return {
        row[0]: ChatFacts(
            id=row[0],
            channel=row[1],
            direction=row[2],
            started_at=row[3],
            ended_at=row[4],
            number=row[5] or 0,
            number_text=row[6],
            email=row[7],
            name=row[8],
            did=row[9],
            queue=row[10],
            agent=row[11],
            messages=[each for each in json.loads(row[12] or "[]") if isinstance(each, list)],
            person=persons.get(row[13]),
        )
        for row in rows
    }


async def agents(conn: AsyncConnection, extensions: Collection[str]) -> dict[str, AgentFacts]:
    """Return those of these extensions that are agents', with the User they name, else the one with their e-mail."""
    rows = await fetch(conn, _AGENTS, [extension for extension in extensions if extension])
    return {
        extension: AgentFacts(extension, name, email, _id(named) or _id(owner))
        for extension, name, email, named, owner in rows
    }


async def _persons(conn: AsyncConnection, rows: Sequence[Sequence[Any]]) -> dict[int | None, Person]:
    """Return the contacts that the last columns of rows name, by id."""
    ids = {row[-1] for row in rows if row[-1] is not None}
    if not ids:
        return {}
    return {
        id_: Person(
            id=id_,
            salesforce_id=_id(salesforce_id),
            kind=kind,
            name=name,
            first_name=first_name,
            last_name=last_name,
            email=email,
            company=company,
            account=_id(account),
            created_at=created_at,
        )
        for (
            id_, salesforce_id, kind, name, first_name, last_name, email, company, account, created_at,
        ) in await fetch(conn, _PERSONS, ids)
    }  # fmt: skip


def _id(text: str) -> str:
    """Return a Salesforce id of 18 characters; '' for what is none: files bring all sorts."""
    try:
        return long_id(text) if text else ""
    except InputError:
        return ""


def _objects(text: str | None) -> list[Object]:
    """Return a list of JSON objects; what is none is left out."""
    found = json.loads(text or "[]")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
