from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agi_server.errors import DirectoryError
from storage.backup import backup, check_integrity, restore
from storage.database import Database
from storage.directory import SqliteDirectory
from storage.migrate import HEAD, revision
from tests.storage.conftest import Query, log_of, mode, overwrite
from tests.storage.test_contacts import find


def names(path: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return [row[0] for row in connection.execute("SELECT extension FROM agents ORDER BY id")]


def damage(path: Path, table: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    overwrite(path, 4096 * (page - 1), b"\xaa" * 4096)


def test_a_copy_is_whole_private_and_shows_its_progress(path: Path, tmp_path: Path, query: Query) -> None:
    query("INSERT INTO audit (at, who, what) VALUES (1, '', zeroblob(9000000))")
    query("INSERT INTO agents (extension) VALUES ('201')")
    copy = tmp_path / "copy.db"
    copy.write_text("an older one")
    log_of(copy).write_text("and its log")
    seen: list[tuple[int, int]] = []
    backup(path, copy, lambda done, total: seen.append((done, total)))
    assert names(copy) == ["201"]
    assert check_integrity(copy, full=True) == []
    assert mode(copy) == 0o600
    assert len(seen) >= 3
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 2000
    assert sorted(file.name for file in tmp_path.iterdir() if "copy" in file.name) == ["copy.db"]


async def test_a_copy_is_made_while_others_write(database: Database, path: Path, tmp_path: Path) -> None:
    copying = asyncio.create_task(asyncio.to_thread(backup, path, tmp_path / "copy.db"))
    number = 0
    while not copying.done():
        number += 1
        await find(database, f"key{number}")
    await copying
    assert check_integrity(tmp_path / "copy.db", full=True) == []


def test_a_copy_that_cannot_be_made_leaves_nothing(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="cannot be written"):
        backup(path, tmp_path / "nowhere" / "copy.db")
    with pytest.raises(DirectoryError):
        backup(tmp_path / "none.db", tmp_path / "copy.db")
    assert [file.name for file in tmp_path.iterdir() if "copy" in file.name] == []


async def test_a_restore_is_seen_at_once_by_all_who_have_it_open(
    database: Database, directory: SqliteDirectory, path: Path, tmp_path: Path, query: Query
) -> None:
    copy = tmp_path / "copy.db"
    query("INSERT INTO agents (extension) VALUES ('old')")
    backup(path, copy)
    query("UPDATE agents SET extension = 'new'")
    await find(database, "lost")
    assert set(directory.policy().by_extension) == {"new"}
    await asyncio.to_thread(restore, copy, path)
    assert set(directory.policy().by_extension) == {"old"}
    assert (await find(database, "kept")).inserted  # through a connection that was open all the time
    assert query("SELECT key FROM contacts") == [("kept",)]
    assert names(path.with_name("ostiary.db.before-restore")) == ["new"]
    assert check_integrity(path, full=True) == []
    assert revision(path) == HEAD


def test_a_restored_policy_is_compiled_though_the_counts_agree(
    directory: SqliteDirectory, path: Path, tmp_path: Path, query: Query
) -> None:
    copy = tmp_path / "copy.db"
    backup(path, copy)
    query("INSERT INTO agents (extension) VALUES ('lost')")
    assert set(directory.policy().by_extension) == {"lost"}
    restore(copy, path)
    query("INSERT INTO agents (extension) VALUES ('after')")  # as many changes as before the restore
    assert set(directory.policy().by_extension) == {"after"}


@pytest.mark.parametrize("table", ["contacts", "sqlite_schema"])
def test_a_damaged_database_is_replaced_and_kept(
    path: Path, tmp_path: Path, query: Query, table: str
) -> None:
    query("INSERT INTO agents (extension) VALUES ('good')")
    copy = tmp_path / "copy.db"
    backup(path, copy)
    query("INSERT INTO agents (extension) VALUES ('bad')")
    if table == "contacts":
        damage(path, table)
    else:
        path.write_bytes(b"\xaa" * 20_000)
        log_of(path).write_bytes(b"what may save it yet")
    damaged = path.read_bytes()
    assert check_integrity(path, full=False) != []
    restore(copy, path)
    assert names(path) == ["good"]
    assert check_integrity(path, full=True) == []
    if table != "contacts":  # what can still be read is copied rather than moved
        assert path.with_name("ostiary.db.before-restore").read_bytes() == damaged
        assert path.with_name("ostiary.db.before-restore-wal").read_bytes() == b"what may save it yet"


def test_a_restore_into_nothing(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "fresh" / "ostiary.db"
    restore(path, target)
    assert revision(target) == HEAD
    assert mode(target.parent) == 0o700


async def test_what_is_no_sound_copy_is_refused(database: Database, path: Path, tmp_path: Path) -> None:
    await find(database, "kept")
    other = tmp_path / "other.db"
    with pytest.raises(DirectoryError, match="no such file"):
        restore(other, path)
    other.write_bytes(b"text " * 1000)
    with pytest.raises(DirectoryError, match="no SQLite database"):
        restore(other, path)
    other.unlink()
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE contacts (id)")
    with pytest.raises(DirectoryError, match="no database of Ostiary"):
        restore(other, path)
    backup(path, other)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(DirectoryError, match="newer Ostiary"):
        restore(other, path)
    backup(path, other)
    damage(other, "phones")
    with pytest.raises(DirectoryError, match="it is damaged"):
        restore(other, path)
    assert not (await find(database, "kept")).inserted
    assert not path.with_name("ostiary.db.before-restore").exists()


def test_what_is_wrong_is_said_in_words(path: Path, tmp_path: Path, query: Query) -> None:
    assert check_integrity(path, full=False) == check_integrity(path, full=True) == []
    query("INSERT INTO phones (number, contact_id) VALUES (49, 7)")
    assert check_integrity(path, full=False) == ["a row of phones refers to a row of contacts that is gone"]
    query("DELETE FROM phones")
    damage(path, "phones")
    assert check_integrity(path, full=False) != []
    assert check_integrity(tmp_path / "none.db", full=True) == [f"{tmp_path / 'none.db'} is not there"]
