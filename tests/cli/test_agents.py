"""`ostiary agents`."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import pytest

from tests.cli.conftest import Ostiary


def agents(ostiary: Ostiary) -> dict[str, dict[str, Any]]:
    return {agent["extension"]: agent for agent in json.loads(ostiary("agents", "list", "--json").stdout)}


def test_add_change_remove(ostiary: Ostiary) -> None:
    ostiary("agents", "add", "202", "--name", "Rui")
    ostiary(
        *(
            "agents",
            "add",
            "201",
            "--name",
            "Ana Sá",
            "--email",
            "Ana@Example.com",
            "--salesforce-user",
            "005A",
        ),
        *("--hours", "Mo-Fr 09:00-13:00,14:00-18:00", "--timezone", "Europe/Lisbon", "--delegate", "202"),
        *("--ring-seconds", "25", "--fallback", "600"),
    )
    ana = agents(ostiary)["201"]
    assert {key: value for key, value in ana.items() if key != "id"} == {
        "name": "Ana Sá",
        "extension": "201",
        "pop": "ringing",
        "email": "ana@example.com",
        "salesforce_user_id": "005A",
        "hours": "Mo-Fr 09:00-13:00,14:00-18:00",
        "timezone": "Europe/Lisbon",
        "absent_until": None,
        "delegate": "202",
        "ring_seconds": 25,
        "fallback": "600",
    }
    ostiary(
        "agents", "change", "201", "--name", "Ana", "--delegate", "", "--hours", "", "--ring-seconds", "0"
    )
    changed = agents(ostiary)["201"]
    assert changed == ana | {"name": "Ana", "delegate": None, "hours": "", "ring_seconds": 0}

    ostiary("agents", "remove", "201")
    assert list(agents(ostiary)) == ["202"]


def test_list_is_aligned_text_when_nobody_looks(ostiary: Ostiary) -> None:
    ostiary("agents", "add", "201", "--name", "Ana Sá")
    header, line = ostiary("agents", "list").stdout.splitlines()
    assert header.index("name") == line.index("Ana Sá")
    assert header.index("hours") == line.index("always")


def test_the_delegate_of_a_removed_agent_is_nobody(ostiary: Ostiary) -> None:
    ostiary("agents", "add", "202")
    ostiary("agents", "add", "201", "--delegate", "202")
    ostiary("agents", "remove", "202")
    assert agents(ostiary)["201"]["delegate"] is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["add", "201"], "is an agent already"),
        (["add", "2 01"], "cannot be dialled"),
        (["add", ""], "needs an extension"),
        (["add", "203", "--email", "ANA@example.com"], "ana@example.com"),
        (["add", "203", "--hours", "Mo-Fr 9-25"], ""),
        (["add", "203", "--timezone", "Lisbon"], "Europe/Berlin"),
        (["add", "203", "--timezone", "../../etc/passwd"], "Europe/Berlin"),
        (["add", "203", "--delegate", "999"], "no agent has the extension '999'"),
        (["add", "203", "--delegate", "203"], "own delegate"),
        (["add", "203", "--fallback", "600,1"], "cannot be dialled"),
        (["change", "999", "--name", "X"], "no agent has the extension '999'"),
        (["remove", "999"], "no agent has the extension '999'"),
        (["absent", "999"], "no agent has the extension '999'"),
        (["back", "999"], "no agent has the extension '999'"),
        (["absent", "201", "--until", "tomorrow"], "2026-12-31"),
    ],
)
def test_what_cannot_be(ostiary: Ostiary, arguments: list[str], complaint: str) -> None:
    ostiary("agents", "add", "201", "--email", "ana@example.com")
    before = agents(ostiary)
    result = ostiary("agents", *arguments, code=1)
    assert complaint in str(result.exception)
    assert agents(ostiary) == before


def test_absent_and_back(ostiary: Ostiary) -> None:
    ostiary("agents", "add", "201", "--timezone", "Asia/Tokyo")
    assert "further notice" in ostiary("agents", "absent", "201").stdout
    assert "further notice" in ostiary("agents", "list").stdout
    ostiary("agents", "absent", "201", "--until", "2999-12-31")
    assert (
        agents(ostiary)["201"]["absent_until"] == "2999-12-31T15:00:00Z"
    )  # the day's end where the agent is
    ostiary("agents", "absent", "201", "--until", "12h")
    until = datetime.fromisoformat(agents(ostiary)["201"]["absent_until"]).timestamp()
    assert 11.9 < (until - time.time()) / 3600 <= 12
    ostiary("agents", "back", "201")
    assert agents(ostiary)["201"]["absent_until"] is None
