"""The dashboard and the alerts speak of metrics there are, and Prometheus's own tool takes them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from agi_server.metrics import Metrics
from agi_server.web.counts import Counts
from tests.test_docs import is_setting

MONITORING = Path(__file__).parent.parent / "docs" / "monitoring"
ALERTS, ALERTS_TEST, PAGE = (MONITORING / name for name in ("alerts.yml", "alerts_test.yml", "README.md"))
PROMTOOL = shutil.which("promtool")
_NAME = re.compile(r"\b(?:ostiary|process)_[a-z_]+\b")
_LABELS = re.compile(r"\b((?:ostiary|process)_[a-z_]+)\{([^}]*)\}")
_SUFFIXES = {"counter": ("_total",), "info": ("_info",), "histogram": ("_bucket", "_sum", "_count")}
_OF_OTHERS = {"up", "probe_success"}  # Prometheus's own, and the blackbox exporter's
_OWN_LABELS = {"job", "instance"}  # those that Prometheus adds


def families() -> list[Metric]:
    registries: list[CollectorRegistry] = [Metrics().registry, Counts().registry]
    return [family for registry in registries for family in registry.collect()]


def names() -> set[str]:
    """Return every name that a query may ask for."""
    return {family.name + suffix for family in families() for suffix in _SUFFIXES.get(family.type, ("",))}


def dashboard() -> dict[str, Any]:
    board = json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8"))
    assert isinstance(board, dict)
    return board


def queries() -> list[str]:
    """Return every query of the dashboard."""
    board = dashboard()
    panels = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    notes = [each["expr"] for each in board["annotations"]["list"]]
    variables = [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    return [*panels, *notes, *variables]


def alert_rules() -> list[tuple[str, str]]:
    """Return name and text of each rule."""
    _, *blocks = re.split(r"^ +- alert: ", ALERTS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [(block.split("\n", 1)[0], block) for block in blocks]


def test_every_metric_of_the_dashboard_exists() -> None:
    named = {name for query in queries() for name in _NAME.findall(query)}
    assert len(named) > 25
    assert named - names() == set()


def test_every_metric_of_the_alerts_exists() -> None:
    expressions = [re.split(r"\n +(?:for|labels):", rule)[0] for _, rule in alert_rules()]
    assert len(expressions) > 15
    for expression in expressions:
        named = {*_NAME.findall(expression), *(_OF_OTHERS & set(re.findall(r"\w+", expression)))}
        assert named, expression
        assert named - names() - _OF_OTHERS == set()


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = {re.sub("_(bucket|sum|count)$", "", name) for query in queries() for name in _NAME.findall(query)}
    ours = {family.name + ("_total" if family.type == "counter" else "") for family in families()}
    missing = {name for name in ours if name.startswith("ostiary_")} - shown
    assert missing <= {
        "ostiary_build",
        "ostiary_salesforce_up",
    }  # in the choice of instances; the lag says more


@pytest.mark.parametrize("text", [*queries(), ALERTS.read_text(encoding="utf-8")], ids=lambda text: text[:60])
def test_every_label_asked_for_exists(text: str) -> None:
    samples = {
        sample.name: set(sample.labels)
        for registry in (Metrics().registry, Counts().registry)
        for family in registry.collect()
        for sample in family.samples
    }
    for name, matchers in _LABELS.findall(text):
        asked = set(re.findall(r"(\w+)=", matchers)) - _OWN_LABELS
        if samples.get(name):  # a family without a sample yet does not tell its labels
            assert asked - samples[name] == set(), name


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board = dashboard()
    assert board["schemaVersion"] >= 38  # Grafana 10
    assert board["uid"] == "ostiary"
    assert "id" not in board  # the database gives it one
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    variables = {each["name"] for each in board["templating"]["list"]}
    for panel in panels:
        assert panel["type"] in {"row", "stat", "timeseries"}
        if panel["type"] == "row":
            continue
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        for target in panel["targets"]:
            used = set(re.findall(r"\$\{?(\w+)", target["expr"])) - {"__rate_interval", "__interval"}
            assert used <= variables
    for query in queries():
        assert query.count("(") == query.count(")")


def test_no_panel_lies_on_another() -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

    for one, other in combinations(dashboard()["panels"], 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])


def test_every_alert_says_what_to_do() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, rule in alert_rules():
        for part in ("severity: page", "severity: ticket"):
            if part in rule:
                break
        else:
            pytest.fail(f"{name} has no severity")
        assert "summary:" in rule
        assert "action:" in rule
        assert f"`{name}`" in page
        assert name in ALERTS_TEST.read_text(encoding="utf-8"), "it is not tested"


def test_settings_named_exist() -> None:
    named = re.findall(
        r"\b((?:fastagi|http|mqtt|salesforce|storage|numbers)\.[a-z_]+)\b(?!\.)",
        ALERTS.read_text(encoding="utf-8") + PAGE.read_text(encoding="utf-8") + json.dumps(dashboard()),
    )
    assert named
    assert [name for name in named if not is_setting(name)] == []


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: the alert rules are not tested")
@pytest.mark.parametrize("arguments", [("check", "rules", ALERTS), ("test", "rules", ALERTS_TEST)])
def test_promtool(arguments: tuple[str | Path, ...]) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: the alert rules are not tested")
def test_promtool_reads_every_query(tmp_path: Path) -> None:
    """The dashboard's queries, as rules: promtool then says whether they are any."""
    asked = [query for query in queries() if not query.startswith("label_values(")]
    lines = ["groups:", "- name: dashboard", "  rules:"]
    for number, query in enumerate(asked):
        plain = (
            query.replace("$__rate_interval", "5m").replace("$__interval", "5m").replace("$instance", ".*")
        )
        lines += [f"  - record: dashboard:{number}", f"    expr: {json.dumps(plain)}"]
    rules = tmp_path / "dashboard.yml"
    rules.write_text("\n".join(lines), encoding="utf-8")
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "check", "rules", rules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(asked)} rules found" in done.stdout
