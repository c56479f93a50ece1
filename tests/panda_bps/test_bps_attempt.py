"""The program at the facility, killed at each of its points: iDDS gets each workflow once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attempt_victim_names import DIED, VICTIM

NAME = "cmd_c_s_g_process_a1_0123456789abcdef"
SETTLE_S = 900.0


class Victim:
    """One attempt, a world, and processes that work on it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.directory = folder / "attempt"
        self.world = folder / "world"
        self.directory.mkdir()
        self.world.mkdir()
        order = {"key": "k", "butler": "b", "pipeline": "p", "output_run": "u/a1"}
        self._put("runner.json", {**order, "work_dir": str(self.directory)})
        plan = {"config": {"uniqProcName": NAME}, "endpoint": "/files", "settle_s": SETTLE_S}
        self._put("plan.json", {**plan, "credential": {}})
        self.at(1000.0)

    def _put(self, name: str, content: Any) -> None:
        (self.directory / name).write_text(json.dumps(content))

    def at(self, seconds: float) -> None:
        """Set the world's clock."""
        (self.world / "clock").write_text(str(seconds))

    def work(self, point: str = "never") -> bool:
        """One process; whether it died."""
        words = [sys.executable, str(VICTIM), str(self.directory), str(self.world), point]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        assert done.returncode in (0, DIED), done.stderr
        return done.returncode == DIED

    def record(self) -> dict[str, Any]:
        """What it has noted."""
        content = json.loads((self.directory / "record.json").read_text())
        assert isinstance(content, dict)
        return content

    def requests(self) -> list[str]:
        """What iDDS has."""
        file = self.world / "requests"
        return file.read_text().split() if file.exists() else []

    def finish(self) -> None:
        """Tell it that the workflow is over."""
        self._put("finish.json", {"aggregate": True})

    def outcome(self) -> dict[str, Any] | None:
        """What it came to."""
        file = self.directory / "outcome.json"
        return json.loads(file.read_text()) if file.exists() else None


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    return Victim(tmp_path)


def test_undisturbed_it_sends_once_and_counts_once(victim: Victim) -> None:
    victim.work()
    assert victim.requests() == [NAME]
    record = victim.record()
    assert (record["stage"], record["request"], record["quanta"]) == ("sent", 1, {"cal": 2})
    victim.work()
    assert victim.requests() == [NAME]
    victim.finish()
    victim.work()
    assert victim.outcome() is not None
    assert victim.record()["stage"] == "over"


@pytest.mark.parametrize("note", range(1, 6))
def test_killed_before_any_note_it_sends_once(victim: Victim, note: int) -> None:
    """Notes: graph, tries, tasks, sending, sent. After the last the clock need not move on: the name
    is found."""
    assert victim.work(str(note))
    victim.at(1001.0)
    victim.work()
    assert victim.record()["stage"] == "sent"
    assert victim.requests() == [NAME]


def test_killed_while_sending_it_finds_what_has_arrived(victim: Victim) -> None:
    assert victim.work("arrived")
    victim.work()
    assert victim.record()["request"] == 1
    assert victim.requests() == [NAME]


def test_killed_while_sending_it_sends_nothing_before_the_first_is_certainly_lost(
    victim: Victim,
) -> None:
    assert victim.work("lost")
    victim.at(1000.0 + SETTLE_S - 1)
    victim.work()
    assert victim.record()["stage"] == "waiting"
    assert "looked for again" in victim.record()["message"]
    assert victim.requests() == []
    # A call that was under way arrives late, and is found.
    (victim.world / "requests").write_text(f"{NAME}\n")
    victim.work()
    assert victim.record()["stage"] == "sent"
    assert victim.requests() == [NAME]


def test_what_was_certainly_lost_is_sent_again(victim: Victim) -> None:
    assert victim.work("lost")
    victim.at(1000.0 + SETTLE_S + 1)
    victim.work()
    assert victim.record()["stage"] == "sent"
    assert victim.record()["tries"] == 2
    assert victim.requests() == [NAME]


def test_a_lost_answer_is_not_another_request(victim: Victim) -> None:
    (victim.world / "deaf").touch()
    victim.work()
    record = victim.record()
    assert (record["stage"], record["message"]) == (
        "waiting",
        "PanDA did not take the workflow: the connection broke",
    )
    (victim.world / "deaf").unlink()
    victim.work()
    assert victim.record()["stage"] == "sent"
    assert victim.requests() == [NAME]


def test_nothing_is_sent_while_idds_cannot_be_asked(victim: Victim) -> None:
    (victim.world / "broken").write_text("iDDS is away")
    victim.work()
    assert (victim.record()["stage"], victim.record()["message"]) == ("waiting", "iDDS is away")
    assert victim.requests() == []
    (victim.world / "broken").unlink()
    victim.work()
    assert victim.requests() == [NAME]


def test_cancelled_before_it_is_sent_it_never_is(victim: Victim) -> None:
    (victim.directory / "cancel").touch()
    victim.work()
    assert victim.record()["stage"] == "cancelled"
    assert victim.requests() == []


def test_cancelled_in_doubt_it_is_looked_for_first(victim: Victim) -> None:
    """What has arrived must be known, so that it can be aborted."""
    assert victim.work("arrived")
    (victim.directory / "cancel").touch()
    victim.work()
    assert (victim.record()["stage"], victim.record()["request"]) == ("sent", 1)


def test_cancelled_in_doubt_nothing_new_is_sent(victim: Victim) -> None:
    assert victim.work("lost")
    (victim.directory / "cancel").touch()
    victim.work()
    assert victim.record()["stage"] == "waiting"
    victim.at(1000.0 + SETTLE_S + 1)
    victim.work()
    assert victim.record()["stage"] == "cancelled"
    assert victim.requests() == []


def test_killed_before_its_last_note_the_outcome_counts(victim: Victim) -> None:
    victim.work()
    victim.finish()
    assert victim.work("1")
    before = (victim.directory / "outcome.json").read_text()
    victim.work()
    assert (victim.directory / "outcome.json").read_text() == before
