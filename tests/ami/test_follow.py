"""All PBXs, followed: what they tell into a real database, whatever happens on the way."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from agi_server import conclusion
from agi_server.ami import connection, follow, unwritten, watch, writing
from agi_server.ami.follow import Follower
from agi_server.calls.directory import Agent
from agi_server.calls.record import Record
from agi_server.errors import DirectoryError
from agi_server.settings import Settings
from agi_server.settings_file import storage_url
from agi_server.tracking.tracker import Tracker
from storage import dials
from storage.agents import put_agent
from storage.calls import record_calls
from storage.database import Database
from storage.dials import Dial
from storage.directory import SqliteDirectory
from tests.ami.server import SECRET, FakePbx, channel, listed, pbx
from tests.house import furnish

STREAMS = Path(__file__).parents[1] / "tracking/streams"
ANA = "+493023125010"
TRUNK = "PJSIP/trunk-00000001"
PHONE = "PJSIP/101-00000002"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less; nothing here depends on how long."""
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(connection, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(unwritten, "SETTLE", 0.05)
    monkeypatch.setattr(unwritten, "GATHER", 0.005)
    monkeypatch.setattr(unwritten, "RETRY", 0.02)
    monkeypatch.setattr(unwritten, "HEARD", 1000.0)  # nothing waits for that


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    settings = Settings.model_validate({"storage": {"state_directory": str(tmp_path)}})
    await furnish(settings)
    opened = await Database.open(storage_url(settings))
    yield opened
    await opened.close()


class Worker:
    """A follower as the worker has it, and what it told the serving process."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.told: list[Any] = []
        self.database = database
        self.settings = settings
        self.follower = Follower(settings, database, self._tell)

    async def _tell(self, line: object) -> None:
        self.told.append(line)

    def rows(self, sql: str) -> list[Any]:
        file = sqlite3.connect(self.database.path)
        try:
            return file.execute(sql).fetchall()
        finally:
            file.close()

    def calls(self, columns: str = "*") -> list[Any]:
        return self.rows(f"SELECT {columns} FROM calls WHERE part_of = '' ORDER BY started_at, id")

    def heard(self, what: str) -> list[dict[str, Any]]:
        return [line[2] for line in self.told if line[:2] == ("call", what)]

    def pbxs(self) -> dict[str, Any]:
        return next((line[1] for line in reversed(self.told) if line[0] == "pbx"), {})

    def up(self, name: str = "pbx") -> bool:
        return bool(self.pbxs().get(name, {}).get("up"))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.01)


def settings_for(database: Database, *fakes: FakePbx, **changes: Any) -> Settings:
    first, *others = fakes
    ami: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": first.port,
        "username": "ostiary",
        "secret": SECRET,
        "others": [
            {
                "name": f"pbx{number}",
                "host": "127.0.0.1",
                "port": fake.port,
                "username": "o",
                "secret": SECRET,
            }
            for number, fake in enumerate(others, 2)
        ],
    }
    values = {"storage": {"state_directory": str(database.path.parent)}, "numbers": {"region": "DE"}}
    return Settings.model_validate({**values, **changes, "ami": {**ami, **changes.get("ami", {})}})


@asynccontextmanager
async def working(database: Database, *fakes: FakePbx, **changes: Any) -> AsyncIterator[Worker]:
    worker = Worker(database, settings_for(database, *fakes, **changes))
    task = asyncio.create_task(worker.follower.run())
    try:
        yield worker
    finally:
        assert not task.done()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def incoming(fake: FakePbx, uniqueid: str = "1795297524.0") -> None:
    """Let Ana's call come in, and 101 ring."""
    phone = {"ChannelState": "0", "ChannelStateDesc": "Down", "CallerIDNum": "101", "Exten": "s"}
    caller = channel(TRUNK, uniqueid, ChannelState="4", ChannelStateDesc="Ring")
    called = channel(PHONE, f"{uniqueid}1", uniqueid, **phone)
    dest = {f"Dest{name}": value for name, value in called.items()}
    fake.event("Newchannel", **caller)
    fake.event("Newchannel", **called)
    fake.event("DialBegin", **caller, **dest, DialString="101")
    fake.event("Newstate", **{**called, "ChannelState": "5", "ChannelStateDesc": "Ringing"})


def answered(fake: FakePbx, uniqueid: str = "1795297524.0") -> None:
    caller = channel(TRUNK, uniqueid)
    called = channel(PHONE, f"{uniqueid}1", uniqueid, CallerIDNum="101")
    dest = {f"Dest{name}": value for name, value in called.items()}
    bridge = {"BridgeUniqueid": f"b-{uniqueid}", "BridgeType": "basic", "BridgeTechnology": "simple_bridge"}
    fake.event("Newstate", **called)
    fake.event("DialEnd", **caller, **dest, DialStatus="ANSWER")
    fake.event("Newstate", **caller)
    fake.event("BridgeEnter", **bridge, BridgeNumChannels="1", **called)
    fake.event("BridgeEnter", **bridge, BridgeNumChannels="2", **caller)


def hung_up(fake: FakePbx, uniqueid: str = "1795297524.0") -> None:
    caller = channel(TRUNK, uniqueid)
    called = channel(PHONE, f"{uniqueid}1", uniqueid, CallerIDNum="101")
    bridge = {"BridgeUniqueid": f"b-{uniqueid}", "BridgeType": "basic", "BridgeTechnology": "simple_bridge"}
    for one in (called, caller):
        fake.event("BridgeLeave", **bridge, BridgeNumChannels="0", **one)
        fake.event("Hangup", **one, Cause="16", **{"Cause-txt": "Normal Clearing"})


def channels(uniqueid: str = "1795297524.0") -> list[dict[str, str]]:
    bridge = {"BridgeId": f"b-{uniqueid}"}
    phone = {"CallerIDNum": "101", "Application": "AppDial"}
    return [listed(TRUNK, uniqueid, **bridge), listed(PHONE, f"{uniqueid}1", uniqueid, **bridge, **phone)]


def stream(name: str) -> bytes:
    """Return a recorded conversation from behind the log-in."""
    return (STREAMS / f"{name}.ami").read_bytes().split(b"\r\n\r\n", 1)[1]


def decision(call_id: str, uniqueid: str, at: float) -> dict[str, object]:
    return {"id": call_id, "uniqueid": uniqueid, "number": int(ANA[1:]), "started_at": int(at), "name": "Ana"}


# Calls


async def test_a_call_nobody_asked_about_is_on_record(fake: FakePbx, database: Database) -> None:
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        incoming(fake)
        await worker.until(lambda: worker.rows("SELECT * FROM live_calls"))
        answered(fake)
        await worker.until(lambda: worker.heard("answered"))
        assert not worker.calls()  # it goes on
        hung_up(fake)
        await worker.until(lambda: worker.heard("ended"))
        columns = "id, direction, number, did, disposition, answered_by, routed_to, name, told_by, verdict"
        (row,) = worker.calls(columns)
        call_id = "pbx-1795297524.0"
        assert row[:3] == (call_id, "inbound", int(ANA[1:]))
        assert row[3:] == ("4930777100", "answered", "101", "101", "Ana Muñoz", "ami", "allow")
        (contact,) = worker.rows("SELECT c.name FROM calls JOIN contacts c ON c.id = calls.contact_id")
        assert contact == ("Ana Muñoz",)
        assert not worker.rows("SELECT * FROM live_calls")
        (answer,), (end,) = worker.heard("answered"), worker.heard("ended")
        assert (answer["extension"], answer["uniqueid"]) == ("101", "1795297524.0")
        assert (end["call_id"], end["disposition"], end["answered_by"]) == (call_id, "answered", "101")
        assert (end["direction"], end["number"], end["name"]) == ("inbound", ANA, "Ana")
        assert end["uniqueids"] == ["1795297524.0", "1795297524.01"]
        assert not worker.pbxs()["pbx"]["oddities"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("answered", ("inbound", "answered", "101")),
        ("missed", ("inbound", "no answer", "")),
        ("busy", ("inbound", "busy", "")),
        ("queue", ("inbound", "answered", "102")),
        ("outbound", ("outbound", "answered", "101")),
        ("forged", ("inbound", "answered", "101")),
    ],
)
async def test_what_asterisk_really_said(
    fake: FakePbx, database: Database, name: str, expected: tuple[str, str, str]
) -> None:
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        fake.raw(stream(name))
        await worker.until(lambda: worker.heard("ended"))
        assert expected in worker.calls("direction, disposition, answered_by")
        assert not worker.rows("SELECT * FROM live_calls")


