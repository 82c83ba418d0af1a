"""One row a conversation, whoever tells of it, in whatever order and however often; and what is wanted of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.calls.record import Disposition, Leg, LegOutcome, Record, Transfer, Way
from agi_server.settings import Tasks
from storage.calls import answer_call, end_call, record_calls
from storage.database import Database
from storage.directory import SqliteDirectory
from storage.history import CallFilter, CallRow, assign, calls, get_call
from storage.records import find, tell
from storage.tasks import made, want
from tests.storage.conftest import NOW, Query, url_of

TASKS = Tasks()
CALLER = "030 23125010"
E164 = 493023125010
LEGS = (
    Leg(extension="", number=CALLER, via="caller", began_at=NOW, answered_at=NOW + 4.5, ended_at=NOW + 30.0),
    Leg(extension="101", began_at=NOW + 1.0, ended_at=NOW + 4.5, outcome=LegOutcome.ELSEWHERE),
    Leg(
        extension="102",
        via="queue",
        queue="600",
        began_at=NOW + 1.0,
        answered_at=NOW + 4.5,
        ended_at=NOW + 30.0,
        held=3.0,
        outcome=LegOutcome.ANSWERED,
    ),
)
AMI = Record(
    pbx="berlin",
    linkedid="1.1",
    uniqueids=("1.1", "1.2", "1.3"),
    number=CALLER,
    name="From the trunk",
    did="4930100",
    trunk="sip-provider",
    started_at=NOW + 0.4,
    answered_at=NOW + 4.5,
    ended_at=NOW + 30.2,
    disposition=Disposition.ANSWERED,
    seconds=25,
    answered_by="102",
    queue="600",
    recording="2026/11/21/in-1.1.wav",
    legs=LEGS,
    transfers=(Transfer(kind="blind", at=NOW + 9.0, by="102", to="103"),),
)
MISSED = {
    "answered_at": None,
    "disposition": Disposition.CANCELLED,
    "seconds": 0,
    "answered_by": "",
    "legs": LEGS[:1],
}


def record(**changes: Any) -> Record:
    return Record(**{name: getattr(AMI, name) for name in Record.__slots__} | changes)


def decision(call_id: str = "d1", uniqueid: str = "1.1", **columns: Any) -> dict[str, Any]:
    return {
        "id": call_id,
        "uniqueid": uniqueid,
        "started_at": NOW,
        "number": E164,
        "number_text": CALLER,
        "name": "Ana",
        "did": "4930100",
        "rung": "exact",
        "reason": "known",
        "routed_to": "101",
        "contact_id": 5,
        "trace": [["match", "exact"]],
    } | columns


async def told(
    database: Database,
    what: Record = AMI,
    *,
    tasks: Tasks = TASKS,
    decided: Mapping[str, object] | None = None,
    now: int = NOW + 31,
) -> str:
    return await database.write(
        partial(tell, record=what, tasks=tasks, region="DE", decided=decided, now=now)
    )


async def decide(database: Database, *rows: dict[str, Any], tasks: Tasks | None = TASKS) -> set[str]:
    return await database.write(partial(record_calls, rows=rows, tasks=tasks))


async def shown(database: Database) -> list[CallRow]:
    return (await database.read(lambda conn: calls(conn, CallFilter(), limit=50)))[0]


async def only(database: Database) -> CallRow:
    (row,) = await shown(database)
    return row


def wanted(query: Query) -> dict[str, int]:
    return dict(query("SELECT key, next_attempt_at FROM outbox ORDER BY id"))


async def test_a_record_goes_into_the_row_of_its_decision(database: Database, query: Query) -> None:
    await decide(database, decision())
    assert await told(database) == "d1"
    row = await only(database)
    assert (row.id, row.name, row.contact_id, row.routed_to, row.started_at) == ("d1", "Ana", 5, "101", NOW)
    assert (row.trunk, row.pbx, row.linkedid, row.queue) == ("sip-provider", "berlin", "1.1", "600")
    assert (row.disposition, row.answered_by, row.seconds) == ("answered", "102", 25)
    assert (row.answered_at, row.ended_at, row.told_by) == (NOW + 4, NOW + 30, "ami")
    assert (row.legs, row.transfers, row.recording) == (AMI.legs, AMI.transfers, "2026/11/21/in-1.1.wav")
    assert wanted(query) == {"call:d1": NOW + 34}
    assert query("SELECT kind, contact_id, payload, created_at, ref FROM outbox") == [
        ("call", None, "{}", NOW + 31, None)
    ]


async def test_without_a_decision_a_row_is_made(database: Database, query: Query) -> None:
    assert await told(database) == await told(database) == "berlin-1.1"
    row = await only(database)
    assert (row.number, row.number_text, row.name) == (E164, CALLER, "From the trunk")
    assert (row.direction, row.verdict, row.rung, row.contact_id) == ("inbound", "allow", "none", None)
    assert (row.started_at, row.uniqueid, row.trace) == (NOW, "1.1", ())
    assert wanted(query) == {"call:berlin-1.1": NOW + 34}


async def test_what_would_have_been_decided_fills_such_a_row(database: Database) -> None:
    refused = decision(verdict="block", reason="blacklist-exact", rule_id=3, did="")
    await told(database, decided=refused)
    row = await only(database)
    assert (row.name, row.contact_id, row.rung, row.routed_to, row.did) == (
        "Ana",
        5,
        "exact",
        "101",
        "4930100",
    )
    assert (row.verdict, row.reason, row.rule_id) == ("allow", "", None)  # nobody asked: it was let in
    assert row.trace[0].stage == "match"


async def test_outgoing_and_internal_calls_that_nobody_asked_about(database: Database, query: Query) -> None:
    await told(database, record(way=Way.OUTBOUND, agent="101", did=""))
    inside = {
        "way": Way.INTERNAL,
        "agent": "101",
        "number": "102",
        "did": "",
        "linkedid": "2.1",
        "uniqueids": (),
    }
    await told(database, record(**inside))
    rows = {row.direction: row for row in await shown(database)}
    assert (rows["outbound"].routed_to, rows["outbound"].number) == ("101", E164)
    assert (rows["internal"].routed_to, rows["internal"].number, rows["internal"].number_text) == (
        "101",
        None,
        "102",
    )
    assert wanted(query) == {"call:berlin-1.1": NOW + 34}
    await told(database, record(**inside | {"seconds": 26}), tasks=Tasks(internal=True))
    assert set(wanted(query)) == {"call:berlin-1.1", "call:berlin-2.1"}


async def test_an_outgoing_call_that_stays_in_the_house_is_internal(database: Database, query: Query) -> None:
    await decide(database, decision(direction="outbound", number=None, number_text="102"))
    await database.write(partial(end_call, call_id="d1", ended_at=NOW + 9, disposition="answer", tasks=TASKS))
    assert set(wanted(query)) == {"call:d1"}
    await told(database, record(way=Way.INTERNAL, number="102"))
    assert (await only(database)).direction == "internal"
    assert wanted(query) == {}
    await decide(database, decision("d0", started_at=NOW - 1))  # an earlier one: it was a call from outside
    assert (await only(database)).direction == "inbound"


async def test_who_sees_less_overwrites_nothing(database: Database) -> None:
    await decide(database, decision())
    await told(database, record(queue="", recording=""))
    less = record(
        told_by="cdr",
        disposition=Disposition.BUSY,
        answered_by="",
        seconds=0,
        queue="601",
        recording="r.wav",
        legs=(),
    )
    await told(database, less)
    assert (
        await database.write(partial(end_call, call_id="d1", ended_at=NOW + 99, disposition="noanswer"))
        == "d1"
    )
    assert await database.write(partial(answer_call, call_id="d1", at=NOW + 1, extension="109"))
    row = await only(database)
    assert (row.disposition, row.answered_by, row.ended_at, row.legs) == (
        "answered",
        "102",
        NOW + 30,
        AMI.legs,
    )
    assert (row.queue, row.recording, row.told_by) == ("601", "r.wav", "ami")  # what it alone knows


async def test_who_sees_more_overwrites(database: Database, query: Query) -> None:
    await decide(database, decision(name="", trunk=""))
    await database.write(partial(answer_call, call_id="d1", at=NOW + 1, extension="109"))
    await database.write(
        partial(end_call, call_id="d1", ended_at=NOW + 29, disposition="noanswer", tasks=TASKS)
    )
    assert (await only(database)).answered_by == "109"
    await told(database, record(told_by="cdr", name="of the CDR", **MISSED))
    row = await only(database)
    assert (row.answered_by, row.answered_at, row.disposition, row.name) == (
        "",
        None,
        "cancelled",
        "of the CDR",
    )
    assert set(wanted(query)) == {"call:d1", "follow-up:d1"}
    await told(database)
    row = await only(database)
    assert (row.answered_by, row.disposition, row.name) == ("102", "answered", "From the trunk")
    assert set(wanted(query)) == {"call:d1"}
    await told(database, record(name=""))
    assert (await only(database)).name == "From the trunk"


async def test_decisions_about_one_conversation_are_one_call(database: Database, query: Query) -> None:
    second = decision("d2", "1.3", started_at=NOW + 9, name="Second", contact_id=7, trace=[["x", "y"]])
    await decide(database, second, decision(name="", contact_id=None, trace=[]))
    for call_id in ("d1", "d2"):
        await database.write(
            partial(end_call, call_id=call_id, ended_at=NOW + 9, disposition="answer", tasks=TASKS)
        )
    assert set(wanted(query)) == {"call:d1", "call:d2"}
    assert await told(database) == "d1"
    row = await only(database)
    assert (row.id, row.name, row.contact_id, row.trace[0].stage) == ("d1", "Second", 7, "x")
    assert query("SELECT part_of FROM calls WHERE id = 'd2'") == [("d1",)]
    assert set(wanted(query)) == {"call:d1"}
    assert await database.read(lambda conn: get_call(conn, "d2")) == row
    third = decision("d3", "1.2", started_at=NOW + 12, name="Third")
    assert await decide(database, third) == {"d3"}
    assert await decide(database, third) == set()
    assert await only(database) == row


async def test_how_hard_was_looked_for_a_caller_the_first_decision_says(database: Database) -> None:
    await decide(database, decision(contact_id=None, rung="anonymous"))
    await told(database)
    await decide(database, decision("d2", "1.3", started_at=NOW + 9, contact_id=None, rung="none"))
    assert (await only(database)).rung == "anonymous"
    await decide(database, decision("d0", "1.2", started_at=NOW - 9, contact_id=None, rung="none"))
    assert (await only(database)).rung == "none"


async def test_transfers_are_told_with_the_legs(database: Database) -> None:
    await told(database, record(transfers=()))
    await told(database, record(told_by="cdr"))
    assert (await only(database)).transfers == ()
    await told(database, record(linkedid="2.1", uniqueids=(), legs=(), transfers=()))
    await told(database, record(linkedid="2.1", uniqueids=(), told_by="cdr"))
    rows = {row.id: row for row in await shown(database)}
    assert (rows["berlin-2.1"].legs, rows["berlin-2.1"].transfers) == (AMI.legs, AMI.transfers)


async def test_a_decision_that_comes_late(database: Database, query: Query) -> None:
    await told(database, decided=decision(name="would be", contact_id=None, trace=[]))
    assert await decide(database, decision(verdict="block", reason="blacklist-exact", rule_id=3)) == {"d1"}
    row = await only(database)
    assert (row.id, row.name, row.contact_id, row.verdict, row.rule_id) == (
        "berlin-1.1",
        "Ana",
        5,
        "block",
        3,
    )
    assert (row.answered_by, row.legs, row.trunk) == ("102", AMI.legs, "sip-provider")
    assert wanted(query) == {}  # of blocked calls there are no Tasks
    assert query("SELECT part_of FROM calls WHERE id = 'd1'") == [("berlin-1.1",)]
    # What the dialplan tells of it finds the conversation.
    assert (
        await database.write(partial(end_call, call_id="d1", ended_at=NOW, disposition="busy"))
        == "berlin-1.1"
    )
    assert (await only(database)).disposition == "answered"


async def test_a_late_decision_brings_a_task_that_was_made_in_step(database: Database, query: Query) -> None:
    await told(database)
    query("DELETE FROM outbox")
    await database.write(partial(made, key="call:berlin-1.1", salesforce_id="00T1", closed=True, now=NOW))
    await decide(database, decision(), tasks=None)
    assert set(wanted(query)) == {"call:berlin-1.1"}


async def test_conversations_that_become_one(database: Database, query: Query) -> None:
    """An attended transfer: the second call was told of alone, by who sees less."""
    await decide(database, decision(), decision("d2", "1.3", started_at=NOW + 5, direction="outbound"))
    await told(database, record(told_by="cdr", linkedid="1.1", uniqueids=("1.1", "1.2")))
    await told(database, record(told_by="cdr", linkedid="1.3", uniqueids=("1.3", "1.4")))
    assert [row.id for row in await shown(database)] == ["d2", "d1"]
    assert await told(database) == "d1"
    assert (await only(database)).id == "d1"
    assert set(wanted(query)) == {"call:d1"}
    assert await told(database, record(told_by="cdr", linkedid="1.3", uniqueids=("1.3", "1.4"))) == "d1"
    assert (await only(database)).told_by == "ami"


async def test_what_one_who_sees_more_told_apart_stays_apart(database: Database) -> None:
    await told(database, record(linkedid="1.1", uniqueids=("1.1",)))
    await told(database, record(linkedid="1.3", uniqueids=("1.3",)))
    await told(database, record(told_by="cdr"))
    assert len(await shown(database)) == 2


async def test_other_pbxs_and_other_days_have_calls_of_their_own(database: Database) -> None:
    await told(database)
    await told(database, record(pbx="madrid"))
    await told(database, record(started_at=NOW + 9e5, ended_at=NOW + 9e5, linkedid="1.2", uniqueids=("1.2",)))
    assert sorted(row.id for row in await shown(database)) == ["berlin-1.1", "berlin-1.2", "madrid-1.1"]
    await told(database, record(started_at=NOW - 9e5))  # its clock was put right
    assert len(await shown(database)) == 3


async def test_what_a_person_said_of_a_call_stays(database: Database) -> None:
    await decide(database, decision())

    async def contacts(conn: AsyncConnection) -> None:
        await conn.exec_driver_sql("INSERT INTO contacts (id, name) VALUES (5, 'Ana'), (7, 'Eva')")

    await database.write(contacts)
    await database.write(lambda conn: assign(conn, "d1", 7, who="user:x", now=NOW))
    await told(database, decided=decision(contact_id=5))
    await decide(database, decision("d0", started_at=NOW - 5))
    assert (await only(database)).contact_id == 7


async def test_what_is_wanted_again(database: Database, query: Query) -> None:
    await decide(database, decision())
    await told(database)
    await database.write(
        lambda conn: conn.exec_driver_sql("UPDATE outbox SET ref = key")
    )  # it may have been sent
    await told(database)
    assert len(query("SELECT 1 FROM outbox")) == 1  # nothing has changed
    await told(database, record(seconds=26))
    assert query("SELECT key, ref FROM outbox ORDER BY id") == [("call:d1", "call:d1"), ("call:d1", None)]


@pytest.mark.parametrize(
    ("tasks", "case", "keys"),
    [
        (TASKS, ({}, {}), {"call"}),
        (TASKS, ({}, MISSED), {"call", "follow-up"}),
        (Tasks(follow_up=False), ({}, MISSED), {"call"}),
        (Tasks(enabled=False), ({}, MISSED), set()),
        (TASKS, ({"number": None, "number_text": "anonymous"}, MISSED), {"call"}),
        (TASKS, ({"verdict": "block"}, MISSED), set()),
        (Tasks(blocked=True), ({"verdict": "block"}, MISSED), {"call"}),
        (TASKS, ({"direction": "outbound"}, MISSED | {"way": Way.OUTBOUND}), {"call"}),
        (TASKS, ({"rung": "extension"}, MISSED), {"call"}),
    ],
)
async def test_which_tasks_are_wanted(
    database: Database,
    query: Query,
    tasks: Tasks,
    case: tuple[dict[str, Any], dict[str, Any]],
    keys: set[str],
) -> None:
    columns, changes = case
    await decide(database, decision(**columns))
    await told(database, record(**changes), tasks=tasks)
    assert {key.removesuffix(":d1") for key in wanted(query)} == keys
    if "follow-up" in keys:
        assert wanted(query)["follow-up:d1"] == NOW + 31 + tasks.follow_up_wait


async def test_the_call_of_a_conversation_is_found(database: Database) -> None:
    async def found(uniqueids: Sequence[str], linkedid: str) -> str | None:
        return await database.read(lambda conn: find(conn, uniqueids, linkedid))

    assert await found(["1.1"], "1.1") is None
    await decide(database, decision(), decision("d2", "1.3", started_at=NOW + 5))
    assert await found(["1.1", "1.2", "1.3"], "1.1") == "d1"
    assert await found(["1.3"], "1.3") == "d2"
    await told(database)
    assert await found(["1.3"], "1.3") == await found(["1.2"], "1.2") == "d1"


async def test_what_cannot_be_put_on_record(database: Database) -> None:
    with pytest.raises(ValueError, match="goes on"):
        await told(database, record(ended_at=None))
    with pytest.raises(ValueError, match="who"):
        await told(database, record(told_by="who"))


# --- in any order


Step = Callable[[AsyncConnection], Awaitable[object]]
SOME = st.sampled_from
TEXT = SOME(["", "A", "B"])


@st.composite
def conversations(draw: st.DrawFn) -> dict[str, Step]:
    """Return what is told of one conversation, by name: up to two decisions and what follows them, and records."""
    way = draw(SOME([Way.INBOUND, Way.OUTBOUND, Way.INTERNAL]))
    direction = "inbound" if way is Way.INBOUND else "outbound"
    steps: dict[str, Step] = {}
    for call_id, uniqueid in (("d1", "1.1"), ("d2", "1.3")):
        if not draw(st.booleans()):
            continue
        row = decision(
            call_id,
            uniqueid,
            direction=direction,
            started_at=NOW + draw(st.integers(0, 9)),
            name=draw(TEXT),
            did=draw(TEXT),
            trunk=draw(TEXT),
            routed_to=draw(SOME(["", "101", "102"])),
            contact_id=draw(SOME([None, 5, 7])),
            rung=draw(SOME(["none", "exact"])),
            verdict=draw(SOME(["allow", "allow", "block"])),
            trace=draw(SOME([[], [["match", call_id]]])),
            **draw(SOME([{}, {"number": None, "number_text": ""}])),
        )
        steps[call_id] = partial(record_calls, rows=[row], tasks=TASKS)
        for number in range(draw(st.integers(0, 2))):
            at, extension = NOW + draw(st.integers(10, 19)), draw(SOME(["101", "102"]))
            steps[f"{call_id} answered {number}"] = partial(
                answer_call, call_id=call_id, at=at, extension=extension, tasks=TASKS
            )
        if draw(st.booleans()):
            steps[f"{call_id} ended"] = partial(
                end_call,
                call_id=call_id,
                ended_at=NOW + 20,
                disposition=draw(SOME(["answer", "noanswer"])),
                seconds=draw(st.integers(0, 5)),
                answered_by=draw(SOME(["", "103"])),
                tasks=TASKS,
            )
    decided = draw(SOME([None, decision(name="W", contact_id=9)]))
    for teller in ("cdr", draw(SOME(["ami", "ami", "glimpse"]))):  # AMI saw the call, or a glimpse of it
        if draw(st.booleans()):
            what = record(
                told_by=teller,
                way=draw(SOME([way, way, Way.INTERNAL])) if direction == "outbound" else way,
                agent=draw(SOME(["", "104"])) if direction == "outbound" else "",
                name=draw(SOME(["", "C", "D"])),
                did=draw(TEXT),
                trunk=draw(TEXT),
                queue=draw(TEXT),
                recording=draw(TEXT),
                started_at=NOW + draw(st.floats(0, 9)),
                **(MISSED if teller == "glimpse" else draw(SOME([{}, MISSED]))),
            )
            steps[teller] = partial(
                tell, record=what, tasks=TASKS, region="DE", decided=decided, now=NOW + 31
            )
    return steps


class _CrashError(Exception):
    pass


async def play(database: Database, order: Sequence[tuple[str, bool]], steps: Mapping[str, Step]) -> None:
    """Take steps in an order; a crash comes after all is written and before it is on disk."""

    async def crash(conn: AsyncConnection, step: Step) -> None:
        await step(conn)
        raise _CrashError

    for name, crashes in order:
        if crashes:
            with pytest.raises(_CrashError):
                await database.write(partial(crash, step=steps[name]))
        else:
            await database.write(steps[name])


async def outcome(database: Database) -> tuple[list[Any], set[str]]:
    """Return what is shown and wanted; a row's own id is whatever it came to be called first."""

    async def empty(conn: AsyncConnection) -> None:
        for table in ("calls", "outbox"):
            await conn.exec_driver_sql(f"DELETE FROM {table}")

    rows = await shown(database)
    names = ["main"] if len(rows) == 1 else [row.id for row in rows]
    keys = {row[0] for row in await database.read(_keys)}
    renamed = {row.id: name for row, name in zip(rows, names, strict=True)}
    await database.write(empty)
    columns = [{each: getattr(row, each) for each in CallRow.__slots__} for row in rows]
    return (
        [row | {"id": renamed[row["id"]]} for row in columns],
        {f"{kind}:{renamed[call_id]}" for kind, _, call_id in (key.partition(":") for key in keys)},
    )


