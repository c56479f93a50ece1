"""Nexus log, gaps driven again, facilities and moves through a real daemon with a fake world."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from client_setup import Cm, wait_until
from living_daemon import LivingDaemon
from terminal import Terminal

from cm_client import Client, StateRefused
from cmd_daemon.hooks import ErrorClass
from cmd_daemon.testing import Behaviour

CAMPAIGN = """\
campaign: {name}
owner: me
stack: w1
butler: {{repo: demo, inputs: [a], output: u/me/{name}}}
facilities: [FrDF]
defaults: {{retry: {{attempts: 1}}}}
steps:
  coadd:
    pipeline: x.yaml#a
    split: {{by: tract, ranges: ["1..3"]}}
    keep: {{datasets: [deep_coadd], at: USDF}}
    discard: [warp]
  report:
    pipeline: x.yaml#b
    optional: true
"""
GAPS = [
    {"uuid": f"0000-{n}", "data_id": {"tract": 2, "patch": n}, "stage": "sent", "reason": "lost"}
    for n in range(3)
]


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingDaemon]:
    made = LivingDaemon(tmp_path_factory.mktemp("moving"), "USDF", "FrDF")
    yield made
    made.close()


@pytest.fixture
def cm(living: LivingDaemon) -> Cm:
    made = Cm(living.target)
    made.environment["COLUMNS"] = "100"
    return made


def books(made: int, *reached: int, gaps: Any = (), **more: Any) -> dict[str, Any]:
    """What a movement's outcome tells."""
    sent, arrived, ingested = (*reached, 0, 0, 0)[:3]
    entry = {
        "source": "FrDF",
        "destination": "USDF",
        "type": "deep_coadd",
        "made": made,
        "sent": sent,
        "arrived": arrived,
        "ingested": ingested,
        "not_for_here": 0,
        "bytes": 1_000_000 * arrived,
        "missing": len(gaps),
        "gaps": list(gaps),
    }
    return {"books": [{**entry, **more}]}


def steer(living: LivingDaemon, name: str) -> None:
    """The keeps of a campaign of three groups: the second has gaps at its first attempt, the third
    ends without telling anything."""
    world = living.world("FrDF")
    for group in (1, 2, 3):
        keep = f"{name}/coadd/{group}/keep"
        world.behaviours[f"{keep}-register#1"] = Behaviour(extra=books(4))
        world.behaviours[f"{keep}-transfer#1"] = Behaviour(extra=books(4, 4, 4))
        world.behaviours[f"{keep}-ingest#1"] = Behaviour(extra=books(4, 4, 4, 4))
        world.behaviours[f"{name}/coadd/{group}/purge#1"] = Behaviour(
            extra={"books": [{"source": "FrDF", "type": "warp", "purged": 9, "bytes": 90}]}
        )
    told = books(4, 4, 1, 1, gaps=GAPS)
    failing = {"ok": False, "message": "3 missing", "error_class": ErrorClass.PERMANENT}
    world.behaviours[f"{name}/coadd/2/keep-ingest#1"] = Behaviour(extra=told, **failing)
    world.behaviours[f"{name}/coadd/3/keep-ingest#1"] = Behaviour(**failing)
    for group in (2, 3):
        world.behaviours[f"{name}/coadd/{group}/keep-ingest#2"] = Behaviour(extra=books(4, 4, 4, 4))


def words(shown: str) -> list[str]:
    """Lines with the room between their words taken out."""
    return [" ".join(line.split()) for line in shown.splitlines()]


def states(living: LivingDaemon, name: str) -> dict[str, str]:
    """States of the groups of a campaign."""
    with Client(living.target) as client:
        return {
            "/".join(group.name.split("/")[3::2]): type(group).State.Name(group.state)[6:]
            for group in client.groups(f"campaigns/{name}")
        }


def begin(living: LivingDaemon, name: str) -> None:
    """Run the campaign until its groups are done or held."""
    steer(living, name)
    with Client(living.target) as client:
        client.apply_campaign(CAMPAIGN.format(name=name), start=True)
    wanted = {"coadd/1": "ACCEPTED", "coadd/2": "HELD", "coadd/3": "HELD", "report/all": "ACCEPTED"}
    wait_until(lambda: states(living, name) == wanted)


