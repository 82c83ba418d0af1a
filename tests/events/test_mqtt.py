"""The publisher, against a real broker that comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiomqtt import MqttError, TLSParameters
from paho.mqtt.packettypes import PacketTypes

from agi_server.events import broker as mqtt_broker
from agi_server.events import mqtt
from agi_server.events.event import EventType
from agi_server.events.hub import Hub
from tests.events.authority import Authority, make_authority
from tests.events.conftest import (
    PATIENCE,
    Broker,
    Publishing,
    subscribed,
    until,
)

Value = Callable[..., float]
HOSTILE = "<script>alert('1')</script> \"q\" \u202eevil\u2028line\u0007\\ ñ 日本 \U0001f600 +/#"


def told(hub: Hub, *numbers: int) -> None:
    for number in numbers:
        hub.publish(EventType.ENDED, {"number": number})


async def test_events_arrive_in_order(broker: Broker, hub: Hub, publishing: Publishing, value: Value) -> None:
    await broker.start()
    async with subscribed(broker.port) as subscriber, publishing(broker.port):
        assert (await subscriber.next()).payload == b"online"
        told(hub, *range(300))
        assert [(await subscriber.event())["data"]["number"] for _ in range(300)] == list(range(300))
        await until(lambda: value("ostiary_mqtt_published_total") == 300)
    assert value("ostiary_events_dropped_total", to="mqtt") == 0


async def test_what_a_message_is_like(broker: Broker, hub: Hub, publishing: Publishing) -> None:
    await broker.start()
    async with subscribed(broker.port) as subscriber, publishing(broker.port):
        await subscriber.next()
        event = hub.publish(EventType.SCREEN_POP, {"name": HOSTILE}, extension="1/0#1")
        message = await subscriber.next()
    assert message.topic.value == "ostiary/agent/1%2F0%231/screen_pop"
    assert (message.qos, message.retain) == (1, False)
    assert isinstance(message.payload, bytes)
    assert message.properties is not None
    properties: Any = message.properties
    assert properties.ContentType == "application/json"
    assert properties.PayloadFormatIndicator == 1
    assert 55 <= properties.MessageExpiryInterval <= 60
    async with subscribed(broker.port) as late:  # it is not retained; the status is
        assert (await late.next()).topic.value == "ostiary/status"
    read = json.loads(message.payload)
    assert read == event.document()
    assert read["data"]["name"] == HOSTILE


async def test_the_broker_goes_and_comes_back(
    broker: Broker, hub: Hub, publishing: Publishing, tmp_path: Path, value: Value
) -> None:
    broker.more += f"persistence true\npersistence_location {tmp_path}/\n"
    session: dict[str, Any] = {"identifier": "crm", "clean_start": False, "properties": lasting()}
    await broker.start()
    async with publishing(broker.port):
        await until(lambda: value("ostiary_mqtt_up") == 1)
        async with subscribed(broker.port, **session) as subscriber:
            told(hub, *range(50))
            first = [(await subscriber.event())["data"]["number"] for _ in range(50)]
        told(hub, *range(50, 60))  # some of these are on their way
        broker.stop()
        await until(lambda: value("ostiary_mqtt_up") == 0)
        told(hub, *range(60, 200))
        seen: list[dict[str, Any]] = []
        await broker.start()
        async with subscribed(broker.port, **session) as subscriber:
            while not seen or seen[-1]["data"]["number"] != 199:
                seen.append(await subscriber.event())
        await until(lambda: value("ostiary_mqtt_up") == 1)
    assert first == list(range(50))
    numbers = list(dict.fromkeys(event["data"]["number"] for event in seen))
    assert numbers == list(range(numbers[0], 200))
    assert numbers[0] <= 60
    assert value("ostiary_events_dropped_total", to="mqtt") == 0


async def test_a_subscriber_with_a_session_misses_nothing(
    broker: Broker, hub: Hub, publishing: Publishing, tmp_path: Path
) -> None:
    """Stop and start in mid-run, with someone the broker remembers: all that was told arrives, in order."""
    broker.more += f"persistence true\npersistence_location {tmp_path}/\n"
    await broker.start()
    session: dict[str, Any] = {"identifier": "crm", "clean_start": False, "properties": lasting()}
    async with subscribed(broker.port, **session):
        pass
    async with publishing(broker.port):
        for start in range(0, 300, 20):
            told(hub, *range(start, start + 20))
            if start in {100, 200}:
                broker.stop()
                await asyncio.sleep(0)
                await broker.start()
        seen: list[int] = []
        async with subscribed(broker.port, **session) as subscriber:
            while not seen or seen[-1] != 299:
                seen.append((await subscriber.event())["data"]["number"])
    assert list(dict.fromkeys(seen)) == list(range(300))


def lasting() -> Any:
    return mqtt_broker.properties(PacketTypes.CONNECT, SessionExpiryInterval=600)


async def test_what_does_not_fit_is_counted(
    broker: Broker, hub: Hub, publishing: Publishing, value: Value
) -> None:
    async with publishing(broker.port, queue=10):
        await asyncio.sleep(0)
        told(hub, *range(25))
        assert value("ostiary_events_dropped_total", to="mqtt") == 15
        await broker.start()
        async with subscribed(broker.port, "ostiary/call/#") as subscriber:
            pass
        await until(lambda: value("ostiary_mqtt_published_total") == 10)
        told(hub, 25)
        await until(lambda: value("ostiary_mqtt_published_total") == 11)
    assert subscriber is not None


async def test_what_nobody_wants_any_more_is_counted(
    broker: Broker, hub: Hub, publishing: Publishing, value: Value, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller of a minute ago is no screen-pop; how a call ended is still worth knowing."""
    now = time.time()
    times = iter([now - 61, now - 30, now - 3600])
    monkeypatch.setattr(hub, "_clock", lambda: next(times))
    await broker.start()
    async with subscribed(broker.port) as subscriber, publishing(broker.port):
        await subscriber.next()
        hub.publish(EventType.SCREEN_POP, {"n": 1}, extension="101")
        hub.publish(EventType.SCREEN_POP, {"n": 2}, extension="101")
        hub.publish(EventType.ENDED, {"n": 3})
        assert [(await subscriber.event())["data"]["n"] for _ in range(2)] == [2, 3]
        assert value("ostiary_events_dropped_total", to="mqtt") == 1


