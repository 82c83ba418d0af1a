"""An org that listens, the settings that reach it, and a client of ours that is let in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agi_server.salesforce.client import Client
from agi_server.settings import Salesforce
from tests.org.records import Org
from tests.org.server import OrgServer, running

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
