"""Orders to dial: what is sent to the PBX, how often, and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.ami.connection import Connection
from agi_server.ami.originate import Dialler, originate, shown_name
from agi_server.errors import OstiaryError
from agi_server.settings import Dialling
from storage import dials
from storage.database import Database
from storage.dials import Dial
from storage.migrate import migrate
from tests.ami.server import FakePbx, where

NOW = 1_800_000_000
DIAL = "0123456789abcdef"
OWN = f"ostiary-dial-{DIAL}"
ORDER = {"id": DIAL, "agent": "101", "number": "0+4930123456", "shown": "+4930123456", "name": "Erika"}


@dataclass
class Desk:
    """A Dialler and what is around it."""

    dialler: Dialler
    database: Database
    connections: dict[str, Connection]
    fake: FakePbx
    told: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def tell(self, line: object) -> None:
        assert isinstance(line, tuple)
        assert line[:2] == ("call", "progress")
        self.told.append(line[2])
        self.changed.set()

    def states(self) -> list[str]:
        return [f"{each['state']} {each['reason']}".strip() for each in self.told]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self.changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self.changed.wait()

    async def order(self, **changes: Any) -> None:
        dial = Dial(
            id=DIAL,
            agent="101",
            number=4930123456,
            text="+4930123456",
            name="Erika",
            contact_id=None,
            asked_at=NOW,
            who="user:ana",
        )
        await self.database.write(lambda conn: dials.order(conn, dial, per_minute=9, same_seconds=0, now=NOW))
        self.dialler.asked("dial", ORDER | changes)

    async def settled(self) -> None:
        """Return when all that follows from what the PBX has answered is done: written, then sent."""

        async def nothing(_conn: AsyncConnection) -> None:
            return None

        connection = self.connections["pbx"]
        await connection.send({"Action": "Ping"})
        await self.database.write(nothing)
        await connection.send({"Action": "Ping"})

    async def dial(self) -> Dial:
        found = await self.database.read(lambda conn: dials.get(conn, DIAL))
        assert found is not None
        return found

    def event(self, **event: str) -> None:
        self.dialler.event("pbx", event)


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path}/ostiary.db"
    await migrate(url)
    opened = await Database.open(url)
    yield opened
    await opened.close()


@asynccontextmanager
async def working(dialler: Dialler, connection: Connection) -> AsyncIterator[None]:
    up = asyncio.Event()

    async def begun() -> None:
        return None

    tasks = [
        asyncio.create_task(dialler.run()),
        asyncio.create_task(connection.keep(begun, up.set)),
    ]
    try:
        async with asyncio.timeout(30):
            await up.wait()
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest_asyncio.fixture
async def desk(fake: FakePbx, database: Database) -> AsyncIterator[Desk]:
    fake.answers["Originate"] = {"Message": "Originate successfully queued"}
    fake.answers["Getvar"] = {"Variable": "x", "Value": "PJSIP/101/sip:101@127.0.0.1"}
    fake.answers["Hangup"] = {"Message": "Channel Hungup"}
    connections: dict[str, Connection] = {}
    desks: list[Desk] = []

    async def tell(line: object) -> None:
        await desks[0].tell(line)

    dialler = Dialler(
        Dialling(ring_seconds=20), "PJSIP", database, connections=connections, tell=tell, clock=lambda: NOW
    )

    def hear(event: Any, *_: object) -> None:
        dialler.event("pbx", event)

    connection = Connection(where(fake), hear=hear, odd=lambda _what: None)
    connections["pbx"] = connection
    made = Desk(dialler, database, connections, fake)
    desks.append(made)
    async with working(dialler, connection):
        yield made


async def test_an_order_rings_the_agent_s_phone(desk: Desk) -> None:
    await desk.order(name='Erika "Rika"\r\nAction: Logoff <1>')
    await desk.fake.until(lambda: desk.fake.seen["Originate"])
    (sent,) = (action for action in desk.fake.actions if action["Action"] == "Originate")
    assert sent == {
        "Action": "Originate",
        "ActionID": OWN,
        "Async": "true",
        "CallerID": "\"Erika 'Rika' Action: Logoff '1'\" <+4930123456>",
        "Channel": "PJSIP/101",
        "ChannelId": OWN,
        "Context": "ostiary-dial",
        "Exten": "0+4930123456",
        "Priority": "1",
        "Timeout": "20000",
        "Variable": "OSTIARY_EXTENSION=101",
    }
    assert (await desk.dial()).pbx == "pbx"


async def test_all_phones_of_an_agent_ring(desk: Desk) -> None:
    desk.fake.answers["Getvar"] = {
        "Variable": "x",
        "Value": "PJSIP/101/sip:a@127.0.0.1&PJSIP/101/sip:b@127.0.0.1",
    }
    await desk.order()
    await desk.fake.until(lambda: desk.fake.seen["Originate"])
    sent = desk.fake.actions[-1]
    assert (sent["Channel"], sent["OtherChannelId"]) == ("Local/101@ostiary-dial-phone/n", f"{OWN}-2")


async def test_an_order_is_sent_once_however_often_it_comes(desk: Desk) -> None:
    await desk.order()
    for _ in range(3):
        desk.dialler.asked("dial", ORDER)
    await desk.fake.until(lambda: desk.fake.seen["Originate"])
    await desk.fake.until(lambda: desk.fake.seen["Getvar"] == 4)
    await desk.settled()
    assert desk.fake.seen["Originate"] == 1


async def test_how_it_goes_is_written_and_told(desk: Desk) -> None:
    await desk.order()
    await desk.fake.until(lambda: desk.fake.seen["Originate"])
    for event in (
        {"Event": "Newchannel", "Uniqueid": OWN, "Linkedid": OWN},
        {"Event": "Newstate", "Uniqueid": OWN, "Linkedid": OWN, "ChannelState": "5"},
        {"Event": "Newstate", "Uniqueid": OWN, "Linkedid": OWN, "ChannelState": "6"},
        {"Event": "Newstate", "Uniqueid": "1.1", "Linkedid": OWN, "ChannelState": "5"},
        {"Event": "DialEnd", "Uniqueid": OWN, "Linkedid": OWN, "DestUniqueid": "1.1", "DialStatus": "ANSWER"},
        {"Event": "Hangup", "Uniqueid": OWN, "Linkedid": OWN, "Cause": "16"},
    ):
        desk.fake.event(event.pop("Event"), **event)
    await desk.until(lambda: len(desk.told) >= 5)
    assert desk.states() == ["ringing-agent", "dialling", "ringing", "answered", "ended"]
    assert desk.told[0] == {
        "id": DIAL,
        "agent": "101",
        "number": "+4930123456",
        "state": "ringing-agent",
        "reason": "",
        "at": NOW,
    }
    assert (await desk.dial()).state == "ended"
    desk.event(Event="Newstate", Uniqueid="1.1", Linkedid=OWN, ChannelState="5")  # whom it was handed to
    assert desk.dialler._going == {}, "nothing is kept of what is over"


async def test_a_phone_nobody_knows(desk: Desk) -> None:
    await desk.order()
    await desk.fake.until(lambda: desk.fake.seen["Originate"])
    desk.fake.event("OriginateResponse", ActionID=OWN, Response="Failure", Reason="0", Uniqueid="<null>")
    await desk.until(lambda: desk.told)
    assert desk.states() == ["failed agent-unreachable"]


async def test_a_pbx_that_says_no(desk: Desk) -> None:
    desk.fake.answers.pop("Originate")  # it then answers with an error
    await desk.order()
    await desk.until(lambda: desk.told)
    assert desk.states() == ["failed refused"]


async def test_no_pbx_is_there(desk: Desk) -> None:
    desk.connections.clear()
    await desk.order()
    await desk.until(lambda: desk.told)
    assert desk.states() == ["failed no-pbx"]
    assert desk.fake.seen["Originate"] == 0


@pytest.mark.parametrize(
    "odd",
    [
        {"number": "1,2"},
        {"number": "0${EXTEN}"},
        {"number": ""},
        {"agent": "101&PJSIP/102"},
        {"agent": "Local/1@x"},
        {"shown": '1> "'},
        {"agent": "101\r\nAction: Logoff"},
    ],
)
async def test_an_odd_order_is_not_dialled(desk: Desk, odd: dict[str, str]) -> None:
    await desk.order(**odd)
    await desk.until(lambda: desk.told)
    assert desk.states() == ["failed refused"]
    assert desk.fake.seen["Originate"] == 0


async def test_an_order_without_an_answer_is_not_sent_again(desk: Desk) -> None:
    desk.fake.answers["Originate"] = None
    await desk.order()
    await desk.fake.until(lambda: desk.fake.seen["Originate"])
    desk.fake.cut()
    await desk.fake.until(lambda: desk.fake.log_ins == 2 and desk.connections["pbx"].up)
    await desk.settled()
    assert (desk.fake.seen["Originate"], desk.told) == (1, [])
    await desk.dialler.resynced("pbx", [])
    assert desk.states() == ["failed lost"]


async def test_what_a_list_of_channels_says_counts(desk: Desk) -> None:
    await desk.order()
    await desk.fake.until(lambda: desk.fake.seen["Originate"])
    channel = {"Uniqueid": OWN, "Linkedid": OWN, "ChannelState": "6", "BridgeId": "b"}
    await desk.dialler.resynced("other", [])
    await desk.dialler.resynced("pbx", [{"Uniqueid": "1.1", "Linkedid": "1.1"}, channel])
    await desk.until(lambda: desk.told)
    assert desk.states() == ["answered"]
    await desk.dialler.resynced("pbx", [])
    assert desk.states() == ["answered", "ended"]


async def test_a_call_is_hung_up(desk: Desk) -> None:
    await desk.order()
    await desk.fake.until(lambda: desk.fake.seen["Originate"])
    desk.dialler.asked("hang_up", {"id": DIAL})
    await desk.fake.until(lambda: desk.fake.seen["Hangup"])
    assert {**desk.fake.actions[-1], "ActionID": ""} == {
        "Action": "Hangup",
        "ActionID": "",
        "Channel": OWN,
        "Cause": "16",
    }
    desk.fake.event("Hangup", Uniqueid=OWN, Linkedid=OWN, Cause="16")
    await desk.until(lambda: desk.told)
    assert desk.states() == ["failed cancelled"]


async def test_a_call_that_is_hung_up_before_it_rings_is_hung_up_when_it_does(desk: Desk) -> None:
    desk.fake.answers.pop("Hangup")  # no such channel
    await desk.order()
    await desk.fake.until(lambda: desk.fake.seen["Originate"])
    desk.dialler.asked("hang_up", {"id": DIAL})
    await desk.fake.until(lambda: desk.fake.seen["Hangup"] == 1)
    desk.fake.event("Newchannel", Uniqueid=OWN, Linkedid=OWN)
    await desk.fake.until(lambda: desk.fake.seen["Hangup"] == 2)


async def test_an_order_that_was_cancelled_at_once_is_not_sent(desk: Desk) -> None:
    connections = dict(desk.connections)
    desk.connections.clear()
    await desk.database.write(
        lambda conn: dials.order(
            conn,
            Dial(
                id=DIAL, agent="101", number=None, text="102", name="", contact_id=None, asked_at=NOW, who="x"
            ),
            per_minute=9,
            same_seconds=0,
            now=NOW,
        )
    )
    desk.dialler.asked("hang_up", {"id": DIAL})
    await desk.until(lambda: desk.told)
    assert desk.states() == ["failed cancelled"]
    desk.connections.update(connections)
    desk.dialler.asked("dial", ORDER)
    await desk.fake.until(lambda: desk.fake.seen["Getvar"])
    await desk.settled()
    assert desk.fake.seen["Originate"] == 0
    desk.dialler.asked("hang_up", {"id": "nosuch"})
    desk.dialler.asked("hang_up", {"id": DIAL})


async def test_orders_that_came_to_nothing_are_given_up(database: Database) -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()
    for name, at in (("a", NOW - 61), ("b", NOW)):
        dial = Dial(
            id=name, agent=name, number=None, text="1", name="", contact_id=None, asked_at=at, who="x"
        )
        await database.write(
            lambda conn, dial=dial, at=at: dials.order(conn, dial, per_minute=9, same_seconds=0, now=at)  # type: ignore[misc]
        )
    dialler = Dialler(Dialling(), "PJSIP", database, connections={}, tell=told.put, clock=lambda: NOW)
    task = asyncio.create_task(dialler.run())
    (_, _, content) = await asyncio.wait_for(told.get(), 30)
    assert (content["id"], content["state"], content["reason"]) == ("a", "failed", "lost")
    task.cancel()
    await asyncio.wait([task])
    assert told.empty()


def test_the_variables_of_the_channel() -> None:
    action = originate(ORDER, Dialling(context="mine"), "PJSIP/101")
    assert action["Variable"] == [f"__OSTIARY_CLICK={DIAL}", "OSTIARY_EXTENSION=101"]
    assert action["Context"] == "mine"
    with pytest.raises(OstiaryError, match="not what it should be"):
        originate(ORDER | {"id": "../x"}, Dialling(), "PJSIP/101")


@given(st.text())
def test_no_name_ends_its_line_or_its_quotation(name: str) -> None:
    shown = shown_name(name)
    assert shown.isprintable()
    assert not set(shown) & set('"\\<>\r\n\0')
    assert len(shown.encode()) <= 79


def test_names_stay_names() -> None:
    assert shown_name("Müller, Söhne & Co.; (Berlin)") == "Müller, Söhne & Co.; (Berlin)"
    assert shown_name("äöü" * 40) == "äöü" * 13
    assert shown_name("a\nb\u2028c") == "a b c"
