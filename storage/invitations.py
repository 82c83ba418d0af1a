"""One-time links by which somebody chooses a password: new users, and those who forgot theirs.

Invariant: the database has the SHA-256 of a link's secret only; a link is good once, until it expires, or until what
it was made for is done by other means.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import ConflictError, NotFoundError
from storage.audit import note
from storage.database import Database
from storage.names import checked_name
from storage.schema import invitations, users
from storage.tokens import hash_of
from storage.users import START, Hashed, User, add_user, check_role, find_user, set_password

DAY = 86_400

_RESET = ""  # in place of a role: the user is there, and keeps theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What a link is for: `name` '' is chosen with the password; `reset`: a new password for a user there is."""

    name: str
    role: str
    reset: bool
    expires_at: int


async def invite(
    conn: AsyncConnection, *, name: str, role: str, who: str, now: int, seconds: int = DAY
) -> str:
    """Return the secret of a new link that makes a user; `name` '': they choose it. An older one for the name is void.

    Raises InputError for a name that cannot be or a role that there is not, ConflictError when the name is taken.
    """
    check_role(role)
    if name:
        name = checked_name(name, "a user")
        if await find_user(conn, name) is not None:
            raise ConflictError(
                f"there is a user {name!r} already; choose another name, or give a new password"
            )
    return await _add(conn, name, role, who=who, now=now, seconds=seconds)


async def invite_again(conn: AsyncConnection, *, name: str, who: str, now: int, seconds: int = DAY) -> str:
    """Return the secret of a new link that gives a user a new password. Raises NotFoundError, ConflictError."""
    user = await find_user(conn, name)
    if user is None:
        raise NotFoundError(f"there is no user {name.strip()!r}; see `ostiary users list`")
    if user.disabled:
        raise ConflictError(f"{user.name!r} is disabled; enable them first")
    return await _add(conn, user.name, _RESET, who=who, now=now, seconds=seconds)


async def find_invitation(conn: AsyncConnection, secret: str, now: int) -> Invitation | None:
    """Return what a link is for, None when it is not good (any more)."""
    row = (await conn.execute(select(invitations).filter_by(hash=hash_of(secret)))).first()
    if row is None or row.expires_at <= now:
        return None
    return Invitation(name=row.name, role=row.role, reset=row.role == _RESET, expires_at=row.expires_at)


async def accept(conn: AsyncConnection, secret: str, name: str, hashed: Hashed, now: int) -> int:
    """Use a link: make the user, or give them the new password, and return their id.

    `name` counts where the link has none. Raises NotFoundError when the link is not good (any more), InputError or
    ConflictError for a name that cannot be; the link then stays good.
    """
    invitation = await find_invitation(conn, secret, now)
    if invitation is None:
        raise NotFoundError("this link was used, has expired or was never given; ask for a new one")
    await conn.execute(invitations.delete().where(invitations.c.hash == hash_of(secret)))
    if invitation.reset:
        return await _reset(conn, invitation.name, hashed, now)
    name = checked_name(invitation.name or name, "a user")
    return await add_user(conn, name, hashed, invitation.role, who=f"user:{name}", now=now)


async def first_invitation(database: Database, now: int) -> str | None:
    """Return the secret of a link for the first admin; None when there are users. Older ones of its kind are void."""

    async def job(conn: AsyncConnection) -> str | None:
        if (await conn.execute(select(users.c.id).limit(1))).first() is not None:
            return None
        await conn.execute(invitations.delete().where(invitations.c.created_by == START))
        return await _add(conn, "", "admin", who=START, now=now, seconds=DAY)

    return await database.write(job)


async def _add(conn: AsyncConnection, name: str, role: str, *, who: str, now: int, seconds: int) -> str:
    await conn.execute(invitations.delete().where(invitations.c.expires_at <= now))
    if name:
        await conn.execute(invitations.delete().where(invitations.c.name == name))
    secret = secrets.token_urlsafe(32)
    values = {"name": name, "role": role, "expires_at": now + seconds}
    await conn.execute(
        invitations.insert().values(hash=hash_of(secret), created_at=now, created_by=who, **values)
    )
    what = "users.invite" if role else "users.reset"
    await note(conn, who=who, what=what, before=None, after=values, now=now)
    return secret


async def _reset(conn: AsyncConnection, name: str, hashed: Hashed, now: int) -> int:
    await set_password(conn, name, hashed, who=f"user:{name}", now=now)
    user = await find_user(conn, name)
    assert isinstance(user, User)  # set_password raises when there is none
    return user.id
