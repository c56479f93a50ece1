"""The campaign file: read, checked, compiled to step policies, planned, compared.

Nothing here does I/O: texts come in, plans and problems go out. The reference of the file itself
is docs/campaign-file.md.
"""

from cmd_daemon.spec.changes import Change, changes
from cmd_daemon.spec.compiling import CampaignPlan, read_campaign
from cmd_daemon.spec.crontab import Crontab
from cmd_daemon.spec.known import Known
from cmd_daemon.spec.naming import (
    KeyParts,
    group_chain,
    key,
    name_problem,
    output_run,
    parse_key,
    step_chain,
)
from cmd_daemon.spec.orders import make_order
from cmd_daemon.spec.planning import (
    PlannedCampaign,
    PlannedGroup,
    PlannedJob,
    PlannedPlacement,
    PlannedStep,
    WouldRun,
    jobs_of,
    plan_campaign,
    share_problems,
    split_request,
)
from cmd_daemon.spec.problems import CampaignFileError, Problem
from cmd_daemon.spec.rules import proposed_rule, read_rules, rule_text
from cmd_daemon.spec.schedules import SchedulePlan, parse_schedule, read_schedule
from cmd_daemon.spec.schema import json_schema
from cmd_daemon.spec.units import duration_text, memory_text, parse_duration, parse_memory

__all__ = [
    "CampaignFileError",
    "CampaignPlan",
    "Change",
    "Crontab",
    "KeyParts",
    "Known",
    "PlannedCampaign",
    "PlannedGroup",
    "PlannedJob",
    "PlannedPlacement",
    "PlannedStep",
    "Problem",
    "SchedulePlan",
    "WouldRun",
    "changes",
    "duration_text",
    "group_chain",
    "jobs_of",
    "json_schema",
    "key",
    "make_order",
    "memory_text",
    "name_problem",
    "output_run",
    "parse_duration",
    "parse_key",
    "parse_memory",
    "parse_schedule",
    "plan_campaign",
    "proposed_rule",
    "read_campaign",
    "read_rules",
    "read_schedule",
    "rule_text",
    "share_problems",
    "split_request",
    "step_chain",
]
