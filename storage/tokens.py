"""Other programs' ways in.

Invariant: the secret is told once, to who adds the token; the database has its SHA-256 only (a secret of 256 random
bits needs no slower hash).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.errors import ConflictError
from storage.audit import note
from storage.names import checked_name
from storage.schema import tokens

PREFIX = "ost_"  # so that scanners for leaked secrets can find one
HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token without its secret; times are seconds since 1970, 0: never. `used_at` is to the hour."""

    id: int
    name: str
    scopes: tuple[str, ...]
    created_at: int
    created_by: str
    expires_at: int
    used_at: int


async def add_token(
    conn: AsyncConnection, *, name: str, scopes: Iterable[str], expires_at: int, who: str, now: int
) -> tuple[int, str]:
    """Add a token and return its id and its secret; `expires_at` 0: it is good for ever.

    Raises InputError for a name that cannot be, ConflictError when there is a token of that name.
    """
    name = checked_name(name, "a token")
    if (await conn.execute(select(tokens.c.id).filter_by(name=name))).first() is not None:
        raise ConflictError(f"there is a token {name!r} already; remove it first, or choose another name")
    secret = PREFIX + secrets.token_urlsafe(32)
    values = {"name": name, "scopes": sorted(set(scopes)), "expires_at": expires_at}
    result = await conn.execute(
        tokens.insert().values(hash=hash_of(secret), created_at=now, created_by=who, **values)
    )
    assert result.inserted_primary_key is not None
    id_ = int(result.inserted_primary_key[0])
    await note(conn, who=who, what="tokens.add", before=None, after={"id": id_, **values}, now=now)
    return id_, secret


async def find_token(conn: AsyncConnection, secret: str, now: int) -> Token | None:
    """Return the token with this secret, None when there is none or it has expired."""
    row = (await conn.execute(select(tokens).filter_by(hash=hash_of(secret)))).first()
    if row is None or 0 < row.expires_at <= now:
        return None
    return _token(row)


async def list_tokens(conn: AsyncConnection) -> list[Token]:
    """Return all tokens by name, expired ones too."""
    return [_token(row) for row in await conn.execute(select(tokens).order_by(tokens.c.name))]


async def remove_token(conn: AsyncConnection, id_: int, who: str, now: int) -> bool:
    """Remove a token; return whether there was one."""
    row = (await conn.execute(tokens.delete().where(tokens.c.id == id_).returning(tokens))).first()
    if row is None:
        return False
    before = {"id": id_, "name": row.name, "scopes": row.scopes, "expires_at": row.expires_at}
    await note(conn, who=who, what="tokens.remove", before=before, after=None, now=now)
    return True


async def used(conn: AsyncConnection, id_: int, now: int) -> None:
    """Note, to the hour, that a token was used."""
    await conn.execute(tokens.update().where(tokens.c.id == id_).values(used_at=now - now % HOUR))


def hash_of(secret: str) -> str:
    """Return what the database knows a secret by."""
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _token(row: Row[Any]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        used_at=row.used_at,
    )
