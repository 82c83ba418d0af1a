"""What a check found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad it is; only FAIL fails the whole."""

    OK = "ok"
    OFF = "off"
    WARN = "warn"
    FAIL = "FAIL"

    @property
    def style(self) -> str:
        """Return how a terminal shows it."""
        return {"ok": "green", "off": "dim", "warn": "yellow", "FAIL": "bold red"}[self.value]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `ostiary check`: what is so, and what to do about it."""

    verdict: Verdict
    text: str
    hint: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it for programs."""
        return asdict(self)