async def _keys(conn: AsyncConnection) -> list[Any]:
    return [*await conn.exec_driver_sql("SELECT key FROM outbox WHERE ref IS NULL")]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=conversations(), data=st.data())
async def test_in_any_order_and_however_often(
    database: Database, steps: dict[str, Step], data: st.DataObject
) -> None:
    """What the dialplan tells of a call comes after its decision: both are lines of one stream, the journal's."""
    assume(steps)
    names = [*steps]
    order = data.draw(st.lists(st.tuples(SOME(names), st.booleans()), max_size=8)) + [
        (name, False) for name in data.draw(st.permutations(names))
    ]
    order = [step for at, step in enumerate(order) if _may_come(step[0], order[:at])]
    order += [(name, False) for name in names if (name, False) not in order]
    await play(database, [(name, False) for name in names], steps)
    expected = await outcome(database)
    await play(database, order, steps)
    assert await outcome(database) == expected


def _may_come(name: str, before: Sequence[tuple[str, bool]]) -> bool:
    call_id = name.partition(" ")[0]
    return name == call_id or (call_id, False) in before


def test_nothing_is_lost_between_processes(path: Path, query: Query) -> None:
    """The record of a call and its decision may be written by connections of their own, at the same moment."""

    async def both() -> None:
        one, other = [await Database.open(url_of(path)) for _ in range(2)]
        for number in range(20):
            row = decision(f"d{number}", f"{number}.1")
            what = record(linkedid=f"{number}.1", uniqueids=(f"{number}.1",))
            await asyncio.gather(decide(one, row), told(other, what))
        await one.close()
        await other.close()

    asyncio.run(both())
    assert query("SELECT count(*), count(DISTINCT linkedid) FROM calls WHERE part_of = ''") == [(20, 20)]
    assert query("SELECT count(*) FROM calls WHERE part_of = '' AND name = 'Ana' AND told_by = 'ami'") == [
        (20,)
    ]
    assert len(wanted(query)) == 20


async def test_a_call_that_nobody_took_is_followed_up_once(database: Database, query: Query) -> None:
    await decide(database, decision())
    await told(database, record(**MISSED))
    await database.write(lambda conn: conn.exec_driver_sql("DELETE FROM outbox"))
    await database.write(partial(made, key="follow-up:d1", salesforce_id="00T2", closed=False, now=NOW))
    await told(database, record(**MISSED | {"seconds": 1}))
    assert set(wanted(query)) == {"call:d1", "follow-up:d1"}
    await database.write(lambda conn: want(conn, "call:d1", due=NOW, now=NOW))
    assert len(query("SELECT 1 FROM outbox")) == 2
    assert wanted(query)["call:d1"] == NOW


async def test_last_agent_is_not_asked_of_parts(
    database: Database, directory: SqliteDirectory, query: Query
) -> None:
    await decide(database, decision(), decision("d2", "1.3", started_at=NOW + 5))
    await database.write(partial(answer_call, call_id="d2", at=NOW + 9, extension="109"))
    assert directory.last_agent(E164, 0) == "109"
    await told(database)
    assert directory.last_agent(E164, 0) == "102"
    assert json.loads(query("SELECT legs FROM calls WHERE id = 'd1'")[0][0])[2]["held"] == 3.0
