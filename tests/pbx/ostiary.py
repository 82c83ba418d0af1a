"""Ostiary as a process of its own, and servers that behave badly in its place."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.pbx.asterisk import dying_with_us
from tests.pbx.waiting import PATIENCE
from tests.ports import free_port

# what a service manager does (sd_listen_fds(3)): the socket as descriptor 3, meant for the process that is to come
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="fastagi")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Ostiary:
    """`ostiary serve` with a database of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.port = free_port()
        self._environment = {
            **{
                key: value for key, value in os.environ.items() if not key.startswith(("OSTIARY_", "LISTEN_"))
            },
            "OSTIARY_STORAGE__STATE_DIRECTORY": str(self.state),
            "OSTIARY_FASTAGI__LISTEN": f"127.0.0.1:{self.port}",
            "OSTIARY_HTTP__ENABLED": "false",
            "OSTIARY_NUMBERS__REGION": "DE",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Return what OSTIARY_SERVER is to be."""
        return f"127.0.0.1:{self.port}"

    def run(self, *command: str) -> str:
        """Run `ostiary …` with its settings; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "agi_server", *command],
            env=self._environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"ostiary {' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def load(self, kind: str, lines: str) -> None:
        """Import contacts, agents or blacklist from the lines of a CSV file."""
        path = self.folder / f"{kind}.csv"
        path.write_text(lines, "utf-8")
        self.run("import", kind, str(path))

    def start(self, *, handed_over: socket.socket | None = None) -> None:
        """Start serving; return when it answers `ping`. A listening socket may be handed over as systemd does."""
        command = [sys.executable, "-m", "agi_server", "serve"]
        keep: tuple[int, ...] = ()
        if handed_over is not None:
            self.port = handed_over.getsockname()[1]
            keep = (handed_over.fileno(),)
            command = [sys.executable, "-c", HAND_OVER, str(handed_over.fileno()), *command]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                dying_with_us(command),
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=keep,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise TimeoutError(f"ostiary does not answer: {(self.folder / 'log').read_text()[-3000:]}")
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it with a signal, and whatever it started with it."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(number)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a worker that outlived it

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Read from its database."""
        with sqlite3.connect(f"file:{self.state}/ostiary.db?mode=ro", uri=True) as connection:
            found = connection.execute(query, values).fetchall()
        connection.close()
        return found

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as asked:
                asked.sendall(b"agi_network: yes\nagi_network_script: ping\n\n")
                return b"OSTIARY_STATUS" in asked.recv(4096)
        except OSError:
            return False


class BadServer:
    """Something on Ostiary's port that is no Ostiary: `behave` gets each connection, on a thread of its own."""

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._behave = behave
        self._taken: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def asked(self) -> int:
        """Return how many connections came in."""
        return len(self._taken)

    def close(self) -> None:
        """Stop, and close what is still open."""
        if self._thread.is_alive():
            self._listener.shutdown(socket.SHUT_RDWR)
            self._thread.join(5)
            self._listener.close()
        for taken in self._taken:
            taken.close()

    def _accept(self) -> None:
        while True:
            try:
                taken, _ = self._listener.accept()
            except OSError:
                return
            self._taken.append(taken)
            self._behave(taken)


def silent(taken: socket.socket) -> None:
    """Accept and say nothing."""


def dying(taken: socket.socket) -> None:
    """Read the question and close."""
    taken.recv(4096)
    taken.close()


def dying_halfway(taken: socket.socket) -> None:
    """Set some of the variables, then close: Asterisk calls that SUCCESS."""
    taken.recv(4096)
    taken.sendall(b'EXEC MSet "OSTIARY_ROUTE=101,OSTIARY_ROUTE_TYPE=extension,OSTIARY_RING_SECONDS=5"\n')
    taken.recv(4096)
    taken.close()


def half_a_line(taken: socket.socket) -> None:
    """Send the beginning of a command and close."""
    taken.recv(4096)
    taken.sendall(b'EXEC MSet "OSTIARY_ROU')
    taken.close()


def answering(**variables: str) -> Callable[[socket.socket], None]:
    """Return a behaviour: answer every question with these variables, as Ostiary would, and close."""

    def behave(taken: socket.socket) -> None:
        taken.recv(4096)
        pairs = ",".join(f"OSTIARY_{name}={value}" for name, value in variables.items())
        taken.sendall(f'EXEC MSet "{pairs}"\n'.encode())
        taken.shutdown(socket.SHUT_WR)
        while taken.recv(4096):
            pass
        taken.close()

    return behave
