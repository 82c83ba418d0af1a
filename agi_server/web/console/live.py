"""Who is calling now, what was decided and why. The page holds the newest calls; live.js goes on from there."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.calls import agent_names
from agi_server.web.console.languages import gettext_of, language_of, locale_of
from agi_server.web.console.render import page
from agi_server.web.console.statistics import hours_chart, offset, today
from agi_server.web.console.terms import TERMS, sentences
from agi_server.web.services import Use
from storage.history import CallFilter, CallRow, Hour, by_hour, calls

router = APIRouter()

MOST = 20  # calls shown: the page stays below 100 kB with all their traces
RINGS = 3600  # seconds: what began earlier and has no end will get none, its PBX does not tell
SPOKEN = ("verdict", "direction", "reason", "disposition", "stage", "outcome", "kind")  # tokens of events


@router.get("/")
async def show_live(
    request: Request, actor: Annotated[Actor, Depends(Needs(Scope.READ, page=True))], use: Use
) -> Response:
    """Show the newest calls, those that go on first."""
    now, since = int(use.clock()), use.events.unread()
    zone = use.settings.routing.timezone

    async def job(conn: AsyncConnection) -> tuple[list[CallRow], dict[str, str], list[Hour]]:
        newest, _ = await calls(conn, CallFilter(), limit=MOST)
        today_s = await by_hour(conn, today(now, zone), now + 1, offset=offset(now, zone))
        return newest, await agent_names(conn), today_s

    newest, names, hours = await use.database.read(job)
    gettext = gettext_of(request)
    newest.sort(key=lambda call: not _goes_on(call, now))  # stable: the newest of both first
    return page(
        request,
        actor,
        "live.html",
        calls=newest,
        going={call.id for call in newest if _goes_on(call, now)},
        agents=names,
        most=MOST,
        since=since,
        zone=zone,
        locale=str(locale_of(language_of(request))).replace("_", "-"),
        terms={kind: {token: gettext(text) for token, text in TERMS[kind].items()} for kind in SPOKEN},
        sentences=sentences(gettext),
        chart=hours_chart(request, hours, zone) if hours else "",
    )


def _goes_on(call: CallRow, now: int) -> bool:
    return call.ended_at is None and call.verdict == "allow" and call.started_at > now - RINGS
