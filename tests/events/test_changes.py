"""Changes made by other connections and processes, as `watch` tells of them."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from agi_server.calls.directory import Agent, Rule, RuleKind
from agi_server.events import changes
from agi_server.events.event import Event, EventType
from agi_server.events.hub import Hub, Subscription
from agi_server.settings import Settings
from storage.agents import put_agent
from storage.audit import note
from storage.blacklist import add_rule, remove_rule
from storage.database import Database
from storage.invitations import invite
from storage.overrides import put_override, remove_override
from storage.salesforce_state import put
from storage.tokens import add_token
from storage.users import add_user, hash_password, set_password
from tests.events.conftest import PATIENCE, running, until

NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "LOOK_SECONDS", 0.01)


@asynccontextmanager
async def watching(path: Path, hub: Hub, settings: Settings | None = None) -> AsyncIterator[Subscription]:
    with hub.listen(1000) as queue:
        async with running(changes.watch(path, hub, settings or Settings())):
            yield queue


async def event(queue: Subscription) -> Event:
    async with asyncio.timeout(PATIENCE):
        return await queue.next()


def write(path: Path, sql: str, *values: object) -> None:
    """Write as another process does."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(sql, values)
        connection.commit()


def noted(path: Path, what: str, before: object = None, after: object = None) -> None:
    sql = 'INSERT INTO audit (at, who, what, "before", "after") VALUES (?, ?, ?, ?, ?)'
    write(path, sql, NOW, "user:ana", what, orjson.dumps(before).decode(), orjson.dumps(after).decode())


RULE = Rule(id=0, kind=RuleKind.EXACT, pattern="+4930900901", reason="nuisance <b>\u2028")


async def test_rules(path: Path, database: Database, hub: Hub) -> None:
    async with watching(path, hub) as queue:
        await database.write(lambda c: add_rule(c, RULE, who="user:ana", now=NOW))
        added = await event(queue)
        assert added.type is EventType.BLACKLIST
        assert (added.data["who"], added.data["what"], added.data["at"]) == ("user:ana", "blacklist.add", NOW)
        assert added.data["before"] is None
        assert added.data["after"]["pattern"] == "+4930900901"
        assert added.data["after"]["reason"] == RULE.reason
        await database.write(
            lambda c: remove_rule(
                c, kind=RULE.kind, pattern=RULE.pattern, did=None, allow=None, who="user:ana", now=NOW
            )
        )
        removed = await event(queue)
        assert (removed.data["what"], removed.data["after"]) == ("blacklist.remove", None)
        assert removed.data["before"]["pattern"] == "+4930900901"
        assert removed.data["change"] > added.data["change"]


@pytest.mark.parametrize(
    ("what", "type_"),
    [
        ("contact.change", EventType.CONTACT),
        ("contact.erase", EventType.CONTACT),
        ("agents.put", EventType.CONFIGURATION),
        ("dids.put", EventType.CONFIGURATION),
        ("settings.put", EventType.CONFIGURATION),
        ("users.add", EventType.CONFIGURATION),
        ("tokens.add", EventType.CONFIGURATION),
    ],
)
async def test_whatever_process_wrote_it(path: Path, hub: Hub, what: str, type_: EventType) -> None:
    async with watching(path, hub) as queue:
        noted(path, "outbox.drop")  # not told
        noted(path, what, None, {"name": "x"})
        told = await event(queue)
    assert (told.type, told.data["what"], told.data["after"]) == (type_, what, {"name": "x"})


async def test_what_was_there_before_is_not_news(path: Path, hub: Hub) -> None:
    noted(path, "users.add")
    async with watching(path, hub) as queue:
        await asyncio.sleep(0.05)
        noted(path, "dids.put")
        assert (await event(queue)).data["what"] == "dids.put"


async def test_no_secret_is_told(path: Path, database: Database, hub: Hub) -> None:
    first, second = await hash_password("pass-word-1"), await hash_password("pass-word-2")
    scopes = ["read"]
    async with watching(path, hub) as queue:
        await database.write(lambda c: add_user(c, "ana", first, "admin", who="x", now=NOW))
        await database.write(lambda c: set_password(c, "ana", second, who="x", now=NOW))
        _, token = await database.write(
            lambda c: add_token(c, name="crm", scopes=scopes, expires_at=0, who="x", now=NOW)
        )
        link = await database.write(lambda c: invite(c, name="rui", role="admin", who="x", now=NOW))
        noted(path, "tokens.add", None, {"name": "of a later version", "hash": "h-1", "client_secret": "s-1"})
        told = [(await event(queue)).data for _ in range(5)]
    assert {data["what"].partition(".")[0] for data in told} == {"users", "tokens"}
    assert told[2]["after"]["name"] == "crm"
    assert told[4]["after"] == {"name": "of a later version"}
    for secret in ("pass-word", "argon2", token, link, "h-1", "s-1"):
        assert secret not in str(told)


