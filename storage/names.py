"""Names of users and tokens: they stand in the audit log and in logs, so they are one short line of visible text."""

from __future__ import annotations

from agi_server.errors import InputError

MOST = 100  # characters


def checked_name(name: str, whose: str) -> str:
    """Return the name without blanks around it. Raises InputError where it cannot be one; `whose`: e.g. 'a user'."""
    name = name.strip()
    if not name:
        raise InputError(f"{whose} needs a name")
    if len(name) > MOST or not name.isprintable():
        raise InputError(f"the name of {whose} has {MOST} characters at most, all of them visible")
    return name
