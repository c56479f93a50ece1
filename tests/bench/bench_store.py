"""How fast the store writes and reads, next to raw sqlite3 writing the same rows.

Run: python tests/bench/bench_store.py [groups]. Prints figures and asserts nothing about time.
"""

import asyncio
import copy
import gc
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cmd_daemon.kernel.decision import Batch, Update
from cmd_daemon.kernel.entities import Campaign, Entity, Group, Job, Step
from cmd_daemon.kernel.policy import StepPolicy
from cmd_daemon.kernel.records import Effect, Record
from cmd_daemon.kernel.states import GroupState, JobKind, JobState
from cmd_daemon.store import Store
from cmd_daemon.store.writing import Change, Verb, plan

NOW = 1_790_000_000_000_000
FIRST_ID = 1 << 50
ROWS = 2000


class Campaigns:
    """One campaign of one step with many groups of one job each, and batches over it."""

    def __init__(self, groups: int) -> None:
        self.campaign = Campaign(FIRST_ID, "bench", "me", NOW)
        self.step = Step(FIRST_ID + 1, FIRST_ID, "s", 0, StepPolicy())
        self.groups: list[Group] = []
        self.jobs: list[Job] = []
        self.seq = 0
        for n in range(groups):
            ident = FIRST_ID + 2 + 2 * n
            share = f'{{"tract": {n}}}'
            self.groups.append(
                Group(ident, FIRST_ID, self.step.id, f"g{n}", share, (ident + 1,), created_at=NOW)
            )
            self.jobs.append(
                Job(ident + 1, FIRST_ID, self.step.id, ident, "process", JobKind.PROCESS, 0)
            )

    def record(self, group: Group, job: Job, state: JobState) -> Record:
        self.seq += 1
        name = f"campaigns/bench/steps/s/groups/{group.name}/jobs/{job.name}"
        ids = (FIRST_ID, self.step.id, group.id, job.id)
        return Record(
            "job", name, *ids, str(job.state), str(state), "polled", "local", NOW, seq=self.seq
        )

    def make(self) -> list[Batch]:
        first = Batch(created={self.campaign.id: self.campaign, self.step.id: self.step})
        batches = [first]
        for at in range(0, len(self.groups), ROWS):
            rows: list[Entity] = [*self.groups[at : at + ROWS], *self.jobs[at : at + ROWS]]
            batches.append(Batch(created={row.id: row for row in rows}))
        return batches

    def move(self, state: JobState, group_state: GroupState, begin: bool) -> list[Batch]:
        """Every job one state on (with an event and an effect made or done), every second group."""
        batches = []
        for at in range(0, len(self.jobs), ROWS):
            batch = Batch()
            for n in range(at, min(at + ROWS, len(self.jobs))):
                group, job = self.groups[n], copy.copy(self.jobs[n])
                batch.records.append(self.record(group, job, state))
                job.state, job.version, job.due_at = state, job.version + 1, NOW
                job.driver, job.facility = "null", "usdf"
                batch.updates[job.id] = Update(job, job.version - 1)
                self.jobs[n] = job
                key = f"bench/s/{group.name}/process#1:submit"
                if begin:
                    batch.effects[key] = Effect(key, "submit", job.id, 1, "usdf", "null", NOW)
                else:
                    batch.effects_done.add(key)
                if n % 2 == 0:
                    group = copy.copy(group)
                    group.state, group.version = group_state, group.version + 1
                    batch.updates[group.id] = Update(group, group.version - 1)
                    self.groups[n] = group
            batches.append(batch)
        return batches


def rows_of(batches: list[Batch]) -> int:
    return sum(len(change.rows) for batch in batches for change in plan(batch))


