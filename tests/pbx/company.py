"""A company with a PBX, an org and Ostiary between them, whose conversations are compared with what is on record."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.org.records import Org
from tests.org.server import running
from tests.pbx import lanes
from tests.pbx.ami import Ami
from tests.pbx.asterisk import Asterisk
from tests.pbx.conversations import ALL, Lane, have
from tests.pbx.ostiary import Ostiary
from tests.pbx.sipp import Sipp
from tests.pbx.waiting import PATIENCE, until
from tests.ports import free_port

LANES = lanes.LANES[1:11]  # not the one other tests use
RESPONSIBLE = lanes.extension(LANES[0], 3)
MEANWHILE = (  # conversations of test_weather.py
    "through",
    "ended",
    "taken",
    "given-up",
    "begun",
    "come-and-gone",
    "missed-meanwhile",
    "queued",
    "called",
)
NAMES = [*ALL, *MEANWHILE]
KNOWN = {name: f"4930600{index:04}" for index, name in enumerate(NAMES)}  # whom each is with, outside
STRANGERS = {"missed", "outbound-busy", "queue-abandoned", "recorded"}  # whom nobody knows
OWNED = {"answered", "blind-transfer"}  # whose owner is the first seat of the lane

FIELDS = (
    "Id, Subject, CallType, CallDisposition, CallDurationInSeconds, CallObject, OwnerId, WhoId, Status, "
    "ActivityDate, TaskSubtype"
)
COLUMNS = (
    "id, direction, number, did, disposition, answered_by, seconds, legs, transfers, queue, recording, told_by, "
    "ended_at, contact_id, linkedid"
)


def lane_of(name: str) -> int:
    """Return the lane in which a conversation takes place."""
    return LANES[NAMES.index(name) % len(LANES)]


class Company:
    """Everything there is; `people` are the org's Users by extension, `contacts` its Contacts by conversation."""

    def __init__(
        self, folder: Path, asterisk: Asterisk, ami_port: int, org: Org, settings: dict[str, str]
    ) -> None:
        self.org = org
        self.people = {extension: _person(org, extension) for extension in lanes.every(LANES)}
        self.contacts = {
            name: org.create(
                "Contact",
                {
                    "FirstName": "Someone",
                    "LastName": f"of {name}",
                    "Phone": f"+{number}",
                    **({"OwnerId": self.people[f"{lane_of(name)}1"]} if name in OWNED else {}),
                },
            )
            for name, number in KNOWN.items()
            if name not in STRANGERS
        }
        self.ostiary = Ostiary(
            folder,
            **{
                "OSTIARY_HTTP__ENABLED": "true",
                "OSTIARY_HTTP__LISTEN": f"127.0.0.1:{free_port()}",
                "OSTIARY_ROUTING__RING_SECONDS": "5",
                "OSTIARY_AMI__HOST": "127.0.0.1",
                "OSTIARY_AMI__PORT": str(ami_port),
                "OSTIARY_AMI__USERNAME": "ostiary",
                "OSTIARY_AMI__SECRET": "for-the-tests",
                "OSTIARY_TASKS__FOLLOW_UP_WAIT": "1",
                "OSTIARY_TASKS__RESPONSIBLE": RESPONSIBLE,
                "OSTIARY_TASKS__QUEUES": "{"
                + ", ".join(f'"sales-{lane}": "{lane}2"' for lane in LANES)
                + "}",
                **settings,
            },
        )
        self.ostiary.run("sync")
        agents = [f"Agent {extension},{extension}@example.com,{extension}" for extension in self.people]
        self.ostiary.load("agents", "\n".join(["Name,Email,Extension", *agents]) + "\n")
        self.ostiary.start()
        asterisk.set_global("OSTIARY_SERVER", self.ostiary.address)
        self.follows()

    def follows(self, times: int = 1) -> None:
        """Wait until it has signed in to the PBX so many times."""
        until(lambda: self.signed_in() >= times)

    def signed_in(self) -> int:
        """Return how often it has signed in to the PBX so far."""
        return (self.ostiary.folder / "log").read_text().count('"event":"AMI: connected"')

    def kill(self, *, everything: bool = False) -> None:
        """Kill the worker with SIGKILL: the serving process starts another. Or that one, and all it started."""
        process = self.ostiary.process
        assert process is not None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if everything:
            process.kill()
        for child in children:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if everything or "worker" in Path(f"/proc/{child}/cmdline").read_text().split("\0"):
                    os.kill(int(child), signal.SIGKILL)
        if everything:
            self.ostiary.stop(signal.SIGKILL)

    def sees(self, calls: int, phones: int) -> None:
        """Wait until so many calls in progress are known, on disk, and so many phones that ring or speak."""
        query = "SELECT count(*) >= ? AND sum(json_array_length(state, '$.parts')) >= ? FROM live_calls"
        until(lambda: self.ostiary.rows(query, calls, phones)[0][0])

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return what is on record of a conversation."""
        columns = [column.strip() for column in COLUMNS.split(",")]
        where = "number = ?" if name != "internal" else "direction = 'internal'"
        values = [int(KNOWN[name])] if name != "internal" else []
        found = self.ostiary.rows(f"SELECT {COLUMNS} FROM calls WHERE part_of = '' AND {where}", *values)
        return [dict(zip(columns, row, strict=True)) for row in found]

    def tasks(self) -> dict[str, list[dict[str, Any]]]:
        """Return the org's Tasks by CallObject."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for task in self.org.query(f"SELECT {FIELDS} FROM Task"):
            found[task["CallObject"]].append(task)
        return found

    def settled(self, calls: int, *, but: str = "") -> None:
        """Wait until so many calls are on record, have ended, and nothing waits for Salesforce any more.

        What that teller (`but`) told of is not waited for: AMI may come back within half a minute and know better.
        """
        until(lambda: self._ended() >= calls)
        until(lambda: not self.ostiary.rows("SELECT 1 FROM live_calls"))  # each left with its record
        left_out = "SELECT 'call:' || id FROM calls WHERE told_by = ?"
        waiting = f"SELECT 1 FROM outbox WHERE coalesce(key, '') NOT IN ({left_out})"
        until(lambda: not self.ostiary.rows(waiting, but))  # a Task waits for who sees more

    def _ended(self) -> int:
        query = "SELECT count(*) FROM calls WHERE part_of = '' AND ended_at IS NOT NULL"
        return int(str(self.ostiary.rows(query)[0][0]))


