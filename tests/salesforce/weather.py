"""Ostiary and an org, each in processes of their own, and callers who call all the while.

What a caller is told is compared with what is right at that moment, so a test that ends well says that every call was
answered, and rightly. Scenarios may run at the same time: each has a place of its own, and threads of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agi_server.exchange import ContactFile, import_agents, import_blacklist, import_contacts
from agi_server.fastagi.client import ask
from agi_server.settings import Settings
from agi_server.settings_file import load_settings, storage_url
from storage import sync
from storage.database import Database
from storage.migrate import migrate
from tests.house import process, until_answering
from tests.org.control import steer
from tests.pbx.asterisk import dying_with_us
from tests.ports import free_port
from tests.salesforce.truth import differences

T = TypeVar("T")

LONG = 300.0  # seconds until a test gives up: the machine may be slow and busy
WHOLE = 3600.0  # seconds that all scenarios together take at most
_one = threading.Lock()  # migrations run in one thread at a time: alembic has global variables
_given_up = threading.Event()
AT_ONCE = 4  # scenarios: a write waits for its lock five seconds at most
PACE = 0.25  # seconds between two calls
PEOPLE = 120
_ALARM = "Salesforce: not in step; calls go on"

NINA, ANA, NUISANCE = "+493023125020", "+493023125010", "+4930900900"
CONTACTS = f"Name,Phone,Owner.Email\nNina Ortiz,{NINA},ana@ostiary.example\n"
AGENTS = "Name,Email,Extension\nAna's agent,ana@ostiary.example,101\n"
BLACKLIST = f"Pattern,Kind,Treatment,Reason\n{NUISANCE},exact,busy,nuisance\n"
# The deadlines are long: what is asked here at once is more than a busy machine answers within a second.
SETTINGS = """\
[storage]
state_directory = "{directory}"
[fastagi]
listen = "127.0.0.1:{port}"
deadline = 60
environment_deadline = 60
reply_deadline = 60
[http]
listen = "127.0.0.1:{http}"
[numbers]
region = "DE"
[salesforce]
"""


def until(found: Callable[[], T], what: str, seconds: float = LONG, pause: float = 0.05) -> T:
    """Return the first true thing that `found` returns. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > deadline or _given_up.is_set():
            raise TimeoutError(f"{what}: not within {seconds:.0f} s; last: {value!r}")
        time.sleep(pause)
    return value


