"""Console log-ins.

Invariants: passwords are kept as Argon2id hashes only, made outside of transactions and at most two at once (19 MiB
and 20-30 ms of CPU each, in a process that does other things); there is always an admin who can log in, once there
was one; what changes a user's rights closes their sessions and makes their links for a new password void.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NewType

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import ConflictError, InputError, NotFoundError
from storage.audit import note
from storage.names import checked_name
from storage.schema import invitations, users
from storage.sessions import close_sessions_of

ROLES = ("viewer", "operator", "admin")
START = "start"  # who invites the first user, with a link that lies in the log
LEAST_LENGTH = 8  # characters of a password, NIST SP 800-63B
MOST_LENGTH = 1000

Hashed = NewType("Hashed", str)
"""What `hash_password` makes of a password."""

# OWASP's least memory: 19 MiB at once, not 64, in a process that also answers calls. 20-30 ms.
_HASHES = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19_456, parallelism=1),))
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="argon2")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who may log in; `created_at` is seconds since 1970, `extension` is that of their phone ('': none)."""

    id: int
    name: str
    role: str
    created_at: int
    disabled: bool
    extension: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogIn:
    """A user and the hash of their password."""

    user: User
    hashed: str = field(repr=False)


async def hash_password(password: str) -> Hashed:
    """Return the hash of a new password. Raises InputError for one that is too short or too long."""
    if len(password) < LEAST_LENGTH:
        raise InputError(f"a password needs {LEAST_LENGTH} characters or more")
    if len(password) > MOST_LENGTH:
        raise InputError(f"a password has {MOST_LENGTH} characters at most")
    loop = asyncio.get_running_loop()
    return Hashed(await loop.run_in_executor(_THREADS, _HASHES.hash, _bytes(password)))


async def is_password(log_in: LogIn | None, password: str) -> bool:
    """Return whether this is the password of a user who may log in. It takes as long for nobody (None)."""
    loop = asyncio.get_running_loop()
    right = await loop.run_in_executor(_THREADS, _verify, password, log_in)
    return right and log_in is not None and not log_in.user.disabled


async def find_log_in(conn: AsyncConnection, name: str) -> LogIn | None:
    """Return what `is_password` needs to know of a user."""
    row = (await conn.execute(select(users).filter_by(name=name.strip()))).first()
    return None if row is None else LogIn(user=_user(row), hashed=row.password_hash)


async def add_user(conn: AsyncConnection, name: str, hashed: Hashed, role: str, *, who: str, now: int) -> int:
    """Add a user and return the id.

    Raises InputError for a name that cannot be or a role that there is not, ConflictError when the name is taken.
    """
    name = checked_name(name, "a user")
    check_role(role)
    if await find_user(conn, name) is not None:
        raise ConflictError(
            f"there is a user {name!r} already; give them a new password, or choose another name"
        )
    result = await conn.execute(
        users.insert().values(name=name, password_hash=hashed, role=str(role), created_at=now)
    )
    await conn.execute(invitations.delete().where(invitations.c.created_by == START))
    await note(conn, who=who, what="users.add", before=None, after={"name": name, "role": str(role)}, now=now)
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


async def set_password(conn: AsyncConnection, name: str, hashed: Hashed, *, who: str, now: int) -> None:
    """Give a user a new password. Raises NotFoundError when there is no such user."""
    user = await _known(conn, name)
    await conn.execute(users.update().where(users.c.id == user.id).values(password_hash=hashed))
    await _changed(conn, user)
    before = {"name": user.name}
    await note(conn, who=who, what="users.password", before=before, after=before, now=now)


async def set_role(conn: AsyncConnection, name: str, role: str, *, who: str, now: int) -> None:
    """Change what a user may do.

    Raises NotFoundError when there is no such user, InputError when there is no such role, ConflictError for the
    last admin.
    """
    check_role(role)
    user = await _known(conn, name)
    if user.role == role:
        return
    await _keep_an_admin(conn, user)
    await conn.execute(users.update().where(users.c.id == user.id).values(role=str(role)))
    await _changed(conn, user)
    before, after = {"name": user.name, "role": user.role}, {"name": user.name, "role": str(role)}
    await note(conn, who=who, what="users.role", before=before, after=after, now=now)


