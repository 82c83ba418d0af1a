"""What applies to calls on one dialled number; what is null there is as the settings say.

A DID is the same however it is written (`+49 30 1`, `49301`): a path finds it by its digits.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import NotFoundError
from agi_server.settings.deciding import Template
from agi_server.settings.values import Region
from agi_server.web.access import Actor, Needs, Scope
from agi_server.web.api.agents import DIALLABLE
from agi_server.web.api.answers import Document, Line, Yes, json_answer, problems
from agi_server.web.etags import IfMatch, IfNoneMatch, etag, require, require_put
from agi_server.web.paging import Listed, Paging
from agi_server.web.services import Use
from storage.dids import DidRow, get_did, list_dids, put_did, remove_did

router = APIRouter(prefix="/dids", tags=["dids"])

Did = Annotated[
    str,
    Path(
        max_length=80,
        pattern=r"^[A-Za-z0-9_@+*#-][A-Za-z0-9_@.+*# -]*$",
        description="The number, as the trunk sends it.",
    ),
]
Diallable = Annotated[str, Field(max_length=80, pattern=DIALLABLE)]
Read = Annotated[Actor, Depends(Needs(Scope.READ))]
Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN))]


class DidValues(Document):
    """What applies on a DID; null, or left out: as the settings say."""

    name: Line = ""
    region: Annotated[Region, Field(pattern="^[A-Z]{2}$")] | None = Field(
        default=None, description="ISO country of numbers written without one."
    )
    identify: Yes | None = None
    naming: Yes | None = None
    screening: Yes | None = None
    routing: Yes | None = None
    create_contacts: Yes | None = None
    template: Annotated[Template, Field(max_length=1000)] | None = None
    default_agent: Diallable | None = Field(default=None, description="Extension of the responsible agent.")
    ring_seconds: Annotated[int, Field(strict=True, ge=1, le=600)] | None = None
    fallback: Diallable | None = None
    last_agent_minutes: Annotated[int, Field(strict=True, ge=0, le=525_600)] | None = None


class DidDocument(BaseModel):
    """A DID."""

    did: str
    name: str
    region: str | None
    identify: bool | None
    naming: bool | None
    screening: bool | None
    routing: bool | None
    create_contacts: bool | None
    template: str | None
    default_agent: str | None
    ring_seconds: int | None
    fallback: str | None
    last_agent_minutes: int | None


@router.get("", response_model=Listed[DidDocument], responses=problems())
async def list_(use: Use, _actor: Read, paging: Paging) -> Response:
    """List the DIDs that differ from the settings."""
    rows = [row for row in await use.database.read(list_dids) if row.did > paging.after]
    page = rows[: paging.limit]
    after = page[-1].did if len(rows) > len(page) else None
    return json_answer({"items": [document(row) for row in page], "next": after})


@router.get("/{did}", response_model=DidDocument, responses=problems(404))
async def get(use: Use, _actor: Read, did: Did) -> Response:
    """Return what applies on a DID."""
    return _answer(document(await use.database.read(lambda conn: _known(conn, did))))


@router.put(
    "/{did}",
    response_model=DidDocument,
    responses=problems(404, 412) | {201: {"model": DidDocument, "description": "It is new."}},
)
async def put(
    use: Use,
    actor: Admin,
    did: Did,
    values: DidValues,
    *,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Set what applies on a DID; it is made if it is new, and stays written as it was if it is not."""

    async def job(conn: AsyncConnection) -> tuple[dict[str, Any], bool]:
        there = await get_did(conn, did)
        require_put(if_match, if_none_match, etag(document(there)) if there is not None else None)
        row = DidRow(did=there.did if there is not None else did, **values.model_dump())
        await put_did(conn, row, who=actor.who, now=int(use.clock()))
        return document(row), there is None

    made, new = await use.database.write(job)
    return _answer(made, status=201 if new else 200)


@router.delete("/{did}", status_code=204, responses=problems(404, 412))
async def delete(use: Use, actor: Admin, did: Did, if_match: IfMatch = None) -> Response:
    """Forget what applies on a DID: the settings apply again."""

    async def job(conn: AsyncConnection) -> None:
        row = await _known(conn, did)
        require(if_match, etag(document(row)))
        await remove_did(conn, row.did, who=actor.who, now=int(use.clock()))

    await use.database.write(job)
    return Response(status_code=204)


def document(row: DidRow) -> dict[str, Any]:
    """Return a DID as a document."""
    return {name: value for name, value in asdict(row).items() if name != "id"}


async def _known(conn: AsyncConnection, did: str) -> DidRow:
    row = await get_did(conn, did)
    if row is None:
        raise NotFoundError(f"nothing of its own applies on the DID {did!r}: it is as the settings say")
    return row


def _answer(did: dict[str, Any], status: int = 200) -> Response:
    return json_answer(did, status, {"ETag": etag(did)})
