"""Every method of the API, as both clients have it."""

from .audit_calls import AuditCalls
from .campaign_calls import CampaignCalls
from .event_calls import EventCalls
from .facility_calls import DaemonCalls, FacilityCalls
from .group_calls import GroupCalls
from .job_calls import JobCalls
from .schedule_calls import ScheduleCalls
from .statistics_calls import StatisticsCalls
from .step_calls import StepCalls


class Methods(
    CampaignCalls,
    StepCalls,
    GroupCalls,
    JobCalls,
    EventCalls,
    FacilityCalls,
    ScheduleCalls,
    StatisticsCalls,
    DaemonCalls,
    AuditCalls,
):
    """The methods of all services of `cmd_api.v1`."""
