"""The composition root: the only module that knows every room. Builds the daemon, runs it, ends it."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

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

EXIT_OVERSLEPT = 75
"""EX_TEMPFAIL of sysexits.h: to be started again, as a stand-by."""

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
    listening: bool = False

    async def run(self, stop: asyncio.Event) -> None:
        """Stand by while another daemon leads; then recover, serve, and run until `stop` is set or a
        part fails that must not.

        Jobs outside go on when the daemon ends; the next one adopts them.
        """
        stopping = asyncio.create_task(stop.wait(), name="stop")
        watching = asyncio.create_task(self._watchdog(), name="watchdog")
        try:
            if not self.store.leader or await self._stand_by(stopping):
                await self._lead(stopping)
        finally:
            for task in (stopping, watching):
                task.cancel()
            await asyncio.gather(stopping, watching, return_exceptions=True)

    async def _stand_by(self, stopping: "asyncio.Task[bool]") -> bool:
        """Serve reads until this daemon leads; False if it was stopped before."""
        engine, store = self.engine, self.store
        metrics.leading.set(0)
        leading = asyncio.create_task(store.lead(), name="lead")
        tasks: set[asyncio.Task[Any]] = {stopping, leading}
        try:
            self._standing_by()
            if not store.behind:
                await self._serve()
                tasks.add(asyncio.create_task(engine.feed.follow(), name="follow"))
            log.info("standing by", leader=store.leader)
            systemd.notify(ready=1, status=f"stand-by: {store.leader} leads")
            while not leading.done():
                await asyncio.wait(tasks, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    engine.feed.end()
                    if self.listening:
                        await self.server.stop(GRACE_S)
                    return False
                self._standing_by()
            leading.result()
        finally:
            for task in tasks - {stopping}:
                task.cancel()
            await asyncio.gather(*(tasks - {stopping}), return_exceptions=True)
        log.warning("taking over")
        engine.standing_by = "this daemon is taking over; ask again in a moment"
        return True

    def _standing_by(self) -> None:
        if leader := self.store.leader:
            self.engine.standing_by = f"this daemon is a stand-by: {leader} leads"

    async def _serve(self) -> None:
        if not self.listening:
            await self.server.start(self.config.daemon.socket)
            self.listening = True

    async def _lead(self, stopping: "asyncio.Task[bool]") -> None:
        engine = self.engine
        systemd.notify(status="recovering", extend_timeout_usec=600_000_000)
        leading = asyncio.create_task(self.store.keep_lead(), name="lead")
        running = asyncio.create_task(self._recovered(), name="engine")
        pruning = asyncio.create_task(self._prune(), name="prune")
        try:
            await asyncio.wait({running, leading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in (leading, running):
                if task.done():
                    _raise_first(task)
            log.info("stopping")
            systemd.notify(stopping=1)
            engine.feed.end()
            if self.listening:
                await self.server.stop(GRACE_S)
            await asyncio.wait_for(engine.writer.flushed(), GRACE_S)
        except TimeoutError:
            log.warning("the last events were not committed in time; they will be observed again")
        finally:
            tasks = (running, leading, pruning)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await engine.splitting.stop()

    async def _recovered(self) -> None:
        """Recover, then serve and run the engine."""
        engine = self.engine
        await engine.recover()
        settle()
        engine.standing_by = ""
        await self._serve()
        await self.server.serving()
        metrics.leading.set(1)
        log.info("serving", socket=str(self.config.daemon.socket))
        systemd.notify(ready=1, status=f"{len(engine.view.campaigns)} campaigns")
        await engine.run()

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
    """A part has ended by itself: raise what ended it."""
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
    store = await Store.open(
        section.database_url,
        clock=clock.now,
        password_file=section.password_file,
        standby=True,
    )
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
        loop = asyncio.get_running_loop()
        metrics.tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
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
        signal.signal(signal.SIGCONT, lambda *_: _woken(daemon.store))
        stack.callback(signal.signal, signal.SIGCONT, signal.SIG_DFL)
        await daemon.run(stop)


def _woken(store: Store) -> None:
    """The process was stopped and goes on. If another daemon may lead by now, nothing more is done
    outside: not even the rest of a call that was under way."""
    if store.overslept():
        words = b"cmd-daemon: woken after so long that another daemon may lead: this one stops\n"
        os.write(sys.stderr.fileno(), words)
        os._exit(EXIT_OVERSLEPT)
