"""The HTTP side, asked without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.web.front import Front, open_front


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """Return an application over a database with a few people in it (`tests.house`)."""
    async with open_front(tmp_path) as opened:
        yield opened
