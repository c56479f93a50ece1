"""How often a server is asked about its rules while many groups wait."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench_places import HERE, RSES, THERE, section
from rucio_site import SCOPE, Site

from cmd_daemon.hooks import JobKind, JobOrder
from cmd_daemon.testing import facility_info
from cmd_local.moving.manifest import Link
from cmd_local.moving.orders import movement_of
from cmd_rucio_butler.rules import RuleKeeper
from cmd_rucio_butler.server import RucioServer
from cmd_rucio_butler.settings import rucio_settings
from cmd_rucio_butler.watching import RuleWatch


@dataclass(frozen=True)
class Polls:
    """What the server was asked in a time, by the first word of each call."""

    rules: int
    seconds: float
    looks: int
    asked: Mapping[str, int]

    @property
    def per_minute(self) -> float:
        """All calls a minute, whatever they were for."""
        return sum(self.asked.values()) * 60.0 / self.seconds


def waiting_rules(site: Site, count: int) -> None:
    """Make so many datasets with a file and a rule that is never done: the daemons must rest."""
    client = site.client()
    numbers = range(count)
    files = [
        {"scope": SCOPE, "name": f"polls/{n}", "bytes": 1, "adler32": "00620062"} for n in numbers
    ]
    client.add_replicas(RSES[HERE], files)
    sets = [{"scope": SCOPE, "name": f"Dataset/polls/{n}"} for n in numbers]
    client.add_datasets([dict(each) for each in sets])
    client.attach_dids_to_dids(
        [
            {**name, "dids": [{"scope": SCOPE, "name": file["name"]}]}
            for name, file in zip(sets, files, strict=True)
        ]
    )
    client.add_replication_rule(sets, 1, RSES[THERE], grouping="DATASET")


async def polls(site: Site, directory: Path, count: int, poll_s: float, seconds: float) -> Polls:
    """Wait for all the rules as groups do, and count the calls."""
    made = section(site, directory, RSES[HERE], poll_s=poll_s)
    settings = rucio_settings(facility_info(settings={"rucio": made}))
    server = RucioServer(settings, directory / "tokens")
    watch = RuleWatch(server, settings.poll_s)
    order = JobOrder(
        "polls/make/g1/keep-transfer#1", "polls", "make", "g1", "keep-transfer", 1,
        JobKind.TRANSFER, HERE, {"facilities": [HERE, THERE], "datasets": ["x"], "at": THERE},
    )  # fmt: skip
    keeper_of = [
        RuleKeeper(movement_of(order), Link(HERE, THERE), server, watch, settings)
        for _ in range(count)
    ]
    rules = [rule for rule in await server.rules() if rule.name.startswith("Dataset/polls/")]
    if len(rules) != count:
        raise RuntimeError(f"{len(rules)} of {count} rules are there")
    before = Counter(server.asked)
    began = time.perf_counter()
    waiting = [
        asyncio.create_task(keeper.see_through(rule, 1, lambda rule: None))
        for keeper, rule in zip(keeper_of, rules, strict=True)
    ]
    done, _ = await asyncio.wait(waiting, timeout=seconds)
    spent = time.perf_counter() - began
    if done:
        raise RuntimeError(f"{len(done)} rules that should wait are over: {next(iter(done))}")
    asked = Counter(server.asked) - before
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    await watch.close()
    server.close()
    return Polls(count, spent, watch.looks, dict(asked))
