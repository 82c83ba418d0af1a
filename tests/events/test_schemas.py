"""What is published in a whole run is what the schemas and docs/events.md say."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agi_server.calls.call import Call
from agi_server.calls.decide import decide, decide_outgoing
from agi_server.calls.directory import Rule, RuleKind
from agi_server.calls.document import document
from agi_server.events import changes, topics
from agi_server.events.calls import (
    announce_answered,
    announce_decision,
    announce_ended,
    announce_progress,
)
from agi_server.events.event import Event, EventType
from agi_server.events.hub import Hub
from agi_server.events.schemas import DATA, schemas
from agi_server.salesforce.report import Report
from agi_server.settings import Settings
from agi_server.settings_file import load_settings, storage_url
from storage.audit import note
from storage.blacklist import add_rule
from storage.database import Database
from storage.directory import SqliteDirectory
from storage.engine import sqlite_path
from tests.events.conftest import Broker, Publishing, running, subscribed
from tests.house import furnish, write_settings

DOCS = Path(__file__).parents[2] / "docs" / "events.md"
HOSTILE = "<img src=x onerror=alert(1)> \"'\u202e\u2028\u0000\u0007 ñ \U0001f600"
NOW = 1_800_000_000


@pytest.fixture
def directory_settings(tmp_path: Path) -> Settings:
    (tmp_path / "house").mkdir()
    return load_settings(write_settings(tmp_path / "house"), environ={})


@pytest.fixture
async def house(directory_settings: Settings) -> AsyncIterator[SqliteDirectory]:
    await furnish(directory_settings)
    directory = SqliteDirectory(sqlite_path(storage_url(directory_settings)), directory_settings)
    yield directory
    directory.close()


async def test_a_whole_run(
    broker: Broker, hub: Hub, publishing: Publishing, house: SqliteDirectory, directory_settings: Settings
) -> None:
    url = storage_url(directory_settings)
    database = await Database.open(url)
    await broker.start()
    try:
        async with (
            subscribed(broker.port) as subscriber,
            publishing(broker.port),
            running(changes.watch(sqlite_path(url), hub, directory_settings)),
        ):
            play(hub, house)
            await change(database)
            messages = [await subscriber.next() for _ in range(1)]
            while {m.topic.value for m in messages} < set(EXPECTED):
                messages.append(await subscriber.next())
    finally:
        await database.close()
    by_topic = {message.topic.value: message for message in messages}
    assert by_topic.pop("ostiary/status").payload == b"online"
    for topic, message in by_topic.items():
        event = orjson.loads(message.payload)
        assert topics.topic_of("ostiary", Event(**event | {"type": EventType(event["type"])})) == topic
        check(event)


def play(hub: Hub, house: SqliteDirectory) -> None:
    """Let calls come, go and be blocked."""
    for number, name, uniqueid in (
        ("+49 30 23125010", HOSTILE, "1"),
        ("030 23125077", "", "2"),
        ("030900900", "blocked", "3"),
        ("anonymous", HOSTILE, "4"),
        (HOSTILE, HOSTILE, "5"),
    ):
        call = Call(id=f"c{uniqueid}", number=number, name=name, did="+49301", uniqueid=uniqueid)
        announce_decision(hub, orjson.loads(orjson.dumps(document(decide(call, house, NOW), NOW))))
    out = Call(id="c6", number="030 23125010", extension="101", uniqueid="6")
    announce_decision(hub, document(decide_outgoing(out, house, NOW), NOW))
    announce_answered(hub, {"call_id": "", "uniqueid": "2", "at": NOW + 4, "extension": "200"})
    ended = {"call_id": "", "ended_at": NOW + 9, "seconds": 5}
    announce_ended(hub, {**ended, "uniqueid": "2", "disposition": "answered", "answered_by": "200"})
    announce_ended(
        hub, {**ended, "uniqueid": "1", "disposition": "noanswer", "seconds": 0, "answered_by": ""}
    )
    announce_ended(hub, {**ended, "uniqueid": "0", "disposition": HOSTILE, "answered_by": ""})
    progress = {
        "id": "d1",
        "agent": "101",
        "number": HOSTILE,
        "state": "failed",
        "reason": HOSTILE,
        "at": NOW,
    }
    announce_progress(hub, progress)
    hub.publish(EventType.CHAT, CHAT, extension="101")
    report = Report(None, NOW)
    report.usage = (120, 15_000)
    report.counted("Contact", {"read": 2})
    hub.publish(EventType.SYNC, orjson.loads(orjson.dumps(report.told(""))))


async def change(database: Database) -> None:
    rule = Rule(id=0, kind=RuleKind.EXACT, pattern="+4930900901", reason=HOSTILE)
    await database.write(lambda c: add_rule(c, rule, who="user:ana", now=NOW))
    for what in ("contact.change", "agents.put"):
        noted = partial(note, who="x", what=what, before=None, after={"name": HOSTILE}, now=NOW)
        await database.write(noted)


CHAT = {
    "id": "web-1",
    "channel": "chat",
    "direction": "inbound",
    "number": "+493023125010",
    "email": "",
    "name": HOSTILE,
    "did": "",
    "agent": "101",
    "contact_id": None,
    "messages": 2,
    "started_at": NOW,
    "ended_at": NOW + 9,
}
EXPECTED = {
    "ostiary/status",
    "ostiary/call/ringing",
    "ostiary/call/answered",
    "ostiary/call/ended",
    "ostiary/decision",
    "ostiary/agent/101/screen_pop",
    "ostiary/agent/101/missed_call",
    "ostiary/agent/101/progress",
    "ostiary/chat/changed",
    "ostiary/blacklist/changed",
    "ostiary/contact/changed",
    "ostiary/configuration/changed",
    "ostiary/sync/state",
}


def check(event: dict[str, Any]) -> None:
    """Fail where an event is not as its schema says, or says more than that."""
    jsonschema_rs.validate(schemas()[event["type"]], event)
    assert set(event["data"]) == fields(DATA[EventType(event["type"])])


def fields(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


@pytest.mark.parametrize("type_", EventType)
def test_each_schema_is_one(type_: EventType) -> None:
    schema = schemas()[type_.value]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema_rs.meta.validate(schema)
    assert not jsonschema_rs.is_valid(schema, {})
    assert not jsonschema_rs.is_valid(
        schema, {"id": 1, "type": "other", "at": 1.0, "extension": "", "data": {}}
    )


Hostile = st.text(st.characters(codec="utf-8"), max_size=40)


@given(name=Hostile, number=Hostile, did=Hostile)
@settings(max_examples=100)
def test_whatever_callers_send_stays_text(name: str, number: str, did: str) -> None:
    class Nothing(SqliteDirectory):
        def __init__(self) -> None:
            pass

    hub = Hub()
    call = Call(id="c", number=number, name=name, did=did)
    announce_decision(hub, document(decide(call, Nothing(), NOW), NOW))
    for event in hub.since(0):
        payload = orjson.dumps(event.document())
        assert b"\n" not in payload
        read = orjson.loads(payload)
        check(read)
        assert read["data"]["number_sent"] == number


def examples() -> list[dict[str, Any]]:
    blocks = re.findall(r"^```json\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    found = [json.loads(block) for block in blocks]
    return [block for block in found if "type" in block]


def test_the_page_shows_each_type_as_it_is() -> None:
    shown = examples()
    assert {event["type"] for event in shown} == {type_.value for type_ in EventType}
    for event in shown:
        check(event)


def test_the_page_has_every_topic() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for type_ in EventType:
        topic = topics.topic_of("<prefix>", Event(1, type_, 0.0, {}, "<extension>"))
        assert f"`{topic}`" in text, topic
    for topic in ("<prefix>/status", "<prefix>/command/blacklist/add", "<prefix>/command/blacklist/remove"):
        assert f"`{topic}`" in text, topic
