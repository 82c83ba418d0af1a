"""`ostiary demo`: the whole way in small, on a database that is thrown away afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from importlib.resources import as_file, files
from pathlib import Path

from agi_server.app import serve
from agi_server.calls.call import Verdict
from agi_server.cli.context import console, database, print_table
from agi_server.errors import OstiaryError
from agi_server.exchange import ContactFile, import_agents, import_blacklist, import_contacts
from agi_server.fastagi.client import Outcome, ask
from agi_server.fastagi.server import FastAgiServer
from agi_server.fastagi.sockets import split_address
from agi_server.logs import configure_logs
from agi_server.loop import new_event_loop
from agi_server.scripts import variables
from agi_server.settings import Settings
from agi_server.settings_file import load_settings
from storage.users import add_user, hash_password

SETTINGS = """\
[storage]
state_directory = "{directory}"
[fastagi]
listen = "127.0.0.1:{fastagi}"
[http]
listen = "127.0.0.1:{http}"
[numbers]
region = "DE"
[routing]
default_agent = "200"
fallback = "9000"
[logs]
level = "error"
"""
ADMIN = "admin"
PAUSE = 3.0  # seconds between two calls while the console is looked at
LONGEST_CALL = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class Played:
    """One call of the demonstration: what is interesting about it, and what a trunk would send."""

    about: str
    number: str
    name: str = ""
    did: str = "+493023125000"


CALLS = (
    Played("a customer, in the country's own format", "06990009123"),
    Played("a VIP, international", "+442079460101"),
    Played("a mobile that a lead has too", "00447700900101"),
    Played("any extension behind a main number", "+496990009777"),
    Played("two people of one company", "+498999998701"),
    Played("two people, two companies", "+441134960123"),
    Played("a name no ASCII holds", "+61491570156"),
    Played("nobody we know", "+33199001298", name="Paris"),
    Played("anonymous", "anonymous", name="Anonymous"),
    Played("anonymous, where that is not wanted", "anonymous", did="+493023125101"),
    Played("on the blacklist", "+19005550199"),
    Played("on the blacklist, to be told busy", "06990009990"),
    Played("on the blacklist, to be put through to voicemail", "+442079460666"),
    Played("a block of numbers, blocked", "+12025550191"),
    Played("one of that block, allowed", "+12025550195"),
)


def demo() -> None:
    """Show what Ostiary does: a sample directory, calls played over FastAGI, the answers as a table, the console."""
    for name in [name for name in os.environ if name.startswith("OSTIARY_")]:
        del os.environ[name]  # the demonstration and its worker know their own settings only
    with tempfile.TemporaryDirectory(prefix="ostiary-demo-") as directory:
        config = Path(directory, "ostiary.toml")
        config.write_text(
            SETTINGS.format(directory=directory, fastagi=_free_port(4573), http=_free_port(8080)),
            encoding="utf-8",
        )
        settings = load_settings(config)
        configure_logs(settings.logs)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_demonstrate(settings, config))


async def _demonstrate(settings: Settings, config: Path) -> None:
    stop = asyncio.Event()
    up: asyncio.Future[FastAgiServer] = asyncio.get_running_loop().create_future()
    password = secrets.token_urlsafe(9)
    await _import_samples(settings, password)
    serving = asyncio.create_task(serve(settings, config=config, stop=stop, ready=up.set_result))
    try:
        await asyncio.wait((serving, up), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        await _until_ready(settings)
        await _play(settings)
        console.print(f"console: http://{settings.http.listen}/  log in as {ADMIN}, password {password}")
        if sys.stdin.isatty() and sys.stdout.isatty():
            await _stay(settings, config)
    finally:
        stop.set()
        await serving


async def _import_samples(settings: Settings, password: str) -> None:
    samples = files("agi_server") / "samples"
    region = settings.numbers.region
    hashed = await hash_password(password)
    async with database(settings) as opened:
        with as_file(samples) as folder:
            with (folder / "agents.csv").open("rb") as file:
                agents = await import_agents(file, database=opened, who="demo")
            with (folder / "blacklist.csv").open("rb") as file:
                rules = await import_blacklist(file, database=opened, region=region, who="demo")
            with (folder / "contacts.csv").open("rb") as file:
                contacts = await import_contacts(ContactFile(file=file), database=opened, region=region)
        now = int(time.time())
        await opened.write(lambda c: add_user(c, ADMIN, hashed, "admin", who="demo", now=now))
    console.print(
        f"imported {contacts.inserted} contacts, {agents.inserted} agents, {rules.inserted} rules from the sample files"
    )


async def _until_ready(settings: Settings) -> None:
    """Wait until the parts beside the call path are up too; calls would be answered before that."""
    for _ in range(100):
        with contextlib.suppress(OSError, HTTPException):
            connection = HTTPConnection(settings.http.listen, timeout=1)
            await asyncio.to_thread(connection.request, "GET", "/readyz")
            if (await asyncio.to_thread(connection.getresponse)).status == HTTPStatus.OK:
                return
        await asyncio.sleep(0.1)


async def _play(settings: Settings) -> None:
    """Play every call, one after the other, and show what the PBX was told."""
    prefix = settings.fastagi.prefix
    rows = []
    times = []
    for call in CALLS:
        started = time.perf_counter()
        told = (await _ask(settings, call)).variables
        times.append(time.perf_counter() - started)
        rows.append(
            (
                call.about,
                call.number,
                told.get(variables.CALLER_NAME, call.name),
                " ".join((told[prefix + variables.ACTION], told[prefix + variables.TREATMENT])),
                _destination(told, prefix),
                told[prefix + variables.REASON],
            )
        )
    print_table(("who calls", "the trunk sends", "the phone shows", "verdict", "goes to", "reason"), rows)
    console.print(f"median time from connect to answer and close: {1000 * statistics.median(times):.1f} ms")
    host, port = split_address(settings.fastagi.listen)
    found = await ask(
        host, port, "contacto_insert_salesforce", query={"data": "31987456"}, number="+4915228817999"
    )
    console.print(f"contacto_insert_salesforce(31987456): CLAVESF={found.variables[variables.CLAVESF]}")


def _destination(told: Mapping[str, str], prefix: str) -> str:
    if route := told[prefix + variables.ROUTE]:
        return route
    return "" if told[prefix + variables.ACTION] == Verdict.BLOCK else "the PBX's own plan"


async def _ask(settings: Settings, call: Played) -> Outcome:
    host, port = split_address(settings.fastagi.listen)
    return await ask(host, port, "incoming", number=call.number, name=call.name, did=call.did)


async def _stay(settings: Settings, config: Path) -> None:
    """Keep answering until Ctrl-C, and say what to try."""
    console.print(
        f"\nThe server stays up on {settings.fastagi.listen}, and calls go on coming in: look at the console. "
        "Ctrl-C ends it. In another terminal:\n"
        f"  {sys.executable} -m agi_server --config {config} ask 06990009777\n"
        f"  {sys.executable} -m agi_server --config {config} blacklist list\n"
        f"  curl http://{settings.http.listen}/metrics",
        soft_wrap=True,
    )
    playing = asyncio.create_task(_play_on(settings))
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, playing.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await playing


async def _play_on(settings: Settings) -> None:
    """Let calls come in, be answered and end, for ever, so that the console has something to show."""
    host, port = split_address(settings.fastagi.listen)
    prefix = settings.fastagi.prefix

    async def play(call: Played) -> None:
        told = (await _ask(settings, call)).variables
        if told[prefix + variables.ACTION] == Verdict.BLOCK:
            return
        agent = told[prefix + variables.AGENT] or "200"
        known = {"call": told[prefix + variables.CALL], "answered_by": f"PJSIP/{agent}"}
        await asyncio.sleep(PAUSE)
        spoken = random.choice((0.0, LONGEST_CALL / 4, LONGEST_CALL))  # noqa: S311  # a demonstration
        if spoken:
            await ask(host, port, "answered", query=known)
        await asyncio.sleep(spoken)
        how = {"disposition": "answer" if spoken else "noanswer", "seconds": str(int(spoken))}
        await ask(host, port, "ended", query=known | how)

    async with asyncio.TaskGroup() as calls:
        while True:
            calls.create_task(play(random.choice(CALLS)))  # noqa: S311  # likewise
            await asyncio.sleep(PAUSE)


def _free_port(wanted: int) -> int:
    """Return `wanted` if nobody listens there, else a port that is free now."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise OstiaryError("no free port on 127.0.0.1")
