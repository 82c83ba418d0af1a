"""What became of a file: the counts, and everything in it that was not taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

KEPT = 1000  # problems kept in memory; every one goes to the sink
CUT = 120  # characters of a value that are shown

Progress = Callable[[int, float], None]
"""Called now and then with the rows read so far and the share of the file read (0 … 1)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that was not taken: a whole row (`row_taken` false), or one value of a row that was taken.

    `line` is the line of the file on which the row begins; quoted line breaks count.
    """

    line: int
    column: str
    reason: str
    value: str
    row_taken: bool


class Report:
    """Collects problems: the first `KEPT` stay in memory, each is handed to `sink` at once."""

    def __init__(self, sink: Callable[[Problem], None] | None = None) -> None:
        self.problems: list[Problem] = []
        self.count = 0
        self.not_taken = 0
        self.notes: list[str] = []  # on the whole file: its encoding, columns nobody reads
        self._sink = sink

    def refuse(self, line: int, column: str, reason: str, value: str) -> None:
        """Note a row that is not taken; once a row."""
        self.not_taken += 1
        self._add(Problem(line, column, reason, shown(value), row_taken=False))

    def remark(self, line: int, column: str, reason: str, value: str) -> None:
        """Note a value that is not taken, of a row that is."""
        self._add(Problem(line, column, reason, shown(value), row_taken=True))

    def _add(self, problem: Problem) -> None:
        self.count += 1
        if len(self.problems) < KEPT:
            self.problems.append(problem)
        if self._sink is not None:
            self._sink(problem)


@dataclass(slots=True)
class ImportResult:
    """The outcome of one import; `rows` counts all rows but blank ones.

    `written` is false when nothing was to be written (a check) or the file was refused as a whole.
    """

    report: Report = field(default_factory=Report)
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    written: bool = False
    refused: bool = False
    seconds: float = 0.0

    @property
    def taken(self) -> int:
        """Return how many rows were taken, or would be."""
        return 0 if self.refused else self.rows - self.report.not_taken

    def as_dict(self) -> dict[str, object]:
        """Return the counts, the notes and the first problems for another program."""
        report = self.report
        return {
            "rows": self.rows,
            "taken": self.taken,
            "not_taken": self.rows - self.taken,
            "inserted": self.inserted,
            "updated": self.updated,
            "written": self.written,
            "refused": self.refused,
            "seconds": round(self.seconds, 3),
            "notes": report.notes,
            "problem_count": report.count,
            "problems": [
                {
                    "line": problem.line,
                    "column": problem.column,
                    "reason": problem.reason,
                    "value": problem.value,
                    "row_taken": problem.row_taken,
                }
                for problem in report.problems
            ],
        }


def shown(value: str) -> str:
    """Return a value on one line, cut, so that it can be printed."""
    text = " ".join(value[: 2 * CUT].split())
    text = "".join(character if character.isprintable() else "�" for character in text)
    return text if len(text) <= CUT else text[: CUT - 1] + "…"
