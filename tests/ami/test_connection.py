"""A lasting connection, and what a PBX may do to it."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agi_server.ami import connection as module
from agi_server.ami.connection import Connection, pbxs
from agi_server.errors import LocalProtocolError, PbxDown, PbxRefusal, SettingsError
from agi_server.settings import Pbx, Settings
from tests.ami.server import SECRET, FakePbx, block, listed, pbx, where
from tests.events.authority import Authority


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less; nothing here depends on how long."""
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.05)


class Followed:
    """A connection that is kept, and what came over it."""

    def __init__(self, pbx: Pbx) -> None:
        self.events: list[Mapping[str, str]] = []
        self.odd: Counter[str] = Counter()
        self.changes: list[str] = []
        self.begun = 0
        self._moved = asyncio.Event()
        self.connection = Connection(pbx, hear=self._hear, odd=lambda what: self.odd.update([what]))
        self.begin: Callable[[], object] = lambda: None

    def _hear(self, event: Mapping[str, str], at: float) -> None:
        assert at > 1e9
        self.events.append(event)
        self._moved.set()

    def _changed(self) -> None:
        self.changes.append(self.connection.error)
        self._moved.set()

    async def _begin(self) -> None:
        self.begun += 1
        waits = self.begin()
        if asyncio.iscoroutine(waits):
            await waits

    async def run(self) -> None:
        await self.connection.keep(self._begin, self._changed)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._moved.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self._moved.wait()

    async def up(self) -> None:
        await self.until(lambda: self.connection.up)


@asynccontextmanager
async def followed(pbx: Pbx) -> AsyncIterator[Followed]:
    kept = Followed(pbx)
    task = asyncio.create_task(kept.run())
    try:
        yield kept
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_events_come_in_order(fake: FakePbx) -> None:
    async with followed(where(fake)) as kept:
        await kept.up()
        for number in range(100):
            fake.event("Newchannel", Uniqueid=str(number))
        await kept.until(lambda: len(kept.events) == 100)
    assert [event["Uniqueid"] for event in kept.events] == [str(number) for number in range(100)]
    assert kept.changes == [""]
    assert not kept.odd


async def test_events_wait_until_it_is_known_how_things_stand(fake: FakePbx) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def begin() -> None:
        items = await kept.connection.listing({"Action": "CoreShowChannels"})
        assert [item["Uniqueid"] for item in items] == ["1.1"]
        asked.set()
        await go_on.wait()

    fake.lists["CoreShowChannels"] = [listed("PJSIP/101-00000001", "1.1")]
    fake.before_list["CoreShowChannels"] = lambda: fake.event("Newchannel", Uniqueid="2.2")
    async with followed(where(fake)) as kept:
        kept.begin = begin
        await asked.wait()
        assert not kept.events
        assert not kept.connection.up
        go_on.set()
        await kept.until(lambda: kept.events)
        assert kept.events[0]["Uniqueid"] == "2.2"


async def test_a_pbx_that_goes_away_and_comes_back(fake: FakePbx) -> None:
    async with followed(where(fake)) as kept:
        for times in range(1, 4):
            await kept.until(lambda: kept.connection.up and kept.begun == times)  # noqa: B023  # done before the next
            await fake.stop()
            await kept.until(lambda: not kept.connection.up)
            await fake.start()
        await kept.up()
        fake.event("Hangup", Uniqueid="1")
        await kept.until(lambda: kept.events)
    assert fake.log_ins == 4


async def test_the_first_try_may_fail() -> None:
    fake = FakePbx()
    await fake.start()
    await fake.stop()
    async with followed(where(fake)) as kept:
        await kept.until(lambda: "cannot be reached" in kept.connection.error)
        await fake.start()
        await kept.up()
    await fake.stop()


async def test_a_wrong_secret(fake: FakePbx) -> None:
    async with followed(where(fake, secret="wr0ng")) as kept:
        with capture_logs() as logs:
            await kept.until(lambda: fake.seen["Login"] >= 3)
    assert "refuses the user 'ostiary': Authentication failed" in kept.connection.error
    assert len([line for line in logs if line["log_level"] != "debug"]) <= 1  # not one a try
    assert "wr0ng" not in str(logs) + kept.connection.error + repr(kept.connection.pbx)


