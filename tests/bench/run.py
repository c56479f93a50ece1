"""`make bench`: the speed and memory of the daemon, as a table and in build/bench.json.

Drives a real daemon (SQLite, WAL, synchronous=FULL, null driver) through the public API. Prints and
asserts nothing about time: the figures are for people. `--groups` scales the large campaign down
for a quick look; its figures are then not those of the table's names.
"""

import argparse
import json
import os
import time
from pathlib import Path

from bench_figures import Run, apply_seconds, floor_rate, large, median_run
from rich.console import Console
from rich.table import Table

BUILD = Path(__file__).resolve().parents[2] / "build"

Row = tuple[str, str, float, str]
"""Key, what it is, the figure, the target in words."""


def measure(groups: int) -> tuple[list[Row], list[tuple[str, float]]]:
    """All figures of the table, and those told beside it."""
    place = BUILD / "bench"
    place.mkdir(parents=True, exist_ok=True)
    finished = place / "finished.db"
    small = median_run(place / "small", 1_000)
    middle = median_run(place / "middle", 10_000, keep=finished)
    floor = floor_rate(place, finished)
    applied = apply_seconds(place / "apply", 10_000)
    big = large(place / "large", groups)
    rows = [
        ("transitions_per_s_1k", "job transitions/s, 1,000 groups", small.rate, ">= 5000"),
        ("transitions_per_s_10k", "job transitions/s, 10,000 groups", middle.rate, ">= 5000"),
        ("floor_ratio_10k", "raw sqlite3 / daemon, 10,000 groups", floor / middle.rate, "<= 5"),
        (
            "cost_ratio_100k_to_1k",
            "processor time per transition, 100,000 / 1,000 groups",
            _cpu(big.run) / _cpu(small),
            "<= 1.2",
        ),
        ("apply_10k_s", "plan + apply, 10,000 groups, s", applied, "<= 3"),
        ("status_p99_ms_100k", "status, 100,000 groups, p99 ms", big.status_p99_ms, "<= 20"),
        ("list_1000_p99_ms", "page of 1,000 jobs, p99 ms", big.list_p99_ms, "<= 100"),
        (
            "rss_mb_100k",
            "memory at its peak, 100,000 groups, MB",
            max(big.run.peak_mb, big.open_peak_mb, big.recovered_mb),
            "<= 400",
        ),
        ("recovery_100k_s", "start after SIGKILL, 100,000 open groups, s", big.recovery_s, "<= 10"),
        (
            "watch_events_per_s",
            "events/s to one watcher, from the store",
            big.watch_history,
            ">= 50000",
        ),
    ]
    beside = [
        ("raw sqlite3, job transitions/s with all their rows", floor),
        ("job transitions/s, 100,000 groups", big.run.rate),
        ("elapsed time per transition, 100,000 / 1,000 groups", small.rate / big.run.rate),
        ("daemon's processor µs per transition, 1,000 groups", _cpu(small)),
        ("daemon's processor µs per transition, 10,000 groups", _cpu(middle)),
        ("daemon's processor µs per transition, 100,000 groups", _cpu(big.run)),
        ("events/s to one watcher, newest events from memory", big.watch_live),
        ("memory peak while 100,000 groups run, MB", big.run.peak_mb),
        ("memory while 100,000 groups stay open, MB", big.open_mb),
        ("memory peak while they are made, MB", big.open_peak_mb),
        ("memory peak of recovery, MB", big.recovered_mb),
        ("100,000 groups split and stored, s", big.split_s),
    ]
    return rows, beside


def _cpu(run: Run) -> float:
    """The daemon's processor microseconds for one transition: the cost, whatever else is running."""
    return run.processor / run.transitions * 1e6


def met(figure: float, target: str) -> bool:
    """True if the figure meets a target such as "<= 5"."""
    sign, number = target.split()
    return figure >= float(number) if sign == ">=" else figure <= float(number)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=100_000, help="groups of the large campaign")
    groups = parser.parse_args().groups
    load, began = os.getloadavg()[0], time.perf_counter()
    rows, beside = measure(groups)
    table = Table(title="cmd-daemon: SQLite, synchronous=FULL, null driver, through the gRPC API")
    for column in ("figure", "measured", "target", ""):
        table.add_column(column, justify="right" if column in ("measured", "target") else "left")
    for _, words, figure, target in rows:
        table.add_row(words, f"{figure:,.2f}", target, "met" if met(figure, target) else "NOT MET")
    table.add_section()
    for words, figure in beside:
        table.add_row(words, f"{figure:,.2f}", "", "")
    console = Console(width=110)
    console.print(table)
    console.print(
        f"{os.cpu_count()} cores; load before {load:.2f}; {time.perf_counter() - began:.0f} s in all"
    )
    figures = {key: round(figure, 3) for key, _, figure, _ in rows}
    (BUILD / "bench.json").write_text(json.dumps(figures, indent=2) + "\n")
    if groups != 100_000:
        console.print(f"The large campaign had {groups} groups only: not the figures of record.")


if __name__ == "__main__":
    main()
