"""A host for drivers, splitters and agents under test."""

import threading
from collections.abc import Mapping
from pathlib import Path

from cmd_daemon.hooks import Agent, DriverError, ErrorClass, FacilityInfo, Transport
from cmd_daemon.testing.clock import FakeClock


def facility_info(name: str = "HERE", **changes: object) -> FacilityInfo:
    """A facility of moderate size; `changes` replace fields of `FacilityInfo`."""
    fields: dict[str, object] = {
        "slots": 100,
        "memory": 64 * 1024**3,
        "cores": 8,
        "walltime_s": 86_400.0,
    }
    return FacilityInfo(name=name, **{**fields, **changes})  # type: ignore[arg-type]


class FakeHost:
    """What a plugin gets of the daemon: a state directory, a clock, facilities, agents.

    `wakes` lists the (facility, driver) pairs that asked to be looked at, oldest first.
    """

    def __init__(
        self,
        state_dir: Path,
        facilities: Mapping[str, FacilityInfo] | None = None,
        agents: Mapping[str, Agent] | None = None,
        clock: FakeClock | None = None,
        transports: Mapping[str, Transport] | None = None,
    ) -> None:
        self._state_dir = state_dir
        self._transports = dict(transports or {})
        self._facilities = dict(facilities or {"HERE": facility_info()})
        self._agents = dict(agents or {})
        self.clock = clock or FakeClock()
        self.wakes: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    @property
    def state_dir(self) -> Path:
        """The folder given by the test."""
        return self._state_dir

    def now(self) -> int:
        """The fake clock's time in microseconds."""
        return self.clock.now()

    def wake(self, facility: str, driver: str) -> None:
        """Take note of the hint."""
        with self._lock:
            self.wakes.append((facility, driver))

    def transport(self, facility: str) -> Transport:
        """The transport given by the test; KeyError if there is none."""
        return self._transports[facility]

    def agent(self, facility: str) -> Agent:
        """The agent given by the test; DriverError PERMANENT if there is none."""
        try:
            return self._agents[facility]
        except KeyError:
            raise DriverError(
                ErrorClass.PERMANENT, f"facility {facility} has no agent configured"
            ) from None

    def facility(self, name: str) -> FacilityInfo:
        """The configuration given by the test; KeyError for an unknown facility."""
        return self._facilities[name]
