"""What a plugin is shown when it may judge a campaign or plan a group's jobs."""

from collections.abc import Mapping
from dataclasses import dataclass

from cmd_daemon.hooks.ports import DataShare
from cmd_daemon.kernel.policy import StepPolicy


@dataclass(frozen=True, slots=True)
class CampaignReview:
    """A campaign file after validation, before it is stored. `steps` keeps the file's order."""

    name: str
    owner: str
    facilities: tuple[str, ...]
    steps: Mapping[str, StepPolicy]
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GroupReview:
    """A group about to be made: its step's policy and its share of the data."""

    campaign: str
    step: str
    policy: StepPolicy
    share: DataShare
