"""The page of the audit log: who changed what, when, and how it was before."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request, Response

from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.console.days import begin_of
from agi_server.web.console.render import page
from agi_server.web.services import Use
from storage.audit import AuditRow, page_audit

router = APIRouter()
Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN, page=True))]

ROWS = 50


@router.get("/audit")
async def show_audit(
    request: Request,
    *,
    use: Use,
    actor: Admin,
    who: str = "",
    what: str = "",
    since: str = "",
    until: str = "",
    cursor: str = "",
) -> Response:
    """Show changes, the newest first."""
    zone = ZoneInfo(use.settings.routing.timezone)
    rows, following = await use.database.read(
        lambda c: page_audit(
            c,
            who=who,
            what=what,
            since=begin_of(since, zone),
            until=begin_of(until, zone, days=1),
            limit=ROWS,
            after=cursor,
        )
    )
    return page(
        request,
        actor,
        "audit.html",
        rows=[(row, differences(row)) for row in rows],
        next=following,
        who=who,
        what=what,
        since=since,
        until=until,
    )


def differences(row: AuditRow) -> list[tuple[str, object, object]]:
    """Return name, before and after of what a change changed; everything where it was made or removed."""
    before, after = row.before or {}, row.after or {}
    names = {**before, **after}
    return [
        (name, before.get(name), after.get(name))
        for name in names
        if not (row.before and row.after) or before.get(name) != after.get(name)
    ]
