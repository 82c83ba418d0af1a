from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path

import pytest

from agi_server.fastagi.client import ask
from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer, FastAgiServer
from agi_server.fastagi.sockets import bind
from agi_server.settings import FastAgi
from tests.fastagi.peer import BLOCK, Recorder, Running, incoming, serving


class Held:
    """A script that answers when it is told to."""

    def __init__(self) -> None:
        self.at_work = asyncio.Event()
        self.go_on = asyncio.Event()
        self.cancelled = False

    async def __call__(self, request: AgiRequest) -> Answer:
        self.at_work.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return incoming(request)


async def closed_to_new_calls(running: Running) -> None:
    while running.server._listeners:  # nothing tells when
        await asyncio.sleep(0)


async def test_drain_finishes_the_call_in_hand() -> None:
    held = Held()
    async with serving({"incoming": held}) as running:
        call = asyncio.create_task(running.ask())
        await held.at_work.wait()
        drain = asyncio.create_task(running.server.drain(5))
        await closed_to_new_calls(running)
        with pytest.raises(ConnectionRefusedError):
            await running.ask()
        assert not drain.done()
        held.go_on.set()
        assert (await call).variables["OSTIARY_ACTION"] == "allow"
        assert await drain == 0
        assert running.recorder.failures == []


async def test_drain_cuts_a_stuck_call() -> None:
    held = Held()
    async with serving({"incoming": held}, deadline=30) as running:
        call = asyncio.create_task(running.ask())
        await held.at_work.wait()
        began = time.monotonic()
        assert await running.server.drain(0.1) == 1
        assert 0.09 < time.monotonic() - began < 25
        assert (await call).variables == {}
        assert held.cancelled
        assert running.recorder.opens == running.recorder.closes == 1


async def test_a_script_that_will_not_be_cancelled_does_not_hold_up_the_end() -> None:
    over = asyncio.Event()

    async def stubborn(_: AgiRequest) -> Answer:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue
        return Answer({})

    async with serving({"incoming": stubborn}, deadline=30) as running:
        peer = await running.connect()
        peer.send(BLOCK)
        await running.recorder.until(lambda: running.recorder.opens == 1)
        async with asyncio.timeout(3):
            await running.server.drain(0.05)
        over.set()
        await running.recorder.all_closed()
        await peer.close()


async def test_drain_waits_for_a_block_that_is_on_its_way() -> None:
    async with serving() as running:
        peer = await running.connect()
        peer.send(BLOCK[:100])
        await running.recorder.until(lambda: running.recorder.opens == 1)
        drain = asyncio.create_task(running.server.drain(5))
        await closed_to_new_calls(running)
        peer.send(BLOCK[100:])
        assert b"OSTIARY_ACTION=allow" in await peer.rest()
        peer.send(b"200 result=0\nHANGUP\n")
        await peer.close()
        assert await drain == 0


async def test_a_restart_on_an_inherited_socket_loses_no_call() -> None:
    """Two servers take turns on one listening socket, as processes under a service manager do."""
    settings = FastAgi.model_validate({"backlog": 128})
    recorder = Recorder()
    with bind("127.0.0.1:0", 128) as listening:
        host, port = address = listening.getsockname()

        async def start() -> FastAgiServer:
            server = FastAgiServer({"incoming": incoming}, settings, recorder)
            await server.start([socket.socket(fileno=os.dup(listening.fileno()))])
            assert server.addresses == (address,)
            return server

        answered = 0
        stop = asyncio.Event()

        async def keep_asking() -> None:
            nonlocal answered
            while not stop.is_set():
                assert (await ask(host, port, "incoming")).variables["OSTIARY_ACTION"] == "allow"
                answered += 1

        server = await start()
        callers = [asyncio.create_task(keep_asking()) for _ in range(8)]
        for restart in range(10):
            before = answered
            while answered < before + 20:
                await asyncio.sleep(0)
                assert not any(caller.done() for caller in callers)
            if restart % 2:
                assert await server.drain(5) == 0  # callers wait in the backlog meanwhile
                server = await start()
            else:
                successor = await start()
                assert await server.drain(5) == 0
                server = successor
        stop.set()
        await asyncio.gather(*callers)
        assert await server.drain(5) == 0
        assert recorder.failures == []
        assert recorder.opens == recorder.closes == len(recorder.answers) == answered


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_thousand_calls_leave_no_descriptor_behind() -> None:
    async with serving() as running:
        await running.still_answers()
        await running.recorder.all_closed()
        before = open_descriptors()
        for _ in range(20):
            await asyncio.gather(*(running.ask() for _ in range(40)))
            peers = [await running.connect() for _ in range(10)]
            for peer in peers[:5]:
                peer.send(BLOCK[:200])
                peer.reset()
            for peer in peers[5:]:
                await peer.close()
        await running.recorder.all_closed()
        assert running.recorder.opens == 1001
        assert open_descriptors() == before


async def test_no_timer_runs_while_nobody_calls() -> None:
    async with serving(deadline=0.1, environment_deadline=0.1, reply_deadline=0.1) as running:
        await running.still_answers()
        await running.recorder.all_closed()
        async with asyncio.timeout(5):
            while running.server._timer is not None:  # nothing tells when
                await asyncio.sleep(0.005)
