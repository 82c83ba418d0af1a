"""`ostiary dialplan`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import agi_server
from agi_server.cli import dialplan
from agi_server.cli.dialplan import PARTS, folder
from tests.cli.conftest import Ostiary


def servers(text: str) -> list[str]:
    return re.findall(r"^OSTIARY_SERVER\s*=\s*(\S+)", text, re.MULTILINE)


@pytest.mark.parametrize("pbx", ["asterisk", "freepbx"])
def test_the_server_is_put_in_and_nothing_else_changes(ostiary: Ostiary, pbx: str) -> None:
    text = ostiary("dialplan", pbx, "--server", "pbx-7.example:4999").stdout
    assert servers(text) == ["pbx-7.example:4999"]
    lines = text.splitlines()
    for file in [folder() / name for name in PARTS[dialplan.Pbx(pbx)]]:
        for line in file.read_text().splitlines():
            assert line in lines or line.startswith("OSTIARY_SERVER")


def test_every_part_says_where_it_goes(ostiary: Ostiary) -> None:
    text = ostiary("dialplan", "freepbx").stdout
    saved, added = (
        text.index("/etc/asterisk/ostiary.conf"),
        text.index("extensions_custom.conf, then: fwconsole"),
    )
    assert saved < text.index("[ostiary-incoming]") < added < text.index("[ext-did-custom]")
    assert "dialplan reload" in ostiary("dialplan", "asterisk").stdout


def test_the_manager_s_user_is_printed_as_it_is_shipped(ostiary: Ostiary) -> None:
    text = ostiary("dialplan", "manager").stdout
    assert (folder() / "asterisk/manager.conf").read_text() in text
    assert text.index("manager_custom.conf") < text.index("[ostiary]")


def test_the_server_is_that_of_the_settings(ostiary: Ostiary, config: Path) -> None:
    listen = re.search(r'\[fastagi\]\nlisten = "(.*)"', config.read_text())
    assert listen is not None
    assert servers(ostiary("dialplan", "asterisk").stdout) == [listen[1]]
    config.write_text('[fastagi]\nlisten = "0.0.0.0:4573"\n')
    assert servers(ostiary("dialplan", "asterisk").stdout) == ["127.0.0.1:4573"]
    config.write_text('[fastagi]\nlisten = "[::]:4573"\n')
    assert servers(ostiary("dialplan", "asterisk").stdout) == ["[::1]:4573"]


@pytest.mark.parametrize(
    "server", ["pbx", "pbx:", "pbx:4573,1", "pbx:4573\nexten => s,1,System(x)", "::1:4573", "a b:1"]
)
def test_what_is_no_server(ostiary: Ostiary, server: str) -> None:
    assert "host:port" in str(ostiary("dialplan", "asterisk", "--server", server, code=1).exception)


def test_an_unknown_pbx_is_wrong_usage(ostiary: Ostiary) -> None:
    ostiary("dialplan", "switchboard", code=2)


def test_every_file_there_is_goes_somewhere() -> None:
    named = {name for parts in PARTS.values() for name in parts}
    there = {f"{pbx}/{file.name}" for pbx in dialplan.Pbx for file in (folder() / pbx).glob("*.conf")}
    assert named == there


def test_an_installed_package_has_them_inside(
    ostiary: Ostiary, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "site-packages" / "agi_server"
    (package / "dialplan_files" / "asterisk").mkdir(parents=True)
    (package / "dialplan_files" / "asterisk" / "ostiary.conf").write_text("OSTIARY_SERVER = x ; here\n")
    monkeypatch.setattr(agi_server, "__file__", str(package / "__init__.py"))
    assert ostiary("dialplan", "asterisk", "--server", "a:1").stdout.endswith(
        "\nOSTIARY_SERVER = a:1 ; here\n"
    )
    assert "installed completely" in str(ostiary("dialplan", "freepbx", code=1).exception)
