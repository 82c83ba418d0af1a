"""Other programs' ways in. A token's secret is in the answer that makes it, and nowhere else.

Only admins come here, so nobody gives away more than they have.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field, StringConstraints

from agi_server.errors import InputError, NotFoundError
from agi_server.web.access import Actor, Needs, Scope, change
from agi_server.web.api.answers import Document, Id, Moment, json_answer, problems, read_time, show_time
from agi_server.web.paging import Listed, Paging
from agi_server.web.services import Use
from storage.names import MOST, checked_name
from storage.tokens import Token, add_token, list_tokens, remove_token

router = APIRouter(prefix="/tokens", tags=["tokens"])

Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN))]


class NewToken(Document):
    """What the token is for, and what it may."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=MOST, strip_whitespace=True)]
    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope))
    expires_at: Moment | None = Field(description="null: never.")


class TokenDocument(BaseModel):
    """A token without its secret; `used_at` is to the hour."""

    id: int
    name: str
    scopes: list[Scope]
    created_at: str | None
    created_by: str
    expires_at: str | None
    used_at: str | None


class MadeToken(BaseModel):
    """A new token; its secret is shown this once."""

    id: int
    name: str
    scopes: list[Scope]
    expires_at: str | None
    secret: str


@router.get("", response_model=Listed[TokenDocument], responses=problems())
async def list_(use: Use, _actor: Admin, paging: Paging) -> Response:
    """List the tokens by name, expired ones too."""
    left = [token for token in await use.database.read(list_tokens) if token.name > paging.after]
    page = left[: paging.limit]
    after = page[-1].name if len(left) > len(page) else None
    return json_answer({"items": [_document(token) for token in page], "next": after})


@router.post("", status_code=201, response_model=MadeToken, responses=problems(409))
async def add(use: Use, actor: Admin, new: NewToken) -> Response:
    """Make a token. Sent again it answers 409: names are unique, and no secret is kept to be sent again."""
    now, expires_at = int(use.clock()), read_time(new.expires_at)
    if 0 < expires_at <= now:
        raise InputError("expires_at: this time is over")
    scopes = sorted(set(new.scopes))
    id_, secret = await use.database.write(
        lambda conn: add_token(
            conn, name=new.name, scopes=scopes, expires_at=expires_at, who=actor.who, now=now
        )
    )
    document = {
        "id": id_,
        "name": checked_name(new.name, "a token"),
        "scopes": scopes,
        "expires_at": show_time(expires_at),
        "secret": secret,
    }
    return json_answer(document, 201)


@router.delete("/{id}", status_code=204, responses=problems(404))
async def delete(use: Use, actor: Admin, id: Id) -> Response:  # noqa: A002  # the name in the path
    """Remove a token: it opens nothing from now on."""
    if not await change(use, lambda conn: remove_token(conn, id, who=actor.who, now=int(use.clock()))):
        raise NotFoundError(f"there is no token {id}")
    return Response(status_code=204)


def _document(token: Token) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": list(token.scopes),
        "created_at": show_time(token.created_at),
        "created_by": token.created_by,
        "expires_at": show_time(token.expires_at),
        "used_at": show_time(token.used_at),
    }
