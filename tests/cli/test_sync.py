"""`ostiary sync` against the stand-in over HTTP."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agi_server.cli import sync as command
from agi_server.errors import SalesforceBusy, SalesforceDown
from agi_server.salesforce.lock import salesforce_lock
from agi_server.salesforce.outcome import ObjectOutcome, Outcome, Progress
from agi_server.settings_file import load_settings
from tests.cli.conftest import Ostiary
from tests.org.people import populate
from tests.org.records import Org
from tests.org.server import OrgServer, running
from tests.salesforce.truth import assert_same


@pytest.fixture
def server(config: Path) -> Iterator[OrgServer]:
    """An org with thirty people, named in the settings file."""
    with closing(Org()) as org, running(org) as made:
        populate(org, 30)
        values = "\n".join(f"{key} = {json.dumps(value)}" for key, value in made.settings().items())
        with config.open("a") as file:
            file.write(f"[salesforce]\n{values}\n")
        yield made


def same(config: Path, server: OrgServer) -> None:
    settings = load_settings(config, environ={})
    assert_same(settings.storage.state_directory / "ostiary.db", server.org, settings)


def dump(state: Path) -> list[str]:
    with closing(sqlite3.connect(state / "ostiary.db")) as connection:
        return list(connection.iterdump())


def test_the_directory_comes_in_step(ostiary: Ostiary, server: OrgServer, config: Path) -> None:
    printed = ostiary("sync").stdout
    same(config, server)
    lines = {line.split()[0]: line.split() for line in printed.splitlines()}
    assert lines["Contact"][1:4] == ["full", "30", "30"]
    assert "Opportunity: it has no field with numbers that may be read, and is left out" in printed
    assert "`ostiary sync --unread FILE`" in printed
    assert "API calls of the last 24 hours are used" in printed
    server.org.create("Contact", {"LastName": "Neu", "Phone": "+49 30 1234567"})
    assert "changes" in ostiary("sync").stdout
    same(config, server)
    assert "full" in ostiary("sync", "--full").stdout
    assert "sync             last in step" in ostiary("check").stdout


@pytest.mark.usefixtures("server")
def test_a_dry_run_says_what_would_change_and_writes_nothing(ostiary: Ostiary, state: Path) -> None:
    ostiary("migrate")
    before = dump(state)
    printed = ostiary("sync", "--dry-run", "--full").stdout
    assert "--dry-run: nothing written" in printed
    counted = json.loads(ostiary("sync", "--dry-run", "--json").stdout)
    contact = next(each for each in counted["objects"] if each["object"] == "Contact")
    assert (counted["dry_run"], contact["inserted"], contact["read"]) == (True, 30, 30)
    assert dump(state) == before


def test_counts_for_another_program(ostiary: Ostiary, server: OrgServer) -> None:
    result = json.loads(ostiary("sync", "--json").stdout)
    assert result["error"] == ""
    assert result["calls"] == sum(1 for _, path, _ in server.requests if "/oauth2/" not in path)
    assert {"object", "read", "inserted", "numbers_not_understood", "rows_per_second"} < result["objects"][
        0
    ].keys()


def test_the_numbers_that_are_not_understood(ostiary: Ostiary, server: OrgServer, tmp_path: Path) -> None:
    one = server.org.create("Contact", {"LastName": "Neu", "Phone": "ask, Bea", "Fax": "n/a"})
    ostiary("sync")
    file = tmp_path / "unread.csv"
    assert "written to" in ostiary("sync", "--unread", str(file)).stdout
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.reader(opened))
    assert rows[0] == ["Object", "Id", "Field", "Text"]
    assert ["Contact", one, "Phone", "ask, Bea"] in rows
    assert ["Contact", one, "Fax", "n/a"] in rows
    assert one in ostiary("sync", "--unread", "-").stdout
    assert "cannot be written" in str(ostiary("sync", "--unread", "/nowhere/x.csv", code=1).exception)


@pytest.mark.parametrize("words", [["--unread", "x.csv", "--full"], ["--accept-removals"], ["--unread"]])
def test_wrong_usage(ostiary: Ostiary, server: OrgServer, words: list[str]) -> None:
    ostiary("sync", *words, code=2)
    assert server.requests == []


@pytest.mark.usefixtures("server")
def test_an_object_that_is_not_in_step_is_exit_3(ostiary: Ostiary, config: Path) -> None:
    with config.open("a") as file:
        file.write('filters = {Lead = "Nonsense = 1"}\n')
    result = ostiary("sync", code=3)
    assert "not in step: Lead: Salesforce refuses the filter" in result.stderr
    assert "mend salesforce.filters.Lead" in json.loads(ostiary("sync", "--json", code=3).stdout)["error"]


def test_a_round_that_fails_tells_what_was_done(ostiary: Ostiary, server: OrgServer, config: Path) -> None:
    server.faults.add("error", path="/jobs/query/.*/results", after=1, times=None)
    result = ostiary("sync", code=1)
    assert isinstance(result.exception, SalesforceDown)
    assert "Account" in result.stdout
    failed = json.loads(ostiary("sync", "--json", code=1).stdout)
    assert failed["error"]
    server.faults.clear()
    ostiary("sync")
    same(config, server)


def test_while_another_process_exchanges_data_it_waits_and_then_says_so(
    ostiary: Ostiary, server: OrgServer, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "WAIT", 0.1)
    with salesforce_lock(state, 0):
        assert isinstance(ostiary("sync", code=1).exception, SalesforceBusy)
    assert server.requests == []
    ostiary("sync")


def test_without_settings_it_says_what_to_set(ostiary: Ostiary) -> None:
    assert "salesforce.client_id" in str(ostiary("sync", code=1).exception)


@pytest.mark.usefixtures("server")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_what_root_makes_belongs_to_the_service(ostiary: Ostiary, state: Path) -> None:
    os.chown(state, 65534, 65534)
    ostiary("sync")
    assert {each.stat().st_uid for each in state.iterdir() if each.is_file()} == {65534}
    assert stat.S_IMODE((state / "salesforce.lock").stat().st_mode) == 0o600


def progress(**values: Any) -> Progress:
    part = ObjectOutcome("Contact", "full", **values)
    return Progress(Outcome(objects=[part], calls=7), part, "reading")


def test_without_a_terminal_there_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "EVERY", 0.0)
    command._lines()(progress(read=2000, expected=5000, understood=3000, unread=12))
    printed = capsys.readouterr().err
    assert printed.startswith("Contact: 2,000 of 5,000 rows, ")
    assert printed.endswith("3,000 numbers understood, 12 not, 7 API calls\n")
    monkeypatch.setattr(command, "EVERY", 3600.0)
    command._lines()(progress(read=2000))
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_are_bars(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with command._reporter() as report:
        report(progress(read=2000, expected=5000, understood=3000, unread=12))
        report(Progress(Outcome(calls=8), ObjectOutcome("Lead"), "waiting"))
    printed = capsys.readouterr().err
    assert "2,000 of 5,000 rows" in printed
    assert "Salesforce is preparing the records" in printed
