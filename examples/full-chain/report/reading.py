"""What a daemon knows about a campaign, read once through its API.

The times of the report are those of the daemon, in UTC seconds.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import words

from cm_client import Client, Name, parse_name, short_name
from cmd_api.v1 import (
    campaign_pb2,
    daemon_pb2,
    event_pb2,
    facility_pb2,
    group_pb2,
    job_pb2,
    step_pb2,
)

MOVING = frozenset({"register", "transfer", "ingest", "bundle", "purge"})
"""Kinds of jobs that move, bundle or remove datasets."""


@dataclass(frozen=True)
class JobAttempt:
    """One attempt of a job. `started` and `ended` are None before that."""

    job: job_pb2.Job
    attempt: job_pb2.Attempt

    @cached_property
    def name(self) -> Name:
        """The job's name in its four parts."""
        return parse_name(self.job.name)

    @property
    def step(self) -> str:
        """The step's short name."""
        return self.name.parts[1]

    @property
    def group(self) -> str:
        """The group's short name within its step."""
        return self.name.parts[2]

    @property
    def title(self) -> str:
        """step/group/job"""
        return "/".join(self.name.parts[1:])

    @property
    def facility(self) -> str:
        """The facility's short name."""
        return short_name(self.attempt.facility or self.job.facility)

    @property
    def moves(self) -> bool:
        """Whether it is about data and not about processing."""
        return self.job.kind in MOVING

    @property
    def started(self) -> float | None:
        """When it began; when it was submitted if its driver does not tell."""
        return words.seconds(self.attempt.start_time) or words.seconds(self.attempt.submit_time)

    @property
    def ended(self) -> float | None:
        """When it ended."""
        return words.seconds(self.attempt.finish_time)

    @cached_property
    def books(self) -> list[dict[str, Any]]:
        """How many datasets have come how far, for each way and dataset type; if it told any."""
        try:
            books = json.loads(self.attempt.extra or "{}").get("books")
        except (ValueError, AttributeError):
            return []
        entries = books if isinstance(books, list) else []
        return [entry for entry in entries if isinstance(entry, dict)]


@dataclass(frozen=True)
class Facts:
    """All that the report needs from the daemon. `read_at` is in UTC seconds."""

    campaign: campaign_pb2.Campaign
    file: campaign_pb2.CampaignFile
    daemon: daemon_pb2.Daemon
    plugins: Sequence[daemon_pb2.Plugin]
    facilities: Sequence[facility_pb2.Facility]
    steps: Sequence[step_pb2.Step]
    groups: Sequence[group_pb2.Group]
    attempts: Sequence[JobAttempt]
    placements: Mapping[str, Sequence[group_pb2.Placement]]
    """By group, newest first."""
    nexus: Mapping[str, Sequence[step_pb2.NexusEntry]]
    """By step."""
    events: Sequence[event_pb2.Event]
    facility_events: Sequence[event_pb2.Event] = ()
    read_at: float = field(default_factory=lambda: datetime.now(UTC).timestamp())

    @property
    def title(self) -> str:
        """The campaign's short name."""
        return short_name(self.campaign.name)

    @property
    def started(self) -> float:
        """When the campaign began; when it was made if it has not."""
        campaign = self.campaign
        return (
            words.seconds(campaign.start_time)
            or words.seconds(campaign.create_time)
            or self.read_at
        )

    @property
    def ended(self) -> float:
        """When the campaign ended; now if it has not."""
        return words.seconds(self.campaign.finish_time) or self.read_at

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return words.seconds(self.campaign.finish_time) is not None

    @cached_property
    def step_names(self) -> list[str]:
        """Short names of the steps, in the order of the file."""
        return [parse_name(step.name).parts[1] for step in self.steps]

    @cached_property
    def facility_names(self) -> list[str]:
        """Short names of the facilities that did something for the campaign, in the daemon's order."""
        used = {short_name(group.facility) for group in self.groups if group.facility}
        used |= {each.facility for each in self.attempts if each.facility}
        known = [short_name(facility.name) for facility in self.facilities]
        return [name for name in known if name in used] + sorted(used - set(known))


def read(client: Client, name: str) -> Facts:
    """Everything about a campaign, given its resource name. Raises CmError.

    Asks once for each group and each job: a report is for campaigns of thousands, not of millions.
    """
    campaign = client.get_campaign(name)
    steps = list(client.list_steps(name).steps)
    groups = list(client.groups(name))
    attempts = [
        JobAttempt(job, attempt)
        for job in client.jobs(name)
        if job.attempt
        for attempt in client.list_attempts(job.name).attempts
    ]
    began = words.seconds(campaign.start_time) or words.seconds(campaign.create_time) or 0.0
    until = words.seconds(campaign.finish_time)
    return Facts(
        campaign=campaign,
        file=client.get_campaign_file(name),
        daemon=client.get_daemon(),
        plugins=list(client.list_plugins().plugins),
        facilities=list(client.list_facilities().facilities),
        steps=steps,
        groups=groups,
        attempts=attempts,
        placements={
            group.name: list(client.list_placements(group.name).placements) for group in groups
        },
        nexus=_nexus(client, steps, attempts),
        events=list(client.events(name)),
        facility_events=[
            event
            for event in client.events(kinds=["facility"])
            if began <= (words.seconds(event.time) or 0.0) <= (until or float("inf"))
        ],
    )


def _nexus(
    client: Client, steps: Iterable[step_pb2.Step], attempts: Sequence[JobAttempt]
) -> dict[str, list[step_pb2.NexusEntry]]:
    """The nexus log of each step that has moved data."""
    moved = {attempt.step for attempt in attempts if attempt.books}
    return {
        step: list(client.get_nexus(full).entries)
        for full in (each.name for each in steps)
        if (step := parse_name(full).parts[1]) in moved
    }
