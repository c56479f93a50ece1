"""The roles, and which of them each method needs. A method that is not here is refused to everybody."""

from collections.abc import Iterable, Mapping
from enum import IntEnum


class Role(IntEnum):
    """What a caller may do; each may do what those before it may."""

    NONE = 0
    VIEWER = 1
    PILOT = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """The role as the configuration spells it; empty for none."""
        return "" if self is Role.NONE else self.name.lower()


NEEDS: Mapping[str, Mapping[Role, tuple[str, ...]]] = {
    "cmd_api.v1.CampaignService": {
        Role.VIEWER: (
            *("PlanCampaign", "GetCampaign", "ListCampaigns"),
            *("GetCampaignFile", "GetCampaignSchema"),
        ),
        Role.PILOT: (
            *("ApplyCampaign", "StartCampaign", "PauseCampaign", "ResumeCampaign"),
            *("CancelCampaign", "ArchiveCampaign"),
        ),
    },
    "cmd_api.v1.StepService": {
        Role.VIEWER: ("GetStep", "ListSteps", "GetNexus"),
        Role.PILOT: ("SignStep", "ReleaseStep"),
    },
    "cmd_api.v1.GroupService": {
        Role.VIEWER: ("GetGroup", "ListGroups", "ListPlacements"),
        Role.PILOT: (
            *("RetryGroup", "AcceptGroup", "RejectGroup", "HoldGroup", "ReleaseGroup"),
            "MoveGroup",
        ),
    },
    "cmd_api.v1.JobService": {
        Role.VIEWER: ("GetJob", "ListJobs", "ListAttempts", "ListParts", "ReadLog"),
        Role.PILOT: ("ControlJob",),
    },
    "cmd_api.v1.EventService": {Role.VIEWER: ("ListEvents", "WatchEvents")},
    "cmd_api.v1.FacilityService": {
        Role.VIEWER: ("GetFacility", "ListFacilities"),
        Role.ADMIN: (
            *("DrainFacility", "UndrainFacility", "UpdateFacility"),
            *("KillFacility", "ReviveFacility"),
        ),
    },
    "cmd_api.v1.ScheduleService": {
        Role.VIEWER: ("GetSchedule", "ListSchedules"),
        Role.PILOT: (
            *("ApplySchedule", "PauseSchedule", "ResumeSchedule", "RunSchedule"),
            "RemoveSchedule",
        ),
    },
    "cmd_api.v1.StatisticsService": {
        Role.VIEWER: (
            *("GetGroupCounts", "GetActivity", "GetFailureCauses", "TestRules"),
            *("GetCosts", "GetWays"),
        )
    },
    "cmd_api.v1.DaemonService": {
        # Whoever has proved who they are may ask what they may do.
        Role.NONE: ("GetCaller",),
        Role.VIEWER: ("GetDaemon", "ListPlugins", "ExplainEntity"),
    },
    "cmd_api.v1.AuditService": {Role.ADMIN: ("ListAudit",)},
    "grpc.health.v1.Health": {Role.VIEWER: ("List", "Watch")},
    "grpc.reflection.v1alpha.ServerReflection": {Role.VIEWER: ("ServerReflectionInfo",)},
}

OPEN = frozenset({"/grpc.health.v1.Health/Check"})
"""What anybody may ask, without a proof: what balances load has none, and is told a single word."""

NEEDED: Mapping[str, Role] = {
    f"/{service}/{method}": role
    for service, roles in NEEDS.items()
    for role, methods in roles.items()
    for method in methods
}
"""The role that each method needs, by its path."""

OURS = "/cmd_api.v1."

CHANGING: frozenset[str] = frozenset(
    path for path, role in NEEDED.items() if path.startswith(OURS) and role >= Role.PILOT
) - {"/cmd_api.v1.AuditService/ListAudit"}
"""The methods that change something: each call of them is audited."""


def role_of(groups: Iterable[str], roles: Mapping[Role, Iterable[str]]) -> Role:
    """The highest role that one of the groups gives."""
    held = set(groups)
    return max((role for role, named in roles.items() if held & set(named)), default=Role.NONE)
