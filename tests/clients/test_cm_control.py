"""Pausing, resuming and tuning what is outside, with `cm` through a real daemon with a fake world."""

import json
from collections.abc import Callable, Iterator

import pytest
from client_setup import Cm, wait_until
from cmd_api.v1.job_pb2 import Job
from living_daemon import LivingDaemon

from cm_client import Client, StateRefused
from cmd_daemon.hooks import Command
from cmd_daemon.testing import Behaviour

CAMPAIGN = """\
campaign: {name}
owner: me
stack: w1
butler: {{repo: demo, inputs: [a], output: u/me/{name}}}
facilities: [FrDF]
steps:
  coadd:
    pipeline: x.yaml#a
    split: {{by: tract, ranges: ["1..3"]}}
"""


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingDaemon]:
    made = LivingDaemon(tmp_path_factory.mktemp("control"), "FrDF")
    made.world("FrDF").behaviours[""] = Behaviour(run_s=None, refuses=("queue",))
    yield made
    made.close()


@pytest.fixture
def cm(living: LivingDaemon) -> Cm:
    made = Cm(living.target)
    made.environment["COLUMNS"] = "140"
    return made


def begin(living: LivingDaemon, name: str) -> None:
    """Run a campaign until its three process jobs are outside."""
    with Client(living.target) as client:
        client.apply_campaign(CAMPAIGN.format(name=name), start=True)
    wait_until(lambda: len(running(living, name)) == 3)


def running(living: LivingDaemon, name: str) -> list[Job]:
    """The jobs of a campaign that are outside."""
    with Client(living.target) as client:
        return list(client.jobs(f"campaigns/{name}", states=[Job.STATE_RUNNING]))


def standings(living: LivingDaemon, name: str) -> list[str]:
    """How they stand."""
    return [Job.Standing.Name(job.standing)[9:] for job in running(living, name)]


def shows(cm: Cm, wanted: str, *arguments: str) -> Callable[[], bool]:
    """Whether a command prints that."""
    return lambda: wanted in " ".join(cm.here(*arguments).stdout.split())


def test_a_campaign_is_paused_with_what_is_outside(living: LivingDaemon, cm: Cm) -> None:
    begin(living, "camp")
    assert "camp" in cm.here("pause", "camp", "--reason", "lunch").stdout
    wait_until(lambda: standings(living, "camp") == ["PAUSED"] * 3)
    wait_until(shows(cm, "in flight 3 (3 of them paused)", "status", "camp"))
    assert "camp PAUSED" in " ".join(cm.here("status", "camp").stdout.split())
    assert cm.here("jobs", "camp").stdout.count("PAUSED") == 3
    why = cm.here("why", "camp/coadd/1").stdout
    assert "is paused at FrDF (driver fake)" in why
    assert "the campaign is: lunch" in why
    shown = json.loads(cm.here("show", "camp", "--json").stdout)
    assert (shown["in_flight"], shown["paused"]) == ("3", "3")
    resumed = json.loads(cm.here("resume", "camp", "--json").stdout)
    assert resumed["state"] == "STATE_RUNNING"
    wait_until(lambda: standings(living, "camp") == ["GOING"] * 3)


def test_single_attempts_are_paused_by_hand(living: LivingDaemon, cm: Cm) -> None:
    begin(living, "hand")
    done = cm.here("pause", "hand/coadd/1", "hand/coadd/2/process", "--reason", "look")
    assert done.returncode == 0, done.stderr
    assert [name in done.stdout for name in ("coadd/1/process", "coadd/2/process")] == [True] * 2
    wait_until(lambda: sorted(standings(living, "hand")) == ["GOING", "PAUSED", "PAUSED"])
    assert "as a person wanted" in cm.here("why", "hand/coadd/1").stdout
    assert "cm resume hand/coadd/1" in cm.here("why", "hand/coadd/1").stdout
    facts = " ".join(cm.here("show", "hand/coadd/1/process").stdout.split())
    assert "outside PAUSED paused by a person" in facts
    done = cm.here("resume", "hand/coadd", "--state", "running", "--yes")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: standings(living, "hand") == ["GOING"] * 3)


