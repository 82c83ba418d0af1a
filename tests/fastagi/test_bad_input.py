"""Peers that do what no PBX does, over real sockets: none crashes or holds the server, and others are served."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agi_server.fastagi.client import environment
from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer
from tests.fastagi.peer import BLOCK, LONG, Peer, Running, serving


@pytest.fixture(autouse=True)
def _no_traceback(caplog: pytest.LogCaptureFixture) -> object:
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG] == []


HALF = BLOCK[: len(BLOCK) // 2]
BUSY = 0.7  # s
NO_PBX = [
    (HALF, "protocol"),
    (b"agi_network: yes\nagi_netw", "protocol"),
    (b"\n\n", "protocol"),
    (b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", "protocol"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), "protocol"),
    (bytes(range(256)) * 2, "protocol"),
    (b"", "probe"),
]


@pytest.mark.parametrize(("data", "kind"), NO_PBX)
async def test_no_whole_block_then_close(data: bytes, kind: str) -> None:
    async with serving() as running:
        peer = await running.connect()
        peer.send(data)
        peer.writer.write_eof()
        assert await peer.rest() == b""
        await peer.close()
        await running.recorder.all_closed()
        assert running.recorder.kinds == {kind: 1}
        await running.still_answers()


@pytest.mark.parametrize("data", [b"", b"agi", HALF, BLOCK])
async def test_a_reset_connection(data: bytes) -> None:
    async with serving() as running:
        peer = await running.connect()
        peer.send(data)
        if data == BLOCK:
            await peer.line()
        else:
            await running.recorder.until(lambda: running.recorder.opens == 1)
        peer.reset()
        await running.recorder.all_closed()
        assert running.recorder.kinds["deadline"] == 0
        await running.still_answers()


ENDLESS = [
    (b"agi_x: y\n", "lines"),
    (b"x", "line of"),
    (b"\0" * 1000, "line of"),
    (b"agi_x: " + b"y" * 900 + b"\n", "bytes"),
]


@pytest.mark.parametrize(("piece", "what"), ENDLESS)
async def test_an_endless_block(piece: bytes, what: str) -> None:
    async with serving(environment_deadline=60, deadline=60) as running:
        peer = await running.connect()
        async with asyncio.timeout(LONG):
            with contextlib.suppress(ConnectionError):
                while not peer.writer.is_closing():
                    peer.send(piece * max(1, 2000 // len(piece)))
                    await peer.writer.drain()
                    await asyncio.sleep(0)
        await peer.close()
        await running.recorder.all_closed()
        ((kind, detail),) = running.recorder.failures
        assert kind == "protocol"
        assert what in detail
        await running.still_answers()


async def test_endless_lines_in_place_of_a_reply() -> None:
    async with serving(deadline=60, reply_deadline=60) as running:
        peer = await running.connect()
        peer.send(BLOCK)
        await peer.rest()
        async with asyncio.timeout(LONG):
            with contextlib.suppress(ConnectionError):
                while not peer.writer.is_closing():
                    peer.send(b"no reply\n" * 200)
                    await peer.writer.drain()
                    await asyncio.sleep(0)
        await peer.close()
        await running.recorder.all_closed()
        assert running.recorder.kinds == {"protocol": 1}


ANSWERED = [
    ("wrong order", b"\n".join(reversed(BLOCK.rstrip(b"\n").split(b"\n"))) + b"\n\n", "+4930123456"),
    ("only what is needed", b"agi_network_script: incoming\nagi_callerid: 1\n\n", "1"),
    ("CR LF", BLOCK.replace(b"\n", b"\r\n"), "+4930123456"),
    ("duplicates", BLOCK[:-1] + b"agi_callerid: 2\nagi_network_script: other\n\n", "+4930123456"),
    ("colons", environment("incoming", number="sip:1@host:5060"), "sip:1@host:5060"),
    ("undecodable", environment("incoming", number="\udcff1"), "�1"),
    ("NUL and controls", environment("incoming", number="1\0\x1b[31m2"), "1[31m2"),
    ("empty lines behind", BLOCK + b"\n\n", "+4930123456"),
]


@pytest.mark.parametrize(
    ("data", "number"), [case[1:] for case in ANSWERED], ids=[case[0] for case in ANSWERED]
)
async def test_odd_blocks_that_are_answered(data: bytes, number: str) -> None:
    def script(request: AgiRequest) -> Answer:
        return Answer({"NUMBER": request.get("number", "callerid")})

    async with serving({"incoming": script}) as running:
        peer = await running.connect()
        peer.send(data)
        commands = (await peer.rest()).decode().replace("\\", "")
        assert commands == f'EXEC MSet "NUMBER={number}"\n'
        peer.send(b"200 result=0\n")
        await peer.close()
        await running.recorder.all_closed()
        assert running.recorder.failures == []


INJECTED = [
    "1\nagi_network_script: other?number=2",
    "1\n\n200 result=-1\nHANGUP",
    "1\n\nagi_network_script: other",
    "1\r\n\r\n510 Invalid or unknown command",
    "1\n\n520-Invalid command syntax.",
]


@pytest.mark.parametrize("number", INJECTED)
async def test_lines_that_a_caller_puts_into_the_block(number: str) -> None:
    """Forged lines change neither the script nor what we make of the PBX's replies."""
    requests: list[AgiRequest] = []

    def script(request: AgiRequest) -> Answer:
        requests.append(request)
        return Answer({"OSTIARY_ACTION": "allow"}, verbose=("one",))

    async with serving({"incoming": script}) as running:
        outcome = await running.ask(number=number, did="4930555000")
        assert outcome.variables == {"OSTIARY_ACTION": "allow"}
        await running.recorder.all_closed()
        assert running.recorder.failures == []
    assert requests[0].script == "incoming"
    assert requests[0].get("number", "callerid") == "1"


