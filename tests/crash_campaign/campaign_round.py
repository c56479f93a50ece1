"""One round: a home of its own, a load, so many deaths of its daemon, then the end and the proof."""

import asyncio
import random
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from campaign_clients import swarm
from campaign_faults import RANDOM, TROUBLES, Life, Tally, lives
from campaign_home import Home
from campaign_pilot import Pilot
from campaign_proof import Books, commands_alternate, complete, none_lost, none_run_twice
from campaign_site import DURABLE, Site
from daemon_process import until
from services.databases import Server

from cmd_daemon.daemon import EXIT_OVERSLEPT
from cmd_daemon.kernel.records import Record

HURRY_S, BACK_OFF_S = 3.0, 150.0
"""At the end of a round the clock goes forward by so much, every so often."""


H = TypeVar("H", bound=Home)


class Round(Generic[H]):
    """See the module; what it is about is said by those who inherit. `seed` decides everything but what the
    machine's speed decides."""

    patience_s = 6.0
    """Seconds in which a failpoint must be reached, or the life ends at any moment instead."""

    finish_s = 150.0

    def __init__(self, site: H, pilot: Pilot, seed: str, lives: Sequence[Life]) -> None:
        self.site = site
        self.seed = seed
        self.dice = random.Random(f"{seed}/troubles")
        self.pilot = pilot
        self.books = Books()
        self.tally = Tally.empty()
        self.lives = lives

    def run(self) -> None:
        """All lives and the last one. Raises AssertionError with what is not proven."""
        for number, life in enumerate(self.lives):
            try:
                self.live(life)
                self.books.look(self.site)
            except BaseException as error:
                error.add_note(f"life {number + 1} of {len(self.lives)}: {life}")
                raise
        self.finish()

    def live(self, life: Life) -> None:
        """One life, from start to death."""
        site = self.site
        site.configure(slow_s=0.2 if life.trouble == "slow drivers" else 0.0)
        site.start(life.failpoint, ready=not life.early)
        timer = None
        if life.point == RANDOM:
            timer = threading.Timer(life.moment_s, site.signal, [signal.SIGKILL])
            timer.start()
        end = time.monotonic() + self.patience_s
        with self.troubled(life.trouble):
            while not site.dead() and time.monotonic() < end:
                self.act(life)
        if timer is not None:
            timer.cancel()
        reached = site.dead()
        if not reached:
            site.kill()
        self.pilot.part()
        self.note(life, reached)

    def act(self, life: Life) -> None:
        """Let the pilot do one thing."""
        self.pilot.act("control" if "control" in life.point else "")

    def note(self, life: Life, reached: bool) -> None:
        """Count the death, which must be the one that was meant."""
        code = self.site.code
        if code == EXIT_OVERSLEPT:
            self.tally.kills["fenced itself when woken"] += 1
        else:
            assert code == -signal.SIGKILL, f"it ended with {code}:\n{self.site.log()[-3000:]}"
            self.tally.kills[life.point if reached else RANDOM] += 1
        if life.trouble:
            self.tally.troubles[life.trouble] += 1

    @contextmanager
    def troubled(self, trouble: str) -> Iterator[None]:
        """The trouble comes, and ends with the block if it is one that ends."""
        site = self.site
        if trouble == "frozen":
            site.freeze()
            time.sleep(self.dice.uniform(0.1, 1.0))  # how long it is frozen is what is tried
            site.thaw()
        elif trouble == "clock jump":
            site.jump(self.dice.choice((-3600.0, -5.0, 0.0, 30.0, 3600.0, 86400.0)))
        elif trouble == "misbehaving clients":
            self.tally.proven["bad connections and calls"] += swarm(site.socket, self.dice)
        if trouble == "database stopped":
            assert site.postgres is not None
            site.postgres.postgres.process.stop(signal.SIGQUIT)
            try:
                self.pilot.act()
            finally:
                site.postgres.start_again()
            yield
        else:
            yield

    def finish(self) -> None:
        """Let everything come to its end, and prove that nothing was lost or done twice."""
        site, pilot = self.site, self.pilot
        site.configure()
        site.start()
        site.jump(site.ahead + 1)  # what waits for a time that was told when the clock was ahead
        hurry = time.monotonic() + HURRY_S
        try:

            def finished() -> bool:
                nonlocal hurry
                if time.monotonic() > hurry:  # what was refused in each life backs off for minutes
                    site.jump(site.ahead + BACK_OFF_S)
                    hurry = time.monotonic() + HURRY_S
                return pilot.finished()

            until(finished, "the end of all campaigns", self.finish_s)
        except AssertionError as error:
            error.add_note(f"{pilot.problem()}\nlog:\n{site.log()[-4000:]}")
            raise
        self.last_words()
        pilot.part()
        assert site.stop() == 0
        self.books.look(site)
        asyncio.run(complete(site.database, pilot.applied, pilot.cancelled, pilot.wanted))
        assert not pilot.faults, pilot.faults[:5]
        self.prove(self.books.records)
        self.tally.proven.update(
            {
                "campaigns ended": len(pilot.applied),
                "events without a gap": len(self.books.records),
                "looks through the store": self.books.looks,
                "calls of the pilot": pilot.answers.total(),
            }
        )

    def last_words(self) -> None:
        """Ask the daemon what is to be proven, before it ends."""

    def prove(self, records: Sequence[Record]) -> None:
        """Prove from the outside's own books that nothing was lost or done twice, and count it. Raises
        AssertionError."""
        site, ledgers = self.site, self.site.ledgers
        attempts = none_run_twice(ledgers)
        none_lost(records, ledgers)
        commands = sum(commands_alternate(site.world(name)) for name in site.facilities)
        self.tally.proven.update({"attempts run once": attempts, "commands done once": commands})


