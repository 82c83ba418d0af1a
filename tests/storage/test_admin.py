"""What admins change: rules, agents, DIDs; and that each change is noted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from agi_server.calls.directory import Agent, Rule, RuleKind, Treatment
from agi_server.errors import InputError
from storage.agents import list_agents, put_agent, remove_agent
from storage.blacklist import RuleRow, add_rule, count_hits, list_rules, remove_rule
from storage.database import Database
from storage.dids import DidRow, list_dids, put_did, remove_did
from tests.storage.conftest import NOW, Query

BY: dict[str, Any] = {"who": "cli:ana", "now": NOW}


def audited(query: Query) -> list[tuple[Any, ...]]:
    """Return what, before, after of everything noted since the last call."""
    rows = query("SELECT at, who, what, before, after FROM audit ORDER BY id")
    query("DELETE FROM audit")
    assert all(row[:2] == (NOW, "cli:ana") for row in rows)
    return [(row[2], *(json.loads(text) if text else None for text in row[3:])) for row in rows]


# --- blacklist

SPAM = Rule(
    id=0, kind=RuleKind.EXACT, pattern="+4930123456", treatment=Treatment.BUSY, target="t", reason="spam"
)


async def add(database: Database, rule: Rule) -> int:
    return await database.write(lambda conn: add_rule(conn, rule, **BY))


async def test_a_rule_is_added_once_and_changed_after_that(database: Database, query: Query) -> None:
    number = await add(database, SPAM)
    assert await database.read(list_rules) == [
        RuleRow(
            id=number, kind=RuleKind.EXACT, pattern="+4930123456", treatment=Treatment.BUSY, target="t", reason="spam",
            created_by="cli:ana", created_at=NOW,
        )
    ]  # fmt: skip
    ((what, before, after),) = audited(query)
    assert (what, before, after["reason"], after["kind"]) == ("blacklist.add", None, "spam", "exact")
    await database.write(lambda conn: count_hits(conn, {number: (2, 50)}))
    assert await add(database, replace(SPAM, reason="more", expires_at=9)) == number
    (row,) = await database.read(list_rules)
    assert (row.reason, row.expires_at, row.hits) == ("more", 9, 2)
    ((what, before, after),) = audited(query)
    assert (before["reason"], after["reason"]) == ("spam", "more")


async def test_rules_for_other_dids_and_the_allow_list_are_others(database: Database) -> None:
    rules = [SPAM, replace(SPAM, did="100"), replace(SPAM, allow=True), replace(SPAM, kind=RuleKind.PREFIX)]
    assert len({await add(database, rule) for rule in rules}) == 4


async def test_a_pattern_that_is_none_is_refused(database: Database, query: Query) -> None:
    for kind, pattern in ((RuleKind.REGEX, "("), (RuleKind.EXACT, "nobody"), (RuleKind.COUNTRY, "Germany!")):
        with pytest.raises(InputError):
            await add(database, Rule(id=0, kind=kind, pattern=pattern))
    assert audited(query) == []
    await add(database, Rule(id=0, kind=RuleKind.EXACT, pattern="+49 30 123456"))
    (row,) = await database.read(list_rules)
    assert row.pattern == "+4930123456"  # as calls compare it


@pytest.mark.parametrize(
    ("did", "allow", "left"),
    [
        (None, None, set()),
        ("", None, {2}),
        ("100", False, {1, 3}),
        (None, True, {1, 2}),
        ("9", None, {1, 2, 3}),
    ],
)
async def test_rules_are_removed_by_what_they_say(
    database: Database, query: Query, did: str | None, left: set[int], *, allow: bool | None
) -> None:
    for rule in (SPAM, replace(SPAM, did="100"), replace(SPAM, allow=True)):
        await add(database, rule)
    audited(query)
    removed = await database.write(
        lambda conn: remove_rule(conn, kind=SPAM.kind, pattern=SPAM.pattern, did=did, allow=allow, **BY)
    )
    assert {row.id for row in await database.read(list_rules)} == left
    assert removed == 3 - len(left)
    assert [(what, before["id"] in left, after) for what, before, after in audited(query)] == [
        ("blacklist.remove", False, None)
    ] * removed


async def test_hits_add_up(database: Database) -> None:
    number = await add(database, SPAM)
    await database.write(lambda conn: count_hits(conn, {number: (2, 50), 99: (1, 1)}))
    await database.write(lambda conn: count_hits(conn, {number: (3, 40)}))
    await database.write(lambda conn: count_hits(conn, {}))
    (row,) = await database.read(list_rules)
    assert (row.hits, row.last_hit_at) == (5, 50)


# --- agents

ANA = Agent(
    id=0, name="Ana", extension="201", email="Ana@Example.com", salesforce_user_id="005A", hours="Mo-Fr 09:00-17:00",
    timezone="Europe/Lisbon", absent_until=7, ring_seconds=15, fallback="600", pop="answer",
)  # fmt: skip


async def put(database: Database, agent: Agent) -> int:
    return await database.write(lambda conn: put_agent(conn, agent, **BY))


async def test_an_agent_is_known_by_the_extension(database: Database, query: Query) -> None:
    number = await put(database, ANA)
    assert await database.read(list_agents) == [replace(ANA, id=number, email="ana@example.com")]
    assert await put(database, replace(ANA, name="Anna", salesforce_user_id="")) == number
    (agent,) = await database.read(list_agents)
    assert (agent.name, agent.salesforce_user_id) == ("Anna", "")
    added, changed = audited(query)
    assert (added[0], added[1], added[2]["name"]) == ("agents.put", None, "Ana")
    assert (changed[1]["name"], changed[2]["name"]) == ("Ana", "Anna")
    await put(database, agent)
    assert audited(query) == []  # nothing changed


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        (Agent(id=0, name="B", extension="202", email="ANA@example.com "), "e-mail 'ana@example.com' .* 201"),
        (Agent(id=0, name="B", extension="202", salesforce_user_id="005A"), "Salesforce user '005A' .* 201"),
        (Agent(id=0, name="B", extension=" "), "needs an extension"),
        (Agent(id=0, name="B", extension="202", hours="whenever"), "whenever"),
        (Agent(id=0, name="B", extension="202", timezone="Mars/X"), "Mars/X"),
        (Agent(id=0, name="B", extension="202", delegate=99), "99"),
        (replace(ANA, delegate=1), "their own delegate"),
        (replace(ANA, pop="always"), "'always'; expected one of ringing, answer, off"),
    ],
)
async def test_an_agent_that_cannot_be_is_refused(database: Database, agent: Agent, message: str) -> None:
    assert await put(database, ANA) == 1
    with pytest.raises(InputError, match=message):
        await put(database, agent)
    assert len(await database.read(list_agents)) == 1


async def test_agents_without_e_mail_do_not_collide(database: Database) -> None:
    await put(database, Agent(id=0, name="A", extension="201"))
    await put(database, Agent(id=0, name="B", extension="202"))
    assert len(await database.read(list_agents)) == 2


async def test_who_delegated_to_a_removed_agent_delegates_to_nobody(database: Database, query: Query) -> None:
    number = await put(database, ANA)
    await put(database, Agent(id=0, name="B", extension="202", delegate=number))
    audited(query)
    assert await database.write(lambda conn: remove_agent(conn, "201", **BY))
    (agent,) = await database.read(list_agents)
    assert (agent.extension, agent.delegate) == ("202", 0)
    ((what, before, after),) = audited(query)
    assert (what, before["name"], after) == ("agents.remove", "Ana", None)
    assert not await database.write(lambda conn: remove_agent(conn, "201", **BY))


# --- DIDs


async def test_a_did_is_added_changed_and_forgotten(database: Database, query: Query) -> None:
    row = DidRow(did="+49 30 1", name="Hotline", screening=False, ring_seconds=9)
    number = await database.write(lambda conn: put_did(conn, row, **BY))
    assert await database.read(list_dids) == [replace(row, id=number)]
    assert await database.write(lambda conn: put_did(conn, replace(row, region="PT"), **BY)) == number
    with pytest.raises(InputError, match=r"\+49 30 1"):  # the same number written otherwise
        await database.write(lambda conn: put_did(conn, DidRow(did="49301"), **BY))
    with pytest.raises(InputError, match="missing"):
        await database.write(lambda conn: put_did(conn, DidRow(did=" "), **BY))
    assert await database.write(lambda conn: remove_did(conn, "+49 30 1", **BY))
    assert not await database.write(lambda conn: remove_did(conn, "+49 30 1", **BY))
    assert await database.read(list_dids) == []
    regions = [
        (what, before and before["region"], after and after["region"])
        for what, before, after in audited(query)
    ]
    assert regions == [
        ("dids.put", None, None), ("dids.put", None, "PT"), ("dids.remove", "PT", None),
    ]  # fmt: skip
