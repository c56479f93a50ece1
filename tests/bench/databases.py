"""`make bench-databases`: SQLite against PostgreSQL in one run, as a table.

The same campaigns through a real daemon (null driver, public API) on both, with full durability on
both: `synchronous=FULL`, and `fsync` and `synchronous_commit` on. Prints and asserts nothing about time.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `services` lies there

from bench_figures import Run, median_run
from rich.console import Console
from rich.table import Table
from services.databases import Server

PLACE = Path(__file__).resolve().parents[2] / "build" / "bench" / "databases"
DURABLE = ("shared_buffers=256MB", "max_wal_size=4GB")
GROUPS = (100, 1_000, 10_000)


def row(name: str, run: Run) -> tuple[str, ...]:
    """A line of the table."""
    cost = run.processor / run.transitions * 1e6
    return f"{run.groups:,}", name, f"{run.rate:,.0f}", f"{cost:,.0f}", f"{run.peak_mb:,.0f}"


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, nargs="+", default=GROUPS)
    asked = parser.parse_args().groups
    load = os.getloadavg()[0]
    table = Table(title="cmd-daemon: SQLite against PostgreSQL, null driver, through the gRPC API")
    for column in (
        "groups",
        "database",
        "job transitions/s",
        "daemon's processor µs each",
        "memory MB",
    ):
        table.add_column(column, justify="left" if column == "database" else "right")
    server = Server(DURABLE)
    try:
        server.start()
        for groups in asked:
            table.add_row(*row("SQLite", median_run(PLACE / "sqlite", groups)))
            on_server = median_run(PLACE / "postgresql", groups, postgres=server)
            table.add_row(*row("PostgreSQL", on_server))
        version = server.postgres.sql("SHOW server_version")
    finally:
        server.remove()
    console = Console(width=110)
    console.print(table)
    console.print(f"{os.cpu_count()} cores; load before {load:.2f}; PostgreSQL {version}")


if __name__ == "__main__":
    main()