@contextmanager
def side_by_side(
    scenarios: Mapping[str, Callable[[Path], None]], name: str, factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """Run scenarios, each in a directory of its own, AT_ONCE at the same time: they mostly wait."""
    base, shared = factory.mktemp(name), factory.getbasetemp().parent

    def run(scenario: str) -> None:
        with _turn(shared):
            scenarios[scenario](base / scenario)

    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scenario")
    _given_up.clear()
    try:
        yield {scenario: pool.submit(run, scenario) for scenario in scenarios}
    finally:
        _given_up.set()  # what nobody has waited for, nobody will
        pool.shutdown(cancel_futures=True)


@contextmanager
def _turn(shared: Path) -> Iterator[None]:
    """Wait until fewer than AT_ONCE scenarios run, those of another test process included."""
    with ExitStack() as opened:
        places = [opened.enter_context((shared / f"scenario-{place}").open("w")) for place in range(AT_ONCE)]
        until(lambda: any(map(_locked, places)), "a turn", seconds=WHOLE)
        yield


def _locked(file: IO[str]) -> bool:
    """Lock a file if nobody has it; it is free again when it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def asked_for(request: pytest.FixtureRequest) -> set[str]:
    """Return the parameter `name` of each test of this module that will run."""
    items = request.session.items
    return {
        str(item.callspec.params["name"])
        for item in items
        if isinstance(item, pytest.Function) and item.module is request.module
    }


# --- the org


class SteeredOrg:
    """The stand-in in another process."""

    def __init__(self, url: str, settings: Mapping[str, Any], running: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.settings = settings
        self._running = running

    def do(self, verb: str, *args: object, **options: object) -> Any:
        """Have the stand-in do something; see tests/org/control.py."""
        return steer(self.url, verb, *args, **options)

    def close_port(self) -> None:
        """Cut all connections, and refuse new ones."""
        self.do("close_port", seconds=3600)

    def open_port(self) -> None:
        """Listen again."""
        self._running.send_signal(signal.SIGUSR1)

    def query(self, soql: str, /, *, deleted: bool = False) -> list[dict[str, Any]]:
        return list(self.do("query", soql, deleted=deleted))

    def describe(self, sobject: str, /) -> dict[str, Any]:
        return dict(self.do("describe", sobject))

    def asked(self, part: str = "/services/data/") -> int:
        """Return how many requests whose `METHOD path` holds `part` were answered, or cut, so far."""
        return sum(count for path, count in self.do("statistics")["requests"].items() if part in path)

    def logins(self) -> int:
        """Return how many log-ins were granted or refused."""
        return self.asked("/services/oauth2/token")


@contextmanager
def stand_in(*, people: int = PEOPLE, seed: int = 1) -> Iterator[SteeredOrg]:
    """Run an org with some people, one of whom is Ana; pages are small."""
    command = [sys.executable, "-m", "tests.org", "--people", str(people), "--seed", str(seed)]
    running = subprocess.Popen(dying_with_us(command), stdout=subprocess.PIPE, start_new_session=True)
    assert running.stdout is not None
    try:
        told = json.loads(running.stdout.readline())
        org = SteeredOrg(told["url"], told["settings"]["client-credentials"], running)
        user = {"LastName": "Ana's agent", "Email": "ana@ostiary.example", "Username": "ana@ostiary.example"}
        owner = org.do("create", "User", user | {"Alias": "ana"})
        contact = {"FirstName": "Ana", "LastName": "Muñoz", "Phone": "+49 30 23125010", "OwnerId": owner}
        org.do("create", "Contact", contact)
        org.do("set", **{"bulk.page": 25})
        yield org
        with suppress(OSError):  # its port may be closed
            assert org.do("statistics")["mistakes"] == []
    finally:
        running.terminate()
        running.wait()
        running.stdout.close()


# --- who calls


class Callers:
    """Call at a steady pace, on a thread of their own; `made` are the numbers behind the CLAVESF they were told."""

    def __init__(self, port: int) -> None:
        self.made: dict[str, str] = {}
        self.wrong: list[str] = []
        self.answered: Counter[str] = Counter()
        self.ana_is_known = threading.Event()
        self._port = port
        self._ended = threading.Event()
        self._places = itertools.count(1)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="callers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Call no more; returns when the last call is answered."""
        self._ended.set()
        self._thread.join()

    def more(self, kind: str = "new", count: int = 3) -> None:
        """Return when so many more calls of a kind were answered."""
        wanted = self.answered[kind] + count
        until(lambda: self.answered[kind] >= wanted or self.wrong, f"{count} more calls: {kind}")

    async def _run(self) -> None:
        kinds = itertools.cycle((self._nina, self._new, self._nuisance, self._unknown, self._new, self._ana))
        async with asyncio.TaskGroup() as calls:
            while not self._ended.is_set():
                calls.create_task(self._call(next(kinds)))
                await asyncio.sleep(PACE)

    async def _call(self, kind: Callable[[int], Any]) -> None:
        name = kind.__name__.lstrip("_")
        try:
            if problem := await kind(next(self._places)):
                self.wrong.append(f"{name}: {problem}")
        except Exception as error:  # noqa: BLE001  # whatever it is, this call was not answered
            self.wrong.append(f"{name}: {error!r}")
        self.answered[name] += 1

    async def _ask(self, script: str, number: str, **more: Any) -> dict[str, str]:
        return (await ask("127.0.0.1", self._port, script, number=number, timeout=LONG, **more)).variables

    async def _nina(self, _place: int) -> object:
        said = await self._ask("incoming", NINA)
        return _unless(
            said, {"CALLERID(name)": "Nina Ortiz", "OSTIARY_ROUTE": "101", "OSTIARY_ACTION": "allow"}
        )

    async def _ana(self, _place: int) -> object:
        known = self.ana_is_known.is_set()
        said = await self._ask("incoming", ANA)
        right = {"CALLERID(name)": "Ana Muñoz", "OSTIARY_ROUTE": "101"} if known else {}
        return _unless(said, right | {"OSTIARY_ACTION": "allow"})

    async def _nuisance(self, _place: int) -> object:
        said = await self._ask("incoming", NUISANCE)
        return _unless(said, {"OSTIARY_ACTION": "block", "OSTIARY_TREATMENT": "busy"})

    async def _unknown(self, place: int) -> object:
        said = await self._ask("incoming", f"+49407{place:07d}")
        return _unless(said, {"OSTIARY_ACTION": "allow", "OSTIARY_CONTACT": "", "CLAVESF": ""})

    async def _new(self, place: int) -> object:
        number = f"+49408{place:07d}"
        said = await self._ask("contacto_insert_salesforce", number, args=[number])
        clavesf = said.get("CLAVESF", "")
        if not clavesf.endswith(f"-{number}"):
            return said
        self.made[clavesf] = number
        return ""


def _unless(said: Mapping[str, str], right: Mapping[str, str]) -> object:
    return said if {name: said.get(name, "nothing") for name in right} != right else ""


# --- the place


class Place:
    """One Ostiary with its org and its callers."""

    def __init__(
        self, directory: Path, org: SteeredOrg, server: subprocess.Popen[bytes], callers: Callers
    ) -> None:
        self.directory = directory
        self.org = org
        self.callers = callers
        self.config = directory / "ostiary.toml"
        self._server = server

    @property
    def settings(self) -> Settings:
        """Return the settings as a worker would read them now."""
        return load_settings(self.config, environ={})

    # how it stands

    def metrics(self) -> dict[str, float]:
        """Return what /metrics shows of Salesforce: `up`, and errors by kind; nothing before the first round."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.settings.http.listen}/metrics", timeout=LONG) as answer:
                families = list(text_string_to_metric_families(answer.read().decode()))
        except OSError:  # the HTTP side starts behind the calls
            return {}
        found = {}
        for sample in (sample for family in families for sample in family.samples):
            if sample.name == "ostiary_salesforce_up":
                found["up"] = sample.value
            elif sample.name == "ostiary_salesforce_sync_errors_total":
                found[sample.labels["kind"]] = sample.value
        return found

    def check(self) -> dict[str, dict[str, str]]:
        """Return what `ostiary check` finds, by part."""
        done = subprocess.run(
            [sys.executable, "-m", "agi_server", "--config", str(self.config), "check", "--json"],
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
        return {each["part"]: each for each in json.loads(done.stdout)}

    def log(self) -> str:
        """Return what the server and its worker have logged."""
        return (self.directory / "serve.log").read_text()

    def rows(self, query: str, *values: object) -> list[Any]:
        """Read from the database."""
        with closing(
            sqlite3.connect(f"file:{self.directory}/ostiary.db?mode=ro", uri=True, timeout=60)
        ) as opened:
            return opened.execute(query, values).fetchall()

    def state(self, name: str) -> dict[str, Any]:
        """Return a state of the synchronisation, empty where there is none."""
        rows = self.rows("SELECT value FROM salesforce_state WHERE name = ?", name)
        return dict(json.loads(rows[0][0])) if rows else {}

    def worker_after(self, last: psutil.Process | None) -> psutil.Process | None:
        """Return the worker that runs now, if it is another one."""
        with suppress(psutil.Error):
            for child in psutil.Process(self._server.pid).children():
                if child != last and "worker" in child.cmdline():
                    return child
        return None

    # what is waited for

    def until_in_step(self) -> None:
        """Return when the last round was done and the directory equals the org."""
        last: list[str] = ["not compared yet"]

        def same() -> bool:
            if self.state("last").get("kind", "no round yet"):
                return False
            try:
                last[:] = differences(self.directory / "ostiary.db", self.org, self.settings)
            except OSError as error:  # the org's port is closed
                last[:] = [repr(error)]
            return not last

        try:
            until(same, "in step", pause=0.3)
        except TimeoutError as error:
            waiting = self.rows("SELECT id, contact_id, attempts, next_attempt_at, error FROM outbox LIMIT 5")
            told = "\n".join([*last[:10], f"outbox: {waiting}", f"last: {self.state('last')}"])
            raise AssertionError(f"{error}\n{told}") from None

    def until_alarm(self, kind: str, count: int = 1) -> None:
        """Return when so many rounds have failed, and the metrics and the log say so."""

        def alarm() -> bool:
            seen = self.metrics()
            return seen.get(kind, 0) >= count and seen["up"] == 0

        until(alarm, f"alarm: {kind}")
        until(lambda: _ALARM in self.log(), "alarm in the log")

    # what must be so at the end

    def assert_nothing_lost(self) -> None:
        """Let the callers end; the org has each contact they made once, and every CLAVESF is good."""
        self.callers.stop()
        assert not self.callers.wrong, "\n".join(self.callers.wrong[:20])
        assert self.callers.made
        assert all(self.callers.answered[kind] for kind in ("nina", "new", "nuisance", "unknown", "ana"))
        until(lambda: not self.rows("SELECT 1 FROM outbox LIMIT 1"), "outbox delivered")
        self.until_in_step()
        found = self.org.query("SELECT Phone FROM Contact WHERE Ostiary_Id__c != null", deleted=True)
        written = Counter(record["Phone"] for record in found)
        made = Counter(self.callers.made.values())
        assert written == made, f"lost: {made - written}; more than once: {written - made}"
        lost = asyncio.run(self._unresolved(list(self.callers.made)))
        assert lost == []

    async def _unresolved(self, clavesfs: Sequence[str]) -> list[str]:
        database = await Database.open(storage_url(self.settings))
        try:
            return [
                each
                for each in clavesfs
                if await database.read(lambda conn, each=each: sync.resolve(conn, each)) is None  # type: ignore[misc]
            ]
        finally:
            await database.close()


@contextmanager
def place(directory: Path, org: SteeredOrg, **section: object) -> Iterator[Place]:
    """Serve, with callers; an error is told with what was logged last, but for the calls."""
    directory.mkdir(exist_ok=True)
    port = free_port()
    text = SETTINGS.format(directory=directory, port=port, http=f"{free_port()}")
    config = directory / "ostiary.toml"
    config.write_text(text, "utf-8")
    configure(config, org, **section)
    with _one:
        asyncio.run(_furnish(load_settings(config, environ={})))
    with process(config, prefix=dying_with_us([])) as server:
        asyncio.run(until_answering(port, LONG))
        with Callers(port) as callers:
            here = Place(directory, org, server, callers)
            try:
                yield here
            except BaseException as error:
                said = [line for line in here.log().splitlines() if '"event":"call"' not in line]
                error.add_note("\n".join(said[-30:]))
                raise


def configure(config: Path, org: SteeredOrg, **section: object) -> None:
    """Write the section [salesforce] anew; a worker that starts afterwards reads it."""
    values = {**org.settings, "sync_interval": 5, "timeout": 3.0, **section}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
    before, heading, _ = config.read_text("utf-8").partition("[salesforce]\n")
    fresh = config.with_suffix(".new")
    fresh.write_text(before + heading + "".join(lines), "utf-8")
    fresh.replace(config)  # a worker that starts just now reads one or the other


async def _furnish(settings: Settings) -> None:
    url = storage_url(settings)
    await migrate(url)
    database = await Database.open(url)
    try:
        await import_contacts(ContactFile(file=BytesIO(CONTACTS.encode())), database=database, region="DE")
        await import_agents(BytesIO(AGENTS.encode()), database=database, who="test")
        await import_blacklist(BytesIO(BLACKLIST.encode()), database=database, region="DE", who="test")
    finally:
        await database.close()
