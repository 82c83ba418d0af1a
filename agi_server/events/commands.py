"""Commands by MQTT: add a rule, remove rules. Only where `mqtt.commands` is on.

Invariant: whatever comes is answered or dropped, and never ends the connection; one command at a time, at most
1 / PAUSE a second, so that a flood leaves the database to those who call. The broker keeps out who may not command:
who that was is what the sender says of itself, and stands in the audit log as `mqtt:<that>`.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any, Final

import orjson
import structlog
from aiomqtt import Message
from paho.mqtt import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.subscribeoptions import SubscribeOptions
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.directory import Rule, RuleKind
from agi_server.calls.hours import find_zone
from agi_server.calls.screening import check_rule
from agi_server.errors import ConflictError, InputError, OstiaryError
from agi_server.events import broker, topics
from agi_server.exchange.values import parse_treatment, parse_until
from agi_server.settings import Settings
from storage.blacklist import add_rule, remove_rule
from storage.database import Database
from storage.overrides import effective

log = structlog.get_logger()

PAUSE: Final = 0.02  # seconds between two commands at least
MOST_BYTES: Final = 4096  # of a command
ANSWER_LIFE: Final = 60  # seconds
LOG_SECONDS: Final = 10.0  # between two lines about what was not done, at least
_NO_RETAINED: Final = 2  # Retain Handling (MQTT 5.0, 3.8.3.1): an old command is not one of now


class Which(BaseModel):
    """A rule as people write it: a number, or a pattern of a kind (agi_server/calls/directory.py `Rule`)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    number: str = Field(default="", max_length=64)
    pattern: str = Field(default="", max_length=1000)
    kind: RuleKind = Field(default=RuleKind.EXACT, strict=False)

    @model_validator(mode="after")
    def _one_of_both(self) -> Which:
        if self.number and (self.pattern or self.kind is not RuleKind.EXACT):
            raise ValueError("write number, or pattern and kind, not both")
        if not (self.number or self.pattern or self.kind is RuleKind.ANONYMOUS):
            raise ValueError("number or pattern is missing")
        return self

    def checked(self, region: str) -> str:
        """Return the pattern as rules store it. Raises InputError."""
        return check_rule(self.kind, self.number or self.pattern, region)


class Add(Which):
    """`…/command/blacklist/add`: add a rule, or change the one with the same kind, pattern, DID and direction."""

    allow: bool = False
    did: str = Field(default="", max_length=64)
    treatment: str = Field(
        default="", max_length=200
    )  # as in hangup, redirect:8000; empty: as the settings say
    reason: str = Field(default="", max_length=500)
    expires: str = Field(default="", max_length=40)  # as in 2026-12-31, 12h; empty: never


class Remove(Which):
    """`…/command/blacklist/remove`: remove the rules with this kind and pattern; `did`, `allow` null: any."""

    did: str | None = Field(default=None, max_length=64)
    allow: bool | None = None


async def serve(client: broker.Connection, settings: Settings, database: Database) -> None:
    """Do what is commanded until the connection breaks, which raises MqttError."""
    topic = topics.command_topics(settings.mqtt.prefix)
    options = SubscribeOptions(qos=1, retainHandling=_NO_RETAINED)
    (granted,) = await client.subscribe(topic, options=options)
    if getattr(granted, "is_failure", False):
        log.error("MQTT: the broker does not let us take commands", topic=topic, error=str(granted))
    quiet_until, not_done = 0.0, 0
    async for message in client.messages:
        answer = await _answer(message, settings, database)
        await _reply(client, message, answer, settings.mqtt.prefix)
        not_done += client.unread + (0 if answer["ok"] else 1)
        client.unread = 0
        if not_done and time.monotonic() >= quiet_until:
            log.warning("MQTT: commands were not done", count=not_done, last=answer.get("error", ""))
            quiet_until, not_done = time.monotonic() + LOG_SECONDS, 0
        await asyncio.sleep(PAUSE)


