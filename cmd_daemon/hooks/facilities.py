"""What plugins tell of facilities as they are just now: storage, health, and who holds which inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cmd_daemon.hooks.placement import Held
from cmd_daemon.hooks.ports import FacilityInfo, Host


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage element of a facility; bytes, None where nobody could tell."""

    name: str
    path: str
    free_bytes: int | None
    total_bytes: int | None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One health check: whether it passed, and in words why not. A facility whose `vital` check
    fails takes no new work until it passes again."""

    name: str
    ok: bool
    message: str = ""
    vital: bool = True


@dataclass(frozen=True, slots=True)
class QueueState:
    """What an outside system says about the queue behind one memory class of a facility ("" where it
    has none): whether it takes jobs, the jobs of everybody that run and wait in it, and what one job
    may have there: memory (bytes), cores and wall time (seconds), None where nobody could tell."""

    queue: str
    online: bool = True
    running: int = 0
    queued: int = 0
    memory: int | None = None
    cores: int | None = None
    walltime_s: float | None = None


@dataclass(frozen=True, slots=True)
class FacilityReport:
    """What one look at a facility found. `backlog` are the bytes that wait to be sent to it, by the
    facility they come from; where several probes tell of one way, their bytes add up. `queues` are its
    queues as the outside system sees them, for placement."""

    storage: tuple[Storage, ...] = ()
    checks: tuple[Check, ...] = ()
    backlog: Mapping[str, int] = field(default_factory=dict)
    queues: tuple[QueueState, ...] = ()


class FacilityProbe(Protocol):
    """Looks at a facility: its storage elements, its agent, its transport. The engine asks each
    probe about each facility every `probe_s` seconds of the daemon's configuration."""

    name: str

    async def look(self, facility: FacilityInfo, host: Host) -> FacilityReport:
        """One look, in a few seconds. Raising counts as a failed vital check named after the probe."""


@dataclass(frozen=True, slots=True)
class InputsRequest:
    """Which inputs a group needs: the datasets of these types in these collections that match the
    group's data query. `butler` is the repository's label."""

    group: str
    butler: str
    collections: tuple[str, ...]
    datasets: tuple[str, ...]
    where: str


@dataclass(frozen=True, slots=True)
class InputsHeld:
    """What each facility holds of one group's inputs. A facility that could not be asked is in
    `unknown` with the reason; it counts as holding none."""

    group: str
    held: Mapping[str, Held] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)


class InputLocator(Protocol):
    """Says where inputs are, in sets."""

    name: str

    async def locate(
        self, requests: Sequence[InputsRequest], facilities: Sequence[str], host: Host
    ) -> Sequence[InputsHeld]:
        """One answer for each request; one question to each facility for all of them. For a request
        that is left out, and if it raises, the locator that was loaded before this one is asked."""
