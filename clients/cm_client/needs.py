"""What of a campaign waits for a person, and the command that answers it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.group_pb2 import Group
from cmd_api.v1.job_pb2 import Job
from cmd_api.v1.step_pb2 import Step

from .blocking import Client
from .names import parse_name, short_name
from .words import FINAL, state_word

_RANK = ("RUNNING", "PAUSING", "CANCELLING", "PAUSED", "DRAFT", "FAILED", "ACCEPTED", "CANCELLED")
_GROUP_COMMANDS = {
    "REVIEW": ('cm accept {0} --reason "…"', "cm retry {0} --missing-only"),
    "HELD": ("cm retry {0}", "cm why {0}"),
}
_STEP_COMMANDS = {"REVIEW": ('cm sign {0} --reason "…"',), "HELD": ("cm release {0}",)}


@dataclass(frozen=True, slots=True)
class Need:
    """One entity that waits for a person. `name` in short form; any of the commands answers it."""

    name: str
    state: str
    reason: str
    commands: tuple[str, ...]

    @property
    def command(self) -> str:
        """The commands on one line."""
        return "   or   ".join(self.commands)


def ranked(campaigns: Iterable[Campaign]) -> list[Campaign]:
    """Campaigns in the order a person looks at them: what needs a person, then by state, then the
    newest first."""

    def rank(campaign: Campaign) -> tuple[bool, int, int]:
        state = state_word(campaign)
        waits = bool(campaign.needs_person) and state not in FINAL
        place = _RANK.index(state) if state in _RANK else len(_RANK)
        return (not waits, place, -campaign.create_time.ToMicroseconds())

    return sorted(campaigns, key=rank)


def needs_of(
    client: Client, campaign: Campaign, steps: Iterable[Step], limit: int = 10
) -> list[Need]:
    """The first `limit` entities that wait for a person; steps before groups before jobs.

    Asks the daemon only if the campaign's count says that there are any. Raises CmError.
    """
    if not campaign.needs_person or state_word(campaign) in FINAL:
        return []
    needs = [_step_need(step) for step in steps if state_word(step) in _STEP_COMMANDS]
    waiting = [Group.STATE_REVIEW, Group.STATE_HELD]
    groups = client.groups(campaign.name, states=waiting, page_size=limit)
    needs += [_group_need(group) for group in islice(groups, limit)]
    if len(needs) < min(limit, campaign.needs_person):
        named = {need.name for need in needs}
        jobs = client.jobs(
            campaign.name, states=[Job.STATE_UNCERTAIN, Job.STATE_HELD], page_size=limit
        )
        for job in islice(jobs, limit):
            group = parse_name(job.name).parent.short
            if group not in named:  # a group speaks for its job
                named.add(group)
                commands = (f"cm release {group}",)
                needs.append(Need(short_name(job.name), state_word(job), job.reason, commands))
    return needs[:limit]


def _step_need(step: Step) -> Need:
    name, state = short_name(step.name), state_word(step)
    commands = tuple(each.format(name) for each in _STEP_COMMANDS[state])
    return Need(name, state, step.reason or step.breakpoint, commands)


def _group_need(group: Group) -> Need:
    name, state = short_name(group.name), state_word(group)
    return Need(
        name, state, group.reason, tuple(each.format(name) for each in _GROUP_COMMANDS[state])
    )
