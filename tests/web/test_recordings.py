"""Recordings over HTTP, for browsers and programs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agi_server.web.access import Scope
from storage.calls import record_calls
from tests.web.front import Front, open_front

SOUND = bytes(range(256)) * 20
HTML = {"Accept": "text/html"}


@pytest.fixture
async def heard(tmp_path: Path) -> AsyncIterator[Front]:
    """Return a front with a call that has a recording, one whose recording is gone, and one without."""
    directory = tmp_path / "monitor"
    directory.mkdir()
    (directory / "x.wav").write_bytes(SOUND)
    (tmp_path / "secret.wav").write_bytes(b"secret")
    async with open_front(tmp_path, more=f'[recordings]\ndirectory = "{directory}"\n') as front:
        now = int(front.clock())
        names = {
            "a b": "/var/spool/asterisk/monitor/x.wav",
            "gone": "y.wav",
            "none": "",
            "bad": "../secret.wav",
        }
        rows = [{"id": id_, "started_at": now, "recording": name} for id_, name in names.items()]
        await front.database.write(lambda conn: record_calls(conn, rows))
        yield front


async def test_a_recording_is_played_as_a_whole_and_in_parts(heard: Front) -> None:
    browser = await heard.client_as("viewer")
    whole = await browser.get("/recordings/a%20b")
    assert (whole.status_code, whole.content) == (200, SOUND)
    assert whole.headers["content-type"] == "audio/wav"
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["cache-control"] == "private, no-store"
    assert whole.headers["content-disposition"].startswith("inline")
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = await browser.get("/recordings/a%20b", headers={"Range": "bytes=1000-1099"})
    assert (part.status_code, part.content) == (206, SOUND[1000:1100])
    assert part.headers["content-range"] == f"bytes 1000-1099/{len(SOUND)}"
    tail = await browser.get("/recordings/a%20b", headers={"Range": "bytes=-16"})
    assert (tail.status_code, tail.content) == (206, SOUND[-16:])
    beyond = await browser.get("/recordings/a%20b", headers={"Range": f"bytes={len(SOUND)}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(SOUND)}"


async def test_who_listens_is_noted(heard: Front) -> None:
    browser, program = await heard.client_as("viewer"), await heard.client(Scope.READ)
    for _ in range(3):
        await browser.get("/recordings/a%20b", headers={"Range": "bytes=0-99"})
        await program.get("/api/v1/calls/a%20b/recording")
    await browser.get("/recordings/gone")
    noted = await heard.rows(
        "SELECT who, json_extract(\"after\", '$.id') FROM audit WHERE what = 'recordings.heard'"
    )
    assert sorted(map(tuple, noted)) == [("token:token 0", "a b"), ("user:viewer", "a b")]


async def test_programs_get_it_with_a_token_and_people_with_a_log_in(heard: Front) -> None:
    program = await heard.client(Scope.READ)
    answer = await program.get("/api/v1/calls/a%20b/recording", headers={"Range": "bytes=5-9"})
    assert (answer.status_code, answer.content) == (206, SOUND[5:10])
    assert (await program.get("/recordings/a%20b", headers=HTML)).status_code in {303, 401, 403}
    nobody = await heard.client()
    assert (await nobody.get("/api/v1/calls/a%20b/recording")).status_code == 401
    stranger = await nobody.get("/recordings/a%20b", headers=HTML)
    assert stranger.status_code == 303
    assert stranger.headers["location"].startswith("/log-in")
    wrong = await heard.client(Scope.DECIDE)
    assert (await wrong.get("/api/v1/calls/a%20b/recording")).status_code == 403


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("gone", "no recording, or no longer"),
        ("none", "no recording, or no longer"),
        ("bad", "no recording, or no longer"),
        ("never", "there is no call"),
    ],
)
async def test_what_is_not_there_says_why(heard: Front, call: str, why: str) -> None:
    program = await heard.client(Scope.READ)
    answer = await program.get(f"/api/v1/calls/{call}/recording")
    assert answer.status_code == 404
    assert why in answer.json()["detail"]
    browser = await heard.client_as("viewer")
    page = await browser.get(f"/recordings/{call}", headers=HTML)
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")


async def test_without_a_directory_none_is_served(front: Front) -> None:
    now = int(front.clock())
    row = {"id": "a", "started_at": now, "recording": "x.wav"}
    await front.database.write(lambda conn: record_calls(conn, [row]))
    answer = await (await front.client(Scope.READ)).get("/api/v1/calls/a/recording")
    assert answer.status_code == 404
    assert "recordings.directory" in answer.json()["detail"]


async def test_a_file_that_may_not_be_read_says_so(heard: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may read everything
    answer = await (await heard.client(Scope.READ)).get("/api/v1/calls/a%20b/recording")
    assert answer.status_code == 404
    assert "may not read it" in answer.json()["detail"]
