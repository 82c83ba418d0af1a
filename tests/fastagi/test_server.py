from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from agi_server.errors import DirectoryError, SettingsError
from agi_server.fastagi.client import ask
from agi_server.fastagi.protocol import AgiRequest
from agi_server.fastagi.server import Answer, Script
from tests.fastagi.peer import BLOCK, Running, incoming, serving


async def test_a_call_is_answered_with_one_command() -> None:
    async with serving() as running:
        outcome = await running.ask(number="+4930123456", name='Erika "Rika", Berlin', did="4930555000")
        assert outcome.variables == {
            "CALLERID(name)": 'Erika "Rika", Berlin',
            "NUMBER": "+4930123456",
            "DID": "4930555000",
            "OSTIARY_ACTION": "allow",
        }
        assert len(outcome.commands) == 1
        await running.recorder.all_closed()
        ((script, seconds),) = running.recorder.answers
        assert script == "incoming"
        assert 0 < seconds < 60
        assert running.recorder.opens == 1
        assert running.recorder.failures == []


async def test_the_command_is_followed_by_a_half_close_and_the_close_waits_for_ours() -> None:
    async with serving() as running:
        peer = await running.connect()
        peer.send(BLOCK)
        sent = await peer.rest()  # to the end of file, before any reply
        assert sent.startswith(b"EXEC MSet ")
        assert sent.count(b"\n") == 1
        assert running.recorder.closes == 0
        peer.send(b"200 result=0\nHANGUP\n")
        await peer.close()
        await running.recorder.all_closed()
        assert running.recorder.failures == []


async def test_a_reply_does_not_make_us_close_before_the_peer_does() -> None:
    """A caller may have forged it; to close now would reset the connection under the real command."""
    async with serving() as running:
        peer = await running.connect()
        peer.send(BLOCK)
        await peer.rest()
        peer.send(b"200 result=1\n")
        await running.still_answers()  # by now the reply has been read
        await running.recorder.until(lambda: running.recorder.closes == 1)
        peer.send(b"agi_threadid: 1\n\n200 result=0\nHANGUP\n")
        assert running.recorder.opens - running.recorder.closes == 1
        await peer.close()
        await running.recorder.all_closed()
        assert running.recorder.failures == []


async def test_replies_to_no_command_say_nothing() -> None:
    at_work, go_on = asyncio.Event(), asyncio.Event()

    async def script(request: AgiRequest) -> Answer:
        at_work.set()
        await go_on.wait()
        return incoming(request)

    async with serving({"incoming": script, "well": incoming}) as running:
        peer = await running.connect()
        peer.send(BLOCK)
        await at_work.wait()
        peer.send(b"510 Invalid or unknown command\n200 result=-1\n")
        await running.ask("well")  # by now they have been read
        go_on.set()
        assert b"OSTIARY_ACTION=allow" in await peer.rest()
        peer.send(b"200 result=0\n")
        await peer.close()
        await running.recorder.all_closed()
        assert running.recorder.failures == []


async def test_a_block_that_comes_line_by_line() -> None:
    async with serving() as running:
        peer = await running.connect()
        for line in BLOCK.splitlines(keepends=True):
            peer.send(line)
            await asyncio.sleep(0)
        assert b"OSTIARY_ACTION=allow" in await peer.rest()
        await peer.close()


async def test_a_script_that_answers_at_once_runs_without_a_task() -> None:
    tasks: list[asyncio.Task[Any] | None] = []

    def script(_: AgiRequest) -> Answer:
        tasks.append(asyncio.current_task())
        return Answer({"OSTIARY_ACTION": "allow"})

    async with serving({"incoming": script}) as running:
        await running.still_answers()
    assert tasks == [None]


async def test_a_script_that_waits() -> None:
    async def script(request: AgiRequest) -> Answer:
        await asyncio.sleep(0)
        return incoming(request)

    async with serving({"slow": script}) as running:
        assert (await running.ask("slow")).variables["OSTIARY_ACTION"] == "allow"
        assert running.recorder.answers[0][0] == "slow"


async def test_each_further_line_waits_for_a_reply() -> None:
    def script(_: AgiRequest) -> Answer:
        return Answer({f"V{number}": "x" * 200 for number in range(25)}, verbose=("one", 'two "2"'))

    async with serving({"incoming": script}) as running:
        peer = await running.connect()
        peer.send(BLOCK)
        received = []
        while data := await peer.reader.read(65536):
            received.append(data)
            peer.send(b"200 result=1\n")
        assert received[:2] == [b'VERBOSE "one" 1\n', b'VERBOSE "two \\"2\\"" 1\n']
        assert [data.count(b"\n") for data in received] == [1, 1, 1, 1, 1]
        await peer.close()

        outcome = await running.ask()
        assert outcome.verbose == ["one", 'two "2"']
        assert list(outcome.variables) == [f"V{number}" for number in range(25)]


