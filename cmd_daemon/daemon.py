"""The composition root: the only module that knows every room. Builds the daemon, runs it, ends it."""

import asyncio
import os
import signal
import ssl
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from prometheus_client import start_http_server

from cmd_daemon import __version__
from cmd_daemon.api.identity.auditing import Auditor
from cmd_daemon.api.identity.door import Door
from cmd_daemon.api.identity.gate import Gate
from cmd_daemon.api.identity.limits import Limits
from cmd_daemon.api.identity.owners import Owners
from cmd_daemon.api.identity.transport import BadCertificate, credentials
from cmd_daemon.api.server import Server
from cmd_daemon.api.service import Room
from cmd_daemon.api.traced import Traced
from cmd_daemon.config import Config, ConfigError, read_config
from cmd_daemon.engine.clock import Clock, SystemClock
from cmd_daemon.engine.engine import Engine
from cmd_daemon.engine.memory import settle
from cmd_daemon.engine.retention import Retention
from cmd_daemon.failpoints import failpoint
from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.host import DaemonHost
from cmd_daemon.observe import metrics, systemd
from cmd_daemon.outfit import Outfit, outfits
from cmd_daemon.store import Store, StoreError, StoreUnreachable
from cmd_daemon.store.portable import export

if TYPE_CHECKING:
    from cmd_daemon.observe.traces import Traces

log = structlog.get_logger()

AGAIN_S = 2.0
"""Seconds between two tries to reach the database at the start."""

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
    fitted: dict[str, Outfit]
    listening: bool = False

    async def reload(self, config: Config) -> None:
        """Take in the facilities of another configuration: those that are new, and those whose section,
        or a file that it names, has changed. Raises ConfigError; nothing has changed then."""
        gone = [f"facility.{name}: is gone" for name in self.fitted.keys() - config.facility.keys()]
        for name, section in config.facility.items():
            former = self.fitted.get(name)
            if former is not None:
                lost = {lane.name for lane in former.lanes} - set(section.drivers.values())
                gone += [f"facility.{name}.drivers: has no {driver!r} any more" for driver in lost]
        if gone:
            raise ConfigError("; ".join([*sorted(gone), "that needs a restart"]))
        made = outfits(config, self.engine.plugins, self.host, self.fitted)
        for name, outfit in made.items():
            old = (self.host.transports.get(name), self.host.agents.get(name))
            outfit.put(self.host)
            await self.engine.take_in(outfit.info, outfit.lanes)
            for each in old:
                if each is not None:
                    await each.close()
            self.fitted[name] = outfit
        others = [
            key
            for key in ("daemon", "plugin", "retention", "listen", "identity", "traces")
            if getattr(config, key) != getattr(self.config, key)
        ]
        log.info("the configuration is reloaded", facilities=sorted(made), needs_restart=others)

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
        """Serve reads, as soon as the leader has the schema that this code reads, until this daemon
        leads; False if it was stopped before."""
        engine, store = self.engine, self.store
        metrics.leading.set(0)
        leading = asyncio.create_task(store.lead(), name="lead")
        tasks: set[asyncio.Task[Any]] = {stopping, leading}
        try:
            self._standing_by()
            log.info("standing by", leader=store.leader)
            systemd.notify(ready=1, status=f"stand-by: {store.leader} leads")
            while not leading.done():
                if not self.listening and not store.behind:
                    await self._serve()
                    tasks.add(asyncio.create_task(engine.feed.follow(), name="follow"))
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
        pruning = asyncio.create_task(self._forget(), name="forget")
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
        ports = [each.address for each in self.config.listen.values()]
        log.info("serving", socket=str(self.config.daemon.socket), ports=ports)
        systemd.notify(ready=1, status=f"{len(engine.view.campaigns)} campaigns")
        await engine.run()

    async def _forget(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._prune())
            if (kept := self.config.retention) is not None:
                retention = Retention(
                    self.store,
                    partial(export, self.store.reading),
                    self.engine.clock,
                    self.engine.ask,
                    kept.after_days,
                    kept.directory,
                )
                tasks.create_task(retention.run())

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


def _entrances(config: Config) -> tuple[Door, dict[str, grpc.ServerCredentials]]:
    """Who tells callers apart, and the TCP ports with their TLS. Raises ConfigError."""
    try:
        door = Door(config.identity)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"identity.oidc needs the package {error.name}: pip install 'cmd-daemon[oidc]'"
        ) from error
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"identity.oidc.ca cannot be used: {error}") from error
    ports: dict[str, grpc.ServerCredentials] = {}
    for name, section in config.listen.items():
        if section.address in ports:
            raise ConfigError(f"listen.{name}.address: {section.address} is another port's too")
        try:
            ports[section.address] = credentials(name, section)
        except BadCertificate as error:
            raise ConfigError(str(error)) from error
    return door, ports


