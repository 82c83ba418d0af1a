"""`ostiary tokens`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Ostiary


def test_a_token_is_shown_once_listed_and_removed(ostiary: Ostiary, state: Path) -> None:
    secret = ostiary(
        "tokens", "add", "crm", "--scope", "read", "--scope", "decide", "--days", "30"
    ).stdout.strip()
    assert secret.startswith("ost_")
    assert secret.encode() not in (state / "ostiary.db").read_bytes()
    (token,) = json.loads(ostiary("tokens", "list", "--json").stdout)
    assert (token["name"], token["scopes"]) == ("crm", ["decide", "read"])
    assert token["expires_at"] > token["created_at"]
    assert secret not in str(token)
    assert "crm" in ostiary("tokens", "list").stdout
    ostiary("tokens", "remove", "crm")
    assert json.loads(ostiary("tokens", "list", "--json").stdout) == []


def test_what_cannot_be_is_told(ostiary: Ostiary) -> None:
    ostiary("tokens", "add", "crm", "--scope", "read")
    assert "already" in str(ostiary("tokens", "add", "crm", "--scope", "read", code=1).exception)
    assert "no token 'x'" in str(ostiary("tokens", "remove", "x", code=1).exception)
    ostiary("tokens", "add", "x", code=2)
    ostiary("tokens", "add", "x", "--scope", "everything", code=2)
