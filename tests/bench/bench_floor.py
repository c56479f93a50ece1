"""The floor: what a finished campaign wrote, written again by nothing but sqlite3.

The history of a real run is turned back into rows: each event, and for each event about a job or a
group the update of its row, the effect intended or done, the attempt, the placement. They are made ready
beforehand and written in the same schema, in batches, with the same pragmas.
"""

import sqlite3
import time
from pathlib import Path
from typing import Any

from cmd_daemon.store import codec, writing

BATCH = 1000
"""Events in one transaction."""

Statement = tuple[str, list[tuple[Any, ...]]]


def _insert(table: str, columns: tuple[str, ...]) -> str:
    names = ", ".join(f'"{c}"' for c in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"


def _update(table: str, columns: tuple[str, ...]) -> str:
    sets = ", ".join(f'"{c}" = ?' for c in columns)
    return f"UPDATE {table} SET {sets} WHERE id = ? AND version = ?"


def _select(table: str, columns: tuple[str, ...]) -> str:
    names = ", ".join(f'"{c}"' for c in columns)
    return f"SELECT {names} FROM {table}"


JOB = tuple(c for c in codec.JOB if c not in writing.FIXED["jobs"])
GROUP = tuple(c for c in codec.GROUP if c not in writing.FIXED["groups"])


class Replay:
    """The rows of a run: `before` (entities as they were made) and `batches` (all that followed)."""

    def __init__(self, finished: Path) -> None:
        source = sqlite3.connect(f"file:{finished}?mode=ro", uri=True)
        self.before: list[Statement] = []
        for table, columns in (("campaigns", codec.CAMPAIGN), ("steps", codec.STEP)):
            self.before.append(
                (_insert(table, columns), source.execute(_select(table, columns)).fetchall())
            )
        self._versions: dict[int, int] = {}
        self._rows: dict[int, tuple[Any, ...]] = {}
        for table, columns, changing in (
            ("groups", codec.GROUP, GROUP),
            ("jobs", codec.JOB, JOB),
        ):
            at, version = columns.index("id"), columns.index("version")
            places = [columns.index(c) for c in changing]
            made = []
            for row in source.execute(_select(table, columns)):
                self._versions[row[at]] = 1
                self._rows[row[at]] = tuple(row[p] for p in places)
                made.append((*row[:version], 1, *row[version + 1 :]))
            self.before.append((_insert(table, columns), made))
        self._attempts = {row[0]: row for row in source.execute(_select("attempts", codec.ATTEMPT))}
        self._placements = {
            row[0]: row for row in source.execute(_select("placements", codec.PLACEMENT))
        }
        events = source.execute(_select("events", codec.RECORD) + " ORDER BY seq").fetchall()
        source.close()
        self.transitions = 0
        self.batches = [self._batch(events[at : at + BATCH]) for at in range(0, len(events), BATCH)]

    def _batch(self, events: list[tuple[Any, ...]]) -> list[Statement]:
        rows: dict[str, list[tuple[Any, ...]]] = {}

        def add(statement: str, row: tuple[Any, ...]) -> None:
            rows.setdefault(statement, []).append(row)

        kinds = codec.RECORD.index("kind")
        to, name = codec.RECORD.index("to_state"), codec.RECORD.index("name")
        group_at, job_at = codec.RECORD.index("group_id"), codec.RECORD.index("job_id")
        for event in events:
            kind, state = event[kinds], event[to]
            if kind == "job":
                self.transitions += 1
                ident = event[job_at]
                key = f"{event[name]}:submit"
                add(_update("jobs", JOB), self._change(ident, JOB))
                if state == "SUBMITTING":
                    effect = (key, "submit", ident, 1, "BENCH", "null", 0)
                    add(_insert("effects", codec.EFFECT), effect)
                elif state == "RUNNING":
                    add("DELETE FROM effects WHERE key = ?", (key,))
                elif state == "SUCCEEDED":
                    add(_insert("attempts", codec.ATTEMPT), self._attempts[ident])
            elif kind == "group":
                ident = event[group_at]
                add(_update("groups", GROUP), self._change(ident, GROUP))
                if state == "PLACED":
                    add(_insert("placements", codec.PLACEMENT), self._placements[ident])
            add(_insert("events", codec.RECORD), event)
        # In the order the foreign keys and the effects' key allow.
        order = ("UPDATE", "INSERT INTO effects", "DELETE", "INSERT")
        return sorted(
            rows.items(),
            key=lambda each: next(n for n, w in enumerate(order) if each[0].startswith(w)),
        )

    def _change(self, ident: int, columns: tuple[str, ...]) -> tuple[Any, ...]:
        expected = self._versions[ident]
        self._versions[ident] = expected + 1
        row = list(self._rows[ident])
        row[columns.index("version")] = expected + 1
        return (*row, ident, expected)

    def write(self, empty: Path) -> float:
        """Write it all into a database that has the schema and nothing else; seconds for `batches`."""
        target = sqlite3.connect(empty, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            target.execute(f"PRAGMA {pragma}")
        target.execute("PRAGMA cache_size = -65536")
        self._write(target, self.before)
        began = time.perf_counter()
        for batch in self.batches:
            self._write(target, batch)
        spent = time.perf_counter() - began
        target.close()
        return spent

    def _write(self, target: sqlite3.Connection, statements: list[Statement]) -> None:
        target.execute("BEGIN IMMEDIATE")
        for sql, rows in statements:
            target.executemany(sql, rows)
        target.execute("COMMIT")
