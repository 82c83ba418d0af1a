"""Tasks: the fields that follow from others, and the mark a finished one leaves on what it is about."""

from __future__ import annotations

from typing import Any

from tests.org.errors import OrgError
from tests.org.ids import PREFIXES
from tests.org.state import OBJECT_OF, State, set_columns
from tests.org.store import Change


def check(row: dict[str, Any]) -> None:
    """Refuse a task about a lead that is about something else too (Object Reference, "Task", WhatId)."""
    if row.get("WhatId") and str(row.get("WhoId") or "").startswith(PREFIXES["Lead"]):
        raise OrgError(
            "FIELD_INTEGRITY_EXCEPTION",
            "Related To ID: a task that is about a lead cannot be related to another record",
            fields=("WhatId",),
        )


def complete(state: State, change: Change, row: dict[str, Any]) -> None:
    """Fill what follows from status, priority and what the task is about."""
    row["IsClosed"] = int(row["Status"] == "Completed")
    row["IsHighPriority"] = int(row["Priority"] == "High")
    row["TaskSubtype"] = row.get("TaskSubtype") or "Task"
    row["CompletedDateTime"] = (row.get("CompletedDateTime") or state.moment()) if row["IsClosed"] else None
    row["AccountId"] = None
    for about in (row.get("WhoId"), row.get("WhatId")):
        name = OBJECT_OF[about[:3]] if about else ""
        if name == "Account":
            row["AccountId"] = about
        elif name in {"Contact", "Opportunity"}:
            found = change.rows(f'SELECT "AccountId" FROM "{name}" WHERE "Id" = ?', (about,))
            row["AccountId"] = found[0]["AccountId"] if found else None


def note(state: State, change: Change, task: dict[str, Any]) -> None:
    """Move LastActivityDate and SystemModstamp of what a finished task is about."""
    if not task["IsClosed"]:
        return
    for about in {task.get("WhoId"), task.get("WhatId"), task["AccountId"]} - {None}:
        sobject = state.objects[OBJECT_OF[about[:3]]]
        row = state.existing(change, sobject, about, deleted=True)
        days = [day for day in (row["LastActivityDate"], task.get("ActivityDate")) if day is not None]
        moved = {"LastActivityDate": max(days, default=None), "SystemModstamp": state.moment()}
        set_columns(change, sobject, about, moved)
