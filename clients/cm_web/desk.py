"""What every page works with: the connection, the watch, the answers kept, and the templates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.facility_pb2 import Facility
from cmd_api.v1.step_pb2 import Step
from starlette.requests import Request

from cm_client import AsyncClient, Client

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

    async def keep(
        self, name: str, question: str, ask: Callable[[], Awaitable[T]], fresh_s: float = 1.0
    ) -> T:
        """The answer to a question about one entity, maybe one that is kept."""
        return await self.memory.get((name, question), (name,), ask, fresh_s)

    async def soon(self, name: str, question: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        """The same for a question that may take long; None if the answer is not there yet."""
        return await self.memory.soon((name, question), (name,), ask)

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
