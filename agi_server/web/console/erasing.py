"""Erase a person on request: a page says what will be erased and what will not; then it is asked once more, and done.

A contact that Salesforce had is gone from here when it is erased; its id goes on to find its calls.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from agi_server import recordings
from agi_server.blocking import pattern_of
from agi_server.calls.numbers import normalise
from agi_server.errors import ConflictError, InputError
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import Id
from agi_server.web.console.entry import Entry, entry_of
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.render import page, redirect
from agi_server.web.services import Services, Use
from storage.erasure import Erased, erase, erase_number
from storage.people import ContactCard, get_contact

router = APIRouter()
Keeper = Annotated[Actor, Depends(Needs(Scope.CONTACTS, page=True))]


@router.get("/contacts/{contact_id:int}/erase")
async def ask_contact(request: Request, use: Use, actor: Keeper, contact_id: Id) -> Response:
    """Say what will be erased of a contact, and what will not."""
    return _ask(request, actor, Entry({}), card=await _card(use, contact_id), contact_id=contact_id)


@router.post("/contacts/{contact_id:int}/erase")
async def erase_contact(request: Request, use: Use, actor: Keeper, contact_id: Id) -> Response:
    """Erase a contact everywhere."""
    entry = await entry_of(request)
    _check_sure(request, entry)
    if not entry.mistakes:
        delete = partial(recordings.erase, settings=use.settings)
        work = erase(use.database, contact_id, who=actor.who, now=int(use.clock()), delete=delete)
        if done := await _done(request, entry, work):
            return done
    return _ask(request, actor, entry, card=await _card(use, contact_id), contact_id=contact_id)


@router.get("/contacts/erase")
async def ask_number(request: Request, use: Use, actor: Keeper) -> Response:
    """Say what will be erased of somebody who is known by a number only."""
    entry = Entry(dict(request.query_params))
    number = entry.read("number", lambda text: _pattern(text, use), "") if entry["number"] else ""
    return _ask(request, actor, entry, number=number)


@router.post("/contacts/erase")
async def erase_caller(request: Request, use: Use, actor: Keeper) -> Response:
    """Erase a number that is no contact's everywhere."""
    entry = await entry_of(request)
    pattern = entry.read("number", lambda text: _pattern(text, use), "")
    _check_sure(request, entry)
    if not entry.mistakes:
        number = normalise(pattern, use.directory.policy().default.region)
        delete = partial(recordings.erase, settings=use.settings)
        work = erase_number(use.database, number, who=actor.who, now=int(use.clock()), delete=delete)
        if done := await _done(request, entry, work):
            return done
    return _ask(request, actor, entry, number=pattern)


def _ask(
    request: Request,
    actor: Actor,
    entry: Entry,
    *,
    card: ContactCard | None = None,
    contact_id: int = 0,
    number: str = "",
) -> Response:
    return page(
        request,
        actor,
        "contact_erase.html",
        status=422 if entry.mistakes else 200,
        entry=entry,
        card=card,
        contact_id=contact_id,
        number=number,
    )


async def _done(request: Request, entry: Entry, work: Awaitable[Erased]) -> Response | None:
    """Erase, and return what is answered then; None where it cannot be done, which is then noted in `entry`."""
    try:
        erased = await work
    except ConflictError as error:
        entry.mistakes[""] = str(error)
        return None
    _ = gettext_of(request)
    text = _("Erased. Contacts: %(contacts)s, calls: %(calls)s, entries of the audit log: %(audit)s.")
    return redirect(request, "/contacts", notice=text % erased._asdict())


def _check_sure(request: Request, entry: Entry) -> None:
    if entry["sure"] != "yes":
        _ = gettext_of(request)
        entry.mistakes["sure"] = _("Say that you are sure: it cannot be undone.")


def _pattern(text: str, use: Services) -> str:
    """Return a number as rules have it. Raises InputError."""
    if not text:
        raise InputError("a number is missing")
    return pattern_of(text, use.directory.policy().default.region)


async def _card(use: Services, contact_id: int) -> ContactCard | None:
    return await use.database.read(lambda connection: get_contact(connection, contact_id))
