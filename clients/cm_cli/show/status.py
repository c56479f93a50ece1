"""A campaign at one glance: its steps with their bars, and what waits for a person."""

from __future__ import annotations

from collections.abc import Sequence

from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.step_pb2 import Step
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cm_client import short_name
from cm_client.needs import Need

from .bars import StateBar, counts_text
from .console import facts, row, state_text, table, text
from .entities import in_flight_text
from .text import between, moment, quanta_text, state_word


def campaign_table(campaigns: Sequence[Campaign]) -> RenderableType:
    """All campaigns, a line each."""
    if not campaigns:
        return text("No campaigns. Make one with: cm apply FILE")
    grid = table("Campaign", "State", "Groups", "Quanta", "Person", "Owner", right=("Person",))
    for campaign in campaigns:
        row(
            grid,
            short_name(campaign.name),
            state_text(state_word(campaign)),
            StateBar(campaign.group_counts, most=24),
            quanta_text(campaign.quanta),
            campaign.needs_person or "",
            campaign.owner,
        )
    return grid


def campaign_head(campaign: Campaign) -> RenderableType:
    """Name, state, reason, and how long it has taken."""
    line = Text.assemble(
        text(short_name(campaign.name), "bold"), "  ", state_text(state_word(campaign))
    )
    for extra in (
        f"owner {campaign.owner}" if campaign.owner else "",
        campaign.ticket,
        f"file version {campaign.file_version}",
        between(campaign.start_time, campaign.finish_time),
    ):
        if extra:
            line.append_text(text(f"  {extra}"))
    return Stack(line, text(campaign.reason, "italic")) if campaign.reason else line


def step_table(steps: Sequence[Step]) -> Table:
    """A line for each step, in the order of the file."""
    grid = table("Step", "State", "Progress", "Groups", "Quanta")
    for step in steps:
        name = short_name(step.name).rpartition("/")[2] + (" (optional)" if step.optional else "")
        row(
            grid,
            name,
            state_text(state_word(step)),
            StateBar(step.group_counts),
            counts_text(step.group_counts),
            quanta_text(step.quanta),
        )
    return grid


def needs_list(needs: Sequence[Need], total: int) -> RenderableType:
    """What waits for a person, why, and the command to run."""
    lines: list[RenderableType] = [text("Waits for a person:", "bold yellow")]
    for need in needs:
        head = Text.assemble("  ", text(need.name, "bold"), " ", state_text(need.state))
        if need.reason:
            head.append_text(text(f": {need.reason}"))
        lines += [head, text(f"    {need.command}", "cyan")]
    if total > len(needs):
        lines.append(text(f"  … and {total - len(needs)} more"))
    return Stack(*lines)


def status(campaign: Campaign, steps: Sequence[Step], needs: Sequence[Need]) -> RenderableType:
    """All of `cm status CAMPAIGN`."""
    parts: list[RenderableType] = [campaign_head(campaign), "", step_table(steps)]
    numbers = facts(
        [
            ("quanta", quanta_text(campaign.quanta)),
            ("jobs", counts_text(campaign.job_counts)),
            ("in flight", in_flight_text(campaign) if campaign.in_flight else ""),
            ("started", moment(campaign.start_time)),
            ("finished", moment(campaign.finish_time)),
        ]
    )
    if numbers.row_count:
        parts += ["", numbers]
    if needs:
        parts += ["", needs_list(needs, campaign.needs_person)]
    return Stack(*parts)
