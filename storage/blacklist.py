"""Blacklist and allow-list entries.

Invariant: a rule is stored as `check_rule` returns it, and every change can be read from the audit log: who, before
and after. Changes of many rules at once are noted by the `PACK`, each with all of its rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import and_, bindparam, case, or_, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Rule, RuleKind, Treatment
from agi_server.calls.screening import check_rule
from agi_server.errors import ConflictError, InputError, NotFoundError
from storage.audit import note
from storage.lists import as_json
from storage.schema import blacklist

PACK: Final = 100  # rules that one row of the audit log tells of, where more than so many change at once

_IDENTITY: Final = ("kind", "pattern", "did", "allow")  # no two rules have all of these in common
_REST: Final = ("treatment", "target", "reason", "expires_at")
_SAME = (  # rules with the identities of a JSON list; as `kind`, `pattern`, `did`, `allow` of each
    "SELECT b.* FROM json_each(?) j CROSS JOIN blacklist b ON b.kind = j.value ->> 0 "
    "AND b.pattern = j.value ->> 1 AND b.did = j.value ->> 2 AND b.allow = j.value ->> 3"
)


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
    columns = _columns(rule, check_rule(rule.kind, rule.pattern))
    identity = {name: columns[name] for name in _IDENTITY}
    rest = {name: columns[name] for name in _REST}
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
    return [_row(row) for row in rows.mappings()]


async def page_rules(
    conn: AsyncConnection,
    *,
    text: str = "",
    number: str = "",
    kind: RuleKind | None = None,
    allow: bool | None = None,
    limit: int,
    after: str = "",
) -> tuple[list[RuleRow], str]:
    """Return rules, the newest first, and where the next page begins ('': there is none).

    `text` is looked for in pattern, reason and DID, `number` (the same as E.164, where it is one) in patterns, too.
    Raises InputError when `after` is none of ours.
    """
    query = select(blacklist).order_by(blacklist.c.id.desc()).limit(limit + 1)
    if text:
        found = [
            column.contains(text, autoescape=True)
            for column in (blacklist.c.pattern, blacklist.c.reason, blacklist.c.did)
        ]
        if number:
            found.append(blacklist.c.pattern.contains(number, autoescape=True))
        query = query.where(or_(*found))
    if kind is not None:
        query = query.where(blacklist.c.kind == RuleKind(kind).value)
    if allow is not None:
        query = query.where(blacklist.c.allow == allow)
    if after:
        if not (after.isascii() and after.isdigit() and len(after) < 19):
            raise InputError(f"cursor {after!r}: take `next` of the page before as it is")
        query = query.where(blacklist.c.id < int(after))
    rows = [_row(row) for row in (await conn.execute(query)).mappings()]
    return rows[:limit], str(rows[limit - 1].id) if len(rows) > limit else ""


async def get_rule(conn: AsyncConnection, rule_id: int) -> RuleRow | None:
    """Return a rule, None if there is none with this id."""
    row = (await conn.execute(select(blacklist).where(blacklist.c.id == rule_id))).mappings().one_or_none()
    return None if row is None else _row(row)


async def find_rule(conn: AsyncConnection, rule: Rule) -> RuleRow | None:
    """Return the rule that has kind, pattern, DID and direction of `rule` (checked already), if there is one."""
    row = (
        (await conn.execute(select(blacklist).where(_same_as(_columns(rule, rule.pattern)))))
        .mappings()
        .first()
    )
    return None if row is None else _row(row)


async def change_rule(conn: AsyncConnection, rule_id: int, rule: Rule, *, who: str, now: int) -> RuleRow:
    """Make the rule with this id what `rule` says; who made it, when, and its hits stay. Return it as it is now.

    Raises InputError when the pattern is not one of its kind, NotFoundError, and ConflictError when another rule
    has the same kind, pattern, DID and direction.
    """
    found = await get_rule(conn, rule_id)
    if found is None:
        raise NotFoundError(f"there is no rule {rule_id}, or no longer")
    columns = _columns(rule, check_rule(rule.kind, rule.pattern))
    other = (
        await conn.execute(select(blacklist.c.id).where(_same_as(columns), blacklist.c.id != rule_id))
    ).first()
    if other is not None:
        raise ConflictError(f"rule {other.id} says so already: change that one, or remove it first")
    before = _columns(found, found.pattern)
    if before != columns:
        await conn.execute(blacklist.update().where(blacklist.c.id == rule_id).values(columns))
        await note(
            conn,
            who=who,
            what="blacklist.change",
            before={"id": rule_id, **before},
            after={"id": rule_id, **columns},
            now=now,
        )
    changed = await get_rule(conn, rule_id)
    assert changed is not None
    return changed


async def remove_rules(conn: AsyncConnection, ids: Sequence[int], *, who: str, now: int) -> int:
    """Remove the rules with these ids; return how many there were."""
    listed = "(SELECT value FROM json_each(?))"
    rows = await conn.exec_driver_sql(
        f"SELECT * FROM blacklist WHERE id IN {listed}",  # noqa: S608  # our own constant
        (as_json(ids),),
    )
    found = [_columns(row, row.pattern) | {"id": row.id} for row in map(_row, rows.mappings())]
    await conn.exec_driver_sql(
        f"DELETE FROM blacklist WHERE id IN {listed}",  # noqa: S608  # likewise
        (as_json(ids),),
    )
    for pack in _packs(found):
        await note(conn, who=who, what="blacklist.remove", before=pack, after=None, now=now)
    return len(found)


class Added(NamedTuple):
    """What became of many rules: new ones, those that differ from what was there, those that do not."""

    added: int
    changed: int
    same: int


async def add_rules(conn: AsyncConnection, rules: Sequence[Rule], *, who: str, now: int) -> Added:
    """Add rules, or change those with the same kind, pattern, DID and direction; the last of equals counts.

    Patterns must be as `check_rule` returns them: to look at 10,000 numbers takes longer than to write them, and
    nobody else writes in the meantime.
    """
    wanted = {_identity(each): each for each in (_columns(rule, rule.pattern) for rule in rules)}
    rows = await conn.exec_driver_sql(_SAME, (as_json(wanted),))
    there = {
        _identity(each): each for each in (_columns(row, row.pattern) for row in map(_row, rows.mappings()))
    }
    new = [each for identity, each in wanted.items() if identity not in there]
    changed = [
        (there[identity], each) for identity, each in wanted.items() if there.get(identity, each) != each
    ]
    if new or changed:
        statement = insert(blacklist)
        await conn.execute(
            statement.on_conflict_do_update(
                index_elements=_IDENTITY, set_={name: statement.excluded[name] for name in _REST}
            ),
            [
                each | {"created_by": who, "created_at": now}
                for each in (*new, *(after for _, after in changed))
            ],
        )
    for pack in _packs(new):
        await note(conn, who=who, what="blacklist.add", before=None, after=pack, now=now)
    for before, after in zip(
        _packs([each for each, _ in changed]), _packs([each for _, each in changed]), strict=True
    ):
        await note(conn, who=who, what="blacklist.add", before=before, after=after, now=now)
    return Added(len(new), len(changed), len(wanted) - len(new) - len(changed))


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


def _columns(rule: Rule, pattern: str) -> dict[str, Any]:
    """Return what people say of a rule, as the table has it."""
    return {
        "kind": RuleKind(rule.kind).value,
        "pattern": pattern,
        "did": rule.did,
        "allow": rule.allow,
        "treatment": Treatment(rule.treatment).value,
        "target": rule.target,
        "reason": rule.reason,
        "expires_at": rule.expires_at,
    }


def _identity(columns: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(columns[name] for name in _IDENTITY)


def _same_as(columns: Mapping[str, Any]) -> Any:  # noqa: ANN401  # SQLAlchemy's own type is generic in a private one
    return and_(*(blacklist.c[name] == columns[name] for name in _IDENTITY))


def _row(row: Mapping[Any, Any]) -> RuleRow:
    typed = {
        "kind": RuleKind(row["kind"]),
        "treatment": Treatment(row["treatment"]),
        "allow": bool(row["allow"]),
    }
    return RuleRow(**{**row, **typed})


def _packs(rules: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what is noted of these rules: few one by one, many by the pack."""
    if len(rules) <= PACK:
        yield from rules
        return
    for at in range(0, len(rules), PACK):
        yield {"rules": list(rules[at : at + PACK])}
