"""What SQLite's errors mean to an admin: what, where and how to mend it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from agi_server.errors import DirectoryError

# Primary result codes, https://www.sqlite.org/rescode.html
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FORBIDDEN = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)


def code(error: BaseException) -> int:
    """Return SQLite's primary result code, 0 where the error has none."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_busy(error: BaseException) -> bool:
    """Return whether another connection held the lock."""
    return code(error) in _BUSY


def explain(error: BaseException, path: Path) -> DirectoryError:
    """Return the DirectoryError for what SQLite said of the database at `path`."""
    number, text = code(error), str(error)
    if number == sqlite3.SQLITE_FULL:
        hint = f"the disk is full; nothing of this was stored. Free space in {path.parent}"
    elif number in _FORBIDDEN:
        hint = (
            "it may not be written; the user Ostiary runs as must own the file and its directory, "
            "and the file system must not be mounted read-only"
        )
    elif number == sqlite3.SQLITE_CANTOPEN:
        hint = (
            f"it cannot be opened; check that {path.parent} exists and belongs to the user Ostiary runs as, "
            "then run `ostiary migrate`"
        )
    elif number in _BUSY:
        hint = "another process keeps it locked; look for one that holds the file open (fuser)"
    elif number in _DAMAGED:
        hint = "it is damaged or no SQLite database; restore a backup"
    elif number == sqlite3.SQLITE_IOERR:
        hint = "the disk reports an error or a limit on file size; see the kernel's log"
    elif "no such table" in text or "no such column" in text:
        hint = "its tables are not those of this version; run `ostiary migrate`"
    else:
        hint = "it refused the statement"
    return DirectoryError(f"database {path}: {hint} ({text})")
