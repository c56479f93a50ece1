"""Sums made where the rows are: groups in slices, activity by spans, failures by message, ways."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.kernel.entities import Entity, Group, Job
from cmd_daemon.kernel.records import AttemptRow, SpanRow
from cmd_daemon.kernel.states import GroupState, JobKind, JobState
from cmd_daemon.store import Store
from cmd_daemon.testing.store_contract import BASE, HOSTILE, NOW, campaign, made, step

MINUTE = 60_000_000
ONE, TWO = BASE + 1, BASE + 2


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    store = await Store.open(url, clock=lambda: NOW)
    await store.commit(made(campaign(), step(1), step(2)))
    yield store
    await store.close()


def ident(n: int) -> int:
    """The id of group `n`; its job's is one more."""
    return BASE + 1_000_000 + 10 * n


def pair(
    n: int,
    at: int,
    state: GroupState,
    facility: str | None = "USDF",
    kind: JobKind = JobKind.PROCESS,
    job_state: JobState = JobState.WAITING,
    **job: Any,
) -> list[Entity]:
    """Group `n` of a step and its job."""
    group = Group(
        ident(n), BASE, at, f"g{n}", "{}", (ident(n) + 1,), facility=facility, state=state
    )
    of = Job(ident(n) + 1, BASE, at, ident(n), "work", kind, 0, state=job_state, **job)
    of.facility = facility or ""
    return [group, of]


def tried(n: int, number: int, state: str, began: int, ended: int, **fields: Any) -> AttemptRow:
    """A finished attempt of group `n`; times in minutes."""
    given = {
        "message": "",
        "expected": 0,
        "successful": 0,
        "output_run": None,
        "memory": 0,
        **fields,
    }
    return AttemptRow(
        job_id=ident(n) + 1,
        number=number,
        state=state,
        mode="",
        facility=given.pop("facility", "USDF"),
        driver="fake",
        ref=None,
        submitted_at=NOW + began * MINUTE,
        started_at=None,
        finished_at=NOW + ended * MINUTE,
        exit_code=given.pop("exit_code", None),
        error_class=given.pop("error_class", None),
        **given,
    )


async def keep(store: Store, entities: list[Entity], *attempts: AttemptRow) -> None:
    await store.commit(Batch(created={each.id: each for each in entities}))
    await store.commit(Batch(attempts=list(attempts)))


async def test_groups_are_counted_whole_and_in_slices(store: Store) -> None:
    states = [GroupState.ACCEPTED, GroupState.HELD, GroupState.RUNNING]
    places = ["USDF", "FrDF", None]
    entities: list[Entity] = []
    for n in range(103):
        entities += pair(n, ONE if n < 90 else TWO, states[n % 3], places[n % 2 if n % 5 else 2])
    await keep(store, entities)
    whole = await store.count_groups(BASE)
    truth = Counter(
        ("s1" if n < 90 else "s2", places[n % 2 if n % 5 else 2], str(states[n % 3]))
        for n in range(103)
    )
    assert {(row.step, row.facility, row.state): row.count for row in whole} == truth
    assert {row.slice for row in whole} == {0}
    cut = await store.count_groups(BASE, slices=10)
    assert sum(row.count for row in cut) == 103
    assert {row.slice for row in cut if row.step == "s1"} == set(range(1, 11))
    sizes = Counter[tuple[str, int]]()
    for row in cut:
        sizes[row.step, row.slice] += row.count
    assert set(sizes.values()) <= {1, 2, 9}
    first = [row for row in cut if row.step == "s1" and row.slice == 2]
    assert min(int(row.first[1:]) for row in first) == 9
    only = await store.count_groups(BASE, TWO, slices=500)
    assert sum(row.count for row in only) == 13
    assert {row.step for row in only} == {"s2"}
    assert all(row.count == 1 for row in only), "fewer groups than slices"
    assert await store.count_groups(BASE + 999) == []


def told(rows: list[SpanRow], what: str) -> dict[tuple[str, str, int], int]:
    return {(row.step, row.facility, row.span): row.count for row in rows if row.what == what}


async def test_what_began_and_ended_when(store: Store) -> None:
    began = NOW + 7 * MINUTE
    entities = [
        *pair(0, ONE, GroupState.ACCEPTED),
        *pair(1, ONE, GroupState.RUNNING, "FrDF", job_state=JobState.RUNNING, submitted_at=began),
        *pair(2, TWO, GroupState.FAILED),
    ]
    await keep(
        store,
        entities,
        tried(0, 1, "FAILED", 0, 3, expected=20, successful=19),
        tried(0, 2, "SUCCEEDED", 4, 6, expected=20, successful=20),
        tried(2, 1, "CANCELLED", 5, 99),
    )
    rows = await store.activity(BASE, None, NOW, MINUTE, 10)
    assert told(rows, "begun") == {
        ("s1", "USDF", 0): 1, ("s1", "USDF", 4): 1, ("s1", "FrDF", 7): 1, ("s2", "USDF", 5): 1,
    }  # fmt: skip
    assert told(rows, "FAILED") == {("s1", "USDF", 3): 1}
    assert told(rows, "SUCCEEDED") == {("s1", "USDF", 6): 1}
    assert told(rows, "CANCELLED") == {}, "it ended after the time that was asked for"
    quanta = {row.span: row.quanta for row in rows if row.quanta}
    assert quanta == {3: 19, 6: 1}, "what a former attempt had done is not counted twice"
    alone = await store.activity(BASE, TWO, NOW, 100 * MINUTE, 1)
    assert told(alone, "CANCELLED") == {("s2", "USDF", 0): 1}
    assert {row.step for row in alone} == {"s2"}


