"""`cm report` through a real daemon: what it counts, as text, JSON and a page that needs nothing else."""

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from client_setup import Cm, wait_until
from living_daemon import LivingDaemon

from cm_client import Client
from cm_client.words import state_word
from cmd_daemon.testing import Behaviour

FILE = """\
campaign: {name}
owner: "<b>me</b>"
ticket: "DM-1 <img src=x onerror=alert(1)>"
stack: w1
butler: {{repo: demo, inputs: [a], output: u/me/{name}}}
facilities: [USDF, FrDF]
placement: {{algorithm: balanced, shares: {{USDF: 0.5, FrDF: 0.5}}}}
defaults: {{retry: {{attempts: 2, backoff: 1 s, backoff_max: 1 s}}, resources: {{cores: 2}}}}
steps:
  isr:
    pipeline: x.yaml#a
    split: {{by: tract, ranges: ["1..4"]}}
    accept: {{at_least: 0.7}}
  coadd:
    after: [isr]
    pipeline: x.yaml#b
    split: {{by: tract, ranges: ["1..2"]}}
"""

HOSTILE = "</style><script>alert(1)</script>\x1b[31m<img src=x onerror=alert(2)> {{ 7 * 7 }}"
KILLED = Behaviour(ok=False, exit_code=137, message="killed at 8123 kB")
LOST = Behaviour(quanta={"isr": (10, 8)}, message="no flat")


class Seen(HTMLParser):
    """What a browser makes of a page: its tags, their attributes, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingDaemon]:
    """`now` has a group that needs two attempts, one with losses and one that is held; `then` none."""
    made = LivingDaemon(tmp_path_factory.mktemp("report"), "USDF", "FrDF")
    for facility in ("USDF", "FrDF"):
        behaviours = made.world(facility).behaviours
        behaviours[""] = Behaviour(quanta={"isr": (10, 10)}, run_s=0.1)
        behaviours["now/isr/1/process#1"] = KILLED
        behaviours["now/isr/2/process#1"] = LOST
        for attempt in (1, 2):
            bad = Behaviour(ok=False, exit_code=3, message=HOSTILE)
            behaviours[f"now/coadd/2/process#{attempt}"] = bad
    with Client(made.target) as client:
        for name in ("now", "then"):
            client.apply_campaign(FILE.format(name=name), start=True)
        client.apply_campaign(FILE.format(name="draft"))
        wait_until(lambda: client.get_campaign("campaigns/now").group_counts.get("HELD") == 1)
        wait_until(lambda: client.get_campaign("campaigns/now").group_counts.get("ACCEPTED") == 5)
        wait_until(lambda: state_word(client.get_campaign("campaigns/then")) == "ACCEPTED")
    yield made
    made.close()


@pytest.fixture
def cm(living: LivingDaemon) -> Cm:
    made = Cm(living.target)
    made.environment["COLUMNS"] = "100"
    return made


def test_the_figures_are_those_of_what_happened(cm: Cm) -> None:
    told = json.loads(cm.here("report", "now", "--json").stdout)
    figures = told["figures"]
    assert (figures["groups"], figures["groups_accepted"], figures["groups_lost"]) == (6, 5, 0)
    assert (figures["attempts"], figures["failed"]) == (13, 3)
    assert figures["retries"] == 2
    assert (figures["quanta_succeeded"], figures["quanta_lost"]) == (48, 2)
    # Processes have the two cores of their step; collecting has none.
    process = [cost for cost in told["costs"] if cost["kind"] == "process"]
    seconds = sum(cost["seconds"] for cost in process)
    assert figures["core_seconds"] == pytest.approx(2 * seconds)
    assert figures["core_seconds"] > figures["failed_core_seconds"]
    losses = {loss["group"].rpartition("steps/")[2]: loss for loss in told["losses"]}
    assert set(losses) == {"isr/groups/2", "coadd/groups/2"}
    assert "accepted with losses" in losses["isr/groups/2"]["reason"]
    assert "2 of 2 attempts used" in losses["coadd/groups/2"]["reason"]
    by_facility = told["steps"][0]["by_facility"].values()
    assert sum(sum(line["groups"].values()) for line in by_facility) == 4
    assert sum(line["attempts"] for line in by_facility) == told["steps"][0]["attempts"]


def test_a_former_campaign_is_beside_it(cm: Cm) -> None:
    told = json.loads(cm.here("report", "now", "--against", "then", "--json").stdout)["against"]
    assert told["campaign"] == "campaigns/then"
    assert told["differences"]["failed"] == 3
    assert told["differences"]["groups"] == 0
    shown = " ".join(cm.here("report", "now", "--against", "then").stdout.split())
    assert "now against then" in shown
    assert "attempts failed 3 0 +3" in shown


def test_the_summary_fits_a_terminal(cm: Cm) -> None:
    shown = cm.here("report", "now", "--against", "then")
    assert shown.returncode == 0, shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= 100
    assert "\x1b[31m" not in shown.stdout
    for words in ("Losses and what waits (2)", "Failures by cause (3)", "Slowest groups", "coadd"):
        assert words in shown.stdout


def test_the_page_needs_nothing_else_and_runs_nothing(cm: Cm, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    shown = cm.here("report", "now", "--html", str(file), "--against", "then")
    assert (shown.returncode, str(file) in shown.stdout) == (0, True), shown.stderr
    page = file.read_text()
    seen = Seen()
    seen.feed(page)
    assert seen.tags.isdisjoint({"script", "img", "iframe", "link", "object", "embed"})
    assert [name for name, _ in seen.attributes if name.startswith("on") or name == "src"] == []
    assert {value[0] for name, value in seen.attributes if name.endswith("href") and value} == {"#"}
    assert "url(http" not in page
    assert page.count("</style>") == 1
    assert "</style><script>alert(1)</script>[31m<img src=x onerror=alert(2)>" in seen.text
    assert "DM-1 <img src=x onerror=alert(1)>" in seen.text
    assert "{{ 7 * 7 }}" in seen.text
    assert "\x1b" not in page
    for words in ("Against then", "Failures by cause", "Slowest groups", "accepted with losses"):
        assert words in page


def test_a_campaign_that_never_began_has_a_report(cm: Cm, tmp_path: Path) -> None:
    file = tmp_path / "draft.html"
    assert cm.here("report", "draft", "--html", str(file), "--against", "now").returncode == 0
    assert "Nothing has run." in file.read_text()
    assert cm.here("report", "draft").returncode == 0


def test_what_cannot_be_made_is_said(cm: Cm, tmp_path: Path) -> None:
    assert cm.here("report", "none").returncode == 1
    assert "campaigns/none" in cm.here("report", "now", "--against", "none").stderr
    nowhere = cm.here("report", "now", "--html", str(tmp_path / "no" / "where.html"))
    assert nowhere.returncode == 1
    assert "cannot be written" in nowhere.stderr
    assert cm.here("report", "now/isr").returncode == 2
