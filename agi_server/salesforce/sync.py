"""A round of synchronisation: the directory follows Salesforce, object by object.

Invariant: a round may end anywhere, and the next one goes on from what is noted in `salesforce_state`
(`sync:<object>`), which is never ahead of what is stored. One object's refusal does not stop the others; what
concerns all of them (no connection, no log-in, no calls left) ends the round.

Owners come first, then accounts, so that contacts find both; leads come after the contacts they become.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import OstiaryError, SalesforceRefusal
from agi_server.salesforce.batches import SIZE, Run, Work, ahead
from agi_server.salesforce.changes import NeedsFull, State, is_fresh, read_changes
from agi_server.salesforce.client import Client
from agi_server.salesforce.fields import Reading, Types, filter_of, plan, select, types_of
from agi_server.salesforce.full import is_due, load
from agi_server.salesforce.mapping import moment_of, owner, soql_time
from agi_server.salesforce.outcome import ObjectOutcome, Outcome, Progress, Report
from agi_server.settings import Settings
from storage import salesforce_state, sync
from storage.database import Database
from storage.parents import Parent, put_parents

ORDER: Final = ("Account", "Contact", "Lead", "Opportunity")
OWNERS: Final = {"User": "", "Group": "Type = 'Queue'"}
NOT_THERE: Final = "it is not there, or the integration user may not read it"
NO_NUMBERS: Final = "it has no field with numbers that may be read, and is left out"
OWNERS_DUE = 600  # seconds
DESCRIBE_DUE = 3600  # seconds


def _nobody(_progress: Progress) -> None:
    pass


async def synchronise(
    database: Database,
    client: Client,
    settings: Settings,
    *,
    full: bool = False,
    dry_run: bool = False,
    accept_removals: bool = False,
    report: Report = _nobody,
    now: Callable[[], float] = time.time,
) -> Outcome:
    """Bring the directory in step with Salesforce and return what that took.

    `full`: read everything, and remove what is not there any more. `dry_run`: write nothing, count what would be
    written. `accept_removals`: remove also where Salesforce shows less than half of what is known. `now` is our
    clock, in seconds since 1970. Raises SalesforceDown, SalesforceLoginError, SalesforceLimitError and
    DirectoryError; what is stored by then stays. A mistake of ours is raised when all other objects are done.
    """
    outcome = Outcome(dry_run)
    run = Run(
        database, client, settings, outcome, report, now, client.calls,
        full=full, dry_run=dry_run, accept_removals=accept_removals,
    )  # fmt: skip
    began = time.monotonic()
    try:
        await asyncio.to_thread(client.server_time)
        run = await _of_this_org(run)
        await _follow_owners(run)
        readings = await _readings(run)
        mistakes = []
        for part in outcome.objects:
            if reading := readings.get(part.sobject):
                try:
                    await _timed(run, Work(reading, readings.get("Contact"), part))
                except OstiaryError:
                    raise
                except Exception as error:  # noqa: BLE001  # ours, about this object; told when the others are done
                    mistakes.append(error)
        if mistakes:
            raise mistakes[0]
    finally:
        outcome.calls = client.calls - run.calls_before
        outcome.seconds = time.monotonic() - began
    return outcome


async def _of_this_org(run: Run) -> Run:
    """Forget how far we were where the settings lead to another org by now, or a sandbox was refreshed."""
    org = await asyncio.to_thread(run.client.org_id)
    known = await _get(run, "org")
    if not org or (known is not None and known["id"] == org):
        return run
    now = int(run.now())

    async def job(conn: AsyncConnection) -> None:
        for name in await salesforce_state.all_states(conn):
            if known is not None and name.startswith(("sync:", "fields:")):
                await salesforce_state.remove(conn, name)
        await salesforce_state.put(conn, "org", {"id": org}, now)

    await run.write(job)
    if known is None:
        return run
    run.outcome.notes.append(
        f"this is another org ({org}) than before ({known['id']}): everything is read anew"
    )
    return replace(run, full=True)


# --- what there is to read


async def _readings(run: Run) -> dict[str, Reading]:
    """Return what to read of each object that can be read; each that is wanted gets its part of the outcome."""
    settings = run.settings.salesforce
    wanted: list[str] = [sobject for sobject in ORDER if sobject in settings.objects]
    parts = {sobject: ObjectOutcome(sobject) for sobject in wanted}
    run.outcome.objects += parts.values()
    accounts, account_names = await _account_types(run)
    readings: dict[str, Reading] = {}
    for sobject, part in parts.items():
        try:
            types = accounts if sobject == "Account" else await _types(run, sobject)
        except SalesforceRefusal as error:
            part.error = str(error)
            continue
        if not types:
            part.note(NOT_THERE)
            continue
        reading = plan(sobject, types, settings, account_names=account_names)
        part.notes += reading.notes
        if reading.phones:
            readings[sobject] = reading
        else:
            part.note(NO_NUMBERS)
    _note_missing(run, readings)
    if account_names:
        try:
            await _follow_account_names(run)
        except SalesforceRefusal as error:
            run.outcome.notes.append(f"new names of accounts cannot be read ({error})")
    return readings


def _note_missing(run: Run, readings: Mapping[str, Reading]) -> None:
    settings = run.settings.salesforce
    for setting, name, found in (
        ("vip_field", settings.vip_field, [reading.vip for reading in readings.values()]),
        ("blacklist_field", settings.blacklist_field, [each.blacklist for each in readings.values()]),
    ):
        if name and not any(found):
            run.outcome.notes.append(
                f"no object has the field {name} (salesforce.{setting}), or it is hidden from us"
            )


async def _account_types(run: Run) -> tuple[Types, bool]:
    """Return the fields of Account, and whether contacts must bring the names of their accounts along."""
    settings = run.settings.salesforce
    try:
        types = await _types(run, "Account")
    except SalesforceRefusal:
        return {}, False
    read = "Account" in settings.objects and plan("Account", types, settings).phones
    return types, bool(types) and (not read or "Account" in settings.filters)


async def _types(run: Run, sobject: str, *, anew: bool = False) -> Types:
    """Return the fields of an object, described at most once an hour; none where it cannot be read."""
    name, now = f"fields:{sobject}", int(run.now())
    known = await _get(run, name)
    if known is not None and not anew and not run.full and 0 <= now - known["at"] < DESCRIBE_DUE:
        types: Types = known["types"]
        return types
    described = await asyncio.to_thread(run.client.describe, sobject)
    types = types_of(described) if described is not None else {}
    await _put(run, name, {"types": types, "at": now})
    return types


# --- who owns


async def _follow_owners(run: Run) -> None:
    """Store users and, for leads, queues."""
    for sobject, condition in OWNERS.items():
        if sobject == "Group" and "Lead" not in run.settings.salesforce.objects:
            continue
        state = await _get(run, f"sync:{sobject}") or {}
        now = int(run.now())
        if not run.full and state and 0 <= now - state["at"] < OWNERS_DUE:
            continue
        part = ObjectOutcome(sobject)
        run.outcome.objects.append(part)
        began = time.monotonic()
        try:
            types = await _types(run, sobject)
            fields = ("Id", "Name", "Email") if sobject == "User" else ("Id", "Name")
            columns = [field for field in fields if field in types]
            if not columns:
                part.note("it cannot be read: owners stay without a name")
                continue
            same = not run.full and state.get("columns") == columns
            recent = _since(run, state) if same else ""
            part.how = "changes" if recent else "full"
            watermark = run.client.server_time().isoformat()
            await _store_owners(run, part, select(sobject, columns, condition, recent))
            await _put(run, f"sync:{sobject}", {"watermark": watermark, "columns": columns, "at": now})
        except SalesforceRefusal as error:
            part.error = str(error)
        part.seconds = time.monotonic() - began


async def _store_owners(run: Run, part: ObjectOutcome, query: str) -> None:
    async with ahead(page for page in run.client.query(query)) as pages:
        async for page in pages:
            for at in range(0, len(page), SIZE):
                rows = [owner(record) for record in page[at : at + SIZE]]
                part.updated += await run.write(lambda conn, rows=rows: sync.store_owners(conn, rows))  # type: ignore[misc]
            part.read += len(page)
            run.tell(part, "reading")


async def _follow_account_names(run: Run) -> None:
    """Store new names of accounts that are not read themselves: their contacts do not change with them."""
    name = "sync:account names"
    state = await _get(run, name) or {}
    watermark = run.client.server_time().isoformat()
    if "watermark" in state:
        query = select("Account", ("Id", "Name"), _since(run, state))
        async with ahead(page for page in run.client.query(query)) as pages:
            async for page in pages:
                for at in range(0, len(page), SIZE):
                    parents = [Parent(each["Id"], "", each["Name"] or "") for each in page[at : at + SIZE]]
                    await run.write(lambda conn, parents=parents: put_parents(conn, "accounts", parents))  # type: ignore[misc]
    await _put(run, name, {"watermark": watermark})


def _since(run: Run, state: State) -> str:
    since = moment_of(state["watermark"]) - timedelta(seconds=run.settings.salesforce.overlap)
    return f"SystemModstamp >= {soql_time(since)}"


# --- whom we know


async def _timed(run: Run, work: Work) -> None:
    """Bring one object in step; a refusal is its own."""
    part, reading = work.part, work.reading
    began = time.monotonic()
    try:
        try:
            await _follow(run, work)
        except SalesforceRefusal:
            # What was described up to an hour ago may be hidden by now.
            anew = await _replanned(run, reading)
            if anew == reading:
                raise
            if anew.phones:
                await _follow(run, replace(work, reading=anew))
            else:
                part.note(NO_NUMBERS if anew.columns else NOT_THERE)
    except SalesforceRefusal as error:
        part.error = await _explained(run, reading, error)
    finally:
        part.seconds = time.monotonic() - began


async def _follow(run: Run, work: Work) -> None:
    part, reading = work.part, work.reading
    name = f"sync:{reading.sobject}"
    state = await _get(run, name) or {}
    local = int(run.now())
    region = run.settings.numbers.region
    fresh = is_fresh(state, run.client.server_time(), local)
    loaded = run.full or not fresh or is_due(state, reading, region, local)
    if loaded:
        state = await load(run, work, state)
        fresh = is_fresh(state, run.client.server_time(), local)
    # What changed since a load began is read at once; while one is half stored, its old rows would come later.
    if fresh and not state.get("full", {}).get("stage") and not (loaded and run.dry_run):
        since = replace(work, part=ObjectOutcome(work.kind)) if loaded else work
        try:
            state = await read_changes(run, since, state)
            part.add(since.part)
        except NeedsFull:
            if loaded:
                part.note("more has changed than can be asked for; the next round reads everything")
                del state["watermark"]
            else:
                state = await load(run, work, state)
        await _put(run, name, state | {"at": int(run.now())})
    if doubt := state.get("doubt"):
        part.error = (
            f"Salesforce does not show {doubt['missing']} of {doubt['known']} records: may the integration user no "
            "longer see them? None is removed; if they are gone: `ostiary sync --full --accept-removals`"
        )


async def _replanned(run: Run, reading: Reading) -> Reading:
    types = await _types(run, reading.sobject, anew=True)
    if not types:
        return Reading(reading.sobject)
    names = reading.account_name == "Account.Name" and bool(await _types(run, "Account", anew=True))
    return plan(reading.sobject, types, run.settings.salesforce, account_names=names)


async def _explained(run: Run, reading: Reading, error: SalesforceRefusal) -> str:
    """Return what was refused, and which setting to mend where it is the admin's filter."""
    if reading.condition:
        query = select(reading.sobject, ("Id",), reading.condition) + " LIMIT 1"
        try:
            await asyncio.to_thread(lambda: list(run.client.query(query)))
        except SalesforceRefusal as of_filter:
            return (
                f"Salesforce refuses the filter ({of_filter}); mend salesforce.filters.{reading.sobject}, "
                f"which is {filter_of(reading.sobject, run.settings.salesforce)}"
            )
    return str(error)


async def _get(run: Run, name: str) -> State | None:
    return await run.database.read(lambda conn: salesforce_state.get(conn, name))


async def _put(run: Run, name: str, value: Mapping[str, Any]) -> None:
    now = int(run.now())

    async def job(conn: AsyncConnection) -> None:
        await salesforce_state.put(conn, name, value, now)

    if not run.dry_run:
        await run.write(job)
