"""What attempts cost and groups lost, as messages."""

from cmd_api.v1 import statistics_pb2 as pb
from cmd_daemon.kernel.records import CostRow, GroupStory
from cmd_daemon.kernel.states import JobKind

SECOND = 1_000_000
REASON = 500

COMPUTES = frozenset({JobKind.PROCESS, JobKind.SCRIPT})
"""Kinds of jobs that get the cores their step asks for."""


def costs_message(campaign: str, row: CostRow, cores: int) -> pb.Cost:
    """The costs of one kind of job of a step at a facility; a job has so many cores there."""
    used = cores if row.kind in COMPUTES else 0
    return pb.Cost(
        step=f"campaigns/{campaign}/steps/{row.step}",
        facility=f"facilities/{row.facility}" if row.facility else "",
        kind=row.kind,
        attempts=row.attempts,
        succeeded=row.succeeded,
        failed=row.failed,
        cancelled=row.cancelled,
        retries=row.retries,
        seconds=row.time / SECOND,
        failed_seconds=row.failed_time / SECOND,
        longest_seconds=row.longest / SECOND,
        core_seconds=used * row.time / SECOND,
        failed_core_seconds=used * row.failed_time / SECOND,
    )


def story_message(campaign: str, row: GroupStory) -> pb.GroupStory:
    """What became of a group."""
    return pb.GroupStory(
        group=f"campaigns/{campaign}/steps/{row.step}/groups/{row.group}",
        facility=f"facilities/{row.facility}" if row.facility else "",
        state=row.state,
        reason=row.reason[:REASON],
        seconds=(row.time or 0) / SECOND,
        attempts=row.attempts,
        quanta_expected=row.expected,
        quanta_succeeded=row.succeeded,
        quanta_lost=row.lost,
    )
