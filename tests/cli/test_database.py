"""`ostiary migrate`, `ostiary backup`, `ostiary restore`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest

from agi_server.errors import OstiaryError
from storage.migrate import HEAD
from tests.cli.conftest import Ostiary


def patterns(ostiary: Ostiary) -> list[str]:
    return [rule["pattern"] for rule in json.loads(ostiary("blacklist", "list", "--json").stdout)]


def test_migrate_makes_the_database_once(ostiary: Ostiary, state: Path) -> None:
    assert f"new -> {HEAD}" in ostiary("migrate").stdout
    assert (state / "ostiary.db").exists()
    assert f"at revision {HEAD} already" in ostiary("migrate").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_service(ostiary: Ostiary, state: Path) -> None:
    os.chown(state, 12345, 12345)
    ostiary("blacklist", "add", "+4930123456")
    assert {(file.stat().st_uid, file.stat().st_gid) for file in state.glob("ostiary.db*")} == {
        (12345, 12345)
    }
    ostiary("backup", str(state / "copy"))
    ostiary("restore", str(state / "copy"), "--yes")
    assert {(file.stat().st_uid, file.stat().st_gid) for file in state.glob("ostiary.db*")} == {
        (12345, 12345)
    }


def test_backup_and_restore(ostiary: Ostiary, tmp_path: Path) -> None:
    ostiary("blacklist", "add", "+4930111111")
    copy = tmp_path / "copy.db"
    assert str(copy) in ostiary("backup", str(copy)).stdout
    ostiary("blacklist", "add", "+4930222222")
    ostiary("restore", str(copy), "--yes")
    assert patterns(ostiary) == ["+4930111111"]


def test_backup_does_not_overwrite_unasked(ostiary: Ostiary, tmp_path: Path) -> None:
    ostiary("migrate")
    copy = tmp_path / "copy.db"
    copy.write_text("precious")
    assert "--force" in str(ostiary("backup", str(copy), code=1).exception)
    assert copy.read_text() == "precious"
    ostiary("backup", str(copy), "--force")
    with sqlite3.connect(copy) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_backup_of_nothing_says_so(ostiary: Ostiary, tmp_path: Path) -> None:
    result = ostiary("backup", str(tmp_path / "copy.db"), code=1)
    assert isinstance(result.exception, OstiaryError)
    assert not (tmp_path / "copy.db").exists()


def test_restore_asks(ostiary: Ostiary, tmp_path: Path) -> None:
    ostiary("blacklist", "add", "+4930111111")
    copy = tmp_path / "copy.db"
    ostiary("backup", str(copy))
    ostiary("blacklist", "add", "+4930222222")
    ostiary("restore", str(copy), typed="n\n", code=1)
    assert len(patterns(ostiary)) == 2
    ostiary("restore", str(copy), typed="y\n")
    assert len(patterns(ostiary)) == 1


@pytest.mark.parametrize("content", [None, b"", b"not a database", b"SQLite format 3\0" + b"\xff" * 4096])
def test_restore_of_rubbish_changes_nothing(ostiary: Ostiary, tmp_path: Path, content: bytes | None) -> None:
    ostiary("blacklist", "add", "+4930111111")
    copy = tmp_path / "copy.db"
    if content is not None:
        copy.write_bytes(content)
    assert isinstance(ostiary("restore", str(copy), "--yes", code=1).exception, OstiaryError)
    assert patterns(ostiary) == ["+4930111111"]


def test_restore_refuses_while_calls_are_answered(ostiary: Ostiary, config: Path, tmp_path: Path) -> None:
    ostiary("blacklist", "add", "+4930111111")
    copy = tmp_path / "copy.db"
    ostiary("backup", str(copy))
    listen = next(line for line in config.read_text().splitlines() if line.startswith("listen"))
    port = int(listen.strip('"').rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        assert "systemctl stop" in str(ostiary("restore", str(copy), "--yes", code=1).exception)
    ostiary("restore", str(copy), "--yes")


def test_backup_while_the_server_runs(
    ostiary: Ostiary, server: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    ostiary("blacklist", "add", "+4930111111")
    ostiary("backup", str(tmp_path / "copy.db"))
    assert server.poll() is None
    shutil.copy(tmp_path / "copy.db", tmp_path / "other.db")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        assert connection.execute("SELECT pattern FROM blacklist").fetchall() == [("+4930111111",)]
    connection.close()
