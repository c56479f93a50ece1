"""What this plugin brings: the driver and the probe `panda`."""

from collections.abc import Iterable

from cmd_daemon.hooks import CampaignReview, DriverFactory, FacilityProbe, hookimpl
from cmd_panda.bps.rendering import step_problems
from cmd_panda.driver import PandaFactory
from cmd_panda.probe import PandaProbe

CMD_API_VERSION = 1


@hookimpl
def cmd_register_drivers() -> Iterable[DriverFactory]:
    """The driver `panda`."""
    return [PandaFactory()]


@hookimpl
def cmd_register_probes() -> Iterable[FacilityProbe]:
    """The probe `panda`."""
    return [PandaProbe()]


@hookimpl
def cmd_validate_campaign(*, campaign: CampaignReview) -> Iterable[tuple[str, str]]:
    """Keys of BPS submit files that no step may set."""
    return list(step_problems(campaign))
