"""What our stand-in for Asterisk reads, against what Asterisk 22.10 was seen to read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from agi_server.errors import RemoteProtocolError
from agi_server.fastagi.client import _lines, ask, environment, split_pairs, split_words

WORDS = [
    ("", []),
    ("  \t ", []),
    ("NOOP", ["NOOP"]),
    (" SET  VARIABLE\tA b ", ["SET", "VARIABLE", "A", "b"]),
    ('A "b c" d', ["A", "b c", "d"]),
    ('A "" b', ["A", "", "b"]),
    ('A b"c d"e', ["A", "bc de"]),
    (r'A "b \" c"', ["A", 'b " c']),
    (r'A "b \\" c', ["A", "b \\", "c"]),
    (r"A b\ c", ["A", "b c"]),
    (r"A \"b", ["A", '"b']),
    ('A "open end', ["A", "open end"]),
    ("A\r", ["A\r"]),
]


@pytest.mark.parametrize(("line", "words"), WORDS)
def test_split_words(line: str, words: list[str]) -> None:
    assert split_words(line) == words


PAIRS = [
    ("", []),
    ("A=1", [("A", "1")]),
    ("A=1,B=,C=3", [("A", "1"), ("B", ""), ("C", "3")]),
    ("A=1,B=", [("A", "1"), ("B", "")]),
    ("A,B=2", [("B", "2")]),
    ("A=b=c", [("A", "b=c")]),
    (
        "CALLERID(name)=Ana,CONNECTEDLINE(name,i)=B",
        [("CALLERID(name)", "Ana"), ("CONNECTEDLINE(name,i)", "B")],
    ),
    (r"A=a\,b\\,C=\"d\"", [("A", "a,b\\"), ("C", '"d"')]),
    ('A="a,b",C=d', [("A", "a,b"), ("C", "d")]),
    # Unescaped, an opening bracket swallows the variables behind it.
    ("A=:-(,B=2", [("A", ":-(,B=2")]),
    ("A=[,B=2", [("A", "[,B=2")]),
    (r"A=\(,B=2", [("A", "("), ("B", "2")]),
]


@pytest.mark.parametrize(("options", "pairs"), PAIRS)
def test_split_pairs(options: str, pairs: list[tuple[str, str]]) -> None:
    assert split_pairs(options) == pairs


def test_the_last_of_too_many_pairs_swallows_the_rest() -> None:
    pairs = split_pairs(",".join(f"A{number}=\\1" for number in range(30)))
    assert pairs[:23] == [(f"A{number}", "1") for number in range(23)]
    assert pairs[23:] == [("A23", "\\1," + ",".join(f"A{number}=\\1" for number in range(24, 30)))]


def test_environment_block() -> None:
    block = environment(
        "incoming", number="+49301", did="200", query={"a": "x&y"}, args=["one"], env={"x": "1"}
    )
    lines = block.decode().split("\n")
    assert lines[:3] == [
        "agi_network: yes",
        "agi_network_script: incoming?a=x%26y",
        "agi_request: agi://127.0.0.1:4573/incoming?a=x%26y",
    ]
    assert " ".join(line.partition(":")[0].removeprefix("agi_") for line in lines[3:22]) == (
        "channel language type uniqueid version callerid calleridname callingpres callingani2 callington "
        "callingtns dnid rdnis context extension priority enhanced accountcode threadid"
    )
    assert "agi_callerid: +49301" in lines
    assert "agi_calleridname: unknown" in lines
    assert "agi_accountcode: " in lines
    assert lines[22:] == ["agi_x: 1", "agi_arg_1: one", "", ""]


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server_of(handler: Handler) -> AsyncIterator[int]:
    """A server that does what `handler` does with each connection, after it has read the block."""
    handled: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handled.append(asyncio.current_task())  # type: ignore[arg-type]  # it is one
        try:
            await reader.readuntil(b"\n\n")
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*handled), 60)


DIALOGUE = [
    (b'EXEC MSet "A=1,CALLERID(name)= Ana ,__B=2"\n', b"200 result=0\n"),
    (b'SET VARIABLE C "3 4"\n', b"200 result=1\n"),
    (b'verbose "hello there" 1\n', b"200 result=1\n"),
    (b"EXEC Nothing\n", b"200 result=-2\n"),
    (b"FLY\n", b"510 Invalid or unknown command\n"),
    (b"SET VARIABLE D\n", b"520-Invalid command syntax.  Proper usage follows:\n"),
    (b"NOOP\n", b"520 End of proper usage.\n"),
]


async def test_ask_runs_commands() -> None:
    replies: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for command, _ in DIALOGUE:
            writer.write(command)
            replies.append(await reader.readline())
        replies.append(await reader.readline())

    async with server_of(talk) as port:
        outcome = await ask("127.0.0.1", port, "x")
    assert replies == [*(reply for _, reply in DIALOGUE), b"200 result=0\n"]
    assert outcome.variables == {"A": "1", "CALLERID(name)": "Ana", "B": "2", "C": "3 4"}
    assert outcome.verbose == ["hello there"]
    assert outcome.commands == [command.decode()[:-1] for command, _ in DIALOGUE]
    assert outcome.status == "SUCCESS"


def test_one_line_each_time_something_arrives() -> None:
    assert list(_lines(b"A\nB\nC", everything=False)) == [(b"A", b"B\nC")]
    assert list(_lines(b"A\nB\nC", everything=True)) == [(b"A", b"B\nC"), (b"B", b"C"), (b"C", b"")]
    assert list(_lines(b"A", everything=False)) == []


async def test_lines_sent_at_once_wait_for_a_half_close() -> None:
    received: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"NOOP\nNOOP\n")
        received.append(await reader.readline())
        writer.write_eof()
        received.append(await reader.read())

    async with server_of(talk) as port:
        outcome = await ask("127.0.0.1", port, "x")
    assert outcome.commands == ["NOOP", "NOOP"]
    assert received == [b"200 result=0\n", b"200 result=0\nHANGUP\n"]


async def test_a_line_too_long_is_run_in_pieces() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"NOOP " + b"x" * 2042 + b"FLY\n")
        writer.write_eof()

    async with server_of(talk) as port:
        assert (await ask("127.0.0.1", port, "x")).commands == ["NOOP " + "x" * 2042, "FLY"]


async def test_a_last_line_without_an_end_is_run() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SET VARIABLE A 1")

    async with server_of(talk) as port:
        assert (await ask("127.0.0.1", port, "x")).variables == {"A": "1"}


async def test_failure() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"Failure: not today\nSET VARIABLE A 1\n")

    async with server_of(talk) as port:
        outcome = await ask("127.0.0.1", port, "x")
    assert (outcome.status, outcome.variables) == ("FAILURE", {})


async def test_a_command_that_crashes_asterisk() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"NOOP" + b' "a"' * 130 + b"\n")

    async with server_of(talk) as port:
        with pytest.raises(RemoteProtocolError, match="131 words"):
            await ask("127.0.0.1", port, "x")


async def test_nobody_there_and_nobody_answering() -> None:
    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server_of(talk) as port:
        with pytest.raises(TimeoutError):
            await ask("127.0.0.1", port, "x", timeout=0.05)
    with pytest.raises(ConnectionRefusedError):
        await ask("127.0.0.1", port, "x")
