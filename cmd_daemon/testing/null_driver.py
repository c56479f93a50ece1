"""A driver that takes everything and has it done at once: what the daemon costs by itself."""

from collections.abc import AsyncIterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from cmd_daemon.hooks import (
    Accepted,
    CancelAnswer,
    FacilityInfo,
    Found,
    Host,
    JobKind,
    JobOrder,
    JobRef,
    LogChunk,
    Observation,
    Outcome,
    Part,
    Phase,
    Safety,
    Verb,
)

DONE = Outcome(ok=True)


class NullSettings(BaseModel):
    """The null driver has no settings."""

    model_config = ConfigDict(extra="forbid")


class NullDriver:
    """Keeps nothing: every key is accepted, found and done."""

    safety: Mapping[Verb, Safety] = {
        Verb.SUBMIT: Safety.IDEMPOTENT,
        Verb.CANCEL: Safety.IDEMPOTENT,
    }
    poll_s = 0.5

    def __init__(self, facility: str, host: Host) -> None:
        self._facility = facility
        self._host = host

    async def start(self) -> None:
        """Nothing to make ready."""

    async def stop(self) -> None:
        """Nothing to let go of."""

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted]:
        """Take everything."""
        answers = [Accepted(order.key, "null") for order in orders]
        self._host.wake(self._facility, "null")
        return answers

    async def find(self, keys: Sequence[str]) -> Sequence[Found]:
        """Hold everything."""
        return [Found(key, "null") for key in keys]

    async def observe(self, refs: Sequence[JobRef]) -> Sequence[Observation]:
        """Everything is done."""
        return [Observation(ref.key, Phase.DONE, DONE) for ref in refs]

    async def cancel(self, refs: Sequence[JobRef]) -> Sequence[CancelAnswer]:
        """Nothing is left to end."""
        return [CancelAnswer(ref.key, done=True) for ref in refs]

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """No parts."""
        return []

    async def read_log(
        self, ref: JobRef, part: str, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """An empty log."""
        yield LogChunk(0, b"", end=True)


class NullDriverFactory:
    """Makes null drivers, for all kinds of jobs."""

    name = "null"
    kinds = frozenset(JobKind)
    settings: type[BaseModel] = NullSettings

    def create(self, facility: FacilityInfo, settings: BaseModel, host: Host) -> NullDriver:
        """Make the driver of one facility."""
        return NullDriver(facility.name, host)
