import asyncio
import sqlite3
import time
from collections.abc import Awaitable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from agi_server.calls.call import Decision
from agi_server.calls.directory import Contact, Rule, RuleKind
from agi_server.calls.policy import DidPolicy, Policy
from agi_server.errors import DirectoryError
from agi_server.fastagi.protocol import AgiRequest
from agi_server.journal import Journal
from agi_server.lookups import Lookups
from agi_server.metrics import Metrics
from agi_server.scripts.incoming import incoming
from agi_server.scripts.services import Services
from agi_server.scripts.trace import MARK
from agi_server.settings import Settings
from tests.calls.memory import MemoryDirectory
from tests.house import House, house

ALWAYS = {
    "CLAVESF", "OSTIARY_REASON", "OSTIARY_TREATMENT", "OSTIARY_ROUTE", "OSTIARY_ROUTE_TYPE", "OSTIARY_RING_SECONDS",
    "OSTIARY_FALLBACK", "OSTIARY_AGENT", "OSTIARY_CONTACT", "OSTIARY_CALL", "OSTIARY_ACTION",
}  # fmt: skip


async def test_a_known_caller_gets_name_agent_and_key(ostiary: House) -> None:
    told = await ostiary.ask("incoming", "03023125010", did="+493099900")
    assert told["CALLERID(name)"] == "Ana Muñoz"
    assert (told["OSTIARY_ACTION"], told["OSTIARY_REASON"]) == ("allow", "known")
    assert (told["OSTIARY_ROUTE"], told["OSTIARY_ROUTE_TYPE"]) == ("101", "extension")
    assert told["OSTIARY_RING_SECONDS"] == "20"
    assert told["OSTIARY_CONTACT"] == "003000000000001AAA"
    local_id = (await ostiary.rows("SELECT id FROM contacts WHERE name = 'Ana Muñoz'"))[0][0]
    assert told["CLAVESF"] == f"{local_id}-+493023125010"


async def test_every_variable_is_set_for_everybody_and_the_action_last(ostiary: House) -> None:
    for number in ("03023125010", "030999", "anonymous", "+4930900900", "\x00", "x" * 300):
        outcome = await ostiary.outcome("incoming", number)
        assert set(outcome.variables) - {"CALLERID(name)"} == ALWAYS
        assert list(outcome.variables)[-1] == "OSTIARY_ACTION"
        assert len(outcome.commands) == 1


async def test_a_name_is_kept_when_we_have_none(ostiary: House) -> None:
    told = await ostiary.ask("incoming", "+33199001234", name="Paris")
    assert told.get("CALLERID(name)", "Paris") == "Paris"


async def test_a_blocked_caller(ostiary: House) -> None:
    told = await ostiary.ask("incoming", "+4930900900")
    assert (told["OSTIARY_ACTION"], told["OSTIARY_TREATMENT"]) == ("block", "busy")
    assert told["OSTIARY_ROUTE"] == ""


async def test_a_company_answers_for_its_extensions(ostiary: House) -> None:
    told = await ostiary.ask("incoming", "+493023125777")
    assert (told["CALLERID(name)"], told["OSTIARY_REASON"]) == ("Acme", "switchboard")


async def test_every_call_is_journaled_with_its_trace(ostiary: House) -> None:
    told = await ostiary.ask("incoming", "03023125010")
    row = await ostiary.until_row(f"SELECT * FROM calls WHERE id = '{told['OSTIARY_CALL']}'")
    assert (row.number, row.name, row.routed_to) == (493023125010, "Ana Muñoz", "101")
    assert ["match", "exact"] in [step[:2] for step in orjson.loads(row.trace)]


async def test_the_trace_comes_along_when_asked_for(ostiary: House) -> None:
    outcome = await ostiary.outcome("incoming", "03023125010", query={"trace": "1"})
    assert len(outcome.verbose) >= 4
    assert outcome.variables["OSTIARY_ACTION"] == "allow"
    assert (await ostiary.outcome("incoming", "03023125010")).verbose == []