async def test_bytes_are_those_that_transfers_brought_elsewhere(store: Store) -> None:
    moves = {"kind": JobKind.TRANSFER}
    entities = [
        *pair(0, ONE, GroupState.ACCEPTED, **moves),
        *pair(1, ONE, GroupState.HELD, **moves),
        *pair(2, ONE, GroupState.HELD, **moves),
        *pair(3, ONE, GroupState.ACCEPTED, kind=JobKind.REGISTER),
    ]
    books = [
        {"source": "FrDF", "destination": "USDF", "bytes": 700},
        {"source": "FrDF", "destination": "TAPE", "bytes": 300},
        {"source": "USDF", "destination": "USDF", "bytes": 9000},
        {"source": "USDF", "destination": "FrDF", "bytes": -5},
        {"source": "USDF", "destination": "FrDF"},
        "nonsense",
    ]
    extra = json.dumps({"books": books})
    await keep(
        store,
        entities,
        tried(0, 1, "SUCCEEDED", 0, 2, extra=extra, facility="FrDF"),
        tried(1, 1, "FAILED", 0, 2, extra=extra),
        tried(2, 1, "SUCCEEDED", 0, 2, extra='"books" {'),
        tried(3, 1, "SUCCEEDED", 0, 2, extra=extra),
    )
    rows = await store.activity(BASE, None, NOW, MINUTE, 10)
    assert told(rows, "bytes") == {("s1", "FrDF", 2): 1000}


async def test_failures_alike_are_one_row(store: Store) -> None:
    entities = [each for n in range(6) for each in pair(n, ONE, GroupState.HELD)]

    def quanta(*messages: str) -> str:
        listed = [{"task": "isr", "data_id": "{}", "message": each, "exit": 1} for each in messages]
        return json.dumps(listed)

    await keep(
        store,
        entities,
        tried(0, 1, "FAILED", 0, 1, message="first of them", failures=quanta("a", "a", "b")),
        tried(1, 1, "FAILED", 0, 9, message="first of them", failures=quanta("a")),
        tried(2, 1, "FAILED", 0, 2, message="whole", exit_code=137, error_class="Transient"),
        tried(3, 1, "FAILED", 0, 3, message="whole", exit_code=137, failures="no JSON"),
        tried(4, 1, "FAILED", 0, 4, message=HOSTILE, failures=quanta("")),
        tried(5, 1, "SUCCEEDED", 0, 4, message="whole", failures=quanta("a")),
    )
    rows = await store.failures(BASE)
    assert [(r.message, r.task, r.exit_code, r.error_class, r.count) for r in rows] == [
        ("a", "isr", 1, "", 3),
        (HOSTILE, "isr", 1, "", 1),
        ("whole", "", 137, "", 1),
        ("whole", "", 137, "Transient", 1),
        ("b", "isr", 1, "", 1),
    ]
    first = rows[0]
    assert (first.group, first.job, first.attempt) == ("g1", "work", 1), "the last of them"
    assert (first.first_at, first.last_at) == (NOW + MINUTE, NOW + 9 * MINUTE)
    assert {row.total for row in rows} == {7}
    assert await store.failures(BASE, TWO) == []


async def test_ways_add_up_over_steps_and_campaigns(store: Store) -> None:
    ways = {"kind": JobKind.TRANSFER}
    entities = [
        *pair(0, ONE, GroupState.ACCEPTED, **ways),
        *pair(1, TWO, GroupState.ACCEPTED, **ways),
    ]
    book = {"source": "A", "destination": "B", "made": 3, "sent": 3, "arrived": 2, "bytes": 50}
    extra = json.dumps({"books": [{**book, "type": "x"}, {**book, "type": "y", "missing": 1}]})
    await keep(
        store,
        entities,
        tried(0, 1, "SUCCEEDED", 0, 1, extra=extra),
        tried(1, 1, "SUCCEEDED", 0, 1, extra=extra),
    )
    for asked, times in (((None, None), 4), ((BASE, None), 4), ((BASE, ONE), 2)):
        (way,) = await store.ways(*asked)
        assert (way.source, way.destination, way.groups) == ("A", "B", times // 2)
        assert (way.made, way.arrived, way.bytes, way.missing) == (
            3 * times, 2 * times, 50 * times, times // 2,
        )  # fmt: skip
    assert await store.ways(BASE + 999) == []
