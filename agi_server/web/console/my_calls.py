"""The calls of one's own phone: who is calling, who called today, whom to call back.

The page holds what the journal knows; my_calls.js puts on top who rings or was answered (`screen.pop`), as the agent
has chosen (agents.pop). A record of Salesforce is opened by a click, never by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.calls import agent_names
from agi_server.web.console.entry import Entry
from agi_server.web.console.languages import gettext_of, language_of, locale_of
from agi_server.web.console.render import page
from agi_server.web.console.statistics import today
from agi_server.web.console.terms import TERMS, sentences
from agi_server.web.services import Services, Use
from storage.history import CallFilter, CallRow, calls, to_call_back
from storage.people import get_contact
from storage.users import find_user

router = APIRouter()

MOST = 50  # calls of today
BACK = 7 * 86_400  # seconds; older missed calls are on the page of all
SEARCHED = 200  # callers to call back, of whom mine are shown
RINGS = 3600  # seconds: what began earlier and has no end will get none, its PBX does not tell
SPOKEN = ("reason", "disposition", "stage", "outcome", "kind")  # tokens of events


@dataclass(frozen=True, slots=True)
class Now:
    """A call that goes on, with what a screen-pop says of it."""

    call: CallRow
    account: str
    record_url: str


@router.get("/my-calls")
async def show_my_calls(
    request: Request, actor: Annotated[Actor, Depends(Needs(Scope.READ, page=True))], use: Use
) -> Response:
    """Show the calls of the user's extension; of one that is chosen (`?extension=`) where the user has none."""
    chosen = Entry(dict(request.query_params))["extension"]

    async def job(conn: AsyncConnection) -> dict[str, Any]:
        user, names = await find_user(conn, actor.user), await agent_names(conn)
        own = user.extension if user is not None else ""
        extension = own or (chosen if chosen in names else "")
        return {"own": own, "extension": extension, "agents": names} | await _of(conn, use, extension)

    since = use.events.unread()
    values = await use.database.read(job)
    gettext = gettext_of(request)
    return page(
        request,
        actor,
        "my_calls.html",
        **values,
        since=since,
        zone=use.settings.routing.timezone,
        locale=str(locale_of(language_of(request))).replace("_", "-"),
        terms={kind: {token: gettext(text) for token, text in TERMS[kind].items()} for kind in SPOKEN},
        sentences=sentences(gettext),
    )


async def _of(conn: AsyncConnection, use: Services, extension: str) -> dict[str, Any]:
    """Return today's calls of an extension, those of them that go on, and whom to call back; nothing for ''."""
    if not extension:
        return {"calls": [], "now": [], "back": []}
    now = int(use.clock())
    since = today(now, use.settings.routing.timezone)
    mine, _ = await calls(conn, CallFilter(agent=extension, since=since), limit=MOST)
    missed = await to_call_back(conn, now - BACK, limit=SEARCHED)
    return {
        "calls": mine,
        "now": [await _pop(conn, use, call) for call in _going(mine, extension, now)],
        "back": [call for call in missed if call.routed_to == extension],
    }


def _going(mine: Sequence[CallRow], extension: str, now: int) -> list[CallRow]:
    """Return the inbound calls that ring this extension, or that it has answered."""
    return [
        call
        for call in mine
        if call.ended_at is None
        and call.direction == "inbound"
        and call.verdict == "allow"
        and call.started_at > now - RINGS
        and (call.answered_by or call.routed_to) == extension
    ]


async def _pop(conn: AsyncConnection, use: Services, call: CallRow) -> Now:
    contact = await get_contact(conn, call.contact_id) if call.contact_id else None
    if contact is None:
        return Now(call, "", "")
    known = {"kind": contact.kind, "salesforce_id": contact.salesforce_id or ""}
    return Now(call, contact.account, use.events.desk.links(call.id, known)["record_url"])
