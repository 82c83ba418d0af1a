"""How the exchange with Salesforce stands: told to the serving process, and kept for `ostiary check`.

Counts are since the start of the worker; what is kept in `salesforce_state` under `last` outlives it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

STATE: Final = "last"  # its name in salesforce_state
REMEDIES: Final = {  # what to do, by kind of error
    "down": "nothing: it is tried again until it answers",
    "login": "see `ostiary check`",
    "limit": "see what else uses the org's API; raise salesforce.sync_interval",
    "refused": "see `ostiary sync`, which shows it as it happens",
    "part": "all else is in step; see `ostiary sync`",
    "database": "see `ostiary check`",
    "settings": "mend the settings and restart",
    "fault": "report it; nothing is lost",
}
KINDS: Final = tuple(REMEDIES)
MOST_NOTES: Final = 50  # kept
WHAT: Final = ("read", "inserted", "updated", "removed")  # happened to records


class Report:
    """Written by the worker's rounds, on one thread."""

    def __init__(self, kept: Mapping[str, Any] | None, now: float) -> None:
        """Go on from what was kept by the worker before, if anything was; `now` is seconds since 1970."""
        kept = kept or {}
        self.ok_at = int(kept.get("ok_at", 0))  # 0: no round was ever done
        self.kind = str(kept.get("kind", ""))  # of the last error; empty: the last round was done
        self.error = str(kept.get("error", ""))
        self.since = int(kept.get("since", 0))  # when that began
        self.usage: tuple[int, int] | None = None  # API calls of the org in 24 hours: used, limit
        self.day = str(kept.get("day", ""))
        self.calls = int(kept.get("calls", 0))  # API calls we made on that day (UTC)
        self.notes: list[str] = []  # of the last round: what is not read, and why
        self.errors = Counter(dict.fromkeys(KINDS, 0))
        self.records: dict[str, Counter[str]] = {}
        self.unread = 0
        self.outbox = {"waiting": 0, "parked": 0, "oldest_at": 0}
        self._started = int(now)

    def succeeded(self, now: float) -> None:
        """Note a round that was done."""
        self.ok_at = int(now)
        self.kind = self.error = ""
        self.since = 0

    def failed(self, kind: str, error: str, now: float) -> None:
        """Note a round that failed."""
        self.errors[kind] += 1
        if kind != self.kind:
            self.since = int(now)
        self.kind, self.error = kind, error

    def called(self, calls: int, now: float) -> None:
        """Note API calls made since the last time this was said."""
        day = time.strftime("%Y-%m-%d", time.gmtime(now))
        if day != self.day:
            self.day, self.calls = day, 0
        self.calls += calls

    def counted(self, sobject: str, counts: Mapping[str, int]) -> None:
        """Add what happened to records of an object, by WHAT."""
        known = self.records.setdefault(sobject, Counter(dict.fromkeys(WHAT, 0)))
        known.update(counts)

    def share(self) -> float:
        """Return the share of the org's API calls that is used, 0 while nobody knows."""
        return self.usage[0] / self.usage[1] if self.usage and self.usage[1] else 0.0

    def told(self, lookups: str) -> dict[str, Any]:
        """Return what the serving process is told; `lookups` says why no caller is looked up, empty: they are."""
        return {
            "up": int(self.ok_at > 0 and not self.kind),
            "ok_at": self.ok_at or self._started,
            "error": self.error,
            "usage": self.usage,
            "errors": self.errors,
            "records": self.records,
            "unread": self.unread,
            "outbox": self.outbox,
            "lookups": lookups,
        }

    def kept(self) -> dict[str, Any]:
        """Return what outlives the worker."""
        return {
            "ok_at": self.ok_at,
            "kind": self.kind,
            "error": self.error,
            "since": self.since,
            "usage": self.usage,
            "day": self.day,
            "calls": self.calls,
            "notes": self.notes[:MOST_NOTES],
        }
