"""The lines that sinks are sent: one for each committed event and each entry of the nexus log."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cmd_daemon.hooks import CommittedEvent, NexusEntry

TRANSITIONS = "transitions"
NEXUS = "nexus"
SINGULAR = {
    "campaigns": "campaign",
    "steps": "step",
    "groups": "group",
    "jobs": "job",
    "facilities": "facility",
    "schedules": "schedule",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `at` in microseconds UTC, `log` is `transitions` or `nexus`, `kind` that of the entity.
    `ident` is the same whenever the same line is sent again."""

    at: int
    log: str
    ident: str
    kind: str
    campaign: str
    facility: str
    body: Mapping[str, Any]


def of_event(event: CommittedEvent) -> Line:
    """The line of a committed event: its fields, and the names above the entity."""
    words = event.entity.split("/")
    pairs = zip(words[::2], words[1::2], strict=False)
    names = {SINGULAR.get(plural, plural): name for plural, name in pairs}
    body = {**names, **asdict(event)}
    facility = body["facility"] = event.facility or names.get("facility", "")
    return Line(
        at=event.at,
        log=TRANSITIONS,
        ident=f"{event.seq}-{event.at}",
        kind=event.kind,
        campaign=names.get("campaign", ""),
        facility=facility,
        body=body,
    )


def of_nexus(entry: NexusEntry) -> Line:
    """The line of an entry of the nexus log."""
    body = asdict(entry)
    body |= body.pop("counts")
    known = (entry.campaign, entry.step, entry.group, entry.job, str(entry.attempt))
    told = (entry.source, entry.destination, entry.dataset_type, str(entry.at))
    return Line(
        at=entry.at,
        log=NEXUS,
        ident=hashlib.sha256("\0".join(known + told).encode()).hexdigest(),
        kind=entry.kind,
        campaign=entry.campaign,
        facility=entry.facility,
        body=body,
    )
