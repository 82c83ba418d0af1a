"""The file of the refresh token: `salesforce.token` in the state directory.

Invariants: Salesforce gives a new refresh token with every renewal and revokes all of them when an old one is shown
again (Salesforce Help, "Refresh Token Rotation"), so the newest is on disk before anything is done with it: written
to a file beside, fsync, rename, fsync of the directory. A copy that was complete when the process was killed counts.
Readable by its owner only; a file that others can read or that somebody else owns is not trusted.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agi_server.errors import SalesforceDown, SalesforceLoginError

FILE = "salesforce.token"
NEW = FILE + ".new"
LOCK = FILE + ".lock"
LOOK = 0.05  # seconds between two tries to lock
KEYS = {"refresh_token", "client_id", "login_url"}


@dataclass(frozen=True, slots=True)
class Stored:
    """A refresh token and whose it is."""

    refresh_token: str = field(repr=False)
    client_id: str
    login_url: str


class _Record(dict[str, str]):
    """The content of the file; not shown."""

    def __repr__(self) -> str:
        return "_Record(…)"


@contextlib.contextmanager
def locked(directory: Path, wait: float) -> Iterator[None]:
    """Be the only process that reads, uses or replaces the token; waits for `wait` seconds at most.

    Raises SalesforceDown when another process has it for longer, SalesforceLoginError when it cannot be locked.
    """
    until = time.monotonic() + wait
    try:
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unusable(directory / LOCK, error) from None
    try:
        _give(descriptor, directory)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise SalesforceDown(
                        f"{directory / LOCK}: another process of Ostiary has been renewing the session for {wait:.0f} s"
                    ) from None
                time.sleep(LOOK)
        yield
    finally:
        os.close(descriptor)


def load(directory: Path) -> Stored | None:
    """Return what is stored, None when nothing is. Call it under `locked`.

    Raises SalesforceLoginError when the file cannot be read, is somebody else's, or is no file of ours.
    """
    if _read(directory / NEW, damaged_is_none=True) is not None:
        (directory / NEW).replace(directory / FILE)  # killed between the two steps of `store`
        _sync_directory(directory)
    return _read(directory / FILE)


def store(directory: Path, token: Stored) -> None:
    """Put a token in the place of the former one, durably. Call it under `locked`.

    Raises SalesforceLoginError when it cannot be written.
    """
    new = directory / NEW
    try:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _give(descriptor, directory)
            _write(descriptor, token)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.replace(directory / FILE)
        _sync_directory(directory)
    except OSError as error:
        raise _unusable(directory / FILE, error) from None


def mark(directory: Path) -> tuple[int, int]:
    """Return what changes whenever the file is replaced; zeros when there is none."""
    try:
        found = (directory / FILE).stat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def _read(path: Path, *, damaged_is_none: bool = False) -> Stored | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error) from None
    with os.fdopen(descriptor, "rb") as file:
        _check_owner(path, os.fstat(descriptor))
        record = _parse(file.read(65536))
    if record is None:
        if damaged_is_none:
            return None
        raise SalesforceLoginError(
            f"{path}: this is not a token file of Ostiary; remove it and authorise again: "
            "`ostiary salesforce authorise`",
            "token-file",
        )
    return Stored(record["refresh_token"], record["client_id"], record["login_url"])


def _parse(data: bytes) -> _Record | None:
    try:
        record = json.loads(data, object_hook=_Record)
    except ValueError:
        return None
    if (
        isinstance(record, _Record)
        and set(record) >= KEYS
        and all(isinstance(record[key], str) for key in KEYS)
    ):
        return record
    return None


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in {os.geteuid(), 0} and os.geteuid() != 0:
        what = f"belongs to uid {found.st_uid}, and this is uid {os.geteuid()}"
    elif stat.S_IMODE(found.st_mode) & 0o077:
        what = f"can be read by others (mode {stat.S_IMODE(found.st_mode):04o})"
    elif not stat.S_ISREG(found.st_mode):
        what = "is no plain file"
    elif os.geteuid() == 0 and found.st_uid not in {0, path.parent.stat().st_uid}:
        what = f"belongs to uid {found.st_uid}, its directory to uid {path.parent.stat().st_uid}"
    else:
        return
    raise SalesforceLoginError(
        f"{path} {what}: somebody else may know the token. Remove the file and authorise again: "
        "`ostiary salesforce authorise`",
        "token-file",
    )


def _write(descriptor: int, token: Stored) -> None:
    os.write(
        descriptor,
        json.dumps(
            {
                "refresh_token": token.refresh_token,
                "client_id": token.client_id,
                "login_url": token.login_url,
            }
        ).encode(),
    )


def _give(descriptor: int, directory: Path) -> None:
    """Let what root makes belong to the directory's owner, the service."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> SalesforceLoginError:
    return SalesforceLoginError(
        f"{path}: cannot be used by uid {os.geteuid()} ({error.strerror}); the file and its directory should belong to "
        "the user of the service: run `ostiary salesforce authorise` as that user or as root",
        "token-file",
    )
