"""The Rucio servers of one daemon, shared by the drivers of all its facilities."""

import asyncio
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

from cmd_daemon.hooks import Host
from cmd_rucio_butler.hints import Hints, StompHints
from cmd_rucio_butler.kafka import KafkaHints, topics_of
from cmd_rucio_butler.server import RucioServer
from cmd_rucio_butler.settings import RucioSettings
from cmd_rucio_butler.watching import RuleWatch


@dataclass(slots=True)
class Shared:
    """One server with the watch over its rules."""

    server: RucioServer
    watch: RuleWatch
    hints: dict[str, Hints] = field(default_factory=dict)

    def listen(self, settings: RucioSettings) -> None:
        """Begin to listen to the brokers that the settings name, if nobody does yet."""
        if (stomp := settings.stomp) is not None:
            self._begin(stomp.model_dump_json(), partial(StompHints, stomp))
        if (kafka := settings.kafka) is not None:
            topics = topics_of(kafka, (settings.scope, *settings.scopes))
            what = f"{kafka.model_dump_json()} {topics}"
            self._begin(what, partial(KafkaHints, kafka, topics))

    def _begin(
        self,
        what: str,
        make: Callable[[asyncio.AbstractEventLoop, Callable[[], None]], Hints],
    ) -> None:
        if what not in self.hints:
            self.hints[what] = make(asyncio.get_running_loop(), self.watch.wake)
            self.hints[what].start()


class Servers:
    """The servers that the drivers of a daemon use, one for each account and credentials."""

    _made: ClassVar["weakref.WeakValueDictionary[int, Servers]"] = weakref.WeakValueDictionary()

    def __init__(self, host: Host) -> None:
        self._tokens: Path = host.state_dir / "rucio" / "tokens"
        self._servers: dict[str, Shared] = {}
        self._holders: set[int] = set()

    @classmethod
    def of(cls, host: Host) -> "Servers":
        """The servers of one daemon; they live as long as somebody holds them."""
        made = cls._made.get(id(host))
        if made is None:
            made = cls._made[id(host)] = cls(host)
        return made

    def at(self, settings: RucioSettings, who: object) -> Shared:
        """The server that the settings name, for somebody who lets go of it later."""
        self._holders.add(id(who))
        shared = self._servers.get(settings.identity())
        if shared is None:
            server = RucioServer(settings, self._tokens)
            watch = RuleWatch(server, settings.poll_s)
            shared = self._servers[settings.identity()] = Shared(server, watch)
        return shared

    async def let_go(self, who: object) -> None:
        """Somebody needs no server any more; the last one closes them."""
        self._holders.discard(id(who))
        if self._holders:
            return
        for shared in self._servers.values():
            for hints in shared.hints.values():
                await asyncio.to_thread(hints.stop)
            await shared.watch.close()
            shared.server.close()
        self._servers.clear()
