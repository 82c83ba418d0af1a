"""Rows of the outbox about contacts, and about what calls make: contacts, leads, opportunities, numbers, flags.

Invariant: what is made carries an external id of ours that its row had on disk before, so that it is made once,
however often it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import InputError
from agi_server.salesforce.client import Client
from agi_server.salesforce.creation import concerns, entry_for, is_known, outcome
from agi_server.salesforce.journal import first_of, keepers, user_of
from agi_server.salesforce.outgoing import Job, Outgoing, Shapes, Target
from agi_server.salesforce.records import build, fitting, obstacle, values_of
from agi_server.salesforce.records import entry_for as entry_for_did
from agi_server.salesforce.results import Outcome, done, flagged, linked, made, parked
from agi_server.salesforce.variables import Surroundings, call_values
from agi_server.settings import CallEntry, CreateEntry, Settings
from storage import call_facts
from storage.call_facts import AgentFacts, CallFacts
from storage.database import Database
from storage.lists import LIST, fetch
from storage.outbox import OutboxRow
from storage.salesforce_ids import long_id

KINDS = frozenset({"contact", "flag", "record"})

_CONTACTS = f"SELECT id, ifnull(salesforce_id, ''), kind, name FROM contacts WHERE id IN {LIST}"  # noqa: S608  # constants, here and below
_MADE = f"SELECT key FROM tasks WHERE key IN {LIST}"  # noqa: S608


class _Known(NamedTuple):
    """What the directory knows of a row's contact now."""

    id: int
    salesforce_id: str
    kind: str
    name: str


class _Read(NamedTuple):
    """What rows are made of: contacts by id, calls by id, agents by extension, keys of what was made."""

    contacts: Mapping[int, _Known]
    calls: Mapping[str, CallFacts]
    agents: Mapping[str, AgentFacts]
    made: frozenset[str]