async def test_a_call_that_was_decided_has_one_row(fake: FakePbx, database: Database) -> None:
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        row = decision("d-1", "1795297524.0", time.time())
        await database.write(lambda conn: record_calls(conn, [row]))
        incoming(fake)
        answered(fake)
        await worker.until(lambda: worker.heard("answered"))
        assert worker.heard("answered")[0]["call_id"] == "d-1"
        assert worker.calls("id, answered_by, ended_at") == [("d-1", "101", None)]
        hung_up(fake)
        await worker.until(lambda: worker.heard("ended"))
        assert worker.heard("ended")[0]["call_id"] == "d-1"
        assert worker.calls("id, disposition, told_by") == [("d-1", "answered", "ami")]


async def test_nothing_is_kept_where_there_is_to_be_no_journal(fake: FakePbx, database: Database) -> None:
    async with working(database, fake, journal={"enabled": False}) as worker:
        await worker.until(worker.up)
        incoming(fake)
        answered(fake)
        hung_up(fake)
        await worker.until(lambda: worker.heard("ended"))
        assert worker.heard("ended")[0]["disposition"] == "answered"
        assert not worker.calls()


# Breaks


async def test_a_call_that_goes_on_through_a_break(fake: FakePbx, database: Database) -> None:
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        incoming(fake)
        answered(fake)
        await worker.until(lambda: worker.heard("answered"))
        fake.lists["CoreShowChannels"] = channels()
        fake.cut()
        await fake.until(lambda: fake.log_ins == 2)
        await worker.until(worker.up)
        hung_up(fake)
        await worker.until(lambda: worker.heard("ended"))
        assert worker.calls("disposition, answered_by") == [("answered", "101")]
        assert len(worker.heard("answered")) == 1


