"""The tables of an org: one SQLite file in WAL mode, thrown away with the org.

Readers see what was committed when they began and never wait for the writer; that is also what makes a
transaction's changes visible late. A pending transaction is kept as the statements it ran: each further step
runs them again, adds its own and rolls back, and the end commits them all. So other writers go on meanwhile,
and only a record that the pending transaction touched is locked to them (UNABLE_TO_LOCK_ROW).
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.org.errors import OrgError
from tests.org.fields import ID, NUMBER, TEXT, Field, SObject

_TYPES: Final = {"boolean": "INTEGER", "datetime": "INTEGER", "int": "INTEGER"}
_INDEXED: Final = frozenset({"AccountId", "WhoId", "WhatId"})
TAIL: Final = 7
_NOT_DIGITS: Final = re.compile(r"\D+")
Statement = tuple[str, Sequence[Any]]


@dataclass(eq=False)
class Pending:
    """A transaction that others do not see yet; `began` is seconds since 1970."""

    began: int
    statements: list[Statement] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)


class Change:
    """One change on its way into the tables."""

    def __init__(
        self, connection: sqlite3.Connection, mine: Pending | None, others: Sequence[Pending]
    ) -> None:
        self._connection = connection
        self._mine = mine
        self._others = others
        self.statements: list[Statement] = []

    def run(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Run a statement that writes."""
        self._connection.execute(statement, values)
        self.statements.append((statement, values))

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Read rows as they are within this change."""
        return self._connection.execute(statement, values).fetchall()

    def insert(self, sobject: SObject, row: Mapping[str, Any]) -> None:
        """Put a row into an object's table, locked to others until it is committed."""
        self.touch(row["Id"])
        columns = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" * len(row))
        self.run(f'INSERT INTO "{sobject.name}" ({columns}) VALUES ({marks})', tuple(row.values()))

    def touch(self, key: str) -> None:
        """Take the lock of a record (its id) or of a unique value; raise OrgError (UNABLE_TO_LOCK_ROW)."""
        if any(key in other.touched for other in self._others):
            raise OrgError("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record")
        if self._mine is not None:
            self._mine.touched.add(key)


def column_type(made: Field) -> str:
    """Give the SQLite type of a field's column; text compares without regard to (ASCII) case."""
    if made.type in TEXT:
        return "TEXT COLLATE NOCASE"
    if made.type in ID or made.type == "date":
        return "TEXT"
    return _TYPES.get(made.type, "REAL" if made.type in NUMBER else "TEXT")


def fold(text: str | None) -> str | None:
    """Fold the case of a text, for comparisons beyond ASCII."""
    return None if text is None else text.casefold()


def digits(text: str | None) -> str:
    """Give the digits of a text."""
    return "" if text is None else _NOT_DIGITS.sub("", text)


def tail(text: str | None) -> str | None:
    """Give the last digits of a telephone field, what a search looks for first."""
    return None if text is None else digits(text)[-TAIL:]


