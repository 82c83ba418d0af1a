"""getDeleted and getUpdated: the ids of what was deleted or changed between two times.

REST API Developer Guide, "Get Deleted" and "Get Updated"; SOAP API Developer Guide, "getDeleted()" and
"getUpdated()": seconds of both times are ignored, deletes reach back 15 days, changes 30, no more than 600,000
ids, and `latestDateCovered` lies before any transaction that is still open.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from tests.org.errors import OrgError
from tests.org.state import State
from tests.org.values import rest_time

MOST: Final = 600_000
_DELETED: Final = int(timedelta(days=15).total_seconds())
_UPDATED: Final = int(timedelta(days=30).total_seconds())


def deleted(state: State, name: str, start: datetime, end: datetime) -> dict[str, Any]:
    """Give the answer of GET …/deleted. Raises OrgError (INVALID_REPLICATION_DATE, EXCEEDED_ID_LIMIT)."""
    sobject = state.sobject(name)
    earliest = state.moment() - _DELETED
    first, last = _window(state, start, end, earliest - earliest % 60)
    statement = (
        'SELECT "Id", "At" FROM "_Deleted" WHERE "Object" = ? AND "At" >= ? AND "At" < ? ORDER BY "At", "Id"'
    )
    found = state.store.rows(statement, (sobject.name, first, last))
    _bound(len(found))
    return {
        "deletedRecords": [{"deletedDate": rest_time(at), "id": identity} for identity, at in found],
        "earliestDateAvailable": rest_time(earliest),
        "latestDateCovered": rest_time(_covered(state, last)),
    }


def updated(state: State, name: str, start: datetime, end: datetime) -> dict[str, Any]:
    """Give the answer of GET …/updated. Raises OrgError (INVALID_REPLICATION_DATE, EXCEEDED_ID_LIMIT)."""
    sobject = state.sobject(name)
    earliest = state.moment() - _UPDATED
    first, last = _window(state, start, end, earliest - earliest % 60)
    alive = ' AND "IsDeleted" = 0' if "IsDeleted" in sobject.fields else ""
    statement = (
        f'SELECT "Id" FROM "{sobject.name}" WHERE "SystemModstamp" >= ? AND "SystemModstamp" < ?{alive}'
        f' ORDER BY "SystemModstamp", "Id" LIMIT {MOST + 1}'
    )
    found = state.store.rows(statement, (first, last))
    _bound(len(found))
    return {"ids": [row["Id"] for row in found], "latestDateCovered": rest_time(_covered(state, last))}


def _window(state: State, start: datetime, end: datetime, earliest: int) -> tuple[int, int]:
    first, last = (int(each.timestamp()) // 60 * 60 for each in (start, end))
    if first < earliest:
        raise OrgError("INVALID_REPLICATION_DATE", "startDate before org replication enabled date")
    if first > state.moment():
        raise OrgError("INVALID_REPLICATION_DATE", "startDate is in the future")
    if last - first < 60:
        # Word for word what Salesforce says, the wrong way round as it is.
        raise OrgError(
            "INVALID_REPLICATION_DATE", "startDate must be at least one minute greater than endDate"
        )
    return first, last


def _covered(state: State, last: int) -> int:
    return min(last, state.moment(), state.store.oldest_pending() or last)


def _bound(count: int) -> None:
    if count > MOST:
        raise OrgError("EXCEEDED_ID_LIMIT", f"there are more than {MOST} ids in this window")
