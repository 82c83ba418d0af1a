"""An org: the records of one Salesforce customer, behaving as they do through its interfaces.

It lives in a file of its own that goes when it is closed or forgotten, may be used from any number of threads,
and takes its time from an injectable clock. Whatever it refuses, it refuses with an OrgError that has
Salesforce's errorCode.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from tests.org import bin as recycle_bin
from tests.org import sosl, windows, writing
from tests.org.answers import csv_shape, rest_shape
from tests.org.describe import describe_object, summary
from tests.org.errors import OrgError, missing
from tests.org.fields import NUMBER, Field, SObject
from tests.org.load import load
from tests.org.lookup import check_key, find
from tests.org.schema import standard
from tests.org.select import Compiler, Statement
from tests.org.soql import Comparison, Literal, Path, Query, read
from tests.org.state import DuplicateRule, State, defaults, stamp
from tests.org.store import Change, Store
from tests.org.values import stored

VERSION: Final = "59.0"  # in the addresses of records
_AT_ONCE: Final = 2000  # rows fetched before an answer is streamed


def _clock() -> datetime:
    return datetime.now(UTC)


class Org:
    """One org; `now` gives aware times. It has an integration user, `user_id`, who does everything."""

    def __init__(self, *, person_accounts: bool = False, now: Callable[[], datetime] | None = None) -> None:
        self._state = State(standard(person_accounts=person_accounts), Store(), now or _clock)
        self._store = self._state.store
        self.now = self._state.now
        for sobject in self._state.objects.values():
            self._store.create_table(sobject)
        with self._store.change() as change:
            change.run(recycle_bin.LOG)
            self._found(change)
        self.user_id = self._state.user_id
        self.organization_id = self._state.organization_id

    def _found(self, change: Change) -> None:
        state = self._state
        state.user_id, state.organization_id = state.ids.next("005"), state.ids.next("00D")
        email = "integration@org.example"
        user = {
            "Id": state.user_id,
            "FirstName": "Ostiary",
            "LastName": "Integration",
            "Name": "Ostiary Integration",
        }
        user |= {"Email": email, "Username": email, "Alias": "ostiary", "CommunityNickname": "ostiary"}
        company = {"Id": state.organization_id, "Name": "Stand-in", "IsSandbox": 1, "InstanceName": "TST1"}
        company["OrganizationType"] = "Developer Edition"
        for name, values in (("User", user), ("Organization", company)):
            row = defaults(state.objects[name]) | values
            stamp(state, state.objects[name], row)
            change.insert(state.objects[name], row)

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    # --- writing

    @contextmanager
    def _write(self) -> Iterator[Change]:
        with self._store.change() as change:
            self._state.meet_locks()
            yield change

    def create(self, sobject: str, fields: Mapping[str, Any], *, allow_save: bool = False) -> str:
        """Make a record; gives its id of 18. `allow_save` overrides duplicate rules that only alert."""
        with self._write() as change:
            return writing.create(self._state, change, sobject, fields, allow_save=allow_save)

    def update(
        self, sobject: str, record: str, fields: Mapping[str, Any], *, allow_save: bool = False
    ) -> None:
        """Change a record."""
        with self._write() as change:
            writing.update(self._state, change, sobject, record, fields, allow_save=allow_save)

    def upsert(
        self, sobject: str, field: str, value: Any, fields: Mapping[str, Any], *, allow_save: bool = False
    ) -> tuple[str, bool]:
        """Change the record with that external id or make one; gives its id and whether it is new.

        Several matches: OrgError with status 300, their ids in `fields`.
        """
        with self._write() as change:
            made = self._state.sobject(sobject)
            key = check_key(made, field)
            if key.name in fields:
                text = f"The {key.name} field should not be specified in the sobject data."
                raise OrgError("INVALID_FIELD", text, fields=(key.name,))
            found = find(self._state, change, made, key, value)
            if len(found) > 1:
                text = f"{key.title}: more than one record found for external id field: {found}"
                raise OrgError("DUPLICATE_EXTERNAL_ID", text, status=300, fields=found)
            if found:
                writing.update(self._state, change, sobject, found[0], fields, allow_save=allow_save)
                return found[0], False
            keyed = dict(fields) if key.name == "Id" else {**fields, key.name: value}
            return writing.create(self._state, change, sobject, keyed, allow_save=allow_save), True

    def delete(self, sobject: str, record: str) -> None:
        """Put a record, and what depends on it, into the recycle bin."""
        with self._write() as change:
            recycle_bin.delete(self._state, change, sobject, record)

    def undelete(self, sobject: str, record: str) -> None:
        """Bring a record back from the recycle bin, with what went there with it."""
        with self._write() as change:
            recycle_bin.undelete(self._state, change, sobject, record)

    def purge(self, sobject: str, record: str) -> None:
        """Empty a record from the recycle bin."""
        with self._write() as change:
            recycle_bin.purge(self._state, change, sobject, record)

    def merge(self, sobject: str, master: str, *losers: str) -> None:
        """Merge one or two records into another."""
        with self._write() as change:
            recycle_bin.merge(self._state, change, sobject, master, losers)

    def convert(self, lead: str, contact: str | None = None) -> str:
        """Convert a lead; gives the contact it became."""
        with self._write() as change:
            return recycle_bin.convert(self._state, change, lead, contact)

    def transaction(self) -> AbstractContextManager[None]:
        """Hold back this thread's changes: they get their stamps now and are seen by nobody until the end."""
        return self._store.transaction(self._state.moment())

    def load(self, sobject: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Make many records at once, seen at once, only their values checked; system fields may be given. Gives ids."""
        return load(self._state, sobject, rows)

    # --- reading

    def query(self, soql: str, *, deleted: bool = False) -> Iterator[dict[str, Any]]:
        """Give the records of a query as REST shows them; `deleted`: those in the recycle bin too.

        Everything comes from the moment of the call, whatever changes while it is read.
        """
        statement = self._compile(soql, deleted=deleted)
        shape = rest_shape(statement, VERSION)
        if not statement.columns:
            return iter(())
        return (shape(row) for row in self._stream(statement))

    def count(self, soql: str, *, deleted: bool = False) -> int:
        """Count the records of a query."""
        statement = self._compile(soql, deleted=deleted)
        return int(self._store.rows(statement.count_sql, statement.values)[0][0])

    def rows(self, soql: str, *, deleted: bool = False) -> tuple[list[str], Iterator[list[str]]]:
        """Give header and lines of a Bulk 2.0 query, streamed. Raises OrgError for what Bulk does not do."""
        statement = self._compile(soql, deleted=deleted)
        if statement.bulk_refusal:
            raise OrgError("FUNCTIONALITY_NOT_ENABLED", statement.bulk_refusal)
        header, shape = csv_shape(statement)
        return header, (shape(row) for row in self._stream(statement))

    def _compile(self, soql: str, *, deleted: bool) -> Statement:
        query = read(soql)
        return Compiler(self._state.objects, query, deleted=deleted, source=soql).compile()

    def _stream(self, statement: Statement) -> Iterator[Any]:
        connection, give_back = self._store.reader()
        try:
            cursor = connection.execute(statement.sql, statement.values)
            first = cursor.fetchmany(_AT_ONCE)
        except sqlite3.OperationalError as error:
            give_back()
            raise OrgError("QUERY_TOO_COMPLICATED", str(error)) from None
        if len(first) < _AT_ONCE:
            give_back()
            return iter(first)
        rest = _rest(first, cursor)
        weakref.finalize(rest, give_back)
        return rest

    def get(self, sobject: str, record: str) -> dict[str, Any]:
        """Give a record with every field the user may see. Raises OrgError (NOT_FOUND, ENTITY_IS_DELETED)."""
        found = self._state.sobject(sobject)
        identity = self._state.record_id(found, record)
        try:
            self._state.existing(self._store, found, identity)
        except OrgError as error:
            raise (missing() if error.code == "INVALID_CROSS_REFERENCE_KEY" else error) from None
        paths = tuple(Path((each.name,)) for each in found.visible())
        where = Comparison(Path(("Id",)), "=", (Literal("string", f"'{identity}'"),))
        statement = Compiler(self._state.objects, Query(paths, found.name, 0, where), deleted=True).compile()
        return rest_shape(statement, VERSION)(next(self._stream(statement)))

    def find(self, sobject: str, field: str, value: Any) -> list[str]:
        """Give the ids of the records with that external id, at least one. Raises OrgError (NOT_FOUND)."""
        made = self._state.sobject(sobject)
        found = find(self._state, self._store, made, check_key(made, field), value)
        if not found:
            raise missing()
        return found

    def search(self, text: str) -> list[dict[str, Any]]:
        """Give the records that a SOSL search for telephone numbers finds."""
        return sosl.run(self._store, self._state.objects, text, VERSION)

    def deleted(self, sobject: str, start: datetime, end: datetime) -> dict[str, Any]:
        """Answer what was deleted between two aware times."""
        return windows.deleted(self._state, sobject, start, end)

    def updated(self, sobject: str, start: datetime, end: datetime) -> dict[str, Any]:
        """Answer what was made or changed between two aware times."""
        return windows.updated(self._state, sobject, start, end)

    # --- objects

    def describe(self, sobject: str) -> dict[str, Any]:
        """Describe an object as the user sees it. Raises OrgError (NOT_FOUND)."""
        return describe_object(self._state.sobject(sobject), self._state.objects.values(), VERSION)

    def describe_global(self) -> dict[str, Any]:
        """Describe all objects the user may see."""
        seen = [summary(each, VERSION) for each in self._state.objects.values() if not each.hidden]
        return {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": seen}

    def add_field(self, sobject: str, name: str, kind: str, **properties: Any) -> None:
        """Add a custom field: `kind` is describe's type, `properties` those of `fields.Field`."""
        usual: dict[str, Any] = {"length": 255}
        if kind == "phone":
            usual = {"length": 40}
        elif kind == "boolean":
            usual = {"nillable": False, "defaulted": True, "default": False}
        elif kind in NUMBER:
            usual = {"precision": 18}
        elif kind in {"date", "datetime"}:
            usual = {}
        usual["id_lookup"] = bool(properties.get("external_id"))
        made = Field(name=name, type=kind, **(usual | properties))
        found = self._state.sobject(sobject)
        found.add([made])
        self._store.create_column(found, made, None if made.default is None else stored(made, made.default))

    def hide(self, sobject: str, field: str | None = None) -> None:
        """Take a field (none: the whole object) out of the user's sight."""
        self._set_hidden(sobject, field, hidden=True)

    def show(self, sobject: str, field: str | None = None) -> None:
        """Undo `hide`."""
        self._set_hidden(sobject, field, hidden=False)

    def _set_hidden(self, sobject: str, field: str | None, *, hidden: bool) -> None:
        found: SObject = self._state.objects[sobject]
        if field is None:
            found.hidden = hidden
        elif hidden:
            found.hidden_fields.add(found.fields[field].name)
        else:
            found.hidden_fields.discard(field)

    # --- what goes wrong

    def lock_rows(self, count: int) -> None:
        """Let the next `count` writes meet a locked row."""
        self._state.locked = count

    def duplicates(self, sobject: str, *fields: str, block: bool = False) -> None:
        """Add a duplicate rule: records that agree in all fields; no fields: remove the object's rules."""
        if fields:
            self._state.rules.append(DuplicateRule(sobject, fields, block))
        else:
            self._state.rules[:] = [each for each in self._state.rules if each.sobject != sobject]


def _rest(first: list[Any], cursor: sqlite3.Cursor) -> Iterator[Any]:
    yield from first
    yield from cursor
