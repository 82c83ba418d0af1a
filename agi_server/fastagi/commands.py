"""What we send to a PBX; the one place where text from outside becomes part of a command.

Invariants: whatever the values hold, a line has one LF, at its end, and no other control character; it is
shorter than LINE_LIMIT; of its words only one is quoted. A value arrives as it is here, but for control
characters (removed; a tab becomes a space) and for its end, where it would not fit a line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from agi_server.errors import LocalProtocolError

# Asterisk reads a line into 2,048 bytes (8,192 since July 2025) and runs the rest as a new command.
LINE_LIMIT = 2047
# MSet takes 99 pairs, 24 in older versions; the last of those swallows all that follow, as they stand.
MAX_PAIRS = 20

_NAME = re.compile(r"_{0,2}[A-Za-z][A-Za-z0-9_]*(\([A-Za-z0-9_,-]+\))?\Z")
_CONTROLS: dict[int, str | None] = dict.fromkeys((*range(0x20), 0x7F)) | {0x09: " "}
# A backslash before whatever MSet's splitting at commas minds, then one before each backslash and quotation
# mark for the parser of the command line. ${…} and $[…] are not evaluated in the options of EXEC.
_MSET_ESCAPES = str.maketrans({character: "\\\\" + character for character in ",()[]"})
_MSET = str.maketrans({**_CONTROLS, **_MSET_ESCAPES, ord("\\"): "\\\\\\\\", ord('"'): '\\\\\\"'})
_QUOTED = str.maketrans({**_CONTROLS, ord("\\"): "\\\\", ord('"'): '\\"'})
_MINDED = re.compile(r'[\x00-\x1f\x7f\\",()\[\]]').search


def mset(variables: Mapping[str, str]) -> list[bytes]:
    """Return the lines that set `variables` in their order, in as few commands as may be; usually one.

    Raises LocalProtocolError for a name that is neither a variable nor a function of one.
    """
    pairs = [
        f"{_checked(name)}={value.translate(_MSET) if _MINDED(value) else value}"
        for name, value in variables.items()
    ]
    line = _exec_mset(",".join(pairs).encode("utf-8", "replace"))
    if 0 < len(pairs) <= MAX_PAIRS and len(line) < LINE_LIMIT:
        return [line]
    return _several(variables)


def verbose(text: str, level: int = 1) -> bytes:
    """Return the line that shows `text` on the PBX's console from verbosity `level` (1 to 4) on.

    Raises LocalProtocolError for another level.
    """
    if not 1 <= level <= 4:
        raise LocalProtocolError(f"verbosity {level} is not one of 1 to 4")
    room = LINE_LIMIT - 1 - len(b'VERBOSE "" 1\n')
    return b'VERBOSE "%s" %d\n' % (_cut(text, _QUOTED, room), level)


def _exec_mset(pairs: bytes) -> bytes:
    return b'EXEC MSet "%s"\n' % pairs


def _several(variables: Mapping[str, str]) -> list[bytes]:
    """Return as many lines as need be, each as full as it may be; a pair that fills more than one is cut."""
    room = LINE_LIMIT - 1 - len(_exec_mset(b""))
    lines: list[list[bytes]] = []
    size = room
    for name, value in variables.items():
        pair = f"{name}=".encode() + _cut(value, _MSET, room - len(name) - 1)
        if size + 1 + len(pair) > room or len(lines[-1]) == MAX_PAIRS:
            lines.append([])
            size = -1
        lines[-1].append(pair)
        size += 1 + len(pair)
    return [_exec_mset(b",".join(line)) for line in lines]


def _cut(value: str, escapes: dict[int, str | None], room: int) -> bytes:
    """Return `value` escaped, cut at a character's end so that it fills at most `room` bytes."""
    escaped = value.translate(escapes).encode("utf-8", "replace")
    if len(escaped) <= room:
        return escaped
    kept = b""
    for character in value:
        piece = character.translate(escapes).encode("utf-8", "replace")
        if len(kept) + len(piece) > room:
            break
        kept += piece
    return kept


@lru_cache(maxsize=1024)
def _checked(name: str) -> str:
    if not _NAME.match(name) or len(name) > 80:
        raise LocalProtocolError(f"{name!r} is no name of a channel variable")
    return name
