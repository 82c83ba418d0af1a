from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.house import House, house


@pytest_asyncio.fixture
async def ostiary(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, deadline=30) as running:
        yield running
