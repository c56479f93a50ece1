"""`cm schedule` against a living daemon."""

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from client_setup import SCHEDULE, TEMPLATE, Cm, wait_until
from living_daemon import LivingDaemon


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingDaemon]:
    """A daemon of two facilities."""
    daemon = LivingDaemon(tmp_path_factory.mktemp("living"), "USDF", "FrDF")
    yield daemon
    daemon.close()


@pytest.fixture
def cm(living: LivingDaemon) -> Cm:
    """`cm` that talks to it."""
    return Cm(living.target)


def run(cm: Cm, *arguments: str, code: int | None = 0) -> CompletedProcess[str]:
    """Run `cm`, which must end with this code (None: any)."""
    done = cm(*arguments)
    assert code is None or done.returncode == code, done
    return done


def files(directory: Path, name: str) -> Path:
    """A schedule file with its template beside it."""
    (directory / "small.yaml").write_text(TEMPLATE.format(name=name))
    path = directory / f"{name}.yaml"
    path.write_text(SCHEDULE.format(name=name))
    return path


def test_a_schedule_from_its_file_to_its_removal(cm: Cm, tmp_path: Path) -> None:
    file = files(tmp_path, "monthly")
    tried = run(cm, "schedule", "apply", str(file), "--dry-run")
    assert "would launch: monthly-USDF-" in tried.stdout
    assert "Nothing was changed" in tried.stderr
    assert "No schedules" in run(cm, "schedules").stderr
    applied = run(cm, "schedule", "apply", str(file)).stdout
    assert "0 6 1 * * (America/Los_Angeles)" in applied
    listed = run(cm, "schedules").stdout
    assert "monthly" in listed
    assert "ACTIVE" in listed
    paused = run(cm, "schedule", "pause", "monthly", "--reason", "holidays").stdout
    assert "PAUSED" in paused
    assert "holidays" in paused
    refused = run(cm, "schedule", "pause", "monthly", code=1)
    assert "paused already" in refused.stderr
    assert "ACTIVE" in run(cm, "schedule", "resume", "monthly").stdout
    assert "REMOVED" in run(cm, "schedule", "remove", "monthly", "--yes").stdout
    assert "No schedules" in run(cm, "schedules").stderr


def test_run_launches_a_campaign_at_each_facility(cm: Cm, tmp_path: Path) -> None:
    run(cm, "schedule", "apply", str(files(tmp_path, "byhand")))
    told = json.loads(
        run(cm, "schedule", "run", "byhand", "--yes", "--reason", "try", "--json").stdout
    )
    (launch,) = told["runs"]
    assert (launch["outcome"], launch["reason"]) == ("OUTCOME_LAUNCHED", "try")
    names = [name.removeprefix("campaigns/") for name in launch["campaigns"]]
    assert [name.split("-")[1] for name in names] == ["USDF", "FrDF"]
    for name in names:
        wait_until(lambda name=name: "ACCEPTED" in run(cm, "status", name).stdout)
    shown = run(cm, "schedule", "show", "byhand").stdout
    assert "LAUNCHED" in shown
    assert names[0] in shown
    again = run(cm, "schedule", "run", "byhand", "--yes", code=None)
    assert "already" in again.stderr or again.returncode == 0


def test_every_problem_is_told_with_its_line(cm: Cm, tmp_path: Path) -> None:
    file = files(tmp_path, "bad")
    file.write_text(file.read_text().replace("0 6 1", "0 36 1").replace("owner", "ovner"))
    told = run(cm, "schedule", "apply", str(file), code=2).stderr
    assert "bad.yaml:3:7: cron: is no cron expression: bad hour" in told
    assert "ovner: unknown key" in told
    assert "No schedules" in run(cm, "schedules").stderr or "bad" not in run(cm, "schedules").stdout


def test_a_template_that_is_not_there_is_told_with_the_file(cm: Cm, tmp_path: Path) -> None:
    file = files(tmp_path, "alone")
    (tmp_path / "small.yaml").unlink()
    told = run(cm, "schedule", "apply", str(file), code=1).stderr
    assert "template" in told
    assert "small.yaml" in told


def test_an_unknown_schedule_is_told(cm: Cm) -> None:
    assert "schedules/none" in run(cm, "schedule", "show", "none", code=1).stderr