async def test_a_secret_from_a_file(fake: FakePbx, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    at = where(fake, secret="", secret_file=str(file))
    async with followed(at) as kept:
        await kept.until(lambda: str(file) in kept.connection.error)
        file.write_text(SECRET + "\n")
        await kept.up()


async def test_no_answer_to_the_log_in(fake: FakePbx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    fake.mute = True
    async with followed(where(fake)) as kept:
        await kept.until(lambda: "no answer to the log-in" in kept.connection.error)
        fake.mute = False
        await kept.up()


async def test_a_slow_log_in_is_waited_for(fake: FakePbx) -> None:
    fake.login_delay = 0.3
    async with followed(where(fake)) as kept:
        await kept.up()
    assert fake.seen["Login"] == 1


async def test_no_greeting(monkeypatch: pytest.MonkeyPatch, fake: FakePbx) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.1)
    fake.greeting = b""
    async with followed(where(fake)) as kept:
        await kept.until(lambda: "did not answer within" in kept.connection.error)


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"x" * 100_000])
async def test_what_is_not_ami(fake: FakePbx, greeting: bytes) -> None:
    fake.greeting = greeting
    async with followed(where(fake)) as kept:
        await kept.until(lambda: "is not AMI" in kept.connection.error)
    assert not fake.seen["Login"]  # the secret is for the PBX alone


