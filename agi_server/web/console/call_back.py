"""The page of calls to call back: missed, and nobody has spoken with the caller since."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.calls import agent_names
from agi_server.web.console.entry import entry_of
from agi_server.web.console.languages import gettext_of
from agi_server.web.console.render import page, redirect
from agi_server.web.services import Use
from storage.follow_ups import attempts, dismiss
from storage.history import CallRow, to_call_back

router = APIRouter()

DAY = 86_400  # seconds
MOST = 200  # callers shown
Days = Annotated[int, Query(ge=1, le=90)]


@router.get("/call-back")
async def show_to_call_back(
    request: Request,
    actor: Annotated[Actor, Depends(Needs(Scope.READ, page=True))],
    use: Use,
    days: Days = 2,
) -> Response:
    """Show whom to call back, of the last days."""
    since = int(use.clock()) - days * DAY

    async def job(conn: AsyncConnection) -> tuple[list[CallRow], dict[int, int], dict[str, str]]:
        found = await to_call_back(conn, since, limit=MOST)
        numbers = [call.number for call in found if call.number]
        return found, await attempts(conn, numbers, since), await agent_names(conn)

    found, times, agents = await use.database.read(job)
    return page(request, actor, "call_back.html", period=days, calls=found, times=times, agents=agents)


@router.post("/call-back")
async def settle(
    request: Request,
    actor: Annotated[Actor, Depends(Needs(Scope.CONTACTS, page=True))],
    use: Use,
    days: Days = 2,
) -> Response:
    """Note that a caller need not be called back (`call`): it is settled otherwise."""
    call_id, now = (await entry_of(request))["call"], int(use.clock())
    await use.database.write(lambda conn: dismiss(conn, call_id, who=actor.who, now=now))
    _ = gettext_of(request)
    return redirect(request, f"/call-back?days={days}", notice=_("It is noted that this is settled."))
