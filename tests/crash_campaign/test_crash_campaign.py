"""The crash campaign in small, and what makes its proof one: each part of it can fail."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from campaign_faults import ELSEWHERE, POINTS, RANDOM, Life, Tally, lives
from campaign_proof import commands_alternate, none_lost, none_run_twice
from run import BUILD, missing, rounds

from cmd_daemon.failpoints import NAMES
from cmd_daemon.kernel.records import Record

ROOM = Path(__file__).parent
SOURCES = Path(__file__).parents[2] / "cmd_daemon"


@pytest.mark.timeout(300)
def test_ten_kills_on_the_chosen_database(request: pytest.FixtureRequest) -> None:
    database = request.config.getoption("--database")
    figures = BUILD / "crash.json"
    figures.unlink(missing_ok=True)
    done = subprocess.run(
        [
            *(sys.executable, str(ROOM / "run.py"), "--kills", "10"),
            *("--database", database, "--rucio", "0"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(figures.read_text())
    assert sum(told["databases"][database]["kills"].values()) == 10
    assert told["databases"][database]["proven"]["attempts run once"] > 0
    assert told["seed"] in done.stdout


def test_every_failpoint_of_the_daemon_has_its_name_in_the_list() -> None:
    """A place that is not in NAMES would never be killed at; a name without a place never reached."""
    called = {
        name
        for file in SOURCES.rglob("*.py")
        for name in re.findall(r'(?:failpoint|point)\("([a-z-]+)"\)', file.read_text())
    }
    assert called == set(NAMES)
    for name, test in ELSEWHERE.items():
        assert f'"{name}"' in (SOURCES.parent / test).read_text(), f"nobody kills at {name}"


def test_all_failpoints_come_and_the_seed_decides() -> None:
    planned = list(lives("s", 3 * len(POINTS)))
    assert {life.point for life in planned} == {*POINTS, RANDOM}
    assert planned == list(lives("s", 3 * len(POINTS)))
    assert planned != list(lives("t", 3 * len(POINTS)))
    assert Life("after-submit", 2, 0.0, False, "").failpoint == "after-submit:2"
    assert Life(RANDOM, 2, 0.3, False, "").failpoint == ""


def test_rounds_make_up_the_kills() -> None:
    plan = rounds("s", 500, ("sqlite", "postgresql"))
    assert sum(kills for _, _, kills in plan) >= 500
    assert len({seed for _, seed, _ in plan}) == len(plan)
    assert rounds("s", 10, ("sqlite",)) == [("sqlite", "s:sqlite:0", 10)]


def test_a_failpoint_that_was_never_reached_is_a_failure() -> None:
    tally = Tally.empty()
    tally.kills.update(dict.fromkeys(POINTS, 9))
    assert not missing({"sqlite": tally}, 21)
    del tally.kills["after-commit"]
    assert missing({"sqlite": tally}, 21) == ["sqlite: nothing was ever killed at after-commit"]


def record(to_state: str, **fields: Any) -> Record:
    """One record about the first attempt of a job."""
    values: dict[str, Any] = {
        "kind": "job",
        "name": "campaigns/c/steps/s/groups/1/jobs/process",
        "campaign_id": 1,
        "step_id": 2,
        "group_id": 3,
        "job_id": 4,
        "from_state": "READY",
        "to_state": to_state,
        "cause": "JobTaken",
        "actor": "",
        "at": 0,
        "attempt": 1,
    }
    return Record(**{**values, **fields})


KEY = "c/s/1/process#1"
TAKEN = [record("SUBMITTING"), record("RUNNING", from_state="SUBMITTING")]


def test_the_proof_sees_an_attempt_that_ran_twice() -> None:
    assert none_run_twice({"a": Counter([KEY]), "b": Counter()}) == 1
    for ledgers in ({"a": Counter([KEY, KEY])}, {"a": Counter([KEY]), "b": Counter([KEY])}):
        with pytest.raises(AssertionError, match="run twice"):
            none_run_twice(ledgers)


def test_the_proof_sees_what_was_lost_and_what_nobody_began() -> None:
    none_lost(TAKEN, {"a": Counter([KEY])})
    with pytest.raises(AssertionError, match="lost"):
        none_lost(TAKEN, {"a": Counter()})
    with pytest.raises(AssertionError, match="never begun"):
        none_lost([], {"a": Counter([KEY])})
    ended = [*TAKEN[:1], record("SUCCEEDED", from_state="RUNNING")]
    with pytest.raises(AssertionError, match="never run"):
        none_lost(ended, {"a": Counter()})


def test_the_proof_sees_a_command_that_was_done_twice() -> None:
    told = [{"what": "command", "key": KEY, "command": word} for word in ("pause", "resume")]
    assert commands_alternate(told) == 2
    with pytest.raises(AssertionError, match="pause"):
        commands_alternate([told[0], told[0]])
