"""One row: its times whatever the clocks do, its texts whatever a caller wrote."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.cdr.rows import LONGEST_TEXT, epoch_of, read_row
from agi_server.errors import InputError

BERLIN = ZoneInfo("Europe/Berlin")


def fields(**more: Any) -> dict[str, Any]:
    return {
        "uniqueid": "1795300000.1",
        "linkedid": "1795300000.1",
        "channel": "PJSIP/101-00000001",
        "start": "2026-11-22 03:26:40",
        "duration": "12",
        "billsec": "7",
        "disposition": "ANSWERED",
        **more,
    }


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_times_are_those_of_the_zone() -> None:
    row = read_row(fields(), BERLIN)
    assert row.started_at == at("2026-11-22T03:26:40+01:00")
    assert (row.answered_at, row.ended_at) == (row.started_at + 5, row.started_at + 12)
    assert read_row(fields(), UTC).started_at == at("2026-11-22T03:26:40+00:00")


def test_a_database_gives_moments() -> None:
    naive = datetime(2026, 11, 22, 3, 26, 40)  # noqa: DTZ001  # as drivers give them
    row = read_row({**fields(start=None), "calldate": naive, "duration": 12, "billsec": 7}, BERLIN)
    assert row == read_row(fields(), BERLIN)
    aware = naive.replace(tzinfo=UTC)
    assert read_row(fields(start=aware), BERLIN).started_at == at("2026-11-22T03:26:40+00:00")


@pytest.mark.parametrize(
    ("began", "offset"), [("2026-10-25T02:30:00+02:00", "first"), ("2026-10-25T02:30:00+01:00", "second")]
)
def test_the_hour_that_comes_twice(began: str, offset: str) -> None:
    row = read_row(fields(start="2026-10-25 02:30:00", uniqueid=f"pbx-{int(at(began))}.7"), BERLIN)
    assert row.started_at == at(began), offset


def test_a_call_over_the_change_of_the_clocks() -> None:
    began = "2026-10-25T02:59:50+02:00"
    row = read_row(
        fields(
            start="2026-10-25 02:59:50",
            answer="2026-10-25 02:59:55",
            end="2026-10-25 02:00:10",
            duration="20",
            billsec="15",
            uniqueid=f"{int(at(began))}.7",
        ),
        BERLIN,
    )
    assert (row.started_at, row.answered_at, row.ended_at) == (at(began), at(began) + 5, at(began) + 20)


def test_a_second_that_durations_cut_off_is_there() -> None:
    row = read_row(fields(start="2026-11-22 03:26:40", end="2026-11-22 03:26:53", duration="12"), UTC)
    assert row.ended_at - row.started_at == 13


@pytest.mark.parametrize(
    "wrong",
    [
        {"channel": ""},
        {"uniqueid": "", "linkedid": ""},
        {"start": ""},
        {"start": "yesterday"},
        {"start": None},
        {"duration": "-1"},
        {"duration": "nan"},
        {"duration": "1e99"},
        {"billsec": "many"},
        {"start": "0001-01-01 00:00:00"},
    ],
    ids=str,
)
def test_what_is_no_row(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        read_row(fields(**wrong), ZoneInfo("Pacific/Auckland"))


def test_without_linkedid_a_channel_is_a_conversation() -> None:
    assert read_row(fields(linkedid=""), UTC).linkedid == "1795300000.1"
    assert read_row(fields(uniqueid=""), UTC).uniqueid == "1795300000.1"


def test_texts_are_one_line_and_no_longer_than_they_may_be() -> None:
    row = read_row(
        fields(clid='"A\r\nEvent: Hangup\x00" <1>', src="1\u2028" + "2" * 999, cnam=b"\xffM\xc3\xbcller"), UTC
    )
    assert row.clid == '"A Event: Hangup " <1>'
    assert len(row.src) == LONGEST_TEXT
    assert row.name == "\ufffdMüller"


@pytest.mark.parametrize(
    ("uniqueid", "epoch"),
    [
        ("1795300000.12", 1795300000.0),
        ("pbx-1-1795300000.12", 1795300000.0),
        ("ostiary-dial-10", None),
        ("", None),
        ("x\n1795300000.12", None),
    ],
)
def test_when_a_channel_began(uniqueid: str, epoch: float | None) -> None:
    assert epoch_of(uniqueid) == epoch


@settings(max_examples=150)
@given(
    st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2027, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(0, 7200),
    st.integers(0, 7200),
)
def test_any_moment_comes_back(moment: datetime, rang: int, spoke: int) -> None:
    """What Asterisk writes of a call in a zone with summer time is read as it was."""
    moment = moment.replace(microsecond=0)
    answered, ended = moment + timedelta(seconds=rang), moment + timedelta(seconds=rang + spoke)
    start, answer, end = (
        each.astimezone(BERLIN).strftime("%Y-%m-%d %H:%M:%S") for each in (moment, answered, ended)
    )
    row = read_row(
        fields(
            start=start,
            answer=answer,
            end=end,
            duration=rang + spoke,
            billsec=spoke,
            uniqueid=f"{int(moment.timestamp())}.1",
        ),
        BERLIN,
    )
    assert (row.started_at, row.answered_at, row.ended_at) == (
        moment.timestamp(),
        answered.timestamp(),
        ended.timestamp(),
    )