def test_the_nexus_log_counts_and_a_redrive_closes_the_gaps(living: LivingDaemon, cm: Cm) -> None:
    begin(living, "nex")
    shown = cm.here("nexus", "nex/coadd").stdout
    lines = words(shown)
    # the third group's newest books are those of its transfer
    assert "keep FrDF -> USDF deep_coadd 3 12 12 9 5 3 9.0 MB" in lines
    assert "FrDF warp 1 9 90 B" in lines
    assert "3 gaps:" in shown
    assert "nex/coadd/2  keep FrDF -> USDF deep_coadd, keep-ingest HELD" in shown
    assert "tract=2, patch=1 0000-1 lost" in lines
    assert "nothing has been moved" in cm.here("nexus", "nex/report").stdout
    assert cm.here("nexus", "nex").stdout == shown
    assert "and 2 more gaps" in cm.here("nexus", "nex/coadd", "--gaps", "1").stdout
    one = words(cm.here("nexus", "nex/coadd/2").stdout)
    assert "keep FrDF -> USDF deep_coadd 4 4 1 1 3 1.0 MB" in one
    document = json.loads(cm.here("nexus", "nex/coadd", "--json").stdout)
    assert [entry["group"].rpartition("/")[2] for entry in document["entries"]] == [
        "coadd",
        "coadd",
        "2",
    ]
    assert document["entries"][2]["source"] == "facilities/FrDF"
    assert document["entries"][2]["gaps"][0]["data_id"] == "tract=2, patch=0"
    assert document["entries"][2]["job"].endswith("/groups/2/jobs/keep-ingest")

    done = cm.here("redrive", "nex/coadd", "--reason", "the disk is back")
    assert done.returncode == 0, done
    assert "coadd/2" in done.stdout
    assert "retried" in done.stdout
    assert "coadd/3" not in done.stdout
    wait_until(lambda: states(living, "nex")["coadd/2"] == "ACCEPTED")
    assert states(living, "nex")["coadd/3"] == "HELD"
    assert "3 gaps:" not in cm.here("nexus", "nex/coadd").stdout
    done = cm.here("redrive", "nex/coadd")
    assert (done.returncode, done.stdout) == (0, "nex/coadd has no gaps.\n")
    reasons = cm.here("events", "nex/coadd/2", "--json").stdout
    assert "the disk is back" in reasons


def test_what_cannot_be_driven_again_is_said(living: LivingDaemon, cm: Cm) -> None:
    begin(living, "taken")
    assert cm.here("reject", "taken/coadd/2", "--reason", "too old").returncode == 0
    done = cm.here("redrive", "taken/coadd", "--json")
    assert done.returncode == 0
    (answer,) = json.loads(done.stdout)
    assert answer == {
        "group": "taken/coadd/2",
        "movement": "keep",
        "gaps": 3,
        "retried": False,
        "message": "not retried: the group is REJECTED",
    }
    gap = books(4, 4, 3, 3, gaps=GAPS[:1])
    steer(living, "other")
    world = living.world("FrDF")
    world.behaviours["other/coadd/2/keep-ingest#1"] = Behaviour(extra=gap)
    world.behaviours["other/coadd/2/purge#1"] = Behaviour(
        ok=False, error_class=ErrorClass.PERMANENT
    )
    with Client(living.target) as client:
        client.apply_campaign(CAMPAIGN.format(name="other"), start=True)
    wait_until(lambda: states(living, "other").get("coadd/2") == "HELD")
    (answer,) = json.loads(cm.here("redrive", "other/coadd/2", "--json").stdout)
    assert answer["retried"] is False
    assert answer["message"] == (
        "not retried: it is held by purge, not by keep; see cm why other/coadd/2"
    )
    assert states(living, "other")["coadd/2"] == "HELD"
    assert cm.here("redrive", "taken").returncode == 2
    assert cm.here("redrive", "taken/none").returncode == 1


