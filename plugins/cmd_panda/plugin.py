"""What this plugin brings: the driver `panda`."""

from collections.abc import Iterable

from cmd_daemon.hooks import DriverFactory, hookimpl
from cmd_panda.driver import PandaFactory

CMD_API_VERSION = 1


@hookimpl
def cmd_register_drivers() -> Iterable[DriverFactory]:
    """The driver `panda`."""
    return [PandaFactory()]
