"""Console log-ins, and who asks. No answer but that to an invitation holds a secret, and no change takes effect later.

Only admins come here, so nobody gives away more than they have.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field, SecretStr, StringConstraints
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import NotFoundError
from agi_server.web.access import Actor, Needs, Scope, change
from agi_server.web.api.answers import Document, Id, Yes, json_answer, problems, show_time
from agi_server.web.etags import IfMatch, etag, require
from agi_server.web.links import welcome_link
from agi_server.web.paging import Listed, Paging
from agi_server.web.services import Use
from storage.invitations import DAY, invite, invite_again
from storage.names import MOST
from storage.users import (
    LEAST_LENGTH,
    MOST_LENGTH,
    User,
    add_user,
    get_user,
    hash_password,
    list_users,
    remove_user,
    set_disabled,
    set_extension,
    set_role,
)

router = APIRouter(tags=["users"])

Admin = Annotated[Actor, Depends(Needs(Scope.ADMIN))]
Known = Annotated[Actor, Depends(Needs(None))]
Role = Literal["viewer", "operator", "admin"]
Extension = Annotated[str, StringConstraints(max_length=32, pattern=r"^[A-Za-z0-9_/@.+&-]*$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MOST, strip_whitespace=True)]


class NewUser(Document):
    """A user whose password you choose; see /invitations for one who chooses it."""

    name: Name
    role: Role
    password: SecretStr = Field(min_length=LEAST_LENGTH, max_length=MOST_LENGTH)


class UserChange(Document):
    """What is to change; null, or left out: nothing. An extension may be one without an agent, too."""

    role: Role | None = None
    disabled: Yes | None = None
    extension: Extension | None = Field(default=None, description="Whose calls are theirs; empty: nobody's.")


class UserDocument(BaseModel):
    """Who may log in."""

    id: int
    name: str
    role: Role
    disabled: bool
    extension: str
    created_at: str | None


class NewInvitation(Document):
    """Somebody who shall become a user."""

    name: Name
    role: Role


class InvitationDocument(BaseModel):
    """A link by which somebody chooses a password; it is shown this once, and good once."""

    link: str
    expires_at: str | None


class Me(BaseModel):
    """Who asks, and what they may; `user` and `role` are null for tokens."""

    who: str
    user: str | None
    role: Role | None
    scopes: list[Scope]


@router.get("/me", response_model=Me, responses=problems())
async def me(actor: Known) -> Response:
    """Say who asks, and what they may."""
    scopes = sorted(actor.scopes)
    return json_answer(
        {"who": actor.who, "user": actor.user or None, "role": actor.role or None, "scopes": scopes}
    )


@router.get("/users", response_model=Listed[UserDocument], responses=problems())
async def list_(use: Use, _actor: Admin, paging: Paging) -> Response:
    """List the users by name."""
    left = [user for user in await use.database.read(list_users) if user.name > paging.after]
    page = left[: paging.limit]
    after = page[-1].name if len(left) > len(page) else None
    return json_answer({"items": [_document(user) for user in page], "next": after})


@router.post("/users", status_code=201, response_model=UserDocument, responses=problems(409))
async def add(use: Use, actor: Admin, new: NewUser) -> Response:
    """Add a user. Sent again it answers 409: names are unique."""
    hashed, now = await hash_password(new.password.get_secret_value()), int(use.clock())

    async def job(conn: AsyncConnection) -> User:
        return await _known(conn, await add_user(conn, new.name, hashed, new.role, who=actor.who, now=now))

    user = await change(use, job)
    return _answer(user, status=201)


@router.get("/users/{id}", response_model=UserDocument, responses=problems(404))
async def get(use: Use, _actor: Admin, id: Id) -> Response:  # noqa: A002  # the name in the path
    """Return a user."""
    return _answer(await use.database.read(lambda conn: _known(conn, id)))


@router.patch("/users/{id}", response_model=UserDocument, responses=problems(404, 409, 412))
async def change_(
    use: Use,
    actor: Admin,
    id: Id,  # noqa: A002  # the name in the path
    values: UserChange,
    *,
    if_match: IfMatch = None,
) -> Response:
    """Change what a user may do, which logs them out, or whose phone is theirs. The last admin stays one (409)."""
    now = int(use.clock())

    async def job(conn: AsyncConnection) -> User:
        user = await _known(conn, id)
        require(if_match, etag(_document(user)))
        if values.role is not None:
            await set_role(conn, user.name, values.role, who=actor.who, now=now)
        if values.disabled is not None:
            await set_disabled(conn, user.name, disabled=values.disabled, who=actor.who, now=now)
        if values.extension is not None:
            await set_extension(conn, user.name, values.extension, who=actor.who, now=now)
        return await _known(conn, id)

    return _answer(await change(use, job))


@router.delete("/users/{id}", status_code=204, responses=problems(404, 409, 412))
async def delete(
    use: Use,
    actor: Admin,
    id: Id,  # noqa: A002  # the name in the path
    if_match: IfMatch = None,
) -> Response:
    """Remove a user, which logs them out. The last admin who can log in stays (409)."""

    async def job(conn: AsyncConnection) -> None:
        user = await _known(conn, id)
        require(if_match, etag(_document(user)))
        await remove_user(conn, user.name, who=actor.who, now=int(use.clock()))

    await change(use, job)
    return Response(status_code=204)


@router.post(
    "/users/{id}/invitation", status_code=201, response_model=InvitationDocument, responses=problems(404, 409)
)
async def give_new_password(request: Request, use: Use, actor: Admin, id: Id) -> Response:  # noqa: A002  # the name in the path
    """Return a link by which a user chooses a new password."""
    now = int(use.clock())

    async def job(conn: AsyncConnection) -> str:
        user = await _known(conn, id)
        return await invite_again(conn, name=user.name, who=actor.who, now=now)

    return _invited(request, await use.database.write(job), now)


@router.post("/invitations", status_code=201, response_model=InvitationDocument, responses=problems(409))
async def invite_(request: Request, use: Use, actor: Admin, new: NewInvitation) -> Response:
    """Return a link by which somebody becomes a user; an older one for the same name is void."""
    now = int(use.clock())
    secret = await use.database.write(
        lambda conn: invite(conn, name=new.name, role=new.role, who=actor.who, now=now)
    )
    return _invited(request, secret, now)


async def _known(conn: AsyncConnection, id_: int) -> User:
    user = await get_user(conn, id_)
    if user is None:
        raise NotFoundError(f"there is no user {id_}")
    return user


def _document(user: User) -> dict[str, object]:
    return {
        "id": user.id,
        "name": user.name,
        "role": user.role,
        "disabled": user.disabled,
        "extension": user.extension,
        "created_at": show_time(user.created_at),
    }


def _answer(user: User, *, status: int = 200) -> Response:
    document = _document(user)
    headers = {"ETag": etag(document)}
    if status == 201:
        headers["Location"] = f"/api/v1/users/{user.id}"
    return json_answer(document, status, headers)


def _invited(request: Request, secret: str, now: int) -> Response:
    document = {"link": welcome_link(str(request.base_url), secret), "expires_at": show_time(now + DAY)}
    return json_answer(document, 201)
