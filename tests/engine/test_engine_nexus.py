"""The nexus log as log lines: one for each entry of the books of a movement's attempt, once committed."""

from dataclasses import replace
from typing import Any

import pytest
import structlog
from engine_house import HERE, House, step

from cmd_daemon.engine import nexus
from cmd_daemon.kernel.policy import JobTemplate, StepPolicy
from cmd_daemon.kernel.states import JobKind

ENTRY = {
    "source": "HERE",
    "destination": "THERE",
    "type": "coadd",
    "made": 4,
    "sent": 4,
    "arrived": 3,
    "ingested": 3,
    "not_for_here": 0,
    "bytes": 30,
    "missing": 1,
    "gaps": [{"uuid": "u1", "data_id": {"tract": 1}, "stage": "sent", "reason": "lost"}],
}
BY_RUCIO = {**ENTRY, "type": "object", "registered": 4, "rule_ok": 4, "missing": 0, "gaps": []}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is written."""
    capture = structlog.testing.LogCapture()
    monkeypatch.setattr(nexus, "log", structlog.wrap_logger(None, processors=[capture]))
    return capture.entries


def moving(*books: Any, job: str = "keep-ingest", kind: JobKind = JobKind.INGEST) -> StepPolicy:
    """A step of one group with one job that tells these books."""
    jobs = (JobTemplate(job, kind, {"fake": {"extra": {"books": list(books)}}}),)
    return replace(step(1), jobs=jobs)


async def test_each_entry_of_a_movements_books_is_a_line(house: House, lines: list[Any]) -> None:
    async with house.running():
        await house.apply(one=moving(ENTRY, BY_RUCIO))
        await house.reach("ACCEPTED")
        await house.check()
    common = {
        "event": "nexus",
        "log_level": "info",
        "campaign": "camp",
        "step": "one",
        "group": "0001",
        "job": "keep-ingest",
        "attempt": 1,
        "facility": HERE,
        "movement": "keep",
        "source": "HERE",
        "destination": "THERE",
        "made": 4,
        "sent": 4,
        "arrived": 3,
        "ingested": 3,
        "not_for_here": 0,
        "bytes": 30,
    }
    assert lines == [
        {**common, "dataset_type": "coadd", "gaps": 1},
        {**common, "dataset_type": "object", "registered": 4, "rule_ok": 4, "gaps": 0},
    ]


async def test_only_movements_have_books_and_nonsense_in_them_stops_nobody(
    house: House, lines: list[Any]
) -> None:
    odd = {**ENTRY, "type": None, "made": -7, "sent": "many", "bytes": 2**60, "source": ["x"]}
    purged = {"source": "HERE", "type": "warp", "purged": 9, "bytes": 90}
    async with house.running():
        await house.apply("other", one=moving(ENTRY, job="keep", kind=JobKind.SCRIPT))
        await house.reach("ACCEPTED", "other")
        await house.apply("bare", one=step(3))
        await house.reach("ACCEPTED", "bare")
        await house.apply("odd", one=moving("x", None, [], odd))
        await house.reach("ACCEPTED", "odd")
        await house.apply("gone", one=moving(purged, job="purge", kind=JobKind.PURGE))
        await house.reach("ACCEPTED", "gone")
        await house.check("other", "bare", "odd", "gone")
    told = [(line["campaign"], line["dataset_type"], line["source"]) for line in lines]
    assert told == [("odd", "", "['x']"), ("gone", "warp", "HERE")]
    assert (lines[0]["made"], lines[0]["sent"], lines[0]["bytes"]) == (0, 0, 2**53)
    assert (lines[1]["movement"], lines[1]["purged"]) == ("purge", 9)
    assert "made" not in lines[1]
