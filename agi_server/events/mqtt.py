"""Publishes every event at an MQTT broker (MQTT 5), for as long as the process lives.

Invariant: an event is forgotten when the broker has confirmed it, when there is no more room (the oldest gives way),
when it is too old for anyone to care, or when no broker could ever take it; all but the first are counted. After a
break what was not confirmed is sent again, in order: at least once, and the id in the payload tells doubles. Nothing
here waits for the broker on anyone else's time, and no failure ends it.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

import orjson
import structlog
from aiomqtt import MqttError, Will
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agi_server.errors import SettingsError
from agi_server.events import broker, commands, topics
from agi_server.events.event import Event, EventType
from agi_server.events.hub import Hub, Subscription
from agi_server.settings import Settings

if TYPE_CHECKING:
    from agi_server.web.counts import Counts
    from storage.database import Database

log = structlog.get_logger()

FIRST_PAUSE: Final = 1.0  # seconds until the first new try; each further pause is twice as long,
LONGEST_PAUSE: Final = 60.0  # up to this
LAST_WORDS: Final = 2.0  # seconds to sign off
SESSION_SECONDS: Final = 3600  # for which the broker keeps commands while we are away
WINDOW: Final = broker.IN_FLIGHT - 2  # events under way; the rest is for the status and a command's answer
MOST_BYTES: Final = 128 * 1024  # of an event: what brokers take at least

_MOMENT: Final = 60  # seconds for which it matters who is calling
_DAY: Final = 86_400
_LIVES: Final = {
    EventType.RINGING: _MOMENT,
    EventType.ANSWERED: _MOMENT,
    EventType.SCREEN_POP: _MOMENT,
    EventType.PROGRESS: _MOMENT,
}


async def publish(settings: Settings, hub: Hub, counts: Counts, *, database: Database) -> None:
    """Publish what passes the hub at `mqtt.url`, which is not empty; never returns and never raises."""
    publisher = _Publisher(settings, counts, database)
    dropped = counts.dropped.labels("mqtt").inc
    with hub.listen(settings.mqtt.queue, on_drop=dropped) as queue:
        await publisher.run(queue)


class _Publisher:
    def __init__(self, settings: Settings, counts: Counts, database: Database) -> None:
        self._settings = settings
        self._prefix = settings.mqtt.prefix
        self._counts = counts
        self._database = database
        self._unconfirmed: dict[int, Event] = {}  # taken from the queue, in order
        self._states: dict[EventType, Event] = {}  # the last of each: a broker may have lost what it retained
        self._failures: set[str] = set()  # that were logged since it last worked
        self._unfit: set[EventType] = set()  # of which one that cannot be published was logged
        self._refusals: set[str] = set()

    async def run(self, queue: Subscription) -> None:
        pause = FIRST_PAUSE
        while True:
            started = time.monotonic()
            try:
                await self._connected(queue)
            except Exception as error:  # whatever it is, the next try may work
                if _is_to_end():
                    raise asyncio.CancelledError from error
                self._failed(error)
            finally:
                self._counts.mqtt_up.set(0)
            if time.monotonic() - started > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # so that not all come at once
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _connected(self, queue: Subscription) -> None:
        """Publish until the connection breaks, which raises."""
        status = topics.status_topic(self._prefix)
        client = await broker.connection(
            self._settings,
            will=Will(status, topics.OFFLINE, qos=1, retain=True),
            answer_seconds=broker.ANSWER_SECONDS,
            session_seconds=SESSION_SECONDS if self._settings.mqtt.commands else 0,
        )
        async with client:
            await client.publish(status, topics.ONLINE, qos=1, retain=True)
            self._up()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._listen(client))
                    await self._send_all(client, queue, group)
            except asyncio.CancelledError:
                await _sign_off(client, status)
                raise

    async def _listen(self, client: broker.Connection) -> None:
        """Do what comes in; raises when the connection breaks."""
        if self._settings.mqtt.commands:
            await commands.serve(client, self._settings, self._database)
        async for _ in client.messages:
            pass

    async def _send_all(
        self, client: broker.Connection, queue: Subscription, group: asyncio.TaskGroup
    ) -> None:
        window = asyncio.Semaphore(WINDOW)
        again = {event.id: event for event in self._states.values()} | self._unconfirmed
        self._unconfirmed = dict(sorted(again.items()))
        for event in list(self._unconfirmed.values()):
            await window.acquire()
            group.create_task(self._send(client, event, window))
        while True:
            await window.acquire()
            event = await queue.next()
            self._unconfirmed[event.id] = event
            if event.type in topics.STATES:
                self._states[event.type] = event
            group.create_task(self._send(client, event, window))

    async def _send(self, client: broker.Connection, event: Event, window: asyncio.Semaphore) -> None:
        """Send one event and wait until it is confirmed; raises MqttError when it is not."""
        outcome = self._counts.dropped.labels("mqtt")
        left = _life(event) - (time.time() - event.at)
        if left > 0:
            try:
                await client.publish(
                    topics.topic_of(self._prefix, event),
                    _payload(event),
                    qos=1,
                    retain=event.type in topics.STATES,
                    properties=_properties(event, left),
                )
            except (ValueError, TypeError) as error:  # neither a topic nor a text that MQTT could carry
                self._cannot(event, error)
            else:
                if client.refused:
                    client.refused -= 1
                    self._refused(client.refusal)
                else:
                    outcome = self._counts.published
        outcome.inc()
        del self._unconfirmed[event.id]
        window.release()

    def _up(self) -> None:
        self._counts.mqtt_up.set(1)
        host, port = broker.where(self._settings)
        log.info("MQTT: signed in", broker=f"{host}:{port}")
        self._failures.clear()

    def _failed(self, error: BaseException) -> None:
        """Log a failure, each kind once until it works again."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        reason = str(error) or type(error).__name__
        if reason not in self._failures:
            self._failures.add(reason)
            host, port = broker.where(self._settings)
            known = isinstance(error, MqttError | OSError | SettingsError)
            log.warning(
                "MQTT: the broker is away; events wait for it",
                broker=f"{host}:{port}",
                error=reason,
                exc_info=None if known else error,
            )

    def _cannot(self, event: Event, error: Exception) -> None:
        if event.type not in self._unfit:
            self._unfit.add(event.type)
            log.error("MQTT: an event cannot be published", type=event.type.value, error=str(error))

    def _refused(self, why: str) -> None:
        if why not in self._refusals:
            self._refusals.add(why)
            log.warning(
                "MQTT: the broker refuses an event", error=why, hint=f"may its user write {self._prefix}/#?"
            )


def _is_to_end() -> bool:
    """Return whether this task was cancelled: wait_for of Python 3.11 lets an answer of that moment go before."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _sign_off(client: broker.Connection, status: str) -> None:
    """Say that we leave; the broker has what was sent before when it confirms this."""
    try:
        await client.publish(status, topics.OFFLINE, qos=1, retain=True, timeout=LAST_WORDS)
    except MqttError as error:
        log.info("MQTT: left without a word", error=str(error))


def _life(event: Event) -> float:
    """Return for how many seconds an event is of use: nobody wants yesterday's caller on the screen."""
    return float("inf") if event.type in topics.STATES else _LIVES.get(event.type, _DAY)


def _payload(event: Event) -> bytes:
    payload = orjson.dumps(event.document())
    if len(payload) > MOST_BYTES:
        raise ValueError(f"it has {len(payload)} bytes, more than {MOST_BYTES}")
    return payload


def _properties(event: Event, left: float) -> Properties:
    expiry = {} if event.type in topics.STATES else {"MessageExpiryInterval": max(1, int(left))}
    return broker.properties(
        PacketTypes.PUBLISH,
        ContentType="application/json",
        PayloadFormatIndicator=1,  # UTF-8
        **expiry,
    )
