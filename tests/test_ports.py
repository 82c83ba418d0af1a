from __future__ import annotations

import socket
from pathlib import Path

from tests.ports import PORTS, UDP, free_port


def test_no_port_is_given_twice() -> None:
    given = [free_port() for _ in range(500)]
    assert len(set(given)) == len(given)


def test_a_port_that_is_taken_is_left_out() -> None:
    taken = [free_port(kind=UDP) for _ in range(len(PORTS) - 1)]
    last = free_port(kind=UDP)
    with socket.socket(socket.AF_INET, UDP) as holder:
        holder.bind(("127.0.0.1", taken[0]))
        assert free_port(kind=UDP) not in {taken[0], last}


def test_the_kernel_gives_others() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert PORTS.stop <= lowest
