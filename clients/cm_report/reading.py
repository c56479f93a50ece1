"""All that a report tells, asked from the daemon in a few calls, whatever the size of the campaign."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.statistics_pb2 import Activity, Costs, FailureCauses, GroupCount, Way
from cmd_api.v1.step_pb2 import Step

from cm_client import Client

SPANS = 120
GROUPS = 20
CAUSES = 20


@dataclass(frozen=True, slots=True)
class Report:
    """One campaign as it was at `at` (seconds since the epoch)."""

    campaign: Campaign
    steps: list[Step]
    counts: list[GroupCount]
    activity: Activity
    costs: Costs
    causes: FailureCauses
    ways: list[Way]
    at: float


def read(client: Client, name: str) -> Report:
    """Ask for everything about a campaign (resource name). Raises CmError."""
    return Report(
        campaign=client.get_campaign(name),
        steps=list(client.list_steps(name).steps),
        counts=list(client.get_group_counts(name).counts),
        activity=client.get_activity(name, spans=SPANS),
        costs=client.get_costs(name, max_groups=GROUPS),
        causes=client.get_failure_causes(name, max_causes=CAUSES),
        ways=list(client.get_ways(name).ways),
        at=time.time(),
    )
