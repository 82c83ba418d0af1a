"""Rules by the page and by the thousand; one by one they are in test_admin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from agi_server.calls.directory import Rule, RuleKind, Treatment
from agi_server.errors import ConflictError, InputError, NotFoundError
from storage.blacklist import (
    PACK,
    Added,
    add_rule,
    add_rules,
    change_rule,
    count_hits,
    find_rule,
    get_rule,
    page_rules,
    remove_rules,
)
from storage.database import Database
from tests.storage.conftest import NOW, Query

BY: dict[str, Any] = {"who": "user:ana", "now": NOW}
SPAM = Rule(id=0, kind=RuleKind.EXACT, pattern="+4930123456", treatment=Treatment.BUSY, reason="Spam 100%")


def numbers(count: int, reason: str = "") -> list[Rule]:
    return [
        Rule(id=0, kind=RuleKind.EXACT, pattern=f"+49301{index:05}", reason=reason) for index in range(count)
    ]


async def add(database: Database, rule: Rule) -> int:
    return await database.write(lambda conn: add_rule(conn, rule, **BY))


async def add_all(database: Database, rules: list[Rule]) -> Added:
    return await database.write(lambda conn: add_rules(conn, rules, **BY))


async def patterns(database: Database, **wanted: Any) -> list[str]:
    rows, _ = await database.read(lambda conn: page_rules(conn, **{"limit": 100} | wanted))
    return [row.pattern for row in rows]


def noted(query: Query) -> list[tuple[str, Any, Any]]:
    """Return what, before and after of everything noted since the last call."""
    rows = query("SELECT who, at, what, before, after FROM audit ORDER BY id")
    query("DELETE FROM audit")
    assert all(row[:2] == ("user:ana", NOW) for row in rows)
    return [(row[2], json.loads(row[3]), json.loads(row[4])) for row in rows]


async def test_pages_hold_every_rule_once(database: Database) -> None:
    await add_all(database, numbers(11))
    for limit in (1, 5, 11, 12):
        found: list[int] = []
        after, pages = "", 0
        while after or not pages:
            rows, after = await database.read(lambda conn, at=after: page_rules(conn, limit=limit, after=at))  # type: ignore[misc]  # noqa: B023
            found += [row.id for row in rows]
            pages += 1
        assert found == [*range(11, 0, -1)]
        assert pages == -(-11 // limit)


async def test_what_is_no_cursor(database: Database) -> None:
    for after in ("x", "-1", "1.0", "9" * 19, "٣"):
        with pytest.raises(InputError):
            await patterns(database, after=after)


async def test_rules_are_searched(database: Database) -> None:
    await add(database, SPAM)
    await add(
        database, replace(SPAM, kind=RuleKind.PREFIX, pattern="+49190", reason="dear_ones", did="030 555")
    )
    await add(database, replace(SPAM, kind=RuleKind.COUNTRY, pattern="RU", reason="", allow=True))
    assert await patterns(database) == ["RU", "+49190", "+4930123456"]
    assert await patterns(database, text="SPAM") == ["+4930123456"]
    assert await patterns(database, text="0%") == ["+4930123456"]
    assert await patterns(database, text="r_o") == ["+49190"]
    assert await patterns(database, text="555") == ["+49190"]
    assert await patterns(database, text="030 123456", number="+4930123456") == ["+4930123456"]
    assert await patterns(database, kind=RuleKind.PREFIX) == ["+49190"]
    assert await patterns(database, allow=True) == ["RU"]
    assert await patterns(database, allow=False, text="+49", limit=1) == ["+49190"]


async def test_a_rule_is_changed_but_for_what_calls_did_to_it(database: Database, query: Query) -> None:
    number = await add(database, SPAM)
    await database.write(lambda conn: count_hits(conn, {number: (3, 50)}))
    noted(query)
    new = replace(SPAM, kind=RuleKind.PREFIX, pattern="+4930*", reason="all of them")
    changed = await database.write(lambda conn: change_rule(conn, number, new, **BY))
    assert changed == await database.read(lambda conn: get_rule(conn, number))
    assert (changed.kind, changed.pattern, changed.reason, changed.hits) == (
        "prefix",
        "+4930",
        "all of them",
        3,
    )
    ((what, before, after),) = noted(query)
    assert (what, before["id"], before["pattern"], after["pattern"]) == (
        "blacklist.change", number, "+4930123456", "+4930",
    )  # fmt: skip
    await database.write(lambda conn: change_rule(conn, number, new, **BY))
    assert noted(query) == []


async def test_a_rule_cannot_become_another(database: Database, query: Query) -> None:
    number = await add(database, SPAM)
    other = await add(database, replace(SPAM, did="100"))
    noted(query)
    for rule_id, rule, error in (
        (other, SPAM, ConflictError),
        (99, SPAM, NotFoundError),
        (number, replace(SPAM, pattern="nobody"), InputError),
    ):
        with pytest.raises(error):
            await database.write(lambda conn, id_=rule_id, to=rule: change_rule(conn, id_, to, **BY))  # type: ignore[misc]
    assert noted(query) == []
    assert await database.read(lambda conn: find_rule(conn, SPAM)) == await database.read(
        lambda conn: get_rule(conn, number)
    )
    assert await database.read(lambda conn: find_rule(conn, replace(SPAM, allow=True))) is None


async def test_rules_are_removed_by_id(database: Database, query: Query) -> None:
    await add_all(database, numbers(5))
    noted(query)
    assert await database.write(lambda conn: remove_rules(conn, [1, 3, 99], **BY)) == 2
    assert query("SELECT id FROM blacklist ORDER BY id") == [(2,), (4,), (5,)]
    assert [(what, before["id"], after) for what, before, after in noted(query)] == [
        ("blacklist.remove", 1, None), ("blacklist.remove", 3, None),
    ]  # fmt: skip


async def test_many_rules_are_added_changed_or_left(database: Database, query: Query) -> None:
    await add_all(database, numbers(2, "old"))
    noted(query)
    rules = [
        *numbers(1, "old"),
        *numbers(2, "new")[1:],
        SPAM,
        replace(SPAM, allow=True),
        replace(SPAM, did="1"),
    ]
    assert await add_all(database, rules) == Added(added=3, changed=1, same=1)
    assert query("SELECT pattern, did, allow, reason, created_by FROM blacklist ORDER BY id") == [
        ("+4930100000", "", 0, "old", "user:ana"),
        ("+4930100001", "", 0, "new", "user:ana"),
        ("+4930123456", "", 0, "Spam 100%", "user:ana"),
        ("+4930123456", "", 1, "Spam 100%", "user:ana"),
        ("+4930123456", "1", 0, "Spam 100%", "user:ana"),
    ]
    told = noted(query)
    assert [(what, before and before["reason"], after["reason"]) for what, before, after in told] == [
        ("blacklist.add", None, "Spam 100%"),
        ("blacklist.add", None, "Spam 100%"),
        ("blacklist.add", None, "Spam 100%"),
        ("blacklist.add", "old", "new"),
    ]
    assert await add_all(database, rules) == Added(added=0, changed=0, same=5)
    assert noted(query) == []


async def test_the_last_of_equals_counts(database: Database) -> None:
    rules = [SPAM, replace(SPAM, reason="first"), replace(SPAM, reason="last")]
    assert await add_all(database, rules) == Added(1, 0, 0)
    (row,) = (await database.read(lambda conn: page_rules(conn, limit=9)))[0]
    assert row.reason == "last"
    assert await add_all(database, []) == Added(0, 0, 0)


async def test_who_changed_what_of_thousands_can_be_told(database: Database, query: Query) -> None:
    count = PACK * 2 + 1
    await add_all(database, numbers(count, "old"))
    await add_all(database, numbers(count, "new"))
    await database.write(lambda conn: remove_rules(conn, range(1, count + 1), **BY))
    told = noted(query)
    assert len(told) == 9
    added, changed, removed = told[:3], told[3:6], told[6:]
    wanted = [rule.pattern for rule in numbers(count)]

    def all_of(rows: Sequence[tuple[Any, ...]], side: int, name: str) -> list[str]:
        return [rule[name] for row in rows for rule in row[side]["rules"]]

    assert {row[0] for row in (*added, *changed)} == {"blacklist.add"}
    assert {row[0] for row in removed} == {"blacklist.remove"}
    assert all_of(added, 2, "pattern") == wanted
    assert all_of(changed, 1, "pattern") == all_of(changed, 2, "pattern") == wanted
    assert ({*all_of(changed, 1, "reason")}, {*all_of(changed, 2, "reason")}) == ({"old"}, {"new"})
    assert all_of(removed, 1, "pattern") == wanted
    assert [row[1] for row in added] == [row[2] for row in removed] == [None] * 3
