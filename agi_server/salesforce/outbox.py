"""Deliver the outbox: what was made here goes to Salesforce, once.

Invariant: a row leaves the outbox only when Salesforce has said that it has the record, or that there is nothing to
write to any more, and in the transaction that notes the record's id. A process may die, or an answer be cut, at any
moment: the row is then sent again with the same external id, and changes the record that is there. A record that
is refused concerns no other: its row waits, for time or for an admin.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from agi_server.calls.hours import find_zone
from agi_server.errors import InputError, SalesforceDown, SalesforceRefusal
from agi_server.salesforce.client import MOST_RECORDS, Client, RowResult
from agi_server.salesforce.records import Shape, build, entry_for, obstacle, values_of
from agi_server.salesforce.results import Job, Outcome, done, later, outcome_of, parked
from agi_server.salesforce.verdicts import is_about_record, pause
from agi_server.settings import Settings
from storage import flags, outbox, salesforce_state
from storage.database import Database
from storage.lists import LIST, fetch
from storage.outbox import OutboxRow
from storage.salesforce_ids import long_id

LONGEST_SILENCE = 600  # seconds a row waits that may be what Salesforce does not answer to
STATE = "outbox"  # in salesforce_state: how many records a call may carry, while not all
KINDS = {"contact", "flag"}  # rows of other kinds belong to other versions and stay

_CONTACTS = f"SELECT id, ifnull(salesforce_id, ''), kind, name FROM contacts WHERE id IN {LIST}"  # noqa: S608  # a constant


class Delivered(NamedTuple):
    """How many rows Salesforce has taken, will be asked for again, and wait for an admin.

    `error` says why all rows of a sort wait, and what an admin must do; they are due again at once.
    """

    sent: int
    later: int
    parked: int
    error: str = ""


class _Known(NamedTuple):
    """What the directory knows of a row's contact now."""

    id: int
    salesforce_id: str
    kind: str
    name: str


class _Outgoing(NamedTuple):
    row: OutboxRow
    record: Mapping[str, Any]


_Target = tuple[str, str]  # object, external-id field ('': the record's own id)


async def deliver(
    database: Database, client: Client, settings: Settings, *, now: Callable[[], float] = time.time
) -> Delivered:
    """Send what is due, after finding out which flags must be.

    Raises SalesforceDown, SalesforceLoginError or SalesforceLimitError: what was not taken is due again at once.
    """
    if settings.salesforce.blacklist_field:
        await _collect(database, now)
    delivery = _Delivery(database, client, settings, now)
    while await delivery.once():
        pass
    counts = delivery.counts
    errors = "; ".join(dict.fromkeys(filter(None, delivery.obstacles.values())))
    return Delivered(counts["sent"], counts["later"], counts["parked"], errors)


async def _collect(database: Database, now: Callable[[], float]) -> None:
    """Put changed rules into the outbox, page by page."""
    at = int(now())
    while not await database.read(lambda conn: flags.settled(conn, now=at)):
        await database.write(lambda conn: flags.collect(conn, now=at))


