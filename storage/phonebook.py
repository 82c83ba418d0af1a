"""Contacts as phone books need them: names, and numbers that can be dialled.

Invariant: an e-mail address is never read here, so that none reaches a phone; a fax number is no number to call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.lists import LIST, fetch
from storage.search import search


class Kind(StrEnum):
    """Where a number rings."""

    EXTENSION = "extension"
    WORK = "work"
    MOBILE = "mobile"
    HOME = "home"
    OTHER = "other"


_ORDER = tuple(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Somebody to call. `numbers` are pairs of kind and number: `+E164`, or bare digits of no known country."""

    id: int
    name: str = ""
    first_name: str = ""
    last_name: str = ""
    account: str = ""
    owner: str = ""
    kind: str = "Contact"
    numbers: tuple[tuple[Kind, str], ...] = ()


_NAMES = (
    "SELECT c.id, c.name, c.first_name, c.last_name, ifnull(a.name, ''), ifnull(o.name, ''), c.kind "  # noqa: S608  # our own constants, here and below
    "FROM contacts c LEFT JOIN accounts a ON a.id = c.account_id LEFT JOIN owners o ON o.id = c.owner_id "
    f"WHERE c.id IN {LIST}"
)
_NUMBERS = (
    f"SELECT contact_id, label, '+' || number FROM phones WHERE contact_id IN {LIST} "  # noqa: S608  # see above
    f"UNION ALL SELECT contact_id, label, digits FROM local_phones WHERE contact_id IN {LIST}"
)
# What is to be sorted is two numbers and an id: the rows themselves are looked at for those that are taken only.
_CHOSEN = (
    "SELECT c.id FROM contacts c WHERE EXISTS (SELECT 1 FROM phones p WHERE p.contact_id = c.id) "
    "OR EXISTS (SELECT 1 FROM local_phones l WHERE l.contact_id = c.id) "
    "ORDER BY c.vip DESC, c.active_at DESC, c.id DESC LIMIT ?"
)


async def find_entries(
    conn: AsyncConnection, text: str, *, limit: int, after: str = "", region: str = ""
) -> tuple[list[Entry], str]:
    """Return whom `text` (words of the name, or a number) finds, and what to pass as `after` for more ('': no more).

    Some may have no number. `region` is the ISO country of numbers written without one. Raises InputError for an
    `after` that is none of ours.
    """
    found, following = await search(conn, text, limit=limit, after=after, region=region)
    return await _entries(conn, [each.id for each in found]), following


async def choose_entries(conn: AsyncConnection, limit: int) -> list[Entry]:
    """Return the contacts for a book that is fetched as a whole: VIPs, then who was active last, then the newest.

    Only those with a number count.
    """
    rows = await conn.exec_driver_sql(_CHOSEN, (limit,))
    return await _entries(conn, [row[0] for row in rows])


async def _entries(conn: AsyncConnection, ids: Sequence[int]) -> list[Entry]:
    """Return these contacts, in this order."""
    numbers: dict[int, list[tuple[Kind, str]]] = {}
    for contact, label, number in await fetch(conn, _NUMBERS, ids, ids):
        if "fax" not in label.lower():
            numbers.setdefault(contact, []).append((kind_of(label), number))
    rows = {row[0]: row for row in await fetch(conn, _NAMES, ids)}
    return [_entry(rows[each], numbers.get(each, [])) for each in ids if each in rows]


def _entry(row: Sequence[Any], numbers: list[tuple[Kind, str]]) -> Entry:
    return Entry(
        id=row[0],
        name=row[1],
        first_name=row[2],
        last_name=row[3],
        account=row[4],
        owner=row[5],
        kind=row[6],
        numbers=tuple(sorted(numbers, key=lambda number: (_ORDER.index(number[0]), number[1]))),
    )


def kind_of(label: str) -> Kind:
    """Return where a number with this label (Salesforce's name of the field) rings."""
    label = label.lower()
    if "mobile" in label or "cell" in label:
        return Kind.MOBILE
    if "home" in label:
        return Kind.HOME
    return Kind.OTHER if "other" in label or "assistant" in label else Kind.WORK
