"""Rows of the outbox that stand for Tasks of calls, calls to return, and chats.

Invariant: a Task is made once. That a row may be sent is on disk before anything is read for it; of one that may have
been sent before, Salesforce is asked first, not before `SETTLING` time-outs have passed: what it was still working on
is then there to be found. What changes after that mark has a row of its own (storage/tasks.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import structlog
from simple_salesforce.format import format_soql
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import InputError
from agi_server.salesforce import journal
from agi_server.salesforce.client import Client
from agi_server.salesforce.outgoing import Job, Outgoing, Shapes, Target
from agi_server.salesforce.records import Shape
from agi_server.salesforce.results import Outcome, done, made, parked
from agi_server.salesforce.variables import Surroundings
from agi_server.settings import Settings
from storage import call_facts, follow_ups, outbox, tasks
from storage.call_facts import AgentFacts, CallFacts, ChatFacts
from storage.database import Database
from storage.lists import LIST, fetch
from storage.outbox import OutboxRow

KINDS: Final = frozenset({"call", "follow-up", "chat"})
PATIENCE: Final = (
    900  # seconds a Task waits for its contact to be made; then it goes without, and follows later
)
AMI: Final = 30  # seconds from a call's end in which AMI tells of it, even if it has to connect anew
SETTLING: Final = 2  # time-outs from sending until we ask what became of it
CREATE: Final = Target("POST", "Task")
CHANGE: Final = Target("PATCH", "Task")

_MADE = f"SELECT key, salesforce_id, closed FROM tasks WHERE key IN {LIST}"  # noqa: S608  # constants, here and below
_UNMADE = (
    f"SELECT DISTINCT contact_id FROM outbox WHERE kind = 'contact' AND NOT parked AND contact_id IN {LIST}"  # noqa: S608
)
_AWAITED = f"SELECT key FROM outbox WHERE NOT parked AND key IN {LIST}"  # noqa: S608

log = structlog.get_logger()


class _Task(NamedTuple):
    salesforce_id: str
    closed: bool


class _Read(NamedTuple):
    """What Tasks are built of; `needed` are the calls that are to be returned."""

    calls: Mapping[str, CallFacts]
    chats: Mapping[str, ChatFacts]
    agents: Mapping[str, AgentFacts]
    made: Mapping[str, _Task]  # by key
    needed: frozenset[str]


class Ready(NamedTuple):
    """What to send, what became of the other rows, and what keeps all of them ('': nothing)."""

    outgoing: list[Outgoing]
    jobs: list[tuple[Outcome, Job]]
    obstacle: str = ""


class TaskRows:
    """Builds Tasks of rows, in one run through the outbox; `notes` gathers which fields stay empty, and why."""

    def __init__(
        self,
        database: Database,
        client: Client,
        settings: Settings,
        shapes: Shapes,
        around: Surroundings,
    ) -> None:
        self.notes: set[str] = set()
        self._database = database
        self._client = client
        self._settings = settings
        self._shapes = shapes
        self._around = around

    async def prepare(self, rows: Sequence[OutboxRow], at: int) -> Ready:
        """Return what to send. Rows that wait for something else are left as they are."""
        shape = await self._shapes.of("Task") if rows else None
        if not rows or (why := journal.obstacle(shape)):
            return Ready([], [], why if rows else "")
        assert shape is not None
        self.notes |= journal.shape_notes(shape, self._settings.tasks)
        waiting = await self._database.read(partial(self._waiting, rows=rows, at=at))
        rows = [row for row in rows if row.id not in waiting]
        until = at + int(SETTLING * self._settings.salesforce.timeout) + 1
        ids = [row.id for row in rows]
        await self._database.write(lambda conn: outbox.mark_sent(conn, ids, until))
        read = await self._database.read(partial(self._read, rows=rows))
        unsure = [row.key for row in rows if row.ref and row.key and row.key not in read.made]
        if unsure:
            found = await self._ask(unsure, at)
            read = read._replace(made={**read.made, **found})
        return self._build(rows, read, shape, at)

    # what there is

    async def _waiting(self, conn: AsyncConnection, rows: Sequence[OutboxRow], at: int) -> set[int]:
        """Return rows that wait for the contact, or the record, that a call made, or for who saw more of the call."""
        calls = await call_facts.calls(conn, _ids(rows, "call") | _ids(rows, "follow-up"))
        chats = await call_facts.chats(conn, _ids(rows, "chat"))
        abouts: list[CallFacts | ChatFacts] = [*calls.values(), *chats.values()]
        bare = [each.person.id for each in abouts if each.person and not each.person.salesforce_id]
        unmade = {row[0] for row in await fetch(conn, _UNMADE, bare)}
        awaited = {row[0] for row in await fetch(conn, _AWAITED, [f"record:{each}" for each in calls])}
        waiting = set()
        for row in rows:
            of = _id(row)
            about = chats.get(of) if row.kind == "chat" else calls.get(of)
            if (
                row.created_at + PATIENCE > at
                and (
                    (about is not None and about.person is not None and about.person.id in unmade)
                    or (row.kind == "call" and f"record:{of}" in awaited)
                )
            ) or (row.kind == "call" and isinstance(about, CallFacts) and self._may_be_told_more(about, at)):
                waiting.add(row.id)
        return waiting

    def _may_be_told_more(self, call: CallFacts, at: int) -> bool:
        """Return whether who sees more than the dialplan may soon say that this call is part of another."""
        if call.told_by not in {"", "glimpse", "ended"} or call.ended_at is None:
            return False
        cdr = self._settings.cdr
        wait = AMI if self._settings.ami.host else 0
        if cdr.csv_file or cdr.url.get_secret_value():
            wait = max(wait, cdr.settle + cdr.interval)
        return at < call.ended_at + wait

    async def _read(self, conn: AsyncConnection, rows: Sequence[OutboxRow]) -> _Read:
        calls = await call_facts.calls(conn, _ids(rows, "call") | _ids(rows, "follow-up"))
        chats = await call_facts.chats(conn, _ids(rows, "chat"))
        settings = self._settings.tasks
        extensions = {settings.responsible, *settings.queues.values()}
        for call in calls.values():
            extensions |= {*journal.keepers(call, settings), *journal.extensions_of(call)}
        extensions |= {chat.agent for chat in chats.values()}
        keys = [row.key for row in rows if row.key] + [f"record:{call}" for call in calls]
        known = await fetch(conn, _MADE, keys)
        return _Read(
            calls,
            chats,
            await call_facts.agents(conn, extensions),
            {key: _Task(salesforce_id, bool(closed)) for key, salesforce_id, closed in known},
            frozenset([each for each in _ids(rows, "follow-up") if await follow_ups.needed(conn, each)]),
        )

    async def _ask(self, keys: Sequence[str], at: int) -> dict[str, _Task]:
        """Ask Salesforce which of these Tasks it has, and note them: their answers were lost."""
        soql = format_soql(
            "SELECT Id, CallObject, IsClosed FROM Task WHERE CallObject IN {} ORDER BY Id", [*keys]
        )
        pages = await asyncio.to_thread(lambda: list(self._client.query(soql)))
        found: dict[str, _Task] = {}
        for record in (record for page in pages for record in page):
            key = str(record.get("CallObject") or "")
            if key in keys:  # Salesforce takes no notice of capitals
                found.setdefault(key, _Task(str(record["Id"]), record.get("IsClosed") is True))

        async def note(conn: AsyncConnection) -> None:
            for key, task in found.items():
                await tasks.made(conn, key, task.salesforce_id, closed=task.closed, now=at)

        if found:
            await self._database.write(note)
        return found

    # what is sent

    def _build(self, rows: Iterable[OutboxRow], read: _Read, shape: Shape, at: int) -> Ready:
        ready = Ready([], [])
        for row in rows:
            try:
                outgoing = self._outgoing(row, read, shape, at)
            except InputError as error:
                ready.jobs.append(("parked", parked(row, str(error))))
            else:
                if outgoing is None:
                    ready.jobs.append(("idle", done(row)))
                else:
                    ready.outgoing.append(outgoing)
        return ready

    def _outgoing(self, row: OutboxRow, read: _Read, shape: Shape, at: int) -> Outgoing | None:
        """Return what a row sends, None where that is nothing. Raises InputError."""
        key = row.key or ""
        there = read.made.get(key)
        if row.kind == "follow-up":
            return self._follow_up(row, read, shape, at)
        if row.kind == "chat":
            fields = self._chat(key, read)
            more: dict[str, Any] = {}
        else:
            fields, values = self._call(key, read, there)
            more = (
                journal.further(self._settings.tasks, shape, values, update=there is not None)
                if fields
                else {}
            )
        if not fields:
            return None
        record = journal.fit(fields, shape, self.notes, update=there is not None) | more
        return self._to_send(row, there, record, at, closed=True)

    def _call(self, key: str, read: _Read, there: _Task | None) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the fields of a call's Task and its variables; none where it is to have none."""
        call, settings = read.calls.get(_of(key)), self._settings.tasks
        if call is None or call.ended_at is None or call.part_of:
            return {}, {}
        wanted = settings.enabled and (
            settings.blocked if call.verdict == "block" else call.direction != "internal" or settings.internal
        )
        if there is None and not wanted:
            return {}, {}
        record = read.made.get(f"record:{call.id}")
        opportunity = record.salesforce_id if record is not None else ""
        return journal.call_task(key, call, settings, read.agents, self._around, opportunity=opportunity)

    def _chat(self, key: str, read: _Read) -> dict[str, Any]:
        chat, settings = read.chats.get(_of(key)), self._settings.tasks
        if chat is None or not settings.enabled:
            return {}
        return journal.chat_task(key, chat, settings, read.agents, self._around)

    def _follow_up(self, row: OutboxRow, read: _Read, shape: Shape, at: int) -> Outgoing | None:
        """Return a Task to call back, made or brought in step while somebody should, closed when nobody needs to."""
        key, settings = row.key or "", self._settings.tasks
        there, call = read.made.get(key), read.calls.get(_of(key))
        needed = _of(key) in read.needed
        if (there is None and not (needed and settings.follow_up)) or (there is not None and there.closed):
            return None
        if there is not None and (not needed or call is None):
            record = {"Status": settings.status}
            return self._to_send(row, there, record, at, closed=True)
        if call is None:
            return None
        fields = journal.follow_up(key, call, settings, read.agents, self._around)
        record = journal.fit(fields, shape, self.notes, update=there is not None)
        return self._to_send(row, there, record, at, closed=False)

    def _to_send(
        self, row: OutboxRow, there: _Task | None, record: dict[str, Any], at: int, *, closed: bool
    ) -> Outgoing:
        key = row.key or ""
        if there is None:
            return Outgoing(
                row,
                CREATE,
                record,
                lambda each: made(row, key, each, at, closed=closed),
                done(row),
                setting="tasks.fields",
            )
        noted = made(row, key, there.salesforce_id, at, closed=closed)
        gone = made(
            row, key, there.salesforce_id, at, closed=True
        )  # somebody deleted it: it is not made again
        record = {**record, "id": there.salesforce_id}
        return Outgoing(row, CHANGE, record, lambda _: noted, gone, update=True, setting="tasks.fields")


def _of(key: str) -> str:
    return key.partition(":")[2]


def _id(row: OutboxRow) -> str:
    return _of(row.key or "")


def _ids(rows: Iterable[OutboxRow], kind: str) -> set[str]:
    return {_id(row) for row in rows if row.kind == kind}
