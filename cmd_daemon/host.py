"""What the daemon lends to plugins: time, a place for state, wake-ups, agents."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from cmd_daemon.engine.clock import Clock
from cmd_daemon.hooks.ports import Agent, DriverError, FacilityInfo, ManagedAgent
from cmd_daemon.hooks.transports import Transport
from cmd_daemon.kernel.outcome import ErrorClass


class DaemonHost:
    """The `Host` of the ports, over the running daemon."""

    def __init__(
        self, state_dir: Path, clock: Clock, facilities: Mapping[str, FacilityInfo]
    ) -> None:
        self._state_dir = state_dir
        self._clock = clock
        self._facilities = facilities
        self._loop = asyncio.get_running_loop()
        self.agents: dict[str, ManagedAgent] = {}
        self.transports: dict[str, Transport] = {}
        self.on_wake: Callable[[str, str], None] | None = None

    async def close(self) -> None:
        """End all agents, then all transports."""
        async with AsyncExitStack() as stack:
            for transport in self.transports.values():
                stack.push_async_callback(transport.close)
            for agent in self.agents.values():
                stack.push_async_callback(agent.close)

    @property
    def state_dir(self) -> Path:
        """A folder that outlives the daemon."""
        return self._state_dir

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""
        return self._clock.now()

    def wake(self, facility: str, driver: str) -> None:
        """Hint from any thread that something changed outside."""
        if self.on_wake is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.on_wake, facility, driver)

    def agent(self, facility: str) -> Agent:
        """The facility's agent; DriverError PERMANENT if it has none."""
        agent = self.agents.get(facility)
        if agent is None:
            raise DriverError(
                ErrorClass.PERMANENT,
                f"facility {facility} has no agent: set `agent` in its configuration",
            )
        return agent

    def transport(self, facility: str) -> Transport:
        """The facility's transport; KeyError for an unknown facility."""
        return self.transports[facility]

    def facility(self, name: str) -> FacilityInfo:
        """The facility's configuration; KeyError for an unknown one."""
        return self._facilities[name]