class Making:
    """Makes records of rows, in one run through the outbox; `obstacles` are why nothing can be sent somewhere."""

    def __init__(
        self,
        database: Database,
        client: Client,
        settings: Settings,
        shapes: Shapes,
        around: Surroundings,
        *,
        obstacles: dict[Target, str],
    ) -> None:
        self._database = database
        self._client = client
        self._settings = settings
        self._shapes = shapes
        self._around = around
        self._obstacles = obstacles

    async def prepare(
        self, rows: Sequence[OutboxRow], at: int
    ) -> tuple[list[Outgoing], list[tuple[Outcome, Job]]]:
        """Return what to send, and what became of rows with nothing to send or with no way to."""
        read = await self._database.read(partial(self._read, rows=rows))
        persons = await self._persons(
            contact
            for row in rows
            if row.kind == "flag" and (contact := read.contacts.get(row.contact_id or 0)) is not None
        )
        ready: list[Outgoing] = []
        jobs: list[tuple[Outcome, Job]] = []
        for row in rows:
            try:
                outgoing = await self._outgoing(row, read, persons, at)
            except InputError as error:
                jobs.append(("parked", parked(row, str(error))))
            else:
                if outgoing is None:
                    jobs.append(("idle", done(row)))
                else:
                    ready.append(outgoing)
        return ready, jobs

    async def _read(self, conn: AsyncConnection, rows: Sequence[OutboxRow]) -> _Read:
        contacts = [row.contact_id for row in rows if row.contact_id is not None]
        known = {row[0]: _Known(*row) for row in await fetch(conn, _CONTACTS, contacts)}
        calls = await call_facts.calls(conn, {call_of(row) for row in rows} - {""})
        tasks = self._settings.tasks
        extensions = {each for call in calls.values() for each in (call.routed_to, *keepers(call, tasks))}
        agents = await call_facts.agents(conn, extensions | {tasks.responsible})
        keys = await fetch(conn, _MADE, [row.key for row in rows if row.kind == "record" and row.key])
        return _Read(known, calls, agents, frozenset(row[0] for row in keys))

    async def _outgoing(
        self, row: OutboxRow, read: _Read, persons: Mapping[str, str], at: int
    ) -> Outgoing | None:
        """Return what a row sends, None where that is nothing. Raises InputError."""
        if row.kind == "record":
            return await self._opportunity(row, read, at)
        contact = read.contacts.get(row.contact_id or 0)
        if contact is None:
            return None
        if row.kind == "flag":
            return await self._flag(row, contact, persons.get(contact.salesforce_id, ""), at)
        if "set" in row.payload:
            return await self._number(row, contact, at)
        return await self._contact(row, contact, read, at)

    async def _contact(self, row: OutboxRow, contact: _Known, read: _Read, at: int) -> Outgoing | None:
        """Return a new contact or lead, None where there is none to make. Raises InputError."""
        settings = self._settings.salesforce
        call = read.calls.get(call_of(row))
        entry: CreateEntry | CallEntry | None = None
        values: dict[str, str] = {}
        owner = ""
        if call is not None:
            ended = str(row.payload.get("outcome"))
            entry = entry_for(settings.on_call, call, known=False, outcome=ended)
        if entry is None or entry.object not in {"Contact", "Lead"}:
            entry = entry_for_did(str(row.payload.get("did") or ""), settings.create)
        elif call is not None:
            values, owner = self._of_call(entry, call, read)
        if contact.salesforce_id or entry.object == "none":  # a synchronisation has found it
            return None
        values |= values_of(row, contact.id, contact.name, self._around.zone)
        sobject = entry.object
        return await self._new(
            row, entry, values, {"OwnerId": owner}, lambda each: linked(row, sobject, each, at)
        )

    async def _opportunity(self, row: OutboxRow, read: _Read, at: int) -> Outgoing | None:
        """Return a new opportunity of a call, None where there is none to make. Raises InputError."""
        key, call = row.key or "", read.calls.get(call_of(row))
        if call is None or key in read.made or not concerns(call):
            return None
        rules = self._settings.salesforce.on_call
        entry = entry_for(rules, call, known=is_known(call), outcome=outcome(call))
        if entry is None or entry.object != "Opportunity":
            return None
        values, owner = self._of_call(entry, call, read)
        began = values_of(row, 0, "", self._around.zone)
        values |= {name: began[name] for name in ("Date", "DateTime")}
        person = call.person
        account = (
            "" if person is None else person.salesforce_id if person.kind == "Account" else person.account
        )
        more = {"OwnerId": owner, "AccountId": account}
        then = f"call:{call.id}"
        return await self._new(
            row, entry, values, more, lambda each: made(row, key, each, at, closed=True, then=then)
        )

    def _of_call(
        self, entry: CallEntry | CreateEntry, call: CallFacts, read: _Read
    ) -> tuple[dict[str, str], str]:
        """Return the variables of a record made of a call, and the User who gets it ('': the integration user)."""
        tasks = self._settings.tasks
        to = keepers(call, tasks)
        values = call_values(call, first_of(to, read.agents), read.agents, self._around)
        chains = {
            "answered": [*to[:1], call.routed_to, *to[1:]],
            "responsible": [call.routed_to, tasks.responsible],
            "default": [tasks.responsible],
        }
        wanted = entry.owner if isinstance(entry, CallEntry) else ""
        return values, user_of(chains.get(wanted, []), read.agents)

    async def _new(
        self,
        row: OutboxRow,
        entry: CreateEntry | CallEntry,
        values: Mapping[str, str],
        more: Mapping[str, str],
        taken: Callable[[str], Job],
    ) -> Outgoing:
        """Return a new record with `more` where the fields do not say otherwise. Raises InputError."""
        target = Target("PATCH", entry.object, self._settings.salesforce.external_id_field)
        shape = await self._shapes.of(entry.object)
        setting = "salesforce.on_call" if isinstance(entry, CallEntry) else "salesforce.create"
        if target not in self._obstacles:
            self._obstacles[target] = obstacle(entry.object, shape, target.external_id, setting)
        record: dict[str, Any] = {}
        if shape is not None and not self._obstacles[target]:
            given = build(entry, shape, values)
            record = {name: value for name, value in more.items() if value and shape.get(name) is not None}
            record |= given
            # Ours alone: whatever the fields say, this is what makes a second writing harmless.
            record = {
                name: value for name, value in record.items() if name.lower() != target.external_id.lower()
            }
            record[target.external_id] = row.ref
        return Outgoing(row, target, record, taken, done(row), setting=setting)

    async def _number(self, row: OutboxRow, contact: _Known, at: int) -> Outgoing | None:
        """Return the change that gives a record a further number; None where it has no field for it."""
        shape = await self._shapes.of(contact.kind) if contact.salesforce_id else None
        record: dict[str, Any] = {}
        for name, text in row.payload["set"].items():
            field = shape.get(name) if shape is not None else None
            if field is not None and field.get("updateable"):
                record[str(field["name"])] = fitting(str(text), field)
        if not record:
            return None
        record["id"] = contact.salesforce_id
        taken = partial(_noted, linked(row, contact.kind, contact.salesforce_id, at))
        return Outgoing(row, Target("PATCH", contact.kind), record, taken, done(row), update=True)

    async def _flag(self, row: OutboxRow, contact: _Known, person: str, at: int) -> Outgoing | None:
        """Return the change of a record's checkbox, None where there is none. Raises InputError.

        `person` is the Account of a contact that is a person account; its fields are that one's.
        """
        sobject, name = ("Account" if person else contact.kind), self._settings.salesforce.blacklist_field
        shape = await self._shapes.of(sobject) if contact.salesforce_id and name else None
        field = shape.get(name) if shape is not None else None
        if field is None:
            return None
        if not field.get("updateable"):
            raise InputError(
                f"salesforce.blacklist_field: the integration user may not change {sobject}.{field['name']}; give "
                "it Edit access to the field"
            )
        value = bool(row.payload.get("value"))
        record = {"id": person or contact.salesforce_id, str(field["name"]): value}
        taken = partial(_noted, flagged(row, at))
        return Outgoing(row, Target("PATCH", sobject), record, taken, done(row), update=True)

    async def _persons(self, contacts: Iterable[_Known]) -> dict[str, str]:
        """Return the Account of each contact that is a person account, by the contact's Salesforce id."""
        ids = sorted({contact.salesforce_id for contact in contacts if contact.kind == "Contact"})
        ids = [each for each in ids if _is_id(each)]  # a file may have brought others, which no query takes
        shape = await self._shapes.of("Account") if ids else None
        if shape is None or shape.get("PersonContactId") is None:
            return {}
        quoted = ", ".join(f"'{each}'" for each in ids)
        soql = f"SELECT Id, PersonContactId FROM Account WHERE PersonContactId IN ({quoted})"  # noqa: S608  # letters and digits
        pages = await asyncio.to_thread(lambda: list(self._client.query(soql)))
        return {str(record["PersonContactId"]): str(record["Id"]) for page in pages for record in page}


def call_of(row: OutboxRow) -> str:
    """Return the call of which a row makes something, '' where it is of none."""
    if row.kind == "record":
        return (row.key or "").partition(":")[2]
    return str(row.payload.get("call") or "") if row.kind == "contact" else ""


def _noted(job: Job, _: str) -> Job:
    """Return the job whatever id Salesforce gives: it is known."""
    return job


def _is_id(text: str) -> bool:
    try:
        return long_id(text) == text
    except InputError:
        return False
