"""The token file: durable, private, and never half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from agi_server.errors import SalesforceDown, SalesforceLoginError
from agi_server.salesforce import tokens
from agi_server.salesforce.tokens import FILE, NEW, Stored

TOKEN = Stored("5Aep861-first", "key", "https://acme.my.salesforce.com")
NEXT = Stored("5Aep861-next", "key", "https://acme.my.salesforce.com")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def test_nothing_is_stored_at_first(tmp_path: Path) -> None:
    assert tokens.load(tmp_path) is None
    assert tokens.mark(tmp_path) == (0, 0)


def test_what_is_stored_is_found(tmp_path: Path) -> None:
    tokens.store(tmp_path, TOKEN)
    first = tokens.mark(tmp_path)
    tokens.store(tmp_path, NEXT)
    assert tokens.load(tmp_path) == NEXT
    assert tokens.mark(tmp_path) != first
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == [FILE]


def test_it_does_not_show_itself() -> None:
    assert "5Aep861" not in repr(TOKEN) + str(TOKEN)


def test_it_is_durable_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        steps.append("fsync " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        steps.append(f"rename {self.name} {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    tokens.store(tmp_path, TOKEN)
    assert steps == [f"fsync {NEW}", f"rename {NEW} {FILE}", f"fsync {tmp_path.name}"]


@pytest.mark.parametrize("moment", ["write", "fsync", "replace", "after"])
def test_killed_while_storing(tmp_path: Path, moment: str) -> None:
    """Whatever the moment, the file holds a whole token; from the moment it is complete, the new one."""
    tokens.store(tmp_path, TOKEN)
    program = f"""
import os, signal, sys
from pathlib import Path
from agi_server.salesforce import tokens

def die(*_): os.kill(os.getpid(), signal.SIGKILL)

class Os:
    def __getattr__(self, name): return getattr(os, name)
fake = Os()
if {moment!r} == "write":
    fake.write = lambda fd, data: (os.write(fd, data[:20]), die())
if {moment!r} == "fsync":
    fake.fsync = die
tokens.os = fake
if {moment!r} == "replace":
    Path.replace = die
tokens.store(Path(sys.argv[1]), tokens.Stored("5Aep861-next", "key", "https://acme.my.salesforce.com"))
die()
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert tokens.load(tmp_path) == (TOKEN if moment == "write" else NEXT)
    tokens.store(tmp_path, Stored("5Aep861-third", "key", "https://acme.my.salesforce.com"))
    found = tokens.load(tmp_path)
    assert found is not None
    assert found.refresh_token == "5Aep861-third"


@pytest.mark.parametrize("content", ["", "{", "[]", '"5Aep861"', '{"refresh_token": "5Aep861"}', "\xff\0"])
def test_a_file_that_is_none_of_ours(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content, encoding="latin-1")
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(
        SalesforceLoginError, match=r"not a token file.*ostiary salesforce authorise"
    ) as caught:
        tokens.load(tmp_path)
    assert "5Aep861" not in str(caught.value)


def test_a_file_others_can_read(tmp_path: Path) -> None:
    tokens.store(tmp_path, TOKEN)
    (tmp_path / FILE).chmod(0o640)
    with pytest.raises(SalesforceLoginError, match=r"read by others \(mode 0640\)"):
        tokens.load(tmp_path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    tokens.store(tmp_path / "elsewhere", TOKEN)
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere" / FILE)
    with pytest.raises(SalesforceLoginError, match="cannot be used"):
        tokens.load(tmp_path)


def test_a_directory_in_the_way(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(SalesforceLoginError, match="cannot be used"):
        tokens.store(tmp_path, TOKEN)


@needs_root
def test_root_stores_for_the_owner_of_the_directory(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4712)
    with tokens.locked(tmp_path, wait=10):
        tokens.store(tmp_path, TOKEN)
    for name in (FILE, tokens.LOCK):
        found = (tmp_path / name).stat()
        assert (found.st_uid, found.st_gid) == (4711, 4712)
    assert tokens.load(tmp_path) == TOKEN


@needs_root
def test_a_file_of_somebody_else(tmp_path: Path) -> None:
    tokens.store(tmp_path, TOKEN)
    os.chown(tmp_path / FILE, 4711, 4711)
    with pytest.raises(SalesforceLoginError, match="belongs to uid 4711"):
        tokens.load(tmp_path)


@needs_root
def test_a_file_the_service_cannot_read() -> None:
    program = """
import os, sys
from pathlib import Path
from agi_server.errors import SalesforceLoginError
from agi_server.salesforce import tokens
os.setuid(4711)
try:
    tokens.load(Path(sys.argv[1]))
except SalesforceLoginError as error:
    print(error)
"""
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to other users
        Path(name).chmod(0o755)
        tokens.store(Path(name), TOKEN)
        done = subprocess.run(
            [sys.executable, "-c", program, name], capture_output=True, text=True, check=True
        )
    assert "cannot be used by uid 4711 (Permission denied)" in done.stdout


def test_one_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with tokens.locked(tmp_path, wait=30):
            order.append("second")

    with tokens.locked(tmp_path, wait=10):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(tokens.LOOK * 2)  # it may look in vain meanwhile
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_the_lock_is_not_waited_for_without_end(tmp_path: Path) -> None:
    with (
        tokens.locked(tmp_path, wait=10),
        pytest.raises(SalesforceDown, match="another process"),
        tokens.locked(tmp_path, wait=0.1),
    ):
        pass
