"""What is printed where, and who is asking."""

from __future__ import annotations

import io
import os
import pwd
from pathlib import Path

import pytest
from rich.console import Console

from agi_server.cli import context
from agi_server.cli.context import give_to_owner, print_table, who

COLUMNS = ["pattern", "reason", "who"]
ROWS = [
    ["+4930123456", "sells [red]umbrellas[/red] on the telephone", "cli:ana"],
    ["+4930999999", "", "cli:rui"],
]


def on_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> str:
    """Return what a terminal of this width shows."""
    monkeypatch.setenv("TERM", "xterm")  # a dumb one has no width of its own
    terminal = Console(
        file=io.StringIO(), force_terminal=True, width=width, color_system=None, highlight=False
    )
    monkeypatch.setattr(context, "console", terminal)
    print_table(COLUMNS, ROWS)
    assert isinstance(terminal.file, io.StringIO)
    return terminal.file.getvalue()


def test_a_program_reads_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, [*ROWS, ["two\nlines", "x" * 300, ""]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("+4930123456  sells [red]umbrellas[/red] on the telephone")
    assert lines[2].split() == ["+4930999999", "-", "cli:rui"]
    assert lines[3].startswith("two lines    xxx")


def test_a_terminal_shows_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(monkeypatch, 100)
    assert "sells [red]umbrellas[/red] on the telephone" in shown
    assert "─" in shown


@pytest.mark.parametrize("width", [60, 50, 34])
def test_no_word_is_cut_however_narrow_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    shown = on_terminal(monkeypatch, width)
    assert "…" not in shown
    assert {"+4930123456", "+4930999999", "cli:ana", "telephone"} <= set(shown.split())


def test_a_narrow_terminal_shows_record_by_record(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = on_terminal(monkeypatch, 34).split("\n\n")
    assert first.split()[:2] == ["pattern", "+4930123456"]
    assert [line.split() for line in second.splitlines()] == [["pattern", "+4930999999"], ["who", "cli:rui"]]


def test_who_is_the_person_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ana")
    assert who() == "cli:ana"
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setenv("USER", "somebody-else")
    assert who() == f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_gives_away_a_file_and_not_what_a_link_points_to(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    (theirs / "file").touch()
    ours.touch()
    (theirs / "link").symlink_to(ours)
    os.chown(theirs, 65534, 65534)
    for name in ("file", "link", "none"):
        give_to_owner(theirs / name)
    assert (theirs / "file").stat().st_uid == 65534
    assert ours.stat().st_uid == 0
