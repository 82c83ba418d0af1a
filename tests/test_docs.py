"""The documentation names only what there is, and names all of it where it says so."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from fastapi.routing import APIRoute

from agi_server.calls.directory import RuleKind, Treatment
from agi_server.calls.naming import FIELDS
from agi_server.cli import app
from agi_server.cli.dids import COLUMNS as DID_KEYS
from agi_server.exchange.headings import AGENT_HEADINGS, BLACKLIST_HEADINGS, CONTACT_HEADINGS
from agi_server.metrics import Metrics
from agi_server.scripts import SCRIPTS, variables
from agi_server.settings import SECTIONS, VARIABLES
from agi_server.web.access import Needs
from agi_server.web.app import API
from agi_server.web.counts import Counts

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "dialplan").rglob("*.md")),
    *sorted((ROOT / "systemd").rglob("*.md")),
]
SETTINGS = {f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys}
_SETTING = re.compile(rf"(?<![\w./-])(?:{'|'.join(SECTIONS)})\.(?!csv\b|vcf\b|conf\b)[a-z_]+(?![\w/(])")
_VARIABLE = re.compile(r"OSTIARY_[A-Z]+__[A-Z_]+")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_COMMAND = re.compile(  # up to a pipe, a redirection, a comment or the end of the line
    r"""(?:^|[\s/$])ostiary (?=[a-z-])((?:'[^'\n]*'|"[^"\n]*"|\\\n|(?<=\w)\|(?=\w)|[^`|&;#<>()\n])+)"""
)
_METRIC = re.compile(r"`((?:ostiary|process)_[a-z_]+)`")
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def code_of(text: str) -> Iterator[str]:
    """Yield every block and every span of code."""
    for match in _FENCE.finditer(text):
        yield match[2]
    yield from _SPAN.findall(_FENCE.sub("", text))


def is_setting(name: str) -> bool:
    """Return whether a setting is called so, or a secret's credential (`ami.secret`)."""
    return name in SETTINGS or f"{name}_file" in SETTINGS


@pytest.mark.parametrize("name", ["operations.md", "agi.md", "matching.md", "files.md", "settings.md"])
def test_the_index_has_every_page(name: str) -> None:
    assert f"]({name})" in text_of("README.md")


@pages
def test_every_setting_named_exists(page: Path) -> None:
    named = {name for code in code_of(page.read_text(encoding="utf-8")) for name in _SETTING.findall(code)}
    assert [name for name in named if not is_setting(name)] == []


@pages
def test_every_variable_of_a_setting_named_exists(page: Path) -> None:
    named = set(_VARIABLE.findall(page.read_text(encoding="utf-8")))
    wrong = {"OSTIARY_NUMBERS__REGIN", "OSTIARY_SECTION__KEY"}  # shown as a mistake, and as a pattern
    assert named - set(VARIABLES) - wrong == set()


def walk(words: list[str]) -> str:
    """Follow a command line through the commands; return what is wrong with it, or ''."""
    command: Any = typer.main.get_command(app)
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if word.startswith("-"):
            if re.match(r"-{1,2}[a-z]", word) and word.partition("=")[0] not in known | {"--help"}:
                return f"{command.name} has no option {word}"
        elif hasattr(command, "list_commands"):
            found = [command.get_command(None, name) for name in word.split("|")]
            if None in found:
                return f"{command.name} has no command {word}"
            command = found[0]
            known |= {option for parameter in command.params for option in parameter.opts}
            known |= {option for parameter in command.params for option in parameter.secondary_opts}
    return ""


def command_lines(text: str) -> Iterator[str]:
    for code in code_of(text):
        yield from (line.replace("\\\n", " ").strip() for line in _COMMAND.findall(code))


@pages
def test_every_command_named_exists(page: Path) -> None:
    wrong = []
    for line in command_lines(page.read_text(encoding="utf-8")):
        words = shlex.split(line.partition("  ")[0].replace("…", ""))
        if words and (problem := walk(words)):
            wrong.append(f"ostiary {line}: {problem}")
    assert wrong == []


def test_the_commands_of_the_pages_are_found() -> None:
    lines = [line for page in PAGES for line in command_lines(page.read_text(encoding="utf-8"))]
    assert len(lines) > 40
    assert walk(["nosuch"])
    assert walk(["blacklist", "nosuch"])
    assert walk(["import", "contacts", "--nosuch"])
    assert not walk(["--config", "blacklist", "add", "+4930123456", "--expires", "30d"])


def anchors_of(page: Path) -> set[str]:
    """Return what GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ +(.*)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {anchor_of(heading) for heading in headings}


def anchor_of(heading: str) -> str:
    kept = (
        char for char in heading.lower() if char in " -_" or unicodedata.category(char)[0] in {"L", "N", "M"}
    )
    return "".join(kept).replace(" ", "-")


@pages
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            wrong.append(link)
    assert wrong == []


def metric_names() -> set[str]:
    return {
        re.sub(r"$", {"counter": "_total", "info": "_info"}.get(family.type, ""), family.name, count=1)
        for registry in (Metrics().registry, Counts().registry)
        for family in registry.collect()
    }


def test_every_metric_is_in_the_manual_and_no_other() -> None:
    assert "ostiary_calls_total" in metric_names()
    named = {name for page in PAGES for name in _METRIC.findall(page.read_text(encoding="utf-8"))}
    assert named == metric_names()
    assert {*_METRIC.findall(text_of("operations.md"))} == metric_names()


def test_every_script_and_variable_is_in_the_manual() -> None:
    named = {name for code in code_of(text_of("agi.md")) for name in re.findall(r"[A-Za-z_]+", code)}
    assert set(SCRIPTS) - named == set()
    behind_prefix = [
        value
        for name, value in vars(variables).items()
        if name.isupper() and not name.startswith("_") and name == value and name != "CLAVESF"
    ]
    assert len(behind_prefix) == 12
    assert {f"OSTIARY_{name}" for name in behind_prefix} | {"CLAVESF"} <= named
    assert f"`{variables.CONNECTED_NAME}`" in text_of("agi.md")


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("files.md", [*CONTACT_HEADINGS, *BLACKLIST_HEADINGS, *AGENT_HEADINGS]),
        ("matching.md", [f"{{{field}}}" for field in FIELDS]),
        ("matching.md", [*DID_KEYS, *RuleKind]),
    ],
)
def test_every_name_that_people_write_is_in_the_manual(page: str, names: list[str]) -> None:
    spans = set(_SPAN.findall(text_of(page)))
    assert [name for name in names if name not in spans] == []


def test_every_treatment_is_in_the_manual() -> None:
    spans = {span.partition(":")[0] for span in _SPAN.findall(text_of("matching.md"))}
    assert [treatment for treatment in Treatment if treatment not in spans] == []


def test_the_page_of_the_api_has_every_address_and_what_it_needs() -> None:
    shown = re.findall(r"^\| `([A-Z]+) (/\S+)` \| (\S+) \|", text_of("api.md"), re.MULTILINE)
    there = [
        (method, re.sub(r":\w+}", "}", route.path), _scope_of(route))
        for module in API
        for route in module.router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in (route.methods or set()) - {"HEAD"}
    ]
    assert sorted(shown) == sorted(there)


def _scope_of(route: APIRoute) -> str:
    (needs,) = (each.call for each in route.dependant.dependencies if isinstance(each.call, Needs))
    return needs.scope or "any"
