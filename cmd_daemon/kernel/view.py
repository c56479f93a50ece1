"""The open part of all campaigns, in memory: what `decide` reads and the engine keeps up to date."""

from collections.abc import Iterable

from cmd_daemon.kernel.commands import Command, read
from cmd_daemon.kernel.decision import Decision
from cmd_daemon.kernel.entities import Campaign, Group, Job, Step
from cmd_daemon.kernel.records import FacilityState, Schedule
from cmd_daemon.kernel.states import (
    FINAL_GROUP,
    CampaignState,
    StepState,
)


def splits(step: Step) -> bool:
    """True if the step may get more groups: the names of those it has must be known."""
    return step.state in (StepState.PREPARING, StepState.HELD)


class View:
    """All open entities by id, and the indexes that make each look-up O(1).

    Campaigns and steps stay until the campaign is archived, groups with their jobs until the group
    is final. `decide` only reads; `apply` puts a decision in place. What drivers are and take comes from the
    configuration: `commandable` maps (facility, driver) to the commands it takes, `patience` is how
    long a command is asked for (microseconds).
    """

    def __init__(self) -> None:
        self.campaigns: dict[int, Campaign] = {}
        self.steps: dict[int, Step] = {}
        self.groups: dict[int, Group] = {}
        self.jobs: dict[int, Job] = {}
        self.steps_of: dict[int, dict[str, int]] = {}
        self.group_names: dict[int, set[str]] = {}
        self.campaign_ids: dict[str, int] = {}
        self.facilities: dict[str, FacilityState] = {}
        self.schedules: dict[str, Schedule] = {}
        self.commandable: dict[tuple[str, str], frozenset[Command]] = {}
        self.patience = 600_000_000
        self.next_id = 1

    def dependents(self, step: Step) -> list[int]:
        """Ids of the steps that name `step` in their `after`."""
        return [
            other
            for other in self.steps_of[step.campaign_id].values()
            if step.name in self.steps[other].policy.after
        ]

    def campaign_name(self, campaign: Campaign) -> str:
        """Resource name of a campaign."""
        return f"campaigns/{campaign.name}"

    def step_name(self, step: Step) -> str:
        """Resource name of a step."""
        return f"campaigns/{self.campaigns[step.campaign_id].name}/steps/{step.name}"

    def group_name(self, group: Group) -> str:
        """Resource name of a group."""
        return (
            f"campaigns/{self.campaigns[group.campaign_id].name}"
            f"/steps/{self.steps[group.step_id].name}/groups/{group.name}"
        )

    def job_name(self, job: Job) -> str:
        """Resource name of a job."""
        return f"{self.group_name(self.groups[job.group_id])}/jobs/{job.name}"

    def key(self, job: Job, attempt: int | None = None) -> str:
        """The key of an attempt (the current one unless given), as planted in outside systems."""
        number = job.attempt if attempt is None else attempt
        return (
            f"{self.campaigns[job.campaign_id].name}/{self.steps[job.step_id].name}"
            f"/{self.groups[job.group_id].name}/{job.name}#{number}"
        )

    def takes(self, job: Job) -> frozenset[Command]:
        """The commands that the driver of a job takes while an attempt is outside."""
        return self.commandable.get((job.facility, job.driver), frozenset())

    def killed(self, facility: str | None) -> bool:
        """True if the kill switch has stopped a facility."""
        state = self.facilities.get(facility) if facility else None
        return state is not None and state.killed

    def groups_at(self, facility: str) -> list[int]:
        """Ids of a facility's groups that are not final. O(open groups): for sweeps only."""
        return [g.id for g in self.groups.values() if g.facility == facility]

    def open_groups(self, campaign_id: int) -> list[int]:
        """Ids of a campaign's groups that are not final. O(open groups): for sweeps only."""
        return [g.id for g in self.groups.values() if g.campaign_id == campaign_id]

    def apply(self, decision: Decision) -> None:
        """Put a decision in place; final groups and their jobs are let go."""
        self.next_id = decision.next_id
        self.facilities.update(decision.facilities)
        self.schedules.update(decision.schedules)
        for campaign in decision.campaigns.values():
            self.campaigns[campaign.id] = campaign
            self.campaign_ids[campaign.name] = campaign.id
            self.steps_of.setdefault(campaign.id, {})
        for step in decision.steps.values():
            self.steps[step.id] = step
            self.steps_of[step.campaign_id][step.name] = step.id
            if splits(step):
                self.group_names.setdefault(step.id, set())
            else:
                self.group_names.pop(step.id, None)
        jobs = self.jobs
        jobs.update(decision.jobs)
        groups = self.groups
        created = decision.created
        names = self.group_names
        for group in decision.groups.values():
            if group.state in FINAL_GROUP:
                groups.pop(group.id, None)
                for job in group.jobs:
                    jobs.pop(job, None)
            else:
                groups[group.id] = group
            if group.id in created and group.step_id in names:
                names[group.step_id].add(group.name)
        for campaign in decision.campaigns.values():
            if campaign.state is CampaignState.ARCHIVED:
                self.forget(campaign.id)

    def forget(self, campaign_id: int) -> None:
        """Let go of an archived campaign: its name stays known through the store."""
        campaign = self.campaigns.pop(campaign_id)
        self.campaign_ids.pop(campaign.name, None)
        for step in self.steps_of.pop(campaign_id).values():
            self.steps.pop(step, None)
            self.group_names.pop(step, None)

    def load(
        self,
        campaigns: Iterable[Campaign],
        steps: Iterable[Step],
        groups: Iterable[Group],
        jobs: Iterable[Job],
    ) -> None:
        """Fill an empty view from the store at start: campaigns that are not archived with all their
        steps, groups that are not final with all their jobs.

        `next_id` is then above the numbers of all commands that wait: none is given twice. The caller raises
        it above every id ever given, and sets `facilities`, and in `group_names` the names of all groups,
        final ones too, of each step that `splits`.
        """
        for campaign in campaigns:
            self.campaigns[campaign.id] = campaign
            self.campaign_ids[campaign.name] = campaign.id
            self.steps_of[campaign.id] = {}
        for step in steps:
            self.steps[step.id] = step
            self.steps_of[step.campaign_id][step.name] = step.id
        for group in groups:
            self.groups[group.id] = group
        for job in jobs:
            self.jobs[job.id] = job
            for wanted in read(job.commands):
                self.next_id = max(self.next_id, wanted.number + 1)
