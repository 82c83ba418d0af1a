"""The page of the audit log."""

from __future__ import annotations

from typing import Any

from agi_server.web.console.audit import differences
from storage.audit import AuditRow, note
from tests.web.front import Front

HOSTILE = '<script>alert("x")</script>\u202e'


def row(before: dict[str, object] | None, after: dict[str, object] | None) -> AuditRow:
    return AuditRow(id=1, at=1, who="user:ana", what="agents.put", before=before, after=after)


def test_only_what_differs_is_shown_of_a_change() -> None:
    assert differences(row({"a": 1, "b": 2}, {"a": 1, "b": 3})) == [("b", 2, 3)]
    assert differences(row(None, {"a": 1, "b": None})) == [("a", None, 1), ("b", None, None)]
    assert differences(row({"a": 1}, None)) == [("a", 1, None)]
    assert differences(row({"a": 1}, {"a": 1, "b": 2})) == [("b", None, 2)]


async def test_changes_are_shown_as_text(front: Front) -> None:
    async def job(conn: Any) -> None:
        for number in range(60):
            after = {"pattern": f"+{number}", "reason": HOSTILE}
            now = 1000 + number
            await note(conn, who="extension:101", what="blacklist.add", before=None, after=after, now=now)

    await front.database.write(job)
    admin = await front.client_as("admin")
    shown = (await admin.get("/audit?who=extension:101")).text
    assert shown.count("<del>") == 0
    assert shown.count("<ins>") == 100  # two values of 50 changes
    assert HOSTILE not in shown
    assert "&lt;script&gt;" in shown
    assert 'rel="next"' in shown
    none = (await admin.get("/audit?what=blacklist&until=1970-01-01&since=1970-01-01")).text
    assert "<ins>" in none
    assert "<ins>" not in (await admin.get("/audit?since=2020-01-01&what=blacklist&who=extension:101")).text
    assert (await admin.get("/audit?since=nonsense&until=9999-12-31")).status_code == 200
    assert (await admin.get("/audit?cursor=nonsense")).status_code == 422


async def test_only_admins_see_it(front: Front) -> None:
    assert (await (await front.client_as("operator")).get("/audit")).status_code == 403