async def test_a_step_of_the_trace_is_json_however_long_a_name_is(ostiary: House) -> None:
    with closing(sqlite3.connect(ostiary.settings.storage.state_directory / "ostiary.db")) as database:
        database.execute("UPDATE contacts SET name = ?", ('"\\ñ' * 1000,))
        database.commit()
    outcome = await ostiary.outcome("incoming", "03023125010", query={"trace": "1"})
    steps = [orjson.loads(line.removeprefix(MARK)) for line in outcome.verbose]
    assert ["match", "exact"] in [step[:2] for step in steps]


async def test_an_unknown_caller_becomes_a_contact_where_that_is_wanted(tmp_path: Path) -> None:
    async with house(tmp_path, "[contacts]\ncreate = true\n") as ostiary:
        first = await ostiary.ask("incoming", "+33199001234", name="Paris Nord", did="+493099900")
        second = await ostiary.ask("incoming", "+33199001234")
        rows = await ostiary.rows("SELECT id FROM contacts WHERE source = 'insert'")
        assert [first["CLAVESF"]] == [f"{row.id}-+33199001234" for row in rows]
        assert second["CLAVESF"] == first["CLAVESF"]
        assert list(first)[-1] == "OSTIARY_ACTION"
        (waiting,) = await ostiary.rows("SELECT payload, ref FROM outbox")
        payload = orjson.loads(waiting.payload)
        assert (payload["name"], payload["phone"], payload["did"]) == (
            "Paris Nord",
            "+33199001234",
            "+493099900",
        )
        assert len(waiting.ref) == 32


# unknown callers, looked up

ANA = "+493023125010"


class _Worker:
    """A worker that answers at once as it is told to, after it has put somebody into the directory."""

    def __init__(self, directory: MemoryDirectory, outcome: str) -> None:
        self.lookups = Lookups(forget=900)
        self.asked: list[str] = []
        self._directory = directory
        self._outcome = outcome
        self.lookups.connected(cast("asyncio.Transport", self))
        self.lookups.told("")

    def write(self, line: bytes) -> None:
        """Be the socket."""
        _, _, question = orjson.loads(line)
        self.asked.append(question["number"])
        if self._outcome == "found":
            self._directory.add(Contact(id=7, name="Ana Muñoz", salesforce_id="003A"), ANA)
        if self._outcome:
            loop = asyncio.get_running_loop()
            loop.call_soon(self.lookups.answered, question["id"], self._outcome, "a reason")


class _Desk:
    """`incoming` with a directory in plain lists, and what it reports."""

    def __init__(self, outcome: str, *, policy: Policy | None = None, **salesforce: Any) -> None:
        self.directory = MemoryDirectory(policy or Policy())
        self.worker = _Worker(self.directory, outcome)
        self.reported: list[Decision] = []
        self.services = Services(
            settings=Settings.model_validate(
                {"salesforce": {"lookup_deadline": 0.4, **salesforce}, "fastagi": {"deadline": 60}}
            ),
            directory=self.directory,
            journal=Journal(Metrics()),
            database=self._no_database,
            report=lambda decision, _seconds: self.reported.append(decision),
            lookups=self.worker.lookups,
        )

    async def _no_database(self) -> Any:
        raise DirectoryError("there is none")

    async def ask(self, number: str = ANA, *, since: float | None = None) -> dict[str, str]:
        request = AgiRequest(
            "incoming", {}, {"callerid": number}, since=time.monotonic() if since is None else since
        )
        answer = incoming(request, self.services)
        return dict((await answer if isinstance(answer, Awaitable) else answer).variables)

    def steps(self) -> list[str]:
        (decision,) = self.reported
        return [f"{step.stage}={step.outcome}" for step in decision.trace]


