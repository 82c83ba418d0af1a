"""Calling by a click: who that is, whose telephone rings, and how it goes.

Opening the page dials nothing: it has an address of its own, which any other page may link to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response

from agi_server.calls.dialling import Refusal
from agi_server.errors import ConflictError, DirectoryError, InputError, NotFoundError
from agi_server.web import dialling
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.calls import agent_names
from agi_server.web.console.entry import Entry, entry_of
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.languages import mark as _
from agi_server.web.console.render import page, redirect
from agi_server.web.services import Services, Use
from storage.dials import Dial, get

router = APIRouter()
Dialler = Annotated[Actor, Depends(Needs(Scope.DIAL, page=True))]

LONGEST: Final = 200  # characters of a number

REFUSALS: Final[Mapping[str, str]] = {
    "no-number": _("This is no telephone number, and no extension of ours."),
    "code": _("Service codes with * and # are dialled on the telephone itself."),
    "emergency": _("Emergency numbers are dialled on the telephone itself, never by a click."),
    "self": _("This is the agent's own extension."),
    "denied": _("This number may not be dialled: the setting dialling.deny covers it."),
    "not-allowed": _("This number may not be dialled: the setting dialling.allow does not cover it."),
    "premium": _("Calls to this number cost extra; the setting dialling.premium allows them."),
    "blacklisted": _("This number is on the blacklist."),
    "do-not-call": _("They do not want to be called."),
}
STATES: Final[Mapping[str, str]] = {
    "asked": _("The telephone will ring in a moment."),
    "ringing-agent": _("Your telephone rings: pick it up."),
    "dialling": _("The number is being dialled."),
    "ringing": _("It rings."),
    "answered": _("You are connected."),
    "ended": _("The call is over."),
    "failed": _("The call did not come about."),
}
REASONS: Final[Mapping[str, str]] = {
    "agent-busy": _("The agent's telephone is busy, or the call was declined."),
    "agent-no-answer": _("The agent's telephone was not picked up."),
    "agent-unreachable": _("The agent's telephone is not reachable."),
    "busy": _("The number is busy."),
    "no-answer": _("Nobody answers."),
    "cancelled": _("The call was cancelled."),
    "failed": _("The number cannot be reached."),
    "lost": _("The connection to the telephone system was lost; whether it rang is not known."),
    "no-pbx": _("The telephone system was not connected."),
    "refused": _("The telephone system did not take the order; the log says more."),
}


@router.get("/call")
async def ask(request: Request, actor: Dialler, use: Use) -> Response:
    """Show who would be called (`?number=`), and from which telephone; nothing is dialled yet."""
    return await _asking(request, actor, use, Entry(dict(request.query_params)))


@router.post("/call")
async def order(request: Request, actor: Dialler, use: Use) -> Response:
    """Order the call, and go to the page that tells how it goes."""
    gettext = gettext_of(request)
    entry = await entry_of(request)
    number, override = entry["number"][:LONGEST], bool(entry["override"])
    try:
        ordered = await dialling.order(use, actor, entry["agent"], number, override=override)
    except (InputError, ConflictError, DirectoryError) as error:
        return await _asking(request, actor, use, entry, status=409, mistake=str(error))
    if isinstance(ordered, Refusal):  # the page says why
        return await _asking(request, actor, use, entry, status=409)
    if ordered.dial is None:
        wait = gettext("Too many calls have been made from this telephone; try again in a minute.")
        return await _asking(request, actor, use, entry, status=429, mistake=wait)
    return redirect(request, f"/call/{ordered.dial.id}")


@router.get("/call/handler")
async def handler(request: Request, actor: Dialler) -> Response:
    """Offer to have the browser open telephone links here."""
    return page(request, actor, "dial_handler.html")


@router.get("/call/{dial_id}")
async def show(request: Request, actor: Dialler, use: Use, dial_id: str) -> Response:
    """Show how a call goes; dial.js keeps it up to date, and without scripts the page loads anew."""
    dial = await use.database.read(lambda conn: get(conn, dial_id))
    if dial is None:
        raise NotFoundError("no such call was ordered; they are forgotten after a time")
    gettext = gettext_of(request)
    names = await use.database.read(agent_names)
    return page(
        request,
        actor,
        "dial.html",
        dial=dial,
        agent=names.get(dial.agent, dial.agent),
        said=_said(dial),
        again="/call?" + urlencode({"number": dial.text, "agent": dial.agent}),
        words={
            kind: {token: gettext(text) for token, text in texts.items()} for kind, texts in _SPOKEN.items()
        },
    )


@router.post("/call/{dial_id}/cancel")
async def cancel(request: Request, actor: Dialler, use: Use, dial_id: str) -> Response:
    """End a call, however far it has come."""
    dial = await dialling.cancel(use, actor, dial_id)
    return redirect(request, f"/call/{dial.id}")


_SPOKEN: Final = {"state": STATES, "reason": REASONS}


def _said(dial: Dial) -> str:
    """Return how a call goes, in one sentence."""
    return REASONS.get(dial.reason, STATES["failed"]) if dial.state == "failed" else STATES[dial.state]


async def _asking(
    request: Request, actor: Actor, use: Services, entry: Entry, *, status: int = 200, mistake: str = ""
) -> Response:
    """Return the page that asks before anything is dialled."""
    own = await dialling.own_phone(use, actor)
    agents = await use.database.read(agent_names)
    agent = own or (entry["agent"] if entry["agent"] in agents else "") or await dialling.phone_of(use, actor)
    number = entry["number"][:LONGEST]
    planned = await dialling.plan(use, agent, number) if number else None
    refusal = (planned.refusal or planned.objection) if planned is not None else None
    return page(
        request,
        actor,
        "dial_ask.html",
        status=status,
        number=number,
        planned=planned,
        against=REFUSALS.get(refusal.reason, refusal.text) if refusal is not None else "",
        mistake=mistake,
        agent=agent,
        own=own,
        agents=agents,
        enabled=use.settings.dialling.enabled,
    )
