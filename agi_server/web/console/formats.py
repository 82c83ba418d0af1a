"""How times, numbers and durations are written in a language: filters of the templates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import phonenumbers
from babel.dates import format_date, format_datetime, format_time, format_timedelta
from babel.numbers import format_decimal, format_percent
from babel.units import format_unit
from markupsafe import Markup

from agi_server.web.console.languages import locale_of

NOTHING = "–"


def formats(language: str, timezone: str) -> dict[str, Callable[..., object]]:
    """Return the filters by name; times are seconds since 1970, shown in the time zone."""
    locale, zone = locale_of(language), ZoneInfo(timezone)

    def moment(at: float) -> datetime:
        return datetime.fromtimestamp(at, zone)

    def marked(at: float | None, text: Callable[[datetime], str]) -> Markup | str:
        """Return a <time> element, or a dash for no time (None, 0)."""
        if not at:
            return NOTHING
        exact = datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Markup('<time datetime="{}">{}</time>').format(exact, text(moment(at)))

    def when(at: float | None) -> Markup | str:
        return marked(at, lambda time: format_datetime(time, "medium", locale=locale))

    def day(at: float | None) -> Markup | str:
        return marked(at, lambda time: format_date(time, "medium", locale=locale))

    def clock(at: float | None) -> Markup | str:
        return marked(at, lambda time: format_time(time, "medium", locale=locale))

    def number(value: float | None) -> str:
        return NOTHING if value is None else format_decimal(value, locale=locale)

    def percent(value: float) -> str:
        return format_percent(value, locale=locale)

    def seconds(value: float | None) -> str:
        return NOTHING if value is None else duration(value, language)

    def span(value: float | None) -> str:
        """Write a long time in its largest unit only: 3 days."""
        return NOTHING if value is None else format_timedelta(round(value), locale=locale, threshold=1.5)

    return {
        "when": when,
        "day": day,
        "clock": clock,
        "number": number,
        "percent": percent,
        "seconds": seconds,
        "span": span,
        "phone": phone,
    }


def duration(value: float, language: str) -> str:
    """Write a duration (seconds) in the two largest units that it has: 1 h 5 min, 42 s, 0.5 ms."""
    locale = locale_of(language)

    def unit(amount: float, name: str) -> str:
        return format_unit(amount, f"duration-{name}", "short", locale=locale)

    if 0 < value < 1:
        return unit(float(f"{value * 1000:.2g}"), "millisecond")
    hours, rest = divmod(round(value), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return unit(hours, "hour") + (f" {unit(minutes, 'minute')}" if minutes else "")
    if minutes:
        return unit(minutes, "minute") + (f" {unit(left, 'second')}" if left else "")
    return unit(left, "second")


@lru_cache(maxsize=4096)
def phone(number: str | int | None) -> str:
    """Write an E.164 number (`+…`, or its digits as an integer) as people do; anything else stays as it is."""
    if isinstance(number, int):
        number = f"+{number}" if number else ""
    if not number or not number.startswith("+"):
        return number or ""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return number
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
