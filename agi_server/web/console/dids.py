"""Pages of DIDs: what applies to calls on one dialled number."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request, Response

from agi_server.calls.naming import check_template
from agi_server.errors import InputError, NotFoundError
from agi_server.exchange.values import check_dialable
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import Id
from agi_server.web.console.agents import LONGEST_RING
from agi_server.web.console.entry import Entry, entry_of, whole_number
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.render import page, redirect
from agi_server.web.console.versions import version_of
from agi_server.web.services import Services, Use
from storage.dids import DidRow, list_dids, put_did, remove_did

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

router = APIRouter()
Reader = Annotated[Actor, Depends(Needs(Scope.READ, page=True))]
Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN, page=True))]

SWITCHES = ("identify", "screening", "naming", "routing", "create_contacts")
TEXTS = ("region", "template", "default_agent", "ring_seconds", "fallback", "last_agent_minutes")
_MINUTES = 525_600  # a year


@router.get("/dids")
async def show_dids(request: Request, use: Use, actor: Reader) -> Response:
    """Show the DIDs that have rules of their own."""
    rows = await use.database.read(list_dids)
    return page(
        request, actor, "dids.html", dids=rows, defaults=use.directory.policy().default, switches=SWITCHES
    )


@router.get("/dids/new")
async def new_did(request: Request, use: Use, actor: Admin) -> Response:
    """Show an empty form."""
    return _form(request, use, actor, Entry({"did": request.query_params.get("did", "")}))


@router.post("/dids/new")
async def add_did(request: Request, use: Use, actor: Admin) -> Response:
    """Add a DID."""
    return await _save(request, use, actor, None)


@router.get("/dids/{did_id:int}")
async def show_did(request: Request, use: Use, actor: Reader, did_id: Id) -> Response:
    """Show one DID, in a form for who may change it."""
    row = _find(await use.database.read(list_dids), did_id)
    return _form(request, use, actor, _entry(row), row, version=version_of(row))


@router.post("/dids/{did_id:int}")
async def change_did(request: Request, use: Use, actor: Admin, did_id: Id) -> Response:
    """Change a DID, unless somebody else did in the meantime."""
    return await _save(request, use, actor, _find(await use.database.read(list_dids), did_id))


@router.post("/dids/{did_id:int}/remove")
async def remove(request: Request, use: Use, actor: Admin, did_id: Id) -> Response:
    """Ask first, then forget a DID."""
    row = _find(await use.database.read(list_dids), did_id)
    entry = await entry_of(request)
    if entry["sure"] != "yes":
        return page(request, actor, "did_remove.html", row=row)

    async def job(connection: AsyncConnection) -> None:
        await remove_did(connection, row.did, who=actor.who, now=int(use.clock()))

    await use.database.write(job)
    _ = gettext_of(request)
    return redirect(request, "/dids", notice=_("%(name)s was removed.") % {"name": row.did})


def _form(
    request: Request,
    use: Services,
    actor: Actor,
    entry: Entry,
    row: DidRow | None = None,
    *,
    version: str = "",
    theirs: Entry | None = None,
) -> Response:
    """Return the form; `theirs` is what somebody else has saved in the meantime."""
    policy = use.directory.policy()
    return page(
        request,
        actor,
        "did.html",
        status=409 if theirs is not None else 422 if entry.mistakes else 200,
        entry=entry,
        row=row,
        seen=version,
        theirs=theirs,
        defaults=policy.default,
        agents=policy.agents,
        switches=SWITCHES,
        longest_ring=LONGEST_RING,
        most_minutes=_MINUTES,
    )


async def _save(request: Request, use: Services, actor: Actor, known: DidRow | None) -> Response:
    """Write what the form says, or show it again."""
    entry = await entry_of(request)
    row = _read(entry)
    version = entry["version"]
    if entry.mistakes:
        return _form(request, use, actor, entry, known, version=version)
    now = int(use.clock())

    async def job(connection: AsyncConnection) -> DidRow | None:
        stored = await list_dids(connection)
        there = next((other for other in stored if known is not None and other.id == known.id), None)
        if there is not None and version_of(there) != version:
            return there
        if there is None or there.did != row.did:
            if any(other.did == row.did for other in stored):
                raise InputError(f"{row.did} is there already; change or remove that one")
            if there is not None:
                await remove_did(connection, there.did, who=actor.who, now=now)
        await put_did(connection, row, who=actor.who, now=now)
        return None

    try:
        theirs = await use.database.write(job)
    except InputError as error:
        entry.mistakes["did"] = str(error)
        return _form(request, use, actor, entry, known, version=version)
    if theirs is not None:
        return _form(request, use, actor, entry, known, version=version_of(theirs), theirs=_entry(theirs))
    _ = gettext_of(request)
    return redirect(request, "/dids", notice=_("%(name)s was saved.") % {"name": row.did})


def _read(entry: Entry) -> DidRow:
    """Return the DID of a form, whose mistakes are then in `entry`; a value left empty is the settings'."""
    return DidRow(
        did=entry.read("did", _did, ""),
        name=entry.read("name", str, ""),
        region=entry.read("region", _or_none(_region), None),
        template=entry.read("template", _or_none(_template), None),
        default_agent=entry.read("default_agent", _or_none(check_dialable), None),
        fallback=entry.read("fallback", _or_none(check_dialable), None),
        ring_seconds=entry.read("ring_seconds", _number(1, LONGEST_RING), None),
        last_agent_minutes=entry.read("last_agent_minutes", _number(0, _MINUTES), None),
        identify=entry.read("identify", _switch, None),
        screening=entry.read("screening", _switch, None),
        naming=entry.read("naming", _switch, None),
        routing=entry.read("routing", _switch, None),
        create_contacts=entry.read("create_contacts", _switch, None),
    )


def _entry(row: DidRow) -> Entry:
    """Return the form that shows a DID."""
    switches = {name: {None: "", True: "on", False: "off"}[getattr(row, name)] for name in SWITCHES}
    values = {name: getattr(row, name) for name in TEXTS}
    shown = {name: "" if value is None else str(value) for name, value in values.items()}
    return Entry({"did": row.did, "name": row.name, **shown, **switches})


def _find(rows: Sequence[DidRow], did_id: int) -> DidRow:
    for row in rows:
        if row.id == did_id:
            return row
    raise NotFoundError("this DID is not there, or no longer")


def _did(text: str) -> str:
    if not text:
        raise InputError("a DID is missing: write the dialled number as the trunk sends it")
    return text


def _switch(text: str) -> bool | None:
    if text not in {"", "on", "off"}:
        raise InputError(f"{text!r} is neither on nor off")
    return {"": None, "on": True, "off": False}[text]


def _region(text: str) -> str:
    if re.fullmatch("[A-Za-z]{2}", text) is None:
        raise InputError(f"{text!r} is no country; write its ISO code, e.g. PT")
    return text.upper()


def _template(text: str) -> str:
    check_template(text)
    return text


def _or_none(parse: Callable[[str], str]) -> Callable[[str], str | None]:
    return lambda text: parse(text) if text else None


def _number(least: int, most: int) -> Callable[[str], int | None]:
    parse = whole_number(least, most)
    return lambda text: parse(text) if text else None
