"""The fourth part: what the API and the console cost, and what callers notice of them.

Ostiary runs as shipped. wrk (a process of its own) asks; where it is not installed, that part is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx

from storage.database import Database
from storage.sessions import open_session
from storage.tokens import add_token
from storage.users import add_user, hash_password
from tests.bench import data, load, processes
from tests.bench.processes import Server
from tests.ports import free_port

PAGES = ("/", "/calls", "/statistics", "/contacts?q=mar", "/blacklist", "/agents", "/trial", "/health")
RATE = 50.0  # calls a second while the console is under load
CONNECTIONS = 8  # of wrk

DECIDE = """
local numbers = {{{numbers}}}
local at = 0
wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer {token}"
wrk.headers["Content-Type"] = "application/json"
request = function()
  at = at % #numbers + 1
  return wrk.format(nil, nil, nil, '{{"number": "' .. numbers[at] .. '", "did": "4930123456"}}')
end
"""
LOOK = """
local pages = {{{pages}}}
local at = 0
wrk.headers["Cookie"] = "ostiary={session}"
request = function()
  at = at % #pages + 1
  return wrk.format(nil, pages[at])
end
"""


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its weight with the style sheet and the script, and how long it takes (milliseconds)."""

    path: str
    kilobytes: float
    p50: float
    slowest: float


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: answers a second, errors, and the CPU cores that the front used meanwhile."""

    rate: float
    errors: int
    front_cores: float


@dataclass(frozen=True, slots=True)
class Calls:
    """Milliseconds from connect to close; calls that got no answer."""

    count: int
    p50: float
    p99: float
    lost: int


@dataclass(frozen=True, slots=True)
class Web:
    """Everything of the fourth part; where wrk is missing, `decisions` and what follows is None."""

    contacts: int
    pages: tuple[Page, ...]
    assets: float  # kilobytes of style sheet, script and icon together, fetched once
    memory: float  # of the front, resident, MB
    decisions: Load | None
    console: Load | None
    without: Calls | None
    during: Calls | None


def measure(
    state: Path, *, contacts: int, say: Callable[[str], None], seconds: float = 10.0, rounds: int = 3
) -> Web:
    """Measure on a state directory that has these contacts."""
    say("API and console")
    database = state / "ostiary.db"
    numbers = [data.number(index) for index in range(0, contacts, max(contacts // 1000, 1))]
    with _http(state) as (server, address):
        token, session = _ways_in(database)
        with httpx.Client(base_url=address, cookies={"ostiary": session}, trust_env=False, timeout=60) as web:
            _until_up(web)
            _have_calls(server, numbers)
            assets = _assets(web)
            pages = tuple(_page(web, path, assets) for path in PAGES)
        (front,) = processes.parts(server.process, "front")
        memory = front.memory_info().rss / 1e6
        decisions = console = without = during = None
        if shutil.which("wrk"):
            say("decisions over HTTP")
            decide = DECIDE.format(token=token, numbers=_lua(numbers))
            decisions = _wrk(f"{address}/api/v1/decisions", decide, seconds, front.pid)
            say("calls while the console is under load")
            look = LOOK.format(session=session, pages=_lua(PAGES))
            console, without, during = _under_load(
                server, address, look, numbers, seconds=seconds, rounds=rounds, front=front.pid
            )
    return Web(contacts, pages, assets, memory, decisions, console, without, during)


@contextlib.contextmanager
def _http(state: Path) -> Iterator[tuple[Server, str]]:
    port, http = free_port(), free_port()
    environment = processes.ostiary_environment(state) | {
        "OSTIARY_FASTAGI__LISTEN": f"127.0.0.1:{port}",
        "OSTIARY_HTTP__LISTEN": f"127.0.0.1:{http}",
    }
    command = (sys.executable, "-m", "agi_server", "serve")
    with processes.running("Ostiary", command, port, environment=environment) as server:
        yield server, f"http://127.0.0.1:{http}"


def _ways_in(database: Path) -> tuple[str, str]:
    """Return a token for decisions and the session of an admin."""

    async def made() -> tuple[str, str]:
        opened = await Database.open(f"sqlite+aiosqlite:///{database}")
        now, hashed = int(time.time()), await hash_password("not a secret")
        name = f"bench {now}"
        try:
            _, token = await opened.write(
                lambda c: add_token(c, name=name, scopes=["decide"], expires_at=0, who="bench", now=now)
            )
            user = await opened.write(lambda c: add_user(c, name, hashed, "admin", who="bench", now=now))
            session, _ = await opened.write(lambda c: open_session(c, user, agent="bench", now=now))
        finally:
            await opened.close()
        return token, session

    return asyncio.run(made())


def _until_up(web: httpx.Client) -> None:
    until = time.monotonic() + processes.START_LIMIT
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            if web.get("/readyz").status_code == httpx.codes.OK:
                return
        time.sleep(0.05)
    raise RuntimeError(f"no HTTP within {processes.START_LIMIT:.0f} s")


def _have_calls(server: Server, numbers: list[str]) -> None:
    """Fill the pages that show calls."""
    load.run(server.port, 8, load.blocks(numbers, whole=True))


def _assets(web: httpx.Client) -> float:
    """Return the kilobytes of what every page loads, once."""
    page = web.get("/").text
    names = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page))
    return sum(len(web.get(name).content) for name in names) / 1000


def _page(web: httpx.Client, path: str, assets: float, times: int = 30) -> Page:
    answer = web.get(path).raise_for_status()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        answer = web.get(path)
        taken.append((time.perf_counter() - began) * 1000)
        answer.raise_for_status()
    return Page(path, len(answer.content) / 1000 + assets, median(taken), max(taken))


def _wrk(url: str, script: str, seconds: float, front: int) -> Load:
    """Have wrk ask for so long; one thread, so that there is a core for the front."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "-s", file.name, url]
        used, began = processes.cpu_seconds(front), time.perf_counter()
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        cores = (processes.cpu_seconds(front) - used) / (time.perf_counter() - began)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    errors = int(refused[1]) if refused else 0
    errors += sum(map(int, lost.groups())) if lost else 0
    return Load(float(rate[1]) if rate else 0.0, errors, cores)


def _under_load(
    server: Server, address: str, look: str, numbers: list[str], *, seconds: float, rounds: int, front: int
) -> tuple[Load, Calls, Calls]:
    """Call steadily, with and without wrk on the console by turns."""
    ended = threading.Event()
    quiet: list[tuple[float, float]] = []
    busy: list[tuple[float, float]] = []
    loads: list[Load] = []
    with ThreadPoolExecutor(1) as threads:
        stream = threads.submit(load.steady, server.port, RATE, numbers, ended)
        try:
            for _ in range(rounds):
                began = time.perf_counter()
                time.sleep(seconds)
                quiet.append((began, time.perf_counter()))
                began = time.perf_counter()
                loads.append(_wrk(address + "/", look, seconds, front))
                busy.append((began, time.perf_counter()))
        finally:
            ended.set()
        answered = stream.result()
    lost = answered.calls - len(answered.answered)
    middle = sorted(loads, key=lambda each: each.rate)[len(loads) // 2]
    return middle, _calls(answered, quiet, lost), _calls(answered, busy, lost)


def _calls(stream: load.Stream, windows: list[tuple[float, float]], lost: int) -> Calls:
    times = stream.between(windows)
    return Calls(len(times), load.percentile(times, 50), load.percentile(times, 99), lost)


def _lua(words: Sequence[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)