async def test_state_topics_are_retained(
    broker: Broker, hub: Hub, publishing: Publishing, value: Value
) -> None:
    await broker.start()
    async with publishing(broker.port, prefix="a/b"):
        hub.publish(EventType.SYNC, {"up": 0})
        hub.publish(EventType.SYNC, {"up": 1})
        await until(lambda: value("ostiary_mqtt_published_total") == 2)
        async with subscribed(broker.port, "a/b/#") as late:
            messages = {m.topic.value: m for m in await late.take(2)}
            assert messages["a/b/status"].payload == b"online"
            assert b'"up":1' in messages["a/b/sync/state"].payload
            assert all(m.retain for m in messages.values())
        broker.stop()  # which forgets what it retained
        await broker.start()
        async with subscribed(broker.port, "a/b/sync/state") as late:
            assert b'"up":1' in (await late.next()).payload


async def test_signs_off(broker: Broker, publishing: Publishing, value: Value) -> None:
    await broker.start()
    async with subscribed(broker.port, "ostiary/status") as subscriber:
        async with publishing(broker.port):
            assert (await subscriber.next()).payload == b"online"
        assert value("ostiary_mqtt_up") == 0
        assert (await subscriber.next()).payload == b"offline"
    async with subscribed(broker.port, "ostiary/status") as late:
        assert (await late.next()).payload == b"offline"


PROCESS = """
    import asyncio, sys
    from pathlib import Path
    from agi_server.events import mqtt
    from agi_server.events.hub import Hub
    from agi_server.web.counts import Counts
    from tests.events.conftest import settings_for
    settings = settings_for(int(sys.argv[1]), Path(sys.argv[2]))
    asyncio.run(mqtt.publish(settings, Hub(), Counts(), database=None))
"""


def publisher(port: int, directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(PROCESS), str(port), str(directory)])


async def test_last_will(broker: Broker, tmp_path: Path) -> None:
    await broker.start()
    async with subscribed(broker.port, "ostiary/status") as subscriber:
        process = publisher(broker.port, tmp_path)
        try:
            assert (await subscriber.next()).payload == b"online"
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        message = await subscriber.next()
    assert (message.payload, message.topic.value) == (b"offline", "ostiary/status")


# --- who may ---


def with_users(broker: Broker, directory: Path) -> None:
    passwords = directory / "passwords"
    passwords.touch(mode=0o644)
    subprocess.run(["mosquitto_passwd", "-b", passwords, "ostiary", "p@ss:word"], check=True)
    broker.more = f"allow_anonymous false\npassword_file {passwords}\n"


