"""The HTTP side of an Ostiary for a test, without a socket: its database with a few people in it (`tests.house`), and
a recorder in place of the serving process.

    async with open_front(tmp_path) as front:
        client = await front.client(Scope.READ)  # a program with a token
        browser = await front.client_as("admin")  # a browser that is logged in; changes carry its CSRF token
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.call import Decision
from agi_server.errors import DirectoryError
from agi_server.events.hub import Hub
from agi_server.events.screen import Desk
from agi_server.settings import Settings
from agi_server.settings_file import load_settings, storage_url
from agi_server.web.access import Scope
from agi_server.web.app import create_app
from agi_server.web.counts import Counts
from agi_server.web.services import Services
from storage.database import Database
from storage.directory import SqliteDirectory
from storage.engine import sqlite_path
from storage.sessions import open_session
from storage.tokens import add_token
from storage.users import Hashed, add_user, hash_password, list_users
from tests.house import furnish, write_settings

BASE = "http://127.0.0.1:8080"
PASSWORD = "correct horse"  # of the users `admin`, `operator` and `viewer`

_furnished: list[bytes] = []  # the database, made once
_hashes: dict[str, Hashed] = {}


@dataclass
class Clock:
    """Time that runs as usual, but can be put forward (`front.clock.ahead += 60`) and stopped."""

    ahead: float = 0.0
    stopped: float | None = None

    def __call__(self) -> float:
        return (time.time() if self.stopped is None else self.stopped) + self.ahead

    def stop(self) -> None:
        """Let time pass no longer but by `ahead`, at the beginning of an hour."""
        self.stopped = time.time() // 3600 * 3600


@dataclass
class Recorder:
    """Stands in for the serving process: `agi_server.web.services.Server`. With `down`, it does not answer."""

    decisions: list[tuple[Decision, float]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    ends: list[dict[str, Any]] = field(default_factory=list)
    syncs: list[dict[str, bool]] = field(default_factory=list)
    dials: list[dict[str, Any]] = field(default_factory=list)
    hung_up: list[str] = field(default_factory=list)
    parts: dict[str, str] = field(
        default_factory=lambda: {"fastagi": "ok", "directory": "ok", "journal": "ok"}
    )
    salesforce: dict[str, Any] | None = None
    down: bool = False

    def decided(self, decision: Decision, seconds: float) -> None:
        self.decisions.append((decision, seconds))

    def answered(self, *, call_id: str, uniqueid: str, at: int, extension: str) -> None:
        self.answers.append({"call_id": call_id, "uniqueid": uniqueid, "at": at, "extension": extension})

    def ended(
        self, *, call_id: str, uniqueid: str, ended_at: int, disposition: str, seconds: int, answered_by: str
    ) -> None:
        self.ends.append(
            {
                "call_id": call_id,
                "uniqueid": uniqueid,
                "ended_at": ended_at,
                "disposition": disposition,
                "seconds": seconds,
                "answered_by": answered_by,
            }
        )

    def synchronise(self, *, full: bool, accept_removals: bool) -> None:
        self.syncs.append({"full": full, "accept_removals": accept_removals})

    def dial(self, order: Mapping[str, Any]) -> None:
        self.dials.append(dict(order))

    def hang_up(self, dial_id: str) -> None:
        self.hung_up.append(dial_id)

    async def metrics(self) -> str:
        self._check()
        return (
            "# HELP ostiary_calls_total Calls decided.\n# TYPE ostiary_calls_total counter\n"
            f"ostiary_calls_total {float(len(self.decisions))}\n"
        )

    async def state(self) -> dict[str, Any]:
        self._check()
        return {"parts": dict(self.parts), "salesforce": self.salesforce}

    def _check(self) -> None:
        if self.down:
            raise DirectoryError("the serving process does not answer; see its log")


@dataclass
class Front:
    """An application and what it uses."""

    app: FastAPI
    services: Services
    server: Recorder
    database: Database
    settings: Settings
    clock: Clock
    exits: contextlib.AsyncExitStack
    names: Iterator[int] = field(default_factory=count)

    async def client(self, *scopes: Scope, **options: Any) -> httpx.AsyncClient:
        """Return a client that sends a token with these scopes; without any, one that sends none."""
        client = await self._client(**options)
        if scopes:
            client.headers["Authorization"] = f"Bearer {await self.token(*scopes)}"
        return client

    async def client_as(self, role: str | None, **options: Any) -> httpx.AsyncClient:
        """Return a browser where the user of this role is logged in; None: nobody.

        It sends its CSRF token with every request (header X-CSRF-Token); `del client.headers["X-CSRF-Token"]`
        for one that has only what the forms hold.
        """
        client = await self._client(**options)
        client.headers["Accept"] = "text/html,application/xhtml+xml,*/*;q=0.8"
        if role is not None:
            await self.log_in(client, role)
        return client

    async def token(self, *scopes: Scope) -> str:
        """Return the secret of a new token."""
        name = f"token {next(self.names)}"

        async def job(conn: AsyncConnection) -> tuple[int, str]:
            return await add_token(
                conn, name=name, scopes=scopes, expires_at=0, who="test", now=int(self.clock())
            )

        return (await self.database.write(job))[1]

    async def log_in(self, client: httpx.AsyncClient, role: str) -> str:
        """Log the user of this role in (name and role are the same, see PASSWORD); return the CSRF token."""
        user_id = await self.user(role, role)

        async def job(conn: AsyncConnection) -> tuple[str, str]:
            return await open_session(conn, user_id, agent="test", now=int(self.clock()))

        secret, csrf = await self.database.write(job)
        https = client.base_url.scheme == "https"
        client.cookies.set("__Host-ostiary" if https else "ostiary", secret)
        client.headers["X-CSRF-Token"] = csrf
        return csrf

    async def user(self, name: str, role: str, password: str = PASSWORD) -> int:
        """Return the id of the user of this name, who is added if need be."""
        for user in await self.database.read(list_users):
            if user.name == name:
                return user.id
        if password not in _hashes:
            _hashes[password] = await hash_password(password)
        hashed = _hashes[password]

        async def job(conn: AsyncConnection) -> int:
            return await add_user(conn, name, hashed, role, who="test", now=int(self.clock()))

        return await self.database.write(job)

    async def rows(self, sql: str) -> Sequence[Any]:
        """Return rows of the database."""

        async def job(conn: AsyncConnection) -> Sequence[Any]:
            return (await conn.exec_driver_sql(sql)).all()

        return await self.database.read(job)

    async def _client(
        self, *, base: str = BASE, address: str = "127.0.0.1", **options: Any
    ) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 50000))
        return await self.exits.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url=base, **options)
        )


@contextlib.asynccontextmanager
async def open_front(
    directory: Path, *, more: str = "", environ: Mapping[str, str] | None = None
) -> AsyncIterator[Front]:
    """Make a front whose state is in `directory`.

    `more` is put behind the settings file, `environ` holds settings as variables (OSTIARY_HTTP__PLAIN_LOG_IN).
    """
    settings = load_settings(write_settings(directory, more=more), environ=environ or {})
    await _furnish(settings)
    clock, server = Clock(), Recorder()
    async with contextlib.AsyncExitStack() as exits:
        database = await Database.open(storage_url(settings))
        exits.push_async_callback(database.close)
        reader = SqliteDirectory(sqlite_path(storage_url(settings)), settings)
        exits.callback(reader.close)
        hub = Hub(clock)
        hub.desk = Desk(reader, BASE, clock=clock)
        services = Services(
            settings=settings,
            database=database,
            directory=reader,
            server=server,
            events=hub,
            counts=Counts(),
            clock=clock,
        )
        yield Front(create_app(services), services, server, database, settings, clock, exits)


async def _furnish(settings: Settings) -> None:
    path = sqlite_path(storage_url(settings))
    if _furnished:
        path.write_bytes(_furnished[0])
    else:
        await furnish(settings)
        assert not Path(f"{path}-wal").exists()
        _furnished.append(path.read_bytes())
