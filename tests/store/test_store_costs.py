"""Costs, losses and the attempts that rules are tried on, on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.kernel.entities import Group, Job
from cmd_daemon.kernel.records import AttemptRow
from cmd_daemon.kernel.states import GroupState, JobKind, JobState
from cmd_daemon.store import Store
from cmd_daemon.testing.store_contract import BASE, HOSTILE, NOW, campaign, group, made, step

STEP = BASE + 1
SECOND = 1_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/c.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """Three groups: one well at the second try, one that lost quanta, one that is held and not started."""
    store = await Store.open(url, clock=lambda: NOW)
    await store.commit(made(campaign(), step()))
    entities: list[Group | Job] = []
    for n, state in enumerate((GroupState.ACCEPTED, GroupState.ACCEPTED, GroupState.HELD)):
        ident = BASE + 1_000 + 10 * n
        whole = group(0, name=f"g{n}", jobs=(ident + 1,))
        whole.id, whole.state, whole.facility, whole.reason = ident, state, "FrDF", None
        if n < 2:
            whole.started_at, whole.finished_at = NOW, NOW + (n + 1) * 10 * SECOND
        if n == 1:
            whole.quanta_expected, whole.quanta_succeeded, whole.quanta_lost = 10, 8, 2
        ended = JobState.SUCCEEDED if n < 2 else JobState.HELD
        job = Job(ident + 1, BASE, STEP, ident, "process", JobKind.PROCESS, 0, state=ended)
        job.attempt, job.reason = (2 if n == 0 else 1), HOSTILE if n == 1 else None
        entities += [whole, job]
    await store.commit(Batch(created={each.id: each for each in entities}))
    tries = [
        tried(0, 1, "FAILED", 4, None),
        tried(0, 2, "SUCCEEDED", 6, None),
        tried(1, 1, "SUCCEEDED", 20, '[{"task": "isr", "message": "boom"}]'),
        tried(2, 1, "FAILED", -3, None),
    ]
    await store.commit(Batch(attempts=tries))
    yield store
    await store.close()


def tried(n: int, number: int, state: str, seconds: int, failures: str | None) -> AttemptRow:
    """An attempt of group `n` that took so long."""
    job = BASE + 1_000 + 10 * n + 1
    times = (NOW, NOW + number, NOW + number + seconds * SECOND)
    row = (job, number, state, "", "FrDF", "panda", None, *times)
    return AttemptRow(*row, 1, None, HOSTILE, 10, 8, None, 0, None, failures, None)


async def test_time_is_summed_by_kind(store: Store) -> None:
    for step_id in (None, STEP):
        (cost,) = await store.costs(BASE, step_id)
        assert (cost.facility, cost.kind, cost.attempts) == ("FrDF", "process", 4)
        assert (cost.succeeded, cost.failed, cost.cancelled, cost.retries) == (2, 2, 0, 1)
        # A clock that went back makes no time negative.
        assert cost.time == 30 * SECOND
        assert (cost.failed_time, cost.longest) == (4 * SECOND, 20 * SECOND)
    assert await store.costs(BASE + 77) == []


async def test_losses_come_with_their_reasons(store: Store) -> None:
    second, first = await store.losses(BASE, None, NOW, 10)
    assert (first.group, first.lost, first.reason, first.total) == ("g1", 2, HOSTILE, 2)
    assert (second.group, second.state, second.reason) == ("g2", "HELD", "")
    (only,) = await store.losses(BASE, STEP, NOW, 1)
    assert (only.group, only.total) == ("g2", 2)


async def test_the_slowest_groups_are_first(store: Store) -> None:
    rows = await store.slowest(BASE, None, NOW, 10)
    assert [(row.group, row.time, row.attempts) for row in rows] == [
        ("g1", 20 * SECOND, 1),
        ("g0", 10 * SECOND, 2),
    ]


async def test_rules_are_tried_on_what_failed_or_had_failures(store: Store) -> None:
    rows, total = await store.tried(BASE, None, 10)
    assert total == 3
    assert {(row.group, row.attempt.number, row.job_attempt) for row in rows} == {
        ("g0", 1, 2),
        ("g1", 1, 1),
        ("g2", 1, 1),
    }
    assert all(row.attempt.message == HOSTILE for row in rows)
    newest, still = await store.tried(BASE, STEP, 1)
    assert ([row.group for row in newest], still) == (["g1"], 3)
