"""Starts the servers that are measured, each in processes of its own, and reads what they use."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench import data, load
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT = 60.0  # seconds until a server must answer
STILL = 0.002  # CPU seconds in a tenth of a second: what an idle server may use


@dataclass(frozen=True, slots=True)
class Server:
    """One running server; `seconds_to_answer` from its spawning to its first answer."""

    name: str
    port: int
    process: psutil.Process
    seconds_to_answer: float

    def cpu(self) -> tuple[float, float]:
        """Return CPU seconds, user and system: of the answering process, and of it with all it started."""
        own = cpu_seconds(self.process.pid)
        started = self.process.children(recursive=True)
        return own, own + sum(cpu_seconds(process.pid) for process in started)

    def settled_cpu(self) -> tuple[float, float]:
        """Return `cpu()` once it stands still: what is written behind the calls is counted with them."""
        now = before = self.cpu()
        for _ in range(30):
            time.sleep(0.1)
            now = self.cpu()
            if now[1] - before[1] < STILL:
                break
            before = now
        return now


@contextlib.contextmanager
def running(
    name: str, command: Sequence[str], port: int, *, environment: Mapping[str, str], script: str = "incoming"
) -> Iterator[Server]:
    """Run a server, its output into a pipe that somebody reads as under systemd; yield it once it answers."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    reader = subprocess.Popen(("cat",), stdin=process.stdout, stdout=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.close()
    try:
        _wait_for_answer(name, process, port, script)
        yield Server(name, port, psutil.Process(process.pid), time.perf_counter() - began)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.wait()


def _wait_for_answer(name: str, process: subprocess.Popen[bytes], port: int, script: str) -> None:
    end = time.perf_counter() + START_LIMIT
    while time.perf_counter() < end:
        if process.poll() is not None:
            raise RuntimeError(
                f"{name} ended with {process.returncode} before it answered; run it by hand to see why"
            )
        with contextlib.suppress(OSError):
            if load.ask(port, data.number(0), script=script):
                return
        time.sleep(0.002)
    raise RuntimeError(f"{name} did not answer within {START_LIMIT:.0f} s")


def ostiary(state: Path, *, script: str = "incoming") -> contextlib.AbstractContextManager[Server]:
    """Run Ostiary as shipped on a state directory: journal, log, metrics and HTTP on."""
    port = free_port()
    environment = ostiary_environment(state) | {
        "OSTIARY_FASTAGI__LISTEN": f"127.0.0.1:{port}",
        "OSTIARY_HTTP__LISTEN": f"127.0.0.1:{free_port()}",
    }
    command = (sys.executable, "-m", "agi_server", "serve")
    return running("Ostiary", command, port, environment=environment, script=script)


def peer(name: str, kind: str, database: Path) -> contextlib.AbstractContextManager[Server]:
    """Run one of `servers`."""
    port = free_port()
    command = (sys.executable, "-m", "tests.bench.servers", kind, str(port), str(database))
    return running(name, command, port, environment=dict(os.environ))


def ostiary_environment(state: Path) -> dict[str, str]:
    """Return an environment in which every `ostiary` command works on `state`, whatever the caller's says."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("OSTIARY_")}
    settings = state / "ostiary.toml"
    settings.touch()
    return inherited | {
        "OSTIARY_CONFIG": str(settings),
        "OSTIARY_STORAGE__STATE_DIRECTORY": str(state),
        "OSTIARY_NUMBERS__REGION": data.REGION,
    }


def command(state: Path, *arguments: str) -> float:
    """Run one `ostiary` command to its end; return the CPU seconds it and its children used."""
    process = subprocess.Popen(
        (sys.executable, "-m", "agi_server", *arguments),
        cwd=ROOT,
        env=ostiary_environment(state),
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"ostiary {' '.join(arguments)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def parts(server: psutil.Process, kind: str) -> list[psutil.Process]:
    """Return what a server runs beside itself of a kind: `worker` or `front`."""
    found = []
    for process in server.children():
        with contextlib.suppress(psutil.Error):
            if kind in process.cmdline():
                found.append(process)
    return found


def cpu_seconds(process: int) -> float:
    """Return the CPU time of a process in nanosecond steps; 0.0 when it is gone.

    The clock's id is made as clock_getcpuclockid(3) does on Linux; /proc and psutil count in steps of 10 ms.
    """
    try:
        return time.clock_gettime(~process << 3 | 2)
    except OSError:
        return 0.0
