"""A whole Ostiary for a test: its settings, its database with a few people in it, and the server itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.app import serve
from agi_server.exchange import ContactFile, import_agents, import_blacklist, import_contacts
from agi_server.fastagi.client import Outcome, ask
from agi_server.settings import Settings
from agi_server.settings_file import load_settings, storage_url
from storage.database import Database
from storage.migrate import migrate

PATIENCE = 60.0  # seconds; the machine may be busy
CONTACTS = """\
Id,Type,FirstName,LastName,Account.Name,AccountId,Phone,OwnerId,Owner.Email
003000000000001AAA,Contact,Ana,Muñoz,Acme,001000000000001AAA,+49 30 23125010,005000000000101AAA,ana@ostiary.example
001000000000001AAA,Account,,Acme,Acme,001000000000001AAA,+49 30 23125-0,,
"""
AGENTS = """\
Name,Email,Extension
Ana's agent,ana@ostiary.example,101
Reception,desk@ostiary.example,200
"""
BLACKLIST = """\
Pattern,Kind,Treatment,Reason
+4930900900,exact,busy,nuisance
"""
SETTINGS = """\
[storage]
state_directory = "{directory}"
[fastagi]
listen = "127.0.0.1:{port}"
deadline = {deadline}
environment_deadline = {deadline}
reply_deadline = {deadline}
[http]
enabled = false
[numbers]
region = "DE"
"""


def write_settings(directory: Path, *, port: int = 0, more: str = "", deadline: float = 1.0) -> Path:
    """Write a settings file for a house in `directory`; port 0: any free one."""
    path = directory / "ostiary.toml"
    text = SETTINGS.format(directory=directory, port=port, deadline=deadline)
    path.write_text(text + more, encoding="utf-8")
    return path


async def furnish(settings: Settings) -> None:
    """Make the database and put the people in."""
    url = storage_url(settings)
    await migrate(url)
    database = await Database.open(url)
    try:
        await import_contacts(ContactFile(file=BytesIO(CONTACTS.encode())), database=database, region="DE")
        await import_agents(BytesIO(AGENTS.encode()), database=database, who="test")
        await import_blacklist(BytesIO(BLACKLIST.encode()), database=database, region="DE", who="test")
    finally:
        await database.close()


@dataclass(frozen=True, slots=True)
class House:
    """A running server, to be asked."""

    settings: Settings
    host: str
    port: int

    async def ask(self, script: str, number: str = "", **more: Any) -> dict[str, str]:
        """Return the variables that a PBX has after asking."""
        return (await self.outcome(script, number, **more)).variables

    async def outcome(self, script: str, number: str = "", **more: Any) -> Outcome:
        """Return all that a PBX knows after asking."""
        return await ask(self.host, self.port, script, number=number, **({"timeout": PATIENCE} | more))

    async def rows(self, sql: str) -> Sequence[Any]:
        """Return rows of the database, read apart from the server."""
        database = await Database.open(storage_url(self.settings))

        async def job(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.exec_driver_sql(sql)).all()

        try:
            return await database.read(job)
        finally:
            await database.close()

    async def until_row(self, sql: str) -> Any:
        """Return the first row of a query once there is one; the journal comes behind the answer."""
        async with asyncio.timeout(PATIENCE):
            while not (rows := await self.rows(sql)):
                await asyncio.sleep(0.02)
        return rows[0]


@asynccontextmanager
async def house(directory: Path, more: str = "", *, deadline: float = 1.0) -> AsyncIterator[House]:
    """Serve inside this event loop; the worker runs beside it as it always does.

    `deadline` is that of an answer, in s: the longer for tests that ask much at once of a busy machine.
    """
    config = write_settings(directory, more=more, deadline=deadline)
    settings = load_settings(config, environ={})
    await furnish(settings)
    async with serving(settings, config) as running:
        yield running


@asynccontextmanager
async def serving(settings: Settings, config: Path) -> AsyncIterator[House]:
    """Serve a house as it stands."""
    stop = asyncio.Event()
    up: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(settings, config=config, stop=stop, ready=lambda server: up.set_result(server.addresses[0]))
    )
    await asyncio.wait((task, up), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield House(settings, *up.result())
    finally:
        stop.set()
        await task


@contextmanager
def process(
    config: Path,
    *,
    prefix: Sequence[str] = (),
    before: Callable[[], None] | None = None,
    inherited: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `ostiary serve` as a process of its own; it is killed, with its worker, when the context is left.

    `prefix` is put before the command, `before` is called in the new process first, `inherited` is the descriptor
    of a listening socket that is handed over as systemd does (sd_listen_fds(3)).
    """
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("OSTIARY_", "LISTEN_"))}
    # Through a pipe, as under systemd: a limit on file sizes must not hit the log.
    with (config.parent / "serve.log").open("ab") as log:
        cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)

    def start() -> None:
        if inherited is not None:
            os.dup2(inherited, 3)
            os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="fastagi", LISTEN_PID=str(os.getpid()))
        if before is not None:
            before()

    command = [*prefix, sys.executable, "-m", "agi_server", "--config", str(config), "serve"]
    running = subprocess.Popen(
        command,
        env=environ if inherited is None else None,
        preexec_fn=start,  # noqa: PLW1509  # the only way to say LISTEN_PID and to set limits
        pass_fds=() if inherited is None else (3, inherited),
        stdout=cat.stdin,
        stderr=cat.stdin,
        start_new_session=True,
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        assert cat.stdin is not None
        cat.stdin.close()
        cat.wait()


async def until_answering(port: int, seconds: float = 30.0) -> None:
    """Wait until a server answers there."""
    until = time.monotonic() + seconds
    while True:
        try:
            if (await ask("127.0.0.1", port, "ping")).variables:
                return
        except OSError:
            pass
        if time.monotonic() > until:
            raise TimeoutError(f"no server answers on port {port}")
        await asyncio.sleep(0.02)
