"""A private Asterisk for the tests: a Debian tree under chroot, in namespaces of its own.

Nothing outlives the process that started it: its folders are bind-mounted in a mount namespace that ends with
it, and it runs in a PID namespace whose first process dies when this one does, even by SIGKILL. Several
instances run side by side from one tree, since each has its own /etc/asterisk, /run, log, spool and database.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.pbx import lanes
from tests.pbx.sound import write_tone
from tests.pbx.waiting import PATIENCE

CONFIG = Path(__file__).parent / "config"
DIALPLAN = Path(__file__).parents[2] / "dialplan"
TREES = ("asterisk-sid", "asterisk-bullseye")  # as tests/system-packages makes them, the first that is there
PRIVATE = ("etc/asterisk", "run/asterisk", "var/lib/asterisk", "var/log/asterisk", "var/spool/asterisk")

# $1 the tree, $2 the private folders, the rest: what to run
RUN = r"""
tree=$1 own=$2; shift 2
for folder in etc/asterisk run/asterisk var/lib/asterisk var/log/asterisk var/spool/asterisk; do
    mount --bind "$own/$folder" "$tree/$folder" || exit 90
done
mount --bind "$own/etc/hosts" "$tree/etc/hosts" || exit 90
mount -t proc proc "$tree/proc" && mount --rbind /dev "$tree/dev" || exit 91
chroot "$tree" "$@"
"""


def cache() -> Path:
    """Return where tests/system-packages keeps what takes long to make."""
    named = os.environ.get("OSTIARY_TEST_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ostiary-tests"


def tree() -> Path | None:
    """Return the Debian tree with Asterisk in it, or None."""
    wanted = os.environ.get("OSTIARY_TEST_ASTERISK", "")
    for name in (wanted,) if wanted else TREES:
        if (cache() / name / "usr/sbin/asterisk").exists():
            return cache() / name
    return None


def dying_with_us(command: list[str]) -> list[str]:
    """Return a command line that runs `command` until it ends or this process does, however it does."""
    unless_too_late = '[ "$PPID" = "$0" ] && exec "$@"'
    return ["setpriv", "--pdeathsig", "KILL", "sh", "-c", unless_too_late, str(os.getpid()), *command]


class Asterisk:
    """One running Asterisk. `values` replace `@NAME@` in the files of tests/pbx/config."""

    def __init__(self, tree: Path, own: Path, values: dict[str, str]) -> None:
        self.tree = tree
        self.own = own
        self._log = own / "var/log/asterisk/full"
        self.values = values
        self._process: subprocess.Popen[bytes] | None = None
        self._inside = 0  # the first process of its PID namespace, which is in its mount namespace too

    def start(self) -> None:
        """Start (again), and return when it answers its console. Raises TimeoutError with the end of its log."""
        if not (self.own / "etc/asterisk").exists():
            self._furnish()
        (self.own / "run/asterisk/asterisk.ctl").unlink(missing_ok=True)  # of the one before
        self._inside = 0
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        command += ["sh", "-c", RUN, "asterisk", str(self.tree), str(self.own)]
        command += ["asterisk", "-f", "-g", "-U", "asterisk", "-G", "asterisk"]
        with (self.own / "console").open("ab") as console:
            self._process = subprocess.Popen(
                dying_with_us(command),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd="/",
            )
        self._wait_for_console()

    def crashed(self) -> bool:
        """Return whether it has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """End it, and with it everything in its namespaces."""
        if self._process is None:
            return
        self._process.kill()  # its child, and with it the whole namespace, gets SIGKILL from the kernel
        self._process.wait()
        self._process = None

    def console(self, command: str) -> str:
        """Run a console command; return what it printed."""
        inside = ["nsenter", "-t", str(self._inside), "-m", "chroot", str(self.tree)]
        done = subprocess.run(
            [*inside, "asterisk", "-rx", command], capture_output=True, timeout=PATIENCE, check=True
        )
        return done.stdout.decode("utf-8", "replace")

    def set_global(self, name: str, value: str) -> None:
        """Set a global variable of the dialplan."""
        self.console(f"dialplan set global {name} {value}")

    def channels(self) -> list[str]:
        """Return the names of the channels that exist now; the one that messages go through never ends."""
        return [
            line.split("!")[0]
            for line in self.console("core show channels concise").splitlines()
            if "!" in line and not line.startswith("Message/")
        ]

    def wait_for_no_channel(self, seconds: float = PATIENCE) -> None:
        """Return when no channel is left. Raises TimeoutError naming those that are."""
        deadline = time.monotonic() + seconds
        while channels := self.channels():
            if time.monotonic() > deadline:
                raise TimeoutError(f"channels left behind: {channels}")
            time.sleep(0.05)

    def has_module(self, name: str) -> bool:
        """Return whether a module runs."""
        return "Running" in self.console(f"module show like {name}")

    def log(self, since: int = 0) -> str:
        """Return what Asterisk logged, from a byte on."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as file:
            file.seek(since)
            return file.read().decode("utf-8", "replace")

    def logged(self) -> int:
        """Return how many bytes it has logged."""
        return self._log.stat().st_size

    def _furnish(self) -> None:
        user = self._make_folders()
        for path in CONFIG.iterdir():
            text = re.sub(r"@(\w+)@", lambda match: self.values[match.group(1)], path.read_text())
            (self.own / "etc/asterisk" / path.name).write_text(text)
        for name, text in lanes.files(self.values).items():
            (self.own / "etc/asterisk" / name).write_text(text)
        for path in DIALPLAN.glob("*/*.conf"):
            if path.name != "manager.conf":
                shutil.copy(path, self.own / "etc/asterisk")
        (self.own / "etc/asterisk/manager_ostiary.conf").write_text(_our_user())
        (self.own / "var/log/asterisk/cdr-csv").mkdir()
        (self.own / "var/spool/asterisk/monitor").mkdir()
        (self.own / "etc/asterisk/sounds").mkdir()
        write_tone(self.own / "etc/asterisk/sounds/tone.ulaw", 1000, 0.6)
        # Asterisk looks these up for every call and waits for a name server where there is none
        (self.own / "etc/hosts").write_text(
            f"127.0.0.1 localhost {socket.gethostname()} A.ROOT-SERVERS.NET\n"
        )
        (self.tree / "etc/hosts").touch()
        (self.tree / "run/asterisk").mkdir(exist_ok=True)
        for folder in PRIVATE:
            for path in (self.own / folder, *(self.own / folder).rglob("*")):
                os.chown(path, *user)

    def _make_folders(self) -> tuple[int, int]:
        for folder in PRIVATE:
            (self.own / folder).mkdir(parents=True)
        shutil.copytree(
            self.tree / "var/lib/asterisk", self.own / "var/lib/asterisk", dirs_exist_ok=True, symlinks=True
        )
        for line in (self.tree / "etc/passwd").read_text().splitlines():
            name, _, uid, gid, *_ = line.split(":")
            if name == "asterisk":
                return int(uid), int(gid)
        raise LookupError(f"no user asterisk in {self.tree}/etc/passwd")

    def _wait_for_console(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            self._inside = self._inside or _child(self._process.pid)
            if self._inside and (self.own / "run/asterisk/asterisk.ctl").exists():
                try:
                    self.console("core waitfullybooted")
                except subprocess.SubprocessError:
                    pass
                else:
                    return
            time.sleep(0.05)
        end = (self.own / "console").read_text(errors="replace")[-2000:] + self.log()[-2000:]
        self.stop()
        raise TimeoutError(f"Asterisk does not start: {end}")


def _our_user() -> str:
    """Return the AMI user that is shipped, with a secret of the tests."""
    _, found, user = (DIALPLAN / "asterisk/manager.conf").read_text().partition("\n[ostiary]\n")
    assert found
    return found + re.sub(r"^secret\s*=.*$", "secret = for-the-tests", user, flags=re.MULTILINE)


def _child(pid: int) -> int:
    """Return the first child of a process, 0 while it has none."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    return int(children[0]) if children else 0