async def test_an_answer_without_anything_to_do() -> None:
    async with serving({"ended": lambda _: Answer({})}) as running:
        outcome = await running.ask("ended")
        assert (outcome.commands, outcome.variables) == ([], {})
        await running.recorder.all_closed()
        assert [script for script, _ in running.recorder.answers] == ["ended"]
        assert running.recorder.failures == []


async def test_an_unknown_script_is_seen_and_does_no_harm() -> None:
    async with serving() as running:
        outcome = await running.ask('in"co\\ming%0AEXEC System x')
        assert len(outcome.commands) == 1
        assert outcome.variables == {}
        assert outcome.verbose == ["Ostiary: unknown script 'in\"co\\\\ming\\nEXEC System x'"]
        assert running.recorder.kinds == {"unknown_script": 1}
        assert running.recorder.answers == []


def raising(_: AgiRequest) -> Answer:
    raise ValueError("+4930123456 is not to be logged")


async def raising_later(_: AgiRequest) -> Answer:
    await asyncio.sleep(0)
    raise DirectoryError("the disk is full")


async def cancelled(_: AgiRequest) -> Answer:
    raise asyncio.CancelledError


FAULTS: list[tuple[Any, str]] = [
    (raising, r"script 'incoming' raised ValueError at .*test_server.py:\d+$"),
    (raising_later, r"script 'incoming' raised DirectoryError at .*test_server.py:\d+: the disk is full$"),
    (cancelled, "was cancelled"),
    (lambda _: Answer({"A\n": ""}), "LocalProtocolError.*no name of a channel variable"),
    (lambda _: Answer({"A": 1}), "raised TypeError|raised AttributeError"),  # type: ignore[dict-item]
    (lambda _: None, "raised TypeError"),
]


