"""Copies of the database, and whether it is sound.

A restore goes into the file that is there wherever that file can still be written: every process that has
it open sees the copy at once, whole, and nothing it writes afterwards is lost. Only a damaged file is
replaced.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from agi_server.errors import DirectoryError
from storage.faults import explain
from storage.location import sqlite_uri
from storage.migrate import refuse_newer, revision

Progress = Callable[[int, int], None]  # pages copied, pages in all

_PAGES = 1000  # copied at once; between two of these other processes may write
_SIDE_FILES = ("-wal", "-shm")
_AT_MOST = 100  # findings reported


def backup(source: Path, target: Path, progress: Progress | None = None) -> None:
    """Copy the database to `target` while it is in use; replaces `target` when done. Raises DirectoryError."""
    part = target.with_name(f".{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            _copy(source, part, progress)
            _make_single(part)
            _sync(part)
            for suffix in _SIDE_FILES:  # of an older copy; they would be applied to this one
                Path(f"{target}{suffix}").unlink(missing_ok=True)
            part.replace(target)
            _sync(target.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DirectoryError(
            f"copy {target}: cannot be written ({error.strerror}); check the directory, its owner and free space"
        ) from error


def restore(source: Path, target: Path) -> None:
    """Put the copy `source` in the place of the database `target`; the old one stays as `<name>.before-restore`.

    Raises DirectoryError when `source` is no sound Ostiary database; then nothing was changed.
    """
    _refuse_unsound(source)
    kept = target.with_name(f"{target.name}.before-restore")
    if target.exists():
        try:
            backup(target, kept)
            before = _revisions(target)
            _copy(source, target)
            _outdate(target, before)
        except DirectoryError:
            _replace(source, target, kept)
    else:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        backup(source, target)


def check_integrity(path: Path, *, full: bool) -> list[str]:
    """Return what is wrong with the file, in words; nothing when it is sound. `full` compares indexes, too."""
    if not path.exists():
        return [f"{path} is not there"]
    try:
        with closing(_open(path, "ro")) as connection:
            check = "integrity_check" if full else "quick_check"
            found = [str(row[0]) for row in connection.execute(f"PRAGMA {check}({_AT_MOST})")]
            found = [] if found == ["ok"] else found
            orphans = connection.execute("PRAGMA foreign_key_check").fetchmany(_AT_MOST)
            return found + [_orphan(*orphan) for orphan in orphans]
    except sqlite3.Error as error:
        return [str(error)]


def _orphan(table: str, row: int | None, parent: str, _key: int) -> str:
    return f"{'a row' if row is None else f'row {row}'} of {table} refers to a row of {parent} that is gone"


def _refuse_unsound(source: Path) -> None:
    if not source.is_file():
        raise DirectoryError(f"copy {source}: there is no such file")
    found = revision(source)
    if found is None:
        raise DirectoryError(f"copy {source}: it is no database of Ostiary's")
    refuse_newer(source, found)
    if problems := check_integrity(source, full=True):
        raise DirectoryError(f"copy {source}: it is damaged, choose another ({'; '.join(problems[:3])})")


def _replace(source: Path, target: Path, kept: Path) -> None:
    """Move a damaged database away with its WAL, which would be applied to the copy otherwise."""
    for suffix in ("", *_SIDE_FILES):
        with suppress(FileNotFoundError):
            Path(f"{target}{suffix}").replace(f"{kept}{suffix}")
    backup(source, target)


def _copy(source: Path, target: Path, progress: Progress | None = None) -> None:
    def report(_status: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(total - remaining, total)

    try:
        with closing(_open(source, "ro")) as old, closing(_open(target, "rw")) as new:
            old.backup(new, pages=_PAGES, progress=report, sleep=0.005)
    except sqlite3.Error as error:
        raise explain(error, target) from error


def _make_single(path: Path) -> None:
    """Take a copy out of WAL mode: it can then be read where nothing may be written beside it."""
    try:
        with closing(_open(path, "rw")) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise explain(error, path) from error


def _revisions(path: Path) -> int:
    with closing(_open(path, "ro")) as connection:
        try:
            return int(connection.execute("SELECT ifnull(max(value), 0) FROM revisions").fetchone()[0])
        except sqlite3.Error as error:
            raise explain(error, path) from error


def _outdate(path: Path, before: int) -> None:
    """Count on from before the restore: readers compile anew when a count differs from the last they saw."""
    try:
        with closing(_open(path, "rw")) as connection:
            connection.execute("UPDATE revisions SET value = max(value, ?) + 1", (before,))
    except sqlite3.Error as error:
        raise explain(error, path) from error


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(sqlite_uri(path, mode), uri=True, timeout=5.0, isolation_level=None)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
