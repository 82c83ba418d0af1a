from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agi_server.calls.directory import Agent
from agi_server.calls.hours import at_work, find_zone, parse_hours
from agi_server.calls.policy import Policy
from agi_server.errors import InputError

OFFICE = "Mo-Fr 09:00-13:00,14:00-18:00; Sa 10:00-12:00"
BERLIN = Policy(timezone="Europe/Berlin")


def agent(hours: str = "", timezone: str = "", absent_until: int = 0) -> Agent:
    return Agent(
        id=1, name="Anna", extension="201", hours=hours, timezone=timezone, absent_until=absent_until
    )


def instant(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("local", "working"),
    [
        ("2026-03-02T08:59:59", False),  # a Monday
        ("2026-03-02T09:00:00", True),
        ("2026-03-02T12:59:59", True),
        ("2026-03-02T13:00:00", False),
        ("2026-03-02T14:00:00", True),
        ("2026-03-02T18:00:00", False),
        ("2026-03-07T11:00:00", True),  # Saturday
        ("2026-03-07T13:00:00", False),
        ("2026-03-08T11:00:00", False),  # Sunday
    ],
)
def test_office_hours(local: str, working: bool) -> None:
    assert at_work(agent(OFFICE), BERLIN, instant(local)) is working


@pytest.mark.parametrize(
    ("local", "working"),
    [
        ("2026-03-06T21:59:00", False),  # Friday
        ("2026-03-06T22:00:00", True),
        ("2026-03-07T05:59:00", True),
        ("2026-03-07T06:00:00", False),
        ("2026-03-07T22:30:00", False),  # nobody begins on Saturday
        ("2026-03-02T05:00:00", False),  # nobody began on Sunday
    ],
)
def test_a_shift_over_midnight_belongs_to_the_day_it_begins(local: str, working: bool) -> None:
    assert at_work(agent("Mo-Fr 22:00-06:00"), BERLIN, instant(local)) is working


def test_the_clocks_change() -> None:
    night = agent("Sa 22:00-06:00")
    assert at_work(night, BERLIN, instant("2026-03-29T05:59:00"))  # an hour was left out
    assert not at_work(night, BERLIN, instant("2026-03-29T06:00:00"))
    early = agent("Su 02:00-03:00")
    first, second = instant("2026-10-25T02:30:00"), instant("2026-10-25T02:30:00", fold=1)
    assert second - first == 3600
    assert at_work(early, BERLIN, first)  # the hour that comes twice
    assert at_work(early, BERLIN, second)
    assert not at_work(early, BERLIN, second + 1800)


def test_each_in_his_own_time_zone() -> None:
    now = instant("2026-03-02T09:30:00")
    assert at_work(agent(OFFICE), BERLIN, now)
    assert not at_work(agent(OFFICE, "America/New_York"), BERLIN, now)
    assert at_work(agent(OFFICE, "Europe/Nowhere"), BERLIN, now)  # misspelt: the house's
    assert not at_work(agent(OFFICE), Policy(timezone="Nowhere"), now)  # UTC: 08:30


@pytest.mark.parametrize("holidays", [{"2026-12-24"}, {"12-24"}])
@pytest.mark.parametrize("hours", ["", OFFICE])
def test_holidays(holidays: set[str], hours: str) -> None:
    policy = Policy(timezone="Europe/Berlin", holidays=frozenset(holidays))
    assert not at_work(agent(hours), policy, instant("2026-12-24T10:00:00"))
    assert at_work(agent(hours), policy, instant("2026-12-23T10:00:00"))
    assert at_work(agent(hours), policy, instant("2027-12-24T10:00:00")) is ("2026-12-24" in holidays)


def test_a_shift_over_midnight_into_a_holiday_is_worked_out_of_one_is_not() -> None:
    policy = Policy(timezone="Europe/Berlin", holidays=frozenset({"12-25"}))
    night = agent("Mo-Su 22:00-06:00")
    assert at_work(night, policy, instant("2026-12-25T03:00:00"))
    assert not at_work(night, policy, instant("2026-12-26T03:00:00"))


def test_absence() -> None:
    assert not at_work(agent(absent_until=1000), BERLIN, 999.9)
    assert at_work(agent(absent_until=1000), BERLIN, 1000)


def test_unreadable_hours_keep_nobody_away() -> None:
    assert at_work(agent("whenever"), BERLIN, 0)


@pytest.mark.parametrize(
    ("text", "day", "minute"),
    [
        ("Mo,We-Fr 09:00-10:00", 3, 540),
        ("Fr-Mo 09:00-10:00", 6, 540),
        ("monday 9:00-10:00", 0, 540),
        ("Thu 00:00-24:00", 3, 1439),
        ("Mo 22:00-02:00", 0, 1500),
        ("Mo09:00-10:00;", 0, 540),
        (" ", 5, 5),
    ],
)
def test_ways_to_write_hours(text: str, day: int, minute: int) -> None:
    assert parse_hours(text).open_at(day, minute)


@pytest.mark.parametrize(
    "text",
    [
        "whenever",
        "Mo",
        "Mo 9-17",
        "09:00-17:00",
        "Xx 09:00-17:00",
        "M 09:00-17:00",
        "Mo 09:00-09:00",
        "Mo 25:00-26:00",
        "Mo 09:60-10:00",
        "Mo 24:00-25:00",
        "Mo 09:00-24:30",
        "Mo- 09:00-17:00",
        "Mo 09:00-17:00,",
        "Mo 0٩:00-17:00",
    ],
)
def test_hours_nobody_can_read(text: str) -> None:
    with pytest.raises(InputError, match="working hours"):
        parse_hours(text)


@pytest.mark.parametrize("name", ["Nowhere", "../etc/passwd", "", "Europe/\x00"])
def test_unknown_zone(name: str) -> None:
    with pytest.raises(InputError, match="time zone"):
        find_zone(name)


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_parsing_raises_nothing_else(text: str) -> None:
    with suppress(InputError):
        assert len(parse_hours(text).days) == 7


@settings(max_examples=200)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.integers(0, 6),
    st.integers(0, 1439),
    st.integers(0, 1440),
)
def test_hours_against_the_clock_on_the_wall(now: int, zone: str, day: int, start: int, end: int) -> None:
    if start == end:
        end += 1
    names = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
    text = f"{names[day]} {start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    wall = datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    monday = datetime.combine(wall.date() - timedelta(days=wall.weekday()), datetime.min.time())
    shifts = []
    for week in (-7, 0):
        begin = monday + timedelta(days=week + day, minutes=start)
        length = end - start if end > start else end - start + 1440
        shifts.append(begin <= wall < begin + timedelta(minutes=length))
    assert at_work(agent(text, zone), Policy(), now) is any(shifts)
