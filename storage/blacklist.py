"""Blacklist and allow-list entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, case, select
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Rule, RuleKind, Treatment
from agi_server.calls.screening import check_rule
from storage.audit import note
from storage.schema import blacklist


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRow(Rule):
    """A rule with where it came from and how often it decided a call; times are seconds since 1970, 0: never."""

    created_by: str = ""
    created_at: int = 0
    hits: int = 0
    last_hit_at: int = 0


async def add_rule(conn: AsyncConnection, rule: Rule, *, who: str, now: int) -> int:
    """Add a rule, or change the one with the same kind, pattern, DID and direction; return its id.

    Raises InputError when the pattern is not one of its kind.
    """
    kind = RuleKind(rule.kind)
    identity: dict[str, Any] = {
        "kind": kind.value,
        "pattern": check_rule(kind, rule.pattern),
        "did": rule.did,
        "allow": rule.allow,
    }
    rest: dict[str, Any] = {
        "treatment": Treatment(rule.treatment).value,
        "target": rule.target,
        "reason": rule.reason,
        "expires_at": rule.expires_at,
    }
    found = (await conn.execute(select(blacklist).filter_by(**identity))).mappings().one_or_none()
    if found is None:
        result = await conn.execute(
            blacklist.insert().values(identity | rest | {"created_by": who, "created_at": now})
        )
        assert result.inserted_primary_key is not None
        number = int(result.inserted_primary_key[0])
    else:
        number = int(found["id"])
        await conn.execute(blacklist.update().where(blacklist.c.id == number).values(rest))
    before = {name: found[name] for name in (*identity, *rest)} if found is not None else None
    await note(conn, who=who, what="blacklist.add", before=before, after=identity | rest, now=now)
    return number


async def remove_rule(
    conn: AsyncConnection,
    *,
    kind: RuleKind,
    pattern: str,
    did: str | None,
    allow: bool | None,
    who: str,
    now: int,
) -> int:
    """Remove the rules with this kind and pattern (as stored); `did`, `allow` None: any. Return how many."""
    wanted: dict[str, Any] = {"kind": RuleKind(kind).value, "pattern": pattern}
    wanted |= {} if did is None else {"did": did}
    wanted |= {} if allow is None else {"allow": allow}
    rows = (await conn.execute(select(blacklist).filter_by(**wanted))).mappings().all()
    for row in rows:
        await conn.execute(blacklist.delete().where(blacklist.c.id == row["id"]))
        await note(conn, who=who, what="blacklist.remove", before=dict(row), after=None, now=now)
    return len(rows)


async def list_rules(conn: AsyncConnection) -> list[RuleRow]:
    """Return all rules, the oldest first."""
    rows = await conn.execute(select(blacklist).order_by(blacklist.c.id))
    return [
        RuleRow(**row | {"kind": RuleKind(row["kind"]), "treatment": Treatment(row["treatment"])})
        for row in map(dict, rows.mappings())
    ]


async def count_hits(conn: AsyncConnection, hits: Mapping[int, tuple[int, int]]) -> None:
    """Add to the counts of rules: rule id -> (calls decided, time of the last). Rules that are gone are passed over."""
    if not hits:
        return
    last = bindparam("last", type_=blacklist.c.last_hit_at.type)
    await conn.execute(
        blacklist.update()
        .where(blacklist.c.id == bindparam("rule"))
        .values(
            hits=blacklist.c.hits + bindparam("count"),
            last_hit_at=case((blacklist.c.last_hit_at > last, blacklist.c.last_hit_at), else_=last),
        ),
        [{"rule": rule, "count": count, "last": last} for rule, (count, last) in hits.items()],
    )
