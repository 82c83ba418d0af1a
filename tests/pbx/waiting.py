"""Waiting for what another process does in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = (
    180  # seconds until a wait is given up: a busy machine takes its time, only what hangs takes longer
)


def until(found: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Return the first true thing that `found` returns. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s; last: {value!r}")
        time.sleep(0.05)
