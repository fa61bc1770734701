"""The page and the dashboard say what the code does."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.errors import Reason
from tests import documented
from tests.documented import METRICS
from tests.settings import ENVIRON, GATEWAY, gateway

DASHBOARD = Path(__file__).resolve().parent.parent / "deploy" / "grafana" / "dashboard.json"
ALERTS = DASHBOARD.parents[1] / "prometheus" / "alerts.yaml"
BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
# With the label of one claim: metrics.claims makes them, and the dashboard shows teams.
KNOWN = {
    name: {*metric.labels, *(["caller_team"] if metric.claims else [])}
    for metric in METRICS
    for name in documented.samples(metric)
}
PANELS = {"timeseries", "stat", "bargauge"}

_WORDS = {
    "by",
    "sum",
    "min",
    "max",
    "time",
    "rate",
    "increase",
    "topk",
    "histogram_quantile",
    "label_values",
    "and",
    "or",
    "vector",
}
_SELECTOR = re.compile(r'([a-zA-Z_:][\w:]*)\s*(\{(?:[^}"]|"[^"]*")*\})?')
_LABEL = re.compile(r'([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"')


def test_the_page_is_generated(tmp_path: Path) -> None:
    text = documented.PAGE.read_text("utf-8")
    assert documented.page(text, tmp_path) == text, "run: python -m tests.write_docs"


def test_the_page_knows_every_metric_and_field(tmp_path: Path) -> None:
    text = documented.PAGE.read_text("utf-8")
    for metric in METRICS:
        assert f"| `{metric.name}" in text
    for field in documented.FIELDS:
        assert f"| `{field}` |" in text


def test_the_configuration_on_the_page_is_one(tmp_path: Path) -> None:
    keys = re.findall(r"```yaml\n(metrics.*?)```", documented.PAGE.read_text("utf-8"), re.DOTALL)
    assert len(keys) == 1
    gate = gateway(tmp_path, f"{GATEWAY}\n{keys[0]}", ENVIRON | {"OTLP_AUTHORIZATION": "Bearer t"})
    assert gate.source.config.metrics and gate.source.config.health and gate.source.config.tracing


def named(query: str) -> tuple[dict[str, set[str]], set[str]]:
    """The metrics a query names, with the labels that select them, and the labels it sums by."""
    summed = {label.strip() for group in re.findall(r"\bby\s*\(([^)]*)\)", query) for label in group.split(",")}
    rest = re.sub(r"\bby\s*\([^)]*\)|\[[^\]]*\]", "", query)
    found: dict[str, set[str]] = {}
    for name, selector in _SELECTOR.findall(rest):
        if name not in _WORDS:
            found.setdefault(name, set()).update(_LABEL.findall(selector))
    return found, summed


def problems(query: str) -> list[str]:
    metrics, summed = named(query)
    found = [f"no metric {name}" for name in metrics if name not in KNOWN]
    found += [] if metrics else ["no metric at all"]
    for name in metrics.keys() & KNOWN.keys():
        usable = KNOWN[name] | ({"le"} if name.endswith("_bucket") else set())
        found += [f"{name} has no label {label}" for label in sorted((metrics[name] | summed) - usable)]
    return found


QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]


RULES = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"][0]["rules"]
# Prometheus adds it, from the address that it scrapes.
INSTANCE = "instance"


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_every_alert_names_what_exists(rule: dict[str, Any]) -> None:
    query = re.sub(r"\boffset \w+", "", rule["expr"])
    found = [problem for problem in problems(query) if not problem.endswith(f"no label {INSTANCE}")]
    assert not [problem for problem in found if problem != "no metric up"]
    reasons = {reason for group in re.findall(r'reason=~?"([^"]*)"', query) for reason in group.split("|")}
    assert reasons <= {str(reason) for reason in Reason}


def promtool(*arguments: str) -> str:
    found = shutil.which("promtool")
    if found is None and os.environ.get("TOOLS") != "required":
        pytest.skip("there is no promtool on this machine (Debian: apt install prometheus)")
    assert found is not None, "TOOLS=required, and there is none"
    done = subprocess.run([found, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_alerts() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(ALERTS))


def test_the_alerts_fire_for_what_they_are_for() -> None:
    promtool("test", "rules", str(Path(__file__).parent / "data" / "alerts_test.yaml"))


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_names_what_exists(query: str) -> None:
    assert not problems(query)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("sum(rate(extproc_requests[5m]))", ["no metric extproc_requests"]),
        ("sum by (team) (extproc_requests_total)", ["extproc_requests_total has no label team"]),
        ("sum by (caller_team) (extproc_ready)", ["extproc_ready has no label caller_team"]),
        ('extproc_requests_total{error_type!=""}', ["extproc_requests_total has no label error_type"]),
        ("sum by (le) (gen_ai_client_token_usage_sum)", ["gen_ai_client_token_usage_sum has no label le"]),
        ('sum(rate(extproc_requests_total{reason="x}y"}[5m])) / nothing', ["no metric nothing"]),
        ("1 + 1", ["no metric at all"]),
    ],
)
def test_a_query_that_names_something_else_would_be_found(query: str, found: list[str]) -> None:
    assert problems(query) == found


def test_every_metric_is_shown() -> None:
    shown = {name for query in QUERIES for name in named(query)[0]}
    assert not [metric.name for metric in METRICS if not shown & set(documented.samples(metric))]


def test_variables_are_defined_and_ask_for_what_exists() -> None:
    variables = {one["name"]: one for one in BOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(BOARD["panels"])))
    assert used == set(variables)
    for one in variables.values():
        if one["type"] == "query":
            name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", one["definition"]).groups()  # type: ignore[union-attr]
            assert label in KNOWN[name] and one["query"]["query"] == one["definition"]


def test_the_dashboard_has_the_form_grafana_reads() -> None:
    """https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/"""
    assert isinstance(BOARD["schemaVersion"], int) and BOARD["schemaVersion"] >= 36
    assert BOARD["title"] and re.fullmatch(r"[\w-]{1,40}", BOARD["uid"]) and "id" not in BOARD
    assert set(BOARD["time"]) == {"from", "to"}
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in PANELS and panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert {"defaults", "overrides"} == set(panel["fieldConfig"])
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24 and not cells & taken
        taken |= cells
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