def test_attempts_are_tuned(living: LivingDaemon, cm: Cm) -> None:
    begin(living, "tune")
    changes = ("--priority", "-3", "--memory", "2GB", "--queue", "high")
    done = cm.here("tune", "tune/coadd/1", *changes, "--reason", "urgent", "--json")
    assert done.returncode == 0, done.stderr
    (job,) = json.loads(done.stdout)
    assert job["name"].endswith("/groups/1/jobs/process")
    world = living.world("FrDF")
    key = "tune/coadd/1/process#1"
    given = [(Command.PRIORITY, -3), (Command.MEMORY, 2_000_000_000)]
    wait_until(lambda: [(c, v) for k, c, v in world.commanded if k == key] == given)
    told = "queue high was refused: the fake system does not queue"
    wait_until(shows(cm, told, "show", "tune/coadd/1/process"))
    events = " ".join(cm.here("events", "tune/coadd/1").stdout.split())
    assert "priority -3, memory 2 GB, queue high wanted: urgent" in events
    for end in ("priority -3 is done", "memory 2 GB is done", told):
        assert end in events


REFUSALS: dict[str, tuple[tuple[str, ...], int, str]] = {
    "nothing": (("tune", "bad/coadd/1", "--reason", "x"), 2, "say what to change"),
    "no reason": (("tune", "bad/coadd/1", "--priority", "5"), 2, "a reason is needed"),
    "no amount": (("tune", "bad/coadd/1", "--memory", "8"), 2, "no amount of memory"),
    "too much": (
        ("tune", "bad/coadd/1", "--memory", "9GB", "--reason", "x"),
        2,
        "may have 8000000000",
    ),
    "no queue": (("tune", "bad/coadd/1", "--queue", " ", "--reason", "x"), 2, "no name of a queue"),
    "a campaign": (("tune", "bad", "--priority", "5", "--reason", "x"), 2, "names a campaign"),
    "a step": (("pause", "bad/coadd"), 2, "cm pause bad/coadd --state"),
    "both": (("pause", "bad", "bad/coadd/1"), 2, "calls of their own"),
    "unknown": (("pause", "bad/coadd/77"), 1, "There is no"),
    "not paused": (("resume", "bad"), 1, "nothing to resume"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_cannot_be_is_refused_and_changes_nothing(
    living: LivingDaemon, cm: Cm, what: str
) -> None:
    if not running_at_all(living, "bad"):
        begin(living, "bad")
    arguments, code, words = REFUSALS[what]
    done = cm.here(*arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in " ".join(done.stderr.split())
    assert standings(living, "bad") == ["GOING"] * 3
    assert not any(job.commands for job in running(living, "bad"))


def running_at_all(living: LivingDaemon, name: str) -> bool:
    """Whether the campaign is there."""
    with Client(living.target) as client:
        return any(campaign.name == f"campaigns/{name}" for campaign in client.campaigns())


def test_a_refusal_of_one_keeps_no_other_from_it(living: LivingDaemon, cm: Cm) -> None:
    begin(living, "some")
    living.world("FrDF").end("some/coadd/1/process#1")
    ended = "campaigns/some/steps/coadd/groups/1/jobs/process"
    wait_until(lambda: ended not in [job.name for job in running(living, "some")])
    done = cm.here("pause", *(f"some/coadd/{number}/process" for number in (1, 2, 3)))
    assert done.returncode == 1
    assert "some/coadd/1/process:" in done.stderr
    wait_until(lambda: standings(living, "some").count("PAUSED") == 2)


def test_the_client_library_has_it_too(living: LivingDaemon) -> None:
    begin(living, "library")
    with Client(living.target) as client:
        name = "campaigns/library/steps/coadd/groups/1"
        job = client.control_job(name, paused=True, priority=3, reason="both")
        assert job.name == f"{name}/jobs/process"
        wait_until(lambda: not client.get_job(job.name).commands)
        assert client.get_job(job.name).pause_wanted
        client.cancel_campaign("campaigns/library")
        with pytest.raises(StateRefused):
            client.control_job(name, paused=False)


def test_commands_that_wait_are_shown(living: LivingDaemon, cm: Cm) -> None:
    world = living.world("FrDF")
    begin(living, "waits")
    for attempt in world.attempts.values():
        if attempt.key.startswith("waits/"):
            attempt.behaviour = Behaviour(run_s=None, balks=None)
    wanted = ("--priority", "5", "--memory", "1GB")
    tuned = cm.here("tune", "waits/coadd/1", *wanted, "--reason", "x")
    assert tuned.returncode == 0, tuned.stderr
    seen = "asked for, not seen yet"
    wait_until(shows(cm, seen, "show", "waits/coadd/1/process"))
    facts = " ".join(cm.here("show", "waits/coadd/1/process").stdout.split())
    assert f"({seen}); memory 1.0 GB, in its turn" in facts
    assert f"was asked for: priority 5, then for memory 1 GB: {seen}" in " ".join(
        cm.here("why", "waits/coadd/1").stdout.split()
    )
