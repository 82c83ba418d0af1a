"""The programs in docs/events.md do what the page says of them."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agi_server.events.event import EventType
from agi_server.events.hub import Hub
from storage.blacklist import list_rules
from storage.database import Database
from tests.events.conftest import PATIENCE, Broker, Publishing, until
from tests.events.test_schemas import DOCS


def programs() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@asynccontextmanager
async def running(program: str, *arguments: str) -> AsyncIterator[asyncio.StreamReader]:
    """Run a program; what it prints can be read."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            yield process.stdout
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_the_subscriber(broker: Broker, hub: Hub, publishing: Publishing) -> None:
    program, _ = programs()
    await broker.start()
    async with publishing(broker.port), running(program, "127.0.0.1", str(broker.port)) as printed:
        assert await printed.readline() == b"listening\n"
        data = {"display_name": "Ana\u2028\x1b[2J", "number": "+493023125010"}
        hub.publish(EventType.SCREEN_POP, data, extension="101")
        assert await printed.readline() == b"calling: 'Ana\\u2028\\x1b[2J' +493023125010\n"


async def test_the_command(broker: Broker, publishing: Publishing, database: Database) -> None:
    _, program = programs()
    broker.more += "log_type subscribe\n"
    await broker.start()
    async with publishing(broker.port, commands=True):
        await until(lambda: "ostiary/command" in broker.log)
        async with running(program, "127.0.0.1", str(broker.port), "030 900901") as printed:
            answer = await printed.readline()
    assert answer == b'{"ok":true,"rule":1,"kind":"exact","pattern":"+4930900901"}\n'
    (rule,) = await database.read(list_rules)
    assert (rule.created_by, rule.reason) == ("mqtt:front desk", "nuisance")
