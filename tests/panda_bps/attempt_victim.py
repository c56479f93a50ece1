"""Works on one attempt with a stand-in for BPS and iDDS, and dies at a point that it is told.

    python attempt_victim.py DIRECTORY WORLD POINT

WORLD is a directory: `requests` has one line for each request that the stand-in iDDS has taken, `clock` the
time in seconds, `broken` what iDDS answers instead where it is there. POINT is a number (die at that note of
the record, before it is written), `arrived` (in the middle of sending, iDDS has it), `lost` (likewise, iDDS
does not), or `never`. Exit status 9 if it died.
"""

import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "plugins" / name / "stack") for name in ("cmd_panda", "cmd_local")]

import bps_attempt  # noqa: E402
import bps_sending  # noqa: E402
from attempt_victim_names import DIED  # noqa: E402

directory, world, point = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
noted = 0
plain_note = bps_attempt.Record.note


def die() -> None:
    """End as by kill -9."""
    os._exit(DIED)


def note(self: Any, **fields: Any) -> None:
    """A note that may never be written."""
    global noted
    noted += 1
    if point == str(noted):
        die()
    plain_note(self, **fields)


def taken() -> list[str]:
    """The names of the requests that iDDS has, the oldest first."""
    file = world / "requests"
    return file.read_text().split() if file.exists() else []


def request_named(name: str) -> int | None:
    """iDDS asked for a name."""
    if (world / "broken").exists():
        raise bps_sending.NotNow((world / "broken").read_text(), 60.0)
    return taken().index(name) + 1 if name in taken() else None


def send(self: Any) -> int:
    """iDDS takes the workflow."""
    if point == "lost":
        die()
    with (world / "requests").open("a") as out:
        out.write(f"{self.name}\n")
    if point == "arrived":
        die()
    if (world / "deaf").exists():
        raise RuntimeError("the connection broke")
    return len(taken())


def make_graph(self: Any) -> int:
    """A graph of two quanta."""
    (directory / "graph.qg").write_text("graph")
    self.outcome.graph = {"n_quanta": 2, "n_task_quanta": {"cal": 2}, "file": "graph.qg"}
    return 2


def describe_graph(self: Any) -> None:
    """The same graph."""
    make_graph(self)


def report(self: Any, n_quanta: int, crash: Any = None) -> None:
    """All is well."""
    assert n_quanta == 2
    self.outcome.ok, self.outcome.exit_code = True, 0


class Clock:
    """The time of the stand-in world."""

    @staticmethod
    def time() -> float:
        """Seconds since the epoch."""
        return float((world / "clock").read_text())


bps_attempt.Record.note = note  # type: ignore[method-assign]
bps_attempt.time = Clock  # type: ignore[assignment]
bps_sending.request_named = request_named
bps_sending.Workflow.send = send  # type: ignore[method-assign]
bps_sending.Workflow.prepare = lambda self: [  # type: ignore[method-assign]
    bps_sending.Task(f"{self.name}_02_cal_01", "cal", 1, 2)
]
bps_attempt.BpsJob.make_graph = make_graph  # type: ignore[method-assign]
bps_attempt.BpsJob.describe_graph = describe_graph  # type: ignore[method-assign]
bps_attempt.BpsJob.report = report  # type: ignore[method-assign]
bps_attempt.BpsJob.aggregate = lambda self, order: None  # type: ignore[method-assign]

bps_attempt.work_on(directory)
