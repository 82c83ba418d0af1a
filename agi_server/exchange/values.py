"""How people write times and treatments in a file or on the command line, and how we show them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from agi_server.calls.directory import Treatment
from agi_server.calls.routing import diallable
from agi_server.errors import InputError

NO_END = 253_370_764_800  # 9999-01-01: until further notice

_SPAN = re.compile(r"(\d{1,4})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 24 * 7}
_WITH_TARGET = (Treatment.REDIRECT, Treatment.ANNOUNCE, Treatment.VOICEMAIL)


def parse_until(text: str, *, now: float, zone: ZoneInfo) -> int:
    """Return the moment (seconds since 1970) that `text` names, or raise InputError.

    `2026-12-31` is the end of that day in `zone`, `2026-12-31T14:00` a moment in `zone`, `12h 30d 2w` a time
    from now.
    """
    text = text.strip()
    if span := _SPAN.fullmatch(text):
        return int(now) + int(span[1]) * _HOURS[span[2]] * 3600
    try:
        if "T" in text or " " in text:
            moment = datetime.fromisoformat(text)
            until = int((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp())
        else:
            day = date.fromisoformat(text) + timedelta(days=1)
            until = int(datetime.combine(day, time(), zone).timestamp())
    except (ValueError, OverflowError):
        raise InputError(
            f"{text!r} is no time; write 2026-12-31 (the whole day), 2026-12-31T14:00, "
            "or 12h, 30d, 2w from now"
        ) from None
    if until <= now:
        raise InputError(f"{text!r} is over already; name a time to come")
    return until


def parse_treatment(text: str) -> tuple[Treatment, str]:
    """Return treatment and target of `hangup`, `redirect:8000`, …, or raise InputError."""
    name, _, target = text.partition(":")
    if name not in list(Treatment):
        raise InputError(f"{name!r} is no treatment; choose one of {', '.join(Treatment)}")
    treatment = Treatment(name)
    if target and treatment not in _WITH_TARGET:
        raise InputError(f"treatment {name} takes no target, but {target!r} was given")
    if treatment is Treatment.REDIRECT and not target:
        raise InputError("treatment redirect needs a target, as in redirect:8000")
    return treatment, check_dialable(target)


def check_dialable(text: str) -> str:
    """Return a text that a dialplan may dial as it is, or raise InputError."""
    if not diallable(text):
        raise InputError(
            f"{text!r} cannot be dialled; only letters, digits and _ / @ . + & - may stand in it"
        )
    return text


def show_time(at: int, *, none: str = "") -> str:
    """Return a moment in the machine's own time, for people."""
    if at == 0:
        return none
    if at >= NO_END:
        return "further notice"
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def json_time(at: int) -> str | None:
    """Return a moment as ISO 8601 in UTC, for programs; None for never."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z") if at else None
