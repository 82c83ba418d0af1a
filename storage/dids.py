"""What applies to calls on one dialled number."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.screening import scope_of
from agi_server.errors import InputError
from storage.audit import note
from storage.schema import dids


@dataclass(frozen=True, slots=True, kw_only=True)
class DidRow:
    """One DID, as the trunk sends it; None: as the settings say. Times are seconds or, where named so, minutes."""

    id: int = 0
    did: str
    name: str = ""
    region: str | None = None  # ISO country of numbers written without one
    identify: bool | None = None
    naming: bool | None = None
    screening: bool | None = None
    routing: bool | None = None
    create_contacts: bool | None = None
    template: str | None = None
    default_agent: str | None = None  # extension
    ring_seconds: int | None = None
    fallback: str | None = None
    last_agent_minutes: int | None = None


async def put_did(conn: AsyncConnection, row: DidRow, *, who: str, now: int) -> int:
    """Add a DID, or change the one written so; return the id.

    Raises InputError when it is empty, or another row means the same number written otherwise.
    """
    columns = {name: value for name, value in asdict(row).items() if name != "id"}
    if not row.did.strip():
        raise InputError("a DID is missing")
    before = None
    for other in await list_dids(conn):
        if other.did == row.did:
            before = other
        elif scope_of(other.did) == scope_of(row.did):
            raise InputError(
                f"DID {row.did!r} is the number that is there as {other.did!r}; change or remove that one"
            )
    if before is None:
        result = await conn.execute(dids.insert().values(columns))
        assert result.inserted_primary_key is not None
        number = int(result.inserted_primary_key[0])
    else:
        number = before.id
        await conn.execute(dids.update().where(dids.c.id == number).values(columns))
    await note(
        conn, who=who, what="dids.put", before=asdict(before) if before else None, after=columns, now=now
    )
    return number


async def remove_did(conn: AsyncConnection, did: str, *, who: str, now: int) -> bool:
    """Forget a DID; return whether it was there."""
    found = (await conn.execute(select(dids).filter_by(did=did))).mappings().one_or_none()
    if found is None:
        return False
    await conn.execute(dids.delete().where(dids.c.id == found["id"]))
    await note(conn, who=who, what="dids.remove", before=dict(found), after=None, now=now)
    return True


async def get_did(conn: AsyncConnection, did: str) -> DidRow | None:
    """Return the row of this number, however it is written there, if there is one."""
    scope = scope_of(did)
    return next((row for row in await list_dids(conn) if scope_of(row.did) == scope), None)


async def list_dids(conn: AsyncConnection) -> list[DidRow]:
    """Return all DIDs in order."""
    rows = await conn.execute(select(dids).order_by(dids.c.did))
    return [DidRow(**row) for row in rows.mappings()]
