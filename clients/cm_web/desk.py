"""What every page works with: the connection, the watch, the answers kept, and the templates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request

from cm_client import AsyncClient, Client
from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.daemon_pb2 import Caller
from cmd_api.v1.facility_pb2 import Facility
from cmd_api.v1.schedule_pb2 import Schedule
from cmd_api.v1.step_pb2 import Step

from .actions import needs
from .hub import Hub
from .memory import Memory

T = TypeVar("T")


@dataclass(slots=True)
class Desk:
    """One per server. `blocking` is for the parts of the client library that only block; they run in
    threads. `key` is the secret of `guard.Guard`."""

    client: AsyncClient
    blocking: Client
    hub: Hub
    memory: Memory
    key: str
    caller: Caller = field(default_factory=Caller)
    """Who the daemon takes this server for, as of the last page: everybody who has the key acts so."""

    async def keep(
        self, name: str, question: str, ask: Callable[[], Awaitable[T]], fresh_s: float = 1.0
    ) -> T:
        """The answer to a question about one entity, maybe one that is kept."""
        return await self.memory.get((name, question), (name,), ask, fresh_s)

    async def soon(self, name: str, question: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        """The same for a question that may take long; None if the answer is not there yet."""
        return await self.memory.soon((name, question), (name,), ask)

    async def know_caller(self) -> None:
        """Ask who the daemon takes this server for; a role that changed shows within half a minute."""
        self.caller = await self.keep("caller", "who", lambda: self.client.get_caller(), 30.0)

    def may(self, verb: str) -> bool:
        """Whether the role is enough for an action; the daemon has the last word."""
        return self.caller.role == "admin" or self.caller.role == needs(verb)

    async def campaigns(self) -> list[Campaign]:
        """All campaigns that are not archived, oldest first."""

        async def ask() -> list[Campaign]:
            return [campaign async for campaign in self.client.campaigns()]

        return await self.keep("campaigns", "list", ask)

    async def facilities(self) -> list[Facility]:
        """All facilities, in the order of the configuration."""

        async def ask() -> list[Facility]:
            return list((await self.client.list_facilities()).facilities)

        return await self.keep("facilities", "list", ask)

    async def schedules(self) -> list[Schedule]:
        """All schedules that were not removed."""

        async def ask() -> list[Schedule]:
            return list((await self.client.list_schedules()).schedules)

        return await self.keep("schedules", "list", ask)

    async def steps(self, campaign: str) -> list[Step]:
        """The steps of a campaign (resource name), in the order of its file."""

        async def ask() -> list[Step]:
            return list((await self.client.list_steps(campaign)).steps)

        return await self.keep(campaign, "steps", ask)


@dataclass(frozen=True, slots=True)
class Page:
    """What a page shows. `every_s`: seconds after which it is looked at anew without an event (progress
    makes none); 0 if it never changes without one."""

    template: str
    title: str
    facts: dict[str, Any] = field(default_factory=dict)
    every_s: float = 0.0


PageOf = Callable[[Desk, Request], Awaitable[Page]]


def first(values: Iterable[T], most: int) -> tuple[list[T], int]:
    """The first values, and how many more there are."""
    there = list(values)
    return there[:most], max(0, len(there) - most)
