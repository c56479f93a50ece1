"""A recorded history run through the kernel once more: what comes of it must be what was recorded."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cmd_daemon.kernel.decided import SEVERAL, Around, Decided, again
from cmd_daemon.kernel.decision import Decision
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.records import Record
from cmd_daemon.store import codec
from cmd_daemon.store.codec import Row
from cmd_daemon.store.decided import item_of
from cmd_daemon.store.errors import StoreError
from cmd_daemon.store.portable.form import FORMS, History

_SEQ = codec.RECORD.index("seq")
_KEYS = {"attempts": ("job_id", "number"), "effects": ("key",), "campaign_files": ("version",)}
_CAMPAIGN = 1
"""The campaign's own id in its file."""


class Diverged(StoreError):
    """What was recorded does not follow from the events that were decided; the message names the first
    record, or the row, that differs."""


@dataclass(slots=True)
class Replayed:
    """How much was found to be the same."""

    decided: int = 0
    events: int = 0
    rows: int = 0


def replay(history: History) -> Replayed:
    """Decide every event of a campaign's history once more, and compare everything that the kernel makes
    with what is in the file, value by value: each record with its number, each row of the campaign, its
    steps, groups, jobs, attempts, placements, files, and the outbox.

    Raises Diverged.
    """
    done = Replayed()
    recorded = history.rows["events"]
    made: dict[str, dict[Any, Row]] = {table: {} for table in FORMS if table != "events"}
    if not history.decided and recorded:
        raise Diverged(
            f"the events of campaign {history.campaign!r} were decided by a version that did not keep "
            "them: its history can be read but not replayed"
        )
    steps = again(_items(history))
    while True:
        try:
            item, decision = next(steps)
        except StopIteration:
            break
        except (Refused, LookupError, AttributeError, TypeError, ValueError) as error:
            raise Diverged(
                f"after {_place(recorded, done.events)}, an event that was decided then cannot be "
                f"decided any more ({error or type(error).__name__}): what came before it is not "
                "what was there"
            ) from error
        done.decided += 1
        done.events = _same_records(recorded, done.events, item, decision)
        _put(made, decision)
    if done.events < len(recorded):
        raise Diverged(f"{_said(recorded[done.events])} follows from no event that was decided")
    for table, rows in made.items():
        done.rows += _same_rows(table, history.rows[table], list(rows.values()))
    return done


def _items(history: History) -> Iterator[Around | Decided]:
    for line in history.decided:
        yield item_of(line)


def _same_records(recorded: list[Any], at: int, item: Decided, decision: Decision) -> int:
    """Compare the records of a decision with those from place `at` on; the place behind them."""
    for number, record in enumerate(decision.records, start=1):
        if record.campaign_id != _CAMPAIGN:
            continue
        # Of an event about several campaigns, the records of the others have numbers too.
        record.seq = item.seq + number
        if at == len(recorded):
            raise Diverged(f"{_told(record)} is missing in the record: it ends before")
        found = recorded[at]
        if isinstance(item.event, SEVERAL) and found[_SEQ] > item.seq:
            record.seq = found[_SEQ]
        row = codec.record_to_row(record)
        if _text(row) != _text(found):
            if found[_SEQ] < record.seq:
                raise Diverged(f"{_said(found)} follows from no event that was decided")
            raise Diverged(
                f"{_said(found)} is not what is decided: {_difference('events', found, row)}"
            )
        at += 1
    return at


def _put(made: dict[str, dict[Any, Row]], decision: Decision) -> None:
    """Take over what a decision writes, as the store would."""
    for campaign in decision.campaigns.values():
        if campaign.id == _CAMPAIGN:
            made["campaigns"][campaign.id] = codec.campaign_to_row(campaign)
    for step in decision.steps.values():
        if step.campaign_id == _CAMPAIGN:
            made["steps"][step.id] = codec.step_to_row(step)
    for group in decision.groups.values():
        if group.campaign_id == _CAMPAIGN:
            made["groups"][group.id] = codec.group_to_row(group)
    for job in decision.jobs.values():
        if job.campaign_id == _CAMPAIGN:
            made["jobs"][job.id] = codec.job_to_row(job)
    jobs = made["jobs"]
    groups = made["groups"]
    for attempt in decision.attempts:
        if attempt.job_id in jobs:
            made["attempts"][attempt.job_id, attempt.number] = codec.attempt_to_row(attempt)
    for placement in decision.placements:
        if placement.group_id in groups:
            made["placements"][len(made["placements"])] = codec.placement_to_row(placement)
    for file in decision.files:
        if file.campaign_id == _CAMPAIGN:
            made["campaign_files"][file.version] = codec.file_to_row(file)
    for key in decision.effects_done:
        made["effects"].pop(key, None)
    for effect in decision.effects:
        if effect.job_id in jobs:
            made["effects"][effect.key] = codec.effect_to_row(effect)


def _same_rows(table: str, recorded: Sequence[Any], made: Sequence[Row]) -> int:
    """Compare rows by their key or, where they have none, in the order in which they were made."""
    columns = FORMS[table][1]
    places = [columns.index(name) for name in _KEYS.get(table, ("id",)) if name in columns]
    there, now = (
        {(tuple(row[p] for p in places) or number): row for number, row in enumerate(rows)}
        for rows in (recorded, made)
    )
    for key in there.keys() | now.keys():
        if key not in now:
            raise Diverged(f"a row of {table} follows from no event: {_row(columns, there[key])}")
        if key not in there:
            raise Diverged(f"a row of {table} is missing: {_row(columns, now[key])}")
        if _text(there[key]) != _text(now[key]):
            raise Diverged(
                f"a row of {table} is not what is decided: {_row(columns, now[key])}: "
                f"{_difference(table, there[key], now[key])}"
            )
    return len(now)


def _text(row: Sequence[Any]) -> str:
    # Flags are numbers in the database.
    return json.dumps([int(value) if isinstance(value, bool) else value for value in row])


def _difference(table: str, recorded: Sequence[Any], made: Sequence[Any]) -> str:
    pairs = zip(FORMS[table][1], recorded, made, strict=True)
    return "; ".join(
        f"{name} is {there!r:.200} in the file and {now!r:.200} now"
        for name, there, now in pairs
        if _text([there]) != _text([now])
    )


def _row(columns: Sequence[str], row: Sequence[Any]) -> str:
    shown = ("id", "name", "job_id", "group_id", "number", "version", "key", "state")
    told = dict(zip(columns, row, strict=True))
    return ", ".join(f"{name} {told[name]}" for name in shown if name in told)


def _said(row: Sequence[Any]) -> str:
    return _told(Record(*row))


def _told(record: Record) -> str:
    return (
        f"event {record.seq} ({record.name}: {record.from_state} -> {record.to_state}, by "
        f"{record.cause} of {record.actor})"
    )


def _place(recorded: Sequence[Any], at: int) -> str:
    return _said(recorded[at - 1]) if at else "the beginning"
