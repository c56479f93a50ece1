"""The soak: constant load on a real daemon, and whether what must be flat is flat after warm-up.

    make soak [LENGTH=20]

LENGTH is in minutes, for each database. Prints a small plot and a verdict for each figure, writes
build/soak.json, and ends with 1 if a figure is not flat or the load broke off. The rules are those of
`soak_flatness`.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import soak_paths  # noqa: F401

# isort: split
import click
from bench_daemon import BenchDaemon
from rich.console import Console
from rich.table import Table
from services.databases import Server
from services.processes import free_port
from soak_flatness import RULES, Verdict, sparkline, verdict
from soak_load import Load, Sample, sample

ROOT = Path(__file__).parents[2]
DATABASES = ("sqlite", "postgresql")
FIELDS = ("memory", "descriptors", "threads", "tasks", "database")
"""The samples' fields, in the order of RULES."""
RETENTION = '[retention]\nafter_days = 0.001\ndirectory = "{directory}"\n'
"""Campaigns leave the database a minute and a half after their end."""


def soak(database: str, minutes: float) -> tuple[list[Sample], list[str]]:
    """The samples of a daemon under load, and what broke the load."""
    server = Server() if database == "postgresql" else None
    place = Path(tempfile.mkdtemp(prefix="cmd-soak-"))
    metrics = f"127.0.0.1:{free_port()}"
    pause = max(0.5, minutes * 60 / 600)
    try:
        if server is not None:
            server.start()
        kept = RETENTION.format(directory=place / "archive")
        with BenchDaemon(place / "daemon", server, metrics, kept) as daemon:
            daemon.start()
            load = Load(daemon)
            load.start()
            began = time.monotonic()
            samples: list[Sample] = []
            while time.monotonic() - began < minutes * 60:
                time.sleep(pause)  # the pace of sampling, nothing is waited for
                samples.append(sample(daemon, metrics, began))
            load.stop()
            daemon.stop()
            problems = [*load.problems]
            if load.archived < load.applied / 2:
                problems.append(
                    f"of {load.applied} campaigns only {load.archived} came to their end"
                )
        return samples, problems
    finally:
        if server is not None:
            server.remove()
        shutil.rmtree(place, ignore_errors=True)


def verdicts(samples: list[Sample]) -> list[Verdict]:
    """Judge every figure."""
    return [
        verdict(rule, [(each.seconds, float(getattr(each, field))) for each in samples])
        for rule, field in zip(RULES, FIELDS, strict=True)
    ]


def shown(database: str, samples: list[Sample], found: list[Verdict]) -> Table:
    """A row for each figure: its course, where it stands, how it grew."""
    last = samples[-1]
    rate = last.transitions / last.seconds
    title = f"{database}: {last.seconds / 60:.1f} min, {rate:.0f} job transitions a second"
    table = Table("", "course", "last", "growth", "allowed", "", title=title, title_justify="left")
    for each in found:
        table.add_row(
            f"{each.figure} {each.unit}".rstrip(),
            sparkline(each.values),
            f"{each.values[-1]:,.0f}",
            f"{each.growth:+.1f}",
            f"{each.allowed:.1f}",
            "flat" if each.flat else "[red]GROWS",
        )
    return table


@click.command()
@click.option("--minutes", default=20.0, show_default=True, help="For each database.")
@click.option("--database", type=click.Choice((*DATABASES, "both")), default="both")
def main(minutes: float, database: str) -> None:
    """Load, sample, judge."""
    console = Console(width=120)
    failures: list[str] = []
    document: dict[str, object] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": minutes,
        "load": os.getloadavg(),
    }
    for name in DATABASES if database == "both" else (database,):
        samples, problems = soak(name, minutes)
        found = verdicts(samples)
        console.print(shown(name, samples, found))
        failures += [f"{name}: {problem}" for problem in problems]
        failures += [f"{name}: {each.figure} grows" for each in found if not each.flat]
        document[name] = {
            "verdicts": [{**asdict(each), "flat": each.flat} for each in found],
            "samples": [asdict(each) for each in samples],
        }
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "soak.json").write_text(json.dumps(document))
    for failure in failures:
        console.print(failure, style="red", markup=False)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
