"""What would be if rules or settings were others: decisions that nobody hears of, and nothing is written.

Each function reads the database through connections of its own, so that it may run in a thread beside everything else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agi_server.calls.call import Call, Decision
from agi_server.calls.decide import decide
from agi_server.calls.directory import Rule
from agi_server.calls.policy import Policy
from agi_server.calls.replay import Edited, Replay, replay
from agi_server.settings import Settings
from storage.directory import SqliteDirectory
from storage.faults import explain
from storage.location import sqlite_uri
from storage.past_calls import past_calls
from storage.policy import compile_with

MOST_CALLS = 10_000  # replayed: two or three seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What is tried: rules to add (as `check_rule` leaves them), ids of rules to remove, other settings than in force.

    `settings` are complete: those in force with the tried ones in their place (`storage.overrides`).
    """

    add: Sequence[Rule] = ()
    remove: frozenset[int] = frozenset()
    settings: Settings | None = None


def try_call(path: Path, settings: Settings, call: Call, edit: Edit, now: float) -> Decision:
    """Return how a call would be decided. Raises DirectoryError where the database cannot be read."""
    with _read(path) as connection, closing(SqliteDirectory(path, settings)) as directory:
        return decide(call, _edited(connection, directory, edit), now)


def replay_calls(path: Path, settings: Settings, edit: Edit, since: int) -> Replay:
    """Return what would have become of the newest MOST_CALLS inbound calls since then (seconds since 1970).

    Raises DirectoryError where the database cannot be read.
    """
    with _read(path) as connection, closing(SqliteDirectory(path, settings)) as directory:
        return replay(
            past_calls(connection, since, MOST_CALLS), directory, _edited(connection, directory, edit)
        )


def _edited(connection: sqlite3.Connection, directory: SqliteDirectory, edit: Edit) -> Edited:
    ((last,),) = connection.execute("SELECT ifnull(max(id), 0) FROM blacklist").fetchall()
    add = [replace(rule, id=last + place) for place, rule in enumerate(edit.add, 1)]
    policy: Policy | None = None
    if edit.settings is not None:
        policy = compile_with(edit.settings, connection)
    return Edited(directory, add=add, remove=edit.remove, policy=policy)


@contextmanager
def _read(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(sqlite_uri(path, "ro"), uri=True)) as connection:
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            yield connection
    except sqlite3.Error as error:
        raise explain(error, path) from error
