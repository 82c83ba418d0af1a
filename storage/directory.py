"""The read path of a call: one read-only connection, asked on the event loop's thread.

Invariant: no question leaves a statement open, so no read transaction outlives a question and the WAL can
be checkpointed while this sits here. A question that cannot be answered raises DirectoryError (the call
then goes on unknown); `policy` always answers, if need be with what was last compiled. Nothing of the
tables is kept in memory but the compiled policy: mmap is off and the page cache small, for the operating
system caches the file anyway.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from agi_server.calls.directory import Contact, Rule, RuleKind, Treatment
from agi_server.calls.numbers import Switchboard
from agi_server.calls.policy import Policy
from agi_server.errors import DirectoryError
from agi_server.settings import Settings
from storage.faults import code, explain
from storage.location import sqlite_uri
from storage.policy import compile_policy
from storage.schema import NUMBER_IS

log = structlog.get_logger()

REOPEN_SECONDS = 1.0  # between two tries to open, and between two looks whether the file was replaced
AT_MOST = 100  # contacts with one number; whoever shares it with more is ambiguous anyway

CONTACT_COLUMNS = (
    "c.id, c.kind, c.name, c.first_name, c.last_name, c.salesforce_id, c.account_id, a.name, c.owner_id, "
    "o.salesforce_id, o.email, o.name, c.vip, c.active_at"
)
# CROSS JOIN: SQLite then keeps the order of the tables, without statistics that may be missing or old.
_OF_CONTACT = (
    "CROSS JOIN contacts c ON c.id = p.contact_id "
    "LEFT JOIN accounts a ON a.id = c.account_id LEFT JOIN owners o ON o.id = c.owner_id"
)
_SELECT = f"SELECT {CONTACT_COLUMNS}"  # constants of this module, as below
BY_NUMBER = f"{_SELECT} FROM phones p {_OF_CONTACT} WHERE {NUMBER_IS.format('?1')} LIMIT {AT_MOST}"
BY_SWITCHBOARD = tuple(  # by the number of prefixes; the longest first, for AT_MOST may cut off the rest
    f"{_SELECT}, p.prefix, p.main, p.explicit FROM switchboards p {_OF_CONTACT} "
    f"WHERE p.prefix IN ({', '.join('?' * count)}) ORDER BY p.prefix DESC LIMIT {AT_MOST}"
    for count in range(16)
)
# The index is over six digits; `number >= ?` keeps shorter numbers from matching as if they began with zeros.
BY_TAIL = (
    f"{_SELECT} FROM phones p {_OF_CONTACT} "
    f"WHERE p.number % 1000000 = ? AND p.number % ? = ? AND p.number >= ? LIMIT {AT_MOST}"
)
BY_LOCAL_TAIL = (
    f"{_SELECT} FROM local_phones p {_OF_CONTACT} "
    f"WHERE p.tail = ? AND substr(p.digits, ?) = ? LIMIT {AT_MOST}"
)
EXACT_RULES = (
    "SELECT id, allow, did, treatment, target, reason, expires_at FROM blacklist "
    "WHERE kind = 'exact' AND pattern = ?"
)
# Of an outgoing call, `answered_by` is the trunk it was answered on: who spoke is who dialled.
LAST_AGENT = (
    "SELECT CASE direction WHEN 'outbound' THEN routed_to ELSE answered_by END AS spoke "
    "FROM calls INDEXED BY calls_last_agent WHERE number = ? AND started_at > ? AND answered_by <> '' AND spoke <> '' "
    "AND part_of = '' ORDER BY started_at DESC LIMIT 1"
)
# What phones do now says nothing of a call of yesterday that is decided again: hence the upper bound (seconds; settings
# allow 3600). Free on any of several PBXs is free: people move. What is not heard of for a while may be anything.
AGENT_STATE = (
    "SELECT s.state FROM agent_states s CROSS JOIN pbx_states p ON p.pbx = s.pbx "
    "WHERE s.extension = ?1 AND p.seen_at >= ?2 AND p.seen_at <= ?2 + 7200 "
    "ORDER BY s.state <> 'free', s.changed_at DESC LIMIT 1"
)
TAIL_INDEX_DIGITS = 6

_CACHE_KIB = 4096
_FILE_AT_FAULT = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
)


class SqliteDirectory:
    """`calls.directory.Directory` over the local SQLite file; for use on one thread."""

    def __init__(self, path: Path, settings: Settings) -> None:
        """Open if the file is there; if not, questions raise DirectoryError until it is."""
        self._path = path
        self._settings = settings
        self._connection: sqlite3.Connection | None = None
        self._failure = DirectoryError(f"database {path}: not opened yet")
        self._inode = (0, 0)
        self._look_at = 0.0  # monotonic time of the next look at the file
        self._data_version = -1
        self._revisions: list[tuple[Any, ...]] | None = None
        self._policy: Policy | None = None
        self._followed()

    def close(self) -> None:
        """Close; may be called twice. Afterwards every question raises DirectoryError."""
        self._failure = DirectoryError(f"database {self._path}: it is closed")  # nothing to log: it is wanted
        self._let_go(self._failure)
        self._look_at = float("inf")

    def state(self) -> str:
        """Return 'ok', or what is wrong."""
        try:
            self._ask("SELECT 1 FROM revisions LIMIT 1")
        except DirectoryError as error:
            return str(error)
        return "ok"

    def policy(self) -> Policy:
        """Return what was compiled from settings and tables; never raises."""
        if self._connection is None or time.monotonic() >= self._look_at:
            self._followed()
        if self._connection is not None:
            try:
                # Changes when another connection committed. Asked before the tables: what is compiled below
                # is never older than the version noted here.
                ((version,),) = self._connection.execute("PRAGMA data_version").fetchall()
                if version != self._data_version:
                    self._compile(self._connection)
                    self._data_version = version
            except sqlite3.Error as error:
                self._failed(error)
        if self._policy is None:
            self._policy = compile_policy(self._settings, None)
        return self._policy

    def contacts_by_number(self, e164: int) -> list[Contact]:
        """Return everyone with this number, at most AT_MOST."""
        return [_contact(row) for row in self._ask(BY_NUMBER, e164)]

    def contacts_by_switchboard(self, prefixes: Sequence[int]) -> list[tuple[Contact, Switchboard]]:
        """Return the owners of these main-number prefixes, each with the main number."""
        return [
            (_contact(row), Switchboard(row[14], row[15], bool(row[16])))
            for row in self._ask(BY_SWITCHBOARD[len(prefixes)], *prefixes)
        ]

    def contacts_by_tail(self, digits: str, length: int, *, with_country: bool) -> list[Contact]:
        """Return everyone whose number ends like `digits` in `length` (6 or more) digits, each once."""
        if length < TAIL_INDEX_DIGITS or len(digits) < length:
            return []
        tail = digits[-length:]
        key = int(tail) % 10**TAIL_INDEX_DIGITS
        rows = self._ask(BY_LOCAL_TAIL, key, -length, tail)
        if not with_country:
            rows += self._ask(BY_TAIL, key, 10**length, int(tail), 10 ** (length - 1))
        return list({row[0]: _contact(row) for row in rows}.values())

    def exact_rules(self, pattern: str) -> list[Rule]:
        """Return the exact rules for this number, expired ones too."""
        return [_rule(row, pattern) for row in self._ask(EXACT_RULES, pattern) if row[3] in _TREATMENTS]

    def last_agent(self, e164: int, since: int) -> str:
        """Return the extension that last spoke with this caller after `since`, or ''."""
        rows = self._ask(LAST_AGENT, e164, since)
        return str(rows[0][0]) if rows else ""

    def agent_state(self, extension: str, since: int) -> str:
        """Return what the phone does, '' where no PBX told since then."""
        rows = self._ask(AGENT_STATE, extension, since)
        return str(rows[0][0]) if rows else ""

    def _ask(self, query: str, *values: object) -> list[Any]:
        connection = self._connection
        if connection is None:
            connection = self._followed()
            if connection is None:
                raise DirectoryError(str(self._failure))
        try:
            return connection.execute(query, values).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise self._failed(error) from error

    def _compile(self, connection: sqlite3.Connection) -> None:
        """Compile the policy if a small table changed; reads all tables as of one moment."""
        connection.execute("BEGIN")
        connection.text_factory = _any_text
        try:
            revisions = connection.execute("SELECT name, value FROM revisions ORDER BY name").fetchall()
            if self._policy is None or revisions != self._revisions:
                self._policy = compile_policy(self._settings, connection)
                self._revisions = revisions
        finally:
            connection.text_factory = str
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _failed(self, error: Exception) -> DirectoryError:
        """Note that a question failed; where the file is to blame, it is opened anew when the next look is due."""
        failure = explain(error, self._path)
        if code(error) in _FILE_AT_FAULT:
            self._let_go(failure)
        return failure

    def _followed(self) -> sqlite3.Connection | None:
        """Return a connection to the file that is at the path now, None if there is none; looks once a second."""
        now = time.monotonic()
        if now < self._look_at:
            return self._connection
        self._look_at = now + REOPEN_SECONDS
        try:
            status = os.stat(self._path)  # noqa: PTH116  # Path.stat costs twice as much
        except OSError as error:
            self._let_go(DirectoryError(f"database {self._path}: cannot be opened ({error.strerror})"))
            return None
        inode = (status.st_dev, status.st_ino)
        if self._connection is not None and inode == self._inode:
            return self._connection
        self._let_go(self._failure)
        try:
            self._connection = _open(self._path)
            self._inode = inode
        except sqlite3.Error as error:
            self._let_go(explain(error, self._path))
        return self._connection

    def _let_go(self, failure: DirectoryError) -> None:
        if str(failure) != str(self._failure):
            log.error("directory cannot be read", error=str(failure))
        self._failure = failure
        self._data_version = -1
        self._revisions = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(sqlite_uri(path, "ro"), uri=True, timeout=0.05, isolation_level=None)
    try:
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        connection.execute("PRAGMA mmap_size=0").fetchall()
        connection.execute("SELECT count(*) FROM revisions").fetchall()  # is it a database, and ours?
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _any_text(text: bytes) -> str:
    """Read text that is not UTF-8 all the same: one bad row must not hide the others."""
    return text.decode("utf-8", "replace")


_TREATMENTS = {treatment.value: treatment for treatment in Treatment}


def _contact(row: Sequence[Any]) -> Contact:
    return Contact(
        id=row[0],
        kind=row[1],
        name=row[2],
        first_name=row[3],
        last_name=row[4],
        salesforce_id=row[5] or "",  # NULL; an ifnull() in the query costs more
        account_id=row[6] or 0,
        account=row[7] or "",
        owner_id=row[8] or 0,
        owner_salesforce_id=row[9] or "",
        owner_email=row[10] or "",
        owner=row[11] or "",
        vip=row[12] != 0,
        active_at=row[13],
    )


def _rule(row: Sequence[Any], pattern: str) -> Rule:
    return Rule(
        id=row[0],
        kind=RuleKind.EXACT,
        pattern=pattern,
        allow=row[1] != 0,
        did=row[2],
        treatment=_TREATMENTS[row[3]],
        target=row[4],
        reason=row[5],
        expires_at=row[6],
    )
