"""Recordings of calls: which file one is, and how long it is kept.

Invariant: nothing but a file of sound below recordings.directory is ever found, whatever name a PBX (or a caller, whose
number is part of many names) gives: no `..`, no symbolic link that leads out, no other type.

PBXs name recordings in many ways: with their whole path, with a part of it, without the extension (Asterisk's
MixMonitor takes what it is given; FreePBX's CDR has the bare name of a file below YYYY/MM/DD).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from agi_server.settings import Settings
from storage.database import Database
from storage.recordings import Recorded, forget_recordings, recorded

log = structlog.get_logger()

TYPES: Final = {  # by extension
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".gsm": "audio/x-gsm",
}
DAY: Final = 86_400  # seconds
BATCH: Final = 200  # calls in one transaction
_DEEPEST: Final = 6  # folders that are taken from a name
_WHO: Final = "retention"  # in the audit log


def find(directory: Path, name: str, at: int) -> Path | None:
    """Return the file of a recording by its name, of a call that began `at` (seconds since 1970); None: not there."""
    try:
        root = directory.resolve(strict=True)
    except OSError:
        return None
    for relative in _places(name, at):
        try:
            path = (root / relative).resolve(strict=True)
            if path.is_relative_to(root) and path.suffix.lower() in TYPES and path.is_file():
                return path
        except (OSError, ValueError, RuntimeError):  # not there; NUL in its name; links in a circle
            continue
    return None


def _places(name: str, at: int) -> Iterator[str]:
    """Yield where a recording may be, relative to the directory, the likeliest first.

    A PBX in a container or on another machine has another path to the directory than we have: of a whole path any end
    may be meant.
    """
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if not parts or ".." in parts:
        return
    *folders, file = parts
    tails = [folders[first:] for first in range(max(0, len(folders) - _DEEPEST), len(folders) + 1)]
    days = (datetime.fromtimestamp(at + more, UTC) for more in (0, -DAY, DAY))  # the PBX's zone is its own
    for tail in (*tails, *([day.strftime("%Y/%m/%d")] for day in days)):
        for each in _files(file):
            yield "/".join((*tail, each))


def _files(file: str) -> Iterator[str]:
    """Yield what a file may be called: as it is named, or with (another) extension, where it was converted."""
    stem, dot, extension = file.rpartition(".")
    known = f"{dot}{extension}".lower() in TYPES
    if known:
        yield file
    yield from (f"{stem if known else file}{each}" for each in TYPES)


async def forget(settings: Settings, database: Database) -> None:
    """Delete recordings of calls that are older than recordings.retention_days: one round. Raises DirectoryError."""
    directory, days = settings.recordings.directory, settings.recordings.retention_days
    if directory is None or not days or not await asyncio.to_thread(_is_there, directory):
        return
    now = int(time.time())
    place = (0, "")
    old = partial(recorded, before=now - days * DAY, limit=BATCH)
    while rows := await database.read(partial(old, after=place)):
        gone, deleted = await asyncio.to_thread(_delete, directory, rows)
        noted = partial(forget_recordings, call_ids=gone, who=_WHO, deleted=deleted, now=now)
        await database.write(noted)
        place = (rows[-1].started_at, rows[-1].call_id)


async def erase(rows: Sequence[Recorded], settings: Settings) -> int:
    """Delete these recordings, whatever their age; return how many were deleted. What cannot be is logged."""
    directory = settings.recordings.directory
    if directory is None:
        return 0
    _, deleted = await asyncio.to_thread(_delete, directory, rows)
    return deleted


def _is_there(directory: Path) -> bool:
    """Return whether there is anything: of a share that is not mounted no file is gone."""
    try:
        return next(directory.iterdir(), None) is not None
    except OSError as error:
        log.warning("recordings are not deleted", directory=str(directory), error=str(error))
        return False


def _delete(directory: Path, rows: Sequence[Recorded]) -> tuple[list[str], int]:
    """Delete the files of these recordings; return the calls that have none now, and how many were deleted."""
    gone, deleted, failure = [], 0, ""
    for row in rows:
        path = find(directory, row.name, row.started_at)
        try:
            if path is not None:
                path.unlink(missing_ok=True)
                deleted += 1
            gone.append(row.call_id)
        except OSError as error:
            failure = str(error)
    if failure:
        log.error(
            "recordings are not deleted", error=failure, hint="may Ostiary's user write that directory?"
        )
    return gone, deleted
