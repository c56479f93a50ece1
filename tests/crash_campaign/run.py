"""The crash campaign: kill a real daemon some hundred times, and prove that nothing was lost or done twice.

    make crash [KILLS=500] [SEED=word] [ROUND=database:number, or rucio:number]

Prints a table and writes build/crash.json. The seed is printed; with it, and the round that is named with a
failure, the same plan is played again. Exit code 1 if anything was not proven.

Beside the rounds on the databases there are two with a real Rucio and real Butlers, where these are
installed; where not, it says so.
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
from campaign_faults import POINTS, RANDOM, RUCIO_POINTS, RUCIO_TROUBLES, TROUBLES, Tally
from campaign_round import play
from rich.console import Console
from rich.table import Table
from rubin_stack import rubin_python

KILLS_A_ROUND = 25
FENCED = "fenced itself when woken"
DATABASES = ("sqlite", "postgresql")
RUCIO = "rucio"
BUILD = Path(__file__).parents[2] / "build"


Round = tuple[str, str, int]
"""Database, or `RUCIO`; seed; kills."""


def lacking() -> str:
    """Why there is no Rucio to play with here, in words; "" if there is."""
    try:
        rubin_python()
        from rucio_site.site import VENV  # needs rucio-clients
    except (FileNotFoundError, ImportError) as error:
        return str(error)
    there = (VENV / "bin" / "gunicorn").exists()
    return "" if there else f"{VENV} holds no Rucio: run `make rucio`"


def rounds_on_rucio(seed: str, number: int) -> list[Round]:
    """So many rounds with a Rucio."""
    return [(RUCIO, f"{seed}:{RUCIO}:{n}", KILLS_A_ROUND) for n in range(number)]


def parts(plan: list[Round]) -> list[list[Round]]:
    """The rounds that are played by one process, in order: all those that share the Rucio, first since they
    take the longest, and each of the others by itself."""
    shared = [each for each in plan if each[0] == RUCIO]
    return [*([shared] if shared else []), *([each] for each in plan if each[0] != RUCIO)]


def play_part(part: list[Round]) -> list[Tally]:
    """Play the rounds of a part."""
    if part[0][0] != RUCIO:
        return [play(*each) for each in part]
    from campaign_rucio_round import play_on_rucio  # needs what may not be installed

    return play_on_rucio([(seed, kills) for _, seed, kills in part])


def rounds(seed: str, kills: int, databases: tuple[str, ...]) -> list[Round]:
    """The rounds on the databases; together at least `kills`."""
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
            (*POINTS, *(RUCIO_POINTS if RUCIO in tallies else ()), RANDOM, FENCED),
            {name: tally.kills for name, tally in tallies.items()},
        ),
        (
            "troubled by",
            (*TROUBLES, *(RUCIO_TROUBLES if RUCIO in tallies else ())),
            {name: tally.troubles for name, tally in tallies.items()},
        ),
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
        for name in (*POINTS, *(RUCIO_POINTS if database == RUCIO else ()))
        if not tally.kills[name]
    ]


@click.command()
@click.option("--kills", default=500, show_default=True, help="On all databases together.")
@click.option("--seed", default="", help="Word to draw everything from; random without it.")
@click.option("--database", type=click.Choice((*DATABASES, "both")), default="both")
@click.option("--round", "one", default="", help="Play this round only, as a failure names it.")
@click.option("--rucio", default=2, show_default=True, help="Rounds with a real Rucio.")
@click.option("--at-once", default=2, show_default=True, help="Rounds at a time.")
def main(kills: int, seed: str, database: str, one: str, rucio: int, at_once: int) -> None:
    """Kill, prove, tell."""
    seed = seed or str(random.SystemRandom().randrange(10**6))
    chosen = DATABASES if database == "both" else (database,)
    console = Console(width=100)
    plan = rounds(seed, kills, chosen) + rounds_on_rucio(seed, rucio)
    if one:
        plan = [each for each in plan if each[1].endswith(f":{one}")]
    if any(each[0] == RUCIO for each in plan) and (why := lacking()):
        console.print(f"NO RUCIO HERE ({why}): rounds with it are left out", style="bold red")
        plan = [each for each in plan if each[0] != RUCIO]
    if not plan:
        raise click.UsageError(f"there is no round '{one}' to play")
    console.print(f"seed {seed}: {len(plan)} rounds, {sum(each[2] for each in plan)} kills")
    tallies = {name: Tally.empty() for name in dict.fromkeys(each[0] for each in plan)}
    began = time.monotonic()
    with ProcessPoolExecutor(at_once, mp_context=get_context("spawn")) as pool:
        playing = {pool.submit(play_part, part): part for part in parts(plan)}
        for done in as_completed(playing):
            for (name, number, _), tally in zip(playing[done], done.result(), strict=True):
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
