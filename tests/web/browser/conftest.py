"""A server with people, rules and calls in it, and Debian's Chromium.

Screenshots go to $OSTIARY_SCREENSHOTS, by default to .artefacts/screenshots below the repository (pictures.py).
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.record import Disposition, Leg, LegOutcome, Record, Transfer
from agi_server.fastagi.client import Outcome, ask
from agi_server.settings_file import load_settings, storage_url
from storage.database import Database
from storage.dials import Dial, order
from storage.records import tell
from storage.users import add_user, hash_password
from tests.house import furnish, process, write_settings
from tests.ports import free_port

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PASSWORD = "correct horse"
HOSTILE = "<img src=x onerror=alert(1)>\"'&\u202e\u2028 Zoë"
PATIENCE = 60_000  # milliseconds; the machine may be busy
SILENCE = (  # one second of it: a WAV file of 8,000 samples
    b"RIFF" + (36 + 16_000).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    + bytes.fromhex("01000100401f0000803e000002001000") + b"data" + (16_000).to_bytes(4, "little") + bytes(16_000)
)  # fmt: skip
TALK = "pbx-1795284000.17"  # a call of which AMI told
CALLERS = (  # number, name as sent
    ("+493023125010", ""),
    ("+4930231250123", ""),
    ("+33199001234", "Paris"),
    ("+4930900900", "nuisance"),
    ("anonymous", "Anonymous"),
    ("+351210000999", HOSTILE),
)


@dataclass(frozen=True, slots=True)
class Console:
    """A server that runs: where it is, and how to have calls come in."""

    address: str
    port: int
    database: Path

    def call(self, number: str, name: str = "", did: str = "+493023125000") -> dict[str, str]:
        """Have a call come in; return what the PBX is told."""
        return self._ask("incoming", number=number, name=name, did=did).variables

    def ended(self, call: str, *, by: str = "", seconds: int = 0) -> None:
        """Have a call end."""
        how = {"disposition": "answer" if by else "noanswer", "seconds": str(seconds), "answered_by": by}
        self._ask("ended", query={"call": call, **how})

    def answered(self, call: str, by: str) -> None:
        """Have somebody answer a call."""
        self._ask("answered", query={"call": call, "answered_by": by})

    def phone(self, extension: str, state: str) -> None:
        """Have a PBX tell what a phone does, for the next hour."""
        now = int(time.time())
        with closing(sqlite3.connect(self.database, timeout=PATIENCE / 1000)) as connection, connection:
            connection.execute("REPLACE INTO agent_states VALUES (?, 'pbx', ?, ?)", (extension, state, now))
            connection.execute("REPLACE INTO pbx_states VALUES ('pbx', ?)", (now + 3600,))

    def _ask(self, script: str, **more: Any) -> Outcome:
        with ThreadPoolExecutor(1) as thread:  # the browser's loop runs in this one
            return thread.submit(asyncio.run, ask("127.0.0.1", self.port, script, **more)).result()


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """Serve as shipped, with calls in the history; the users are admin, operator and viewer."""
    if not CHROMIUM.exists():
        pytest.skip("chromium is not installed")
    directory = tmp_path_factory.mktemp("console")
    port, http = free_port(), f"127.0.0.1:{free_port()}"
    config = write_settings(directory, port=port, more='[routing]\ndefault_agent = "200"\n')
    recordings = directory / "monitor"
    recordings.mkdir()
    (recordings / "talk.wav").write_bytes(SILENCE)
    text = config.read_text(encoding="utf-8").replace("enabled = false", f'listen = "{http}"')
    text += f'[recordings]\ndirectory = "{recordings}"\n'
    config.write_text(text, encoding="utf-8")
    with ThreadPoolExecutor(1) as thread:  # likewise, where another test was first
        thread.submit(asyncio.run, _furnish(config)).result()
    with process(config):
        shown = Console(f"http://{http}", port, directory / "ostiary.db")
        _until_up(shown)
        for number, name in CALLERS * 3:
            told = shown.call(number, name)
            if told["OSTIARY_ACTION"] == "allow":
                shown.ended(told["OSTIARY_CALL"], by="101" if number.startswith("+49") else "", seconds=61)
        yield shown


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a module: its loop must not run while other modules' tests have theirs."""
    if not CHROMIUM.exists():
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield opened
        opened.close()


