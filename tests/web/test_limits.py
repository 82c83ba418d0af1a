"""Bodies are bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agi_server.web import limits
from tests.web.front import Front


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST", 10_000)
    monkeypatch.setattr(limits, "FILES", 50_000)


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 1000


@pytest.mark.parametrize("path", ["/log-in", "/api/v1/decisions", "/api/v1/agents/101", "/nowhere"])
async def test_a_large_body_is_refused_before_anyone_is_known(front: Front, path: str) -> None:
    web = await front.client()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await web.post(path, content=b"x" * 10_001, headers=form)).status_code == 413
    assert (await web.post(path, content=b"x" * 9_999, headers=form)).status_code != 413


async def test_a_body_of_unknown_length_is_counted(front: Front) -> None:
    web = await front.client()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await web.post("/log-in", content=pieces(11), headers=form)).status_code == 413
    assert (await web.post("/log-in", content=pieces(9), headers=form)).status_code == 422


async def test_files_may_be_larger(front: Front) -> None:
    admin = await front.client_as("admin")
    text = b"Pattern\n" + b"+49301234\n" * 3_000
    answer = await admin.post("/api/v1/blacklist/bulk", content=text, headers={"Content-Type": "text/csv"})
    assert answer.status_code != 413
    answer = await admin.post(
        "/api/v1/blacklist/bulk", content=text * 2, headers={"Content-Type": "text/csv"}
    )
    assert answer.status_code == 413
