"""Contacts made of callers whom nobody knew.

Invariant: each function runs within the writer's transaction, and no two writers are in one at a time; so who looks
for a number first and makes a contact then makes one, however many calls end at once. A new contact comes with its
row of the outbox.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.schema import NUMBER_IS, contacts, local_phones, outbox, phones

# Which field a further number goes to: the first that the contact has none in.
FURTHER: Mapping[str, tuple[str, ...]] = {
    "Contact": ("MobilePhone", "OtherPhone", "HomePhone"),
    "Lead": ("MobilePhone",),
}

_BY_NUMBER = f"SELECT contact_id FROM phones p WHERE {NUMBER_IS.format('?1')} ORDER BY contact_id LIMIT 2"  # noqa: S608  # a constant
_BY_DIGITS = "SELECT contact_id FROM local_phones WHERE digits = ?1 ORDER BY contact_id LIMIT 2"
_JUST_MADE = (
    "SELECT id FROM contacts WHERE source = 'insert' AND created_at BETWEEN ? AND ? AND lower(name) = lower(?) "
    "ORDER BY id DESC LIMIT 1"
)


async def holders(conn: AsyncConnection, number: int, digits: str) -> list[int]:
    """Return who has a number (E.164 digits; 0: `digits`, of unknown country): nobody, one contact, or two of more."""
    if number:
        return [*(await conn.exec_driver_sql(_BY_NUMBER, (number,))).scalars()]
    return [*(await conn.exec_driver_sql(_BY_DIGITS, (digits,))).scalars()]


async def just_made(conn: AsyncConnection, name: str, since: int, now: int) -> int | None:
    """Return the contact that was made of a caller of that name since then, None where there is none."""
    found: int | None = (await conn.exec_driver_sql(_JUST_MADE, (since, now, name))).scalar()
    return found


async def make(
    conn: AsyncConnection,
    *,
    kind: str,
    name: str,
    number: int,
    digits: str,
    payload: Mapping[str, object],
    now: int,
) -> int:
    """Make a contact of a caller and return its id; `name` empty: the number. `payload` is for the outbox."""
    values = {
        "kind": kind,
        "name": name or (f"+{number}" if number else digits),
        "source": "insert",
        "created_at": now,
    }
    result = await conn.execute(contacts.insert().values(values))
    assert result.inserted_primary_key is not None
    contact = int(result.inserted_primary_key[0])
    await _put_number(conn, contact, number, digits, "Phone")
    await _send(conn, contact, payload, now)
    return contact


async def add_number(conn: AsyncConnection, contact: int, number: int, digits: str, now: int) -> None:
    """Give a contact a further number, here and in Salesforce; one that has no field left for it gets none there."""
    kind = (await conn.exec_driver_sql("SELECT kind FROM contacts WHERE id = ?", (contact,))).scalar_one()
    query = "SELECT label FROM phones WHERE contact_id = ?1 UNION SELECT label FROM local_phones WHERE contact_id = ?1"
    taken = {*(await conn.exec_driver_sql(query, (contact,))).scalars()}
    label = next((field for field in FURTHER.get(kind, ()) if field not in taken), "")
    await _put_number(conn, contact, number, digits, label or "Phone")
    if label:
        text = f"+{number}" if number else digits
        await _send(conn, contact, {"set": {label: text}, "phone": text}, now)


async def _put_number(conn: AsyncConnection, contact: int, number: int, digits: str, label: str) -> None:
    if number:
        await conn.execute(phones.insert().values(number=number, contact_id=contact, label=label))
    else:
        values = {"digits": digits, "contact_id": contact, "label": label, "tail": int(digits[-6:])}
        await conn.execute(local_phones.insert().values(values))


async def _send(conn: AsyncConnection, contact: int, payload: Mapping[str, object], now: int) -> None:
    await conn.execute(
        outbox.insert().values(
            kind="contact",
            contact_id=contact,
            payload=dict(payload),
            created_at=now,
            next_attempt_at=now,
            ref=secrets.token_hex(16),
        )
    )
