"""What the rows of a conversation come to: each recorded one, and what a table of them must say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.calls.record import Disposition, Leg, LegOutcome, Record, Transfer, Way
from agi_server.cdr.conversation import conversation
from agi_server.cdr.rows import Row
from tests.cdr.samples import FILES, ours, recorded

NUMBER = "4930200001"
TRUNK = "PJSIP/trunk"

# name: way, disposition, seconds, who spoke first, queue, legs (who, how, outcome), transfers (kind, by, to)
EXPECTED: dict[str, tuple[str, str, int, str, str, str, str]] = {
    "answered": ("inbound", "answered", 2, "101", "", "101 dial answered", ""),
    "missed": ("inbound", "no answer", 0, "", "", "101 dial no answer", ""),
    "busy": ("inbound", "busy", 0, "", "", "101 dial busy", ""),
    "cancelled": ("inbound", "no answer", 0, "", "", "101 dial no answer", ""),
    "failed": ("inbound", "failed", 0, "", "", "", ""),
    "group": ("inbound", "answered", 2, "102", "", "101 dial elsewhere; 102 dial answered", ""),
    "local-group": ("inbound", "answered", 2, "102", "", "101 dial elsewhere; 102 dial answered", ""),
    "queue": ("inbound", "answered", 2, "102", "sales-10", "101 queue elsewhere; 102 queue answered", ""),
    "queue-abandoned": (
        "inbound",
        "no answer",
        0,
        "",
        "sales-10",
        "101 queue no answer; 102 queue no answer",
        "",
    ),
    "menu-nobody": ("inbound", "no answer", 0, "", "", "101 dial no answer", ""),
    "menu-answered": ("inbound", "answered", 4, "101", "", "101 dial answered", ""),  # 2 s of them the menu
    "blind-transfer": (
        "inbound",
        "answered",
        4,
        "101",
        "",
        "101 dial answered; 102 transfer answered",
        "blind 101 102",
    ),
    "blind-transfer-nobody": (
        "inbound",
        "answered",
        1,
        "101",
        "",
        "101 dial answered; 102 transfer no answer",
        "blind 101 102",
    ),
    "attended-transfer": (
        "inbound",
        "answered",
        4,
        "101",
        "",
        "101 dial answered; 102 transfer answered",
        "attended 101 102",
    ),
    "attended-transfer-sip": (
        "inbound",
        "answered",
        5,
        "101",
        "",
        "101 dial answered; 102 transfer answered",
        "attended 101 102",
    ),
    "attended-transfer-cancelled": (
        "inbound",
        "answered",
        4,
        "101",
        "",
        "101 dial answered; 102 dial no answer",
        "",
    ),
    "pickup": ("inbound", "answered", 2, "102", "", "101 dial elsewhere; 102 pickup answered", ""),
    "hold": ("inbound", "answered", 4, "101", "", "101 dial answered", ""),
    "park": ("inbound", "answered", 2, "101", "", "101 dial answered; 103 park answered", ""),
    "conference": (
        "inbound",
        "answered",
        4,
        "101",
        "",
        "101 dial answered; 102 conference answered",
        "",
    ),
    "outbound": (
        "outbound",
        "answered",
        2,
        "101",
        "",
        f"101 caller answered; {NUMBER} dial answered",
        "",
    ),
    "outbound-busy": ("outbound", "busy", 0, "", "", f"101 caller busy; {NUMBER} dial busy", ""),
    "outbound-unanswered": (
        "outbound",
        "no answer",
        0,
        "",
        "",
        f"101 caller no answer; {NUMBER} dial no answer",
        "",
    ),
    "outbound-cancelled": (
        "outbound",
        "no answer",
        0,
        "",
        "",
        f"101 caller no answer; {NUMBER} dial no answer",
        "",
    ),
    "internal": ("internal", "answered", 2, "102", "", "101 caller answered; 102 dial answered", ""),
    "click": ("outbound", "answered", 2, "101", "", f"101 click answered; {NUMBER} dial answered", ""),
    "click-ignored": ("outbound", "no answer", 0, "", "", "101 click no answer", ""),
    "voicemail": ("inbound", "no answer", 0, "", "", "101 dial no answer", ""),
    "recorded": ("inbound", "answered", 2, "101", "", "101 dial answered", ""),
    "forwarded": ("inbound", "answered", 2, "", "", "491701234510 dial answered", ""),
    "forged": ("inbound", "answered", 3, "101", "", "101 dial answered", ""),
}


def summary(record: Record) -> tuple[str, str, int, str, str, str, str]:
    return (
        record.way.value,
        record.disposition.value,
        record.seconds,
        record.answered_by,
        record.queue,
        "; ".join(f"{leg.extension or leg.number} {leg.via} {leg.outcome.value}" for leg in record.legs),
        "; ".join(f"{each.kind} {each.by} {each.to}" for each in record.transfers),
    )


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_asterisk_wrote(name: str) -> None:
    record = conversation(recorded(name), ours, pbx="pbx")
    assert summary(record) == EXPECTED[name]
    assert record.told_by == "cdr"
    assert record.number == ("102" if name == "internal" else NUMBER)
    assert record.name == ("Otto Owned" if record.way is Way.INBOUND else "")
    assert record.trunk == ("" if name in {"internal", "click-ignored"} else TRUNK)
    assert record.agent == ("" if record.way is Way.INBOUND else "101")
    assert record.ended_at is not None
    assert record.started_at <= (record.answered_at or record.started_at) <= record.ended_at
    assert record.linkedid in record.uniqueids or name.startswith("click")


def test_every_recorded_conversation_is_in_the_table() -> None:
    assert {path.stem for path in FILES.glob("*.csv")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_in_any_order(name: str) -> None:
    rows = recorded(name)
    assert conversation([*reversed(rows)], ours) == conversation(rows, ours)


def row(**fields: object) -> Row:
    known: dict[str, object] = {
        "uniqueid": "1795300000.1",
        "linkedid": "1795300000.1",
        "channel": "PJSIP/trunk-00000001",
        "dstchannel": "PJSIP/101-00000002",
        "src": NUMBER,
        "dst": "4930777100",
        "lastapp": "Dial",
        "lastdata": "PJSIP/101,20",
        "disposition": "ANSWERED",
        "started_at": 100.0,
        "answered_at": 102.0,
        "ended_at": 110.0,
    }
    return Row(**(known | fields))  # type: ignore[arg-type]


def test_what_freepbx_says_besides() -> None:
    told = row(number="+4930200001", name="Otto", did="4930777999", recording="in-1.wav", dst="101")
    record = conversation([told], ours)
    assert (record.number, record.name, record.did, record.recording) == (
        "+4930200001",
        "Otto",
        "4930777999",
        "in-1.wav",
    )


@pytest.mark.parametrize(
    "app", ["Playback", "VoiceMail", "Queue", "Hangup", "BackGround"], ids=lambda app: str(app).lower()
)
def test_only_people_answer(app: str) -> None:
    record = conversation([row(dstchannel="", lastapp=app, lastdata="")], ours)
    assert (record.disposition, record.seconds, record.answered_at) == (Disposition.NO_ANSWER, 0, None)


def test_a_number_that_no_phone_of_ours_rang_for_is_not_made_up() -> None:
    assert conversation([row(dst="101")], ours).did == ""
    assert conversation([row(dst="s")], ours).did == ""


@pytest.mark.parametrize(
    ("told", "number"),
    [
        ("PJSIP/+4930200001@trunk,30", "+4930200001"),
        ("PJSIP/trunk/sip:030200001@10.0.0.1:5060,30", "030200001"),
        ("DAHDI/g1/030200001", "030200001"),
        ("PJSIP/030200001@trunk-a&PJSIP/030200001@trunk-b,20", "030200001"),
        ("PJSIP/trunk/sip:evil;rm@host", "0999"),
        ("", "0999"),
    ],
)
def test_the_number_that_was_dialled(told: str, number: str) -> None:
    out = row(channel="PJSIP/101-00000001", dstchannel="PJSIP/trunk-00000002", lastdata=told, dst="0999")
    record = conversation([out], ours)
    assert (record.way, record.number, record.agent) == (Way.OUTBOUND, number, "101")


def test_seconds_of_two_rows_at_once_count_once() -> None:
    rows = [
        row(),
        row(dstchannel="PJSIP/102-00000003", lastapp="ConfBridge", started_at=104.0, answered_at=104.0),
    ]
    assert conversation(rows, ours).seconds == 8


def test_a_call_that_came_back_after_a_transfer_names_everyone() -> None:
    rows = [
        row(ended_at=105.0),
        row(
            dstchannel="PJSIP/102-00000003",
            lastdata="PJSIP/102",
            started_at=105.0,
            answered_at=107.0,
            ended_at=109.0,
        ),
        row(
            dstchannel="PJSIP/101-00000004",
            lastdata="PJSIP/101",
            started_at=109.0,
            answered_at=110.0,
            ended_at=120.0,
        ),
    ]
    record = conversation(rows, ours)
    assert record.transfers == (
        Transfer(kind="blind", at=105.0, by="101", to="102"),
        Transfer(kind="blind", at=109.0, by="102", to="101"),
    )
    assert [leg.extension for leg in record.legs] == ["101", "102", "101"]
    assert (record.answered_by, record.seconds) == ("101", 15)


CHANNELS = st.sampled_from(
    [
        "PJSIP/trunk-00000001",
        "PJSIP/101-00000002",
        "PJSIP/102-00000003",
        "Local/101@x-00000004;1",
        "Local/101@x-00000004;2",
        "",
        "?",
    ]
)
ROWS = st.builds(
    row,
    channel=CHANNELS.filter(bool),
    dstchannel=CHANNELS,
    lastapp=st.sampled_from(["Dial", "Queue", "ConfBridge", "Park", "ParkedCall", "AppDial2", ""]),
    lastdata=st.text(max_size=12),
    disposition=st.sampled_from(["ANSWERED", "NO ANSWER", "BUSY", "FAILED", "CONGESTION", "", "?"]),
    started_at=st.integers(0, 20).map(float),
    answered_at=st.none() | st.integers(20, 25).map(float),
    ended_at=st.integers(25, 40).map(float),
    uniqueid=st.sampled_from(["1795300000.1", "1795300000.2"]),
)


@settings(max_examples=300)
@given(st.lists(ROWS, min_size=1, max_size=7))
def test_any_rows_make_a_sound_record(rows: list[Row]) -> None:
    record = conversation(rows, ours)
    assert record.ended_at is not None
    assert record.started_at <= record.ended_at
    assert 0 <= record.seconds <= record.ended_at - record.started_at + 1
    assert (record.disposition is Disposition.ANSWERED) == (record.answered_at is not None)
    assert all(isinstance(leg, Leg) for leg in record.legs)
    answered = [leg for leg in record.legs if leg.outcome is LegOutcome.ANSWERED]
    assert record.disposition is not Disposition.ANSWERED or answered
    assert record.disposition is Disposition.ANSWERED or not record.answered_by
