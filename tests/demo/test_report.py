"""The report of a campaign: everything on one page that needs nothing else, and nothing on it is
markup by accident."""

import dataclasses
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from daemon_process import DaemonProcess, until
from report_facts import HOSTILE, REPORT, facts

# Found once `report_facts` has shown where they are.
from make_report import page  # isort: skip
from results import visit_places, visits_of  # isort: skip

from cmd_api.v1 import campaign_pb2  # isort: skip

SECTIONS = (
    "steps",
    "timeline",
    "placement",
    "moved",
    "nexus",
    "calibration",
    "coadd",
    "problems",
    "reproduce",
)
EMPTY = {"meta", "br", "img", "link", "hr"}
PIXEL = "iVBORw0KGgo="
PICTURES: dict[str, Any] = {
    "versions": {"numpy": "2.4.6"},
    "missing": [],
    "sky": {
        "tracts": {str(tract): [100 * tract - 100, 100 * tract] for tract in range(1, 7)},
        "size": [600, 100],
        "depth": {"png": PIXEL, "width": 150, "height": 25, "least": 0, "most": 7},
        "colours": ["rgb(0, 0, 0)", "rgb(255, 255, 255)"],
    },
    "calibration": {
        "visits": [
            {"visit": 1006 + i, "difference": 0.001 * (i - 2), "error": 0.0015, "stars": 20}
            for i in range(6)
        ],
        "missing": [1030],
        "offset": -0.048,
        "rms": 0.0017,
        "chi2_per_dof": 1.25,
    },
    "coadd": {
        "tract": 3,
        "patch": 1,
        "pixel_arcsec": 1.0,
        "zero_point": 27.0,
        "stretch": {"softening": 3.0, "black": -3.0, "white": 300.0},
        "images": [
            {
                "name": "exposure",
                "png": PIXEL,
                "width": 256,
                "height": 256,
                "visit": 1007,
                "noise": 14.1,
            },
            {
                "name": "coadd",
                "png": PIXEL,
                "width": 256,
                "height": 256,
                "depth": 6,
                "noise": 5.8,
                "gain": 2.43,
            },
        ],
        "histogram": {"reach": 50.0, "exposure": [0.25, 0.5, 0.25], "coadd": [0.0, 1.0, 0.0]},
    },
}


