"""The units, as systemd reads them, and what they promise about the program."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agi_server.settings import FastAgi, Settings

UNITS = Path(__file__).parents[2] / "systemd"
MOST_EXPOSED = 20  # tenths, as in `systemd-analyze security --threshold`

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here"
)


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep case
    parser.read_string((UNITS / name).read_text())
    return parser


def seconds(text: str) -> float:
    number, suffix = re.fullmatch(r"(\d+)(ms|s|min)?", text).groups()  # type: ignore[union-attr]  # fails the test
    return int(number) * {"ms": 0.001, "min": 60}.get(suffix, 1)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Copies of the units whose program exists: systemd complains of one that does not."""
    shutil.copy(UNITS / "ostiary.socket", tmp_path)
    service = (UNITS / "ostiary.service").read_text()
    assert "ExecStart=/opt/ostiary/bin/ostiary serve\n" in service
    (tmp_path / "ostiary.service").write_text(service.replace("/opt/ostiary/bin/ostiary", "/bin/true"))
    return tmp_path


@needs_systemd
def test_systemd_finds_nothing_wrong(installed: Path) -> None:
    done = analyze(
        "verify",
        "--man=no",
        "--recursive-errors=yes",
        installed / "ostiary.service",
        installed / "ostiary.socket",
    )
    complaints = [line for line in done.stderr.splitlines() if "ostiary" in line]
    assert (done.returncode, complaints) == (0, [])


@needs_systemd
def test_exposure_is_low_and_as_documented() -> None:
    done = analyze(
        *("security", "--no-pager", "--offline=true", f"--threshold={MOST_EXPOSED}"),
        UNITS / "ostiary.service",
    )
    assert done.returncode == 0, done.stdout
    found = re.search(r"Overall exposure level for ostiary.service: (\S+ \w+)", done.stdout)
    assert found is not None
    # Each version of systemd weighs a little differently; the page names the one it speaks of.
    version = analyze("--version").stdout.split()[1]
    page = (UNITS / "README.md").read_text()
    assert f"systemd {version})" not in page or f"`{found[1]}`" in page


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not here")
def test_user_and_directories(tmp_path: Path) -> None:
    """Made in a root of its own; the owners are what matters."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\n")
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", UNITS / "sysusers.d/ostiary.conf"], check=True)
    subprocess.run(
        ["systemd-tmpfiles", "--create", f"--root={tmp_path}", UNITS / "tmpfiles.d/ostiary.conf"], check=True
    )
    name, _, uid, _, _, home, shell = (tmp_path / "etc/passwd").read_text().splitlines()[1].split(":")
    assert (name, home, shell) == ("ostiary", "/var/lib/ostiary", "/usr/sbin/nologin")
    state = (tmp_path / "var/lib/ostiary").stat()
    assert (oct(state.st_mode & 0o777), state.st_uid) == ("0o700", int(uid))
    assert oct((tmp_path / "etc/ostiary").stat().st_mode & 0o777) == "0o750"
    assert oct((tmp_path / "etc/ostiary/credentials").stat().st_mode & 0o777) == "0o700"


def test_the_service_fits_the_settings() -> None:
    service, settings = unit("ostiary.service")["Service"], Settings()
    assert (
        seconds(service["TimeoutStopSec"]) >= settings.fastagi.drain + 10
    )  # room for the parts behind the calls
    assert int(service["LimitNOFILE"]) > 2 * settings.fastagi.connections
    assert seconds(service["WatchdogSec"]) > 2 * settings.fastagi.deadline
    assert settings.storage.state_directory == Path("/var/lib") / service["StateDirectory"]


def test_the_socket_fits_the_settings() -> None:
    socket, settings = unit("ostiary.socket")["Socket"], FastAgi()
    assert socket["ListenStream"] == settings.listen
    assert int(socket["Backlog"]) == settings.backlog
    assert socket["FileDescriptorName"] == "fastagi"


def test_credentials_are_named_as_secrets_are() -> None:
    service = (UNITS / "ostiary.service").read_text()
    named = re.findall(r"^#LoadCredential=(\w+)\.(\w+):", service, re.MULTILINE)
    secrets = {
        (section, key.removesuffix("_file"))
        for section, field in Settings.model_fields.items()
        for key in getattr(field.annotation, "model_fields", {})
        if key.endswith("_file") and key.removesuffix("_file") in field.annotation.model_fields  # type: ignore[union-attr]
    }
    assert set(named) == secrets


def test_the_program_runs_without_writable_code() -> None:
    """MemoryDenyWriteExecute=yes, as the kernel's own switch does it (prctl(2) PR_SET_MDWE, Linux 6.3)."""
    code = """
import ctypes, mmap, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0:
    sys.exit(77)
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    sys.exit(78)
except OSError:
    pass
import asyncio, sqlite3, orjson, re2, uvloop
from pwdlib import PasswordHash
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
assert re2.compile("a(b|c)*d").search("xabcbd")
assert PasswordHash.recommended().hash("correct horse").startswith("$argon2")
assert orjson.loads(orjson.dumps({"a": 1})) == {"a": 1}
async def main():
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    await engine.dispose()
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert (done.returncode, done.stderr) == (0, "")
