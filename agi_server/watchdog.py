"""What we tell systemd (sd_notify(3)): ready, alive, stopping.

Invariant: `WATCHDOG=1` is sent by a task of the event loop and by nothing else, so that a loop that hangs
falls silent and systemd restarts the service. Without systemd ($NOTIFY_SOCKET unset) nothing is sent and
nothing fails.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import structlog
from sdnotify import SystemdNotifier

STATUS_INTERVAL = 30.0  # seconds between two status lines where systemd watches nobody


@asynccontextmanager
async def watchdog(status: Callable[[], str] = str) -> AsyncIterator[None]:
    """Tell systemd: ready on entering, alive with `status()` while the loop turns, stopping on leaving.

    Enter it last, when every part can answer; left first, it announces the drain of the others. The status is
    one line of ASCII for `systemctl status` (empty: none).
    """
    if not os.environ.get("NOTIFY_SOCKET"):
        yield
        return
    notifier = SystemdNotifier()
    # A beat must not wait for systemd. READY=1 is the first message here: the queue has room for it.
    if notifier.socket is not None:
        notifier.socket.setblocking(False)
    notifier.notify("\n".join(["READY=1", *_status_line(status)]))
    beat = asyncio.create_task(_beat(notifier, status), name="watchdog")
    try:
        yield
    finally:
        beat.cancel()
        with suppress(asyncio.CancelledError):
            await beat
        notifier.notify("STOPPING=1\nSTATUS=Stopping: finishing the calls in hand")
        if notifier.socket is not None:
            notifier.socket.close()


def watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds between two beats (half of $WATCHDOG_USEC), or None when nobody watches us."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):  # meant for another process, sd_watchdog_enabled(3)
        return None
    return int(microseconds) / 1_000_000 / 2


async def _beat(notifier: SystemdNotifier, status: Callable[[], str]) -> None:
    interval = watchdog_interval(os.environ, os.getpid())
    alive = ["WATCHDOG=1"] if interval is not None else []
    while True:
        if message := "\n".join([*alive, *_status_line(status)]):
            notifier.notify(message)
        await asyncio.sleep(interval or STATUS_INTERVAL)


def _status_line(status: Callable[[], str]) -> list[str]:
    """Return `STATUS=…` in a list; none when there is nothing to say, or when saying it fails."""
    try:
        words = status().split()
    except Exception:  # noqa: BLE001  # a status line that cannot be made must not look like a dead event loop
        structlog.get_logger(__name__).exception("watchdog.status_failed")
        return []
    # The library encodes Latin-1 and drops what it cannot encode, systemd reads UTF-8: both read ASCII.
    return [f"STATUS={' '.join(words)}".encode("ascii", "replace").decode()] if words else []
