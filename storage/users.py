"""Console log-ins. Passwords are kept as Argon2id hashes only."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cache

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import InputError
from storage.audit import note
from storage.schema import users

ROLES = ("viewer", "operator", "admin")

# OWASP's least memory: 19 MiB at once, not 64, in a process that also answers calls. 20-30 ms.
_HASHES = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19_456, parallelism=1),))


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who may log in; `created_at` is seconds since 1970."""

    id: int
    name: str
    role: str
    created_at: int
    disabled: bool


async def add_user(conn: AsyncConnection, name: str, password: str, role: str, *, who: str, now: int) -> int:
    """Add a user and return the id. Raises InputError when the name is taken or empty, or there is no such role."""
    name = name.strip()
    if not name:
        raise InputError("a user needs a name")
    _check_role(role)
    if await _find(conn, name) is not None:
        raise InputError(
            f"there is a user {name!r} already; give them a new password, or choose another name"
        )
    result = await conn.execute(
        users.insert().values(name=name, password_hash=await _hash(password), role=str(role), created_at=now)
    )
    await note(conn, who=who, what="users.add", before=None, after={"name": name, "role": str(role)}, now=now)
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


async def set_password(conn: AsyncConnection, name: str, password: str, *, who: str, now: int) -> None:
    """Give a user a new password. Raises InputError when there is no such user."""
    user = await _known(conn, name)
    await conn.execute(
        users.update().where(users.c.id == user.id).values(password_hash=await _hash(password))
    )
    await note(
        conn, who=who, what="users.password", before={"name": user.name}, after={"name": user.name}, now=now
    )


async def set_role(conn: AsyncConnection, name: str, role: str, *, who: str, now: int) -> None:
    """Change what a user may do. Raises InputError when there is no such user or role."""
    _check_role(role)
    user = await _known(conn, name)
    await conn.execute(users.update().where(users.c.id == user.id).values(role=str(role)))
    before, after = {"name": user.name, "role": user.role}, {"name": user.name, "role": str(role)}
    await note(conn, who=who, what="users.role", before=before, after=after, now=now)


async def remove_user(conn: AsyncConnection, name: str, *, who: str, now: int) -> None:
    """Remove a user. Raises InputError when there is none of that name."""
    user = await _known(conn, name)
    await conn.execute(users.delete().where(users.c.id == user.id))
    await note(
        conn, who=who, what="users.remove", before={"name": user.name, "role": user.role}, after=None, now=now
    )


async def list_users(conn: AsyncConnection) -> list[User]:
    """Return all users by name."""
    rows = await conn.execute(select(users).order_by(users.c.name))
    return [
        User(id=row.id, name=row.name, role=row.role, created_at=row.created_at, disabled=row.disabled)
        for row in rows
    ]


async def check_password(conn: AsyncConnection, name: str, password: str) -> str | None:
    """Return the user's role, or None. It takes as long for a name nobody has."""
    row = (await conn.execute(select(users).filter_by(name=name.strip()))).first()
    known = row.password_hash if row is not None else await asyncio.to_thread(_nobodys_hash)
    right = await asyncio.to_thread(_verify, password, known)
    return row.role if row is not None and right and not row.disabled else None


async def _find(conn: AsyncConnection, name: str) -> User | None:
    return next((user for user in await list_users(conn) if user.name == name.strip()), None)


async def _known(conn: AsyncConnection, name: str) -> User:
    user = await _find(conn, name)
    if user is None:
        raise InputError(f"there is no user {name.strip()!r}; see `ostiary users list`")
    return user


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise InputError(f"there is no role {role!r}; choose one of {', '.join(ROLES)}")


async def _hash(password: str) -> str:
    if not password:
        raise InputError("a password is missing")
    return await asyncio.to_thread(_HASHES.hash, password)


def _verify(password: str, known: str) -> bool:
    try:
        return _HASHES.verify(password, known)
    except UnknownHashError:  # the row was written by something else
        return False


@cache
def _nobodys_hash() -> str:
    return _HASHES.hash("nobody")
