"""Whether an agent is at work.

Hours are wall-clock times in the agent's time zone: the instant is turned into local time, never the other
way round, so that a day on which the clocks change needs no care. A shift over midnight belongs to the day on
which it begins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agi_server.calls.directory import Agent
from agi_server.errors import InputError

if TYPE_CHECKING:
    from agi_server.calls.policy import Policy


_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TIMES = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})", re.ASCII)
_DAY_MINUTES = 24 * 60

Shift = tuple[int, int]  # minutes after midnight, end exclusive; an end beyond 1440 is on the next day


@dataclass(frozen=True, slots=True)
class Hours:
    """A week's shifts by weekday, Monday first; `always` where no hours are given."""

    days: tuple[tuple[Shift, ...], ...] = ((),) * 7
    always: bool = False

    def open_at(self, weekday: int, minute: int) -> bool:
        """Return whether a shift begun on `weekday` covers `minute`, counted from that day's midnight."""
        return self.always or any(start <= minute < end for start, end in self.days[weekday])


@lru_cache(maxsize=1024)
def parse_hours(text: str) -> Hours:
    """Return the hours written as `Mo-Fr 09:00-13:00,14:00-18:00; Sa 10:00-12:00`, or raise InputError.

    `22:00-06:00` ends on the next day, `Fr-Mo` runs over the week-end, `Mo,We 09:00-12:00` lists days,
    `24:00` is the end of a day; empty means always.
    """
    if not text.strip():
        return Hours(always=True)
    days: list[list[Shift]] = [[] for _ in _NAMES]
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        match = re.fullmatch(r"([A-Za-z][A-Za-z,\s\-]*?)\s*(\d.*)", entry)
        if match is None:
            raise InputError(f"working hours {entry!r}: write days and times, e.g. Mo-Fr 09:00-17:00")
        shifts = [_shift(times.strip(), entry) for times in match[2].split(",")]
        for day in _weekdays(match[1], entry):
            days[day].extend(shifts)
    return Hours(tuple(tuple(sorted(set(shifts))) for shifts in days))


def _shift(text: str, entry: str) -> Shift:
    match = _TIMES.fullmatch(text.replace(" ", ""))
    if match is None:
        raise InputError(f"working hours {entry!r}: {text!r} is not a time such as 09:00-17:00")
    start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if int(match[2]) > 59 or int(match[4]) > 59 or start >= _DAY_MINUTES or end > _DAY_MINUTES:
        raise InputError(f"working hours {entry!r}: {text!r} has a time that no clock shows (00:00 to 24:00)")
    if start == end:
        raise InputError(f"working hours {entry!r}: {text!r} lasts no time; the whole day is 00:00-24:00")
    return start, end if end > start else end + _DAY_MINUTES


def _weekdays(text: str, entry: str) -> list[int]:
    days: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start = _weekday(first, entry)
        end = _weekday(last, entry) if dash else start
        days.extend((start + step) % 7 for step in range((end - start) % 7 + 1))
    return days


def _weekday(text: str, entry: str) -> int:
    name = text.strip().lower()
    if len(name) >= 2:
        for index, full in enumerate(_NAMES):
            if full.startswith(name):
                return index
    raise InputError(f"working hours {entry!r}: {text.strip()!r} is not a day; write Mo Tu We Th Fr Sa Su")


@lru_cache(maxsize=256)
def find_zone(name: str) -> ZoneInfo:
    """Return the time zone, or raise InputError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(f"time zone {name!r} is not known; write e.g. Europe/Berlin") from error


@lru_cache(maxsize=256)
def _zone(*names: str) -> ZoneInfo:
    """Return the first of these time zones that exists: a misspelt one must not stop calls."""
    for name in filter(None, names):
        try:
            return find_zone(name)
        except InputError:
            continue
    return find_zone("UTC")


def _hours(text: str) -> Hours:
    try:
        return parse_hours(text)
    except InputError:  # checked when it was stored; whoever wrote past that is reachable rather than gone
        return Hours(always=True)


def at_work(agent: Agent, policy: Policy, now: float) -> bool:
    """Return whether the agent works at `now` (s since 1970): not absent, no holiday, within the hours."""
    if now < agent.absent_until:
        return False
    if not agent.hours and not policy.holidays:
        return True
    hours = _hours(agent.hours)
    local = datetime.fromtimestamp(now, _zone(agent.timezone, policy.timezone))
    today, minute = local.date(), local.hour * 60 + local.minute
    if hours.open_at(today.weekday(), minute) and not is_holiday(today, policy):
        return True
    if hours.always:
        return False
    yesterday = today - timedelta(days=1)
    return hours.open_at(yesterday.weekday(), minute + _DAY_MINUTES) and not is_holiday(yesterday, policy)


def is_holiday(day: date, policy: Policy) -> bool:
    """Return whether nobody works on this day."""
    if not policy.holidays:
        return False
    text = day.isoformat()
    return text in policy.holidays or text[5:] in policy.holidays
