"""What this plugin brings: the drivers `ssh` and `arc`, for scripts at far facilities."""

from collections.abc import Iterable

from cmd_daemon.hooks import DriverFactory, hookimpl
from cmd_housekeeping.arc_driver import ArcFactory
from cmd_housekeeping.ssh_driver import SshFactory

CMD_API_VERSION = 1


@hookimpl
def cmd_register_drivers() -> Iterable[DriverFactory]:
    """The drivers `ssh` and `arc`."""
    return [SshFactory(), ArcFactory()]
