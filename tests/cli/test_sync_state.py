"""The finding `sync` of `ostiary check`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server.cli.sync_state import sync
from agi_server.salesforce.report import STATE, Report
from agi_server.settings import Settings
from storage import outbox, salesforce_state
from storage.database import Database
from storage.migrate import migrate
from storage.schema import outbox as table
from storage.sync import note_unread

NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time go by."""
    monkeypatch.setattr("agi_server.cli.sync_state.time", SimpleNamespace(time=lambda: NOW))


def settings_of(directory: Path, **more: Any) -> Settings:
    return Settings.model_validate(
        {"storage": {"state_directory": directory}, "salesforce": {"enabled": True, **more}}
    )


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path}/ostiary.db"
    await migrate(url)
    opened = await Database.open(url)
    yield opened
    await opened.close()


async def keep(database: Database, report: Report) -> None:
    await database.write(lambda conn: salesforce_state.put(conn, STATE, report.kept(), NOW))


async def found(directory: Path, **more: Any) -> tuple[str, str]:
    finding = await sync(settings_of(directory, **more))
    return str(finding.verdict), f"{finding.text} {finding.hint}"


async def test_off_and_nothing_there(tmp_path: Path) -> None:
    assert await found(tmp_path, enabled=False) == ("off", "salesforce.enabled is false ")
    assert (await found(tmp_path))[0] == "off"


@pytest.mark.usefixtures("database")
async def test_never_tried(tmp_path: Path) -> None:
    verdict, text = await found(tmp_path)
    assert verdict == "warn"
    assert "ostiary sync" in text


async def test_all_is_well(database: Database, tmp_path: Path) -> None:
    report = Report(None, NOW)
    report.usage = (120, 100_000)
    report.succeeded(NOW - 300)
    await keep(database, report)
    verdict, text = await found(tmp_path)
    assert verdict == "ok"
    for part in ("in step 5 min ago", "120 of 100000 API calls", "to be written: 0, refused: 0"):
        assert part in text


async def test_what_is_not_read_is_said(database: Database, tmp_path: Path) -> None:
    report = Report(None, NOW)
    report.notes = ["no object has the field VIP__c"]
    report.succeeded(NOW)
    await keep(database, report)
    verdict, text = await found(tmp_path)
    assert (verdict, "VIP__c" in text) == ("ok", True)


async def test_no_round_for_long(database: Database, tmp_path: Path) -> None:
    report = Report(None, NOW)
    report.succeeded(NOW - 3600)
    await keep(database, report)
    assert (await found(tmp_path))[0] == "warn"
    assert (await found(tmp_path, sync_interval=3600))[0] == "ok"


@pytest.mark.parametrize(
    ("kind", "ok_at", "verdict"),
    [
        ("down", NOW - 300, "warn"),
        ("down", NOW - 86400, "FAIL"),
        ("down", 0, "FAIL"),
        ("login", NOW - 300, "FAIL"),
        ("part", NOW - 300, "warn"),
    ],
)
async def test_the_last_round_failed(
    database: Database, tmp_path: Path, kind: str, ok_at: int, verdict: str
) -> None:
    report = Report(None, NOW)
    if ok_at:
        report.succeeded(ok_at)
    report.failed(kind, "it says no", NOW - 7200)
    report.failed(kind, "it says no", NOW - 60)
    await keep(database, report)
    got, text = await found(tmp_path)
    assert got == verdict
    assert "it says no (for 2 h)" in text
    assert ("never in step yet" in text) is (not ok_at)


async def test_what_waits_is_counted(database: Database, tmp_path: Path) -> None:
    report = Report(None, NOW)
    report.succeeded(NOW)
    await keep(database, report)

    async def job(conn: AsyncConnection) -> None:
        for number in (1, 2):
            await conn.execute(
                table.insert().values(
                    kind="contact", contact_id=None, payload={}, created_at=NOW - 600 * number
                )
            )
        await note_unread(conn, [], [("003000000000001AAA", "Contact", "Phone", "ask reception")])

    await database.write(job)
    verdict, text = await found(tmp_path)
    assert verdict == "ok"
    assert "to be written: 2 (the oldest for 20 min), refused: 0" in text
    assert "dialled: 1" in text
    await database.write(lambda conn: outbox.park(conn, 1, "no"))
    verdict, text = await found(tmp_path)
    assert verdict == "warn"
    assert "refused: 1" in text
    assert "ostiary outbox list --parked" in text
