"""The page of the outbox: what must still reach Salesforce, and what an admin says of rows that cannot."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.entry import entry_of
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.render import page, redirect
from agi_server.web.services import Use
from storage.outbox import counts, drop, page_rows, retry

router = APIRouter()
Reader = Annotated[Actor, Depends(Needs(Scope.READ, page=True))]
Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN, page=True))]

ROWS = 50
SHOWN = {"": None, "parked": True, "waiting": False}  # what the page's filter means


@router.get("/outbox")
async def show_outbox(
    request: Request, use: Use, actor: Reader, show: str = "", cursor: str = ""
) -> Response:
    """Show what waits."""
    parked = SHOWN.get(show)
    rows, following = await use.database.read(lambda c: page_rows(c, parked=parked, limit=ROWS, after=cursor))
    waiting = await use.database.read(counts)
    return page(
        request,
        actor,
        "outbox.html",
        rows=rows,
        next=following,
        waiting=waiting,
        show=show if show in SHOWN else "",
        now=use.clock(),
        enabled=use.settings.salesforce.enabled,
    )


@router.post("/outbox")
async def act(request: Request, use: Use, actor: Admin) -> Response:
    """Try a row again, or drop it; without a row: all that are parked."""
    entry = await entry_of(request)
    text = entry["row"]
    ids = [int(text)] if text.isascii() and text.isdigit() and len(text) < 19 else None
    _ = gettext_of(request)
    now = int(use.clock())
    if entry["do"] == "drop" and ids is not None:
        done = await use.database.write(lambda c: drop(c, ids, actor.who, now))
        notice = _("The row was dropped; the audit log keeps it.") if done else _("The row is gone already.")
    else:
        done = await use.database.write(lambda c: retry(c, ids, actor.who, now))
        notice = _("It is tried again with the next round.") if done else _("There was nothing to try again.")
    return redirect(request, "/outbox", notice=notice)
