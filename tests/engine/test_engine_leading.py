"""When outside calls are not made: before the driver has started, and by a leader in doubt."""

import asyncio
import time
from pathlib import Path
from typing import ClassVar

import pytest
from engine_house import HERE, House, step, until
from services.databases import Server
from services.proxy import Proxy

from cmd_daemon.store.postgres import dialect
from cmd_daemon.testing.fake_driver import FakeDriver


class SlowStart(FakeDriver):
    """A driver that takes its time to start, and notes what it is asked meanwhile."""

    too_early: ClassVar[list[str]] = []
    up = False

    async def start(self) -> None:
        await asyncio.sleep(0.3)
        self.up = True

    async def _call(self, verb: str) -> None:
        if not self.up:
            self.too_early.append(verb)
        await super()._call(verb)


async def test_what_is_picked_up_after_a_restart_waits_for_the_driver(house: House) -> None:
    house.world.slow_s = 60.0
    async with house.running(checked=False):
        await house.apply(one=step(5))
        await until(lambda: house.world.calls["submit"] == 1, "a submit call")
    house.world.slow_s = 0.0
    house.drivers[HERE] = lambda host: SlowStart(house.world, HERE, host, poll_s=1.0)
    async with house.running():
        await house.reach("ACCEPTED")
        await house.check()
    assert SlowStart.too_early == []
    house.ran_once(5)


async def test_a_call_under_way_is_broken_off_when_another_daemon_may_lead(
    tmp_path: Path,
    postgres_server: Server,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The driver takes a second for a call; the database goes away meanwhile. Nothing may happen outside
    until it is back, and then everything once."""
    monkeypatch.setattr(dialect, "LEASE_S", 0.3)
    monkeypatch.setattr(dialect, "DOUBT_S", 0.4)
    async with Proxy(postgres_server.postgres.port).running() as proxy:
        name = postgres_url.rpartition("/")[2]
        house = House(tmp_path, postgres_server.url(name, port=proxy.port))
        world = house.world
        world.slow_s = 1.5
        async with house.running() as engine:
            asked = asyncio.create_task(house.apply(one=step(5)))
            await until(lambda: world.calls["submit"] == 1, "a submit call")
            proxy.closed = True
            proxy.cut()
            began = time.monotonic()
            await until(lambda: engine.lanes.lanes[HERE, "fake"].breaker.message, "the end of it")
            await until(lambda: time.monotonic() > began + world.slow_s + 0.5)
            assert world.ledger() == {}, "submitted while another daemon may lead"
            world.slow_s = 0.0
            proxy.closed = False
            await asked
            await house.reach("ACCEPTED")
            await house.check()
        house.ran_once(5)