async def set_extension(conn: AsyncConnection, name: str, extension: str, *, who: str, now: int) -> None:
    """Say which phone is a user's ('': none). Raises NotFoundError, or InputError for what no extension can be."""
    extension = extension.strip()
    if re.fullmatch(r"[^\s\x00-\x1f\x7f]{0,32}", extension) is None:
        raise InputError(f"{extension!r} is no extension: it has 32 characters at most, and no spaces")
    user = await _known(conn, name)
    if user.extension == extension:
        return
    await conn.execute(users.update().where(users.c.id == user.id).values(extension=extension))
    before, after = ({"name": user.name, "extension": each} for each in (user.extension, extension))
    await note(conn, who=who, what="users.extension", before=before, after=after, now=now)


async def set_disabled(conn: AsyncConnection, name: str, *, disabled: bool, who: str, now: int) -> None:
    """Keep a user from logging in, or let them again. Raises NotFoundError, or ConflictError for the last admin."""
    user = await _known(conn, name)
    if user.disabled == disabled:
        return
    if disabled:
        await _keep_an_admin(conn, user)
    await conn.execute(users.update().where(users.c.id == user.id).values(disabled=disabled))
    await _changed(conn, user)
    before, after = {"name": user.name, "disabled": user.disabled}, {"name": user.name, "disabled": disabled}
    await note(conn, who=who, what="users.disabled", before=before, after=after, now=now)


async def remove_user(conn: AsyncConnection, name: str, *, who: str, now: int) -> None:
    """Remove a user. Raises NotFoundError when there is none of that name, ConflictError for the last admin."""
    user = await _known(conn, name)
    await _keep_an_admin(conn, user)
    await _changed(conn, user)
    await conn.execute(users.delete().where(users.c.id == user.id))
    before = {"name": user.name, "role": user.role}
    await note(conn, who=who, what="users.remove", before=before, after=None, now=now)


async def list_users(conn: AsyncConnection) -> list[User]:
    """Return all users by name."""
    return [_user(row) for row in await conn.execute(select(users).order_by(users.c.name))]


async def get_user(conn: AsyncConnection, id_: int) -> User | None:
    """Return a user by id."""
    row = (await conn.execute(select(users).filter_by(id=id_))).first()
    return None if row is None else _user(row)


async def find_user(conn: AsyncConnection, name: str) -> User | None:
    """Return a user by name."""
    row = (await conn.execute(select(users).filter_by(name=name.strip()))).first()
    return None if row is None else _user(row)


def check_role(role: str) -> None:
    """Raise InputError when there is no such role."""
    if role not in ROLES:
        raise InputError(f"there is no role {role!r}; choose one of {', '.join(ROLES)}")


async def _known(conn: AsyncConnection, name: str) -> User:
    user = await find_user(conn, name)
    if user is None:
        raise NotFoundError(f"there is no user {name.strip()!r}; see `ostiary users list`")
    return user


async def _keep_an_admin(conn: AsyncConnection, user: User) -> None:
    """Raise ConflictError when this is the only admin who can log in."""
    if user.role != "admin" or user.disabled:
        return
    query = select(func.count()).select_from(users).where(users.c.role == "admin", ~users.c.disabled)
    if (await conn.execute(query)).scalar_one() == 1:
        raise ConflictError(
            f"{user.name!r} is the last admin who can log in; make somebody else an admin first"
        )


async def _changed(conn: AsyncConnection, user: User) -> None:
    await close_sessions_of(conn, user.id)
    await conn.execute(invitations.delete().where(invitations.c.name == user.name))


def _user(row: Row[Any]) -> User:
    return User(
        id=row.id,
        name=row.name,
        role=row.role,
        created_at=row.created_at,
        disabled=row.disabled,
        extension=row.extension,
    )


def _verify(password: str, log_in: LogIn | None) -> bool:
    try:
        return _HASHES.verify(_bytes(password), _nobodys_hash() if log_in is None else log_in.hashed)
    except UnknownHashError:  # the row was written by something else
        return False


def _bytes(password: str) -> bytes:
    """Return a password as the same bytes from every keyboard (NIST SP 800-63B: NFKC)."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


@cache
def _nobodys_hash() -> str:
    return _HASHES.hash("nobody")
