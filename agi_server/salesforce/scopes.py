"""Which calls an entry of the settings is for, by the number that was dialled."""

from __future__ import annotations

import re
from fnmatch import translate

from agi_server.calls.numbers import digits_of
from agi_server.calls.screening import scope_of


def covers(pattern: str, did: str) -> bool:
    """Return whether a DID is in a scope: empty is any, `*` and `?` stand for some; digits count, as in rules."""
    if not pattern.strip():
        return True
    digits = "".join(char if char in "*?" else digits_of(char) for char in pattern)
    if digits.strip("*?"):
        return re.match(translate(digits), scope_of(did)) is not None
    text = pattern.strip().lower().replace("[", "[[]")
    return re.match(translate(text), did.strip().lower()) is not None
