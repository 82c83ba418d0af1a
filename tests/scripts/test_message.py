"""A SIP MESSAGE as the dialplan tells of it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agi_server.scripts.message import party
from tests.house import House


def encoded(text: str) -> str:
    return base64.b64encode(text.replace(":", "\x01").encode()).decode()


async def tell(ostiary: House, sender: str, to: str, body: str) -> str:
    told = await ostiary.ask("message", args=[encoded(sender), encoded(to), encoded(body)])
    return told["OSTIARY_RESULT"]


async def chats(ostiary: House) -> list[tuple[Any, ...]]:
    query = (
        "SELECT direction, number, number_text, name, did, agent, contact_id, messages FROM chats ORDER BY id"
    )
    return [
        (*row[:7], [tuple(each[1:]) for each in json.loads(row.messages)])
        for row in await ostiary.rows(query)
    ]


async def test_a_customer_writes(ostiary: House) -> None:
    sender = '"Ana: Muñoz" <sip:+493023125010@trunk.example>'
    assert await tell(ostiary, sender, "sip:030555@pbx", "Hello:\nworld") == "kept"
    ((direction, number, sent, name, did, agent, contact, messages),) = await chats(ostiary)
    assert (direction, number, sent, name) == ("inbound", 493023125010, "+493023125010", "Ana: Muñoz")
    assert (did, agent, messages) == ("030555", "", [("Ana: Muñoz", "Hello:\nworld")])
    assert contact is not None


async def test_an_agent_writes_and_is_answered(ostiary: House) -> None:
    assert await tell(ostiary, "<sip:101@pbx>", "sip:03023125010@pbx", "Hello") == "kept"
    assert await tell(ostiary, "<sip:03023125010@trunk>", "sip:101@pbx", "Yes?") == "kept"
    ((direction, number, _, _, did, agent, _, messages),) = await chats(ostiary)
    assert (direction, number, did, agent) == ("outbound", 493023125010, "", "101")
    assert messages == [("101", "Hello"), ("03023125010", "Yes?")]


@pytest.mark.parametrize(
    ("sender", "to", "body"),
    [
        ("<sip:101@pbx>", "sip:200@pbx", "among us"),
        ("<sip:0301@x>", "sip:0302@x", " \n "),
        ("", "sip:0302@x", "nobody"),
        ("<sip:0301@x>", "", "to nobody"),
    ],
)
async def test_what_is_not_kept(ostiary: House, sender: str, to: str, body: str) -> None:
    assert await tell(ostiary, sender, to, body) == "ignored"
    assert await chats(ostiary) == []


@pytest.mark.parametrize(
    "args", [["<sip:1@x>", "sip:2@x", "plain"], ["é", "é", "é"], ["QQ=", "QQ==", "QQ=="]]
)
async def test_what_is_no_base64(ostiary: House, args: list[str]) -> None:
    assert (await ostiary.ask("message", args=args))["OSTIARY_RESULT"] == "invalid"


async def test_bytes_that_are_no_text(ostiary: House) -> None:
    raw = base64.b64encode(b"\xff\xfe\x00ok").decode()
    told = await ostiary.ask("message", args=[encoded("<sip:0301@x>"), encoded("sip:0302@x"), raw])
    assert told["OSTIARY_RESULT"] == "kept"
    ((*_, messages),) = await chats(ostiary)
    assert messages == [("0301", "\ufffd\ufffd\x00ok")]


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ('"Otto" <sip:+4930@h:5060;transport=udp>', "Otto", "+4930"),
        ('"Ot\\"to\\\\" <sip:030@h>;tag=1', 'Ot"to\\', "030"),
        ("Otto <sips:030;phone-context=x@h>", "Otto", "030"),
        ("<tel:+4930>", "", "+4930"),
        ("sip:030@h", "", "030"),
        ("pjsip:trunk/sip:030@h", "", "030"),
        ('"Evil> <sip:666@x" <sip:030@h>', "Evil> <sip:666@x", "030"),
        ('"a\nb\u2028c" <sip:0\r\n30@h>', "a b c", "0 30"),
        ("", "", ""),
        ("nonsense", "", "nonsense"),
    ],
)
def test_who_it_is(text: str, name: str, number: str) -> None:
    assert party(text) == (name, number)


@given(st.text(max_size=300))
def test_whoever_it_is(text: str) -> None:
    for part in party(text):
        assert part == part.strip()
        assert len(part) <= 200
        assert not any(char in part for char in "\r\n\0\u2028")
