from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agi_server.calls.policy import DidPolicy, Policy
from agi_server.settings import Numbers, ReformatEntry, Settings
from storage.policy import compile_policy
from tests.storage.conftest import Query


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as opened:
        yield opened


def put(query: Query, key: str, value: object) -> None:
    query("INSERT INTO settings (key, value) VALUES (?, ?)", key, json.dumps(value))


def test_the_settings_as_they_come_are_the_defaults_of_the_domain() -> None:
    compiled, plain = compile_policy(Settings(), None), Policy()
    for name in Policy.__dataclass_fields__:
        if name != "rules":
            assert getattr(compiled, name) == getattr(plain, name), name


def test_rows_of_the_database_override_the_file(connection: sqlite3.Connection, query: Query) -> None:
    put(query, "numbers.region", "DE")
    put(query, "matching.order", ["Lead", "Contact"])
    put(query, "routing.ring_seconds", 33)
    put(query, "routing.holidays", ["12-25"])
    put(query, "journal.retention_days", 5)  # no part of a policy
    with capture_logs() as logs:
        policy = compile_policy(Settings(), connection)
    assert logs == []
    assert (policy.default.region, policy.default.ring_seconds) == ("DE", 33)
    assert policy.kind_order == ("Lead", "Contact")
    assert policy.holidays == {"12-25"}


def test_a_bad_row_is_left_out_alone(connection: sqlite3.Connection, query: Query) -> None:
    put(query, "numbers.region", "Germany")
    put(query, "routing.ring_seconds", -1)
    put(query, "routing.nonsense", 1)
    put(query, "nonsense.region", "DE")
    put(query, "nonsense", "DE")
    query("INSERT INTO settings (key, value) VALUES ('naming.template', 'no json')")
    put(query, "routing.default_agent", "209")
    with capture_logs() as logs:
        policy = compile_policy(Settings(), connection)
    assert (policy.default.region, policy.default.ring_seconds, policy.default.template) == (
        "US",
        20,
        "{name}",
    )
    assert policy.default.default_agent == "209"
    assert sorted(entry["key"] for entry in logs) == [
        "naming.template", "nonsense", "nonsense.region", "numbers.region", "routing.nonsense", "routing.ring_seconds",
    ]  # fmt: skip
    assert all(entry["log_level"] == "warning" for entry in logs)


def test_a_did_says_what_it_says_and_the_settings_the_rest(
    connection: sqlite3.Connection, query: Query
) -> None:
    query(
        "INSERT INTO dids (did, screening, template, ring_seconds, default_agent) VALUES ('+49 30 / 1', 0, 'x', 5, '')"
    )
    query("INSERT INTO dids (did, region) VALUES ('Hotline', 'PT')")
    settings = Settings.model_validate({"routing": {"default_agent": "209"}, "numbers": {"region": "DE"}})
    policy = compile_policy(settings, connection)
    assert policy.default.default_agent == "209"
    assert policy.dids == {
        "49301": DidPolicy(region="DE", screening=False, template="x", ring_seconds=5, default_agent=""),
        "hotline": DidPolicy(region="PT", default_agent="209"),
    }


def test_agents_are_found_by_all_they_have(connection: sqlite3.Connection, query: Query) -> None:
    query(
        "INSERT INTO agents (id, name, email, extension, salesforce_user_id, delegate_id) VALUES "
        "(1, 'Ana', 'Ana@example.com', '201', '005A', 2), (2, 'Ben', NULL, '202', NULL, NULL)"
    )
    policy = compile_policy(Settings(), connection)
    ana = policy.by_id[1]
    assert (ana.name, ana.delegate) == ("Ana", 2)
    assert policy.by_extension == {"201": ana, "202": policy.by_id[2]}
    assert policy.by_email == {"ana@example.com": ana}
    assert policy.by_salesforce_user == {"005A": ana}


def test_agents_with_unreadable_hours_stay_reachable(connection: sqlite3.Connection, query: Query) -> None:
    query(
        "INSERT INTO agents (extension, hours, timezone) VALUES "
        "('201', 'whenever', ''), ('202', '', 'Nowhere/X'), ('', '', '')"
    )
    with capture_logs() as logs:
        policy = compile_policy(Settings(), connection)
    assert set(policy.by_extension) == {"201", "202"}
    assert len(logs) == 3


def test_rules_that_cannot_be_compiled_are_left_out_alone(
    connection: sqlite3.Connection, query: Query
) -> None:
    query(
        "INSERT INTO blacklist (id, kind, pattern, treatment) VALUES (1, 'regex', '(', 'busy'), "
        "(2, 'regex', '^.49', 'busy'), (3, 'prefix', '+351', 'busy'), (4, 'exact', '+4930', 'busy'), "
        "(5, 'prefix', '+1', 'xx')"
    )
    with capture_logs() as logs:
        policy = compile_policy(Settings(), connection)
    assert len(policy.rules) == 2
    assert sorted(entry["rule"] for entry in logs) == [1, 5]


def test_reformatting_rules_that_cannot_be_compiled_are_left_out_alone(
    connection: sqlite3.Connection,
) -> None:
    good = ReformatEntry(match="0(.*)", replace=r"+49\1")
    bad = good.model_copy(update={"match": "("})  # past the check of the settings file
    numbers = Numbers().model_copy(update={"reformat": (bad, good)})
    settings = Settings().model_copy(update={"numbers": numbers})
    with capture_logs() as logs:
        policy = compile_policy(settings, connection)
    assert [rule.match for rule in policy.reformat] == ["0(.*)"]
    assert [entry["place"] for entry in logs] == [0]