class Reader(HTMLParser):
    """Reads a page: which elements there are, what they refer to, the text of each section, and
    whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.references: list[str] = []
        self.sections: dict[str, str] = {}
        self._section = ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements[tag] += 1
        self.classes.update((given.get("class") or "").split())
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "action", "data")]
        assert not [name for name in given if name.startswith("on")], "a script in an attribute"
        if tag == "section":
            self._section = given["id"] or ""
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        self.sections[self._section] = self.sections.get(self._section, "") + f"{data} "


@pytest.fixture(scope="module")
def made() -> str:
    """The report of the made-up campaign, with pictures."""
    check = {
        "ok": True,
        "checks": [{"name": "coadds", "ok": True, "summary": f"24 of 24 {HOSTILE}"}],
    }
    return page(facts(), PICTURES, check, "make demo")


@pytest.fixture(scope="module")
def read(made: str) -> Reader:
    """The same, read."""
    return Reader(made)


def words(text: str) -> str:
    """A text with single spaces."""
    return " ".join(text.split())


def test_it_has_every_section_and_needs_nothing_else(made: str, read: Reader) -> None:
    """All sections, with something in each; no scripts, and nothing is fetched from anywhere."""
    assert set(SECTIONS) <= read.sections.keys()
    assert all(len(words(read.sections[name])) > 60 for name in SECTIONS)
    assert read.elements["svg"] >= 5
    assert not read.elements["script"] + read.elements["link"] + read.elements["iframe"]
    assert read.references
    for reference in read.references:
        assert reference.startswith(("#", "data:image/png;base64,")), reference
    assert {r[1:] for r in read.references if r.startswith("#")} <= set(SECTIONS)
    assert not re.search(r"@import|https?:|url\((?!#)", made)


def test_what_people_and_jobs_wrote_stays_text(made: str, read: Reader) -> None:
    """Markup in names and messages is shown as it was written; control characters are not passed on."""
    assert "<script>alert" not in made
    assert made.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;") >= 6
    assert "\x1b" not in made
    assert "\u202e" not in made
    assert "&lt;/td&gt;" in made
    assert '<script>alert("x")</script>' in read.sections["problems"]


def test_the_counts_are_those_of_the_campaign(read: Reader) -> None:
    """Groups, quanta, attempts and retries by facility; the retry and the held group show."""
    told = facts()
    steps = words(read.sections["steps"])
    assert f"all 24 / 25 127 1 0 {len(told.attempts)} 1 " in steps
    assert "Signed by pilot: “all within two sigma”" in steps
    assert "UKDF ssh 2 7 / 8 42 0 0" in steps


def test_what_stays_at_its_place_is_not_counted_as_moved(read: Reader) -> None:
    """Files and bytes by way: only what went somewhere is in the sum."""
    moved = words(read.sections["moved"])
    assert "FrDF → USDF keep coadd_image, coadd_summary 16 2.1 MB" in moved
    assert "UKDF → USDF keep coadd_image, coadd_summary 15 / 16 1.8 MB" in moved
    assert "USDF keep coadd_image, coadd_summary 16 2.1 MB is there already" in moved
    assert "moved 87 9.6 MB" in moved


def test_the_nexus_log_counts_and_lists_the_gap(read: Reader) -> None:
    """Made, not for there, sent, arrived, ingested; the lost file with its reason; once, although
    the daemon tells it in the sum and for its group."""
    nexus = words(read.sections["nexus"])
    assert "global-calibration scatter USDF → FrDF 24 8 16 16 16 2.6 kB ✓" in nexus
    assert "coadd archive FrDF → USDF_TAPE 8 8 8 8 2.1 MB ✓" in nexus
    assert "coadd keep UKDF → USDF 16 15 15 15 1.8 MB ✗ 1 gap" in nexus
    assert "coadd/6 keep UKDF → USDF coadd_image tract=6, patch=2 file lost" in nexus
    assert "64 purged" in nexus


def test_the_nexus_log_has_the_stages_of_rucio_where_it_moved_something(read: Reader) -> None:
    """Registered and rule OK stand between made and sent, and nowhere else."""
    assert "rule OK" not in read.sections["nexus"]
    told = facts()
    entry = next(e for e in told.nexus["coadd"] if e.movement == "keep" and e.gap_count)
    entry.registered, entry.rule_ok = 19, 17
    nexus = words(Reader(page(told)).sections["nexus"])
    assert "made not for there registered rule OK sent arrived ingested bytes" in nexus
    assert "coadd keep UKDF → USDF 16 19 17 15 15 15 1.8 MB ✗ 1 gap" in nexus


def test_the_timeline_has_a_bar_for_each_attempt(read: Reader) -> None:
    """Movements are hatched, failed attempts framed, and arrows go from facility to facility."""
    told = facts()
    in_legend = 5
    bars = sum(read.classes[name] for name in ("process", "script", "collect", "moves"))
    assert bars == len(told.attempts) + in_legend
    moving = sum(each.moves for each in told.attempts)
    assert read.classes["moves"] == moving + 1
    assert read.classes["bad"] == 2 + 1
    # Star catalogs come to USDF from two, the solution goes out to two, four tracts are kept there, and
    # three of them (one is held) go to its tape.
    assert read.classes["flight"] == 2 + 2 + 4 + 3 + 1
    assert "signed by pilot" in read.sections["timeline"]


def test_problems_say_how_they_ended(read: Reader) -> None:
    """A failed attempt that was retried, one that was not, a group that still waits."""
    problems = words(read.sections["problems"])
    assert "calibrate/3-0002/process FrDF attempt 1 FAILED" in problems
    assert "attempt 2 succeeded after 4.0 s" in problems
    assert "coadd/6 UKDF group HELD" in problems
    assert "still so" in problems
    assert "UKDF FacilityDrained work on the cooling pilot" in problems


def test_the_placement_is_explained(read: Reader) -> None:
    """Where each tract is, and the factors of one decision, a column for each facility."""
    placement = words(read.sections["placement"])
    assert "tract 3 · FrDF" in placement
    assert "inputs ✓ ✓ ✗ 16 of 64 input files are missing" in placement
    assert "share 0.21 placed 20 %" in placement


def test_calibration_and_coadd_are_shown(read: Reader) -> None:
    """One mark a visit, with its facility's name; noise of exposure and coadd."""
    calibration = words(read.sections["calibration"])
    assert "visit 1006 (USDF): −2.00 ± 1.50 mmag" in calibration
    assert "rms 1.70 mmag, χ²/dof 1.25" in calibration
    assert "No zero point: 1030" in calibration
    assert "Coadd of 6 exposures, noise 5.8 counts" in words(read.sections["coadd"])


