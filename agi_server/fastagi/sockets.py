"""Listening sockets: bound here, or handed over by a service manager so that a restart loses no call."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import MutableMapping

from agi_server.errors import SettingsError

_FIRST = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:\[\]\s]*)):(?P<port>[0-9]{1,5})")


def inherited_sockets(name: str, environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """Return the listening sockets called `name` that the service manager passed, [] if it passed none.

    The protocol is that of sd_listen_fds(3): descriptors from 3 on, LISTEN_FDS many, meant for process
    LISTEN_PID, called LISTEN_FDNAMES. The three are unset, so that a child does not take them for its own.
    Raises SettingsError when what was passed cannot be listened on, or nothing in it is called `name`.
    """
    process, count, names = (environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if process != str(os.getpid()) or not count.isdecimal() or int(count) == 0:
        return []
    called = names.split(":") if names else [name] * int(count)
    descriptors = [_FIRST + index for index, given in enumerate(called[: int(count)]) if given == name]
    for descriptor in range(_FIRST, _FIRST + int(count)):
        os.set_inheritable(descriptor, False)
    if not descriptors:
        raise SettingsError(
            f"the service manager passed {count} socket(s) called {names!r}, none called {name!r}: "
            f"set FileDescriptorName={name} in the .socket unit"
        )
    return [_listening(descriptor, name) for descriptor in descriptors]


def _listening(descriptor: int, name: str) -> socket.socket:
    try:
        taken = socket.socket(fileno=descriptor)
    except OSError as error:
        raise SettingsError(
            f"descriptor {descriptor}, passed as {name!r} by the service manager, is no socket "
            f"({error.strerror}): use ListenStream= in the .socket unit"
        ) from error
    if taken.type != socket.SOCK_STREAM or not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        taken.close()
        raise SettingsError(
            f"descriptor {descriptor}, passed as {name!r} by the service manager, does not listen: "
            "use ListenStream= and Accept=no in the .socket unit"
        )
    taken.setblocking(False)
    return taken


def bind(address: str, backlog: int, *, setting: str = "fastagi.listen") -> socket.socket:
    """Return a socket that listens on `address`: `host:port`, `[::1]:port`, or `:port` for every address.

    Port 0 takes a free one. Raises SettingsError, which names `setting` and what to do.
    """
    host, port = split_address(address, setting=setting)
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True
            )
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        raise SettingsError(f"{setting}: cannot listen on {address}: {_remedy(error, port)}") from error


def split_address(address: str, *, setting: str = "fastagi.listen") -> tuple[str, int]:
    """Return host ("" for every address) and port. Raises SettingsError."""
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found["port"]) > 65535:
        raise SettingsError(
            f"{setting}: {address!r} is no address; expected host:port, [IPv6 address]:port or :port, "
            "such as 127.0.0.1:4573"
        )
    return found["ipv6"] or found["host"] or "", int(found["port"])


def reach(listen: str) -> tuple[str, int]:
    """Return host and port at which a server that listens on `listen` is reached from this machine."""
    host, port = split_address(listen)
    everywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing is bound here
    return everywhere.get(host, host), port


def _remedy(error: OSError, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                "another program listens there, perhaps another Ostiary or its .socket unit; "
                f"`ss -ltnp 'sport = :{port}'` shows which: stop it, or choose another port"
            )
        case errno.EACCES | errno.EPERM:
            return "not permitted; a port below 1024 needs CAP_NET_BIND_SERVICE: choose a higher one"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; `ip address` shows those it has"
        case _:
            return str(error.strerror or error)
