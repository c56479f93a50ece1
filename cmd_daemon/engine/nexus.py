"""The nexus log: one entry for each line of the books a movement's attempt told, logged and observed.

What was just committed is written, so a line says nothing that the history does not; after a crash
between the two the line is missing, the API's answer is not.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import structlog

from cmd_daemon.engine.answers import MOST, words
from cmd_daemon.hooks.ports import NexusEntry
from cmd_daemon.kernel.decision import Batch
from cmd_daemon.kernel.entities import Job
from cmd_daemon.kernel.records import AttemptRow
from cmd_daemon.kernel.states import JobKind, JobState

log = structlog.get_logger()

MOVING = frozenset(
    {JobKind.REGISTER, JobKind.TRANSFER, JobKind.INGEST, JobKind.BUNDLE, JobKind.PURGE}
)
"""Kinds of jobs whose books count."""

COUNTS = (
    "made", "registered", "rule_ok", "sent", "arrived", "ingested", "not_for_here", "purged", "bytes",
)  # fmt: skip

WORDS = 300
"""Characters of a name that are written."""


def entries_of(batch: Batch) -> list[NexusEntry]:
    """The entries of all books in a committed batch. Costs nothing for attempts without books."""
    told = [row for row in batch.attempts if row.extra is not None and '"books"' in row.extra]
    if not told:
        return []
    names = {each.job_id: each.name for each in batch.records if each.kind == "job"}
    entries: list[NexusEntry] = []
    for row in told:
        update = batch.updates.get(row.job_id)
        job = update.entity if update is not None else batch.created.get(row.job_id)
        if isinstance(job, Job) and job.kind in MOVING and row.job_id in names:
            entries.extend(_entries(row, job, names[row.job_id]))
    return entries


def log_nexus(entries: Sequence[NexusEntry]) -> None:
    """Write a line (event `nexus`) for each entry: campaign, step, group, job, attempt, facility,
    movement, source, destination, dataset type, counts and bytes, gaps. Counts that the books do not
    have are left out."""
    for entry in entries:
        log.info(
            "nexus",
            campaign=entry.campaign,
            step=entry.step,
            group=entry.group,
            job=entry.job,
            attempt=entry.attempt,
            facility=entry.facility,
            movement=entry.movement,
            source=entry.source,
            destination=entry.destination,
            dataset_type=entry.dataset_type,
            **entry.counts,
            gaps=entry.gaps,
        )


def _entries(row: AttemptRow, job: Job, name: str) -> Iterator[NexusEntry]:
    try:
        extra = json.loads(row.extra or "{}")
    except ValueError:
        return
    books = extra.get("books") if isinstance(extra, dict) else None
    campaign, step, group = name.split("/")[1:6:2]
    for entry in books if isinstance(books, list) else ():
        if isinstance(entry, dict):
            yield NexusEntry(
                at=row.finished_at,
                campaign=campaign,
                step=step,
                group=group,
                job=job.name,
                attempt=row.number,
                facility=row.facility,
                kind=job.kind,
                succeeded=row.state == JobState.SUCCEEDED,
                movement=job.name.partition("-")[0],
                source=_text(entry, "source"),
                destination=_text(entry, "destination"),
                dataset_type=_text(entry, "type"),
                counts={count: _number(entry, count) for count in COUNTS if count in entry},
                gaps=_number(entry, "missing"),
            )


def _text(entry: Mapping[str, Any], name: str) -> str:
    return words(entry.get(name) or "")[:WORDS]


def _number(entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name)
    return max(0, min(MOST, value)) if isinstance(value, int) else 0
