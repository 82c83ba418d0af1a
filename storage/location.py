"""How the database file is named to SQLite."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote


def sqlite_uri(path: Path, mode: str) -> str:
    """Return the URI that opens the file as `mode` says: ro, rw, rwc (https://www.sqlite.org/uri.html)."""
    return f"file:{quote(str(path.absolute()))}?mode={mode}"