PLACED = """\
campaign: {name}
owner: me
stack: w1
butler: {{repo: demo, inputs: [a], output: u/me/{name}}}
facilities: [{facilities}]
placement: {{algorithm: balanced, region: tract}}
defaults: {{retry: {{attempts: 1}}}}
steps:
  one:
    pipeline: x.yaml#a
    split: {{by: tract, ranges: ["1..2"]}}
"""


@pytest.fixture
def placed(living: LivingDaemon) -> Iterator[Any]:
    """Applies a campaign of two groups that run until a test ends them; cancelled afterwards."""
    made = []

    def apply(name: str, facilities: str, **behaviour: Any) -> None:
        made.append(name)
        for facility in ("USDF", "FrDF"):
            world = living.world(facility)
            for group in (1, 2):
                world.behaviours[f"{name}/one/{group}/process#1"] = Behaviour(**behaviour)
        with Client(living.target) as client:
            text = PLACED.format(name=name, facilities=facilities)
            client.apply_campaign(text, start=True)

    yield apply
    with Client(living.target) as client:
        for name in made:
            with contextlib.suppress(StateRefused):  # it is over
                client.cancel_campaign(f"campaigns/{name}", reason="the test is over")


def test_the_kill_switch_waits_for_the_end_and_revive_begins_again(
    living: LivingDaemon, cm: Cm, placed: Any
) -> None:
    placed("kill", "FrDF", run_s=None)
    wait_until(lambda: set(states(living, "kill").values()) == {"RUNNING"})
    refused = cm.here("kill", "FrDF", "--reason", "disk full")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert cm.here("kill", "FrDF", "--yes").returncode == 2
    assert cm.here("kill", "NONE", "--yes", "--reason", "x").returncode == 1
    assert set(states(living, "kill").values()) == {"RUNNING"}
    done = cm.here("kill", "FrDF", "--yes", "--reason", "disk full")
    assert done.returncode == 0, done
    assert "FrDF: 2 jobs to end" in done.stderr
    assert "FrDF: nothing of ours runs there any more." in done.stderr
    assert "killed by tester: disk full" in done.stdout
    assert "cm revive FrDF --retry" in done.stdout
    wait_until(lambda: set(states(living, "kill").values()) == {"HELD"})
    listed = words(cm.here("facilities").stdout)
    assert any(line.startswith("FrDF killed 0/50") for line in listed)
    assert any(line.startswith("USDF up") for line in listed)
    shown = cm.here("facility", "FrDF").stdout
    assert "killed by tester: disk full" in shown
    assert "kill/one 2" in words(shown)
    revived = cm.here("revive", "FrDF", "--retry", "--json")
    assert json.loads(revived.stdout)["killed"] is False
    wait_until(lambda: set(states(living, "kill").values()) == {"ACCEPTED"})


def test_a_kill_wants_the_name_typed(living: LivingDaemon, cm: Cm, placed: Any) -> None:
    placed("typed", "FrDF", run_s=None)
    wait_until(lambda: set(states(living, "typed").values()) == {"RUNNING"})
    for name, code in (("USDF", 1), ("FrDF", 0)):
        terminal = Terminal(cm, "kill", "FrDF", "--reason", "fire", columns=100)
        wait_until(lambda terminal=terminal: "Type its name to go on" in terminal.text)
        terminal.type(f"{name}\n")
        assert terminal.end() == code, terminal.text
        assert ("Nothing was changed" in terminal.text) == (code == 1)
        killed = json.loads(cm.here("facility", "FrDF", "--json").stdout)["killed"]
        assert killed == (code == 0)
    assert cm.here("revive", "FrDF").returncode == 0
    assert set(states(living, "typed").values()) == {"HELD"}


