"""A PBX for a test, and certificates."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.ami.server import FakePbx, pbx
from tests.events.authority import Authority, make_authority


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[FakePbx]:
    """Return a PBX that is up."""
    async with pbx() as running:
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return a certificate for 127.0.0.1 and who vouches for it."""
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def tls(authority: Authority) -> ssl.SSLContext:
    """Return the PBX's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    return context
