"""The composition root: the only module that knows every room. Builds the daemon, runs it, ends it."""

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
from prometheus_client import start_http_server
from pydantic import ValidationError

from cmd_daemon import __version__
from cmd_daemon.api.server import Server
from cmd_daemon.api.service import Room
from cmd_daemon.config import Config, ConfigError
from cmd_daemon.engine.clock import Clock, SystemClock
from cmd_daemon.engine.engine import Engine
from cmd_daemon.engine.lanes import Lane
from cmd_daemon.engine.memory import settle
from cmd_daemon.failpoints import failpoint
from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.hooks.ports import DriverError, FacilityInfo
from cmd_daemon.host import DaemonHost
from cmd_daemon.observe import metrics, systemd
from cmd_daemon.store import Store, StoreError

log = structlog.get_logger()

GRACE_S = 5.0
"""Seconds that calls under way have when the daemon stops."""


REQUESTS_KEPT = 7 * 86_400 * 1_000_000
"""Microseconds for which a repeated request is recognised."""

PRUNE_S = 3600.0


@dataclass(slots=True)
class Daemon:
    """A daemon that is ready to run."""

    config: Config
    engine: Engine
    server: Server
    host: DaemonHost
    store: Store

    async def run(self, stop: asyncio.Event) -> None:
        """Recover, serve, and run until `stop` is set or a part fails that must not.

        Jobs outside go on when the daemon ends; the next one adopts them.
        """
        engine = self.engine
        systemd.notify(status="recovering", extend_timeout_usec=600_000_000)
        await engine.recover()
        settle()
        running = asyncio.create_task(engine.run(), name="engine")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        watching = asyncio.create_task(self._watchdog(), name="watchdog")
        pruning = asyncio.create_task(self._prune(), name="prune")
        try:
            await self.server.start(self.config.daemon.socket)
            log.info("serving", socket=str(self.config.daemon.socket))
            systemd.notify(ready=1, status=f"{len(engine.view.campaigns)} campaigns")
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                _raise_first(running)
            log.info("stopping")
            systemd.notify(stopping=1)
            engine.feed.end()
            await self.server.stop(GRACE_S)
            await asyncio.wait_for(engine.writer.flushed(), GRACE_S)
        except TimeoutError:
            log.warning("the last events were not committed in time; they will be observed again")
        finally:
            tasks = (running, stopping, watching, pruning)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await engine.splitting.stop()

    async def _prune(self) -> None:
        """Forget the answers to requests that nobody repeats any more."""
        while True:
            try:
                await self.store.prune_requests(self.engine.clock.now() - REQUESTS_KEPT)
            except StoreError as error:
                log.warning("old requests could not be forgotten", problem=str(error))
            await asyncio.sleep(PRUNE_S)

    async def _watchdog(self) -> None:
        """Tell systemd that the engine's loop turns; a stuck loop tells nothing and is restarted."""
        seconds = systemd.watchdog_seconds()
        while seconds is not None:
            beats = self.engine.beats
            await asyncio.sleep(seconds)
            # A loop that waits for a store without room does its duty: a restart would not help.
            turns = self.engine.beats != beats or not self.engine.waiting
            if turns or self.engine.writer.problem:
                systemd.notify(watchdog=1)


def _raise_first(running: "asyncio.Task[None]") -> None:
    """The engine has ended by itself: raise what ended it."""
    error = running.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is not None:
        raise error


def _lanes(
    config: Config, plugins: Plugins, infos: Mapping[str, FacilityInfo], host: DaemonHost
) -> list[Lane]:
    """One lane for each driver a facility names. Raises ConfigError."""
    lanes: list[Lane] = []
    problems: list[str] = []
    for name, section in config.facility.items():
        for driver in dict.fromkeys(section.drivers.values()):
            factory = plugins.drivers.get(driver)
            if factory is None:
                known = ", ".join(sorted(plugins.drivers)) or "none"
                problems.append(
                    f"facility.{name}.drivers: no plugin brings driver {driver!r}; known: {known}"
                )
                continue
            unserved = [
                k for k, d in section.drivers.items() if d == driver and k not in factory.kinds
            ]
            if unserved:
                problems.append(
                    f"facility.{name}.drivers: driver {driver!r} does not do {', '.join(unserved)} jobs"
                )
            try:
                settings = factory.settings.model_validate(section.settings.get(driver, {}))
                made = factory.create(infos[name], settings, host)
            except (ValidationError, ValueError, TypeError) as error:
                problems.append(f"facility.{name}.settings.{driver}: {error}")
                continue
            limit = section.lanes.get(driver, section.slots)
            lanes.append(Lane(name, driver, made, limit, fixed=driver in section.lanes))
        transport = plugins.transports.get(section.transport)
        if transport is not None:
            try:
                host.transports[name] = transport.create(infos[name], host)
            except (DriverError, ValueError, TypeError) as error:
                problems.append(f"facility.{name}.settings.{section.transport}: {error}")
        elif "transport" in section.model_fields_set:
            known = ", ".join(sorted(plugins.transports)) or "none"
            problems.append(
                f"facility.{name}.transport: no plugin brings transport {section.transport!r}; "
                f"known: {known}"
            )
        if section.agent:
            agent = plugins.agents.get(section.agent)
            if agent is None:
                known = ", ".join(sorted(plugins.agents)) or "none"
                problems.append(
                    f"facility.{name}.agent: no plugin brings agent {section.agent!r}; known: {known}"
                )
                continue
            host.agents[name] = agent.create(infos[name], host)
    if problems:
        raise ConfigError("\n".join(problems))
    return lanes


async def build(config: Config, stack: AsyncExitStack, clock: Clock | None = None) -> Daemon:
    """Open the store, load plugins, make lanes and services; `stack` ends all of it in reverse.

    Raises ConfigError, PluginError or StoreError, each with words for the person who starts it.
    """
    clock = clock or SystemClock()
    section = config.daemon
    section.state_dir.mkdir(parents=True, exist_ok=True)
    infos = {name: each.info(name) for name, each in config.facility.items()}
    plugins = Plugins.load(section.plugins, config.plugin)
    host = DaemonHost(section.state_dir, clock, infos)
    lanes = _lanes(config, plugins, infos, host)
    for transport in host.transports.values():
        stack.push_async_callback(transport.close)
    for agent in host.agents.values():
        stack.push_async_callback(agent.close)
    store = await Store.open(section.database_url, clock=clock.now)
    stack.push_async_callback(store.close)
    store.on_commit_point = failpoint
    for lane in lanes:
        stack.push_async_callback(lane.driver.stop)
    engine = Engine(store, clock, plugins, infos, host, lanes, section.probe_s, section.command_s)
    host.on_wake = engine.wake
    room = Room(
        engine=engine,
        reader=store,
        plugins=plugins,
        facilities=infos,
        host=host,
        clock=clock,
        version=__version__,
        database=section.database_url,
        started_at=clock.now(),
    )
    if section.metrics:
        address, _, port = section.metrics.rpartition(":")
        served, thread = start_http_server(int(port), address or "127.0.0.1", metrics.registry)
        stack.callback(thread.join)
        stack.callback(served.shutdown)
    return Daemon(config, engine, Server(room), host, store)


async def serve(config: Config) -> None:
    """Build and run a daemon until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        daemon = await build(config, stack)
        await daemon.run(stop)