def test_limits_are_changed_shown_and_reset(cm: Cm) -> None:
    arguments = ("--slots", "7", "--lane", "fake=3", "--memory", "4GB", "--walltime", "2h")
    done = cm.here("limits", "USDF", *arguments, "--cores", "2", "--reason", "half of it")
    assert done.returncode == 0, done
    edited = "slots 7, memory 4.0 GB, cores 2, walltime 2 h, driver fake 3"
    assert f"Edited by hand: {edited}." in done.stdout
    shown = words(cm.here("facility", "USDF").stdout)
    assert f"edited limits {edited}" in shown
    assert "a job may have 4.0 GB, 2 cores, 2 h" in shown
    document = json.loads(cm.here("facility", "USDF", "--json").stdout)
    assert document["edited"]["lanes"] == {"fake": "3"}
    assert "slots 8, memory" in cm.here("limits", "USDF", "--slots", "8").stdout
    refused = cm.here("limits", "USDF", "--lane", "nope=1")
    assert refused.returncode == 2
    assert "nope" in refused.stderr
    done = cm.here("limits", "USDF", "--reset")
    assert "All limits are those of the configuration." in done.stdout
    for wrong in (
        (),
        ("--slots", "-1"),
        ("--memory", "much"),
        ("--walltime", "2"),
        ("--lane", "fake"),
        ("--lane", "fake=1", "--lane", "fake=2"),
    ):
        assert cm.here("limits", "USDF", *wrong).returncode == 2, wrong


def test_why_there_and_where_else(living: LivingDaemon, cm: Cm, placed: Any) -> None:
    placed("whynot", "FrDF, USDF", run_s=None)
    wait_until(lambda: set(states(living, "whynot").values()) == {"RUNNING"})
    here = json.loads(cm.here("show", "whynot/one/1", "--json").stdout)["facility"].partition("/")[
        2
    ]
    there = "USDF" if here == "FrDF" else "FrDF"
    shown = cm.here("why", "whynot/one/1").stdout
    heads = next(line for line in words(shown) if line.startswith("Filter or factor"))
    assert f"{here} *" in heads
    assert there in heads
    assert any(line.startswith("score 0.9") for line in words(shown))
    assert "Story, newest first:" in shown
    shown = cm.here("why", "whynot/one/1", "--without", here).stdout
    assert f"Without {here} it would go to {there}." in shown
    assert "What if: " + there in shown
    assert "Story" not in shown
    both = cm.here("why", "whynot/one/1", "--without", here, "--without", there).stdout
    assert f"Without {here} and {there} it would wait: no facility fits." in both
    assert cm.here("why", "whynot/one", "--without", here).returncode == 2
    document = json.loads(cm.here("why", "whynot/one/1", "--without", here, "--json").stdout)
    assert document["what_if"]["facility"] == f"facilities/{there}"


def test_a_move_shows_its_cost_asks_and_moves(living: LivingDaemon, cm: Cm, placed: Any) -> None:
    placed("away", "FrDF", ok=False, error_class=ErrorClass.PERMANENT, message="no disk")
    wait_until(lambda: set(states(living, "away").values()) == {"HELD"})
    assert cm.here("move", "away/one/1", "USDF").returncode == 2
    asked = cm.here("move", "away/one/1", "USDF", "--reason", "FrDF is down")
    assert asked.returncode == 2
    assert "Moving away/one/1: FrDF -> USDF" in asked.stdout
    assert "it has begun at FrDF" in asked.stdout
    assert "Move away/one/1 to USDF? Say so with --yes." in asked.stderr
    group = json.loads(cm.here("show", "away/one/1", "--json").stdout)
    assert (group["facility"], group["pinned"]) == ("facilities/FrDF", "")
    done = cm.here("move", "away/one/1", "USDF", "--reason", "FrDF is down", "--yes")
    assert done.returncode == 0, done
    assert "away/one/1 is moved to USDF" in done.stdout
    group = json.loads(cm.here("show", "away/one/1", "--json").stdout)
    assert group["pinned"] == "facilities/USDF"
    assert "moved by hand to USDF" in words(cm.here("show", "away/one/1").stdout)
    wait_until(lambda: states(living, "away")["one/1"] == "ACCEPTED")
    assert states(living, "away")["one/2"] == "HELD"
    final = cm.here("move", "away/one/1", "FrDF", "--reason", "back", "--yes")
    assert final.returncode == 1
    assert cm.here("move", "away/one/2", "NONE", "--reason", "x", "--yes").returncode == 1
