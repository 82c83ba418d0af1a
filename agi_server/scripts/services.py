"""What a script may use. Built once by `app`, handed to every script."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agi_server.calls.call import Decision
from agi_server.calls.directory import Directory
from agi_server.journal import Journal
from agi_server.lookups import Lookups
from agi_server.settings import Settings

if TYPE_CHECKING:
    from storage.database import Database


def new_call_ids() -> Callable[[], str]:
    """Return a maker of call ids: sortable by time, unique across restarts and processes."""
    instance = os.urandom(3).hex()
    counter = itertools.count()
    return lambda: f"{int(time.time()):x}-{instance}-{next(counter):x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything a script needs besides its request.

    `database` waits until the writing side is open, which is after the first calls may already be answered.
    `report` is told of each decision and how long it took (seconds). `lookups` is None where Salesforce is not
    asked about unknown callers.
    """

    settings: Settings
    directory: Directory
    journal: Journal
    database: Callable[[], Awaitable[Database]]
    report: Callable[[Decision, float], None]
    lookups: Lookups | None = None
    clock: Callable[[], float] = time.time
    new_call_id: Callable[[], str] = field(default_factory=new_call_ids)
