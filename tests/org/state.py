"""What the parts of an org share: its objects, tables, clock, ids and the rules it was told to keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from sqlite3 import Row
from typing import Any, Final

from tests.org.errors import OrgError, missing
from tests.org.fields import SObject
from tests.org.ids import PREFIXES, Allocator, long_id
from tests.org.store import Change, Store

OBJECT_OF: Final = {prefix: name for name, prefix in PREFIXES.items()}


@dataclass(frozen=True)
class DuplicateRule:
    """Records that agree in all `fields` (none of them null) are duplicates; `block`: no header overrides it."""

    sobject: str
    fields: tuple[str, ...]
    block: bool


@dataclass
class State:
    """An org's objects by name, where its records are, and what will go wrong."""

    objects: dict[str, SObject]
    store: Store
    now: Callable[[], datetime]
    user_id: str = ""
    organization_id: str = ""
    ids: Allocator = field(default_factory=Allocator)
    rules: list[DuplicateRule] = field(default_factory=list)
    locked: int = 0  # writes that are yet to meet a locked row

    def moment(self) -> int:
        """Give the time in whole seconds since 1970."""
        return int(self.now().timestamp())

    def sobject(self, name: str) -> SObject:
        """Find an object the user may see, in any case. Raises OrgError (NOT_FOUND)."""
        found = self.objects.get(name) or next(
            (each for known, each in self.objects.items() if known.lower() == name.lower()), None
        )
        if found is None or found.hidden:
            raise missing()
        return found

    def record_id(self, sobject: SObject, text: str) -> str:
        """Give the long form of an id of a record of this object. Raises OrgError (MALFORMED_ID)."""
        identity = long_id(text)
        if identity[:3] != sobject.prefix:
            title = sobject.fields["Id"].title
            raise OrgError("MALFORMED_ID", f"{title}: id value of incorrect type: {text}", fields=("Id",))
        return identity

    def existing(
        self, tables: Change | Store, sobject: SObject, identity: str, *, deleted: bool = False
    ) -> Row:
        """Read a record. Raises OrgError when it is not there or in the recycle bin."""
        found = tables.rows(f'SELECT * FROM "{sobject.name}" WHERE "Id" = ?', (identity,))
        if not found:
            raise OrgError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", status=404)
        if not deleted and is_deleted(found[0]):
            raise OrgError("ENTITY_IS_DELETED", "entity is deleted", status=404)
        return found[0]

    def meet_locks(self) -> None:
        """Raise OrgError (UNABLE_TO_LOCK_ROW) as often as it was asked for."""
        if self.locked > 0:
            self.locked -= 1
            raise OrgError("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record")


def is_deleted(row: Row) -> bool:
    """Is it in the recycle bin?"""
    return "IsDeleted" in row.keys() and bool(row["IsDeleted"])  # noqa: SIM118  # a Row iterates over its values


def set_columns(change: Change, sobject: SObject, identity: str, values: dict[str, Any]) -> None:
    """Write columns of one record, which is locked to others until it is committed."""
    change.touch(identity)
    assignments = ", ".join(f'"{name}" = ?' for name in values)
    change.run(f'UPDATE "{sobject.name}" SET {assignments} WHERE "Id" = ?', (*values.values(), identity))


def changed_now(state: State) -> dict[str, Any]:
    """Give the columns that every change moves."""
    now = state.moment()
    return {"LastModifiedDate": now, "LastModifiedById": state.user_id, "SystemModstamp": now}


def stamp(state: State, sobject: SObject, row: dict[str, Any]) -> None:
    """Put in what Salesforce itself sets on a new record, and its owner."""
    row |= changed_now(state)
    row["CreatedDate"], row["CreatedById"] = row["SystemModstamp"], state.user_id
    if "OwnerId" in sobject.fields and not row.get("OwnerId"):
        row["OwnerId"] = state.user_id


def defaults(sobject: SObject) -> dict[str, Any]:
    """Give what a new record has in fields that nobody filled."""
    return {
        each.name: int(each.default) if each.type == "boolean" else each.default
        for each in sobject.fields.values()
        if each.default is not None
    }