class _Delivery:
    """One run through the outbox."""

    def __init__(
        self, database: Database, client: Client, settings: Settings, now: Callable[[], float]
    ) -> None:
        self.counts: dict[Outcome, int] = {"sent": 0, "idle": 0, "later": 0, "parked": 0}
        self.obstacles: dict[_Target, str] = {}  # why nothing can be sent there; '': looked at, and it can
        self._database = database
        self._client = client
        self._settings = settings.salesforce
        self._zone = find_zone(settings.routing.timezone)
        self._now = now
        self._shapes: dict[str, Shape | None] = {}
        self._batch = 0  # records in a call; 0: not known yet

    async def once(self) -> bool:
        """Go through what is due once; return whether rows left, for that may make others due."""
        left = self.counts["sent"] + self.counts["idle"]
        last = 0
        while rows := await self._due(last):
            last = rows[-1].id
            for target, outgoing in (await self._prepare(rows)).items():
                waiting = list(outgoing)
                while waiting:
                    size = await self._size()
                    await self._send(target, waiting[:size])
                    waiting = waiting[size:]
        return self.counts["sent"] + self.counts["idle"] > left

    async def _due(self, after: int) -> list[OutboxRow]:
        """Return the next rows; those of contacts have their external ids, on disk."""
        at = int(self._now())
        rows = await self._database.read(lambda conn: outbox.due(conn, at, MOST_RECORDS, after=after))
        bare = [row.id for row in rows if row.kind == "contact" and not row.ref]
        if not bare:
            return rows
        await self._database.write(lambda conn: outbox.ensure_refs(conn, bare))
        return await self._database.read(lambda conn: outbox.due(conn, at, MOST_RECORDS, after=after))

    # what is sent

    async def _prepare(self, rows: Sequence[OutboxRow]) -> dict[_Target, list[_Outgoing]]:
        """Return what to send, by where; rows with nothing to send, or with no way to, are dealt with."""
        contacts = [row.contact_id for row in rows if row.contact_id is not None]
        found = await self._database.read(lambda conn: fetch(conn, _CONTACTS, contacts))
        known = {contact.id: contact for contact in (_Known(*row) for row in found)}
        persons = await self._persons(
            known[row.contact_id] for row in rows if row.kind == "flag" and row.contact_id in known
        )
        ready: dict[_Target, list[_Outgoing]] = {}
        jobs: list[tuple[Outcome, Job]] = []
        for row in rows:
            contact = known.get(row.contact_id or 0)
            if row.kind not in KINDS:
                continue
            try:
                if contact is None:
                    made = None
                elif row.kind == "flag":
                    made = await self._flag(row, contact, persons.get(contact.salesforce_id, ""))
                else:
                    made = await self._contact(row, contact)
            except InputError as error:
                jobs.append(("parked", parked(row, str(error))))
            else:
                if made is None:
                    jobs.append(("idle", done(row)))
                else:
                    ready.setdefault(made[0], []).append(_Outgoing(row, made[1]))
        await self._note(jobs)
        return ready

    async def _contact(self, row: OutboxRow, contact: _Known) -> tuple[_Target, dict[str, Any]] | None:
        """Return a new record and where it goes, None where there is none to make. Raises InputError."""
        entry = entry_for(str(row.payload.get("did") or ""), self._settings.create)
        if contact.salesforce_id or entry.object == "none":  # a synchronisation has found it
            return None
        target = (entry.object, self._settings.external_id_field)
        shape = await self._shape(entry.object)
        if target not in self.obstacles:
            self.obstacles[target] = obstacle(entry.object, shape, target[1])
        if shape is None or self.obstacles[target]:
            return target, {}
        record = build(entry, shape, values_of(row, contact.id, contact.name, self._zone))
        # Ours alone: whatever the fields say, this is what makes a second writing harmless.
        record = {name: value for name, value in record.items() if name.lower() != target[1].lower()}
        return target, record | {target[1]: row.ref}

    async def _flag(
        self, row: OutboxRow, contact: _Known, person: str
    ) -> tuple[_Target, dict[str, Any]] | None:
        """Return the change of a record's checkbox, None where there is none. Raises InputError.

        `person` is the Account of a contact that is a person account; its fields are that one's.
        """
        sobject, name = ("Account" if person else contact.kind), self._settings.blacklist_field
        shape = await self._shape(sobject) if contact.salesforce_id and name else None
        field = shape.get(name) if shape is not None else None
        if field is None:
            return None
        if not field.get("updateable"):
            raise InputError(
                f"salesforce.blacklist_field: the integration user may not change {sobject}.{field['name']}; give "
                "it Edit access to the field"
            )
        value = bool(row.payload.get("value"))
        return (sobject, ""), {"id": person or contact.salesforce_id, str(field["name"]): value}

    async def _persons(self, contacts: Iterable[_Known]) -> dict[str, str]:
        """Return the Account of each contact that is a person account, by the contact's Salesforce id."""
        ids = sorted({contact.salesforce_id for contact in contacts if contact.kind == "Contact"})
        ids = [each for each in ids if _is_id(each)]  # a file may have brought others, which no query takes
        shape = await self._shape("Account") if ids else None
        if shape is None or shape.get("PersonContactId") is None:
            return {}
        quoted = ", ".join(f"'{each}'" for each in ids)
        soql = f"SELECT Id, PersonContactId FROM Account WHERE PersonContactId IN ({quoted})"  # noqa: S608  # letters and digits
        pages = await asyncio.to_thread(lambda: list(self._client.query(soql)))
        return {str(record["PersonContactId"]): str(record["Id"]) for page in pages for record in page}

    async def _shape(self, sobject: str) -> Shape | None:
        if sobject not in self._shapes:
            try:
                describe = await asyncio.to_thread(self._client.describe, sobject)
            except SalesforceRefusal:  # whatever the code, it is not for us
                describe = None
            self._shapes[sobject] = Shape(describe) if describe is not None else None
        return self._shapes[sobject]

    # sending it

    async def _send(self, target: _Target, outgoing: Sequence[_Outgoing]) -> None:
        """Write records in one call and note what became of each.

        When the call is refused as a whole, the records are tried in ever smaller parts, to find the one.
        """
        if self.obstacles.get(target):
            return
        sobject, external_id = target
        records = [each.record for each in outgoing]
        try:
            results = await asyncio.to_thread(self._client.write, "PATCH", sobject, records, external_id)
        except SalesforceDown as error:
            await self._unanswered(outgoing, error)
            raise
        except SalesforceRefusal as error:
            if len(outgoing) > 1:
                half = len(outgoing) // 2
                await self._send(target, outgoing[:half])
                await self._send(target, outgoing[half:])
                return
            if not is_about_record(error.code):  # no other would fare better, and none is parked for it
                self.obstacles[target] = str(error)
                row = outgoing[0].row
                await self._note([("later", later(row, str(error), int(self._now()) + pause(row.attempts)))])
                return
            results = [RowResult("", False, False, error.code, str(error), error.fields)]
        await self._answered()
        at = int(self._now())
        jobs = [
            outcome_of(each.row, sobject, result, at) for each, result in zip(outgoing, results, strict=True)
        ]
        await self._note(jobs)

    async def _note(self, jobs: Sequence[tuple[Outcome, Job]]) -> None:
        """Write down what became of rows: each is a job of its own, so that one that fails harms no other."""
        writes = (self._database.write(job) for _, job in jobs)
        ends = await asyncio.gather(*writes, return_exceptions=True)
        for (outcome, _), end in zip(jobs, ends, strict=True):
            self.counts[outcome] += end is None
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    # how many at once: a call that never answers is tried again with fewer records

    async def _size(self) -> int:
        if not self._batch:
            state = await self._database.read(lambda conn: salesforce_state.get(conn, STATE))
            self._batch = int(state["batch"]) if state else MOST_RECORDS
        return self._batch

    async def _answered(self) -> None:
        if self._batch < MOST_RECORDS:
            await self._resize(min(self._batch * 2, MOST_RECORDS))

    async def _unanswered(self, outgoing: Sequence[_Outgoing], error: SalesforceDown) -> None:
        if len(outgoing) > 1:
            await self._resize(len(outgoing) // 2)
        else:  # perhaps it is this one: let others have their turn
            row = outgoing[0].row
            at = int(self._now()) + min(pause(row.attempts), LONGEST_SILENCE)
            await self._note([("later", later(row, str(error), at))])

    async def _resize(self, size: int) -> None:
        self._batch = size
        at = int(self._now())
        await self._database.write(lambda conn: salesforce_state.put(conn, STATE, {"batch": size}, at))


def _is_id(text: str) -> bool:
    try:
        return long_id(text) == text
    except InputError:
        return False
