"""Accounts and owners: what a contact refers to.

A parent is the one with its Salesforce id; else the one with its e-mail, or its name where there is none, that
has no Salesforce id yet and then takes this one. Without a Salesforce id it is the first with that e-mail or
name. An empty value takes nothing away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from storage.lists import LIST, fetch, run_each


class Parent(NamedTuple):
    """An account (without e-mail) or an owner; e-mails are lower case."""

    salesforce_id: str
    email: str
    name: str

    @property
    def natural(self) -> tuple[str, str]:
        """What it is found by without a Salesforce id."""
        return self.email, "" if self.email else self.name


NOBODY = Parent("", "", "")


class Put(NamedTuple):
    """Ids by parent, and how many of them are new or changed."""

    ids: Mapping[Parent, int]
    changed: int


async def put_parents(conn: AsyncConnection, table: str, wanted: Iterable[Parent]) -> Put:
    """Find, insert or update rows of `accounts` or `owners`; NOBODY has no id."""
    parents = sorted({*wanted} - {NOBODY}, key=lambda parent: (not parent.salesforce_id, parent))
    if not parents:
        return Put({}, 0)
    known = await _load(conn, table, parents)
    stored = {parent.salesforce_id for parent in known.values()} - {""}
    last = 0
    if not all(parent.salesforce_id in stored for parent in parents):  # some may be new
        ((last,),) = await fetch(conn, f"SELECT ifnull(max(id), 0) FROM {table}")  # noqa: S608  # our own constants
    ids = _resolve(parents, now := dict(known), last)
    columns = ("salesforce_id", "email", "name") if table == "owners" else ("salesforce_id", "name")
    new = [(number, *_columns(parent, columns)) for number, parent in now.items() if number not in known]
    marks = ", ?" * len(columns)
    await run_each(conn, f"INSERT INTO {table} (id, {', '.join(columns)}) VALUES (?{marks})", new)  # noqa: S608  # likewise
    changed = [
        (*_columns(now[number], columns), number) for number, parent in known.items() if now[number] != parent
    ]
    names = ", ".join(f"{column} = ?" for column in columns)
    await run_each(conn, f"UPDATE {table} SET {names} WHERE id = ?", changed)  # noqa: S608  # likewise
    return Put(ids, len(new) + len(changed))


async def _load(conn: AsyncConnection, table: str, parents: Sequence[Parent]) -> dict[int, Parent]:
    """Return all that the parents may be, the oldest first."""
    email = "email" if table == "owners" else "''"
    select = f"SELECT id, salesforce_id, {email}, name FROM {table} WHERE"  # noqa: S608  # our own constants
    query = f"{select} salesforce_id IN {LIST}"
    lists = [[parent.salesforce_id for parent in parents if parent.salesforce_id]]
    # Of those with the name or e-mail of a parent that has an id, only one without an id may be meant.
    unclaimed = " AND salesforce_id IS NULL" if parents[-1].salesforce_id else ""
    query += f" UNION {select} {email} = '' AND name IN {LIST}{unclaimed}"
    lists.append([parent.name for parent in parents if parent.name])
    if table == "owners":
        query += f" UNION {select} email IN {LIST}{unclaimed}"
        lists.append([parent.email for parent in parents if parent.email])
    rows = await fetch(conn, f"{query} ORDER BY 1", *lists)
    return {row[0]: Parent(row[1] or "", row[2], row[3]) for row in rows}


def _resolve(parents: Iterable[Parent], known: dict[int, Parent], last: int) -> dict[Parent, int]:
    """Find or add each parent in `known`; new ones get ids above `last`."""
    by_id = {parent.salesforce_id: number for number, parent in known.items() if parent.salesforce_id}
    natural: dict[tuple[str, str], int] = {}
    unclaimed: dict[tuple[str, str], int] = {}
    for number, parent in known.items():
        natural.setdefault(parent.natural, number)
        if not parent.salesforce_id:
            unclaimed.setdefault(parent.natural, number)
    ids = {}
    for parent in parents:
        found = by_id.get(parent.salesforce_id) if parent.salesforce_id else natural.get(parent.natural)
        if found is None and parent.salesforce_id:
            found = unclaimed.pop(parent.natural, None)
        if found is None:
            last += 1
            found = last
            known[found] = parent
        else:
            old = known[found]
            known[found] = Parent(
                parent.salesforce_id or old.salesforce_id, parent.email or old.email, parent.name or old.name
            )
        if parent.salesforce_id:
            by_id[parent.salesforce_id] = found
        natural.setdefault(parent.natural, found)
        ids[parent] = found
    return ids


def _columns(parent: Parent, columns: Sequence[str]) -> list[str | None]:
    return [getattr(parent, column) or (None if column == "salesforce_id" else "") for column in columns]
