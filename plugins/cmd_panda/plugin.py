"""What this plugin brings: the driver and the probe `panda`."""

from collections.abc import Iterable

from cmd_daemon.hooks import DriverFactory, FacilityProbe, hookimpl
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
