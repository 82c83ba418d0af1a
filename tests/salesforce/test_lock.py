"""One at a time, over processes, and nobody is left locked out by one that died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agi_server.errors import SalesforceBusy, SalesforceError
from agi_server.salesforce.lock import salesforce_lock

HOLD = """
import sys
from pathlib import Path
from agi_server.salesforce.lock import salesforce_lock
with salesforce_lock(Path(sys.argv[1]), 0):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Have another process hold the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_it_can_be_had_again_after_it_was_let_go(tmp_path: Path) -> None:
    for _ in range(2):
        with salesforce_lock(tmp_path, 0):
            pass


def test_another_process_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with (
        held_elsewhere(tmp_path) as other,
        pytest.raises(SalesforceBusy, match=rf"process {other.pid} .*ostiary sync"),
        salesforce_lock(tmp_path, 0),
    ):
        pytest.fail("two have it")


def test_it_ends_with_the_process_that_holds_it(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as other:
        os.kill(other.pid, signal.SIGKILL)
        with salesforce_lock(tmp_path, 20):
            pass


def test_two_threads_are_two(tmp_path: Path) -> None:
    """`flock` belongs to the open file, not to the process."""
    with (
        salesforce_lock(tmp_path, 0),
        pytest.raises(SalesforceBusy, match=f"process {os.getpid()} "),
        salesforce_lock(tmp_path, 0.01),
    ):
        pytest.fail("two have it")


def test_who_waits_gets_it(tmp_path: Path) -> None:
    taken, waiting = threading.Event(), threading.Event()

    def hold() -> None:
        with salesforce_lock(tmp_path, 0):
            taken.set()
            waiting.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(20)
    threading.Timer(0.05, waiting.set).start()
    with salesforce_lock(tmp_path, 20):
        assert waiting.is_set()
    holder.join()


def test_an_error_inside_lets_it_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), salesforce_lock(tmp_path, 0):
        _ = 1 / 0
    with salesforce_lock(tmp_path, 0):
        pass


def test_it_is_nobody_elses_file(tmp_path: Path) -> None:
    with salesforce_lock(tmp_path, 0):
        assert (tmp_path / "salesforce.lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: needs root")
def test_what_root_locks_the_service_can_lock_as_well(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with salesforce_lock(tmp_path, 0):
        found = (tmp_path / "salesforce.lock").stat()
    assert (found.st_uid, found.st_gid) == (65534, 65534)


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "no").write_text("a file")
    with pytest.raises(SalesforceError, match="must be able to write"), salesforce_lock(tmp_path / "no", 0):
        pytest.fail("held")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "shadow"
    target.write_text("root's")
    (tmp_path / "salesforce.lock").symlink_to(target)
    with pytest.raises(SalesforceError, match="cannot be opened"), salesforce_lock(tmp_path, 0):
        pytest.fail("held")
    assert target.read_text() == "root's"


def test_the_directory_is_made(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "ostiary"
    with salesforce_lock(directory, 0):
        assert (directory / "salesforce.lock").exists()
