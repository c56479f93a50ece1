"""A real engine over a real store, two facilities with fake worlds, and a clock that hurries."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from history import all_events, check_counters, check_unbroken

import cmd_facility.plugin
from cmd_daemon.engine.engine import Engine
from cmd_daemon.engine.lanes import Lane
from cmd_daemon.hooks import (
    Command,
    DataShare,
    FacilityView,
    Placement,
    PlacementRequest,
    SplitRequest,
)
from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.hooks.ports import Driver, FacilityInfo, Host
from cmd_daemon.host import DaemonHost
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.invariants import problems
from cmd_daemon.kernel.policy import JobTemplate, PlacementPlan, RetryPolicy, SplitPlan, StepPolicy
from cmd_daemon.kernel.records import Record
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.store import Store
from cmd_daemon.testing import FakeWorld, fakes_plugin
from cmd_daemon.testing.fake_driver import FakeDriver

DEADLINE_S = 20.0
HERE, THERE = "HERE", "THERE"


class HastyClock:
    """Real time, many times as fast: a pause of a minute takes a second."""

    def __init__(self, speed: float = 150.0) -> None:
        self.speed = speed
        self._began = time.monotonic()
        self._from = time.time_ns() // 1000

    def now(self) -> int:
        """Microseconds since the epoch, UTC, once the test had begun."""
        return self._from + round((time.monotonic() - self._began) * self.speed * 1e6)

    async def wait(self, seconds: float) -> None:
        """Return when the clock shows so many seconds more."""
        await asyncio.sleep(seconds / self.speed)


class AtSelector:
    """Algorithm `at`: the facility that the step names, whatever its state."""

    algorithms = frozenset({"at"})

    async def select(
        self, requests: Sequence[PlacementRequest], facilities: Sequence[FacilityView]
    ) -> Sequence[Placement]:
        """One decision for each request."""
        return [Placement(each.group, each.at, "as the step says") for each in requests]


class GatedSplitter:
    """Splitter `gated`: its answer comes when the test opens the gate."""

    name = "gated"
    needs_facility = False

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked = 0

    def check(self, params: Mapping[str, Any]) -> Sequence[str]:
        """Takes anything."""
        return []

    async def split(self, request: SplitRequest, host: Host) -> Sequence[DataShare]:
        """`count` shares, late."""
        self.asked += 1
        await self.gate.wait()
        prefix = str(request.params.get("prefix", "g"))
        return [DataShare(f"{prefix}{n}") for n in range(int(request.params.get("count", 1)))]


async def until(true: Callable[[], Any], what: str = "it") -> None:
    """Wait for something to hold; fails after the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, f"{what} never came to be"
        await asyncio.sleep(0.005)


def facility(name: str) -> FacilityInfo:
    """A facility where the fake driver does everything."""
    drivers = dict.fromkeys(JobKind, "fake")
    return FacilityInfo(name, 100, 2**36, 8, 86_400.0, {"main": "/r"}, {"w1": "/p"}, drivers)


def scripts(*names: str, **fake: Any) -> tuple[JobTemplate, ...]:
    """Script jobs that the fake world treats as `fake` says."""
    return tuple(JobTemplate(name, JobKind.SCRIPT, {"fake": fake}) for name in names)


def step(
    count: int = 1, *after: str, at: str = HERE, jobs: Sequence[str] = ("run",), **changes: Any
) -> StepPolicy:
    """A step of `count` groups with script jobs at one facility; `fake` tells what they do."""
    fake = changes.pop("fake", {})
    values: dict[str, Any] = {
        "after": after,
        "jobs": scripts(*jobs, **fake),
        "split": SplitPlan("fake", {"count": count}),
        "placement": PlacementPlan("at", (at,), at),
        "retry": RetryPolicy(attempts=3, backoff_s=2.0),
        "output": "out/step",
    }
    return StepPolicy(**{**values, **changes})


