"""One look at all rules of a server, shared by everybody who waits for one of them.

However many groups there are, the server is asked once every `poll_s` seconds; a message of Rucio's
own, or somebody who begins to wait, makes the next look come sooner, but no message is needed.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta

from cmd_daemon.hooks import DriverError
from cmd_rucio_butler.server import RucioServer, Rule

SOONEST_S = 2.0
"""Seconds between two looks, however often they are asked for."""

MARGIN = timedelta(hours=1)
"""Rules are asked for from this long before the oldest that is waited for."""


class RuleWatch:
    """Looks at the rules of one server while somebody waits. `looks` counts."""

    def __init__(self, server: RucioServer, poll_s: float) -> None:
        self._server = server
        self._poll_s = poll_s
        self._wanted: dict[str, tuple[datetime, int]] = {}
        self._sooner = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._next: asyncio.Future[dict[str, Rule]] | None = None
        self.looks = 0

    @contextlib.contextmanager
    def waiting_for(self, rule: Rule) -> Iterator[None]:
        """As long as this is entered, looks include the rule."""
        created, holders = self._wanted.get(rule.id, (rule.created_at, 0))
        self._wanted[rule.id] = (created, holders + 1)
        try:
            yield
        finally:
            created, holders = self._wanted[rule.id]
            if holders > 1:
                self._wanted[rule.id] = (created, holders - 1)
            else:
                del self._wanted[rule.id]

    async def look(self) -> dict[str, Rule]:
        """The next look that begins from now on: rules by id. Raises DriverError if it failed."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_on())
        return await asyncio.shield(self._next)

    def wake(self) -> None:
        """Something has changed at the server: look soon."""
        self._sooner.set()

    async def close(self) -> None:
        """End the looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look_on(self) -> None:
        while self._next is not None:
            await asyncio.sleep(min(SOONEST_S, self._poll_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._poll_s - SOONEST_S)):
                    await self._sooner.wait()
            self._sooner.clear()
            asked, self._next = self._next, None
            try:
                oldest = min((created for created, _ in self._wanted.values()), default=None)
                filters = {} if oldest is None else {"created_after": oldest - MARGIN}
                found = await self._server.rules(patient=False, **filters)
            except DriverError as error:
                _fail(asked, error)
            except asyncio.CancelledError:
                asked.cancel()
                raise
            else:
                asked.set_result({rule.id: rule for rule in found})
            finally:
                self.looks += 1


def _fail(future: "asyncio.Future[dict[str, Rule]]", error: DriverError) -> None:
    future.set_exception(error)
    future.exception()  # nobody may be waiting any more