def sql_of(change: Change) -> str:
    columns = [f'"{c}"' for c in change.columns]
    if change.verb is Verb.UPDATE:
        return f"UPDATE {change.table} SET {', '.join(f'{c}=?' for c in columns)} WHERE id=? AND version=?"
    if change.verb is Verb.DELETE:
        return f"DELETE FROM {change.table} WHERE {change.key}=?"
    return f"INSERT INTO {change.table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def floor(path: Path, phases: list[list[list[Change]]]) -> list[float]:
    """Seconds of each phase: the same rows, ready made, same schema, nothing but sqlite3."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "cache_size = -65536"):
        connection.execute(f"PRAGMA {pragma}")
    spent = []
    for phase in phases:
        begin = time.perf_counter()
        for changes in phase:
            connection.execute("BEGIN IMMEDIATE")
            for change in changes:
                connection.executemany(sql_of(change), change.rows)
            connection.execute("COMMIT")
        spent.append(time.perf_counter() - begin)
    connection.close()
    return spent


async def timed(name: str, times: int, ask: Callable[[], Awaitable[Any]]) -> None:
    spent = []
    for _ in range(times):
        begin = time.perf_counter()
        await ask()
        spent.append((time.perf_counter() - begin) * 1000)
    spent.sort()
    print(
        f"{name:34s} p50 {spent[len(spent) // 2]:7.2f} ms   p99 {spent[int(len(spent) * 0.99)]:7.2f} ms"
    )


async def main(groups: int) -> None:
    bench = Campaigns(groups)
    phases = {
        "create": bench.make(),
        "submit": bench.move(JobState.SUBMITTING, GroupState.PLACED, begin=True),
        "run": bench.move(JobState.RUNNING, GroupState.RUNNING, begin=False),
    }
    with tempfile.TemporaryDirectory() as directory:
        raw, url = Path(directory, "raw.db"), f"sqlite+aiosqlite:///{directory}/store.db"
        await (await Store.open(f"sqlite+aiosqlite:///{raw}", clock=lambda: NOW)).close()
        floors = floor(raw, [[plan(b) for b in batches] for batches in phases.values()])
        store = await Store.open(url, clock=lambda: NOW)
        for (name, batches), best in zip(phases.items(), floors, strict=True):
            rows = rows_of(batches)
            begin, cpu = time.perf_counter(), time.process_time()
            for batch in batches:
                await store.commit(batch)
            wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
            print(
                f"{name:7s} {rows:8d} rows  {rows / wall:9.0f} rows/s  CPU {cpu / rows * 1e6:5.1f} µs/row"
                f"  floor {rows / best:9.0f} rows/s  ratio {wall / best:4.2f}"
            )
        begin = time.perf_counter()
        for batches in phases.values():
            for batch in batches:
                plan(batch)
        total = sum(rows_of(batches) for batches in phases.values())
        print(f"rows made in Python: {(time.perf_counter() - begin) / total * 1e6:.2f} µs/row")
        await store.close()
        del phases
        store = await Store.open(url, clock=lambda: NOW)
        begin = time.perf_counter()
        loaded = await store.load_open()
        print(
            f"load_open: {len(loaded.groups)} groups + {len(loaded.jobs)} jobs in "
            f"{time.perf_counter() - begin:.2f} s; RSS at most "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB"
        )
        gc.collect()
        gc.freeze()  # as the daemon does after loading: else the collector walks all of it again
        middle = FIRST_ID + groups
        running = [JobState.RUNNING]
        await timed("get_campaign", 100, lambda: store.get_campaign("bench"))
        await timed("list_steps", 100, lambda: store.list_steps("bench"))
        await timed("get_job", 100, lambda: store.get_job("bench", "s", "g1", "process"))
        await timed(
            "list_jobs, 1000 of all", 100, lambda: store.list_jobs("bench", after_id=middle)
        )
        await timed(
            "list_jobs, 1000 running of step",
            100,
            lambda: store.list_jobs("bench", "s", states=running, after_id=middle),
        )
        await timed(
            "list_jobs, none failed",
            100,
            lambda: store.list_jobs("bench", states=[JobState.FAILED]),
        )
        several = [JobState.RUNNING, JobState.HELD, JobState.FAILED]
        await timed(
            "list_jobs, 1000 of 3 states",
            100,
            lambda: store.list_jobs("bench", states=several, after_id=middle),
        )
        await timed(
            "list_groups, 1000 of all", 100, lambda: store.list_groups("bench", after_id=middle)
        )
        await timed("events, 1000 of campaign", 100, lambda: store.events(campaign_id=FIRST_ID))
        await timed(
            "events, newest 100 of a group",
            100,
            lambda: store.events(group_id=middle & ~1, limit=100, backwards=True),
        )
        await timed("recount", 3, lambda: store.recount(FIRST_ID))
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
