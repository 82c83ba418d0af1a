"""Who changed what: read in pages, and forgotten in time."""

from __future__ import annotations

import pytest

from agi_server.errors import InputError
from storage.audit import AuditRow, forget_audit, note, page_audit
from storage.database import Database

ROWS = [
    ("user:ana", "blacklist.add"),
    ("user:ana", "blacklist.remove"),
    ("token:crm", "blacklist.add"),
    ("token:crm", "blacklisted"),
    ("user:ana", "agents.put"),
]


@pytest.fixture
async def noted(database: Database) -> Database:
    for at, (who, what) in enumerate(ROWS, 100):
        await database.write(
            lambda conn, at=at, who=who, what=what: note(  # type: ignore[misc]
                conn, who=who, what=what, before=None, after={"at": at}, now=at
            )
        )
    return database


async def found(database: Database, **wanted: object) -> list[int]:
    rows, _ = await database.read(
        lambda conn: page_audit(conn, **{"limit": 10, **wanted})  # type: ignore[arg-type]
    )
    return [row.at for row in rows]


async def test_pages_from_the_newest_on(noted: Database) -> None:
    rows, after = await noted.read(lambda conn: page_audit(conn, limit=2))
    assert rows[0] == AuditRow(5, 104, "user:ana", "agents.put", None, {"at": 104})
    pages = [[row.at for row in rows]]
    while after:
        rows, after = await noted.read(lambda conn, after=after: page_audit(conn, limit=2, after=after))  # type: ignore[misc]
        pages.append([row.at for row in rows])
    assert pages == [[104, 103], [102, 101], [100]]
    rows, after = await noted.read(lambda conn: page_audit(conn, limit=5))
    assert (len(rows), after) == (5, "")  # a full page that is the last


async def test_filters(noted: Database) -> None:
    assert await found(noted, who="token:crm") == [103, 102]
    assert await found(noted, what="blacklist.add") == [102, 100]
    assert await found(noted, what="blacklist") == [102, 101, 100]  # not `blacklisted`
    assert await found(noted, what="blacklist%") == []
    assert await found(noted, since=101, until=103) == [102, 101]
    assert await found(noted, who="user:ana", what="blacklist", since=101) == [101]


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "9" * 30, "²"])
async def test_a_cursor_that_is_none(noted: Database, cursor: str) -> None:
    with pytest.raises(InputError):
        await noted.read(lambda conn: page_audit(conn, limit=1, after=cursor))


async def test_forgetting(noted: Database) -> None:
    forgotten = [await noted.write(lambda conn: forget_audit(conn, 103, 2)) for _ in range(3)]
    assert forgotten == [2, 1, 0]
    assert await found(noted) == [104, 103]
