"""What the API reads from: a store, seen from here. Nothing of it changes anything."""

from collections.abc import Collection, Sequence
from typing import Protocol

from cmd_daemon.kernel.records import (
    AttemptRow,
    AuditRow,
    CampaignFile,
    CampaignRow,
    CostRow,
    FacilityLoad,
    FailureRow,
    GroupCount,
    GroupRow,
    GroupStory,
    JobRow,
    NexusRow,
    PlacementRow,
    Record,
    RequestRow,
    Schedule,
    ScheduleRun,
    SpanRow,
    StepRow,
    TriedRow,
    WayRow,
)
from cmd_daemon.kernel.states import CampaignState, GroupState, JobKind, JobState


class Reader(Protocol):
    """Reads of committed state. Lists come in the order things were made, from `after_id` on."""

    async def get_campaign(self, name: str) -> CampaignRow | None: ...

    async def list_campaigns(
        self,
        states: Collection[CampaignState] = (),
        owner: str | None = None,
        limit: int = 100,
        after_id: int = 0,
    ) -> Sequence[CampaignRow]: ...

    async def campaign_file(
        self, campaign_id: int, version: int | None = None
    ) -> CampaignFile | None: ...

    async def get_step(self, campaign: str, step: str) -> StepRow | None: ...

    async def list_steps(self, campaign: str) -> Sequence[StepRow]: ...

    async def group_names(self, step_id: int) -> set[str]: ...

    async def get_group(self, campaign: str, step: str, group: str) -> GroupRow | None: ...

    async def list_groups(
        self,
        campaign: str,
        step: str | None = None,
        states: Collection[GroupState] = (),
        facility: str | None = None,
        prefix: str = "",
        limit: int = 100,
        after_id: int = 0,
    ) -> Sequence[GroupRow]: ...

    async def get_job(self, campaign: str, step: str, group: str, job: str) -> JobRow | None: ...

    async def list_jobs(
        self,
        campaign: str,
        step: str | None = None,
        group: str | None = None,
        states: Collection[JobState] = (),
        facility: str | None = None,
        kind: JobKind | None = None,
        limit: int = 100,
        after_id: int = 0,
    ) -> Sequence[JobRow]: ...

    async def attempts(self, job_id: int) -> Sequence[AttemptRow]: ...

    async def begun_groups(
        self, campaign_id: int, region: str, facility: str, limit: int = 100
    ) -> Sequence[tuple[str, str]]: ...

    async def placements(self, group_id: int) -> Sequence[PlacementRow]: ...

    async def nexus_of_step(self, step_id: int) -> Sequence[NexusRow]: ...

    async def nexus_gaps(self, step_id: int, most: int) -> Sequence[NexusRow]: ...

    async def nexus_of_group(self, group_id: int) -> Sequence[NexusRow]: ...

    async def ways(
        self, campaign_id: int | None = None, step_id: int | None = None
    ) -> Sequence[WayRow]: ...

    async def count_groups(
        self, campaign_id: int, step_id: int | None = None, slices: int = 0
    ) -> Sequence[GroupCount]: ...

    async def activity(
        self, campaign_id: int, step_id: int | None, start: int, width: int, spans: int
    ) -> Sequence[SpanRow]: ...

    async def failures(
        self, campaign_id: int, step_id: int | None = None
    ) -> Sequence[FailureRow]: ...

    async def tried(
        self, campaign_id: int, step_id: int | None, most: int
    ) -> tuple[Sequence[TriedRow], int]: ...

    async def costs(self, campaign_id: int, step_id: int | None = None) -> Sequence[CostRow]: ...

    async def losses(
        self, campaign_id: int, step_id: int | None, now: int, most: int
    ) -> Sequence[GroupStory]: ...

    async def slowest(
        self, campaign_id: int, step_id: int | None, now: int, most: int
    ) -> Sequence[GroupStory]: ...

    async def events(
        self,
        after_seq: int = 0,
        limit: int = 1000,
        campaign_id: int | None = None,
        step_id: int | None = None,
        group_id: int | None = None,
        job_id: int | None = None,
        kinds: Collection[str] = (),
        backwards: bool = False,
    ) -> Sequence[Record]: ...

    async def facility_load(self, facility: str) -> Sequence[FacilityLoad]: ...

    async def schedules(self, removed: bool = False) -> Sequence[Schedule]: ...

    async def schedule_runs(self, name: str, limit: int = 100) -> Sequence[ScheduleRun]: ...

    async def audits(
        self,
        before_id: int = 0,
        limit: int = 100,
        campaign: str = "",
        name: str = "",
        who: str = "",
        since: int = 0,
        refused: bool = False,
    ) -> Sequence[tuple[int, AuditRow]]: ...

    async def find_request(self, request_id: str) -> RequestRow | None: ...
