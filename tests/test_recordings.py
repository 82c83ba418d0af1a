"""Which file a recording is, and how long it is kept."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from agi_server import recordings
from agi_server.recordings import DAY, find, forget
from agi_server.settings import Settings
from storage.calls import record_calls
from storage.database import Database
from storage.migrate import migrate

AT = 1_795_284_000  # 2026-11-21T18:00:00Z
NAME = "external-101-+493023125010-20261121-190000-1795284000.17"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory of recordings, with a secret beside it, and one in it."""
    root = tmp_path / "monitor"
    for folder in (root / "2026/11/21", root / "2026/11/22", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    (tmp_path / "secret.wav").write_text("secret")
    (tmp_path / "elsewhere" / "x.wav").write_text("secret")
    (root / "passwords.txt").write_text("secret")
    return root


def put(directory: Path, name: str) -> Path:
    path = directory / name
    path.write_text("sound")
    return path


@pytest.mark.parametrize(
    ("file", "names"),
    [
        (f"{NAME}.wav", [NAME, f"{NAME}.wav", f"/var/spool/asterisk/monitor/{NAME}.wav", f"./{NAME}"]),
        (
            f"2026/11/21/{NAME}.wav",
            [
                NAME,
                f"{NAME}.wav",
                f"2026/11/21/{NAME}.wav",
                f"/var/spool/asterisk/monitor/2026/11/21/{NAME}.wav",
                f"/srv//pbx/monitor/2026/11/21/{NAME}",
            ],
        ),
        (f"2026/11/22/{NAME}.wav", [NAME]),  # the PBX is east of here
        (f"{NAME}.mp3", [NAME, f"{NAME}.wav", f"/x/{NAME}.mp3"]),  # converted since
        (f"{NAME}.WAV", [f"{NAME}.WAV"]),
        ("x.gsm", ["x"]),
        ("x.ogg", ["x.ogg"]),
    ],
)
def test_a_recording_is_found_as_pbxs_name_it(directory: Path, file: str, names: list[str]) -> None:
    path = put(directory, file)
    for name in names:
        assert find(directory, name, AT) == path.resolve(), name
    assert find(directory, str(path), AT) == path.resolve()


def test_the_exact_name_wins(directory: Path) -> None:
    put(directory, "2026/11/21/x.wav")
    path = put(directory, "x.wav")
    put(directory, "x.mp3")
    assert find(directory, "x", AT) == path.resolve()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        ".",
        "nothing",
        "../secret",
        "../secret.wav",
        "2026/../../secret.wav",
        "passwords.txt",
        "passwords",
        "link",
        "folder/x",
        "circle",
        "named.wav",
        "2026",
        "x\0.wav",
        "x" * 300,
        "a/" * 3000 + "x.wav",
    ],
)
def test_nothing_else_is(directory: Path, name: str) -> None:
    (directory / "link.wav").symlink_to(directory.parent / "secret.wav")
    (directory / "named.wav").symlink_to(directory / "passwords.txt")
    (directory / "folder").symlink_to(directory.parent / "elsewhere")
    (directory / "circle.wav").symlink_to(directory / "circle.wav")
    (directory / "2026.wav").mkdir()
    assert find(directory, name, AT) is None


def test_a_link_that_stays_is_followed(directory: Path) -> None:
    path = put(directory, "2026/11/21/x.wav")
    (directory / "y.wav").symlink_to(path)
    assert find(directory, "y", AT) == path.resolve()


def test_without_a_directory_nothing_is_found(tmp_path: Path) -> None:
    assert find(tmp_path / "nowhere", "x", AT) is None


PIECES = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "//",
        "secret",
        ".wav",
        "elsewhere",
        "x",
        "monitor",
        "2026",
        "11",
        "21",
        "\0",
        "\\",
        "%2e",
        "ok",
    ]
)


@given(
    pieces=st.lists(PIECES | st.text(max_size=6), max_size=10), absolute=st.booleans(), slash=st.booleans()
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_name_nothing_outside_is_found(
    directory: Path, pieces: list[str], absolute: bool, slash: bool
) -> None:
    put(directory, "ok.wav")
    name = ("/" if slash else "").join(pieces)
    found = find(directory, f"{directory.parent}/{name}" if absolute else name, AT)
    assert found is None or found == (directory / "ok.wav").resolve()


# --- retention


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite+aiosqlite:///{tmp_path}/ostiary.db"
    await migrate(url)
    opened = await Database.open(url)
    yield opened
    await opened.close()


def kept(directory: Path | None, days: int) -> Settings:
    return Settings.model_validate({"recordings": {"directory": directory, "retention_days": days}})


async def journal(database: Database, **ages: int) -> None:
    """Note calls with recordings of their names, so many days ago."""
    now = int(time.time())
    rows = [
        {"id": name, "started_at": now - days * DAY - 60, "recording": f"{name}.wav"}
        for name, days in ages.items()
    ]
    await database.write(lambda conn: record_calls(conn, rows))


async def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    async def job(conn: AsyncConnection) -> list[tuple[object, ...]]:
        return [tuple(row) for row in await conn.exec_driver_sql(query)]

    return await database.read(job)


async def test_old_recordings_are_deleted(
    directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "BATCH", 2)
    await journal(database, a=10, b=11, c=12, gone=13, new=9, newest=0)
    for name in ("a", "b", "c", "new", "newest", "nobodys"):
        put(directory, f"{name}.wav")
    for _ in range(2):
        await forget(kept(directory, 10), database)
    assert sorted(path.name for path in directory.glob("*.wav")) == ["new.wav", "newest.wav", "nobodys.wav"]
    assert await rows(database, "SELECT id FROM calls WHERE recording <> '' ORDER BY id") == [
        ("new",),
        ("newest",),
    ]
    told = await rows(database, "SELECT who, what, json_extract(\"before\", '$.count') FROM audit")
    assert told == [("retention", "recordings.forget", 1), ("retention", "recordings.forget", 2)]


async def test_kept_for_ever_nothing_is_deleted(directory: Path, database: Database) -> None:
    await journal(database, a=10)
    path = put(directory, "a.wav")
    await forget(kept(directory, 0), database)
    await forget(kept(None, 1), database)
    assert path.exists()


async def test_a_share_that_is_not_mounted_loses_no_names(directory: Path, database: Database) -> None:
    await journal(database, a=10)
    empty = directory.parent / "mount"
    empty.mkdir()
    for place in (empty, directory.parent / "nowhere"):
        await forget(kept(place, 1), database)
    assert await rows(database, "SELECT recording FROM calls") == [("a.wav",)]


async def test_what_cannot_be_deleted_stays_on_record(
    directory: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal(database, a=10, b=10)
    for name in ("a", "b"):
        put(directory, f"{name}.wav")
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "a.wav":
            raise PermissionError(f"{path} belongs to root")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    await forget(kept(directory, 1), database)
    assert await rows(database, "SELECT recording FROM calls WHERE recording <> ''") == [("a.wav",)]