async def test_user_and_password(
    broker: Broker, hub: Hub, publishing: Publishing, tmp_path: Path, value: Value
) -> None:
    with_users(broker, tmp_path)
    await broker.start()
    async with publishing(broker.port, user="ostiary:p%40ss%3Aword@"):
        told(hub, 1)
        await until(lambda: value("ostiary_mqtt_published_total") == 1)


async def test_a_wrong_password_is_logged_once(
    broker: Broker, hub: Hub, publishing: Publishing, tmp_path: Path
) -> None:
    with_users(broker, tmp_path)
    await broker.start()
    with structlog.testing.capture_logs() as lines:
        async with publishing(broker.port, user="ostiary:wr0ng@"):
            told(hub, 1)
            await until(lambda: broker.log.count("not authorised") >= 3)
    assert len(lines) == 1
    assert "Not authorized" in lines[0]["error"]
    assert "wr0ng" not in str(lines)


async def test_it_ends_though_a_refusal_comes_at_that_moment(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.Event()

    async def refuse(*_: object, **__: object) -> None:
        again = waiting.is_set()
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if again:
                raise
            raise MqttError("refused") from None

    monkeypatch.setattr(mqtt_broker, "connection", refuse)
    async with asyncio.timeout(PATIENCE) as deadline, publishing(1):
        await waiting.wait()
    assert not deadline.expired()


async def test_a_topic_we_may_not_write(
    broker: Broker, hub: Hub, publishing: Publishing, tmp_path: Path, value: Value
) -> None:
    (tmp_path / "acl").write_text("topic write ostiary/status\ntopic write ostiary/call/#\n")
    (tmp_path / "acl").chmod(0o644)
    broker.more += f"acl_file {tmp_path}/acl\n"
    await broker.start()
    with structlog.testing.capture_logs() as lines:
        async with publishing(broker.port):
            await until(lambda: value("ostiary_mqtt_up") == 1)
            hub.publish(EventType.DECISION, {})
            hub.publish(EventType.DECISION, {})
            told(hub, 1)
            await until(lambda: value("ostiary_mqtt_published_total") == 1)
            assert value("ostiary_events_dropped_total", to="mqtt") == 2
    refusals = [line for line in lines if line["log_level"] == "warning"]
    assert len(refusals) == 1
    assert "ostiary/#" in refusals[0]["hint"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path)


async def test_tls(broker: Broker, hub: Hub, publishing: Publishing, authority: Authority) -> None:
    broker.more += f"certfile {authority.certificate}\nkeyfile {authority.key}\n"
    await broker.start()
    tls = TLSParameters(ca_certs=str(authority.ca), cert_reqs=ssl.CERT_REQUIRED)
    async with (
        subscribed(broker.port, tls_params=tls) as subscriber,
        publishing(broker.port, scheme="mqtts", ca_file=authority.ca),
    ):
        assert (await subscriber.next()).payload == b"online"
        told(hub, 1)
        assert (await subscriber.event())["data"] == {"number": 1}


@pytest.mark.filterwarnings(
    "ignore:unclosed <ssl.SSLSocket:ResourceWarning"
)  # paho leaves it to the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_tls_of_an_authority_nobody_knows(
    broker: Broker, publishing: Publishing, authority: Authority
) -> None:
    broker.more += f"certfile {authority.certificate}\nkeyfile {authority.key}\n"
    await broker.start()
    with structlog.testing.capture_logs() as lines:
        async with publishing(broker.port, scheme="mqtts"):
            await until(lambda: lines)
    assert "certificate verify failed" in lines[0]["error"]


