"""The worker's exchange with Salesforce: a round every `salesforce.sync_interval`, and look-ups at any time.

What is to be written does not wait for a round: between two it is looked for every BETWEEN seconds.

Invariant: whatever Salesforce does, nothing here ends or raises: a round that fails is noted, told and logged once per
kind of failure, and tried again; the longer it fails, the rarer. A round holds the lock of lock.py, so it may be
killed anywhere and none runs beside another. What blocks runs in threads, so that the journal goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from agi_server.errors import (
    DirectoryError,
    SalesforceBusy,
    SalesforceDown,
    SalesforceError,
    SalesforceLimitError,
    SalesforceLoginError,
    SalesforceRefusal,
    SettingsError,
)
from agi_server.salesforce.lock import salesforce_lock
from agi_server.salesforce.report import REMEDIES, STATE, WHAT, Report
from agi_server.settings import Settings
from storage import outbox, salesforce_state, sync
from storage.database import Database

if TYPE_CHECKING:
    from agi_server.salesforce.client import Client
    from agi_server.salesforce.lookup import Lookup
    from agi_server.salesforce.outgoing import Shapes

FIRST_PAUSE = 2.0  # seconds from the start of the worker: calls may be waiting for its journal
LONGEST_PAUSE = 900.0
LONGEST_LOGIN_PAUSE = 3600.0  # an admin must act; each try is a log-in that Salesforce counts
BETWEEN = 10.0  # seconds between two looks for what can be written
MARGIN = 0.1  # seconds behind the end of a pause
SPARING = 0.9  # of the org's API calls; beyond, rounds are rarer
STRETCH = 10

_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (SalesforceDown, "down"),
    (SalesforceLoginError, "login"),
    (SalesforceLimitError, "limit"),
    (SalesforceError, "refused"),
    (DirectoryError, "database"),
    (SettingsError, "settings"),
    (Exception, "fault"),
)

log = structlog.get_logger()


class Exchange:
    """Runs on the worker's event loop; `send` sends a line to the serving process."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        send: Callable[[object], Awaitable[None]],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._database = database
        self._send = send
        self._now = now
        self._report = Report(None, now())
        self._client: Client | None = None
        self._lookup: Lookup | None = None
        self._shapes: Shapes | None = None
        self._failures = 0  # rounds in a row
        self._busy = False  # another process has the lock, and the log knows it
        self._said: str | None = None  # the kind of failure that the log knows of; None: nothing yet
        self._counted = 0  # of the client's calls
        self._empty_fields: set[str] = set()  # of Tasks, and why; the log knows them
        self._running: set[asyncio.Task[None]] = set()
        self._reopening: asyncio.TimerHandle | None = None
        self._wanted: dict[str, bool] = {}  # of the next round: full, accept_removals
        self._at_once = asyncio.Event()

    async def run(self) -> None:
        """Go on for ever."""
        try:
            await asyncio.sleep(FIRST_PAUSE)
            self._report = Report(await self._kept(), self._now())
            while True:
                try:
                    failure = await self._tried()
                    await self._tell()
                except Exception:  # how it stands cannot be noted or told
                    log.exception("Salesforce: a round is not accounted for")
                    failure = "fault"
                await self._rest(self._pause(failure))
        finally:
            if self._reopening is not None:
                self._reopening.cancel()
            for task in self._running:
                task.cancel()
            if self._client is not None:
                self._client.close()

    def asked(self, kind: str, content: Mapping[str, Any]) -> None:
        """Take what the serving process asks: a `lookup` (`id`, `number`), which is always answered, or a `sync`."""
        if kind == "lookup":
            self._start(self._answer(**content))
        elif kind == "sync":
            self._wanted = {what: self._wanted.get(what, False) or wanted for what, wanted in content.items()}
            self._at_once.set()

    # Rounds

    async def _rest(self, seconds: float) -> None:
        """Wait for the next round, or until somebody wants one at once; write meanwhile what becomes due."""
        loop = asyncio.get_running_loop()
        end, writes = loop.time() + seconds, not self._failures
        while (left := end - loop.time()) > 0:
            try:
                async with asyncio.timeout(min(left, BETWEEN)):
                    await self._at_once.wait()
            except TimeoutError:
                writes = writes and left > BETWEEN and await self._written()
            else:
                break
        self._at_once.clear()

    async def _written(self) -> bool:
        """Write what is due; return whether that went well: if not, the next round tells why."""
        if self._client is None or self._report.share() >= SPARING:
            return False
        try:
            at = int(self._now())
            if not await self._database.read(lambda conn: outbox.due(conn, at, 1)):
                return True
            with salesforce_lock(self._settings.storage.state_directory, 0):
                await self._deliver(self._client)
        except SalesforceBusy:
            return True
        except Exception as error:  # noqa: BLE001  # the invariant
            log.info("Salesforce: not written before the next round", why=str(error) or type(error).__name__)
            return False
        return True

    async def _deliver(self, client: Client) -> str:
        """Send what is due; return why some of it cannot be."""
        from agi_server.salesforce.outbox import deliver  # noqa: PLC0415  # loaded by now

        delivered = await deliver(self._database, client, self._settings, shapes=self._shapes, now=self._now)
        self._left_out(delivered.notes)
        return delivered.error

    async def _tried(self) -> str:
        """Do a round; return the kind of its failure, empty when it was done."""
        try:
            problem = await self._round()
        except SalesforceBusy as error:  # `ostiary sync` does what we would
            if not self._busy:
                log.info("Salesforce: rounds are left out for now", why=str(error))
            self._busy = True
            return ""
        except Exception as error:  # noqa: BLE001  # the invariant
            kind = next(kind for type_, kind in _FAILURES if isinstance(error, type_))
            self._failed(kind, str(error) or type(error).__name__, error if kind == "fault" else None)
        else:
            kind = "part" if problem else ""
            if problem:
                self._failed(kind, problem, None)
            else:
                self._succeeded()
        self._busy = False
        self._failures = self._failures + 1 if kind else 0
        await self._note()
        return kind

    async def _round(self) -> str:
        """Return what of it could not be done, empty when nothing."""
        settings = self._settings
        with salesforce_lock(settings.storage.state_directory, 0):
            client = await self._open()
            from agi_server.salesforce.outgoing import Shapes  # noqa: PLC0415  # loaded by now
            from agi_server.salesforce.sync import synchronise  # noqa: PLC0415  # likewise

            self._shapes = Shapes(client)  # whatever an admin has mended counts from here on

            await self._note_instance(client)
            if self._lookup is not None:
                await self._lookup.prepare()
                await self._tell()
            try:
                stuck = await self._deliver(client)
            except (SalesforceDown, SalesforceRefusal) as error:
                stuck = str(error)  # it may be about one record; if Salesforce is away, reading says so
            wanted, self._wanted = self._wanted, {}
            outcome = await synchronise(
                self._database,
                client,
                settings,
                full=wanted.get("full", False),
                accept_removals=wanted.get("accept_removals", False),
                now=self._now,
            )
        for part in outcome.objects:
            counts = {what: getattr(part, what) for what in WHAT}
            self._report.counted(part.sobject, counts)
        self._report.notes = [*sorted(self._empty_fields), *outcome.all_notes]
        return "; ".join(filter(None, (stuck, *outcome.errors)))

    async def _note_instance(self, client: Client) -> None:
        """Keep the org's address, for links to its records."""
        url = await asyncio.to_thread(client.instance)
        if url != await self._database.read(salesforce_state.instance):
            at = int(self._now())
            await self._database.write(
                lambda conn: salesforce_state.put(conn, salesforce_state.INSTANCE, {"url": url}, at)
            )

    def _left_out(self, notes: Sequence[str]) -> None:
        """Say once which fields of Tasks stay empty."""
        for note in notes:
            if note not in self._empty_fields:
                log.warning("Salesforce: a field of Tasks is left out", why=note)
        self._empty_fields |= {*notes}

    async def _open(self) -> Client:
        """Return the client, opened when it is first needed: what it imports takes time and memory."""
        if self._client is None:
            self._client = await asyncio.to_thread(_load, self._settings)
            if self._settings.salesforce.lookup:
                from agi_server.salesforce.lookup import Lookup  # noqa: PLC0415  # loaded by now

                self._lookup = Lookup(self._database, self._client, self._settings)
        return self._client

    def _pause(self, failure: str) -> float:
        """Return the seconds until the next round."""
        interval = float(self._settings.salesforce.sync_interval)
        if failure and failure != "part":
            longest = LONGEST_LOGIN_PAUSE if failure == "login" else LONGEST_PAUSE
            return max(interval, min(interval * 2.0 ** min(self._failures - 1, 30), longest))
        return interval * STRETCH if self._report.share() >= SPARING else interval

    # What is said of them

    def _succeeded(self) -> None:
        report, now = self._report, self._now()
        if self._said != "":
            seconds = int(now - report.since) if report.kind else 0
            log.info("Salesforce: in step", after_seconds=seconds)
        self._said = ""
        report.succeeded(now)

    def _failed(self, kind: str, error: str, fault: Exception | None) -> None:
        if kind != self._said:
            log.error(
                "Salesforce: not in step; calls go on",
                kind=kind,
                error=error,
                todo=REMEDIES[kind],
                exc_info=fault,
            )
        self._said = kind
        self._report.failed(kind, error, self._now())

    async def _note(self) -> None:
        """Bring the report up to date, and keep it for those who ask the database."""
        report, client, now = self._report, self._client, self._now()
        if client is not None:
            report.called(client.calls - self._counted, now)
            self._counted = client.calls
            if client.usage is not None:
                report.usage = (client.usage.used, client.usage.total)
        try:
            counts = await self._database.read(outbox.counts)
            report.outbox = {
                "waiting": counts.waiting,
                "parked": counts.parked,
                "oldest_at": counts.oldest_at,
            }
            report.unread = await self._database.read(sync.count_unread)
            await self._database.write(
                lambda conn: salesforce_state.put(conn, STATE, report.kept(), int(now))
            )
        except DirectoryError as error:
            log.error("Salesforce: how it stands is not kept", error=str(error))

    async def _kept(self) -> dict[str, Any] | None:
        try:
            return await self._database.read(lambda conn: salesforce_state.get(conn, STATE))
        except DirectoryError:
            return None

    async def _tell(self) -> None:
        """Tell the serving process how it stands, and again when a pause of the look-ups is over."""
        closed = "the worker has not reached Salesforce yet"
        if self._lookup is not None:
            closed = self._lookup.closed()
            if self._reopening is None and (seconds := self._lookup.opens_in()):
                self._reopening = asyncio.get_running_loop().call_later(seconds + MARGIN, self._reopen)
        await self._send(("salesforce", self._report.told(closed)))

    # Look-ups

    async def _answer(self, id: int, number: str) -> None:  # noqa: A002  # as on the wire
        lookup, was_closed = self._lookup, ""
        if lookup is None:
            outcome, why = "not_asked", "the worker has not reached Salesforce yet"
        else:
            was_closed = lookup.closed()
            outcome, why = await lookup.find(number)
        await self._send(("found", {"id": id, "outcome": outcome, "why": why}))
        if lookup is not None and lookup.closed() != was_closed:
            await self._tell()

    def _reopen(self) -> None:
        self._reopening = None
        self._start(self._tell())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)


def _load(settings: Settings) -> Client:
    """Import what speaks to Salesforce, and return a client."""
    import agi_server.salesforce.lookup  # noqa: PLC0415
    import agi_server.salesforce.outbox  # noqa: PLC0415
    import agi_server.salesforce.sync  # noqa: F401, PLC0415
    from agi_server.salesforce.client import Client  # noqa: PLC0415

    return Client(settings.salesforce, settings.storage.state_directory)