async def test_many_changes_are_told_as_one(path: Path, database: Database, hub: Hub) -> None:
    async def job(conn: Any) -> None:
        for number in range(changes.AT_ONCE + 1):
            await note(conn, who="import", what="blacklist.add", before=None, after={"n": number}, now=NOW)
        await note(conn, who="import", what="agents.put", before=None, after={}, now=NOW)

    async with watching(path, hub) as queue:
        await asyncio.sleep(0.05)
        await database.write(job)
        told = [await event(queue) for _ in range(2)]
    assert [(each.type, each.data["count"], each.data["after"]) for each in told] == [
        (EventType.BLACKLIST, changes.AT_ONCE + 1, None),
        (EventType.CONFIGURATION, 1, None),
    ]


async def test_a_log_that_was_emptied_goes_on(path: Path, hub: Hub) -> None:
    async with watching(path, hub) as queue:
        for _ in range(3):
            noted(path, "users.add")
        for _ in range(3):
            await event(queue)
        write(path, "DELETE FROM audit")
        await asyncio.sleep(0.1)  # the watcher has looked: ids begin anew
        noted(path, "dids.put")
        assert (await event(queue)).data["what"] == "dids.put"


async def test_a_database_that_is_away_and_another_that_comes(path: Path, template: Path, hub: Hub) -> None:
    with structlog.testing.capture_logs() as lines:
        async with watching(path, hub) as queue:
            noted(path, "users.add")
            await event(queue)
            for file in path.parent.glob("ostiary.db*"):
                file.unlink()
            await until(lambda: lines)
            copy = Path(shutil.copy(template, path.parent / "other.db"))
            for _ in range(3):
                noted(copy, "users.remove")  # of another time
            copy.rename(path)
            await until(lambda: len(lines) == 2)
            noted(path, "dids.put")
            assert (await event(queue)).data["what"] == "dids.put"
    assert [line["log_level"] for line in lines] == ["warning", "info"]


async def test_no_database_at_first(path: Path, template: Path, tmp_path: Path, hub: Hub) -> None:
    later = tmp_path / "later.db"
    async with watching(later, hub) as queue:
        shutil.copy(template, later)
        await until(lambda: _looked(later, queue))
        told = await event(queue)
    assert told.data["what"] == "users.add"
    assert path.exists()


def _looked(path: Path, queue: Subscription) -> bool:
    noted(path, "users.add")
    return len(queue) > 0


async def test_what_is_no_database(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "junk.db").write_bytes(b"junk" * 1000)
    with structlog.testing.capture_logs() as lines:
        async with watching(tmp_path / "junk.db", hub):
            await until(lambda: lines)
            await asyncio.sleep(0.05)
    assert len(lines) == 1


async def test_a_row_that_is_damaged(path: Path, hub: Hub) -> None:
    async with watching(path, hub) as queue:
        write(path, "INSERT INTO audit (at, who, what, after) VALUES (1, 'x', 'blacklist.add', '{no')")
        write(path, "INSERT INTO audit (at, who, what, after) VALUES (1, 'x', 'blacklist.add', '[1]')")
        assert [(await event(queue)).data["after"] for _ in range(2)] == [None, None]


async def test_reminders_follow_their_setting(path: Path, database: Database, hub: Hub) -> None:
    settings = Settings()
    key = "reminders.missed_calls"
    async with watching(path, hub, settings):
        assert hub.remind
        await database.write(lambda c: put_override(c, key, False, settings=settings, who="x", now=NOW))
        await until(lambda: not hub.remind)
        await database.write(lambda c: remove_override(c, key, settings=settings, who="x", now=NOW))
        await until(lambda: hub.remind)
        write(path, "INSERT INTO settings (key, value) VALUES (?, ?)", key, "{")
        noted(path, "agents.put")
        await asyncio.sleep(0.05)
        assert hub.remind
    off = Settings.model_validate({"reminders": {"missed_calls": False}})
    async with watching(path, hub, off):
        assert not hub.remind


async def test_the_address_of_salesforce_is_followed(path: Path, database: Database, hub: Hub) -> None:
    async with watching(path, hub):
        await until(lambda: changes_seen(hub, ""))
        url = "https://acme.my.salesforce.com"
        await database.write(lambda c: put(c, "instance", {"url": url}, NOW))
        await until(lambda: changes_seen(hub, url))
        for odd in ("{", "[]", '{"url": 7}'):
            write(path, "UPDATE salesforce_state SET value = ? WHERE name = 'instance'", odd)
            await until(lambda: changes_seen(hub, ""))
            write(
                path,
                "UPDATE salesforce_state SET value = ? WHERE name = 'instance'",
                orjson.dumps({"url": url}).decode(),
            )
            await until(lambda: changes_seen(hub, url))


def changes_seen(hub: Hub, instance: str) -> bool:
    return hub.desk.instance == instance


async def test_agents_are_configuration(path: Path, database: Database, hub: Hub) -> None:
    async with watching(path, hub) as queue:
        agent = Agent(id=0, name="Ana", extension="101")
        await database.write(lambda c: put_agent(c, agent, who="x", now=NOW))
        told = await event(queue)
    assert (told.type, told.data["after"]["extension"]) == (EventType.CONFIGURATION, "101")


def test_a_look_costs_microseconds(path: Path) -> None:
    watched = changes._Database(path)
    watched.news()
    start = time.perf_counter()
    for _ in range(1000):
        watched.news()
    seconds = (time.perf_counter() - start) / 1000
    watched.close()
    assert seconds < 0.002  # 10 µs; far from what a look every quarter of a second may cost