async def test_a_ca_file_that_is_none(publishing: Publishing, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        async with publishing(1, scheme="mqtts", ca_file=tmp_path / "gone.pem"):
            await until(lambda: lines)
            (tmp_path / "gone.pem").write_text("not a certificate")
            await until(lambda: len(lines) == 2)
    assert all("mqtt.ca_file" in line["error"] for line in lines)


# --- brokers that are none ---


@contextlib.asynccontextmanager
async def listening(handle: Callable[[bytes], bytes | None]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve a port: what comes is answered by `handle`, None ends the connection."""
    heard: list[bytes] = []
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            while data := await reader.read(65536):
                heard.append(data)
                answer = handle(data)
                if answer is None:
                    break
                writer.write(answer)
        except (OSError, asyncio.CancelledError):
            pass
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heard
    tasks = [task for task in serving if task is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks)


def packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each packet (MQTT 5.0, 2.1)."""
    while data:
        length, start, shift = 0, 1, 0
        while True:
            length |= (data[start] & 0x7F) << shift
            start, shift = start + 1, shift + 7
            if not data[start - 1] & 0x80:
                break
        yield data[0] >> 4, data[start : start + length]
        data = data[start + length :]


async def test_what_was_not_confirmed_is_sent_again(hub: Hub, publishing: Publishing, value: Value) -> None:
    """A broker that confirms two events, takes four more without a word, and breaks; then it confirms all."""
    seen: list[list[int]] = []

    def handle(data: bytes) -> bytes | None:
        answer = b""
        for kind, body in packets(data):
            if kind == 1:
                seen.append([])
                answer += CONNACK
            elif kind == 3:
                after_topic = 2 + int.from_bytes(body[:2])
                found = re.search(rb'"number":(\d+)', body)
                if found is not None:
                    seen[-1].append(int(found[1]))
                if len(seen) > 1 or found is None or int(found[1]) < 2:
                    answer += b"\x40\x02" + body[after_topic : after_topic + 2]
                elif len(seen[-1]) >= 6:
                    return None
        return answer

    async with listening(handle) as (port, _), publishing(port):
        told(hub, 0, 1)
        await until(lambda: value("ostiary_mqtt_published_total") == 2)
        told(hub, *range(2, 6))
        await until(lambda: len(seen) > 1 and value("ostiary_mqtt_up") == 1)
        told(hub, 6)
        await until(lambda: value("ostiary_mqtt_published_total") == 7)
    assert seen == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 6]]


CONNACK = bytes.fromhex("2003000000")


@pytest.mark.parametrize(
    ("handle", "error"),
    [
        (lambda _: b"", "timed out"),  # accepts, and never answers
        (lambda data: CONNACK if data[0] == 0x10 else b"", "timed out"),  # signs us in, and falls silent
        (lambda _: None, ""),
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", ""),
        (lambda _: bytes.fromhex("20020001"), ""),  # of MQTT 3.1.1: not in this version of the protocol
        (lambda _: b"\x20\xff\xff\xff\xff\xff\xff", ""),
        (lambda data: CONNACK + b"\x40\x02\x00\x09" if data[0] == 0x10 else b"\xff" * 99, ""),
    ],
    ids=["mute", "mute-after-sign-in", "closes", "http", "older", "garbage", "garbage-after-sign-in"],
)
async def test_brokers_that_are_none(  # noqa: PLR0917  # what pytest hands over
    handle: Callable[[bytes], bytes | None],
    error: str,
    hub: Hub,
    publishing: Publishing,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: Value,
) -> None:
    monkeypatch.setattr(mqtt_broker, "ANSWER_SECONDS", 0.3)
    async with listening(handle) as (port, heard):
        with structlog.testing.capture_logs() as lines:
            async with publishing(port, queue=5):
                told(hub, *range(8))
                await until(lambda: len([data for data in heard if data[0] == 0x10]) >= 3)
        assert [line["log_level"] for line in lines] == ["warning"] * len({line["error"] for line in lines})
        assert error in lines[0]["error"]
        assert value("ostiary_events_dropped_total", to="mqtt") == 3
        assert value("ostiary_mqtt_up") == 0
    gc.collect()  # asyncio complains of what nobody looked at when it goes
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_an_event_nobody_could_take_does_not_stop_the_others(
    broker: Broker, hub: Hub, publishing: Publishing, value: Value
) -> None:
    await broker.start()
    async with subscribed(broker.port) as subscriber, publishing(broker.port):
        await subscriber.next()
        hub.publish(EventType.DECISION, {"trace": "x" * mqtt.MOST_BYTES})
        hub.publish(EventType.DECISION, {"name": "\ud800"})  # no UTF-8 has it
        hub.publish(EventType.SCREEN_POP, {}, extension="9" * 70_000)
        told(hub, 1)
        assert (await subscriber.event())["data"] == {"number": 1}
        assert value("ostiary_events_dropped_total", to="mqtt") == 3


async def test_publishing_costs_nothing_without_a_broker(hub: Hub) -> None:
    with hub.listen(100) as queue:
        for number in range(10_000):
            hub.publish(EventType.ENDED, {"number": number})
        assert (len(queue), queue.dropped) == (100, 9_900)
