"""The page of Salesforce: how the exchange stands, connecting, what is read, and the numbers nobody can dial.

Invariant: nothing secret is shown. An authorisation under way is kept in memory, for the one who began it, and its
answer is taken once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response

from agi_server.errors import DirectoryError, InputError, OstiaryError, SalesforceError
from agi_server.salesforce.authorise import Attempt, begin, code_in, finish
from agi_server.salesforce.report import STATE
from agi_server.settings import Salesforce
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.entry import entry_of
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.render import page, redirect
from agi_server.web.services import Services, Use
from storage import salesforce_state
from storage.sync import count_unread, unread

router = APIRouter()
Reader = Annotated[Actor, Depends(Needs(Scope.READ, page=True))]
Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN, page=True))]

UNREAD = 100  # numbers shown
CALLBACK = (
    "/salesforce/callback"  # the path of salesforce.redirect_url, where the browser is to come back here
)


@router.get("/salesforce")
async def show_salesforce(request: Request, use: Use, actor: Reader) -> Response:
    """Show how it stands."""
    return await _show(request, use, actor)


@router.post("/salesforce")
async def act(request: Request, use: Use, actor: Admin) -> Response:
    """Synchronise, try the connection, or begin and finish an authorisation."""
    entry = await entry_of(request)
    _ = gettext_of(request)
    settings = use.settings.salesforce
    try:
        match entry["do"]:
            case "test":
                told = await asyncio.to_thread(_examined, use)
                return await _show(request, use, actor, tried=told)
            case "authorise":
                _attempts(request)[actor.who] = begin(settings)
                return await _show(request, use, actor)
            case "code":
                return await _finish(request, use, actor, entry["code"])
            case _ if not settings.enabled:
                raise InputError(
                    _("Salesforce is not switched on: set salesforce.enabled in the settings file.")
                )
            case what:
                use.server.synchronise(full=what != "sync", accept_removals=what == "accept_removals")
    except OstiaryError as error:
        return await _show(request, use, actor, error=str(error))
    return redirect(request, "/salesforce", notice=_("It synchronises; this page shows how it went."))


@router.get(CALLBACK)
async def come_back(request: Request, use: Use, actor: Admin) -> Response:
    """Take what the browser brings back from Salesforce."""
    try:
        return await _finish(request, use, actor, "?" + request.url.query)
    except OstiaryError as error:
        return await _show(request, use, actor, error=str(error))


async def _finish(request: Request, use: Services, actor: Actor, text: str) -> Response:
    _ = gettext_of(request)
    attempt = _attempts(request).get(actor.who)
    if attempt is None:
        raise InputError(_("No authorisation is under way: begin it on this page."))
    code = code_in(attempt, text)
    del _attempts(request)[actor.who]
    directory = use.settings.storage.state_directory.absolute()
    await asyncio.to_thread(finish, use.settings.salesforce, directory, attempt, code)
    if use.settings.salesforce.enabled:
        use.server.synchronise(full=False, accept_removals=False)
    return redirect(request, "/salesforce", notice=_("Salesforce has given its permission."))


async def _show(
    request: Request,
    use: Services,
    actor: Actor,
    *,
    error: str = "",
    tried: tuple[str, list[str]] | None = None,
) -> Response:
    settings = use.settings.salesforce
    last = await use.database.read(lambda c: salesforce_state.get(c, STATE))
    attempt = _attempts(request).get(actor.who)
    return page(
        request,
        actor,
        "salesforce.html",
        status=422 if error else 200,
        error=error,
        tried=tried,
        settings=settings,
        last=last,
        told=await _told(use),
        now=int(use.clock()),
        attempt=attempt,
        comes_back=urlsplit(settings.redirect_url).path == CALLBACK,
        fields=fields_read(settings),
        unread=await use.database.read(lambda c: unread(c, limit=UNREAD)),
        unread_count=await use.database.read(count_unread),
    )


async def _told(use: Services) -> Mapping[str, Any]:
    """Return what the worker last said of it."""
    try:
        return (await use.server.state())["salesforce"] or {}
    except DirectoryError:
        return {}


def fields_read(settings: Salesforce) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return, for each object that is read, what the settings say of its fields: our name and theirs."""
    shown: list[tuple[str, list[tuple[str, str]]]] = []
    for kind in settings.objects:
        rows = [
            (ours, settings.field_map[ours]) for ours in settings.field_map if ours.startswith(f"{kind}.")
        ]
        rows += [("+ number", field) for field in settings.number_fields if field.startswith(f"{kind}.")]
        rows += [("- number", field) for field in settings.ignored_fields if field.startswith(f"{kind}.")]
        rows += [("filter", settings.filters[kind])] if kind in settings.filters else []
        shown.append((kind, rows))
    return shown


def _attempts(request: Request) -> dict[str, Attempt]:
    """Return the authorisations under way, by who began them."""
    state = request.app.state
    if not hasattr(state, "salesforce_attempts"):
        state.salesforce_attempts = {}
    attempts: dict[str, Attempt] = state.salesforce_attempts
    return attempts


def _examined(use: Services) -> tuple[str, list[str]]:
    """Sign in and return what is so, and what an admin should look at; for a thread."""
    from agi_server.salesforce.client import Client  # noqa: PLC0415  # takes memory, and few ask for it
    from agi_server.salesforce.examine import examine  # noqa: PLC0415  # likewise

    client = Client(use.settings.salesforce, use.settings.storage.state_directory)
    try:
        return examine(client, use.settings.salesforce, use.settings.tasks)
    except SalesforceError as error:
        raise InputError(str(error)) from error
    finally:
        client.close()
