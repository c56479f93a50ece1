"""Alert rules and dashboard: every metric they name is there, every command they say is one."""

import json
import re
from typing import Any

import click
import yaml
from docs_pages import ROOT

from cm_cli.main import cli
from cmd_daemon.observe.metrics import registry

RULES = ROOT / "deploy" / "prometheus" / "cmd-daemon.rules.yml"
CASES = ROOT / "tests" / "prometheus" / "alerts.yml"
BOARD = ROOT / "deploy" / "grafana" / "cmd-daemon.json"

RULE_LIST: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0][
    "rules"
]
DASHBOARD: dict[str, Any] = json.loads(BOARD.read_text(encoding="utf-8"))


def _known() -> dict[str, set[str]]:
    """The labels of each series, by its name."""
    found: dict[str, set[str]] = {}
    for collector in list(registry._collector_to_names):
        labels = set(getattr(collector, "_labelnames", ()))
        for name in registry._collector_to_names[collector]:
            found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return found


def _check(expression: str) -> int:
    """Fails for a series or a label that does not exist; how many series are named."""
    known = _known()
    named = re.findall(r"\b(cmd_\w+)(?:\{([^}]*)\})?", expression)
    for series, selector in named:
        assert series in known, expression
        labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", selector))
        assert labels <= known[series], expression
    return len(named)


def test_every_series_in_the_rules_exists() -> None:
    for rule in RULE_LIST:
        assert _check(rule["expr"]) or "up{" in rule["expr"]


def test_every_series_on_the_dashboard_exists() -> None:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert len(panels) > 15
    for panel in panels:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert _check(target["expr"]), panel["title"]


def test_the_dashboard_is_whole() -> None:
    assert DASHBOARD["templating"]["list"][0]["name"] == "datasource"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_says_what_to_run() -> None:
    context = click.Context(cli)
    for rule in RULE_LIST:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        said = re.findall(r"`([^`]+)`", rule["annotations"]["description"])
        assert said, rule["alert"]
        for command in said:
            program, word = command.split()[:2]
            if program == "cm":
                assert cli.get_command(context, word) is not None, command


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    cases = yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
    names = [rule["alert"] for rule in RULE_LIST]
    wanted = [f"{name} {what}" for name in names for what in ("fires", "is silent")]
    assert [case["name"] for case in cases] == wanted
