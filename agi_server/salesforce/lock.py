"""One process at a time exchanges data with Salesforce: the worker's round, or `ostiary sync`.

Invariant: whoever holds the lock is the only one who renews the token, delivers the outbox and synchronises. It is
an flock (flock(2)), so it ends with the process that holds it, however that ends; the file stays and means nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from agi_server.errors import SalesforceBusy, SalesforceError

FILE = "salesforce.lock"
LOOK = 0.1  # seconds between two tries


@contextlib.contextmanager
def salesforce_lock(directory: Path, wait: float) -> Iterator[None]:
    """Hold the lock of this state directory, waited for at most `wait` seconds (on this thread).

    The directory is made where it is missing. Raises SalesforceBusy when another process has the lock,
    SalesforceError when the file cannot be used.
    """
    path = directory / FILE
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        # Not through a link: root would give away, and empty, whatever the service's user lets it point to.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SalesforceError(
            f"{path}: cannot be opened ({error.strerror}); the user who runs this must be able to write there"
        ) from error
    try:
        if os.geteuid() == 0:  # what root makes is the service's, too
            owner = directory.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        _acquire(descriptor, path, wait)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)  # for the one who is refused; the lock is the flock
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, wait: float) -> None:
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise SalesforceBusy(
                    f"{path}: {_holder(descriptor)} exchanges data with Salesforce just now; it may be the worker of "
                    "`ostiary serve` or another `ostiary sync`; try again when it is done"
                ) from error
            time.sleep(min(LOOK, max(until - time.monotonic(), 0)))
        else:
            return


def _holder(descriptor: int) -> str:
    pid = os.pread(descriptor, 20, 0).strip()
    return f"process {int(pid)}" if pid.isdigit() else "another process"
