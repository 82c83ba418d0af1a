"""What phones do, from what a PBX tells of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.ami.states import States

OURS = {"101", "102"}


def states() -> States:
    return States(lambda endpoint: endpoint if endpoint in OURS else "", "PJSIP")


def device(state: str, name: str = "PJSIP/101") -> dict[str, str]:
    return {"Event": "DeviceStateChange", "Device": name, "State": state}


def hint(text: str, extension: str = "101") -> dict[str, str]:
    return {"Event": "ExtensionStatus", "Exten": extension, "Context": "hints", "StatusText": text}


def member(queue: str, *, paused: bool, event: str = "QueueMemberPause", **more: str) -> dict[str, str]:
    where = more or {"Interface": "PJSIP/101"}
    return {"Event": event, "Queue": queue, **where, "Paused": str(int(paused))}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ("NOT_INUSE", "free"),
        ("UNKNOWN", "free"),
        ("something new", "free"),
        ("INUSE", "busy"),
        ("BUSY", "busy"),
        ("RINGINUSE", "busy"),
        ("ONHOLD", "busy"),
        ("RINGING", "ringing"),
        ("UNAVAILABLE", "unreachable"),
        ("INVALID", "unreachable"),
    ],
)
def test_a_device(told: str, state: str) -> None:
    known = states()
    assert known.event(device(told)) == "101"
    assert known.known == {"101": state}
    assert known.event(device(told)) == ""  # nothing new


@pytest.mark.parametrize("name", ["PJSIP/trunk", "SIP/101", "Local/101@x", "Queue:sales_avail", "101", ""])
def test_what_is_no_phone_of_ours(name: str) -> None:
    known = states()
    assert known.event(device("INUSE", name)) == ""
    assert known.known == {}


@pytest.mark.parametrize(
    ("told", "text", "state"),
    [
        ("NOT_INUSE", "InUse", "busy"),  # do not disturb, or another phone of theirs
        ("NOT_INUSE", "Idle", "free"),
        ("RINGING", "Ringing", "ringing"),
        ("RINGING", "InUse&Ringing", "busy"),
        ("UNAVAILABLE", "Idle", "unreachable"),
        ("UNAVAILABLE", "Hold", "busy"),
        ("NOT_INUSE", "Unavailable", "free"),
    ],
)
def test_a_hint_beside_a_device(told: str, text: str, state: str) -> None:
    known = states()
    known.event(device(told))
    known.event(hint(text))
    assert known.known == {"101": state}


def test_who_pauses_in_every_queue_pauses() -> None:
    known = states()
    known.event(member("sales", paused=False))
    known.event(member("support", paused=True))
    assert known.known == {"101": "free"}
    known.event(member("sales", paused=True))
    assert known.known == {"101": "paused"}
    known.event(device("INUSE"))
    assert known.known == {"101": "paused"}
    known.event(member("sales", paused=False, event="QueueMemberStatus"))
    assert known.known == {"101": "busy"}
    known.event({"Event": "QueueMemberRemoved", "Queue": "sales", "Interface": "PJSIP/101"})
    assert known.known == {"101": "paused"}
    known.event({"Event": "QueueMemberRemoved", "Queue": "support", "Interface": "PJSIP/101"})
    assert known.known == {"101": "busy"}


@pytest.mark.parametrize(
    "where",
    [
        {"Location": "PJSIP/101", "Name": "Ana"},
        {"Interface": "Local/101@from-queue/n", "StateInterface": "PJSIP/101"},
        {"Interface": "Local/101@from-queue/n", "StateInterface": "hint:101@ext-local"},
        {"Location": "Local/101@from-queue/n", "StateInterface": ""},
    ],
)
def test_members_of_queues(where: dict[str, str]) -> None:
    known = states()
    assert known.event(member("sales", paused=True, event="QueueMember", **where)) == "101"
    assert known.known == {"101": "paused"}


def test_members_who_are_none_of_ours() -> None:
    known = states()
    for where in ({"Interface": "PJSIP/trunk"}, {"Interface": "Local/101"}, {"Interface": "Agent/101@x"}):
        assert known.event(member("sales", paused=True, **where)) == ""
    assert known.known == {}


def test_a_new_list_begins_with_nothing() -> None:
    known = states()
    known.event(device("INUSE"))
    known.event(member("sales", paused=True))
    known.begin()
    assert known.known == {}
    known.event(device("NOT_INUSE"))
    assert known.known == {"101": "free"}


def test_what_says_nothing_of_phones() -> None:
    known = states()
    for event in ({}, {"Event": "Hangup"}, {"Event": "DeviceStateChange"}, {"Event": "QueueMemberPause"}):
        assert known.event(event) == ""
    assert known.known == {}


texts = st.sampled_from(("INUSE", "NOT_INUSE", "UNAVAILABLE", "RINGING", "Idle", "InUse", "Ringing", ""))
events = st.one_of(
    st.builds(device, texts, st.sampled_from(("PJSIP/101", "PJSIP/102"))),
    st.builds(hint, texts, st.sampled_from(("101", "102"))),
    st.builds(lambda queue, paused: member(queue, paused=paused), st.sampled_from("ab"), st.booleans()),
)


@given(st.lists(events, max_size=12))
@settings(max_examples=150)
def test_only_the_last_word_on_each_counts(told: list[dict[str, str]]) -> None:
    whole = states()
    for event in told:
        before = dict(whole.known)
        changed = whole.event(event)
        assert {ext for ext in OURS if before.get(ext) != whole.known.get(ext)} == ({changed} - {""})
    last = {(e["Event"], e.get("Device") or e.get("Exten") or e.get("Queue")): e for e in told}
    brief = states()
    for event in last.values():
        brief.event(event)
    assert brief.known == whole.known