@pytest.mark.parametrize(("script", "detail"), FAULTS)
async def test_a_fault_in_a_script_costs_nobody_the_call(
    script: Any, detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving({"incoming": script, "well": incoming}) as running:
        outcome = await running.ask()
        assert (outcome.status, outcome.commands) == ("SUCCESS", [])
        ((kind, said),) = running.recorder.failures
        assert kind == "script"
        assert pytest.raises(AssertionError, match=detail).matches(AssertionError(said)), said
        assert "4930" not in said
        assert (await running.ask("well")).variables["OSTIARY_ACTION"] == "allow"
        await running.recorder.all_closed()
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


REPLIES = [
    (b"200 result=-1\n", "result=-1 to a command of script 'incoming'"),
    (b"200 result=-2\n", "result=-2"),
    (b"510 Invalid or unknown command\n", "510 Invalid or unknown command"),
    (b"511 Command Not Permitted on a dead channel or intercept routine\n", "511 Command Not Permitted"),
    (
        b"520-Invalid command syntax.  Proper usage follows:\nx\n520 End of proper usage.\n",
        "520 Invalid command",
    ),
]


@pytest.mark.parametrize(("reply", "detail"), REPLIES)
async def test_a_command_that_did_not_run_is_reported(reply: bytes, detail: str) -> None:
    async with serving() as running:
        peer = await running.connect()
        peer.send(BLOCK)
        await peer.rest()
        peer.send(b"HANGUP\n" + reply + b"HANGUP\n")
        await peer.close()
        await running.recorder.all_closed()
        ((kind, said),) = running.recorder.failures
        assert kind == "reply"
        assert detail in said


async def test_hangup_lines_do_no_harm_anywhere() -> None:
    async with serving({"incoming": lambda _: Answer({"A": "1"}, verbose=("one",))}) as running:
        peer = await running.connect()
        peer.send(b"HANGUP\n" + BLOCK[:-1] + b"HANGUP\n\n")
        assert await peer.line() == b'VERBOSE "one" 1\n'
        peer.send(b"HANGUP\n200 result=1\n")
        assert await peer.line() == b'EXEC MSet "A=1"\n'
        peer.send(b"HANGUP\n200 result=1\nHANGUP\n")
        await peer.close()
        await running.recorder.all_closed()
        assert running.recorder.failures == []


async def test_a_probe_is_counted_and_quiet(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as running:
        await (await running.connect()).close()
        (await running.connect()).reset()
        await running.recorder.until(lambda: running.recorder.kinds["probe"] == 2)
        await running.recorder.all_closed()
        assert set(running.recorder.kinds) == {"probe"}
        await running.still_answers()
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_a_client_that_half_closes_behind_its_block_is_answered() -> None:
    async def slow(request: AgiRequest) -> Answer:
        await asyncio.sleep(0)
        return incoming(request)

    both: dict[str, Script] = {
        "incoming": slow,
        "lines": lambda _: Answer({"OSTIARY_ACTION": "allow"}, verbose=("one", "two")),
    }
    async with serving(both) as running:
        for script in both:
            peer = await running.connect()
            peer.send(BLOCK.replace(b"_script: incoming", b"_script: " + script.encode()))
            peer.writer.write_eof()
            assert b"OSTIARY_ACTION=allow" in await peer.rest()
            await peer.close()
        await running.recorder.all_closed()
        assert running.recorder.failures == []


async def test_a_script_at_work_is_finished_when_the_caller_hangs_up() -> None:
    at_work, go_on = asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def blacklist_add(request: AgiRequest) -> Answer:
        at_work.set()
        await go_on.wait()
        done.append(request.get("number", "callerid"))
        return Answer({"OSTIARY_RESULT": "added"})

    for leave in ("close", "reset"):
        at_work.clear()
        go_on.clear()
        async with serving({"incoming": blacklist_add}, connections=1) as running, serving() as other:
            peer = await running.connect()
            peer.send(BLOCK)
            await at_work.wait()
            if leave == "close":
                await peer.close()
            else:
                peer.reset()
            await other.still_answers()  # by now the loop has seen the peer go
            assert (await running.ask()).commands == []  # the place is taken until the script is done
            assert running.recorder.kinds == {"full": 1}
            go_on.set()
            await running.recorder.all_closed()
            assert running.recorder.kinds == {"full": 1}
    assert done == ["+4930123456"] * 2


async def test_peers_that_are_not_allowed_get_nothing() -> None:
    async with serving(peers=["127.0.0.0/30", "::1/128"]) as running:
        await running.still_answers(source="127.0.0.2")
        refused = await running.connect(source="127.0.0.7")
        refused.send(BLOCK)
        assert await refused.rest() == b""
        await refused.close()
        assert running.recorder.kinds == {"refused": 1}
        assert "127.0.0.7 is not in fastagi.peers" in running.recorder.failures[0][1]
        assert running.recorder.opens == 1


@pytest.mark.parametrize(
    ("limits", "source"), [({"connections": 2}, "127.0.0.2"), ({"connections_per_peer": 2}, "127.0.0.1")]
)
async def test_connections_are_limited(limits: dict[str, Any], source: str) -> None:
    async with serving(**limits) as running:
        first, second = [await running.connect() for _ in range(2)]
        await running.recorder.until(lambda: running.recorder.opens == 2)
        third = await running.connect(source=source)
        assert await third.rest() == b""
        assert running.recorder.kinds == {"full": 1}
        first.send(BLOCK)
        assert b"OSTIARY_ACTION" in await first.rest()
        for peer in (first, second, third):
            await peer.close()
        await running.recorder.all_closed()
        await running.still_answers(source=source)


async def test_a_place_is_free_again_after_each_call() -> None:
    async with serving(connections=1, connections_per_peer=1) as running:
        for _ in range(3):
            await running.still_answers()
            await running.recorder.all_closed()
        assert running.recorder.failures == []


async def test_one_full_peer_leaves_the_other_its_place() -> None:
    async with serving(connections_per_peer=1) as running:
        holding = await running.connect()
        await running.recorder.until(lambda: running.recorder.opens == 1)
        await running.still_answers(source="127.0.0.2")
        await holding.close()


@pytest.mark.parametrize(("listen", "host"), [("[::1]:0", "::1"), (":0", "::1"), (":0", "127.0.0.1")])
async def test_ipv6_and_every_address(listen: str, host: str) -> None:
    async with serving(listen=listen) as running:
        port = running.address[1]
        assert (await ask(host, port, "incoming")).variables["OSTIARY_ACTION"] == "allow"


async def test_an_address_in_use_says_what_to_do() -> None:
    async with serving() as running:
        with pytest.raises(SettingsError, match=r"fastagi\.listen: cannot listen.*another program.*ss -ltnp"):
            async with serving(listen=f"127.0.0.1:{running.address[1]}"):
                pytest.fail("two servers on one address")


async def test_hundreds_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as running:
        outcomes = await asyncio.gather(*(running.ask(number=str(number)) for number in range(400)))
        assert [outcome.variables["NUMBER"] for outcome in outcomes] == [
            str(number) if number else "0" for number in range(400)
        ]
        await running.recorder.all_closed()
        assert running.recorder.failures == []
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_close_may_be_called_again() -> None:
    async with serving() as running:
        assert isinstance(running, Running)
        await running.server.close()
        await running.server.close()
        assert await running.server.drain(1) == 0
        with pytest.raises(ConnectionRefusedError):
            await running.ask()
