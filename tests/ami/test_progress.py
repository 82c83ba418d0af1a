"""How far a call by a click has come, by events as a real Asterisk 22 sent them (shortened to what is looked at)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.ami.progress import Progress, Step, dial_of, is_refusal

DIAL = "0123456789abcdef"
OWN = f"ostiary-dial-{DIAL}"
CALLED = "1792000000.7"
Event = dict[str, str]


def new_state(channel: str, state: str) -> Event:
    return {"Event": "Newstate", "Uniqueid": channel, "Linkedid": OWN, "ChannelState": state}


def dialled(dest: str, status: str, by: str = "") -> Event:
    caller = {"Uniqueid": by, "Linkedid": OWN} if by else {}
    return {"Event": "DialEnd", **caller, "DestUniqueid": dest, "DestLinkedid": OWN, "DialStatus": status}


def dial_state(dest: str, status: str, by: str = "") -> Event:
    return dialled(dest, status, by) | {"Event": "DialState"}


def hangup(channel: str, cause: str) -> Event:
    return {"Event": "Hangup", "Uniqueid": channel, "Linkedid": OWN, "Cause": cause}


RINGS = [new_state(OWN, "5"), dial_state(OWN, "RINGING")]
PICKED_UP = [*RINGS, new_state(OWN, "6"), dialled(OWN, "ANSWER")]
CALLED_RINGS = [*PICKED_UP, dial_state(CALLED, "RINGING", OWN), new_state(CALLED, "5")]
SECOND = OWN + "-2"
PHONE = "1792000000.5"
ALL_PHONES = [
    new_state(PHONE, "5"),
    new_state(OWN, "5"),
    dial_state(PHONE, "RINGING", SECOND),
    new_state(PHONE, "6"),
    dialled(PHONE, "ANSWER", SECOND),
    new_state(SECOND, "6"),
    new_state(OWN, "6"),
    dialled(OWN, "ANSWER"),
]


def steps(events: list[Event], progress: Progress | None = None) -> list[str]:
    progress = progress or Progress(DIAL)
    found = [progress.event(event) for event in events]
    return [f"{step.state} {step.reason}".strip() for step in found if step is not None]


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (
            [*CALLED_RINGS, dialled(CALLED, "ANSWER", OWN), hangup(CALLED, "16"), hangup(OWN, "16")],
            ["ringing-agent", "dialling", "ringing", "answered", "ended"],
        ),
        (
            [*PICKED_UP, dialled(CALLED, "BUSY", OWN), hangup(CALLED, "17"), hangup(OWN, "17")],
            ["ringing-agent", "dialling", "failed busy"],
        ),
        (
            [*CALLED_RINGS, dialled(CALLED, "NOANSWER", OWN), hangup(CALLED, "0"), hangup(OWN, "0")],
            ["ringing-agent", "dialling", "ringing", "failed no-answer"],
        ),
        (
            [*CALLED_RINGS, dialled(CALLED, "CANCEL", OWN), hangup(OWN, "0")],
            ["ringing-agent", "dialling", "ringing", "failed cancelled"],
        ),
        (
            [*PICKED_UP, dialled(CALLED, "CONGESTION", OWN), dialled("1792000000.9", "ANSWER", OWN), hangup(OWN, "16")],
            ["ringing-agent", "dialling", "answered", "ended"],
        ),
        (
            [*PICKED_UP, dialled(CALLED, "CHANUNAVAIL", OWN), hangup(OWN, "20")],
            ["ringing-agent", "dialling", "failed failed"],
        ),
        ([*PICKED_UP, hangup(OWN, "1")], ["ringing-agent", "dialling", "failed failed"]),
        ([*PICKED_UP, hangup(OWN, "16")], ["ringing-agent", "dialling", "ended"]),
        ([*PICKED_UP, dial_state(CALLED, "PROGRESS", OWN)], ["ringing-agent", "dialling", "ringing"]),
        ([dialled(OWN, "BUSY"), hangup(OWN, "17")], ["failed agent-busy"]),
        ([*RINGS, hangup(OWN, "21")], ["ringing-agent", "failed agent-busy"]),
        ([*RINGS, hangup(OWN, "19")], ["ringing-agent", "failed agent-no-answer"]),
        ([hangup(OWN, "19")], ["failed agent-unreachable"]),
        ([*RINGS, dialled(OWN, "CHANUNAVAIL"), hangup(OWN, "0")], ["ringing-agent", "failed agent-unreachable"]),
        ([*ALL_PHONES, dial_state(CALLED, "RINGING", OWN)], ["ringing-agent", "dialling", "ringing"]),
        (
            [dialled(PHONE, "BUSY", SECOND), hangup(SECOND, "17"), dialled(OWN, "BUSY"), hangup(OWN, "17")],
            ["failed agent-busy"],
        ),
    ],
)  # fmt: skip
def test_what_events_come_to(events: list[Event], told: list[str]) -> None:
    assert steps(events) == told


@pytest.mark.parametrize("before", [RINGS, PICKED_UP, CALLED_RINGS])
def test_what_somebody_cancelled_is_cancelled(before: list[Event]) -> None:
    progress = Progress(DIAL)
    steps(before, progress)
    progress.cancelled = True
    assert steps([hangup(OWN, "16")], progress) == ["failed cancelled"]


def test_a_conversation_that_somebody_ends_has_ended() -> None:
    progress = Progress(DIAL)
    steps([*CALLED_RINGS, dialled(CALLED, "ANSWER", OWN)], progress)
    progress.cancelled = True
    assert steps([hangup(OWN, "16")], progress) == ["ended"]


REFUSAL = {
    "Event": "OriginateResponse",
    "ActionID": OWN,
    "Response": "Failure",
    "Reason": "0",
    "Uniqueid": OWN,
}


def test_a_phone_that_is_not_there_has_no_channel() -> None:
    progress = Progress(DIAL)
    assert dial_of(REFUSAL) == DIAL
    assert steps([REFUSAL], progress) == []
    assert progress.refused() == Step("failed", "agent-unreachable")
    assert not is_refusal(REFUSAL | {"Response": "Success", "Reason": "4"})


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ([dialled(OWN, "BUSY"), hangup(OWN, "17")], "failed agent-busy"),
        ([*RINGS, hangup(OWN, "19")], "failed agent-no-answer"),
    ],
)
def test_the_answer_to_an_order_may_overtake_the_channel(after: list[Event], told: str) -> None:
    progress = Progress(DIAL)
    steps([REFUSAL, *after[:-1], {"Event": "Newchannel", "Uniqueid": OWN}], progress)
    assert progress.refused() is None
    assert steps(after[-1:], progress) == [told]


def test_what_a_list_of_channels_says() -> None:
    own = {"Uniqueid": OWN, "Linkedid": OWN, "ChannelState": "6", "BridgeId": "b"}
    called = {"Uniqueid": CALLED, "Linkedid": OWN, "ChannelState": "6", "BridgeId": "b"}
    assert Progress(DIAL).there([called, own]) == Step("answered")
    assert Progress(DIAL).there([own | {"BridgeId": ""}]) == Step("dialling")
    assert Progress(DIAL).there([own | {"ChannelState": "5", "BridgeId": ""}]) is None
    assert Progress(DIAL).there([called]) is None
    spoken = Progress(DIAL)
    spoken.there([own, called])
    assert spoken.there([own | {"BridgeId": ""}]) is None, "on hold they are connected still"
    assert spoken.event(hangup(OWN, "16")) == Step("ended")


@pytest.mark.parametrize(
    ("event", "dial"),
    [
        ({"Linkedid": OWN, "Uniqueid": CALLED}, DIAL),
        ({"Linkedid": "1.1", "Uniqueid": OWN}, DIAL),
        ({"DestLinkedid": OWN, "DestUniqueid": CALLED}, DIAL),
        ({"Linkedid": OWN, "Uniqueid": SECOND}, DIAL),
        ({"Linkedid": "1.1", "Uniqueid": SECOND}, DIAL),
        ({"Event": "OriginateResponse", "ActionID": "other", "Uniqueid": "<null>"}, ""),
        ({"Event": "Hangup", "ActionID": OWN, "Uniqueid": "1.1"}, ""),
        ({"Linkedid": "1.1", "Uniqueid": "1.1", "CallerIDNum": OWN}, ""),
    ],
)
def test_whose_event_it_is(event: Event, dial: str) -> None:
    assert dial_of(event) == dial


EVENTS = st.sampled_from(
    [
        *CALLED_RINGS,
        *ALL_PHONES,
        dialled(CALLED, "ANSWER", OWN),
        dialled(CALLED, "BUSY", OWN),
        hangup(CALLED, "16"),
        {"Event": "Newstate"},
        {"Event": "DialEnd"},
        {},
    ]
)


@settings(max_examples=200)
@given(events=st.lists(EVENTS, max_size=20), cause=st.sampled_from(["0", "16", "17", "19", "x", ""]))
def test_whatever_comes_the_end_of_the_agent_s_channel_is_the_end(events: list[Event], cause: str) -> None:
    progress = Progress(DIAL)
    told = steps([*events, hangup(OWN, cause)], progress)
    assert told[-1].partition(" ")[0] in {"ended", "failed"}
    assert not any(each.startswith(("ended", "failed")) for each in told[:-1])
    assert ("answered" in told) == (told[-1] == "ended" and progress.answered)
