"""Calls about sums over many groups, attempts and movements."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from cmd_api.v1 import statistics_pb2 as pb

from .call import LONG, Call, rpc


class StatisticsCalls:
    """The methods of StatisticsService."""

    @rpc
    def get_group_counts(self, parent: str, *, slices: int = 0) -> Call[pb.GroupCounts]:
        """Groups of a campaign or a step by step, facility and state, and by slice if cut in slices.

        Raises NotFound, InvalidArgument.
        """
        request = pb.GetGroupCountsRequest(parent=parent, slices=slices)
        return Call("StatisticsService/GetGroupCounts", request, pb.GroupCounts)

    @rpc
    def get_activity(
        self,
        parent: str,
        *,
        spans: int = 0,
        start_time: Timestamp | None = None,
        end_time: Timestamp | None = None,
    ) -> Call[pb.Activity]:
        """What began and ended when in a campaign or a step, in equal spans of time.

        Raises NotFound, InvalidArgument.
        """
        request = pb.GetActivityRequest(
            parent=parent, spans=spans, start_time=start_time, end_time=end_time
        )
        return Call("StatisticsService/GetActivity", request, pb.Activity, length=LONG)

    @rpc
    def get_failure_causes(self, parent: str, *, max_causes: int = 0) -> Call[pb.FailureCauses]:
        """Why attempts of a campaign or a step failed, the most frequent cause first.

        Raises NotFound, InvalidArgument.
        """
        request = pb.GetFailureCausesRequest(parent=parent, max_causes=max_causes)
        return Call("StatisticsService/GetFailureCauses", request, pb.FailureCauses, length=LONG)

    @rpc
    def test_rules(
        self,
        parent: str,
        rules: str = "",
        *,
        file: str = "",
        after_present: bool = False,
        max_examples: int = 0,
    ) -> Call[pb.RuleTest]:
        """What error rules (YAML as in a campaign file's `errors:`) would have done with the failures of a
        campaign or a step. Changes nothing.

        Raises NotFound, InvalidArgument, InvalidCampaignFile with the problems of the rules.
        """
        request = pb.TestRulesRequest(
            parent=parent,
            rules=rules,
            file=file,
            after_present=after_present,
            max_examples=max_examples,
        )
        return Call("StatisticsService/TestRules", request, pb.RuleTest, length=LONG)

    @rpc
    def get_costs(self, parent: str, *, max_groups: int = 0) -> Call[pb.Costs]:
        """Time and cores by step, facility and kind of job, losses, and the slowest groups.

        Raises NotFound, InvalidArgument.
        """
        request = pb.GetCostsRequest(parent=parent, max_groups=max_groups)
        return Call("StatisticsService/GetCosts", request, pb.Costs, length=LONG)

    @rpc
    def get_ways(self, parent: str = "") -> Call[pb.Ways]:
        """What movements brought from place to place, of a campaign, a step, or all. Raises NotFound."""
        request = pb.GetWaysRequest(parent=parent)
        return Call("StatisticsService/GetWays", request, pb.Ways, length=LONG)
