"""The person who authorises: opens an address, and says where the browser is sent."""

from __future__ import annotations

import requests


def visit(url: str) -> str:
    """Return the address that the stand-in sends the browser to."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(url, allow_redirects=False, timeout=60)
    assert answer.status_code == 302, answer.text
    return str(answer.headers["Location"])
