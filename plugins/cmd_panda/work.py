"""The seam between the driver `panda` and its families of jobs: scripts as tasks, process jobs as BPS
workflows.

The driver knows neither. It gives an order to the family of its kind, and a reference to the family
whose `mark` it begins with (`task:41`, `request:7`). A look-up goes to all families, because a key
does not tell its kind. What a family promises is what `Driver` promises.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cmd_daemon.hooks import (
    Absent,
    Accepted,
    CancelAnswer,
    Command,
    Control,
    ControlAnswer,
    FacilityInfo,
    Found,
    Host,
    JobKind,
    JobOrder,
    JobRef,
    LogChunk,
    Observation,
    Part,
    Refused,
    Unclear,
)
from cmd_panda.settings import NAME, PandaSettings
from cmd_panda.sharing import Shared


@dataclass(frozen=True, slots=True)
class Place:
    """One facility as its families see it. `shared` gives the server and the watch over it, which all
    facilities with the same server and credential have in common; call it anew for each use, for it is
    made again after a stop."""

    facility: FacilityInfo
    settings: PandaSettings
    host: Host
    shared: Callable[[], Shared]

    @property
    def here(self) -> str:
        """How messages begin."""
        return f"driver '{NAME}' at facility {self.facility.name}"


class Work(Protocol):
    """One family of jobs at one facility. Made in the factory's `create`: no I/O before `start`."""

    kinds: frozenset[JobKind]
    mark: str
    """The references of this family begin with it and a colon."""
    commands: frozenset[Command]

    async def start(self) -> None:
        """Make ready; the server has answered already. May be called again after `stop`."""

    async def stop(self) -> None:
        """Let go. Outside work goes on."""

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted | Refused]:
        """As `Driver.submit`, orders of this family's kinds only."""

    async def find(self, keys: Sequence[str]) -> Sequence[Found | Absent | Unclear]:
        """As `Driver.find`; keys of other families are Absent, and no error."""

    async def observe(self, refs: Sequence[JobRef]) -> Sequence[Observation]:
        """As `Driver.observe`, from the watch: no call of its own for each attempt."""

    async def cancel(self, refs: Sequence[JobRef]) -> Sequence[CancelAnswer]:
        """As `Driver.cancel`."""

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """As `Driver.inspect`."""

    def read_log(
        self, ref: JobRef, part: str, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """As `Driver.read_log`."""

    async def control(self, controls: Sequence[Control]) -> Sequence[ControlAnswer]:
        """As `Controllable.control`, commands of `commands` only."""
