"""The nexus log as messages."""

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from cmd_api.v1 import step_pb2 as pb
from cmd_daemon.api.shapes import stamp
from cmd_daemon.kernel.records import NexusRow

LISTED_GROUPS = 500
"""Entries of single groups with gaps in the answer for a step, at most."""

LISTED_GAPS = 100
"""Gaps listed of one entry, at most."""

LISTED_IN_ALL = 2000
"""Gaps listed in one answer, at most: a message has 4 MiB."""

WORDS = 500
"""Characters of a gap's reason and data id that are shown."""


def nexus_messages(
    step: str, rows: Sequence[NexusRow], facilities: Collection[str]
) -> Iterator[pb.NexusEntry]:
    """The entries of the rows of `step` (its resource name)."""
    left = LISTED_IN_ALL
    for row in rows:
        group = f"{step}/groups/{row.group}" if row.group else step
        gaps = list(_gaps(row.gaps))[: min(LISTED_GAPS, left)]
        left -= len(gaps)
        yield pb.NexusEntry(
            group=group,
            movement=row.movement,
            source=place_name(row.source, facilities),
            destination=place_name(row.destination, facilities),
            dataset_type=row.type,
            made=row.made,
            registered=row.registered,
            rule_ok=row.rule_ok,
            sent=row.sent,
            arrived=row.arrived,
            ingested=row.ingested,
            not_for_here=row.not_for_here,
            bytes=row.bytes,
            gaps=gaps,
            job=f"{group}/jobs/{row.job}" if row.job else "",
            job_state=row.job_state,
            tell_time=stamp(row.at),
            gap_count=row.missing,
            purged=row.purged,
            groups=row.groups,
        )


def place_name(place: str, facilities: Collection[str]) -> str:
    """The resource name of a facility; what is none by its name is an element of tape, or a place that
    is not configured any more."""
    return f"facilities/{place}" if place in facilities else place


def _gaps(told: str) -> Iterator[pb.NexusGap]:
    """The gaps of an entry; a plugin writes them, so each field may be missing or odd."""
    listed = json.loads(told)
    for gap in listed if isinstance(listed, list) else ():
        if isinstance(gap, dict):
            yield pb.NexusGap(
                uuid=str(gap.get("uuid", ""))[:WORDS],
                data_id=_data_id(gap.get("data_id", "")),
                reason=str(gap.get("reason", ""))[:WORDS],
            )


def _data_id(told: Any) -> str:
    words = (
        ", ".join(f"{name}={value}" for name, value in told.items())
        if isinstance(told, dict)
        else str(told)
    )
    return words[:WORDS]