async def _answer(message: Message, settings: Settings, database: Database) -> dict[str, Any]:
    """Do a command; return what to say of it."""
    try:
        return {"ok": True, **await _done(message, settings, database)}
    except ValidationError as error:
        return {"ok": False, "error": _mistakes(error)}
    except OstiaryError as error:
        return {"ok": False, "error": str(error)}
    except Exception as error:  # one command must not end the others
        log.exception("MQTT: a command failed", error=type(error).__name__)
        return {"ok": False, "error": "this is a fault of Ostiary's; its log says more"}


async def _done(message: Message, settings: Settings, database: Database) -> dict[str, Any]:
    if message.retain:
        raise ConflictError("a retained message is no command: publish it without the flag")
    if len(message.payload) > MOST_BYTES:
        raise InputError(f"a command has at most {MOST_BYTES} bytes")
    who = _who(message)
    settings = await database.read(partial(effective, settings=settings))
    match message.topic.value.rpartition("/")[2]:
        case "add":
            return await _add(Add.model_validate_json(message.payload), settings, database, who)
        case "remove":
            return await _remove(Remove.model_validate_json(message.payload), settings, database, who)
    raise InputError("there is no such command: add, remove")


async def _add(asked: Add, settings: Settings, database: Database, who: str) -> dict[str, Any]:
    now = time.time()
    treatment, target = parse_treatment(asked.treatment or settings.screening.default_treatment)
    zone = find_zone(settings.routing.timezone)
    rule = Rule(
        id=0,
        kind=asked.kind,
        pattern=asked.checked(settings.numbers.region),
        allow=asked.allow,
        did=asked.did,
        treatment=treatment,
        target=target,
        reason=asked.reason,
        expires_at=parse_until(asked.expires, now=now, zone=zone) if asked.expires else 0,
    )

    async def job(conn: AsyncConnection) -> int:
        return await add_rule(conn, rule, who=who, now=int(now))

    number = await database.write(job)
    return {"rule": number, "kind": rule.kind.value, "pattern": rule.pattern}


async def _remove(asked: Remove, settings: Settings, database: Database, who: str) -> dict[str, Any]:
    pattern = asked.checked(settings.numbers.region)

    async def job(conn: AsyncConnection) -> int:
        return await remove_rule(
            conn,
            kind=asked.kind,
            pattern=pattern,
            did=asked.did,
            allow=asked.allow,
            who=who,
            now=int(time.time()),
        )

    removed = await database.write(job)
    return {"removed": removed, "kind": asked.kind.value, "pattern": pattern}


async def _reply(client: broker.Connection, message: Message, answer: dict[str, Any], prefix: str) -> None:
    """Send the answer where the sender wants it (MQTT 5.0, 4.10), unless that would play a part of ours."""
    topic = getattr(message.properties, "ResponseTopic", "")
    if not topic or (
        f"{topic}/".startswith(f"{prefix}/") and not topic.startswith(topics.answers_topic(prefix))
    ):
        return
    values: dict[str, Any] = {"ContentType": "application/json", "MessageExpiryInterval": ANSWER_LIFE}
    correlation = getattr(message.properties, "CorrelationData", None)
    if correlation is not None:
        values["CorrelationData"] = correlation
    try:
        properties = broker.properties(PacketTypes.PUBLISH, **values)
        await client.publish(topic, orjson.dumps(answer), qos=1, properties=properties)
    except (ValueError, MQTTException) as error:  # e.g. a topic with a wildcard
        log.info("MQTT: a command's answer has nowhere to go", error=str(error))


def _who(message: Message) -> str:
    """Return who commands, as they call themselves in the user property `client`."""
    for name, value in getattr(message.properties, "UserProperty", ()):
        if name == "client":
            shown = "".join(char for char in value if char.isprintable())[:64]
            return f"mqtt:{shown}" if shown else "mqtt"
    return "mqtt"


def _mistakes(error: ValidationError) -> str:
    """Return where and what, without the value."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'command'}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False)[:5]
    )
