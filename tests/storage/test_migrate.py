from __future__ import annotations

import asyncio
import multiprocessing
import re
import sqlite3
import subprocess
import sys
import threading
import warnings
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

import storage.migrate
from agi_server.errors import DirectoryError, SettingsError
from storage.migrate import HEAD, _create, _write_ahead, migrate, revision
from storage.schema import SEARCH, metadata
from tests.storage.conftest import Query, mode, overwrite, url_of


async def test_a_fresh_database_is_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "ostiary.db"
    await migrate(url_of(path))
    assert revision(path) == HEAD
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_the_second_time_nothing_happens(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA data_version").fetchone()
        await migrate(url_of(path))
        assert connection.execute("PRAGMA data_version").fetchone() == version


async def test_without_anything_to_do_alembic_is_not_imported(path: Path) -> None:
    code = (
        "import asyncio, sys; from storage.migrate import migrate; from storage.database import Database\n"
        f"asyncio.run(migrate({url_of(path)!r})); assert 'alembic' not in sys.modules"
    )
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("attempt", range(3))
def test_two_processes_at_once(tmp_path: Path, attempt: int) -> None:
    path = tmp_path / f"{attempt}.db"
    code = (
        "import asyncio, sys; from storage.migrate import migrate; print(flush=True); sys.stdin.read(1)\n"
        f"asyncio.run(migrate({url_of(path)!r}))"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:  # both are ready: now
        assert child.stdin is not None
        child.stdin.write(b"g")
        child.stdin.flush()
    assert [(child.communicate()[1], child.returncode) for child in children] == [(b"", 0)] * 2
    assert revision(path) == HEAD


def make_each(paths: list[Path], barrier: threading.Barrier) -> None:
    for path in paths:
        barrier.wait(timeout=60)
        _create(path)
        _write_ahead(path)


def test_processes_that_make_one_file_at_the_same_moment(tmp_path: Path) -> None:
    """Without the wait in `_write_ahead`, about one file in five fails here."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(4)
    paths = [tmp_path / f"{number}.db" for number in range(60)]
    children = [spawn.Process(target=make_each, args=(paths, barrier)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4


def objects(connection: sqlite3.Connection) -> dict[tuple[str, str], list[object]]:
    """Return every table and index: its words (the order of constraints means nothing) and its columns."""
    rows = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE type <> 'trigger' AND sql IS NOT NULL"
    )
    return {
        (kind, name): [
            sorted(re.findall(r"[^\s,()]+", sql)),
            connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)).fetchall(),
        ]
        for kind, name, sql in rows
        if "alembic" not in name and not name.startswith(SEARCH)
    }


def test_the_migrated_schema_is_that_of_the_models(path: Path, tmp_path: Path) -> None:
    models = create_engine(f"sqlite:///{tmp_path / 'models.db'}")
    metadata.create_all(models)
    models.dispose()
    with (
        closing(sqlite3.connect(path)) as migrated,
        closing(sqlite3.connect(tmp_path / "models.db")) as modelled,
    ):
        assert objects(migrated) == objects(modelled)
    engine = create_engine(url_of(path).replace("+aiosqlite", ""))
    with engine.connect() as connection, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*expression-based index")  # compared as text above
        options = {"include_name": lambda name, *_: not (name or "").startswith(SEARCH)}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    engine.dispose()


def test_head_is_the_newest_step() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(storage.migrate.__file__).with_name("migrations")))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


OLD_ROWS = [
    "INSERT INTO accounts VALUES (1, '001A', 'Firm')",
    "INSERT INTO owners VALUES (1, '005A', 'o@x', 'Olga')",
    (
        "INSERT INTO contacts VALUES "
        "(7, '003A', '5', 'dni', 'Contact', 'Ana', 'Ana', 'B', 'a@x', 1, 1, 1, 9, 'insert', 8), "
        "(9, NULL, '', NULL, 'Account', 'Firm', '', '', '', NULL, NULL, 0, 0, 'import', 0)"
    ),
    (
        "INSERT INTO phones VALUES (493012345671, 7, 'Phone', '030 12345671'), (493012345671, 9, 'Phone', NULL), "
        "(351210000001, 9, 'Fax', NULL)"
    ),
    "INSERT INTO local_phones VALUES ('4567', 7, 'Fax', 4567, NULL)",
    "INSERT INTO switchboards VALUES (4930123, 9, 49301230, 1)",
    "INSERT INTO agents VALUES (1, 'Agent', 'o@x', '201', '005A', 'Mo', 'UTC', 5, NULL, 20, '')",
    "INSERT INTO blacklist VALUES (1, 'prefix', '+882', 0, '', 'busy', '', 'why', 0, 'ana', 5, 3, 4)",
    "INSERT INTO dids (did, region) VALUES ('4930', 'DE')",
    "INSERT INTO calls (id, started_at, contact_id, trace) VALUES ('x', 5, 7, '[]')",
    "INSERT INTO outbox (id, kind, contact_id, payload, error) VALUES (3, 'contact', 7, '{}', '503')",
    "INSERT INTO audit (at, who, what) VALUES (1, 'ana', 'blacklist.add')",
    "INSERT INTO settings VALUES ('naming.enabled', 'true', 5, 'ana')",
    "INSERT INTO users (name, password_hash) VALUES ('ana', 'x')",
    "INSERT INTO contacts (id) VALUES (50)",
    "DELETE FROM contacts WHERE id = 50",
]


async def test_an_upgrade_keeps_every_row(tmp_path: Path) -> None:
    path = tmp_path / "ostiary.db"
    config = Config()
    config.set_main_option("script_location", str(Path(storage.migrate.__file__).with_name("migrations")))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in OLD_ROWS:
            connection.exec_driver_sql(statement)
    engine.dispose()
    before = content(path)
    assert all(before[table] for table in before)
    await migrate(url_of(path))
    after = content(path)
    assert [str(row["words"]).split() for row in after[SEARCH]] == [
        ["Ana", "Ana", "B", "a@x", "Firm", "dni", "\ue0001"],
        ["Firm", "\ue000"],
    ]
    for table, rows in before.items():
        columns = rows[0].keys()
        kept = [{name: row[name] for name in columns} for row in after[table]]
        assert sorted(kept, key=str) == sorted(rows, key=str), table
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.execute("INSERT INTO contacts (name) VALUES ('new')")
        assert connection.execute("SELECT max(id) FROM contacts").fetchone() == (
            51,
        )  # 50 is never used again


def content(path: Path) -> dict[str, list[dict[str, object]]]:
    """Return the rows of every table of ours, column by column."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
        return {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")]
            for (name,) in names.fetchall()
            if name != "alembic_version"
        }


async def test_a_newer_database_is_refused(path: Path, query: Query) -> None:
    query("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DirectoryError, match="install the newer Ostiary"):
        await migrate(url_of(path))


async def test_no_database_at_all_is_refused(path: Path) -> None:
    overwrite(path, 0, b"not a database, but longer than a header of SQLite's" * 100)
    with pytest.raises(DirectoryError, match="restore a backup"):
        await migrate(url_of(path))


@pytest.mark.parametrize(
    "url", ["postgresql+asyncpg://host/ostiary", "sqlite+aiosqlite://", "nonsense", "sqlite:///x?a=b"]
)
async def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"storage\.url"):
        await migrate(url)


TABLES = [
    ("agents", "INSERT INTO agents (extension) VALUES ('201')", "UPDATE agents SET hours = 'Mo'"),
    ("dids", "INSERT INTO dids (did) VALUES ('100')", "UPDATE dids SET region = 'DE'"),
    (
        "settings",
        "INSERT INTO settings (key, value) VALUES ('naming.enabled', 'true')",
        "UPDATE settings SET value = 'false'",
    ),
    (
        "blacklist",
        "INSERT INTO blacklist (kind, pattern) VALUES ('prefix', '+49')",
        "UPDATE blacklist SET did = '1'",
    ),
]


@pytest.mark.parametrize(("table", "insert", "update"), TABLES)
def test_every_change_of_a_small_table_is_counted(query: Query, table: str, insert: str, update: str) -> None:
    for count, statement in enumerate([insert, update, f"DELETE FROM {table}"], 1):
        query(statement)
        expected = {name: 0 for name, *_ in TABLES} | {table: count}
        assert dict(query("SELECT name, value FROM revisions")) == expected


def test_counting_hits_is_no_change(query: Query) -> None:
    query("INSERT INTO blacklist (kind, pattern) VALUES ('prefix', '+49')")
    query("UPDATE blacklist SET hits = hits + 1, last_hit_at = 5")
    assert query("SELECT value FROM revisions WHERE name = 'blacklist'") == [(1,)]