class House:
    """Everything that outlives an engine: the database, the worlds, the plugins, the clock."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.url = url
        self.clock = HastyClock()
        self.infos = {name: facility(name) for name in (HERE, THERE)}
        self.worlds = {
            name: FakeWorld(clock=lambda: self.clock.now() / 1e6) for name in (HERE, THERE)
        }
        self.limits = {HERE: 100, THERE: 100}
        self.probe_s = 30.0
        self.command_s = (
            36_000.0  # four minutes of ours: nothing is given up because a machine is busy
        )
        self.commands: dict[str, Iterable[Command]] = {}
        self.plugins = Plugins()
        self.plugins.add("fakes", fakes_plugin)
        self.plugins.add("facility", cmd_facility.plugin)
        self.plugins.selectors["at"] = AtSelector()
        self.gated = GatedSplitter()
        self.plugins.splitters["gated"] = self.gated
        self.drivers: dict[str, Callable[[Host], Driver]] = {}
        self.on_commit: Callable[[str], None] | None = None
        self.engine: Engine
        self.store: Store
        self.ended: asyncio.Task[None]

    @property
    def world(self) -> FakeWorld:
        """The world at HERE."""
        return self.worlds[HERE]

    def _driver(self, name: str, host: Host) -> Driver:
        if name in self.drivers:
            return self.drivers[name](host)
        return FakeDriver(
            self.worlds[name], name, host, poll_s=1.0, commands=self.commands.get(name, Command)
        )

    @contextlib.asynccontextmanager
    async def running(self, checked: bool = True) -> AsyncIterator[Engine]:
        """An engine over the store, until the block ends; then it is stopped where it stands."""
        self.store = await Store.open(self.url, clock=self.clock.now)
        self.store.on_commit_point = self.on_commit
        infos = dict(self.infos)
        host = DaemonHost(self.root, self.clock, infos)
        lanes = [Lane(name, "fake", self._driver(name, host), self.limits[name]) for name in infos]
        self.engine = Engine(
            self.store,
            self.clock,
            self.plugins,
            infos,
            host,
            lanes,
            self.probe_s,
            self.command_s,
        )
        host.on_wake = self.engine.wake
        try:
            await self.engine.recover()
            self.ended = asyncio.create_task(self.engine.run())
            yield self.engine
            if checked:
                assert not self.ended.done(), self.ended
                await self._look_through()
        finally:
            self.ended.cancel()
            await asyncio.gather(self.ended, return_exceptions=True)
            await self.engine.splitting.stop()
            await self.store.close()

    async def _look_through(self) -> None:
        """Whether the invariants hold, seen at a moment when memory and store are the same."""
        for _ in range(50):
            await asyncio.wait_for(self.engine.writer.flushed(), DEADLINE_S)
            before = self.engine._seq
            effects = (await self.store.load_open()).effects
            same = self.engine._seq == before and not self.engine.writer.pending
            if same and not self.engine.waiting:
                assert problems(self.engine.view, effects) == []
                lines = Counter((e.facility, e.driver, e.verb) for e in effects.values())
                waiting = self.engine.figures.outbox.waiting()
                assert lines == Counter({line: n for line, (n, _) in waiting.items() if n})
                return

    async def apply(self, name: str = "camp", start: bool = True, **steps: StepPolicy) -> int:
        """Apply a campaign of these steps, or its next version; its id."""
        known = self.engine.view.campaign_ids.get(name)
        await self.engine.ask(
            ev.CampaignApplied(
                campaign_id=known,
                name=name,
                owner="me",
                ticket="",
                text="",
                parameters="{}",
                digest=str(len(steps)),
                steps=steps,
                start=start,
                actor="me",
            )
        )
        return self.engine.view.campaign_ids[name]

    def state(self, name: str = "camp") -> str:
        """A campaign's state, as decided."""
        return str(self.engine.view.campaigns[self.engine.view.campaign_ids[name]].state)

    async def reach(self, state: str, name: str = "camp") -> None:
        """Wait for a campaign's state."""
        await until(lambda: self.state(name) == state, f"{name} {state}")

    def counts(self, step_name: str, name: str = "camp") -> dict[str, int]:
        """Jobs of a step by state."""
        view = self.engine.view
        ident = view.steps_of[view.campaign_ids[name]][step_name]
        return dict(view.steps[ident].job_counts)

    def groups(self, state: str) -> list[int]:
        """Ids of the open groups in a state."""
        return [g.id for g in self.engine.view.groups.values() if g.state == state]

    def jobs(self, state: str) -> list[Any]:
        """The open jobs in a state."""
        return [j for j in self.engine.view.jobs.values() if j.state == state]

    async def told(self) -> list[Record]:
        """The committed history so far."""
        await asyncio.wait_for(self.engine.writer.flushed(), DEADLINE_S)
        return await all_events(self.store)

    async def check(self, *names: str) -> list[Record]:
        """Whether history and counters are whole; the history."""
        records = await self.told()
        check_unbroken(records)
        for name in names or ("camp",):
            await check_counters(self.store, name)
        return records

    def ran_once(self, number: int, *worlds: FakeWorld) -> None:
        """Each of so many attempts ran exactly once."""
        ledgers = [world.ledger() for world in worlds or (self.world,)]
        assert all(n == 1 for ledger in ledgers for n in ledger.values()), ledgers
        assert sum(len(ledger) for ledger in ledgers) == number


async def refused(asked: Awaitable[Any], kind: type[Exception]) -> str:
    """The words of the refusal; fails if there is none."""
    try:
        await asked
    except kind as error:
        return str(error)
    raise AssertionError("it was not refused")
