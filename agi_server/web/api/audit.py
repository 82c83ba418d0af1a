"""Who changed what, and when."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel

from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import Moment, json_answer, problems, read_time, show_time
from agi_server.web.paging import Listed, Paging
from agi_server.web.services import Use
from storage.audit import AuditRow, page_audit

router = APIRouter(prefix="/audit", tags=["audit"])

Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN))]


class AuditDocument(BaseModel):
    """One change: `before` and `after` hold what was and is; null: it was not, is not there."""

    id: int
    at: str | None
    who: str
    what: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@router.get("", response_model=Listed[AuditDocument], responses=problems())
async def list_(
    use: Use,
    _actor: Admin,
    paging: Paging,
    *,
    who: Annotated[str, Query(max_length=200, description="e.g. user:ana, token:crm, cli:root.")] = "",
    what: Annotated[
        str, Query(max_length=100, description="e.g. blacklist.add, or blacklist for all of them.")
    ] = "",
    since: Moment | None = None,
    until: Moment | None = None,
) -> Response:
    """List changes, the newest first."""
    rows, after = await use.database.read(
        lambda conn: page_audit(
            conn,
            who=who,
            what=what,
            since=read_time(since) if since is not None else None,
            until=read_time(until) if until is not None else None,
            limit=paging.limit,
            after=paging.after,
        )
    )
    return json_answer({"items": [document(row) for row in rows], "next": after or None})


def document(row: AuditRow) -> dict[str, Any]:
    """Return a change as a document."""
    return row._asdict() | {"at": show_time(row.at)}
