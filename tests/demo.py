"""`make demo`: a call from ringing to its Task in a stand-in of Salesforce, and then `ostiary demo`.

The stand-in is the one of the tests; what talks to it is Ostiary as it is.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from agi_server.app import serve
from agi_server.calls.directory import Agent
from agi_server.cli.context import console, database, print_table
from agi_server.cli.demo import demo
from agi_server.errors import OstiaryError
from agi_server.fastagi.client import ask
from agi_server.fastagi.server import FastAgiServer
from agi_server.fastagi.sockets import split_address
from agi_server.logs import configure_logs
from agi_server.loop import new_event_loop
from agi_server.scripts import variables
from agi_server.settings import Settings
from agi_server.settings_file import load_settings
from storage.agents import put_agent
from tests.org.__main__ import toml
from tests.org.records import Org
from tests.org.server import running
from tests.ports import free_port

SETTINGS = """\
sync_interval = 5
[storage]
state_directory = "{directory}"
[fastagi]
listen = "127.0.0.1:{port}"
[http]
enabled = false
[numbers]
region = "DE"
[tasks]
follow_up_wait = 0
[logs]
level = "error"
"""
NUMBER, DID = "+493023125010", "+493023125000"
PATIENCE = 60.0  # seconds for what takes five
SHOWN = (
    "Subject", "CallType", "CallDisposition", "CallDurationInSeconds", "Who.Name", "Owner.Name", "Status", "Priority",
    "ActivityDate", "Description",
)  # fmt: skip


def main() -> None:
    """Show both."""
    for name in [name for name in os.environ if name.startswith("OSTIARY_")]:
        del os.environ[name]
    with (
        tempfile.TemporaryDirectory(prefix="ostiary-demo-") as directory,
        closing(Org()) as org,
        running(org) as server,
    ):
        config = Path(directory, "ostiary.toml")
        port = free_port()
        config.write_text(toml(server.settings()) + SETTINGS.format(directory=directory, port=port), "utf-8")
        settings = load_settings(config)
        configure_logs(settings.logs)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_journalled(org, settings, config))
    demo()


async def _journalled(org: Org, settings: Settings, config: Path) -> None:
    """Let a customer call twice, once in vain, and show what Salesforce has of it."""
    user = {"LastName": "Keller", "FirstName": "Maria", "Email": "maria@ostiary.example", "Alias": "maria"}
    owner = org.create("User", user | {"Username": user["Email"]})
    org.create(
        "Contact", {"FirstName": "Ana", "LastName": "Muñoz", "Phone": "(030) 23125-010", "OwnerId": owner}
    )
    stop = asyncio.Event()
    up: asyncio.Future[FastAgiServer] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, config=config, stop=stop, ready=up.set_result))
    try:
        await asyncio.wait((serving, up), return_when=asyncio.FIRST_COMPLETED)
        agent = Agent(id=0, name="Maria Keller", email=user["Email"], extension="101")
        async with database(settings) as opened:
            await opened.write(lambda c: put_agent(c, agent, who="demo", now=int(time.time())))
        console.print("a contact of Salesforce calls, is put through to her owner, and calls again in vain:")
        await _called(settings, spoken=0)
        await _until(org, "SELECT Id FROM Task WHERE Subject LIKE 'Call back%' AND IsClosed = FALSE")
        await _called(settings, spoken=83)
        await _until(org, "SELECT Id FROM Task WHERE CallDisposition = 'Answered'")
        await _until(org, "SELECT Id FROM Task WHERE Subject LIKE 'Call back%' AND IsClosed = TRUE")
        _show(org)
    finally:
        stop.set()
        await serving


async def _called(settings: Settings, *, spoken: int) -> None:
    """Do what a dialplan does: ask, then tell who answered and how the call went."""
    host, port = split_address(settings.fastagi.listen)
    prefix = settings.fastagi.prefix
    told: Mapping[str, str] = {}
    end = time.monotonic() + PATIENCE
    while told.get(prefix + variables.ROUTE) != "101":  # until the synchronisation has brought the contact
        if time.monotonic() > end:
            raise OstiaryError("the contact of the stand-in does not come")
        told = (await ask(host, port, "incoming", number=NUMBER, did=DID)).variables
        await asyncio.sleep(0.2)
    known = {"call": told[prefix + variables.CALL], "answered_by": "PJSIP/101"}
    if spoken:
        await ask(host, port, "answered", query=known)
    how = {"disposition": "answer" if spoken else "noanswer", "seconds": str(spoken)}
    await ask(host, port, "ended", query=known | how)


async def _until(org: Org, soql: str) -> None:
    end = time.monotonic() + PATIENCE
    while not org.count(soql):
        if time.monotonic() > end:
            raise OstiaryError(f"no such Task within {PATIENCE:.0f} s: {soql}")
        await asyncio.sleep(0.1)


def _show(org: Org) -> None:
    """Show each Task as Salesforce has it."""
    soql = f"SELECT {', '.join(SHOWN)} FROM Task ORDER BY CallObject"
    tasks = list(org.query(soql))
    rows = [(name, *(_field(task, name) for task in tasks)) for name in SHOWN]
    print_table(("Task", *("" for _ in tasks)), rows)


def _field(task: Mapping[str, object], name: str) -> str:
    first, _, rest = name.partition(".")
    value = task[first]
    if rest:
        value = value[rest] if isinstance(value, Mapping) else None
    return "" if value is None else str(value)


if __name__ == "__main__":
    main()
