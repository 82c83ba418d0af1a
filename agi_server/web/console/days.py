"""Days as people choose them in forms."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo


def begin_of(text: str, zone: ZoneInfo, *, days: int = 0) -> int | None:
    """Return the begin of a day (`YYYY-MM-DD`) so many days later, in seconds; None for what is none."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=zone).date() + timedelta(days=days)
        return int(datetime.combine(day, time(), zone).timestamp())
    except (ValueError, OverflowError):
        return None
