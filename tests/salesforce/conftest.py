"""An org that listens, the settings that reach it, and a client of ours that is let in."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agi_server.salesforce.client import Client
from agi_server.settings import Salesforce
from storage.database import Database
from storage.migrate import migrate
from tests.org.records import Org
from tests.org.server import OrgServer, running
from tests.salesforce.desk import Desk

Section = Callable[..., Salesforce]


@pytest.fixture
def org() -> Iterator[Org]:
    made = Org()
    yield made
    made.close()


@pytest.fixture
def org_server(org: Org) -> Iterator[OrgServer]:
    with running(org) as server:
        yield server


@pytest.fixture
def section(org_server: OrgServer, tmp_path: Path) -> Section:
    """Return the settings of a flow, with changes: `section("jwt-bearer", timeout=5)`."""

    def make(flow: str = "client-credentials", **changes: Any) -> Salesforce:
        return Salesforce.model_validate(org_server.settings(flow, tmp_path) | changes)

    return make


@pytest.fixture
def client(section: Section, tmp_path: Path) -> Iterator[Client]:
    with Client(section(), tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def empty_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "ostiary.db"
    asyncio.run(migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture
async def desk(empty_directory: Path, tmp_path: Path) -> AsyncIterator[Desk]:
    shutil.copy(empty_directory, tmp_path / "ostiary.db")
    with closing(Org(person_accounts=True)) as org, running(org) as server:
        database = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'ostiary.db'}")
        made = Desk(tmp_path, org, server, database)
        yield made
        for client in made.clients:
            client.close()
        await database.close()
