"""The page of calls to call back: missed, and nobody has spoken with the caller since."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.render import page
from agi_server.web.services import Use
from storage.agents import list_agents
from storage.history import to_call_back

router = APIRouter()

DAY = 86_400  # seconds
MOST = 200  # callers shown


@router.get("/call-back")
async def show_to_call_back(
    request: Request,
    actor: Annotated[Actor, Depends(Needs(Scope.READ, page=True))],
    use: Use,
    days: Annotated[int, Query(ge=1, le=90)] = 2,
) -> Response:
    """Show whom to call back, of the last days."""
    since = int(use.clock()) - days * DAY
    agents = {agent.extension: agent.name for agent in await use.database.read(list_agents)}
    return page(
        request,
        actor,
        "call_back.html",
        period=days,
        calls=await use.database.read(lambda conn: to_call_back(conn, since, limit=MOST)),
        agents=agents,
    )