def test_a_running_campaign_without_pictures_is_told_as_far_as_it_is() -> None:
    """Not finished, nothing to show of the results, and it says so."""
    told = facts(finished=False)
    told.attempts[-1].attempt.state = "RUNNING"
    told.attempts[-1].attempt.ClearField("finish_time")
    read = Reader(page(told))
    assert "not yet; read" in read.sections[""]
    assert "RUNNING" in read.sections[""]
    assert "no pictures were made for this report" in words(read.sections["calibration"])
    assert "no pictures were made for this report" in words(read.sections["coadd"])


def test_a_campaign_that_has_done_nothing_yet_has_a_report() -> None:
    """No groups, no attempts, no times: nothing to divide by."""
    campaign = campaign_pb2.Campaign(name="campaigns/new", state=campaign_pb2.Campaign.STATE_DRAFT)
    empty: dict[str, Any] = dict.fromkeys(("steps", "groups", "attempts", "events"), ())
    nothing = dataclasses.replace(facts(), campaign=campaign, placements={}, nexus={}, **empty)
    assert set(SECTIONS) <= Reader(page(nothing)).sections.keys()


@pytest.mark.parametrize(
    ("where", "visits"),
    [
        ("visit = 7", {7}),
        ("tract = 3 AND visit IN (1, 4..6, 10..14:2)", {1, 4, 5, 6, 10, 12, 14}),
        ("(visit in (3)) OR visit=9", {3, 9}),
        ("tract IN (1, 2)", set()),
        ("", set()),
    ],
)
def test_visits_of_a_data_query(where: str, visits: set[int]) -> None:
    """Numbers, lists, ranges with steps; nothing where no visit is named."""
    assert visits_of(where) == visits


def test_a_visit_calibrated_twice_has_both_facilities() -> None:
    """A visit that lies on two facilities' tracts is named after both, in the daemon's order."""
    told = facts()
    for group in told.groups:
        if group.name.endswith("/calibrate/groups/6-0001"):
            group.where = "visit = 1006"
    assert visit_places(told)[1006] == "USDF + UKDF"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """A real daemon with fake drivers, after a campaign."""
    running = DaemonProcess(tmp_path)
    running.start()
    try:
        running.apply(groups=3)
        until(lambda: running.state() == "ACCEPTED", "the campaign's end")
        yield running
    finally:
        running.end()


def make(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    command = [sys.executable, str(REPORT / "make_report.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_it_is_made_from_a_real_daemon(daemon: DaemonProcess, tmp_path: Path) -> None:
    """The program as a person runs it: asks the daemon, writes one file; or says what is wrong."""
    out = tmp_path / "report.html"
    done = make("--address", daemon.target, "--campaign", "crash", "--out", out)
    assert done.returncode == 0, done.stderr
    read = Reader(out.read_text())
    assert set(SECTIONS) <= read.sections.keys()
    assert "crash ACCEPTED" in words(read.sections[""])
    assert "4 / 4" in read.sections[""]
    assert "None: every attempt succeeded at once" in words(read.sections["problems"])

    unknown = make(
        "--address", daemon.target, "--campaign", "no-such", "--out", tmp_path / "no.html"
    )
    assert unknown.returncode == 1
    assert "no-such" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    assert not (tmp_path / "no.html").exists()
