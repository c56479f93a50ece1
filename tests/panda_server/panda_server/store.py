"""The world on disk, so that a server that was killed goes on where it was: rows in SQLite."""

import pickle
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

from panda_server.model.entities import FINAL_JOB
from panda_server.model.world import World

SHELVES = {
    "Task": "tasks",
    "Input": "inputs",
    "Job": "jobs",
    "Request": "requests",
    "Transform": "transforms",
}
# What is kept of the world beside its rows.
REST = ("numbers", "files", "jedi_logs", "sticky", "tokens_since", "most_ids", "max_active_tasks")


class Store:
    """Rows by kind and number. Written before an answer goes out; safe against a killed process."""

    def __init__(self, file: Path) -> None:
        self._base = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=OFF")
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS row (kind TEXT, id INTEGER, body BLOB, PRIMARY KEY (kind, id))"
        )
        self._rest = b""

    def save(self, world: World) -> None:
        """Write what was touched since the last time; the world's lock is held."""
        rows = [
            (kind, number, pickle.dumps(row))
            for (kind, number), row in world.touched.items()
            if kind in SHELVES
        ]
        world.touched.clear()
        kept: dict[str, Any] = {name: getattr(world, name) for name in REST}
        kept["queues"] = world.queues.by_name
        rest = pickle.dumps(kept)
        if rest != self._rest:
            rows.append(("World", 0, rest))
            self._rest = rest
        if not rows:
            return
        rows.append(("Time", 0, pickle.dumps(world.clock.wall())))
        self._base.execute("BEGIN")
        self._base.executemany("INSERT OR REPLACE INTO row VALUES (?, ?, ?)", rows)
        self._base.execute("COMMIT")

    def time(self) -> datetime | None:
        """The model's time when something was written last."""
        found = self._base.execute("SELECT body FROM row WHERE kind = 'Time'").fetchone()
        return pickle.loads(found[0]) if found else None

    def load(self, world: World) -> None:
        """Fill a new world with what was kept, and put on its agenda what was on it."""
        for kind, _, body in self._base.execute("SELECT kind, id, body FROM row ORDER BY kind, id"):
            if kind == "World":
                kept = pickle.loads(body)
                world.queues.by_name = kept.pop("queues")
                vars(world).update(kept)
            elif kind in SHELVES:
                row = pickle.loads(body)
                getattr(world, SHELVES[kind])[row.id] = row
        world.active = {n: job for n, job in world.jobs.items() if job.status not in FINAL_JOB}
        for shelf in (world.tasks, world.jobs, world.requests):
            for row in shelf.values():
                world.schedule(row)
        for task in world.tasks.values():
            if task.command:
                world.schedule(task.command)

    def close(self) -> None:
        """Close the file."""
        self._base.close()
