"""Ports for what tests start.

Invariant: a process is given each port once, until all were, and none that the kernel gives to sockets that ask for
no port in particular (net.ipv4.ip_local_port_range: 32768 and above): so nobody takes one before its server has it.
Asterisk's RTP is elsewhere, too (tests/pbx/config/rtp.conf), and so is what SIPp opens by itself (up to 10,000).
"""

from __future__ import annotations

import itertools
import os
import socket
from typing import Final

_HALF: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 2  # of two test processes side by side
PORTS: Final = range(11_000 + _HALF, 20_000, 2)
APART: Final = 2503  # between two processes started one after the other
UDP: Final = socket.SOCK_DGRAM

_next = itertools.count(os.getpid() * APART)


def free_port(address: str = "127.0.0.1", kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port that nobody uses now. Raises RuntimeError."""
    for _ in PORTS:
        port = PORTS[next(_next) % len(PORTS)]
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"every port from {PORTS.start} to {PORTS.stop - 1} of {address} is taken")