async def test_a_call_that_ends_during_a_break(fake: FakePbx, database: Database) -> None:
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        incoming(fake)
        answered(fake)
        await worker.until(lambda: worker.heard("answered"))
        fake.cut()
        await worker.until(lambda: worker.heard("ended"))
        for _ in range(2):  # and it is not told again
            logged_in = fake.log_ins
            fake.cut()
            await fake.until(lambda: fake.log_ins > logged_in)  # noqa: B023  # done before the next
            await worker.until(worker.up)
        assert worker.calls("disposition, answered_by") == [("answered", "101")]
        assert len(worker.heard("ended")) == 1


async def test_a_call_that_began_during_a_break(fake: FakePbx, database: Database) -> None:
    fake.lists["CoreShowChannels"] = channels()
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        await worker.until(lambda: worker.rows("SELECT * FROM live_calls"))
        hung_up(fake)
        await worker.until(lambda: worker.heard("ended"))
        assert worker.calls("direction, number, disposition, answered_by") == [
            ("inbound", int(ANA[1:]), "answered", "101")
        ]


async def test_events_that_are_older_than_the_list_change_nothing(fake: FakePbx, database: Database) -> None:
    fake.lists["CoreShowChannels"] = channels()

    def late() -> None:
        incoming(fake)
        answered(fake)

    fake.before_list["CoreShowChannels"] = late
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        await worker.until(lambda: worker.rows("SELECT * FROM live_calls"))
        hung_up(fake)
        await worker.until(lambda: worker.heard("ended"))
        assert worker.calls("disposition, answered_by") == [("answered", "101")]


async def test_a_worker_that_is_new_goes_on_where_the_last_one_was(fake: FakePbx, database: Database) -> None:
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        incoming(fake)
        answered(fake)
        await worker.until(lambda: worker.heard("answered"))
    assert worker.rows("SELECT linkedid FROM live_calls") == [("1795297524.0",)]
    fake.lists["CoreShowChannels"] = channels()
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        assert worker.pbxs()["pbx"]["calls"] == 1
        hung_up(fake)
        await worker.until(lambda: worker.heard("ended"))
        assert worker.calls("disposition, answered_by") == [("answered", "101")]
        assert not worker.heard("answered")  # told before
        assert not worker.rows("SELECT * FROM live_calls")


