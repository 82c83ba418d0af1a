"""Commands, sent by a real client through a real broker, seen in the database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import structlog
from aiomqtt import Client
from paho.mqtt.packettypes import PacketTypes

from agi_server.events import broker as mqtt_broker
from agi_server.events import commands
from storage.blacklist import RuleRow, list_rules
from storage.database import Database
from tests.events.conftest import Broker, Publishing, Subscriber, client, until

Value = Callable[..., float]
ADD = "ostiary/command/blacklist/add"
REMOVE = "ostiary/command/blacklist/remove"


def properties(**values: object) -> Any:
    return mqtt_broker.properties(PacketTypes.PUBLISH, **values)


class Commander:
    def __init__(self, connected: Client) -> None:
        self._client = connected
        self._answers = Subscriber(connected)

    async def send(self, topic: str, command: object, **options: Any) -> None:
        payload = command if isinstance(command, bytes) else orjson.dumps(command)
        await self._client.publish(topic, payload, qos=1, **options)

    async def ask(self, topic: str, command: object, **more: object) -> dict[str, Any]:
        """Send a command and return its answer."""
        asked = properties(ResponseTopic="desk/answers", CorrelationData=b"\x00\xff1", **more)
        await self.send(topic, command, properties=asked)
        message = await self._answers.next()
        answered: Any = message.properties
        assert answered.CorrelationData == b"\x00\xff1"
        assert answered.ContentType == "application/json"
        answer = orjson.loads(message.payload)
        assert isinstance(answer, dict)
        return answer


@asynccontextmanager
async def commanding(broker: Broker) -> AsyncIterator[Commander]:
    async with client(broker.port) as connected:
        await connected.subscribe("desk/answers", qos=1)
        yield Commander(connected)


@pytest.fixture
async def desk(broker: Broker, publishing: Publishing, value: Value) -> AsyncIterator[Commander]:
    """A client that may command, and an Ostiary that listens."""
    await broker.start()
    async with publishing(broker.port, commands=True), commanding(broker) as commander:
        await until(lambda: value("ostiary_mqtt_up") == 1 and "ostiary/command" in broker.log)
        yield commander


@pytest.fixture(autouse=True)
def verbose(broker: Broker) -> None:
    broker.more += "log_type subscribe\nlog_type information\nlog_type error\nlog_type notice\n"


async def rules(database: Database) -> list[RuleRow]:
    return await database.read(list_rules)


async def test_add_and_remove(desk: Commander, database: Database) -> None:
    answer = await desk.ask(
        ADD,
        {"number": "030 900901", "did": "+49301", "reason": "<b>nuisance\u2028", "treatment": "busy"},
        UserProperty=[("client", "front desk")],
    )
    (rule,) = await rules(database)
    assert answer == {"ok": True, "rule": rule.id, "kind": "exact", "pattern": "+4930900901"}
    assert (rule.did, rule.reason, rule.treatment) == ("+49301", "<b>nuisance\u2028", "busy")
    assert rule.created_by == "mqtt:front desk"
    answer = await desk.ask(REMOVE, {"number": "+49 30 900901"})
    assert answer == {"ok": True, "removed": 1, "kind": "exact", "pattern": "+4930900901"}
    assert await rules(database) == []
    assert (await desk.ask(REMOVE, {"number": "+49 30 900901"}))["removed"] == 0


async def test_kinds(desk: Commander, database: Database) -> None:
    for command in (
        {"pattern": "+49190", "kind": "prefix", "expires": "12h"},
        {"pattern": "RU", "kind": "country"},
        {"kind": "anonymous", "allow": True},
    ):
        assert (await desk.ask(ADD, command))["ok"], command
    found = await rules(database)
    assert [(rule.kind, rule.pattern, rule.allow) for rule in found] == [
        ("prefix", "+49190", False),
        ("country", "RU", False),
        ("anonymous", "", True),
    ]
    assert found[0].expires_at > 0
    assert {rule.created_by for rule in found} == {"mqtt"}


@pytest.mark.parametrize(
    ("topic", "command", "why"),
    [
        (ADD, b"not JSON", "Invalid JSON"),
        (ADD, b"\xff\x00", "Invalid JSON"),
        (ADD, b"", "Invalid JSON"),
        (ADD, [1], "command"),
        (ADD, {}, "number or pattern is missing"),
        (ADD, {"number": "hello"}, "is not a telephone number"),
        (ADD, {"number": 4930900901}, "number"),
        (ADD, {"number": "+4930900901", "treatment": "explode"}, "is no treatment"),
        (ADD, {"number": "+4930900901", "expires": "yesterday"}, "is no time"),
        (ADD, {"number": "+4930900901", "pattern": "x"}, "not both"),
        (ADD, {"pattern": "x", "kind": "telepathy"}, "kind"),
        (ADD, {"number": "+4930900901", "who": "admin"}, "who"),
        (ADD, {"number": "+4930900901", "reason": "x" * 5000}, "4096 bytes"),
        (ADD, b'{"number": "+4930900901", "reason": "\\ud800"}', "Invalid JSON"),
        (REMOVE, {"number": "+4930900901", "reason": "x"}, "reason"),
        ("ostiary/command/blacklist/burn", {"number": "+4930900901"}, "no such command"),
    ],
)
async def test_what_cannot_be_done(
    desk: Commander, database: Database, topic: str, command: object, why: str
) -> None:
    with structlog.testing.capture_logs() as lines:
        answer = await desk.ask(topic, command)
        await until(lambda: lines)
    assert answer["ok"] is False
    assert why in answer["error"]
    assert await rules(database) == []
    assert [line["log_level"] for line in lines] == ["warning"]


async def test_a_fault_of_ours_ends_nothing(
    desk: Commander, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret")

    with monkeypatch.context() as patch:
        patch.setattr(commands, "add_rule", fail)
        assert "secret" not in (await desk.ask(ADD, {"number": "+4930900901"}))["error"]
    assert (await desk.ask(ADD, {"number": "+4930900901"}))["ok"]
    assert len(await rules(database)) == 1


async def test_off_unless_asked_for(
    broker: Broker, publishing: Publishing, database: Database, value: Value
) -> None:
    await broker.start()
    async with publishing(broker.port), commanding(broker) as commander:
        await until(lambda: value("ostiary_mqtt_up") == 1)
        await commander.send(ADD, {"number": "+4930900901"})
    assert "ostiary/command" not in broker.log
    assert await rules(database) == []


async def test_switched_off_again(
    broker: Broker, publishing: Publishing, database: Database, value: Value
) -> None:
    """What the broker keeps for us from the time when commands were on is not done."""
    await broker.start()
    async with publishing(broker.port, commands=True):
        await until(lambda: "ostiary/command" in broker.log)
    async with commanding(broker) as commander:
        await commander.send(ADD, {"number": "+4930900901"})
        async with publishing(broker.port):
            await until(lambda: value("ostiary_mqtt_up") == 1)
            await commander.send(ADD, {"number": "+4930900902"})
    assert await rules(database) == []


async def test_commands_wait_while_we_are_away(broker: Broker, publishing: Publishing) -> None:
    await broker.start()
    async with publishing(broker.port, commands=True):
        await until(lambda: "ostiary/command" in broker.log)
    async with commanding(broker) as commander:
        await commander.send(ADD, {"number": "+4930900901"})
        async with publishing(broker.port, commands=True):
            assert (await commander.ask(REMOVE, {"number": "+4930900901"}))["removed"] == 1


async def test_a_retained_command_is_none(broker: Broker, publishing: Publishing, database: Database) -> None:
    await broker.start()
    async with commanding(broker) as commander:
        await commander.send(ADD, {"number": "+4930900901"}, retain=True)
        async with publishing(broker.port, commands=True):
            await until(lambda: "ostiary/command" in broker.log)
            assert (await commander.ask(REMOVE, {"number": "+4930900901"}))["removed"] == 0
    assert await rules(database) == []


@pytest.mark.parametrize("topic", ["ostiary/status", "ostiary/command/blacklist/add", "ostiary", "a/#", ""])
async def test_where_no_answer_goes(desk: Commander, broker: Broker, database: Database, topic: str) -> None:
    async with client(broker.port) as other:
        await other.subscribe("ostiary/status", qos=1)
        status = Subscriber(other)
        assert (await status.next()).payload == b"online"
        options = {"properties": properties(ResponseTopic=topic)} if topic else {}
        if "#" not in topic:  # the broker takes none with a wildcard
            await desk.send(ADD, {"number": "+4930900901"}, **options)
        await desk.ask(ADD, {"number": "+4930900902"})
        await other.publish("ostiary/status", b"mine", qos=1)
        assert (await status.next()).payload == b"mine"
    assert len(await rules(database)) == (1 if "#" in topic else 2)


async def test_an_answer_below_our_prefix(desk: Commander, broker: Broker) -> None:
    async with client(broker.port) as other:
        await other.subscribe("ostiary/answer/#", qos=1)
        asked = properties(ResponseTopic="ostiary/answer/desk")
        await desk.send(ADD, {"number": "+4930900901"}, properties=asked)
        assert orjson.loads((await Subscriber(other).next()).payload)["ok"] is True


async def test_a_flood_is_bounded(desk: Commander, database: Database) -> None:
    with structlog.testing.capture_logs() as lines:
        await asyncio.gather(*(desk.send(ADD, b"garbage") for _ in range(3 * mqtt_broker.MOST_WAITING)))
        await until(lambda: lines)
        answer = None
        while answer is None:  # what comes while the inbox is full is lost: ask again
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    answer = await desk.ask(ADD, {"number": "+4930900901"})
        assert answer["ok"]
    assert len(lines) <= 2
    assert len(await rules(database)) == 1