class Store:
    """The file, its one writer and its readers; safe to use from any thread."""

    def __init__(self) -> None:
        directory = tempfile.mkdtemp(prefix="org-")
        self.path = Path(directory, "org.db")
        self._lock = threading.RLock()
        self._local = threading.local()
        self._pending: list[Pending] = []
        self._idle: list[sqlite3.Connection] = []
        self._tails: set[str] = set()
        self._writer = self._open()
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA cache_size = -131072")  # KiB: the indexes of a million records
        self.close = weakref.finalize(self, _remove, self._writer, self._idle, directory)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        connection.execute("PRAGMA synchronous = OFF")
        connection.row_factory = sqlite3.Row
        connection.create_function("fold", 1, fold, deterministic=True)
        connection.create_function("tail", 1, tail, deterministic=True)
        return connection

    # --- tables

    def create_table(self, sobject: SObject) -> None:
        """Make the table of an object."""
        columns = ", ".join(
            f'"{each.name}" {column_type(each)}' + (" PRIMARY KEY" if each.name == "Id" else "")
            for each in sobject.fields.values()
            if each.type != "address"
        )
        with self._lock:
            self._writer.execute(f'CREATE TABLE "{sobject.name}" ({columns}, "_With" TEXT) WITHOUT ROWID')
            self._writer.execute(
                f'CREATE INDEX "{sobject.name}.stamp" ON "{sobject.name}" ("SystemModstamp")'
            )
            for each in sobject.fields.values():
                self._create_index(sobject, each)

    def create_column(self, sobject: SObject, made: Field, value: Any) -> None:
        """Add a column, the same value in every row."""
        with self._lock:
            self._writer.execute(f'ALTER TABLE "{sobject.name}" ADD COLUMN "{made.name}" {column_type(made)}')
            self._create_index(sobject, made)
            if value is not None:
                self._writer.execute(f'UPDATE "{sobject.name}" SET "{made.name}" = ?', (value,))

    def _create_index(self, sobject: SObject, made: Field) -> None:
        if made.name in _INDEXED or made.external_id or made.unique or (made.id_lookup and made.type != "id"):
            name = f"{sobject.name}.{made.name}"
            where = f'"{made.name}" IS NOT NULL'  # most are null, and null is never looked for
            self._writer.execute(f'CREATE INDEX "{name}" ON "{sobject.name}" ("{made.name}") WHERE {where}')

    def index_tails(self, sobject: SObject, names: Sequence[str]) -> None:
        """Make sure that the last digits of these fields are indexed: slow once when there are many records."""
        wanted = [f"{sobject.name}.{name}.tail" for name in names]
        with self._lock:
            if self._tails.issuperset(wanted):
                return
            for name, index in zip(names, wanted, strict=True):
                self._writer.execute(
                    f'CREATE INDEX IF NOT EXISTS "{index}" ON "{sobject.name}" (tail("{name}"))'
                    f' WHERE "{name}" IS NOT NULL'
                )
            self._tails.update(wanted)

    # --- writing

    @contextmanager
    def change(self) -> Iterator[Change]:
        """Change records: all of it or nothing, at once or with this thread's transaction."""
        with self._lock:
            mine: Pending | None = getattr(self._local, "pending", None)
            change = Change(self._writer, mine, [each for each in self._pending if each is not mine])
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                if mine is not None:
                    self._replay(mine)
                yield change
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            if mine is None:
                self._writer.execute("COMMIT")
            else:
                mine.statements += change.statements
                self._writer.execute("ROLLBACK")

    def _replay(self, pending: Pending) -> None:
        for statement, values in pending.statements:
            self._writer.execute(statement, values)

    @contextmanager
    def transaction(self, began: int) -> Iterator[None]:
        """Hold back what this thread changes until the end; an exception undoes it."""
        if getattr(self._local, "pending", None) is not None:
            raise RuntimeError("this thread is in a transaction already")
        pending = Pending(began)
        with self._lock:
            self._pending.append(pending)
        self._local.pending = pending
        try:
            yield
            with self._lock:
                self._writer.execute("BEGIN IMMEDIATE")
                self._replay(pending)
                self._writer.execute("COMMIT")
        finally:
            self._local.pending = None
            with self._lock:
                self._pending.remove(pending)

    def oldest_pending(self) -> int | None:
        """Tell when the oldest pending transaction began (seconds since 1970)."""
        with self._lock:
            return min((each.began for each in self._pending), default=None)

    def insert_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows and commit them at once."""
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.executemany(statement, rows)
            self._writer.execute("COMMIT")

    # --- reading

    def reader(self) -> tuple[sqlite3.Connection, Callable[[], None]]:
        """Give a connection in a read transaction of its own, and what gives it back (once; more is harmless)."""
        with self._lock:
            connection = self._idle.pop() if self._idle else self._open()
        connection.execute("BEGIN")
        given = threading.Event()

        def give_back() -> None:
            if given.is_set():
                return
            given.set()
            connection.execute("ROLLBACK")
            with self._lock:
                if self.close.alive:
                    self._idle.append(connection)
                else:
                    connection.close()

        return connection, give_back

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Read rows as committed."""
        connection, give_back = self.reader()
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            give_back()


def _remove(writer: sqlite3.Connection, idle: list[sqlite3.Connection], directory: str) -> None:
    for connection in (writer, *idle):
        connection.close()
    shutil.rmtree(directory, ignore_errors=True)