def _person(org: Org, extension: str) -> str:
    email = f"{extension}@example.com"
    names = {"LastName": f"Agent {extension}", "Alias": extension}
    return org.create("User", {**names, "Email": email, "Username": email})


@contextlib.contextmanager
def company(folder: Path, asterisk: Asterisk, ami_port: int, **settings: str) -> Iterator[Company]:
    """Open for business."""
    with contextlib.closing(Org()) as org, running(org) as server:
        org_settings = {
            f"OSTIARY_SALESFORCE__{key.upper()}": str(value) for key, value in server.settings().items()
        }
        made = Company(
            folder,
            asterisk,
            ami_port,
            org,
            {"OSTIARY_SALESFORCE__SYNC_INTERVAL": "5", **org_settings, **settings},
        )
        try:
            yield made
        finally:
            made.ostiary.stop()


def take_place(names: Iterable[str], sipp: Sipp, ami: Ami) -> dict[str, float]:
    """Have conversations take place, those of different lanes side by side; return how many seconds each took.

    Raises what went wrong with any.
    """
    took: dict[str, float] = {}
    wrong: dict[str, BaseException] = {}
    by_lane: dict[int, list[str]] = defaultdict(list)
    for name in names:
        by_lane[lane_of(name)].append(name)

    def run(lane: int, names: list[str]) -> None:
        for name in names:
            parties = sipp.another(name)
            began = time.monotonic()
            try:
                have(name, Lane(lane, KNOWN[name], parties, ami))
            except Exception as error:  # noqa: BLE001  # a thread's errors belong to the test
                wrong[name] = error
            finally:
                parties.end()
            took[name] = time.monotonic() - began

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in by_lane.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    if wrong:
        raise AssertionError(f"these conversations did not take place as wanted: {wrong}")
    return took
