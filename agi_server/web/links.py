"""Addresses of the console, to be given to people."""

from __future__ import annotations

import socket

from agi_server.settings import Settings

ANY = frozenset({"0.0.0.0", "[::]", ""})  # noqa: S104  # listening there is the admin's choice; nobody can go there


def console_address(settings: Settings) -> str:
    """Return where a browser finds the console: http.public_url, else what follows from http.listen."""
    if settings.http.public_url:
        return settings.http.public_url
    host, _, port = settings.http.listen.rpartition(":")
    scheme = "https" if settings.http.certificate_file is not None else "http"
    return f"{scheme}://{socket.gethostname() if host in ANY else host}:{port}"


def welcome_link(address: str, secret: str) -> str:
    """Return the link of an invitation to the console at `address`, e.g. http://127.0.0.1:8080."""
    return f"{address.rstrip('/')}/welcome/{secret}"