def _traces(config: Config) -> "Traces | None":
    """What keeps spans, if there is to be any. Raises ConfigError."""
    if not config.traces.endpoint:
        return None
    try:
        from cmd_daemon.observe.traces import Traces
    except ImportError as error:
        raise ConfigError(
            f"traces: OpenTelemetry is not installed ({error}): pip install 'cmd-daemon[otel]'"
        ) from error
    return Traces(config.traces.endpoint, config.traces.ratio)


async def _opened(config: Config, clock: Clock) -> Store:
    """The store, once its database can be reached. Raises StoreError for what waiting cannot mend."""
    section = config.daemon
    while True:
        try:
            return await Store.open(
                section.database_url,
                clock=clock.now,
                password_file=section.password_file,
                standby=True,
            )
        except StoreUnreachable as error:
            log.warning("waiting for the database", problem=str(error))
            systemd.notify(status="waiting for the database", extend_timeout_usec=60_000_000)
            await asyncio.sleep(AGAIN_S)


async def build(config: Config, stack: AsyncExitStack, clock: Clock | None = None) -> Daemon:
    """Open the store, load plugins, make lanes and services; `stack` ends all of it in reverse.

    Waits for a database that cannot be reached. Raises ConfigError, PluginError or StoreError, each with
    words for the person who starts it.
    """
    clock = clock or SystemClock()
    section = config.daemon
    section.state_dir.mkdir(parents=True, exist_ok=True)
    infos = {name: each.info(name) for name, each in config.facility.items()}
    plugins = Plugins.load(section.plugins, config.plugin)
    host = DaemonHost(section.state_dir, clock, infos)
    fitted = outfits(config, plugins, host)
    for outfit in fitted.values():
        outfit.put(host)
    stack.push_async_callback(host.close)
    lanes = [lane for outfit in fitted.values() for lane in outfit.lanes]
    store = await _opened(config, clock)
    stack.push_async_callback(store.close)
    store.on_commit_point = failpoint
    traces = _traces(config)
    if traces is not None:
        stack.push_async_callback(asyncio.to_thread, traces.close)
    engine = Engine(
        store, clock, plugins, infos, host, lanes, section.probe_s, section.command_s, traces
    )
    stack.push_async_callback(_stop_drivers, engine)
    host.on_wake = engine.wake

    async def owner_of(name: str) -> str | None:
        collection, _, short = name.partition("/")
        if collection == "schedules":
            schedule = engine.view.schedules.get(short)
            return None if schedule is None else schedule.owner
        row = await store.get_campaign(short)
        return None if row is None else row.campaign.owner

    owners = Owners(config.identity.owners_only, owner_of)
    door, ports = _entrances(config)
    stack.push_async_callback(door.close)
    gate = Gate(door, Limits(config.identity.limits), Auditor(engine), owners)
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
        owners=owners,
    )
    outer = [Traced(traces)] if traces else []
    server = Server(room, gate, config.identity.limits.message, ports, outer)
    if section.metrics:
        loop = asyncio.get_running_loop()
        metrics.tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
        address, _, port = section.metrics.rpartition(":")
        served, thread = start_http_server(int(port), address or "127.0.0.1", metrics.registry)
        stack.callback(thread.join)
        stack.callback(served.shutdown)
    return Daemon(config, engine, server, host, store, fitted)


async def _stop_drivers(engine: Engine) -> None:
    async with AsyncExitStack() as stack:
        for lane in engine.lanes.lanes.values():
            stack.push_async_callback(lane.driver.stop)


async def serve(config: Config, source: Path) -> None:
    """Build and run a daemon until SIGTERM or SIGINT. At SIGHUP the configuration's file
    `source` is read again."""
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    async with AsyncExitStack() as stack:
        building = asyncio.create_task(build(config, stack), name="build")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({building, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not building.done():
            building.cancel()
            await asyncio.wait({building})
            return
        daemon = building.result()
        signal.signal(signal.SIGCONT, lambda *_: _woken(daemon.store))
        stack.callback(signal.signal, signal.SIGCONT, signal.SIG_DFL)
        reloading = asyncio.create_task(_reload(daemon, source, reload), name="reload")
        try:
            await daemon.run(stop)
        finally:
            reloading.cancel()


async def _reload(daemon: Daemon, source: Path, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        try:
            await daemon.reload(read_config(source))
        except ConfigError as error:
            log.error(
                "the configuration is not reloaded, nothing has changed",
                file=str(source),
                problem=str(error),
            )
        except Exception:
            log.exception("the configuration could not be reloaded")


def _woken(store: Store) -> None:
    """The process was stopped and goes on. If another daemon may lead by now, nothing more is done
    outside: not even the rest of a call that was under way."""
    if store.overslept():
        words = b"cmd-daemon: woken after so long that another daemon may lead: this one stops\n"
        os.write(sys.stderr.fileno(), words)
        os._exit(EXIT_OVERSLEPT)
