"""FreePBX keeps its call records in MariaDB: a private one, on a socket of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from agi_server.cdr.database import TableRows
from tests.cdr.samples import BEGAN
from tests.cdr.test_database import FREEPBX, Reader

TOOLS = ("mariadbd", "mariadb-install-db", "setpriv")


def missing() -> str:
    """Return what this test needs and does not find."""
    if find_spec("pymysql") is None:
        return "pymysql"
    return next(
        (tool for tool in TOOLS if shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin") is None), ""
    )


pytestmark = pytest.mark.skipif(
    bool(missing()),
    reason=f"NOT TESTED: call records in MariaDB (missing: {missing()}; run tests/system-packages)",
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of an empty database."""
    folder = tmp_path_factory.mktemp("mariadb")
    address = folder / "socket"
    user = "root" if os.geteuid() == 0 else ""
    as_user = [f"--user={user}"] if user else []
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}
    subprocess.run(
        [
            "mariadb-install-db",
            "--no-defaults",
            *as_user,
            f"--datadir={folder / 'data'}",
            "--auth-root-authentication-method=normal",
        ],
        check=True,
        capture_output=True,
        env=environment,
        timeout=120,
    )
    command = [
        *("mariadbd", "--no-defaults", *as_user, f"--datadir={folder / 'data'}", f"--socket={address}"),
        *("--skip-networking", "--innodb-buffer-pool-size=16M", f"--pid-file={folder / 'pid'}"),
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        root = f"mysql+pymysql://root@localhost/?unix_socket={address}"
        _run_when_up(address, server, folder / "log", root, "CREATE DATABASE asteriskcdrdb")
        yield f"mysql+pymysql://root@localhost/asteriskcdrdb?unix_socket={address}"
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


def _run_when_up(address: Path, server: subprocess.Popen[bytes], log: Path, url: str, statement: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(str(address))  # the driver leaves a socket open where nobody answers
            break
        if server.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(log.read_text()[-2000:])
        time.sleep(0.1)
    run(url, statement)


def run(address: str, statement: str, **values: Any) -> None:
    engine = create_engine(address, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(statement), values)
    engine.dispose()


def test_freepbx_s_table(url: str) -> None:
    run(url, FREEPBX)
    rows = TableRows(url, "cdr", UTC)
    read = Reader(rows, BEGAN)
    assert read(BEGAN) == []
    run(
        url,
        "INSERT INTO cdr (calldate, clid, src, dst, channel, dstchannel, lastapp, lastdata, duration, billsec, "
        "disposition, uniqueid, linkedid, did, recordingfile, cnum, cnam) VALUES (:at, :clid, '030200001', '101', "
        "'PJSIP/trunk-00000001', 'PJSIP/101-00000002', 'Dial', 'PJSIP/101', 12, 7, 'ANSWERED', :id, :id, "
        "'4930777100', 'in.wav', '4930200001', 'Müller')",
        at=datetime.fromtimestamp(BEGAN, UTC).replace(tzinfo=None),
        clid='"Müller; DROP TABLE cdr" <1>',
        id=f"{BEGAN}.1",
    )
    ((row,), _, _) = rows.read(read.position, BEGAN + 30)
    assert (row.number, row.name, row.did, row.recording) == ("4930200001", "Müller", "4930777100", "in.wav")
    assert (row.started_at, row.answered_at, row.ended_at) == (BEGAN, BEGAN + 5, BEGAN + 12)
    assert read(BEGAN + 30) == ["4930200001"]
    assert read(BEGAN + 60) == []
    assert rows.of([f"{BEGAN}.1", "'; DROP TABLE cdr; --"]) == [row]
    rows.close()


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pymysql leaves its socket to be found
def test_a_user_who_may_not(url: str) -> None:
    wrong = url.replace("root@", "nobody:secret@")
    rows = TableRows(wrong, "cdr", UTC)
    with pytest.raises(OperationalError) as raised:
        rows.read(rows.start(BEGAN), BEGAN)
    assert "secret" not in str(raised.value)
