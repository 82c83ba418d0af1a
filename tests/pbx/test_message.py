"""A SIP MESSAGE through the dialplan, as a phone or a trunk sends it."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pbx import directory
from tests.pbx.asterisk import Asterisk
from tests.pbx.ostiary import BadServer, Ostiary, dying, silent
from tests.pbx.places import DID
from tests.pbx.sipp import Sipp
from tests.pbx.waiting import until

pytestmark = pytest.mark.usefixtures("sipp")

QUERY = "SELECT direction, name, did, agent, contact_id, messages, channel FROM chats WHERE number = ?"

_strangers = itertools.count(4930555001)


def customer() -> str:
    """Return the number of somebody who has not written yet."""
    return str(next(_strangers))


def otto(number: str) -> str:
    return f'"Otto" <sip:{number}@127.0.0.1>'


def chat(server: Ostiary, number: str) -> tuple[Any, ...]:
    """Return the only chat with a number, once it is there; in place of its messages, their texts."""
    (row,) = until(lambda: server.rows(QUERY, int(number)))
    direction, name, did, agent, contact, messages, channel = row
    texts = [text for _, _, text in json.loads(str(messages))]
    return direction, name, did, agent, contact, texts, channel


def result(asterisk: Asterisk, since: int) -> str:
    """Return what Ostiary said of the message."""
    line = until(lambda: [each for each in asterisk.log(since).splitlines() if "message to " in each])[-1]
    return line.rpartition(": ")[2]


@pytest.fixture(scope="module")
def own(serve: Callable[..., Ostiary]) -> Ostiary:
    return serve(OSTIARY_FASTAGI__DEADLINE="10")


@pytest.fixture
def server(own: Ostiary, asterisk: Asterisk) -> Iterator[Ostiary]:
    asterisk.set_global("OSTIARY_SERVER", own.address)
    asterisk.set_global("OSTIARY_SECONDS", "12")
    yield own
    asterisk.set_global("OSTIARY_SECONDS", "1.5")


def test_a_message_of_a_customer(sipp: Sipp, asterisk: Asterisk, server: Ostiary) -> None:
    since = asterisk.logged()
    sipp.message(DID, "Good morning", sender=otto(directory.OWNED_BY_BEN)).wait()
    assert result(asterisk, since) == "kept."
    direction, name, did, agent, contact, texts, channel = chat(server, directory.OWNED_BY_BEN)
    assert (direction, name, did, agent, channel) == ("inbound", "Otto", DID, "", "sip-message")
    assert contact is not None
    assert texts == ["Good morning"]


HOSTILE = [
    "smile :) and: smile :) and: again",
    "$" + "{SHELL(touch /tmp/owned)} $" + "{EXTEN} %s \\n",
    "a,b,c)&(System(id),\"quoted\" 'single' ; comment | pipe",
    "first line\r\n\r\nagi_extension: 666\r\nHANGUP\r\n",
    "Grüße 🦊 李小龍",
    "?x=1&to=evil HTTP/1.1",
    ":" * 40 + ")" * 40 + "(" * 40,
    "äö, " * 170 + "end",  # 1,023 bytes: as much as chan_pjsip takes
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_is_written(body: str, asterisk: Asterisk, server: Ostiary) -> None:
    number = customer()
    since = asterisk.logged()
    send(asterisk, DID, body, sender=otto(number))
    assert result(asterisk, since) == "kept."
    assert chat(server, number)[5] == [body.strip()]


@pytest.mark.parametrize("name", ['Evil\\"> :) :) <sip:666@x', "a,b)&(c", "$" + "{EXTEN}", "agi_x: y"])
def test_whoever_writes(name: str, asterisk: Asterisk, server: Ostiary) -> None:
    number = customer()
    since = asterisk.logged()
    send(asterisk, DID, "Hello", sender=f'"{name}" <sip:{number}@127.0.0.1>')
    assert result(asterisk, since) == "kept."
    assert chat(server, number)[1] == name.replace("\\", "")


def test_a_chat_between_a_phone_of_ours_and_a_customer(asterisk: Asterisk, server: Ostiary) -> None:
    number = customer()
    since = asterisk.logged()
    send(asterisk, number, "Shall I call you?", sender="Anna <sip:101@127.0.0.101>", here="127.0.0.101")
    assert result(asterisk, since) == "kept."
    since = asterisk.logged()
    send(asterisk, "101", "Please do", sender=otto(number))
    assert result(asterisk, since) == "kept."
    direction, _, did, agent, _, texts, _ = chat(server, number)
    assert (direction, did, agent) == ("outbound", "", "101")
    assert texts == ["Shall I call you?", "Please do"]


def test_colleagues_are_among_themselves(asterisk: Asterisk, server: Ostiary) -> None:
    before = server.rows("SELECT count(*) FROM chats")
    since = asterisk.logged()
    send(asterisk, "102", "Lunch?", sender="<sip:101@127.0.0.101>", here="127.0.0.101")
    assert result(asterisk, since) == "ignored."
    assert server.rows("SELECT count(*) FROM chats") == before


@pytest.mark.parametrize("behave", [silent, dying])
def test_the_message_goes_on_when_ostiary_does_not_answer(
    behave: Callable[[socket.socket], None],
    asterisk: Asterisk,
    instead: Callable[..., BadServer],
    server: Ostiary,
) -> None:
    number = customer()
    bad = instead(behave)
    asterisk.set_global("OSTIARY_SECONDS", "1.5")
    since = asterisk.logged()
    send(asterisk, DID, "Hello?", sender=otto(number))
    assert result(asterisk, since) == "."
    assert bad.asked() == 1
    asterisk.set_global("OSTIARY_SERVER", server.address)
    asterisk.set_global("OSTIARY_SECONDS", "12")
    since = asterisk.logged()
    send(asterisk, DID, "Hello!", sender=otto(number))
    assert result(asterisk, since) == "kept."
    assert chat(server, number)[5] == ["Hello!"]


def send(asterisk: Asterisk, to: str, body: str, *, sender: str, here: str = "127.0.0.1") -> None:
    """Send a MESSAGE as it is: SIPp reads square brackets and changes line breaks."""
    port = int(asterisk.values["SIP"])
    data = body.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind((here, 0))
        own.settimeout(5)
        head = (
            f"MESSAGE sip:{to}@127.0.0.1:{port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {here}:{own.getsockname()[1]};branch=z9hG4bK{time.monotonic_ns()}\r\n"
            f"Max-Forwards: 70\r\nFrom: {sender};tag=1\r\nTo: <sip:{to}@127.0.0.1>\r\n"
            f"Call-ID: {time.monotonic_ns()}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain;charset=UTF-8\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        own.sendto(head.encode() + data, ("127.0.0.1", port))
        while not (answer := own.recv(4096).decode()).startswith("SIP/2.0 2"):
            assert answer.startswith("SIP/2.0 1"), answer
