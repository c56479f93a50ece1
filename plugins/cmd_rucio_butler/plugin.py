"""What this plugin brings: the driver, the agent, the locator of inputs and the probe `rucio`."""

from collections.abc import Iterable

from cmd_daemon.hooks import (
    AgentFactory,
    CampaignReview,
    DriverFactory,
    FacilityProbe,
    InputLocator,
    hookimpl,
)
from cmd_rucio_butler.agent import RucioAgentFactory
from cmd_rucio_butler.driver import RucioDriverFactory
from cmd_rucio_butler.inputs import fields
from cmd_rucio_butler.locator import RucioLocator
from cmd_rucio_butler.probe import RucioProbe

CMD_API_VERSION = 1


@hookimpl
def cmd_register_drivers() -> Iterable[DriverFactory]:
    """The driver `rucio`."""
    return [RucioDriverFactory()]


@hookimpl
def cmd_register_agents() -> Iterable[AgentFactory]:
    """The agent `rucio`."""
    return [RucioAgentFactory()]


@hookimpl
def cmd_register_locators() -> Iterable[InputLocator]:
    """The locator `rucio`."""
    return [RucioLocator()]


@hookimpl
def cmd_validate_campaign(*, campaign: CampaignReview) -> Iterable[tuple[str, str]]:
    """Patterns of a stage's `existing` that cannot be read."""
    problems: dict[str, str] = {}
    for step, policy in campaign.steps.items():
        for job in policy.jobs:
            for name, pattern in (job.params.get("existing") or {}).items():
                try:
                    fields(pattern)
                except ValueError as error:
                    problems[f"steps.{step}.stage.existing.{name}"] = str(error)
    return list(problems.items())


@hookimpl
def cmd_register_probes() -> Iterable[FacilityProbe]:
    """The probe `rucio`."""
    return [RucioProbe()]
