"""`ostiary blacklist`."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ostiary


def rules(ostiary: Ostiary) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(ostiary("blacklist", "list", "--json").stdout)
    return listed


def test_add_list_remove(ostiary: Ostiary) -> None:
    ostiary("blacklist", "add", "030 123456", "--reason", "sells [red] umbrellas")
    (rule,) = rules(ostiary)
    assert {
        key: rule[key] for key in ("kind", "pattern", "allow", "did", "treatment", "target", "reason")
    } == {
        "kind": "exact",
        "pattern": "+4930123456",  # a national number is made international in numbers.region
        "allow": False,
        "did": "",
        "treatment": "hangup",
        "target": "",
        "reason": "sells [red] umbrellas",
    }
    assert rule["created_by"] == "cli:ana"
    assert abs(datetime.fromisoformat(rule["created_at"]).timestamp() - time.time()) < 60
    assert (rule["hits"], rule["last_hit_at"], rule["expires_at"]) == (0, None, None)
    header, line = ostiary("blacklist", "list").stdout.splitlines()
    assert header.split()[:3] == ["pattern", "kind", "action"]
    assert line.startswith("+4930123456  exact  block")
    assert "sells [red] umbrellas" in line
    assert header.index("reason") == line.index("sells")

    ostiary("blacklist", "remove", "+49 30 123456")
    assert rules(ostiary) == []


def test_adding_again_changes_the_rule(ostiary: Ostiary) -> None:
    ostiary("blacklist", "add", "+4930123456", "--reason", "one")
    ostiary("blacklist", "add", "030123456", "--reason", "two", "--treatment", "redirect:8000")
    (rule,) = rules(ostiary)
    assert (rule["reason"], rule["treatment"], rule["target"]) == ("two", "redirect", "8000")


@pytest.mark.parametrize(
    ("arguments", "kind", "pattern"),
    [
        (["+49190", "--kind", "prefix"], "prefix", "+49190"),
        (["+49190*"], "prefix", "+49190"),
        (["Anonymous"], "anonymous", ""),
        (["RU", "--kind", "country"], "country", "RU"),
        (["--kind", "anonymous"], "anonymous", ""),
        (["^\\+4919[0-9]", "--kind", "regex"], "regex", "^\\+4919[0-9]"),
    ],
)
def test_kinds(ostiary: Ostiary, arguments: list[str], kind: str, pattern: str) -> None:
    ostiary("blacklist", "add", *arguments)
    (rule,) = rules(ostiary)
    assert (rule["kind"], rule["pattern"]) == (kind, pattern)
    ostiary("blacklist", "remove", *arguments)
    assert rules(ostiary) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["(", "--kind", "regex"], "("),
        (["", "--kind", "exact"], ""),
        (["XX", "--kind", "country"], "XX"),
        (["+4930123456", "--treatment", "shout"], "hangup, busy"),
        (["+4930123456", "--treatment", "redirect"], "redirect:8000"),
        (["+4930123456", "--treatment", "redirect:1,1;rm"], "cannot be dialled"),
        (["+4930123456", "--treatment", "busy:8000"], "takes no target"),
        (["+4930123456", "--expires", "soon"], "30d"),
        (["+4930123456", "--expires", "2001-01-01"], "over already"),
    ],
)
def test_what_cannot_be_a_rule(ostiary: Ostiary, arguments: list[str], complaint: str) -> None:
    result = ostiary("blacklist", "add", *arguments, code=1)
    assert complaint in str(result.exception)
    assert rules(ostiary) == []


def test_an_unknown_kind_is_wrong_usage(ostiary: Ostiary) -> None:
    ostiary("blacklist", "add", "+4930123456", "--kind", "fuzzy", code=2)


def test_expiry_is_the_end_of_the_day_where_the_company_is(ostiary: Ostiary) -> None:
    ostiary("blacklist", "add", "+4930123456", "--expires", "2999-07-01")
    (rule,) = rules(ostiary)
    assert rule["expires_at"] == "2999-07-01T23:00:00Z"  # midnight of a summer night in Lisbon


def test_expiry_from_now(ostiary: Ostiary) -> None:
    ostiary("blacklist", "add", "+4930123456", "--expires", "30d")
    (rule,) = rules(ostiary)
    expires = datetime.fromisoformat(rule["expires_at"]) - datetime.now(UTC)
    assert 29.99 < expires.total_seconds() / 86400 <= 30


def test_removing_what_is_not_there_says_so(ostiary: Ostiary) -> None:
    result = ostiary("blacklist", "remove", "+4930123456", code=1)
    assert "no exact rule '+4930123456'" in str(result.exception)


def test_remove_may_be_narrowed(ostiary: Ostiary) -> None:
    ostiary("blacklist", "add", "+4930123456")
    ostiary("blacklist", "add", "+4930123456", "--did", "493099999")
    ostiary("blacklist", "add", "+4930123456", "--allow")
    ostiary("blacklist", "remove", "+4930123456", "--block", "--did", "")
    assert {(rule["allow"], rule["did"]) for rule in rules(ostiary)} == {(False, "493099999"), (True, "")}
    ostiary("blacklist", "remove", "+4930123456", "--allow")
    assert [rule["did"] for rule in rules(ostiary)] == ["493099999"]
    ostiary("blacklist", "remove", "+4930123456")
    assert rules(ostiary) == []


def test_every_change_is_audited(ostiary: Ostiary, state: Path) -> None:
    ostiary("blacklist", "add", "+4930123456")
    ostiary("blacklist", "remove", "+4930123456")
    with sqlite3.connect(state / "ostiary.db") as connection:
        audit = connection.execute("SELECT who, what FROM audit ORDER BY id").fetchall()
    connection.close()
    assert audit == [("cli:ana", "blacklist.add"), ("cli:ana", "blacklist.remove")]


def test_test_names_the_rule_and_why(ostiary: Ostiary) -> None:
    ostiary("blacklist", "add", "+49190", "--kind", "prefix", "--reason", "premium", "--treatment", "busy")
    ostiary("blacklist", "add", "+4919012345", "--allow", "--reason", "a friend")
    blocked = ostiary("blacklist", "test", "0190 54321").stdout
    assert blocked.startswith("+4919054321: block (")
    assert "prefix +49190: block, busy" in blocked.splitlines()[0]
    assert any(line.startswith("screen") for line in blocked.splitlines())
    assert "+4919012345: allow" in ostiary("blacklist", "test", "0190 12345").stdout
    free = ostiary("blacklist", "test", "030 777777").stdout
    assert free.startswith("+4930777777: allow (")
    assert "no rule decides" in free


def test_test_as_json(ostiary: Ostiary) -> None:
    ostiary("blacklist", "add", "--kind", "anonymous", "--did", "493099999")
    blocked = json.loads(ostiary("blacklist", "test", "anonymous", "--did", "493099999", "--json").stdout)
    assert (blocked["verdict"], blocked["rule"]["kind"]) == ("block", "anonymous")
    assert "screen" in {step["stage"] for step in blocked["trace"]}
    free = json.loads(ostiary("blacklist", "test", "anonymous", "--did", "493000000", "--json").stdout)
    assert (free["verdict"], free["rule"]) == ("allow", None)


def test_test_without_a_database_makes_one(ostiary: Ostiary) -> None:
    assert "no rule decides" in ostiary("blacklist", "test", "030 777777").stdout