async def test_a_mute_pbx_is_a_lost_one(fake: FakePbx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PING_SECONDS", 0.1)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.3)
    async with followed(where(fake)) as kept:
        await kept.up()
        await fake.until(lambda: fake.seen["Ping"] >= 2)
        assert kept.connection.up
        fake.mute = True
        await kept.until(lambda: "Ping" in kept.connection.error)
        fake.mute = False
        await kept.up()


async def test_a_pbx_that_is_busy_telling_is_not_asked(
    fake: FakePbx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_SECONDS", 1000.0)
    async with followed(where(fake)) as kept:
        await kept.up()
        fake.event("Newchannel", Uniqueid="1")
        await kept.until(lambda: kept.events)
        assert kept.connection.silence < 30
    assert not fake.seen["Ping"]
    assert kept.connection.silence == float("inf")


async def test_a_shutdown_that_somebody_made_up_ends_nothing(fake: FakePbx) -> None:
    async with followed(where(fake)) as kept:
        await kept.up()
        fake.raw(b"Event: Newstate\r\nPrivilege: call,all\r\nCallerIDNum: 1\r\n\r\nEvent: Shutdown\r\n")
        fake.raw(b"Shutdown: Cleanly\r\nRestart: False\r\n\r\n")
        fake.event("Newchannel", Uniqueid="1")
        await kept.until(lambda: len(kept.events) == 2)
        assert [event["Event"] for event in kept.events] == ["Newstate", "Newchannel"]
        assert kept.odd == {"event of no class": 1}
        answer = await kept.connection.send({"Action": "Ping"})
        assert answer.success
    assert fake.log_ins == 1


async def test_actions_are_answered_each_by_its_own(fake: FakePbx) -> None:
    async with followed(where(fake)) as kept:
        await kept.up()
        for name in ("A", "B", "C"):
            fake.answers[name] = {"Message": name}
        answers = await asyncio.gather(*(kept.connection.send({"Action": name}) for name in "ABC"))
        assert [answer.message for answer in answers] == ["A", "B", "C"]
        refused = await kept.connection.send({"Action": "Nonsense"})
        assert (refused.success, refused.message) == (False, "Invalid/unknown command")


async def test_an_answer_is_a_response_and_no_event(fake: FakePbx) -> None:
    """OriginateResponse has the action's id; it is for those who listen."""
    fake.answers["Originate"] = None
    async with followed(where(fake)) as kept:
        await kept.up()
        sent = asyncio.create_task(kept.connection.send({"Action": "Originate", "ActionID": "mine"}))
        await fake.until(lambda: fake.seen["Originate"])
        fake.event("OriginateResponse", ActionID="mine", Response="Failure")
        await kept.until(lambda: kept.events)
        fake.raw(block({"Event": "Made up", "ActionID": "mine"}))
        fake.raw(block({"Response": "Success", "ActionID": "mine", "Message": "queued"}))
        assert (await sent).message == "queued"
        assert kept.events[0]["Response"] == "Failure"


async def test_an_answer_and_an_event_of_its_id_may_come_at_once(fake: FakePbx) -> None:
    fake.answers["Originate"] = None
    async with followed(where(fake)) as kept:
        await kept.up()
        sent = asyncio.create_task(kept.connection.send({"Action": "Originate", "ActionID": "mine"}))
        await fake.until(lambda: fake.seen["Originate"])
        answer = block({"Response": "Success", "ActionID": "mine", "Message": "queued"})
        event = {"Event": "OriginateResponse", "Privilege": "call,all", "ActionID": "mine"}
        fake.raw(answer + block({**event, "Response": "Failure"}))
        assert (await sent).message == "queued"
        await kept.until(lambda: kept.events)
        assert kept.events[0]["Response"] == "Failure"
    assert fake.log_ins == 1


async def test_an_action_is_sent_once_whatever_happens(fake: FakePbx) -> None:
    fake.answers["Originate"] = None
    async with followed(where(fake)) as kept:
        await kept.up()
        sent = asyncio.create_task(kept.connection.send({"Action": "Originate"}))
        await fake.until(lambda: fake.seen["Originate"])
        fake.cut()
        with pytest.raises(PbxDown) as caught:
            await sent
        assert caught.value.sent
        await fake.until(lambda: fake.log_ins == 2)
        await kept.up()
        assert (await kept.connection.send({"Action": "Ping"})).success
    assert fake.seen["Originate"] == 1


async def test_an_action_nobody_answers(fake: FakePbx) -> None:
    fake.answers["Originate"] = None
    async with followed(where(fake)) as kept:
        await kept.up()
        with pytest.raises(PbxDown, match="no answer to Originate") as caught:
            await kept.connection.send({"Action": "Originate"}, seconds=0.05)
        assert caught.value.sent
        assert kept.connection.up


async def test_an_action_without_a_connection(fake: FakePbx) -> None:
    kept = Followed(where(fake))
    with pytest.raises(PbxDown, match="PBX pbx is not connected") as caught:
        await kept.connection.send({"Action": "Ping"})
    assert not caught.value.sent


@pytest.mark.parametrize(
    "action",
    [
        {"Action": "Originate", "Exten": "1\r\nAction: Command"},
        {"Action": "Originate", "Variable": ["a=b", "c=d\ne"]},
        {"Action": "Originate", "CallerID": "a\0b"},
        {"Action": "Originate\r\n\r\nAction: Logoff"},
        {"Action": "Originate", "CallerID: 1\r\nExten": "2"},
        {"Action": "Originate", "CallerID": "\ud800"},
    ],
)
async def test_what_could_be_another_action_is_not_sent(fake: FakePbx, action: dict[str, object]) -> None:
    async with followed(where(fake)) as kept:
        await kept.up()
        with pytest.raises(LocalProtocolError):
            await kept.connection.send(action)
        assert (await kept.connection.send({"Action": "Ping"})).success
    assert set(fake.seen) == {"Login", "Ping"}


async def test_repeated_headers_and_names_of_people_are_sent_as_they_are(fake: FakePbx) -> None:
    fake.answers["Originate"] = {}
    async with followed(where(fake)) as kept:
        await kept.up()
        await kept.connection.send(
            {"Action": "Originate", "CallerID": '"Muñoz, Ana" <1>', "Variable": ["a", "b"]}
        )
    assert fake.actions[-1]["CallerID"] == '"Muñoz, Ana" <1>'


# Lists


@pytest.mark.parametrize(
    "forged",
    [
        "\r\n\r\nEvent: CoreShowChannelsComplete\r\nEventList: Complete\r\nListItems: 1",
        "\r\nResponse: Success\r\nEventList: Complete\r\nListItems: 1",
        "\r\nevent: CoreShowChannelsComplete\r\neventlist: Complete\r\nlistitems: 1",
        "\r\nEvent: CoreShowChannelsComplete\r\nListItems: 1",
        "\r\nPrivilege: call,all",
        "\r\nActionID: x",
        "\r\nUniqueid: 1.1\r\nChannel: PJSIP/trunk-1",
        "\r\n\r\n\r\n\r\n",
    ],
)
async def test_a_caller_cannot_change_a_list_he_is_on(fake: FakePbx, forged: str) -> None:
    """What he wrote can hide what else is known of his channel, and nothing more."""
    fake.lists["CoreShowChannels"] = [
        listed("PJSIP/trunk-1", "1.1"),
        listed("PJSIP/trunk-2", "2.2", CallerIDNum=f"1{forged}"),
        listed("PJSIP/trunk-3", "3.3"),
    ]
    async with followed(where(fake)) as kept:
        await kept.up()
        items = await kept.connection.listing({"Action": "CoreShowChannels"})
        assert not kept.events
    assert [item.get("Channel") for item in items][::2] == ["PJSIP/trunk-1", "PJSIP/trunk-3"]
    assert [item.get("Uniqueid") for item in items][::2] == ["1.1", "3.3"]
    assert items[1].get("Uniqueid") in {"2.2", None}
    assert [item["Event"] for item in items] == ["CoreShowChannel"] * 3


async def test_an_incomplete_list_is_none(fake: FakePbx) -> None:
    fake.lists["CoreShowChannels"] = [listed("PJSIP/trunk-1", "1.1"), listed("PJSIP/trunk-2", "2.2")]
    fake.lost_items = 1
    async with followed(where(fake)) as kept:
        await kept.up()
        with pytest.raises(PbxDown, match="1 of 2 items"):
            await kept.connection.listing({"Action": "CoreShowChannels"})
        assert len(await kept.connection.listing({"Action": "CoreShowChannels"}, whole=False)) == 1
        fake.lost_items = 0
        fake.lists["CoreShowChannels"] = []
        assert await kept.connection.listing({"Action": "CoreShowChannels"}) == []
    assert kept.odd == {"list incomplete": 2}


async def test_a_list_that_is_refused(fake: FakePbx) -> None:
    async with followed(where(fake)) as kept:
        await kept.up()
        with pytest.raises(PbxRefusal, match="QueueStatus: Invalid/unknown command"):
            await kept.connection.listing({"Action": "QueueStatus"})


async def test_what_begins_must_succeed(fake: FakePbx) -> None:
    async def begin() -> None:
        await kept.connection.listing({"Action": "CoreShowChannels"})

    del fake.lists["CoreShowChannels"]
    async with followed(where(fake)) as kept:
        kept.begin = begin
        await kept.until(lambda: "CoreShowChannels" in kept.connection.error)
        fake.lists["CoreShowChannels"] = []
        await kept.up()


async def test_a_fault_of_ours_does_not_end_it(fake: FakePbx) -> None:
    def fail() -> None:
        if kept.begun == 1:
            raise ZeroDivisionError

    async with followed(where(fake)) as kept:
        kept.begin = fail
        await kept.up()
    assert kept.begun == 2


async def test_a_connection_that_is_dropped_is_made_again(fake: FakePbx) -> None:
    async with followed(where(fake)) as kept:
        await kept.up()
        kept.connection.drop("of a test")
        await kept.until(lambda: kept.begun == 2 and kept.connection.up)


# TLS


async def test_tls(tls: ssl.SSLContext, authority: Authority) -> None:
    async with pbx(tls) as fake, followed(where(fake, tls=True, ca_file=str(authority.ca))) as kept:
        await kept.up()
        fake.event("Hangup", Uniqueid="1")
        await kept.until(lambda: kept.events)


async def test_a_certificate_nobody_vouches_for(tls: ssl.SSLContext) -> None:
    async with pbx(tls) as fake, followed(where(fake, tls=True)) as kept:
        await kept.until(lambda: "certificate is not trusted" in kept.connection.error)
        assert not fake.seen["Login"]


async def test_the_certificate_of_another_machine(tls: ssl.SSLContext, authority: Authority) -> None:
    at = {"tls": True, "ca_file": str(authority.ca), "host": "localhost"}
    async with pbx(tls) as fake, followed(where(fake, **at)) as kept:
        await kept.until(lambda: "certificate is not trusted" in kept.connection.error)
        assert not fake.seen["Login"]


async def test_authorities_that_cannot_be_read(fake: FakePbx, tmp_path: Path) -> None:
    at = where(fake, tls=True, ca_file=str(tmp_path / "none.pem"))
    async with followed(at) as kept:
        await kept.until(lambda: "none.pem" in kept.connection.error)
    with pytest.raises(SettingsError, match="ca_file of PBX pbx"):
        module.tls_context(at)


async def test_tls_where_there_is_none(fake: FakePbx, authority: Authority) -> None:
    async with followed(where(fake, tls=True, ca_file=str(authority.ca))) as kept:
        await kept.until(lambda: "does not speak TLS" in kept.connection.error)


# Settings


def test_all_pbxs() -> None:
    assert pbxs(Settings()) == ()
    settings = Settings.model_validate(
        {
            "ami": {
                "host": "127.0.0.1",
                "username": "ostiary",
                "secret": SECRET,
                "tls": True,
                "others": [{"name": "berlin", "host": "10.0.0.2", "secret_file": "/nowhere"}],
            }
        }
    )
    first, second = pbxs(settings)
    assert (first.name, first.port, first.tls, first.secret.get_secret_value()) == ("pbx", 5038, True, SECRET)
    assert (second.name, second.host, second.tls) == ("berlin", "10.0.0.2", False)
    assert SECRET not in repr(first)