async def closed_in_time(peer: Peer, running: Running, limit: float) -> bytes:
    """Wait for the close, which must come within `limit` seconds, but for what a busy machine adds."""
    began = time.monotonic()
    received = await peer.rest()
    assert time.monotonic() - began < limit + BUSY
    await peer.close()
    await running.recorder.all_closed()
    return received


@pytest.mark.parametrize("data", [b"", b"agi_netw", HALF, BLOCK[:-1]])
async def test_silence_inside_the_block(data: bytes) -> None:
    async with serving(environment_deadline=0.2, deadline=LONG) as running:
        peer = await running.connect()
        peer.send(data)
        assert await closed_in_time(peer, running, 0.2) == b""
        ((kind, detail),) = running.recorder.failures
        assert kind == "deadline"
        assert re.fullmatch(r"no whole environment block after 0\.\d\d s", detail)
        await running.still_answers()


async def test_no_reply() -> None:
    async with serving(reply_deadline=0.2, deadline=LONG) as running:
        peer = await running.connect()
        peer.send(BLOCK)
        await peer.rest()
        async with asyncio.timeout(0.2 + BUSY):
            await running.recorder.all_closed()
        assert running.recorder.kinds == {"deadline": 1}
        assert "no reply to a command of script 'incoming' after 0." in running.recorder.failures[0][1]
        await peer.close()


async def test_a_reply_but_no_close_is_no_failure() -> None:
    async with serving(reply_deadline=0.2, deadline=LONG) as running:
        peer = await running.connect()
        peer.send(BLOCK)
        await peer.rest()
        peer.send(b"200 result=0\n")
        async with asyncio.timeout(0.2 + BUSY):
            await running.recorder.all_closed()
        assert running.recorder.failures == []
        await peer.close()


async def test_a_peer_that_never_reads() -> None:
    def script(_: AgiRequest) -> Answer:
        return Answer({}, verbose=("x" * 2000,) * 50)

    async with serving({"incoming": script}, deadline=0.3, reply_deadline=LONG) as running:
        unread = socket.socket()
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        unread.setblocking(False)
        with unread:
            await asyncio.get_running_loop().sock_connect(unread, running.address)
            await asyncio.get_running_loop().sock_sendall(unread, BLOCK + b"\n" + b"200 result=1\n" * 5)
            async with asyncio.timeout(0.3 + BUSY):
                await running.recorder.until(lambda: running.recorder.closes == 1)
        assert running.recorder.kinds == {"deadline": 1}


