"""Stops asking who does not answer, for ever longer, and tries again with one question.

Invariant: FAILURES failures in a row open it; while it is open nothing is asked. After a pause one question is let
through: if that fails, too, the pause is twice as long; the first answer closes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES = 5
FIRST_PAUSE = 30.0  # seconds
LONGEST_PAUSE = 900.0


class Breaker:
    """Is told how each question ended."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._open_until = 0.0

    @property
    def tripped(self) -> bool:
        """Whether the last FAILURES questions failed: one at a time may try."""
        return self._failures >= FAILURES

    def wait(self) -> float:
        """Return the seconds until a question may be asked; 0: now."""
        return max(self._open_until - self._clock(), 0.0) if self.tripped else 0.0

    def succeeded(self) -> None:
        """Note an answer in time."""
        self._failures = 0
        self._pause = FIRST_PAUSE

    def failed(self) -> None:
        """Note that none came, or too late."""
        if self.wait():  # asked before it opened
            return
        self._failures += 1
        if self.tripped:
            self._open_until = self._clock() + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
