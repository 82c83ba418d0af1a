"""Tokens and sessions that were looked up a moment ago, so that not every request costs a look into the database.

Invariant: what another process changes counts after `SECONDS` at the latest, what this one changes at once (who
changes users or tokens calls `forget`); memory is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from storage.sessions import Session
from storage.tokens import Token

SECONDS = 2.0
MOST = 10_000

T = TypeVar("T", Token, Session)


class Known:
    """Lives on the event loop of the front process."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, tuple[float, Token | Session]] = OrderedDict()
        self._forgotten = 0  # how often; what was looked up before must not be put in after

    async def find(
        self, key: str, type_: type[T], now: float, look_up: Callable[[], Awaitable[T | None]]
    ) -> T | None:
        """Return what was found under this key lately, or what `look_up` finds; what is not there is not kept."""
        at, known = self._found.get(key, (0.0, None))
        if isinstance(known, type_) and 0 <= now - at < SECONDS:
            return known
        forgotten = self._forgotten
        found = await look_up()
        if found is not None and forgotten == self._forgotten:
            self._found[key] = (now, found)
            self._found.move_to_end(key)
            if len(self._found) > MOST:
                self._found.popitem(last=False)
        return found

    def forget(self) -> None:
        """Look everything up anew: a user, a token or a session was changed."""
        self._forgotten += 1
        self._found.clear()
