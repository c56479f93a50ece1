"""The rounds with a real Rucio and real Butlers: the daemon dies while files are on their way."""

import random
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from campaign_faults import POINTS, RUCIO_POINTS, RUCIO_TROUBLES, Life, Tally, lives
from campaign_round import Round, played
from campaign_rucio import EVERY_S, RucioHome, RucioPlace
from campaign_rucio_pilot import RucioPilot
from campaign_rucio_proof import (
    movements,
    problems_in_butlers,
    problems_in_nexus,
    problems_in_rucio,
)
from live_setup import DISK

from cmd_daemon.kernel.records import Record

DATABASES = ("sqlite", "postgresql")
"""Of the rounds, in turn."""

EVERYWHERE = ("frozen", "clock jump", "misbehaving clients")
LONGEST_S = 15.0
"""Seconds after which a life at the latest ends at any moment: agents need some before they answer."""

BREATH_S = 0.2
"""Pause of the pilot between two acts: Butlers, Rucio and its database need the processors too."""


class RucioRound(Round[RucioHome]):
    """See the module."""

    patience_s = 40.0
    finish_s = 400.0

    def __init__(self, site: RucioHome, seed: str, kills: int, campaigns: Sequence[str]) -> None:
        pilot = RucioPilot(site, random.Random(f"{seed}/pilot"), campaigns)
        troubles = (*EVERYWHERE, *RUCIO_TROUBLES)
        if site.postgres is not None:
            troubles = (*troubles, "database stopped")
        points = (*POINTS, *RUCIO_POINTS)
        planned = lives(seed, kills, troubles, points, LONGEST_S, most=2)
        super().__init__(site, pilot, seed, list(planned))
        self.nexus: dict[str, list[dict[str, object]]] = {}

    def act(self, life: Life) -> None:
        """See `Round`."""
        super().act(life)
        time.sleep(BREATH_S)

    @contextmanager
    def troubled(self, trouble: str) -> Iterator[None]:
        """See `Round`."""
        rucio = self.site.place.rucio
        if trouble == "Rucio's server stopped":
            rucio.server.process.kill()
            try:
                self._act_for(self.dice.uniform(1.0, 6.0))
            finally:
                rucio.server.process.spawn()  # it serves some seconds later, maybe another daemon
            yield
        elif trouble == "Rucio's server hangs":
            rucio.server.process.freeze()
            try:
                self._act_for(self.dice.uniform(1.0, 6.0))
            finally:
                rucio.server.process.thaw()
            yield
        elif trouble == "Rucio's daemons paused":
            rucio.daemons.pause()
            try:
                yield
            finally:
                rucio.daemons.pace(EVERY_S)
        elif trouble == "transfers fail":
            how = self.dice.choice(
                ({"fail": "TRANSFER [110] timed out"}, {"corrupt": True}, {"lose": True}, {"refuse": True})
            )  # fmt: skip
            rucio.transfers.fault("u/me/", **how, times=self.dice.randint(2, 12))
            rucio.transfers.fault("zips/", **how, times=self.dice.randint(1, 5))
            yield
        elif trouble == "transfer service lost":
            rucio.transfers.process.kill()
            try:
                self._act_for(self.dice.uniform(0.2, 3.0))
            finally:
                rucio.transfers.process.start()
            yield
        else:
            with super().troubled(trouble):
                yield

    def _act_for(self, seconds: float) -> None:
        """Let the pilot act so long, or until the daemon has died."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.site.dead():
            self.pilot.act()
            time.sleep(BREATH_S)

    def finish(self) -> None:
        """See `Round`."""
        self.site.place.heal()
        super().finish()

    def last_words(self) -> None:
        """See `Round`: the nexus log."""
        for name in self.pilot.applied:
            for step in self.pilot.wanted:
                full = f"campaigns/{name}/steps/{step}"
                for entry in self.pilot.client.get_nexus(full).entries:
                    told = {
                        field: getattr(entry, field)
                        for field in ("movement", "made", "registered", "sent", "rule_ok", "arrived",
                                      "ingested", "not_for_here", "gap_count")
                    }  # fmt: skip
                    told["source"] = entry.source.rpartition("/")[2]
                    told["destination"] = entry.destination.rpartition("/")[2]
                    told["type"], told["step"] = entry.dataset_type, step
                    self.nexus.setdefault(name, []).append(told)

    def prove(self, records: Sequence[Record]) -> None:
        """See `Round`."""
        super().prove(records)
        place, names = self.site.place, self.pilot.applied
        types = {each["uuid"]: each["type"] for each in place.made}
        roots = {rse: place.at(facility) for facility, rse in DISK.items()}
        told, butlers = place.books(names)
        problems: list[str] = []
        moved = 0
        for name in names:
            wanted = movements(name, place.made)
            problems += problems_in_rucio(name, wanted, told[name], roots)
            problems += problems_in_butlers(name, place.made, wanted, butlers)
            problems += problems_in_nexus(name, wanted, self.nexus.get(name, ()), types)
            moved += sum(len(each.contents) for each in wanted)
        assert not problems, "\n".join(problems[:30])
        self.tally.proven.update(
            {
                "datasets moved, by UUID": moved,
                "files in Rucio once": sum(len(each["files"]) for each in told.values()),
                "rules, one a movement": sum(each["rules"] for each in told.values()),
            }
        )


def campaigns_of(seed: str, kills: int) -> list[str]:
    """The names of the campaigns of a round, more than it will come to."""
    number = seed.rpartition(":")[2]
    return [f"r{number}c{n}" for n in range(max(2, kills // 2))]


def play_on_rucio(rounds: Sequence[tuple[str, int]]) -> list[Tally]:
    """Rounds (seed and kills) one after the other, over one Rucio; one that could not be played is a
    failure."""
    tallies = {seed: Tally.empty() for seed, _ in rounds}
    named = {seed: campaigns_of(seed, kills) for seed, kills in rounds}
    try:
        with RucioPlace([name for names in named.values() for name in names]) as place:
            for seed, kills in rounds:
                place.heal()
                tallies[seed] = played(
                    DATABASES[int(seed.rpartition(":")[2]) % len(DATABASES)],
                    seed,
                    lambda root, server: RucioHome(root, server, place),
                    lambda home, seed=seed, kills=kills: RucioRound(home, seed, kills, named[seed]),
                )
                place.keep = place.keep or bool(tallies[seed].failures)
    except Exception:  # noqa: BLE001 - the other rounds of the run are to be told of all the same
        for seed, tally in tallies.items():
            if not tally.proven:
                tally.failures.append(f"seed {seed}:\n{traceback.format_exc()}")
    return list(tallies.values())