async def test_a_caller_found_in_salesforce_is_known_to_this_call() -> None:
    desk = _Desk("found")
    told = await desk.ask()
    assert (told["CALLERID(name)"], told["OSTIARY_CONTACT"]) == ("Ana Muñoz", "003A")
    assert told["OSTIARY_REASON"] == "known"
    assert list(told)[-1] == "OSTIARY_ACTION"
    assert desk.steps()[:4] == ["number=e164", "match=none", "lookup=found", "match=exact"]
    assert desk.steps().count("number=e164") == 1
    assert (await desk.ask())["OSTIARY_CONTACT"] == "003A"
    assert desk.worker.asked == [ANA]


@pytest.mark.parametrize("outcome", ["unknown", "failed", "not_asked"])
async def test_a_caller_not_found_goes_on_unknown(outcome: str) -> None:
    desk = _Desk(outcome)
    told = await desk.ask()
    assert (told["OSTIARY_ACTION"], told["OSTIARY_REASON"]) == ("allow", "unknown")
    assert f"lookup={outcome}" in desk.steps()
    assert "match=none" in desk.steps()


async def test_an_answer_that_does_not_come_holds_up_the_call_for_the_deadline_only() -> None:
    desk = _Desk("", lookup_deadline=0.01)
    async with asyncio.timeout(25):  # half of what `fastagi.deadline` says is longer
        assert (await desk.ask())["OSTIARY_ACTION"] == "allow"
    assert desk.steps()[-1] == "lookup=late"


async def test_a_call_that_has_waited_long_is_not_looked_up() -> None:
    """The PBX's own deadline runs since it connected."""
    desk = _Desk("found")
    told = await desk.ask(since=time.monotonic() - 40)
    assert told["OSTIARY_REASON"] == "unknown"
    assert desk.steps()[-1] == "lookup=not_asked"
    assert not desk.worker.asked


@pytest.mark.parametrize("number", ["anonymous", "", "0301", "+4930900900"])
async def test_who_need_not_be_looked_up(number: str) -> None:
    """No number, one without a country, one that is known."""
    desk = _Desk("found")
    desk.directory.add(Contact(id=1, name="Known"), "+4930900900")
    await desk.ask(number)
    assert not desk.worker.asked
    assert not any(step.startswith("lookup") for step in desk.steps())


async def test_nobody_is_looked_up_where_the_did_identifies_nobody() -> None:
    desk = _Desk("found", policy=Policy(default=DidPolicy(identify=False)))
    await desk.ask()
    assert not desk.worker.asked


@pytest.mark.parametrize(
    ("kind", "pattern", "bypass", "asked"),
    [
        (RuleKind.EXACT, ANA, True, False),
        (RuleKind.PREFIX, "+4930", True, True),
        (RuleKind.PREFIX, "+4930", False, False),
    ],
)
async def test_a_blocked_caller_is_looked_up_where_being_known_would_let_him_in(
    kind: RuleKind, pattern: str, bypass: bool, asked: bool
) -> None:
    desk = _Desk("found", policy=Policy(known_bypass=bypass))
    desk.directory.rule(Rule(id=1, kind=kind, pattern=pattern))
    told = await desk.ask()
    assert bool(desk.worker.asked) is asked
    assert told["OSTIARY_ACTION"] == ("allow" if asked else "block")


async def test_who_is_found_is_not_made_a_contact_and_who_is_not_is() -> None:
    for outcome, made in (("found", False), ("unknown", True)):
        desk = _Desk(outcome, policy=Policy(default=DidPolicy(create_contacts=True)))
        opened: list[int] = []

        async def database(opened: list[int] = opened) -> Any:
            opened.append(1)
            raise DirectoryError("there is none")

        desk.services = replace(desk.services, database=database)
        await desk.ask()
        assert bool(opened) is made


async def test_without_look_ups_nothing_is_asked_and_nothing_waits() -> None:
    desk = _Desk("found")
    desk.services = replace(desk.services, lookups=None)
    request = AgiRequest("incoming", {}, {"callerid": ANA}, since=time.monotonic())
    assert not isinstance(incoming(request, desk.services), Awaitable)
    assert not desk.worker.asked
