"""An empty org, the same one over HTTP, and a plain client that is let in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import pytest
import requests

from tests.org.records import Org
from tests.org.server import OrgServer, running


class Api(requests.Session):
    """Asks paths relative to the REST API's, with an access token."""

    def __init__(self, server: OrgServer, version: str = "64.0") -> None:
        super().__init__()
        self.trust_env = False
        self.base = f"{server.url}/services/data/v{version}/"
        self.headers["Authorization"] = f"Bearer {server.oauth.open_session('test')}"

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        return super().request(method, urljoin(self.base, url), *args, **({"timeout": 60} | options))


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
def api(org_server: OrgServer) -> Iterator[Api]:
    with Api(org_server) as session:
        yield session
