"""The crash campaign: kill a real daemon some hundred times, and prove that nothing was lost or done twice.

    make crash [KILLS=500] [SEED=word] [ROUND=database:number]

Prints a table and writes build/crash.json. The seed is printed; with it, and the round that is named with a
failure, the same plan is played again. Exit code 1 if anything was not proven.
"""

import json
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import campaign_paths  # noqa: F401
import click
from campaign_faults import POINTS, RANDOM, TROUBLES, Tally
from campaign_round import play
from rich.console import Console
from rich.table import Table

KILLS_A_ROUND = 25
DATABASES = ("sqlite", "postgresql")
BUILD = Path(__file__).parents[2] / "build"


def rounds(seed: str, kills: int, databases: tuple[str, ...]) -> list[tuple[str, str, int]]:
    """Database, seed and kills of each round; together at least `kills`."""
    each = -(-kills // len(databases))
    number = -(-each // KILLS_A_ROUND)
    share = -(-each // number)
    return [(name, f"{seed}:{name}:{n}", share) for n in range(number) for name in databases]


def shown(tallies: dict[str, Tally]) -> Table:
    """The table: a row for each kind of death, of trouble and of proof; a column for each database."""
    table = Table("", *tallies, title="Crash campaign", title_justify="left")
    for title, names, counts in (
        (
            "kill -9 at",
            (*POINTS, RANDOM, "fenced itself when woken"),
            {name: tally.kills for name, tally in tallies.items()},
        ),
        ("troubled by", TROUBLES, {name: tally.troubles for name, tally in tallies.items()}),
        (
            "proven",
            tuple(dict.fromkeys(key for t in tallies.values() for key in t.proven)),
            {name: tally.proven for name, tally in tallies.items()},
        ),
    ):
        table.add_section()
        table.add_row(f"[bold]{title}")
        for name in names:
            table.add_row(f"  {name}", *(str(counts[each][name]) for each in tallies))
    return table


def missing(tallies: dict[str, Tally], least: int) -> list[str]:
    """Failpoints that were never reached, where there were kills enough for all of them."""
    return [
        f"{database}: nothing was ever killed at {name}"
        for database, tally in tallies.items()
        if tally.kills.total() >= least
        for name in POINTS
        if not tally.kills[name]
    ]


@click.command()
@click.option("--kills", default=500, show_default=True, help="On all databases together.")
@click.option("--seed", default="", help="Word to draw everything from; random without it.")
@click.option("--database", type=click.Choice((*DATABASES, "both")), default="both")
@click.option("--round", "one", default="", help="Play this round only, as a failure names it.")
@click.option("--at-once", default=2, show_default=True, help="Rounds at a time.")
def main(kills: int, seed: str, database: str, one: str, at_once: int) -> None:
    """Kill, prove, tell."""
    seed = seed or str(random.SystemRandom().randrange(10**6))
    chosen = DATABASES if database == "both" else (database,)
    plan = rounds(seed, kills, chosen)
    if one:
        plan = [each for each in plan if each[1].endswith(f":{one}")]
    console = Console(width=100)
    console.print(f"seed {seed}: {len(plan)} rounds, {sum(each[2] for each in plan)} kills")
    tallies = {name: Tally.empty() for name in chosen}
    began = time.monotonic()
    with ProcessPoolExecutor(at_once, mp_context=get_context("spawn")) as pool:
        playing = {pool.submit(play, *each): each for each in plan}
        for done in as_completed(playing):
            name, number, _ = playing[done]
            tally = done.result()
            tallies[name] += tally
            word = "FAILED" if tally.failures else "proven"
            spent = tally.proven["seconds of rounds"]
            console.print(f"{number}: {tally.kills.total()} kills, {word}, {spent} s")
            minutes = (time.monotonic() - began) / 60
            total = sum(tally.kills.total() for tally in tallies.values())
            write(seed, tallies, total / minutes)
    console.print(shown(tallies))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(
        f"{total} kills in {minutes:.1f} min, {total / minutes:.0f} a minute; load {load}"
    )
    failures = [failure for tally in tallies.values() for failure in tally.failures]
    failures += missing(tallies, 6 * len(POINTS))
    for failure in failures:
        console.print(failure, style="red", markup=False, highlight=False)
    if failures:
        console.print(f"make crash KILLS={kills} SEED={seed} plays it again")
        sys.exit(1)


def write(seed: str, tallies: dict[str, Tally], rate: float) -> None:
    """Keep the figures so far."""
    figures: dict[str, dict[str, Counter[str]]] = {
        name: {"kills": tally.kills, "troubles": tally.troubles, "proven": tally.proven}
        for name, tally in tallies.items()
    }
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "kills_per_minute": round(rate, 1),
        "databases": figures,
        "failures": [failure for tally in tallies.values() for failure in tally.failures],
    }
    BUILD.mkdir(exist_ok=True)
    (BUILD / "crash.json").write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
