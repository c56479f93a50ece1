"""A real Prometheus: the rules are sound, each fires when it must, and they hold before a real daemon."""

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from docs_daemon import daemon
from services.processes import Process, free_port, listens, until

from cm_client import Client

HERE = Path(__file__).parent
DEPLOY = HERE.parents[1] / "deploy"
RULES = DEPLOY / "prometheus" / "cmd-daemon.rules.yml"

CONFIGURATION = """
plugins = ["local", "facility", "fakes"]
metrics = "127.0.0.1:{port}"

[facility.USDF]
slots = 5
butlers = {{ demo = "nowhere" }}
stacks = {{ w1 = "python3" }}
drivers = {{ process = "fake", collect = "fake" }}

[facility.USDF.settings.fake]
poll_s = 0.05
"""

CAMPAIGN = """
campaign: small
owner: me
stack: w1
butler: {repo: demo, inputs: [a], output: u/me/small}
facilities: [USDF]
defaults: {retry: {attempts: 1}}
steps:
  one:
    pipeline: x.yaml#a
    split: {splitter: fake, count: 3}
    params: {fake: {quanta: {a: [10, 5]}}}
"""


def _promtool(program: Path, *words: str) -> str:
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_and_sample_configuration_are_sound(promtool: Path) -> None:
    assert "SUCCESS" in _promtool(promtool, "check", "rules", str(RULES))
    sample = DEPLOY / "prometheus" / "prometheus.yml"
    assert "is valid" in _promtool(promtool, "check", "config", str(sample))


def test_each_alert_fires_and_is_silent_where_it_must_be(promtool: Path) -> None:
    _promtool(promtool, "test", "rules", str(HERE / "alerts.yml"))


class Watching:
    """A Prometheus that scrapes one daemon every second with the shipped rules."""

    def __init__(self, program: Path, folder: Path, target: int) -> None:
        self.port = free_port()
        sample = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        sample["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        sample["rule_files"] = [str(folder / "rules.yml")]
        sample["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
        rules = yaml.safe_load(RULES.read_text())
        for rule in rules["groups"][0]["rules"]:
            rule.pop("for", None)  # a test has not twelve hours
        (folder / "rules.yml").write_text(yaml.safe_dump(rules))
        (folder / "prometheus.yml").write_text(yaml.safe_dump(sample))
        argv = [
            str(program),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        log = folder / "prometheus.log"
        self.process = Process("Prometheus", argv, log, lambda: listens(self.port))

    def ask(self, what: str, **query: str) -> Any:
        """What the HTTP API answers."""
        address = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urlencode(query)}"
        with urlopen(address, timeout=10) as answer:
            return json.load(answer)["data"]

    def value(self, expression: str) -> float | None:
        """The one value of an expression; None if it has none."""
        found = self.ask("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> dict[str, dict[str, str]]:
        """The summaries and descriptions of what fires, by alert."""
        alerts = self.ask("alerts")["alerts"]
        return {a["labels"]["alertname"]: a["annotations"] for a in alerts}


@pytest.mark.timeout(400)
def test_a_real_daemon_is_scraped_and_its_alerts_evaluated(
    tmp_path: Path, prometheus: Path
) -> None:
    port = free_port()
    watching = Watching(prometheus, tmp_path, port)
    watching.process.start()
    try:
        with daemon(tmp_path, CONFIGURATION.format(port=port)) as address:
            # The groups end below their bar: they wait for a person.
            with Client(address) as client:
                client.apply_campaign(CAMPAIGN, start=True)
                waits = 'sum(cmd_groups{campaign="small",state=~"HELD|REVIEW"}) == 3'
                until(lambda: watching.value(waits), "three groups that wait")
            until(lambda: "CmdGroupsHeld" in watching.firing(), "the alert of held groups")
            alert = watching.firing()["CmdGroupsHeld"]
            assert alert["summary"].startswith("3 groups of small")
            assert "`cm status small`" in alert["description"]
            assert "CmdDaemonDown" not in watching.firing()
            assert "CmdNotAccepting" not in watching.firing()
            health = [
                rule["health"] for g in watching.ask("rules")["groups"] for rule in g["rules"]
            ]
            assert set(health) == {"ok"}
            _panels_are_understood(watching)
        until(lambda: "CmdDaemonDown" in watching.firing(), "the alert of a daemon that is down")
    finally:
        watching.process.stop()


def _panels_are_understood(watching: Watching) -> None:
    """Prometheus takes every expression of the dashboard."""
    board = json.loads((DEPLOY / "grafana" / "cmd-daemon.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            asked = target["expr"].replace("$__rate_interval", "1m")
            asked = asked.replace("$campaign", ".*").replace("$facility", ".*")
            assert "result" in watching.ask("query", query=asked), panel["title"]
