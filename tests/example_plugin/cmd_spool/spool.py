"""The outside system: a queue of entries in a SQLite file, and a log for each of them.

Nothing here knows the daemon. It stands for the client library of a real batch system, and like
most of those it blocks.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'over')),
    cancelled INTEGER NOT NULL DEFAULT 0,
    began REAL,
    ended REAL,
    exit_code INTEGER
);
CREATE TABLE IF NOT EXISTS runs (key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS refused (key TEXT PRIMARY KEY, why TEXT NOT NULL);
"""

FIELDS = "id, key, job, state, cancelled, began, ended, exit_code"

CANCELLED = 130
"""Exit code of an entry that was cancelled."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the queue. Times in seconds since the epoch, UTC."""

    id: int
    key: str
    job: Mapping[str, Any]
    state: str
    cancelled: bool
    began: float | None
    ended: float | None
    exit_code: int | None


class Spool:
    """The queue in a directory. Each call is one transaction; all of them block."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(
            self.directory / "spool.db", timeout=10.0, isolation_level=None
        )
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()

    def prepare(self) -> None:
        """Make the directory and the tables if they are not there."""
        (self.directory / "logs").mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.directory / "spool.db", timeout=10.0)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(SCHEMA)
        finally:
            connection.close()

    def put(self, jobs: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, int], dict[str, str]]:
        """File jobs by key. A key that is there stays as it is: filing twice is filing once.

        Returns the numbers of the entries by key, and for keys that are turned away the reason.
        """
        with self._transaction() as connection:
            refused = dict(connection.execute("SELECT key, why FROM refused"))
            closed = refused.pop("", None)
            away = {key: closed or refused[key] for key in jobs if closed or key in refused}
            rows = [(key, json.dumps(job)) for key, job in jobs.items() if key not in away]
            connection.executemany(
                "INSERT INTO entries (key, job) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", rows
            )
            taken = {entry.key: entry.id for entry in _entries(connection, list(jobs))}
        return taken, {key: why for key, why in away.items() if key not in taken}

    def get(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries of these keys; a key that the queue does not hold is left out."""
        with self._transaction() as connection:
            return {entry.key: entry for entry in _entries(connection, keys)}

    def cancel(self, keys: Sequence[str]) -> None:
        """End entries: queued ones at once, running ones by the worker."""
        marks = ", ".join("?" * len(keys))
        with self._transaction() as connection:
            connection.execute(
                f"UPDATE entries SET cancelled = 1 WHERE state <> 'over' AND key IN ({marks})", keys
            )
            connection.execute(
                "UPDATE entries SET state = 'over', ended = ?, exit_code = ?"
                " WHERE cancelled AND state = 'queued'",
                (time.time(), CANCELLED),
            )

    def refuse(self, key: str, why: str) -> None:
        """Turn this key away from now on; "" turns all away. An empty reason takes it back."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM refused WHERE key = ?", (key,))
            if why:
                connection.execute("INSERT INTO refused VALUES (?, ?)", (key, why))

    def log(self, entry_id: int) -> Path:
        """The log of an entry."""
        return self.directory / "logs" / f"{entry_id}.log"

    def ledger(self) -> dict[str, int]:
        """How often each key really ran, as the worker wrote it down."""
        with self._transaction() as connection:
            return dict(connection.execute("SELECT key, COUNT(*) FROM runs GROUP BY key"))

    # --- for the worker -----------------------------------------------------------------------

    def begin(self) -> None:
        """Start everything that is queued."""
        with self._transaction() as connection:
            started = connection.execute(
                "UPDATE entries SET state = 'running', began = ? WHERE state = 'queued'"
                " RETURNING id, key",
                (time.time(),),
            ).fetchall()
            connection.executemany("INSERT INTO runs VALUES (?)", [(key,) for _, key in started])
            for ident, key in started:
                self._write(ident, f"{key} begins\n")

    def finish(self) -> None:
        """End what has run long enough, and what was cancelled."""
        with self._transaction() as connection:
            now = time.time()
            for entry in _selected(connection, "state = 'running'"):
                seconds = entry.job.get("seconds", 0.0)
                if not entry.cancelled and (seconds is None or now < entry.began + seconds):
                    continue
                code = CANCELLED if entry.cancelled else int(entry.job.get("exit_code", 0))
                self._write(entry.id, f"{entry.key} ends with exit code {code}\n")
                connection.execute(
                    "UPDATE entries SET state = 'over', ended = ?, exit_code = ? WHERE id = ?",
                    (now, code, entry.id),
                )

    def _write(self, entry_id: int, line: str) -> None:
        with self.log(entry_id).open("a", encoding="utf-8") as log:
            log.write(line)


def _entries(connection: sqlite3.Connection, keys: Sequence[str]) -> list[Entry]:
    return _selected(connection, f"key IN ({', '.join('?' * len(keys))})", keys)


def _selected(
    connection: sqlite3.Connection, condition: str, values: Sequence[str] = ()
) -> list[Entry]:
    rows = connection.execute(f"SELECT {FIELDS} FROM entries WHERE {condition}", values)
    return [
        Entry(ident, key, json.loads(job), state, bool(cancelled), began, ended, code)
        for ident, key, job, state, cancelled, began, ended, code in rows
    ]
