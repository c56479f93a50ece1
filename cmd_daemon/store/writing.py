"""A batch as a list of set-based changes, one per table and verb, in an order the foreign keys allow.

Nothing here knows a dialect: a dialect turns each change into one statement of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.kernel.entities import Campaign, Entity, Group, Job, Step
from cmd_daemon.store import codec
from cmd_daemon.store.codec import Row
from cmd_daemon.store.decided import DECIDED, packed


class Verb(StrEnum):
    """What a change does with its rows."""

    INSERT = "insert"
    UPDATE = "update"
    UPSERT = "upsert"
    DELETE = "delete"


@dataclass(slots=True)
class Change:
    """Rows of one table and what to do with them.

    INSERT: rows as `columns`. UPDATE: rows as `columns`, then id, then the expected version; only a
    row in that version may change. UPSERT: rows as `columns`, `key` the first. DELETE: rows of one
    `key`; one that is gone already is no fault.
    """

    verb: Verb
    table: str
    columns: tuple[str, ...]
    rows: list[Row]
    key: str = ""


class Lost(Exception):
    """A compare-and-set lost some rows of the change."""

    def __init__(self, change: Change) -> None:
        super().__init__(change.table)
        self.change = change


FIXED = {
    "campaigns": {"id", "name", "created_at"},
    "steps": {"id", "campaign_id", "name"},
    "groups": {"id", "campaign_id", "step_id", "name", "share", "created_at"},
    "jobs": {"id", "campaign_id", "step_id", "group_id", "name", "kind", "position"},
}
"""What never changes after the row was made, and is therefore not written again."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How one kind of entity becomes rows."""

    table: str
    columns: tuple[str, ...]
    to_row: Callable[[Any], Row]
    changing: tuple[str, ...]
    to_change: Callable[[Any], Row]


def _form(table: str, columns: tuple[str, ...], to_row: Callable[[Any], Row]) -> _Form:
    changing = tuple(c for c in columns if c not in FIXED[table])
    return _Form(table, columns, to_row, changing, _changes_of(columns, changing, to_row))


def _changes_of(
    columns: tuple[str, ...], changing: tuple[str, ...], to_row: Callable[[Any], Row]
) -> Callable[[Any], Row]:
    """From an entity to its changing columns and its id."""
    places = [columns.index(c) for c in (*changing, "id")]

    def pick(entity: Any) -> Row:
        row = to_row(entity)
        return tuple([row[p] for p in places])

    return pick


_JOB_CHANGING = tuple(c for c in codec.JOB if c not in FIXED["jobs"])
_FORMS: dict[type, _Form] = {
    Campaign: _form("campaigns", codec.CAMPAIGN, codec.campaign_to_row),
    Step: _form("steps", codec.STEP, codec.step_to_row),
    Group: _form("groups", codec.GROUP, codec.group_to_row),
    # Jobs change most and are stored as they are: straight from the attributes.
    Job: _Form(
        "jobs", codec.JOB, codec.job_to_row, _JOB_CHANGING, codec.getter((*_JOB_CHANGING, "id"))
    ),
}


def plan(batch: Batch) -> list[Change]:
    """The changes of a batch, in the order they must be made; empty ones are left out.

    Raises TypeError or ValueError for what cannot be a row (a step's parameters that are not JSON).
    """
    made: dict[type, list[Row]] = {kind: [] for kind in _FORMS}
    changed: dict[type, list[Row]] = {kind: [] for kind in _FORMS}
    to_row = {kind: form.to_row for kind, form in _FORMS.items()}
    to_change = {kind: form.to_change for kind, form in _FORMS.items()}
    for entity in batch.created.values():
        kind = type(entity)
        made[kind].append(to_row[kind](entity))
    for update in batch.updates.values():
        changed_entity: Entity = update.entity
        kind = type(changed_entity)
        changed[kind].append((*to_change[kind](changed_entity), update.expected))

    last_seq = batch.records[-1].seq if batch.records else 0
    decided = [packed(batch.decided, last_seq)] if batch.decided else []
    changes: list[Change] = []
    for kind, form in _FORMS.items():
        # Changes before new rows: a batch may free a name or a slot and take it again.
        changes.append(Change(Verb.UPDATE, form.table, form.changing, changed[kind]))
        changes.append(Change(Verb.INSERT, form.table, form.columns, made[kind]))
    insert = Verb.INSERT
    changes += [
        Change(insert, "campaign_files", codec.FILE, [*map(codec.file_to_row, batch.files)]),
        Change(insert, "attempts", codec.ATTEMPT, [*map(codec.attempt_to_row, batch.attempts)]),
        Change(
            insert, "placements", codec.PLACEMENT, [*map(codec.placement_to_row, batch.placements)]
        ),
        # An effect may be done and intended anew in one batch: the old one goes first.
        Change(Verb.DELETE, "effects", (), [(key,) for key in batch.effects_done], key="key"),
        Change(
            insert, "effects", codec.EFFECT, [*map(codec.effect_to_row, batch.effects.values())]
        ),
        Change(
            Verb.UPSERT,
            "facilities",
            codec.FACILITY,
            [*map(codec.facility_to_row, batch.facilities.values())],
            key="name",
        ),
        Change(
            Verb.UPSERT,
            "schedules",
            codec.SCHEDULE,
            [*map(codec.schedule_to_row, batch.schedules.values())],
            key="name",
        ),
        Change(
            insert,
            "schedule_runs",
            codec.SCHEDULE_RUN,
            [*map(codec.schedule_run_to_row, batch.schedule_runs)],
        ),
        Change(insert, "requests", codec.REQUEST, [*map(codec.request_to_row, batch.requests)]),
        Change(insert, "audit", codec.AUDIT, [*map(codec.audit_to_row, batch.audits)]),
        Change(insert, "events", codec.RECORD, [*map(codec.record_to_row, batch.records)]),
        Change(insert, "decided", DECIDED, decided),
    ]
    return [change for change in changes if change.rows]
