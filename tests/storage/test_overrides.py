"""What changes of the settings while Ostiary runs."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agi_server.errors import ConflictError, InputError, NotFoundError, OstiaryError
from agi_server.settings import SECTIONS, Settings
from storage.database import Database
from storage.overrides import (
    CHANGEABLE,
    Override,
    changed,
    effective,
    list_overrides,
    put_override,
    remove_override,
    value_of,
)
from storage.policy import compile_policy, compile_with
from tests.storage.conftest import NOW, Query

FILE = Settings.model_validate({"numbers": {"region": "DE"}, "routing": {"ring_seconds": 15}})
BY: dict[str, Any] = {"settings": FILE, "who": "user:ana", "now": NOW}


async def put(database: Database, key: str, value: object) -> Override:
    return await database.write(lambda conn: put_override(conn, key, value, **BY))


async def in_force(database: Database) -> Settings:
    return await database.read(lambda conn: effective(conn, FILE))


def audited(query: Query) -> list[tuple[Any, ...]]:
    rows = query("SELECT at, who, what, before, after FROM audit ORDER BY id")
    assert all(row[:2] == (NOW, "user:ana") for row in rows)
    return [(row[2], *(json.loads(text) if text else None for text in row[3:])) for row in rows]


async def test_a_row_wins_over_the_file_until_it_is_removed(database: Database, query: Query) -> None:
    assert await put(database, "routing.ring_seconds", 30) == Override(
        key="routing.ring_seconds", value=30, changed_at=NOW, changed_by="user:ana"
    )
    await put(database, "routing.ring_seconds", 31)
    await put(database, "reminders.missed_calls", False)
    settings = await in_force(database)
    assert (settings.routing.ring_seconds, settings.reminders.missed_calls) == (31, False)
    assert settings.numbers.region == "DE"
    assert set(await database.read(list_overrides)) == {"routing.ring_seconds", "reminders.missed_calls"}
    removed = [
        await database.write(lambda conn: remove_override(conn, "routing.ring_seconds", **BY))
        for _ in range(2)
    ]
    assert removed == [True, False]
    assert (await in_force(database)).routing.ring_seconds == 15
    key = {"key": "routing.ring_seconds"}
    assert audited(query) == [
        ("settings.put", key | {"value": 15}, key | {"value": 30}),
        ("settings.put", key | {"value": 30}, key | {"value": 31}),
        (
            "settings.put",
            {"key": "reminders.missed_calls", "value": True},
            {"key": "reminders.missed_calls", "value": False},
        ),
        ("settings.remove", key | {"value": 31}, key | {"value": 15}),
    ]


async def test_the_policy_of_calls_and_the_settings_in_force_agree(database: Database, path: Path) -> None:
    for key, value in {
        "numbers.region": "PT",
        "numbers.reformat": [{"match": "0(.*)", "replace": r"+351\1"}],
        "matching.order": ["Lead"],
        "naming.template": "{name} ({account})",
        "screening.default_treatment": "busy",
        "screening.last_caller": "any",
        "routing.holidays": ["12-25"],
        "contacts.create": True,
    }.items():
        await put(database, key, value)
    with closing(sqlite3.connect(path)) as connection, capture_logs() as logs:
        policy = compile_policy(FILE, connection)
        same = compile_with(await in_force(database), connection)
    assert logs == []
    for name in type(policy).__dataclass_fields__:
        if name != "rules":
            assert getattr(policy, name) == getattr(same, name), name
    assert (policy.default.region, policy.default_treatment, policy.last_caller) == ("PT", "busy", "any")


@pytest.mark.parametrize(
    ("key", "value", "error", "told"),
    [
        ("routing.ring_second", 3, NotFoundError, "did you mean routing.ring_seconds?"),
        ("nonsense", 3, NotFoundError, "there is no setting 'nonsense'"),
        ("routing", {}, NotFoundError, "there is no setting"),
        ("", "", NotFoundError, "there is no setting"),
        ("http.listen", ":80", ConflictError, "change it in the settings file and restart"),
        ("salesforce.client_secret", "hush", ConflictError, "in the settings file"),
        ("routing.ring_seconds", 0, InputError, "routing.ring_seconds should be greater than or equal to 1"),
        ("routing.ring_seconds", "many", InputError, "routing.ring_seconds should be"),
        ("routing.ring_seconds", None, InputError, "routing.ring_seconds should be"),
        ("numbers.region", "Germany", InputError, "should be an ISO 3166 country code in capitals, e.g. DE"),
        ("naming.template", "{nonsense}", InputError, "naming.template should be a template"),
        ("matching.order", ["Contact", "Nobody"], InputError, "matching.order[1] should be"),
        ("matching.tail_digits", 3, InputError, "should be 0 (off) or 6 and more"),
        (
            "numbers.reformat",
            [{"match": "(", "replace": ""}],
            InputError,
            "numbers.reformat[0] cannot be used",
        ),
        ("numbers.reformat", [{"match": "x"}], InputError, "numbers.reformat[0].replace is missing"),
        ("naming.template", "x" * 70_000, InputError, "is too long"),
        ("routing.default_agent", "a b", InputError, "should hold nothing but"),
        ("naming.anonymous_name", "\ud800", InputError, "naming.anonymous_name is nothing that can be kept"),
    ],
)
async def test_what_cannot_be_taken_is_refused_and_nothing_is_changed(
    database: Database, query: Query, *, key: str, value: object, error: type[OstiaryError], told: str
) -> None:
    with pytest.raises(error) as refused:
        await put(database, key, value)
    assert told in str(refused.value)
    assert query("SELECT 1 FROM settings") == []
    assert audited(query) == []


async def test_a_value_is_kept_as_its_model_has_it(database: Database) -> None:
    assert (await put(database, "routing.ring_seconds", "30")).value == 30
    assert (await database.read(list_overrides))["routing.ring_seconds"].value == 30


async def test_a_row_that_cannot_be_used_leaves_the_others_alone(database: Database, query: Query) -> None:
    for key, value in (
        ("routing.ring_seconds", -1),
        ("http.listen", ":80"),
        ("x", 1),
        ("routing.fallback", "9"),
    ):
        query("INSERT INTO settings (key, value) VALUES (?, ?)", key, json.dumps(value))
    with capture_logs() as logs:
        settings = await in_force(database)
    assert (settings.routing.ring_seconds, settings.routing.fallback) == (15, "9")
    assert (
        settings.http.listen == FILE.http.listen
    )  # the address is bound when the row is read: it may not change
    assert [entry["key"] for entry in logs] == ["routing.ring_seconds", "x"]
    removed = await database.write(lambda conn: remove_override(conn, "x", **BY))
    assert removed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KEYS = [f"{section}.{name}" for section in CHANGEABLE for name in SECTIONS[section]]


@settings(max_examples=300)
@given(key=st.sampled_from(KEYS), value=JSON)
def test_whatever_is_taken_compiles_and_can_be_kept(key: str, value: object) -> None:
    try:
        new = changed(FILE, key, value)
    except InputError:
        return
    with capture_logs() as logs:
        compile_with(new, None)
    assert logs == []
    assert json.loads(json.dumps(value_of(new, key))) == value_of(new, key)
    assert changed(FILE, key, value_of(new, key)) == new