class SiteRound(Round[Site]):
    """A round at two facilities, one of them far."""

    def __init__(self, site: Site, seed: str, kills: int) -> None:
        left_out = "database stopped" if site.postgres is None else "disk full"
        troubles = tuple(t for t in TROUBLES if t != left_out)
        if not site.disk:
            troubles = tuple(t for t in troubles if t != "disk full")
        pilot = Pilot(site, random.Random(f"{seed}/pilot"))
        super().__init__(site, pilot, seed, list(lives(seed, kills, troubles)))

    @contextmanager
    def troubled(self, trouble: str) -> Iterator[None]:
        """See `Round`."""
        site = self.site
        if trouble == "disk full":
            with site.full_disk():
                for _ in range(3):
                    self.pilot.act()
                yield
        elif trouble == "far machine cut off":
            site.far.stop()
            try:
                self.pilot.act()
            finally:
                site.far.start()
            yield
        else:
            with super().troubled(trouble):
                yield

    def prove(self, records: Sequence[Record]) -> None:
        """See `Round`."""
        super().prove(records)
        ran = self.site.ledger()
        assert all(n == 1 for n in ran.values()), "a script ran twice by its own word"


def play(database: str, seed: str, kills: int) -> Tally:
    """A round at a site of its own."""
    return played(database, seed, Site, lambda site: SiteRound(site, seed, kills))


def played(
    database: str,
    seed: str,
    home: Callable[[Path, Server | None], H],
    begin: Callable[[H], Round[H]],
) -> Tally:
    """A round on a database of its own; a failure is told in the tally's `failures`."""
    began = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="cmd-crash-"))
    server = Server(DURABLE) if database == "postgresql" else None
    site, tally = None, Tally.empty()
    try:
        if server is not None:
            server.start()
        site = home(root, server)
        game = begin(site)
        tally = game.tally
        game.run()
    except Exception:  # noqa: BLE001 - whatever it is, the round has failed
        log = site.log()[-3000:] if site is not None else ""
        tally.failures.append(f"{database}, seed {seed}:\n{traceback.format_exc()}\nlog:\n{log}")
    finally:
        if site is not None:
            site.close()
        if server is not None:
            server.remove()
        if tally.failures:
            print(f"the home of the failed round is kept: {root}", flush=True)
        else:
            shutil.rmtree(root, ignore_errors=True)
    tally.proven["seconds of rounds"] = round(time.monotonic() - began)
    return tally
