"""A migrated database of its own for each test."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agi_server.calls.numbers import Number, NumberState
from agi_server.settings import Settings
from storage.database import Database
from storage.directory import SqliteDirectory
from storage.migrate import migrate

NOW = 1_800_000_000


def e164(number: int) -> Number:
    return Number(NumberState.E164, number, str(number), f"+{number}")


def local(digits: str) -> Number:
    return Number(NumberState.LOCAL, 0, digits, digits)


ANONYMOUS = Number(NumberState.ANONYMOUS)


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "ostiary.db"
    asyncio.run(migrate(url_of(path)))
    return path


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    """Return an empty, migrated database."""
    return Path(shutil.copy(template, tmp_path / "ostiary.db"))


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(url_of(path))
    yield opened
    await opened.close()


@pytest.fixture
def directory(path: Path) -> Iterator[SqliteDirectory]:
    opened = SqliteDirectory(path, Settings())
    yield opened
    opened.close()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink()


def log_of(path: Path) -> Path:
    """Return the write-ahead log."""
    return Path(f"{path}-wal")


def replace(path: Path, new: Path) -> None:
    """Put another database in the place of one, as an admin would who knows that the log belongs to the old one."""
    remove(log_of(path), Path(f"{path}-shm"))
    new.replace(path)


def overwrite(path: Path, start: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


Query = Callable[..., list[Any]]


@pytest.fixture
def query(path: Path) -> Query:
    """Return a function that runs SQL past all of the code under test."""

    def run(sql: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute(sql, values).fetchall()
            connection.commit()
            return rows

    return run
