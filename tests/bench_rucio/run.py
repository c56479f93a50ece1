"""`make bench-rucio`: moving files through a real Rucio, as a table and in build/bench-rucio.json.

Moves the same number of files from one Butler to another one by Rubin's own tool with a rule and an
ingest by hand, by the driver, and by the driver with bundling; counts what the server is asked
while many groups wait; and looks at the memory of a driver with many files in flight. Prints and
asserts nothing about time: the figures are for people.
"""

import argparse
import asyncio
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_places import ROOT, make_places

from bench_moving import Moved, Movers, floor, install_floor  # isort: skip
from bench_polls import Polls, polls, waiting_rules  # isort: skip
from rich.console import Console
from rich.table import Table
from rucio_site import Site

BUILD = ROOT / "build"
GROUP = 1000
"""Files of each group whose memory is looked at."""

FLOOR, BULK, SINGLE, BUNDLED = "floor", "bulk", "single", "bundled"

Row = tuple[str, str, float, str]
"""Key, what it is, the figure, the target in words."""


async def moving(
    site: Site, directory: Path, roots: dict[str, Path], files: int
) -> dict[str, Moved]:
    """Seconds of the stages, by the way the files went."""
    movers = Movers(site, directory, roots)
    site.daemons.round()  # the first one is slow
    site.daemons.pace(0.5)
    found = {}
    try:
        found[FLOOR] = await floor(movers, FLOOR, files)
        found[BULK] = await floor(movers, BULK, files, chunk=GROUP)
        found[SINGLE] = await movers.move(SINGLE, files)
        found[BUNDLED] = await movers.move(BUNDLED, files, bundle=["*"])
    finally:
        await movers.close()
        site.daemons.pause()
    return found


def memory(directory: Path, groups: int) -> dict[str, float]:
    """Megabytes of a driver's process with so many groups in flight, and before."""
    program = Path(__file__).with_name("memory.py")
    words = [sys.executable, str(program), str(directory / f"memory-{groups}")]
    done = subprocess.run(
        [*words, str(groups), str(GROUP)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"memory.py ended {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


async def waiting(
    site: Site, directory: Path, given: argparse.Namespace
) -> tuple[Polls, dict[str, float], dict[str, float]]:
    """The calls while many groups wait, and meanwhile the memory of few and of many files."""
    asked = asyncio.create_task(polls(site, directory, given.rules, given.poll_s, given.waiting_s))
    few = await asyncio.to_thread(memory, directory, 1)
    many = await asyncio.to_thread(memory, directory, given.in_flight // GROUP)
    return await asked, few, many


def table_of(rows: list[Row], moved: dict[str, Moved], asked: Polls, files: int) -> Table:
    """All of it, for people."""
    table = Table(title=f"cmd_rucio_butler on a real Rucio: {files:,} files")
    for column in ("figure", "measured", "target", ""):
        table.add_column(column, justify="right" if column in ("measured", "target") else "left")
    for _, words, figure, target in rows:
        table.add_row(words, f"{figure:,.2f}", target, "met" if met(figure, target) else "NOT MET")
    table.add_section()
    for name, each in moved.items():
        stages = ", ".join(f"{stage} {spent:.1f}" for stage, spent in each.stages.items())
        table.add_row(f"{name}: {stages}; s", f"{each.seconds:,.1f}", "", "")
    calls = ", ".join(f"{verb} {count}" for verb, count in asked.asked.items()) or "nothing"
    table.add_row(f"asked in {asked.seconds:.0f} s of waiting: {calls}; looks", f"{asked.looks}")
    return table


def met(figure: float, target: str) -> bool:
    """True if the figure meets a target such as "<= 5"."""
    sign, number = target.split()
    return figure >= float(number) if sign == ">=" else figure <= float(number)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="files moved each way")
    parser.add_argument("--rules", type=int, default=500, help="rules that are waited for")
    parser.add_argument(
        "--waiting-s", type=float, default=125.0, help="seconds they are waited for"
    )
    parser.add_argument("--poll-s", type=float, default=60.0, help="the driver's poll_s meanwhile")
    parser.add_argument("--in-flight", type=int, default=100_000, help="files whose memory is seen")
    given = parser.parse_args()
    load, began = os.getloadavg()[0], time.perf_counter()
    install_floor()
    with tempfile.TemporaryDirectory(prefix="bench-rucio-", ignore_cleanup_errors=True) as made:
        directory = Path(made)
        roots = make_places(directory, given.files, (FLOOR, BULK, SINGLE, BUNDLED))
        home = directory / "site"
        home.mkdir()
        with Site(home, roots) as site:
            moved = asyncio.run(moving(site, directory, roots, given.files))
            waiting_rules(site, given.rules)
            asked, few, many = asyncio.run(waiting(site, directory, given))
    usual = moved[FLOOR].seconds
    rows: list[Row] = [
        (
            "single_ratio",
            "rucio-register + hand ingest / driver",
            usual / moved[SINGLE].seconds,
            ">= 1",
        ),
        (
            "bundled_ratio",
            "the same / driver with bundling",
            usual / moved[BUNDLED].seconds,
            ">= 3",
        ),
        (
            "bulk_ratio",
            f"rucio-register --chunk-size {GROUP} + hand ingest / driver",
            moved[BULK].seconds / moved[SINGLE].seconds,
            ">= 1",
        ),
        (
            "calls_per_minute",
            f"calls/minute, {given.rules} groups wait, poll_s = {given.poll_s:g}",
            asked.per_minute,
            f"<= {60 / given.poll_s:g}",
        ),
        ("rss_mb_1k", "memory, 1,000 files in flight, MB", few["in_flight"], "<= 100"),
        (
            "rss_mb_many",
            f"memory, {given.in_flight:,} files in flight, MB",
            many["in_flight"],
            "<= 100",
        ),
        (
            "bytes_per_file",
            "bytes in memory for each more file in flight",
            (many["in_flight"] - few["in_flight"]) * 1e6 / max(1, given.in_flight - GROUP),
            "<= 500",
        ),
    ]
    console = Console(width=120)
    console.print(table_of(rows, moved, asked, given.files))
    console.print(
        f"{datetime.date.today()}; {os.cpu_count()} cores; load before {load:.2f}; "
        f"{time.perf_counter() - began:.0f} s in all. Moving and polls: the real server. "
        "Memory: the real driver over stand-ins of server and agents."
    )
    figures = {key: round(figure, 3) for key, _, figure, _ in rows}
    stages = {name: dict(each.stages) for name, each in moved.items()}
    (BUILD / "bench-rucio.json").write_text(
        json.dumps({"files": given.files, **figures, "seconds": stages}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
