"""The working copy in which a decision grows: copies on first touch, counters rolled up on the way."""

from operator import attrgetter
from typing import Any

from cmd_daemon.kernel.decision import Decision
from cmd_daemon.kernel.entities import Campaign, Group, Job, Step
from cmd_daemon.kernel.events import Event
from cmd_daemon.kernel.records import Effect, Record
from cmd_daemon.kernel.states import (
    CAMPAIGN_MOVES,
    FINAL_GROUP,
    FINAL_STEP,
    GROUP_MOVES,
    IN_FLIGHT_JOB,
    JOB_MOVES,
    STEP_MOVES,
    CampaignState,
    GroupState,
    JobState,
    Standing,
    StepState,
)
from cmd_daemon.kernel.view import View


class Refused(Exception):
    """The event does not fit the entity's state. Nothing changed.

    `name` is the entity, `state` where it stands, `event` what was wanted; the message says what would
    fit. The caller adds the entity's story.
    """

    def __init__(self, name: str, state: str, event: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.state = state
        self.event = event


_campaign_fields = attrgetter(*Campaign.__slots__)
_step_fields = attrgetter(*Step.__slots__)
_group_fields = attrgetter(*Group.__slots__)
_job_fields = attrgetter(*Job.__slots__)


def _count(counts: dict[str, int], old: str | None, new: str | None) -> None:
    if old is not None:
        left = counts[old] - 1
        if left:
            counts[old] = left
        else:
            del counts[old]
    if new is not None:
        counts[new] = counts.get(new, 0) + 1


class Draft:
    """A view with the changes of one event on top. Entities come out as copies that may be changed;
    states change only by the `move_*` methods, which check the transition table, keep the
    counters, and write the record."""

    def __init__(self, view: View, event: Event, now: int) -> None:
        self.view = view
        self.event = event
        self.now = now
        self.decision = Decision()
        self.cause = type(event).__name__
        self.next_id = view.next_id

    def new_id(self) -> int:
        """An id unique over all kinds of entities, growing with time."""
        ident = self.next_id
        self.next_id += 1
        return ident

    def campaign(self, ident: int) -> Campaign:
        """The campaign's working copy."""
        found = self.decision.campaigns.get(ident)
        if found is None:
            found = Campaign(*_campaign_fields(self.view.campaigns[ident]))
            found.step_counts = dict(found.step_counts)
            found.version += 1
            self.decision.campaigns[ident] = found
        return found

    def step(self, ident: int) -> Step:
        """The step's working copy."""
        found = self.decision.steps.get(ident)
        if found is None:
            found = Step(*_step_fields(self.view.steps[ident]))
            found.group_counts = dict(found.group_counts)
            found.job_counts = dict(found.job_counts)
            found.version += 1
            self.decision.steps[ident] = found
        return found

    def group(self, ident: int) -> Group:
        """The group's working copy."""
        found = self.decision.groups.get(ident)
        if found is None:
            found = Group(*_group_fields(self.view.groups[ident]))
            found.version += 1
            self.decision.groups[ident] = found
        return found

    def job(self, ident: int) -> Job:
        """The job's working copy."""
        found = self.decision.jobs.get(ident)
        if found is None:
            found = Job(*_job_fields(self.view.jobs[ident]))
            found.version += 1
            self.decision.jobs[ident] = found
        return found

    def peek_campaign(self, ident: int) -> Campaign:
        """The campaign as it stands now, to read only."""
        return self.decision.campaigns.get(ident) or self.view.campaigns[ident]

    def peek_step(self, ident: int) -> Step:
        """The step as it stands now, to read only."""
        return self.decision.steps.get(ident) or self.view.steps[ident]

    def peek_group(self, ident: int) -> Group:
        """The group as it stands now, to read only."""
        return self.decision.groups.get(ident) or self.view.groups[ident]

    def peek_job(self, ident: int) -> Job:
        """The job as it stands now, to read only."""
        return self.decision.jobs.get(ident) or self.view.jobs[ident]

    def steps_of(self, campaign_id: int) -> dict[str, Step]:
        """All steps of a campaign by name, to read only."""
        found = {
            name: self.peek_step(ident)
            for name, ident in self.view.steps_of.get(campaign_id, {}).items()
        }
        for step in self.decision.steps.values():
            if step.campaign_id == campaign_id:
                found[step.name] = step
        return found

    def add_campaign(self, campaign: Campaign) -> Campaign:
        """A campaign that is not in the store yet."""
        self.decision.campaigns[campaign.id] = campaign
        self.decision.created.add(campaign.id)
        return campaign

    def add_step(self, step: Step) -> Step:
        """A step that is not in the store yet."""
        self.decision.steps[step.id] = step
        self.decision.created.add(step.id)
        campaign = self.campaign(step.campaign_id)
        _count(campaign.step_counts, None, step.state)
        campaign.open_steps += 1
        return step

    def add_group(self, group: Group, jobs: list[Job]) -> None:
        """A group with its jobs that are not in the store yet."""
        decision = self.decision
        decision.groups[group.id] = group
        decision.created.add(group.id)
        step = self.step(group.step_id)
        _count(step.group_counts, None, group.state)
        step.open_groups += 1
        for job in jobs:
            decision.jobs[job.id] = job
            decision.created.add(job.id)
            _count(step.job_counts, None, job.state)

    def add_effect(self, job: Job, verb: str) -> None:
        """Intend an outside call for the job's current attempt."""
        self.decision.effects.append(self.effect(job, verb))

    def effect(self, job: Job, verb: str, number: int = 0) -> Effect:
        """The intent of an outside call for the job's current attempt."""
        key = f"{self.key(job)}:{verb}"
        return Effect(key, verb, job.id, job.attempt, job.facility, job.driver, self.now, number)

    def end_effect(self, job: Job, verb: str) -> None:
        """The outside call has had its answer, or is no longer wanted."""
        self.decision.effects_done.append(f"{self.key(job)}:{verb}")

    def key(self, job: Job) -> str:
        """The key of the job's current attempt."""
        group = self.peek_group(job.group_id)
        step = self.peek_step(job.step_id)
        campaign = self.peek_campaign(job.campaign_id)
        return f"{campaign.name}/{step.name}/{group.name}/{job.name}#{job.attempt}"

    def move_campaign(self, campaign: Campaign, to: CampaignState, reason: str = "") -> None:
        """Change a campaign's state."""
        old = campaign.state
        name = f"campaigns/{campaign.name}"
        if to not in CAMPAIGN_MOVES[old]:
            raise Refused(name, old, self.cause, f"{name} is {old} and cannot become {to}.")
        campaign.state = to
        campaign.reason = reason or None
        self._record("campaign", name, campaign.id, None, None, None, old, to, reason)

    def move_step(self, step: Step, to: StepState, reason: str = "") -> None:
        """Change a step's state."""
        old = step.state
        name = self._step_name(step)
        if to not in STEP_MOVES[old]:
            raise Refused(name, old, self.cause, f"{name} is {old} and cannot become {to}.")
        step.state = to
        step.reason = reason or None
        campaign = self.campaign(step.campaign_id)
        _count(campaign.step_counts, old, to)
        if to in FINAL_STEP:
            campaign.open_steps -= 1
            step.finished_at = self.now
            step.due_at = None
        self._record("step", name, step.campaign_id, step.id, None, None, old, to, reason)

    def move_group(
        self, group: Group, to: GroupState, reason: str = "", detail: str | None = None
    ) -> None:
        """Change a group's state."""
        old = group.state
        name = self._group_name(group)
        if to not in GROUP_MOVES[old]:
            raise Refused(name, old, self.cause, f"{name} is {old} and cannot become {to}.")
        group.state = to
        group.reason = reason or None
        if group.stopped and to is not GroupState.HELD:
            group.stopped = False
        step = self.step(group.step_id)
        _count(step.group_counts, old, to)
        if to in FINAL_GROUP:
            step.open_groups -= 1
            step.quanta_lost += group.quanta_lost
            group.finished_at = self.now
            group.due_at = None
        self._record(
            "group",
            name,
            group.campaign_id,
            group.step_id,
            group.id,
            None,
            old,
            to,
            reason,
            group.facility or "",
            detail=detail,
        )

    def move_job(self, job: Job, to: JobState, reason: str = "", detail: str | None = None) -> None:
        """Change a job's state."""
        old = job.state
        if to not in JOB_MOVES[old]:
            name = self._job_name(job)
            raise Refused(name, old, self.cause, f"{name} is {old} and cannot become {to}.")
        job.state = to
        job.reason = reason or None
        step = self.step(job.step_id)
        _count(step.job_counts, old, to)
        was, is_now = old in IN_FLIGHT_JOB, to in IN_FLIGHT_JOB
        if was != is_now:
            self.campaign(job.campaign_id).in_flight += 1 if is_now else -1
        self._record(
            "job",
            self._job_name(job),
            job.campaign_id,
            job.step_id,
            job.group_id,
            job.id,
            old,
            to,
            reason,
            job.facility,
            job.attempt,
            detail,
        )

    def stand(self, job: Job, to: Standing) -> None:
        """Change whether a job's attempt is paused outside."""
        was, is_now = job.standing is Standing.PAUSED, to is Standing.PAUSED
        job.standing = to
        if was != is_now:
            self.campaign(job.campaign_id).paused += 1 if is_now else -1

    def note(self, entity: Campaign | Step | Group | Job, reason: str) -> None:
        """Write down something worth knowing that changes no state."""
        state = str(entity.state)
        match entity:
            case Campaign():
                self._record(
                    "campaign",
                    f"campaigns/{entity.name}",
                    entity.id,
                    None,
                    None,
                    None,
                    state,
                    state,
                    reason,
                )
            case Step():
                self._record(
                    "step",
                    self._step_name(entity),
                    entity.campaign_id,
                    entity.id,
                    None,
                    None,
                    state,
                    state,
                    reason,
                )
            case Group():
                self._record(
                    "group",
                    self._group_name(entity),
                    entity.campaign_id,
                    entity.step_id,
                    entity.id,
                    None,
                    state,
                    state,
                    reason,
                    entity.facility or "",
                )
            case Job():
                self._record(
                    "job",
                    self._job_name(entity),
                    entity.campaign_id,
                    entity.step_id,
                    entity.group_id,
                    entity.id,
                    state,
                    state,
                    reason,
                    entity.facility,
                    entity.attempt,
                )

    def _record(
        self,
        kind: str,
        name: str,
        campaign_id: int | None,
        step_id: int | None,
        group_id: int | None,
        job_id: int | None,
        old: str,
        to: str,
        reason: str,
        facility: str = "",
        attempt: int = 0,
        detail: str | None = None,
    ) -> None:
        event = self.event
        self.decision.records.append(
            Record(
                kind,
                name,
                campaign_id,
                step_id,
                group_id,
                job_id,
                old,
                to,
                self.cause,
                event.actor,
                self.now,
                reason or event.reason,
                facility,
                attempt,
                event.request_id,
                detail,
            )
        )

    def _step_name(self, step: Step) -> str:
        return f"campaigns/{self.peek_campaign(step.campaign_id).name}/steps/{step.name}"

    def _group_name(self, group: Group) -> str:
        step = self.peek_step(group.step_id)
        campaign = self.peek_campaign(group.campaign_id)
        return f"campaigns/{campaign.name}/steps/{step.name}/groups/{group.name}"

    def _job_name(self, job: Job) -> str:
        return f"{self._group_name(self.peek_group(job.group_id))}/jobs/{job.name}"

    def refuse(self, entity: Any, message: str) -> Refused:
        """A refusal of the event for this entity, to raise."""
        match entity:
            case Campaign():
                name = f"campaigns/{entity.name}"
            case Step():
                name = self._step_name(entity)
            case Group():
                name = self._group_name(entity)
            case _:
                name = self._job_name(entity)
        return Refused(name, str(entity.state), self.cause, message)
