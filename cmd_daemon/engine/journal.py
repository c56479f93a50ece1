"""What the engine needs of a store."""

from collections.abc import Collection, Sequence
from typing import Protocol

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.kernel.entities import Campaign, Group, Job, Step
from cmd_daemon.kernel.records import (
    AttemptRow,
    Effect,
    FacilityState,
    PlacedBefore,
    Record,
    Schedule,
)


class Loaded(Protocol):
    """Everything that is open, as it stands in the store at start."""

    campaigns: dict[int, Campaign]
    steps: dict[int, Step]
    groups: dict[int, Group]
    jobs: dict[int, Job]
    effects: dict[str, Effect]
    facilities: dict[str, FacilityState]
    schedules: dict[str, Schedule]
    last_seq: int
    highest_id: int


class Journal(Protocol):
    """The store, as far as the engine is concerned."""

    async def load_open(self) -> Loaded:
        """Everything that is open."""

    async def commit(self, batch: Batch) -> None:
        """Write a batch in one transaction. Raises StoreUnavailable if nothing was written and the
        same batch may be committed later."""

    async def leading(self) -> None:
        """Return once it is sure that no other daemon leads; never, if one does. To be awaited right
        before what must not be done by two."""

    async def lead_in_doubt(self) -> None:
        """Return once it is not sure any more that no other daemon leads."""

    async def last_seq(self) -> int:
        """The sequence number of the newest committed event; 0 if there is none."""

    async def group_names(self, step_id: int) -> set[str]:
        """Names of all groups of a step."""

    async def placed_before(self, campaign_id: int, apart: Collection[int] = ()) -> PlacedBefore:
        """Where the campaign's groups were placed so far; steps `apart` tell nothing of regions."""

    async def attempts_of(self, job_ids: Sequence[int]) -> Sequence[AttemptRow]:
        """All finished attempts of these jobs, oldest first."""

    async def taken_names(self, names: Sequence[str]) -> set[str]:
        """Which of these names campaigns have, archived ones too."""

    async def asked(self) -> Sequence[Record]:
        """Every event of a call that had a request id, in order: of campaigns that are not archived, and of
        facilities."""

    async def events(self, after_seq: int = 0, limit: int = 1000) -> Sequence[Record]:
        """Committed events with a greater sequence number, in order, at most 1000."""
