"""What must still reach Salesforce: see it, send it again, or drop it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import NotFoundError
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.answers import Id, json_answer, problems, show_time
from agi_server.web.paging import Listed, Paging
from agi_server.web.services import Use
from storage import outbox
from storage.outbox import OutboxRow

router = APIRouter(prefix="/outbox", tags=["outbox"])

Read = Annotated[Actor, Depends(Needs(Scope.READ))]
Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN))]


class OutboxDocument(BaseModel):
    """What waits; `parked`: for an admin, because Salesforce refused it for good."""

    id: int
    kind: str
    contact_id: int | None
    payload: dict[str, Any]
    created_at: str | None
    attempts: int
    next_attempt_at: str | None
    error: str
    ref: str | None
    parked: bool


class Retried(BaseModel):
    """How many are sent again."""

    rows: int


@router.get("", response_model=Listed[OutboxDocument], responses=problems())
async def list_(
    use: Use,
    _actor: Read,
    paging: Paging,
    parked: Annotated[
        Literal["true", "false"] | None,
        Query(description="Only what waits for an admin, or only what does not."),
    ] = None,
) -> Response:
    """List what waits, the oldest first."""
    rows, after = await use.database.read(
        lambda conn: outbox.page_rows(
            conn, parked=None if parked is None else parked == "true", limit=paging.limit, after=paging.after
        )
    )
    return json_answer({"items": [document(row) for row in rows], "next": after or None})


@router.post("/retry", response_model=Retried, responses=problems())
async def retry_all(use: Use, actor: Admin) -> Response:
    """Send again all that waits for an admin."""
    count = await use.database.write(lambda conn: outbox.retry(conn, None, actor.who, int(use.clock())))
    return json_answer({"rows": count})


@router.get("/{id:int}", response_model=OutboxDocument, responses=problems(404))
async def get(use: Use, _actor: Read, id: Id) -> Response:  # noqa: A002  # the path's name
    """Return what waits under this id."""
    return json_answer(await use.database.read(lambda conn: _known(conn, id)))


@router.post("/{id:int}/retry", response_model=OutboxDocument, responses=problems(404))
async def retry(use: Use, actor: Admin, id: Id) -> Response:  # noqa: A002  # the path's name
    """Send it again at the next round, as if it had never been tried."""

    async def job(conn: AsyncConnection) -> dict[str, Any]:
        await outbox.retry(conn, [id], actor.who, int(use.clock()))
        return await _known(conn, id)

    return json_answer(await use.database.write(job))


@router.delete("/{id:int}", status_code=204, responses=problems(404))
async def drop(use: Use, actor: Admin, id: Id) -> Response:  # noqa: A002  # the path's name
    """Drop it: Salesforce will not have it. The contact stays in the directory, the audit log keeps it."""
    if not await use.database.write(lambda conn: outbox.drop(conn, [id], actor.who, int(use.clock()))):
        raise _none(id)
    return Response(status_code=204)


def document(row: OutboxRow) -> dict[str, Any]:
    """Return what waits as a document."""
    return row._asdict() | {
        "created_at": show_time(row.created_at),
        "next_attempt_at": show_time(row.next_attempt_at),
    }


async def _known(conn: AsyncConnection, row_id: int) -> dict[str, Any]:
    row = await outbox.get_row(conn, row_id)
    if row is None:
        raise _none(row_id)
    return document(row)


def _none(row_id: int) -> NotFoundError:
    return NotFoundError(f"nothing waits under the id {row_id}: it was sent or dropped, or never was")
