"""What `decide` answers, and how several answers become one commit."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cmd_daemon.kernel.entities import Campaign, Entity, Group, Job, Step
from cmd_daemon.kernel.records import (
    AttemptRow,
    AuditRow,
    CampaignFile,
    Effect,
    FacilityState,
    PlacementRow,
    Record,
    RequestRow,
    Schedule,
    ScheduleRun,
)

if TYPE_CHECKING:
    from cmd_daemon.kernel.decided import Around, Decided


@dataclass(slots=True)
class Decision:
    """The consequences of one event, complete: entities in their new form, what to write beside them,
    and the outside calls now intended. Nothing in it has happened yet."""

    campaigns: dict[int, Campaign] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)
    groups: dict[int, Group] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    created: set[int] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    effects_done: list[str] = field(default_factory=list)
    attempts: list[AttemptRow] = field(default_factory=list)
    placements: list[PlacementRow] = field(default_factory=list)
    files: list[CampaignFile] = field(default_factory=list)
    facilities: dict[str, FacilityState] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    schedule_runs: list[ScheduleRun] = field(default_factory=list)
    recalls: list[int] = field(default_factory=list)
    """Jobs whose committed submit call is to be made again, after a look-up (or, if they are
    `cancelling` by then, only looked up)."""
    again: list[Effect] = field(default_factory=list)
    """Commands that are in the outbox already and are to be asked for again."""
    next_id: int = 0

    def __bool__(self) -> bool:
        return bool(
            self.campaigns
            or self.steps
            or self.groups
            or self.jobs
            or self.records
            or self.facilities
            or self.schedules
            or self.effects_done
        )


@dataclass(slots=True)
class Update:
    """An entity to be written over the row that has `expected` as its version."""

    entity: Entity
    expected: int


@dataclass(slots=True)
class Batch:
    """Everything of one commit. `created` holds entities that have no row yet; `updates` (by entity
    id; ids are unique over all kinds) those that have one. Rows of `effects_done` are deleted before
    those of `effects` are written. The store writes all of it in one transaction or nothing."""

    created: dict[int, Entity] = field(default_factory=dict)
    updates: dict[int, Update] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    effects: dict[str, Effect] = field(default_factory=dict)
    effects_done: set[str] = field(default_factory=set)
    attempts: list[AttemptRow] = field(default_factory=list)
    placements: list[PlacementRow] = field(default_factory=list)
    files: list[CampaignFile] = field(default_factory=list)
    facilities: dict[str, FacilityState] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    schedule_runs: list[ScheduleRun] = field(default_factory=list)
    requests: list[RequestRow] = field(default_factory=list)
    audits: list[AuditRow] = field(default_factory=list)
    decided: "list[Around | Decided]" = field(default_factory=list)
    """The events that all this follows from, in order; never without what follows from them."""

    def __bool__(self) -> bool:
        return bool(
            self.created
            or self.updates
            or self.records
            or self.effects
            or self.effects_done
            or self.facilities
            or self.schedules
            or self.requests
            or self.audits
        )

    def add(self, decision: Decision, expected: dict[int, int]) -> None:
        """Merge a decision. `expected` gives, for entities that are in no earlier decision of this
        batch, the version their committed row has."""
        created = self.created
        updates = self.updates
        for entities in (decision.campaigns, decision.steps, decision.groups, decision.jobs):
            for ident, entity in entities.items():
                if ident in created or ident in decision.created:
                    created[ident] = entity
                elif (update := updates.get(ident)) is not None:
                    update.entity = entity
                else:
                    updates[ident] = Update(entity, expected[ident])
        self.records += decision.records
        # A key may be in both: the row that is there goes before the new one is written.
        for key in decision.effects_done:
            if self.effects.pop(key, None) is None:
                self.effects_done.add(key)
        for effect in decision.effects:
            self.effects[effect.key] = effect
        self.attempts += decision.attempts
        self.placements += decision.placements
        self.files += decision.files
        self.facilities.update(decision.facilities)
        self.schedules.update(decision.schedules)
        self.schedule_runs += decision.schedule_runs