async def test_slow_replies_do_not_stretch_the_deadline() -> None:
    def script(_: AgiRequest) -> Answer:
        return Answer({"OSTIARY_ACTION": "allow"}, verbose=("x",) * 1000)

    async with serving({"incoming": script}, deadline=0.3, reply_deadline=0.2) as running:
        peer = await running.connect()
        began = time.monotonic()
        peer.send(BLOCK)
        async with asyncio.timeout(LONG):
            with contextlib.suppress(ConnectionError):
                while await peer.reader.readline():
                    await asyncio.sleep(0.01)
                    peer.send(b"200 result=1\n")
        assert time.monotonic() - began < 0.3 + BUSY
        await peer.close()
        await running.recorder.all_closed()
        assert running.recorder.kinds == {"deadline": 1}


async def test_a_script_that_never_ends() -> None:
    ended = asyncio.Event()

    async def script(_: AgiRequest) -> Answer:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    async with serving({"incoming": script}, deadline=0.2) as running:
        peer = await running.connect()
        peer.send(BLOCK)
        assert await closed_in_time(peer, running, 0.2) == b""
        assert ended.is_set()
        assert running.recorder.kinds == {"deadline": 1}
        assert "no answer of script 'incoming' after 0." in running.recorder.failures[0][1]


async def test_slow_loris() -> None:
    """Many peers that send a byte now and then are let go in time; meanwhile others are served."""
    async with serving(environment_deadline=2, connections_per_peer=100) as running:
        crowd = [await running.connect() for _ in range(100)]

        async def trickle(peer: Peer) -> None:
            with contextlib.suppress(ConnectionError):
                for byte in BLOCK:
                    peer.send(bytes([byte]))
                    await asyncio.sleep(0.02)
            await peer.close()

        trickling = [asyncio.create_task(trickle(peer)) for peer in crowd]
        served = 0
        while running.recorder.kinds["deadline"] < 100:
            await running.still_answers(source="127.0.0.2")
            served += 1
        assert served > 20
        for task in trickling:
            task.cancel()
        await asyncio.gather(*trickling, return_exceptions=True)
        for peer in crowd:
            await peer.close()
        assert running.recorder.kinds == {"deadline": 100}


async def test_thousands_of_connections_from_one_peer() -> None:
    async with serving() as running:
        crowd: list[Peer] = []
        try:
            for number in range(3000):
                with contextlib.suppress(ConnectionError):
                    crowd.append(await running.connect())
                if number % 100 == 0:
                    began = time.monotonic()
                    await running.still_answers(source="127.0.0.2")
                    assert time.monotonic() - began < 30
        finally:
            for peer in crowd:
                peer.writer.transport.abort()
        await running.recorder.all_closed()
        assert running.recorder.kinds["full"] > 1000


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from([BLOCK, HALF, b"\n\n", b"200 result=1\n", b"HANGUP\n", b"x" * 5000]),
        ),
        max_size=12,
    ),
    ending=st.sampled_from(["close", "half-close", "reset", "wait"]),
)
async def test_any_bytes(pieces: list[bytes], ending: str) -> None:
    async with serving(deadline=0.1, environment_deadline=0.1, reply_deadline=0.1) as running:
        peer = await running.connect()
        for piece in pieces:
            peer.send(piece)
            await asyncio.sleep(0)
        match ending:
            case "half-close":
                with contextlib.suppress(OSError, RuntimeError):
                    peer.writer.write_eof()
                await peer.rest()
            case "reset":
                with contextlib.suppress(OSError):
                    peer.reset()
            case "wait":
                await peer.rest()
        await peer.close()
        await running.recorder.all_closed()
        await running.still_answers()
