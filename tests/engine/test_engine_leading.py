"""Outside calls of a leader that does not hear of its PostgreSQL database any more."""

import asyncio
import time
from pathlib import Path

import pytest
from engine_house import HERE, House, step, until
from services.databases import Server
from services.proxy import Proxy

from cmd_daemon.store.postgres import dialect


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
