"""A database with nobody in it, and settings for call records."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agi_server.settings import Settings
from storage.database import Database
from storage.directory import SqliteDirectory
from storage.migrate import migrate


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "ostiary.db"
    asyncio.run(migrate(url_of(path)))
    return path


@pytest.fixture
async def database(template: Path, tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(url_of(Path(shutil.copy(template, tmp_path / "ostiary.db"))))
    yield opened
    await opened.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "cdr": {"csv_file": str(tmp_path / "Master.csv"), "timezone": "UTC", "settle": 10, "interval": 1},
            "numbers": {"region": "DE", "own_extensions": "10[0-9]"},
        }
    )


@pytest.fixture
def directory(database: Database, settings: Settings) -> Iterator[SqliteDirectory]:
    opened = SqliteDirectory(database.path, settings)
    yield opened
    opened.close()
