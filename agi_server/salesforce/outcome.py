"""What a synchronisation has done so far, and in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal


@dataclass(slots=True)
class ObjectOutcome:
    """What became of one object's records.

    `read` counts records that came, `understood` and `unread` fields with a number and with none that anyone can
    dial. `expected` is how many records a full load will bring, 0 where nobody knows. `error` says why the object
    is not in step; the others are not concerned.
    """

    sobject: str
    how: Literal["", "full", "changes"] = ""
    read: int = 0
    inserted: int = 0
    updated: int = 0
    removed: int = 0
    became: int = 0  # merged or converted: the former id goes on to work
    understood: int = 0
    unread: int = 0
    expected: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def rate(self) -> float:
        """Return records a second."""
        return self.read / self.seconds if self.seconds else 0.0

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, other: ObjectOutcome) -> None:
        """Add what changed while a load went on; those records were counted by the load."""
        if other is not self:
            self.inserted += other.inserted
            self.updated += other.updated
            self.removed += other.removed
            self.became += other.became

    def as_dict(self) -> dict[str, object]:
        """Return it for another program."""
        return {
            "object": self.sobject,
            "how": self.how,
            "read": self.read,
            "inserted": self.inserted,
            "updated": self.updated,
            "removed": self.removed,
            "became": self.became,
            "numbers_understood": self.understood,
            "numbers_not_understood": self.unread,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rate, 1),
            "notes": self.notes,
            "error": self.error,
        }


@dataclass(slots=True)
class Outcome:
    """What became of a round; `calls` is how many API calls it made."""

    dry_run: bool = False
    objects: list[ObjectOutcome] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    calls: int = 0
    seconds: float = 0.0

    @property
    def errors(self) -> list[str]:
        """Return why objects are not in step, each with its name."""
        return [f"{part.sobject}: {part.error}" for part in self.objects if part.error]

    @property
    def all_notes(self) -> list[str]:
        """Return what is not read and why, with the object where it concerns one."""
        return [*self.notes, *(f"{part.sobject}: {note}" for part in self.objects for note in part.notes)]

    def as_dict(self) -> dict[str, object]:
        """Return it for another program."""
        return {
            "dry_run": self.dry_run,
            "objects": [part.as_dict() for part in self.objects],
            "notes": self.notes,
            "calls": self.calls,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a round is: what is done so far, the object in hand, and what is done with it."""

    outcome: Outcome
    current: ObjectOutcome
    phase: Literal["waiting", "reading", "removing"]


Report = Callable[[Progress], None]
