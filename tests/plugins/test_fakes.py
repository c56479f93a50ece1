"""The fakes shipped to plugin authors keep the contract they test."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pluggy
import pytest

from cmd_daemon.hooks import (
    Command,
    Control,
    ErrorClass,
    Hooks,
    JobKind,
    JobOrder,
    JobRef,
    Phase,
    SplitRequest,
)
from cmd_daemon.testing import (
    Behaviour,
    FakeClock,
    FakeDriver,
    FakeDriverFactory,
    FakeHost,
    FakeSettings,
    FakeSplitter,
    FakeWorld,
    NullDriver,
    facility_info,
    fakes_plugin,
)
from cmd_daemon.testing.driver_contract import DriverContract, submitted

NUMBERS = itertools.count(1)


def order(number: int | None = None, **params: object) -> JobOrder:
    number = number or next(NUMBERS)
    return JobOrder(
        key=f"c/s/{number:04d}/process#1",
        campaign="c",
        step="s",
        group=f"{number:04d}",
        job="process",
        attempt=1,
        kind=JobKind.PROCESS,
        facility="HERE",
        params=params,
    )


class TestFakeDriverContract(DriverContract):
    deadline_s = 5.0

    @pytest.fixture(autouse=True)
    def outside(self, tmp_path: Path) -> None:
        self.world = FakeWorld()

    async def make_driver(self) -> FakeDriver:
        driver = FakeDriver(self.world)
        await driver.start()
        return driver

    def orders(self, n: int) -> list[JobOrder]:
        return [order() for _ in range(n)]

    def long_orders(self, n: int) -> list[JobOrder]:
        return [order(fake={"run_s": None}) for _ in range(n)]

    def ledger(self) -> Mapping[str, int]:
        return self.world.ledger()

    def command_values(self) -> Mapping[Command, int | str]:
        return {Command.PRIORITY: 7, Command.MEMORY: 8_000_000_000, Command.QUEUE: "high"}

    @contextlib.contextmanager
    def fail_some(self, keys: Sequence[str]) -> Iterator[None]:
        for key in keys:
            self.world.behaviours[key] = Behaviour(refuse=ErrorClass.TRANSIENT)
        yield

    @contextlib.contextmanager
    def lose_answers(self) -> Iterator[None]:
        self.world.lose_answers = True
        yield
        self.world.lose_answers = False

    @contextlib.contextmanager
    def slow(self) -> Iterator[None]:
        self.world.slow_s = 0.5
        yield
        self.world.slow_s = 0.0

    @contextlib.contextmanager
    def throttle(self) -> Iterator[None]:
        self.world.throttled = True
        yield
        self.world.throttled = False


async def test_a_world_in_a_file_outlives_the_process(tmp_path: Path) -> None:
    file = tmp_path / "world"
    world = FakeWorld(file)
    orders = [order(fake={"run_s": None, "quanta": {"isr": [3, 3]}}) for _ in range(3)]
    refs = await submitted(FakeDriver(world), orders)
    world.end(refs[0].key)
    world.end(refs[1].key, cancelled=True)
    with file.open("a") as out:
        out.write('{"what": "ru')  # killed while writing
    seen = {each.key: each for each in await FakeDriver(FakeWorld(file)).observe(refs)}
    assert [seen[ref.key].phase for ref in refs] == [Phase.DONE, Phase.DONE, Phase.RUNNING]
    first = seen[refs[0].key].outcome
    assert first is not None
    assert (first.ok, first.expected, first.successful) == (True, 3, 3)
    assert seen[refs[1].key].outcome is not None
    assert not seen[refs[1].key].outcome.ok  # type: ignore[union-attr]
    assert FakeWorld(file).ledger() == world.ledger()


async def test_a_paused_attempt_stands_still_in_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "world"
    clock = FakeClock()

    def world() -> FakeWorld:
        return FakeWorld(file, clock=lambda: clock.now() / 1e6)

    driver = FakeDriver(world())
    (ref,) = await submitted(driver, [order(fake={"run_s": 10.0, "balks": 1})])
    pause = [Control(ref.key, ref.ref, Command.PAUSE)]
    assert [a.error_class for a in await driver.control(pause)] == [ErrorClass.NOT_YET]
    for _ in range(2):
        assert [a.done for a in await driver.control(pause)] == [True]
    clock.advance(60)
    driver = FakeDriver(world())
    (seen,) = await driver.observe([ref])
    assert seen.phase is Phase.RUNNING, "an attempt that stands still does not end"
    resume = [Control(ref.key, ref.ref, Command.RESUME)]
    for done in (False, True):
        assert [a.done for a in await driver.control(resume)] == [done]
    clock.advance(9)
    assert [each.phase for each in await FakeDriver(world()).observe([ref])] == [Phase.RUNNING]
    clock.advance(1)
    assert [each.phase for each in await FakeDriver(world()).observe([ref])] == [Phase.DONE]
    assert world().commanded == [(ref.key, Command.PAUSE, None), (ref.key, Command.RESUME, None)]


async def test_a_fake_refuses_commands_and_balks_for_ever(fake_world: FakeWorld) -> None:
    driver = FakeDriver(fake_world)
    fake = {"run_s": None, "refuses": ["queue"], "balks": None, "message": "no such queue"}
    (ref,) = await submitted(driver, [order(fake=fake)])
    (refused,) = await driver.control([Control(ref.key, ref.ref, Command.QUEUE, "x")])
    assert (refused.done, refused.error_class) == (False, ErrorClass.PERMANENT)
    assert refused.message == "no such queue"
    for _ in range(3):
        (answer,) = await driver.control([Control(ref.key, ref.ref, Command.PRIORITY, 5)])
        assert (answer.done, answer.error_class) == (False, ErrorClass.NOT_YET)
    assert fake_world.commanded == []


async def test_a_lying_driver_says_ok_with_counts_that_differ(fake_world: FakeWorld) -> None:
    driver = FakeDriver(fake_world)
    refs = await submitted(
        driver, [order(fake={"ok": False, "lie": True, "quanta": {"t": [4, 1]}})]
    )
    (seen,) = await driver.observe(refs)
    assert seen.outcome is not None
    assert seen.outcome.ok
    assert (seen.outcome.expected, seen.outcome.successful) == (4, 1)


async def test_attempts_run_by_the_fake_clock(fake_clock: FakeClock, fake_world: FakeWorld) -> None:
    driver = FakeDriver(fake_world)
    refs = await submitted(driver, [order(fake={"run_s": 60})])
    assert [each.phase for each in await driver.observe(refs)] == [Phase.RUNNING]
    fake_clock.advance(60)
    assert [each.phase for each in await driver.observe(refs)] == [Phase.DONE]


async def test_refusals_come_as_often_as_asked(fake_world: FakeWorld) -> None:
    driver = FakeDriver(fake_world)
    patient = order(fake={"refuse": "NotYet", "times": 2})
    for _ in range(2):
        (answer,) = await driver.submit([patient])
        assert getattr(answer, "error_class", None) is ErrorClass.NOT_YET
    await submitted(driver, [patient])


async def test_the_null_driver_wakes_the_poller_and_is_done(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    driver = NullDriver("HERE", host)
    orders = [order() for _ in range(1000)]
    refs = await submitted(driver, orders)
    assert host.wakes == [("HERE", "null")]
    seen = await driver.observe(refs)
    assert all(each.outcome is not None and each.outcome.ok for each in seen)
    assert len(await driver.find([o.key for o in orders])) == 1000


def test_the_fakes_are_a_plugin(tmp_path: Path) -> None:
    manager = pluggy.PluginManager("cmd_daemon")
    manager.add_hookspecs(Hooks)
    manager.register(fakes_plugin)
    manager.check_pending()
    factories = [each for found in manager.hook.cmd_register_drivers() for each in found]
    assert [factory.name for factory in factories] == ["fake", "null"]


async def test_drivers_of_one_facility_share_their_world(tmp_path: Path) -> None:
    factory, host = FakeDriverFactory(), FakeHost(tmp_path)
    one = factory.create(facility_info(), FakeSettings(), host)
    two = factory.create(facility_info(), FakeSettings(), host)
    (ref,) = await submitted(one, [order()])
    assert [type(each).__name__ for each in await two.find([ref.key])] == ["Found"]
    assert isinstance(ref, JobRef)


async def test_the_fake_splitter(tmp_path: Path) -> None:
    splitter = FakeSplitter()
    request = SplitRequest("c", "s", "HERE", "main", "", (), {"count": 3})
    assert [share.name for share in await splitter.split(request, FakeHost(tmp_path))] == [
        "0001",
        "0002",
        "0003",
    ]
    assert splitter.check({"count": -1, "size": 2})
