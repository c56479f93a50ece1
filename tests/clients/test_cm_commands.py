"""`cm` in a process of its own: what it prints, what it sends, and its exit codes."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import click
import grpc
import pytest
from client_setup import Cm
from fake_daemon import FakeDaemon
from fake_world import HOSTILE, Fault

from cm_cli.main import cli

GROUP = "campaigns/DRP1/steps/coadd/groups/0000"
COMMANDS = {
    *("audit", "login", "whoami"),
    "apply",
    "plan",
    "start",
    "pause",
    "resume",
    "tune",
    "cancel",
    "archive",
    "status",
    "watch",
    "why",
    "events",
    "jobs",
    "logs",
    "retry",
    "accept",
    "reject",
    "hold",
    "release",
    "sign",
    "drain",
    "undrain",
    "facilities",
    "facility",
    "limits",
    "kill",
    "revive",
    "move",
    "nexus",
    "redrive",
    "run-script",
    "plugins",
    "schema",
    "list",
    "groups",
    "steps",
    "show",
    "daemon",
    "completion",
    "attempts",
    "schedules",
    "report",
    "failures",
    "rule-test",
    "top",
    "web",
    "schedule",
}


def asked(fake: FakeDaemon, method: str) -> list[Any]:
    """The requests of a method so far."""
    return [request for called, _, request in fake.world.calls if called == method]


def assert_harmless(text: str) -> None:
    """No control character but the line break, and nothing that was interpreted."""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text), text


@pytest.fixture
def good_file(tmp_path: Path) -> str:
    path = tmp_path / "good.yaml"
    path.write_text("campaign: DRP2\n")
    return str(path)


@pytest.fixture
def bad_file(tmp_path: Path) -> str:
    path = tmp_path / "bad.yaml"
    path.write_text("campaign: DRP2\nsteps:\n    broken: 1\n")
    return str(path)


def test_every_command_is_there_with_help_and_json() -> None:
    assert set(cli.commands) == COMMANDS
    commands = dict(cli.commands)
    commands |= cast(click.Group, commands.pop("schedule")).commands
    for name, command in commands.items():
        assert command.help, name
        options = {option for parameter in command.params for option in parameter.opts}
        assert ("--json" in options) == (name not in ("completion", "login", "top", "web")), name


def test_help_needs_neither_grpc_nor_tables(cm: Cm) -> None:
    script = (
        "import sys; from cm_cli.main import main; main(['--help']);"
        "assert not {'grpc', 'rich', 'google.protobuf'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=cm.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Exit codes:" in done.stdout


def test_wrong_use_is_2(cm: Cm) -> None:
    for arguments in (
        ("nonsense",),
        ("status", "a/b"),
        ("status", "a//b"),
        ("groups", "DRP1", "--state", "SLEEPY"),
        ("apply", "/does/not/exist.yaml"),
        ("retry", "DRP1/coadd/0000", "--missing-only", "--from-start"),
        ("retry", "DRP1/coadd"),
        ("accept", "DRP1/coadd/0000"),
        ("sign", "DRP1/signoff"),
        ("--actor", "zoë", "list"),
    ):
        done = cm.here(*arguments)
        assert done.returncode == 2, (arguments, done)
        assert done.stderr
        assert not done.stdout


def test_no_daemon_is_6_and_says_what_to_do(tmp_path: Path) -> None:
    done = Cm(f"unix:{tmp_path}/none.sock")("status")
    assert done.returncode == 6
    assert "none.sock" in done.stderr
    assert "--address" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_refusal_is_1_with_the_daemons_words(cm: Cm) -> None:
    done = cm.here("start", "DRP1")
    assert done.returncode == 1
    assert "is RUNNING and cannot be started" in done.stderr
    assert "cm why" in done.stderr
    done = cm.here("status", "NONE")
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no campaigns/NONE." in done.stderr


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_problems_of_a_file_come_line_by_line(cm: Cm, bad_file: str, command: str) -> None:
    done = cm(command, bad_file)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    hint = "no such key 'splitt' (did you mean 'split'?)"
    assert lines[0] == f"{bad_file}:3:5: steps.coadd: {hint}"
    assert len(lines) == 2
    assert_harmless(done.stderr)


def test_apply_sends_the_file_and_its_parameters(cm: Cm, fake: FakeDaemon, good_file: str) -> None:
    done = cm.here(
        "apply", good_file, "--set", "A=1", "--set", "B=x=y", "--start", "--reason", "go"
    )
    assert done.returncode == 0, done.stderr
    (request,) = asked(fake, "ApplyCampaign")
    assert request.source.text == b"campaign: DRP2\n"
    assert request.source.file == good_file
    assert dict(request.source.parameters) == {"A": "1", "B": "x=y"}
    assert (request.start, request.reason) == (True, "go")
    assert request.request_id
    assert "DRP2 is made (RUNNING)" in done.stdout
    assert cm.here("apply", good_file, "--set", "A").returncode == 2
    assert cm.here("apply", good_file, "--set", "A=1", "--set", "A=2").returncode == 2


def test_a_dry_run_changes_nothing(cm: Cm, fake: FakeDaemon, good_file: str) -> None:
    assert cm.here("apply", good_file, "--dry-run").returncode == 0
    assert not asked(fake, "ApplyCampaign")
    assert "campaigns/DRP2" not in fake.world.campaigns


def test_a_plan_shows_the_first_groups_and_counts_the_rest(cm: Cm, good_file: str) -> None:
    done = cm.here("plan", good_file)
    assert done.returncode == 0
    assert "… and 395 more" in done.stdout
    assert_harmless(done.stdout)
    full = cm.here("plan", good_file, "--all").stdout
    assert "more" not in full
    assert "group 0399" in full


def test_status_names_what_waits_and_the_command(cm: Cm, fake: FakeDaemon) -> None:
    fake.move(GROUP, "REVIEW", "0.97 of 0.98")
    fake.move("campaigns/DRP1/steps/signoff", "REVIEW", "look at the plots")
    done = cm("status", "DRP1")
    assert done.returncode == 0, done.stderr
    assert "Waits for a person" in done.stdout
    assert "0.97 of 0.98" in done.stdout
    assert "cm accept DRP1/coadd/0000" in done.stdout
    assert "cm sign DRP1/signoff" in done.stdout
    document = json.loads(cm("status", "DRP1", "--json").stdout)
    assert document["state"] == "STATE_RUNNING"
    assert [step["name"][-7:] for step in document["steps"]] == ["librate", "s/coadd", "signoff"]
    assert {need["name"] for need in document["needs"]} == {"DRP1/signoff", "DRP1/coadd/0000"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "DRP1"),
        ("status",),
        ("groups", "DRP1"),
        ("jobs", "DRP1"),
        ("show", "DRP1/coadd/0000"),
        ("why", "DRP1/coadd/0000"),
        ("events", "DRP1"),
        ("plan", "{file}"),
        ("facilities",),
        ("facility", "USDF"),
        ("nexus", "DRP1/coadd"),
        ("why", "DRP1/coadd/0000", "--without", "USDF"),
    ],
)
def test_80_columns_hold_it_and_nothing_hostile_gets_through(
    cm: Cm, fake: FakeDaemon, good_file: str, arguments: tuple[str, ...]
) -> None:
    fake.move(GROUP, "HELD", HOSTILE)
    fake.world.jobs[f"{GROUP}/jobs/process"].reason = HOSTILE
    fake.world.campaigns["campaigns/DRP1"].reason = HOSTILE * 3
    fake.world.facilities["facilities/USDF"].drained = True
    fake.world.facilities["facilities/USDF"].reason = HOSTILE
    done = cm.here(*(argument.format(file=good_file) for argument in arguments))
    assert done.returncode == 0, done.stderr
    assert_harmless(done.stdout)
    wide = [line for line in done.stdout.splitlines() if len(line) > 80]
    assert not wide
    if arguments != ("status",):
        assert "[red]bad" in done.stdout.replace("\n", "").replace(" ", "")


def test_json_is_one_document_with_the_contracts_names(cm: Cm, fake: FakeDaemon) -> None:
    fake.move(GROUP, "HELD", HOSTILE)
    for arguments, key in (
        (("list",), "file_version"),
        (("groups", "DRP1"), "job_position"),
        (("groups", "DRP1", "--state", "accepted"), None),
        (("steps", "DRP1"), "group_counts"),
        (("jobs", "DRP1/coadd"), "attempt"),
        (("events", "DRP1"), "from_state"),
        (("facilities",), "drivers"),
        (("plugins",), "api_version"),
    ):
        done = cm.here(*arguments, "--json")
        document = json.loads(done.stdout)
        assert isinstance(document, list), arguments
        assert done.stdout.isascii()
        assert key in document[0] if key else document == []
    for arguments, key in (
        (("why", "DRP1/coadd/0000"), "waiting"),
        (("show", "DRP1/coadd/0000"), "needs_person"),
        (("show", "DRP1"), "needs_person"),
        (("daemon",), "last_seq"),
        (("facility", "USDF"), "storage"),
        (("nexus", "DRP1/coadd"), "entries"),
        (("drain", "USDF", "--reason", "power"), "drained"),
        (("schema",), "type"),
    ):
        document = json.loads(cm.here(*arguments, "--json").stdout)
        assert isinstance(document, dict)
        assert key in document or key == "needs_person"


def test_verbs_act_on_several_groups_and_go_on_after_a_refusal(cm: Cm, fake: FakeDaemon) -> None:
    done = cm.here(
        "accept", "DRP1/coadd/0000", "DRP1/coadd/9999", "DRP1/coadd/0001", "--reason", "ok"
    )
    assert done.returncode == 1
    assert "DRP1/coadd/9999: There is no" in done.stderr
    assert [request.name[-4:] for request in asked(fake, "AcceptGroup")] == ["0000", "9999", "0001"]
    assert "coadd/0001" in done.stdout


def test_a_step_and_a_state_choose_its_groups(cm: Cm, fake: FakeDaemon) -> None:
    for number in (0, 2):
        fake.move(f"campaigns/DRP1/steps/coadd/groups/{number:04}", "HELD")
    arguments = ("retry", "DRP1/coadd", "--state", "held", "--missing-only")
    done = cm.here(*arguments)
    assert done.returncode == 2
    assert "Retry 2 HELD groups of DRP1/coadd?" in done.stderr
    assert not asked(fake, "RetryGroup")
    done = cm.here(*arguments, "--yes")
    assert done.returncode == 0, done.stderr
    assert [request.name[-4:] for request in asked(fake, "RetryGroup")] == ["0000", "0002"]
    assert {request.mode for request in asked(fake, "RetryGroup")} == {1}
    assert "No group of DRP1/coadd is HELD" in cm.here(*arguments, "--yes").stderr


def test_sign_and_drain_carry_their_reasons(cm: Cm, fake: FakeDaemon) -> None:
    assert cm.here("sign", "DRP1/signoff", "--reason", "plots are fine").returncode == 0
    assert asked(fake, "SignStep")[0].reason == "plots are fine"
    assert cm.here("drain", "USDF", "--reason", "power cut").returncode == 0
    assert asked(fake, "DrainFacility")[0].name == "facilities/USDF"


def test_a_stored_file_comes_as_it_was_written(cm: Cm, fake: FakeDaemon) -> None:
    done = cm.here("show", "DRP1", "--version", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("campaign: DRP1\n# [red]bad[/red] [31mESC")
    assert_harmless(done.stdout)
    assert asked(fake, "GetCampaignFile")[0].version == 1
    assert cm.here("show", "DRP1/coadd", "--file").returncode == 2


def test_a_lost_daemon_ends_a_row_of_verbs_after_showing_what_was_done(
    cm: Cm, fake: FakeDaemon
) -> None:
    fake.world.faults["AcceptGroup"].append(Fault(grpc.StatusCode.OK, passes=True))
    fake.world.faults["AcceptGroup"].extend([Fault(grpc.StatusCode.UNAVAILABLE)] * 9)
    names = [f"DRP1/coadd/{number:04}" for number in range(3)]
    done = cm.here("accept", *names, "--reason", "ok")
    assert done.returncode == 6
    assert "coadd/0000" in done.stdout
    assert "No daemon answers" in done.stderr
    assert {request.name[-4:] for request in asked(fake, "AcceptGroup")} == {"0000", "0001"}


def test_logs_are_raw_in_a_pipe(cm: Cm, fake: FakeDaemon) -> None:
    fake.world.log = b"first\n\x1b[31mred\x1b[0m \xff\n"
    process = cm.start("logs", "DRP1/coadd/0000")
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out.startswith("first\n\x1b[31mred")
    assert cm("logs", "DRP1/coadd/0000/process", "--tail", "5").stdout == "0m \udcff\n"
    assert asked(fake, "ReadLog")[-1].offset == -5
    document = json.loads(cm("logs", "DRP1/coadd/0000", "--json").stdout)
    assert {"offset", "data", "part", "attempt"} == set(document[0])


def test_a_facility_shows_all_it_has(cm: Cm, fake: FakeDaemon) -> None:
    cm.environment["COLUMNS"] = "100"
    lines = [" ".join(line.split()) for line in cm.here("facility", "USDF").stdout.splitlines()]
    for line in (
        "state up",
        "running 3 of 8 slots, 12000 ready",
        "a job may have 8.6 GB, 4 cores, 1 d",
        "edited limits slots 8, driver local 3",
        "high 1 2 4 17.2 GB",
        "DRP1/coadd 1 2",
    ):
        assert line in lines, line
    assert any(line.startswith("disk ████████░░ 1.1 TB free 4.4 TB /disk") for line in lines)
    assert any(line.startswith("full ██████████ 0 B free") for line in lines)
    assert any(line.startswith("agent (vital) fails") for line in lines)
    listed = cm.here("facilities").stdout
    assert "3/8" in listed
    assert "mover open" in listed
    facility = fake.world.facilities["facilities/USDF"]
    for change, word in (
        ({"up": False, "down_reason": "its agent is dead"}, "down"),
        ({"drained": True, "reason": "power", "actor": "me"}, "drained"),
        ({"killed": True, "ending": 4}, "killed"),
    ):
        for name, value in change.items():
            setattr(facility, name, value)
        assert f"USDF       {word}" in cm.here("facilities").stdout
    assert "killed by me: power" in cm.here("facility", "USDF").stdout
    assert "4 jobs are ending" in cm.here("facility", "USDF").stdout


def test_names_of_facilities_are_completed(cm: Cm) -> None:
    for words in ("cm drain U", "cm kill ", "cm move DRP1/coadd/0000 US", "cm run-script U"):
        cm.environment |= {"_CM_COMPLETE": "bash_complete", "COMP_WORDS": words}
        cm.environment["COMP_CWORD"] = str(words.count(" "))
        assert cm().stdout.split() == ["plain,USDF"], words