@dataclass(slots=True)
class Visitor:
    """A person in front of the browser; what the browser complains about is kept."""

    page: Page
    address: str
    complaints: list[str]

    def go(self, path: str) -> Page:
        """Open a page of the console, which must be there."""
        answer = self.page.goto(self.address + path)
        assert answer is not None
        assert answer.status == 200, path
        return self.page


@pytest.fixture
def visit(console: Console, browser: Browser) -> Iterator[Any]:
    """Return what logs a user in: visit("admin", language="de", width=360, dark=True)."""
    contexts = []

    def visitor(
        role: str | None, *, language: str = "en", width: int = 1280, height: int = 900, dark: bool = False
    ) -> Visitor:
        context = browser.new_context(
            locale=language,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        one = Visitor(page, console.address, complaints)
        if role is not None:
            page.goto(console.address + "/log-in")
            page.fill("[name=name]", role)
            page.fill("[name=password]", PASSWORD)
            page.click("main form button")
            page.wait_for_url(console.address + "/")
        return one

    yield visitor
    for context in contexts:
        context.close()


async def _furnish(config: Path) -> None:
    settings = load_settings(config, environ={})
    await furnish(settings)
    hashed = await hash_password(PASSWORD)
    database = await Database.open(storage_url(settings))

    async def job(connection: AsyncConnection) -> None:
        for role in ("admin", "operator", "viewer"):
            await add_user(connection, role, hashed, role, who="test", now=int(time.time()))
        await order(connection, _dial(), per_minute=1, same_seconds=0, now=int(time.time()))
        await tell(connection, _talk(), tasks=settings.tasks, region="DE", decided=None, now=int(time.time()))

    try:
        await database.write(job)
    finally:
        await database.close()


def _dial() -> Dial:
    return Dial(
        id="d1a1", agent="101", number=351210000999, text="+351210000999", name=HOSTILE, contact_id=1,
        asked_at=int(time.time()), who="user:operator",
    )  # fmt: skip


def _talk() -> Record:
    at = time.time() - 3600
    legs = (
        Leg(number="+351210000999", via="caller", began_at=at, answered_at=at, ended_at=at + 90),
        Leg(extension="101", via="queue", queue="sales", began_at=at, outcome=LegOutcome.ELSEWHERE),
        Leg(
            extension="200", via="queue", queue="sales", began_at=at, answered_at=at + 9, ended_at=at + 90, held=7,
            outcome=LegOutcome.ANSWERED,
        ),
    )  # fmt: skip
    return Record(
        pbx="pbx", linkedid="1795284000.17", number="+351210000999", name=HOSTILE, did="+493023125000",
        started_at=at, answered_at=at + 9, ended_at=at + 90, disposition=Disposition.ANSWERED, seconds=81,
        answered_by="200", queue="sales", recording="/var/spool/asterisk/monitor/talk", legs=legs,
        transfers=(Transfer(kind="attended", at=at + 60, by="200", to="101"),),
    )  # fmt: skip


def hold(one: Visitor, requests: str) -> list[Route]:
    """Hold requests of the page to addresses of this pattern; return those that are held, also later."""
    held: list[Route] = []

    def keep(route: Route) -> None:
        held.append(route)

    one.page.route(requests, keep)
    return held


def until_held(one: Visitor, held: list[Route]) -> None:
    """Return when a request of the page was held."""
    until = time.monotonic() + PATIENCE / 1000
    while not held:
        assert time.monotonic() < until, "the page asks nothing"
        one.page.wait_for_timeout(20)


def _until_up(console: Console) -> None:
    until = time.monotonic() + PATIENCE / 1000
    with httpx.Client(trust_env=False, timeout=60) as web:
        while True:
            try:
                if web.get(console.address + "/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < until, "no console"
            time.sleep(0.05)  # another process can only be polled