async def test_a_worker_that_dies_between_the_end_and_the_record(
    fake: FakePbx, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unwritten, "SETTLE", 1000.0)
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        incoming(fake)
        answered(fake)
        hung_up(fake)
        await worker.until(lambda: "ended_at" in str(worker.rows("SELECT state FROM live_calls")))
        await worker.until(lambda: '"ended"' in str(worker.rows("SELECT state FROM live_calls")))
        assert not worker.calls()
    async with working(database, fake) as worker:
        await worker.until(lambda: worker.heard("ended"))
        assert worker.calls("disposition, answered_by") == [("answered", "101")]
        assert not worker.rows("SELECT * FROM live_calls")


async def test_the_record_waits_for_the_decision(
    fake: FakePbx, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on its way through another process; without it the call would be somebody's nobody asked about."""
    monkeypatch.setattr(unwritten, "SETTLE", 5.0)
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        incoming(fake)
        hung_up(fake)
        await worker.until(lambda: '"ended"' in str(worker.rows("SELECT state FROM live_calls")))
        row = decision("d-1", "1795297524.0", time.time())
        await database.write(lambda conn: record_calls(conn, [row]))
        await worker.until(lambda: worker.heard("ended"))
        assert worker.calls("id") == [("d-1",)]


# Failures


async def test_what_cannot_be_written_is_written_later(
    fake: FakePbx, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter(range(5))
    write = database.write

    async def failing(job: Any) -> Any:
        if next(failures, None) is not None:
            raise DirectoryError("the disk is full")
        return await write(job)

    async with working(database, fake) as worker:
        await worker.until(worker.up)
        monkeypatch.setattr(database, "write", failing)
        with capture_logs() as logs:
            incoming(fake)
            answered(fake)
            hung_up(fake)
            await worker.until(lambda: worker.heard("ended"))
        assert worker.calls("disposition, answered_by") == [("answered", "101")]
        assert len(worker.heard("answered")) == 1
    assert len([line for line in logs if "not written" in line["event"]]) == 1


async def test_an_answer_that_cannot_be_written_is_written_later(
    fake: FakePbx, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter(range(3))

    async def failing(*arguments: Any) -> Any:
        if next(failures, None) is not None:
            raise DirectoryError("the disk is full")
        return await writing.write_answer(*arguments)

    monkeypatch.setattr(unwritten, "write_answer", failing)
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        incoming(fake)
        answered(fake)
        await worker.until(lambda: worker.heard("answered"))
        hung_up(fake)
        await worker.until(lambda: worker.heard("ended"))
        assert len(worker.heard("answered")) == 1


async def test_an_end_that_somebody_made_up_is_taken_back(
    fake: FakePbx, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unwritten, "SETTLE", 1000.0)
    async with working(database, fake) as worker:

        def ended() -> bool:
            return '"ended":' in str(worker.rows("SELECT state FROM live_calls"))

        await worker.until(worker.up)
        incoming(fake)
        hung_up(fake)
        await worker.until(ended)
        answered(fake)  # they go on
        await worker.until(lambda: not ended())
        assert worker.rows("SELECT linkedid FROM live_calls") == [("1795297524.0",)]


async def test_a_record_that_cannot_be_stored_keeps_no_other_waiting(
    fake: FakePbx, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fussy(conn: Any, record: Record, *rest: Any, **more: Any) -> str:
        if record.linkedid == "1.0":
            raise ValueError("not that one")
        return await conclusion.conclude(conn, record, *rest, **more)

    monkeypatch.setattr(writing, "conclude", fussy)
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        for uniqueid in ("1.0", "2.0", "3.0"):
            incoming(fake, uniqueid)
            hung_up(fake, uniqueid)
        await worker.until(lambda: len(worker.heard("ended")) == 2)
        assert sorted(worker.calls("linkedid")) == [("2.0",), ("3.0",)]
        await worker.until(lambda: not worker.rows("SELECT * FROM live_calls"))


async def test_a_pbx_is_left_alone_while_nothing_can_be_written(
    fake: FakePbx, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unwritten, "MOST", 10)
    write, broken = database.write, True

    async def failing(job: Any) -> Any:
        if broken:
            raise DirectoryError("the disk is full")
        return await write(job)

    async with working(database, fake) as worker:
        await worker.until(worker.up)
        monkeypatch.setattr(database, "write", failing)
        for number in range(12):
            incoming(fake, f"{number}.0")
            hung_up(fake, f"{number}.0")
        await worker.until(lambda: "cannot be written" in str(worker.pbxs()))
        broken = False
        await worker.until(lambda: len(worker.heard("ended")) == 12 and worker.up())
        assert len(worker.calls("id")) == 12


async def test_a_fault_of_the_tracker_ends_nothing(
    fake: FakePbx, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = Tracker.event

    def faulty(tracker: Any, told: Any, at: float) -> Any:
        if told["Event"] == "Hold":
            raise ZeroDivisionError
        return event(tracker, told, at)

    monkeypatch.setattr(Tracker, "event", faulty)
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        with capture_logs() as logs:
            for _ in range(3):
                fake.event("Hold")
            incoming(fake)
            hung_up(fake)
            await worker.until(lambda: worker.heard("ended"))
    assert len([line for line in logs if line["log_level"] == "error"]) == 1
    assert fake.log_ins == 1


async def test_a_call_whose_end_was_made_unreadable_ends(
    fake: FakePbx, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CLOSER_LOOK", 0.15)
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        incoming(fake)
        await worker.until(lambda: worker.rows("SELECT * FROM live_calls"))
        evil = channel(TRUNK, "1795297524.0", CallerIDNum="1\r\nUniqueid: 9.9")
        fake.event("Hangup", **evil, Cause="16", **{"Cause-txt": "Normal Clearing"})
        await worker.until(lambda: worker.heard("ended"))
        assert worker.calls("linkedid") == [("1795297524.0",)]


# Several PBXs


async def test_no_pbx_waits_for_another(fake: FakePbx, database: Database) -> None:
    async with pbx() as mute, pbx() as third:
        mute.mute = True
        async with working(database, fake, mute, third) as worker:
            await worker.until(lambda: worker.up() and worker.up("pbx3"))
            incoming(fake)
            incoming(third)  # the same ids: another machine's
            hung_up(fake)
            hung_up(third)
            await worker.until(lambda: len(worker.heard("ended")) == 2)
            assert sorted(worker.calls("id, pbx")) == [
                ("pbx-1795297524.0", "pbx"),
                ("pbx3-1795297524.0", "pbx3"),
            ]
            assert not worker.up("pbx2")


async def test_two_with_one_name_are_one(fake: FakePbx, database: Database) -> None:
    async with pbx() as other:
        with capture_logs() as logs:
            others = [{"name": "pbx", "host": "127.0.0.1", "port": other.port}]
            async with working(database, fake, ami={"others": others}) as worker:
                await worker.until(worker.up)
        assert any("two PBXs have one name" in line["event"] for line in logs)
        assert not other.seen


async def test_how_it_stands_is_told(fake: FakePbx, database: Database) -> None:
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        told = worker.pbxs()["pbx"]
        assert told["error"] == ""
        assert told["since"] <= time.time()
        assert {name: told[name] for name in ("calls", "oddities", "events")} == {
            "calls": 0,
            "oddities": {},
            "events": 0,
        }
        await fake.stop()
        await worker.until(lambda: not worker.up())
        assert worker.pbxs()["pbx"]["error"]


# Phones


def device(state: str, name: str = "PJSIP/101") -> dict[str, str]:
    return {"Event": "DeviceStateChange", "Device": name, "State": state}


async def test_routing_knows_who_is_busy(fake: FakePbx, database: Database) -> None:
    fake.lists["DeviceStateList"] = [device("INUSE"), device("NOT_INUSE", "PJSIP/trunk")]
    async with working(database, fake) as worker:
        directory = SqliteDirectory(database.path, worker.settings)
        now = int(time.time())
        await worker.until(lambda: directory.agent_state("101", now - 1) == "busy")
        fake.event("DeviceStateChange", Device="PJSIP/101", State="UNAVAILABLE")
        await worker.until(lambda: directory.agent_state("101", now - 1) == "unreachable")
        assert worker.rows("SELECT extension FROM agent_states") == [("101",)]
        directory.close()
    (seen,) = worker.rows("SELECT seen_at FROM pbx_states")
    assert seen[0] >= now


async def test_what_was_told_before_a_break_counts_no_more(fake: FakePbx, database: Database) -> None:
    fake.lists["DeviceStateList"] = [device("INUSE"), device("INUSE", "PJSIP/200")]
    async with working(database, fake) as worker:
        await worker.until(lambda: len(worker.rows("SELECT * FROM agent_states")) == 2)
        fake.lists["DeviceStateList"] = [device("NOT_INUSE", "PJSIP/200")]
        fake.cut()
        await worker.until(
            lambda: worker.rows("SELECT extension, state FROM agent_states") == [("200", "free")]
        )


async def test_a_pbx_that_is_away_is_not_noted_as_there(
    fake: FakePbx, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(_conn: Any) -> None: ...

    monkeypatch.setattr(unwritten, "HEARD", 0.02)
    clock = iter(range(1_000_000, 2_000_000))
    write_notes = writing.write_notes

    async def noting(conn: Any, pbx: str, notes: Any, _now: int) -> None:
        await write_notes(conn, pbx, notes, next(clock))

    monkeypatch.setattr(unwritten, "write_notes", noting)
    async with working(database, fake) as worker:

        def seen() -> int:
            rows = worker.rows("SELECT seen_at FROM pbx_states")
            return int(rows[0][0]) if rows else 0

        await worker.until(seen)
        first = seen()
        await worker.until(lambda: seen() > first)
        await fake.stop()
        await worker.until(lambda: not worker.up())
        await database.write(nothing)  # behind what was on its way when it went
        last = seen()
        await asyncio.sleep(0.2)  # many times HEARD
        assert seen() == last


async def test_without_the_right_to_ask_calls_are_followed_all_the_same(
    fake: FakePbx, database: Database
) -> None:
    del fake.lists["DeviceStateList"]
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        incoming(fake)
        hung_up(fake)
        await worker.until(lambda: worker.heard("ended"))


async def test_a_new_agent_is_one_of_ours(
    fake: FakePbx, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "AGENTS", 0.0)
    async with working(database, fake, ami={"trunks": ["1*"]}) as worker:
        await worker.until(worker.up)
        for name in ("PJSIP/mobile-of-ana", "PJSIP/101", "PJSIP/200"):
            fake.event("DeviceStateChange", Device=name, State="INUSE")
        await worker.until(lambda: worker.rows("SELECT extension FROM agent_states") == [("200",)])
        agent = Agent(id=0, name="Ana", extension="mobile-of-ana")
        await database.write(lambda conn: put_agent(conn, agent, who="test", now=1))
        fake.event("DeviceStateChange", Device="PJSIP/mobile-of-ana", State="INUSE")
        await worker.until(lambda: len(worker.rows("SELECT extension FROM agent_states")) == 2)


async def test_a_click_reaches_the_pbx(fake: FakePbx, database: Database) -> None:
    order = {"id": "0123abcd", "agent": "101", "number": "030123", "shown": "+4930123", "name": "Ana"}
    async with working(database, fake) as worker:
        await worker.until(worker.up)
        dial = Dial(
            id="0123abcd",
            agent="101",
            number=4930123,
            text="+4930123",
            name="Ana",
            contact_id=None,
            asked_at=int(time.time()),
            who="user:ana",
        )
        await database.write(
            lambda conn: dials.order(conn, dial, per_minute=9, same_seconds=1, now=int(time.time()))
        )
        worker.follower.asked("dial", order)
        await fake.until(lambda: fake.seen["Originate"])
        await worker.until(lambda: worker.heard("progress"))  # this PBX knows no Originate
        assert worker.heard("progress")[0]["state"] == "failed"
