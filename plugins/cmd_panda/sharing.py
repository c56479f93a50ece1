"""The PanDA servers of one daemon, shared by the drivers of all its facilities."""

import asyncio
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cmd_daemon.hooks import Host
from cmd_panda.queues import QueueBoard
from cmd_panda.server import PandaServer
from cmd_panda.settings import NAME, PandaSettings
from cmd_panda.watching import Watch
from cmd_rucio_butler.hints import StompHints

JOB_ENDS = frozenset({"finished", "failed", "closed", "cancelled"})


@dataclass(slots=True)
class Shared:
    """One server with the watch over it, what its queues are, and the facilities that are told when
    something happens."""

    server: PandaServer
    watch: Watch
    queues: QueueBoard
    host: Host
    facilities: set[str] = field(default_factory=set)
    hints: StompHints | None = None

    def heeds(self, message: Mapping[str, Any]) -> bool:
        """Whether a message is news of a task of ours. It is believed in nothing else."""
        kind, task = message.get("msg_type"), message.get("taskid")
        if not isinstance(task, int) or not self.watch.follows(task):
            return False
        return kind == "task_status" or (kind == "job_status" and message.get("status") in JOB_ENDS)

    def wake(self) -> None:
        """Look soon, at all facilities."""
        self.watch.wake()
        for facility in self.facilities:
            self.host.wake(facility, NAME)


class Servers:
    """The servers that the drivers of a daemon use, one for each server and credential."""

    _made: ClassVar["weakref.WeakValueDictionary[int, Servers]"] = weakref.WeakValueDictionary()

    def __init__(self, host: Host) -> None:
        self._host = host
        self._shared: dict[str, Shared] = {}
        self._holders: dict[str, set[int]] = {}

    @classmethod
    def of(cls, host: Host) -> "Servers":
        """The servers of one daemon; they live as long as somebody holds them."""
        made = cls._made.get(id(host))
        if made is None:
            made = cls._made[id(host)] = cls(host)
        return made

    def at(self, settings: PandaSettings, who: object, facility: str | None = None) -> Shared:
        """The server that the settings name, for somebody who lets go of it later. The driver of
        the facility is told when something happens there."""
        name = settings.identity()
        shared = self._shared.get(name)
        if shared is None:
            server = PandaServer(settings, self._host.now)
            watch = Watch(server, settings, self._host.now)
            board = QueueBoard(server, self._host.now)
            shared = self._shared[name] = Shared(server, watch, board, self._host)
            if settings.stomp is not None:
                loop = asyncio.get_running_loop()
                shared.hints = StompHints(settings.stomp, loop, shared.wake, shared.heeds, NAME)
                shared.hints.start()
        self._holders.setdefault(name, set()).add(id(who))
        if facility is not None:
            shared.facilities.add(facility)
        return shared

    async def let_go(self, who: object) -> None:
        """Somebody needs no server any more; the last one closes it."""
        for name, holders in list(self._holders.items()):
            holders.discard(id(who))
            if holders:
                continue
            del self._holders[name]
            shared = self._shared.pop(name)
            if shared.hints is not None:
                await asyncio.to_thread(shared.hints.stop)
            await shared.watch.close()
            await shared.server.close()
