from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from agi_server.errors import SettingsError
from agi_server.fastagi.sockets import bind, inherited_sockets, split_address

# Runs in a child, because descriptors 3 and up are pytest's own here.
CHILD = """
import os, sys
from agi_server.errors import SettingsError
from agi_server.fastagi.sockets import inherited_sockets
os.environ["LISTEN_PID"] = os.environ.get("LISTEN_PID") or str(os.getpid())
try:
    sockets = inherited_sockets("fastagi")
except SettingsError as error:
    print(error)
    sys.exit(1)
print([(each.fileno(), each.getsockname()[1], each.get_inheritable(), each.getblocking()) for each in sockets])
print(sorted(key for key in os.environ if key.startswith("LISTEN_")), os.get_inheritable(3))
"""


def in_child(*passed: int, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run CHILD with these descriptors as 3, 4, …"""
    shift = "".join(f"exec {3 + index}<&{fd}; " for index, fd in enumerate(passed))
    # Passed in the order of their numbers, so none is overwritten before it is moved.
    return subprocess.run(
        ["/bin/bash", "-c", f'{shift} exec "$@"', "-", sys.executable, "-c", CHILD],
        env={**os.environ, **environ},
        pass_fds=passed,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.fixture
def listening() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    for _ in range(2):
        with bind("127.0.0.1:0", 16) as low:
            # High numbers, so that moving one to 3 or 4 never overwrites the other.
            sockets.append(socket.socket(fileno=os.dup2(low.fileno(), 200 + len(sockets))))
    yield sockets
    for each in sockets:
        each.close()


def test_named_sockets(listening: list[socket.socket]) -> None:
    first, second = listening
    done = in_child(first.fileno(), second.fileno(), LISTEN_FDS="2", LISTEN_FDNAMES="http:fastagi")
    assert done.stdout.splitlines() == [f"[(4, {second.getsockname()[1]}, False, False)]", "[] False"], (
        done.stderr
    )


def test_sockets_without_names(listening: list[socket.socket]) -> None:
    first, second = listening
    done = in_child(first.fileno(), second.fileno(), LISTEN_FDS="2")
    ports = [each.getsockname()[1] for each in listening]
    assert done.stdout.splitlines()[0] == f"[(3, {ports[0]}, False, False), (4, {ports[1]}, False, False)]"


def test_sockets_of_another_process(listening: list[socket.socket]) -> None:
    done = in_child(listening[0].fileno(), LISTEN_FDS="1", LISTEN_PID="1")
    assert done.stdout.splitlines() == ["[]", "[] True"]


def test_other_names(listening: list[socket.socket]) -> None:
    done = in_child(listening[0].fileno(), LISTEN_FDS="1", LISTEN_FDNAMES="ostiary.socket")
    assert done.returncode == 1
    assert "set FileDescriptorName=fastagi" in done.stdout


def test_what_does_not_listen(listening: list[socket.socket]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as idle:
        for wrong in (datagrams, idle):
            done = in_child(wrong.fileno(), LISTEN_FDS="1", LISTEN_FDNAMES="fastagi")
            assert (done.returncode, "does not listen" in done.stdout) == (1, True), done
    with open(os.devnull) as file:  # noqa: PTH123  # a descriptor that is no socket
        done = in_child(file.fileno(), LISTEN_FDS="1", LISTEN_FDNAMES="fastagi")
    assert (done.returncode, "is no socket" in done.stdout) == (1, True), done
    assert listening


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "0"}, {"LISTEN_FDS": "many"}, {"LISTEN_FDS": "-1"}])
def test_nothing_passed(environ: dict[str, str]) -> None:
    given = {"LISTEN_PID": str(os.getpid()), **environ}
    assert inherited_sockets("fastagi", given) == []
    assert given == {}


ADDRESSES = [
    ("127.0.0.1:4573", ("127.0.0.1", 4573)),
    ("[::1]:4573", ("::1", 4573)),
    ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
    ("localhost:0", ("localhost", 0)),
    (":4573", ("", 4573)),
]


@pytest.mark.parametrize(("address", "parts"), ADDRESSES)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1",
        "::1",
        "::1:4573",
        "[::1]",
        "host:",
        "host:x",
        "host:65536",
        "host:-1",
        "a b:1",
        "[]:1",
        "host:²",
    ],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(SettingsError, match=r"http\.listen: .* is no address; expected host:port"):
        split_address(address, setting="http.listen")


def test_bind() -> None:
    with (
        bind("127.0.0.1:0", 16) as listening,
        socket.create_connection(listening.getsockname()),
        pytest.raises(
            SettingsError, match=r"fastagi\.listen: cannot listen on .* another program listens there"
        ),
    ):
        bind(f"127.0.0.1:{listening.getsockname()[1]}", 16)
    with bind("[::1]:0", 16) as listening:
        assert listening.getsockname()[0] == "::1"
    with bind(":0", 16) as listening:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listening.getsockname()[1])).close()


@pytest.mark.parametrize("address", ["192.0.2.1:0", "no-such-host.invalid:0"])
def test_what_cannot_be_bound(address: str) -> None:
    with pytest.raises(SettingsError, match="cannot listen on"):
        bind(address, 16)
