"""Submissions under way: each attempt once at a time, and to its end though nobody waits for it any more."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

from cmd_daemon.hooks import Accepted, JobOrder, Refused

Answer = Accepted | Refused


class Plantings:
    """`plant` submits a set of orders, has an answer for each key and raises nothing."""

    def __init__(
        self, plant: Callable[[Mapping[str, JobOrder]], Awaitable[dict[str, Answer]]]
    ) -> None:
        self._plant = plant
        self._under_way: dict[str, asyncio.Task[Answer]] = {}

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Answer]:
        """The answers, in the orders' sequence; those of attempts that are under way already are
        waited for. A deadline may end our waiting, but not the planting."""
        fresh = {order.key: order for order in orders if order.key not in self._under_way}
        if fresh:
            call = asyncio.ensure_future(self._plant(fresh))
            for key in fresh:
                one = asyncio.create_task(_answer_of(call, key))
                self._under_way[key] = one
                one.add_done_callback(partial(self._done, key))
        waiting = [self._under_way[order.key] for order in orders]
        return await asyncio.gather(*(asyncio.shield(task) for task in waiting))

    def _done(self, key: str, _: asyncio.Task[Answer]) -> None:
        self._under_way.pop(key, None)

    async def settled(self, keys: Iterable[str]) -> None:
        """Wait until none of these is under way, whatever came of it: then a look-up tells the truth."""
        tasks = [self._under_way[key] for key in keys if key in self._under_way]
        if tasks:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Wait for all."""
        await self.settled(list(self._under_way))


async def _answer_of(call: "asyncio.Future[dict[str, Answer]]", key: str) -> Answer:
    return (await asyncio.shield(call))[key]
