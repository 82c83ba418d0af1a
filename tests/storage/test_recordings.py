from __future__ import annotations

from functools import partial

from storage.calls import record_calls
from storage.database import Database
from storage.recordings import AGAIN, Recorded, forget_recordings, heard, recorded
from tests.storage.conftest import NOW, Query


async def test_calls_with_a_recording_come_in_pages(database: Database) -> None:
    calls = [
        {"id": name, "started_at": NOW + at, "recording": file}
        for name, at, file in (("b", 1, "b"), ("a", 1, "a.wav"), ("c", 2, ""), ("d", 3, "d"), ("e", 9, "e"))
    ]
    await database.write(lambda conn: record_calls(conn, calls))
    first = await database.read(lambda conn: recorded(conn, before=NOW + 9, limit=2))
    assert first == [Recorded("a", "a.wav", NOW + 1), Recorded("b", "b", NOW + 1)]
    after = first[-1].started_at, first[-1].call_id
    rest = await database.read(lambda conn: recorded(conn, before=NOW + 9, after=after, limit=2))
    assert [each.call_id for each in rest] == ["d"]


async def test_forgotten_recordings_are_noted_once(database: Database, query: Query) -> None:
    calls = [{"id": name, "started_at": NOW, "recording": name} for name in ("a", "b")]
    await database.write(lambda conn: record_calls(conn, calls))
    for names, deleted in ((["a"], 1), ([], 0)):
        job = partial(forget_recordings, call_ids=names, who="retention", deleted=deleted, now=NOW)
        await database.write(job)
    assert query("SELECT id FROM calls WHERE recording <> ''") == [("b",)]
    assert query('SELECT what, "before" FROM audit') == [("recordings.forget", '{"count": 1}')]


async def test_who_listens_on_is_noted_once(database: Database, query: Query) -> None:
    for who, call, at in (
        ("user:ana", "a", NOW),
        ("user:ana", "a", NOW + AGAIN - 1),
        ("user:ben", "a", NOW),
        ("user:ana", "b", NOW),
        ("user:ana", "a", NOW + AGAIN),
    ):
        await database.write(partial(heard, call_id=call, who=who, now=at))
    assert query("SELECT who, json_extract(\"after\", '$.id'), at FROM audit ORDER BY id") == [
        ("user:ana", "a", NOW),
        ("user:ben", "a", NOW),
        ("user:ana", "b", NOW),
        ("user:ana", "a", NOW + AGAIN),
    ]
