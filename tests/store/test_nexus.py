"""The nexus log as read from the books of movements: which attempt counts, and how books add up."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.kernel.entities import Group, Job
from cmd_daemon.kernel.records import AttemptRow, NexusRow
from cmd_daemon.kernel.states import GroupState, JobKind, JobState
from cmd_daemon.store import Store
from cmd_daemon.testing.store_contract import BASE, NOW, campaign, group, made, step

STEP = BASE + 1
JOBS = {
    "keep-register": JobKind.REGISTER,
    "keep-transfer": JobKind.TRANSFER,
    "keep-ingest": JobKind.INGEST,
    "process": JobKind.PROCESS,
    "purge": JobKind.PURGE,
}
GAP = {"uuid": "u1", "data_id": {"tract": 1}, "stage": "made", "reason": "lost"}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind: each counts in words of its own."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/n.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    store = await Store.open(url, clock=lambda: NOW)
    await store.commit(made(campaign(), step()))
    yield store
    await store.close()


def entry(made: int = 4, *reached: int, **fields: Any) -> dict[str, Any]:
    """An entry of books, as the mover writes them."""
    sent, arrived, ingested = (*reached, 0, 0, 0)[:3]
    return {
        "source": "FrDF",
        "destination": "USDF",
        "type": "coadd",
        "made": made,
        "sent": sent,
        "arrived": arrived,
        "ingested": ingested,
        "bytes": 10 * arrived,
        "not_for_here": 0,
        "missing": 0,
        "gaps": [],
        **fields,
    }


def with_jobs(n: int, **fields: Any) -> list[Group | Job]:
    """Group `n` of the step, with one job of each name."""
    ident = BASE + 1_000_000 + 10 * n
    jobs = [
        Job(
            ident + at,
            BASE,
            STEP,
            ident,
            name,
            kind,
            at,
            **(fields if name == "keep-ingest" else {}),
        )
        for at, (name, kind) in enumerate(JOBS.items(), start=1)
    ]
    held = fields.get("state") is JobState.HELD
    whole = group(0, name=f"g{n}", jobs=tuple(job.id for job in jobs))
    whole.id, whole.state = ident, GroupState.HELD if held else GroupState.RUNNING
    return [whole, *jobs]


def told(n: int, name: str, number: int, at: int, books: Any, key: str = "books") -> AttemptRow:
    """A finished attempt that told these books; `books` as text is written as it stands."""
    extra = books if isinstance(books, str) else json.dumps({key: books})
    job = BASE + 1_000_000 + 10 * n + list(JOBS).index(name) + 1
    times = (NOW, None, NOW + at)
    row = (job, number, "SUCCEEDED", "", "FrDF", "mover", None, *times)
    return AttemptRow(*row, 0, None, "", 0, 0, None, 0, None, None, extra)


async def keep(store: Store, groups: int, *attempts: AttemptRow, **fields: Any) -> None:
    """Write groups and attempts."""
    entities = [each for n in range(groups) for each in with_jobs(n, **fields)]
    await store.commit(Batch(created={each.id: each for each in entities}))
    await store.commit(Batch(attempts=list(attempts)))


def counts(row: NexusRow) -> tuple[int, int, int, int]:
    return (row.made, row.sent, row.arrived, row.ingested)


async def test_what_rucio_tells_besides_is_there_and_adds_up(store: Store) -> None:
    by_rucio = entry(4, 4, 3, 3, registered=4, rule_ok=3)
    await keep(
        store,
        3,
        told(0, "keep-ingest", 1, 1, [by_rucio]),
        told(1, "keep-ingest", 1, 2, [{**by_rucio, "rule_ok": 2}]),
        told(2, "keep-ingest", 1, 3, [entry(4, 4, 4, 4)]),
    )
    (row,) = await store.nexus_of_group(BASE + 1_000_000)
    assert (row.made, row.registered, row.rule_ok, row.sent, row.arrived) == (4, 4, 3, 4, 3)
    (whole,) = await store.nexus_of_step(STEP)
    assert (whole.registered, whole.rule_ok, whole.sent, whole.groups) == (8, 5, 12, 3)


async def test_of_a_group_the_newest_books_count(store: Store) -> None:
    await keep(
        store,
        1,
        told(0, "keep-register", 1, 1, [entry(4)]),
        told(0, "keep-transfer", 1, 2, [entry(4, 4, 3, missing=1, gaps=[GAP])]),
        told(0, "keep-ingest", 1, 3, [entry(4, 4, 3, 3, missing=1, gaps=[GAP])]),
        told(0, "keep-ingest", 2, 4, [entry(4, 4, 4, 4)]),
        told(0, "keep-ingest", 3, 5, {"killed_for": "time"}, key="other"),
        told(0, "process", 1, 9, [entry(99)]),
        told(0, "purge", 1, 6, [{"source": "FrDF", "type": "warp", "purged": 7, "bytes": 70}]),
    )
    rows = await store.nexus_of_group(BASE + 1_000_000)
    assert [(row.movement, row.job, row.at - NOW) for row in rows] == [
        ("keep", "keep-ingest", 4),
        ("purge", "purge", 6),
    ]
    assert counts(rows[0]) == (4, 4, 4, 4)
    assert (rows[0].source, rows[0].destination, rows[0].type) == ("FrDF", "USDF", "coadd")
    assert (rows[1].purged, rows[1].bytes, rows[1].destination, rows[1].made) == (7, 70, "", 0)


async def test_a_movement_begun_anew_forgets_the_former_one(store: Store) -> None:
    await keep(
        store,
        1,
        told(0, "keep-ingest", 1, 3, [entry(4, 4, 4, 4)]),
        told(0, "keep-register", 2, 7, [entry(6, source="UKDF")]),
        attempt=1,
        fresh_from=1,
    )
    (row,) = await store.nexus_of_group(BASE + 1_000_000)
    assert (row.source, row.job, counts(row)) == ("UKDF", "keep-register", (6, 0, 0, 0))


async def test_a_clock_that_was_set_back_makes_nothing_newer(store: Store) -> None:
    """The register was told while the clock was an hour ahead."""
    await keep(
        store,
        1,
        told(0, "keep-register", 1, 3600, [entry(4, 4)]),
        told(0, "keep-transfer", 1, 2, [entry(4, 4, 4)]),
        told(0, "keep-ingest", 1, 9, [entry(4, 4, 4, 3, missing=1, gaps=[GAP])]),
        told(0, "keep-ingest", 2, 5, [entry(4, 4, 4, 4)]),
    )
    (row,) = await store.nexus_of_group(BASE + 1_000_000)
    assert (row.job, counts(row)) == ("keep-ingest", (4, 4, 4, 4))
    (whole,) = await store.nexus_of_step(STEP)
    assert counts(whole) == (4, 4, 4, 4)


async def test_a_step_adds_up_its_groups_and_lists_gaps_with_held_groups_first(
    store: Store,
) -> None:
    await keep(
        store,
        3,
        told(0, "keep-ingest", 1, 1, [entry(4, 4, 4, 4), entry(2, type="object")]),
        told(1, "keep-ingest", 1, 2, [entry(4, 4, 3, 3, missing=1, gaps=[GAP])]),
        told(2, "keep-ingest", 1, 3, [entry(4, 2, 2, 2, missing=2, gaps=[GAP, GAP])]),
    )
    await keep_held(store, 5)
    coadd, objects = await store.nexus_of_step(STEP)
    assert (coadd.type, counts(coadd), coadd.groups) == ("coadd", (16, 13, 12, 12), 4)
    assert (coadd.missing, coadd.at, coadd.group) == (4, NOW + 4, "")
    assert (objects.type, counts(objects), objects.groups) == ("object", (2, 0, 0, 0), 1)
    gaps = await store.nexus_gaps(STEP, 10)
    assert [(row.group, row.missing, row.job_state) for row in gaps] == [
        ("g5", 1, "HELD"),
        ("g1", 1, "WAITING"),
        ("g2", 2, "WAITING"),
    ]
    assert json.loads(gaps[0].gaps) == [GAP]
    assert len(await store.nexus_gaps(STEP, 1)) == 1
    assert await store.nexus_of_step(BASE + 77) == []


async def keep_held(store: Store, n: int) -> None:
    """A group whose ingest is HELD with a gap."""
    entities = with_jobs(n, state=JobState.HELD)
    attempts = [told(n, "keep-ingest", 1, 4, [entry(4, 3, 3, 3, missing=1, gaps=[GAP])])]
    await store.commit(Batch(created={each.id: each for each in entities}))
    await store.commit(Batch(attempts=attempts))


@pytest.mark.parametrize(
    "books",
    [
        "not json",
        '{"books": NaN}',
        '{"books": {"a": 1}}',
        '{"books": [1, "x", null, []]}',
        '{"books": ' + "[" * 90_000 + "]" * 90_000 + "}",
        '{"books": []}',
    ],
)
async def test_nonsense_is_no_books(store: Store, books: str) -> None:
    good = told(0, "keep-register", 1, 1, [entry(4)])
    await keep(store, 1, good, told(0, "purge", 1, 2, books))
    assert [row.movement for row in await store.nexus_of_step(STEP)] == ["keep"]


async def test_a_text_that_no_database_can_show_hurts_nobody_else(store: Store) -> None:
    odd = told(0, "purge", 1, 2, [{"type": "zero \0", "source": "x"}])
    await keep(store, 1, told(0, "keep-register", 1, 1, [entry(4)]), odd)
    assert (await store.nexus_of_step(STEP))[0].movement == "keep"


async def test_odd_counts_hurt_nobody_else(store: Store) -> None:
    odd = entry(2**80, 10**30, -5, "many", bytes=2**62, gaps="none", missing=1, type=None)
    await keep(
        store,
        2,
        told(0, "keep-ingest", 1, 1, [odd]),
        told(1, "keep-ingest", 1, 1, [{**odd, "bytes": 2**62}, entry(4, 4, 4, 4)]),
    )
    nameless, coadd = await store.nexus_of_step(STEP)
    assert counts(coadd) == (4, 4, 4, 4)
    assert (nameless.type, nameless.arrived, nameless.ingested) == ("", 0, 0)
    assert nameless.bytes == 2**53
    assert {row.gaps for row in await store.nexus_gaps(STEP, 9)} == {"[]"}


async def test_a_step_of_many_groups_is_summed_exactly(store: Store) -> None:
    number = 5000
    rows = [told(n, "keep-ingest", 1, n, [entry(4, 4, 4, 4)] * 3) for n in range(number)]
    await keep(store, number, *rows)
    (row,) = await store.nexus_of_step(STEP)
    assert counts(row) == (12 * number,) * 4
    assert row.groups == number
