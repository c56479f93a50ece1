"""What this plugin brings: the drivers `ssh` and `arc` for work at far facilities, and the transport
`ssh`, which shares each facility's one connection with the driver."""

from collections.abc import Iterable

from cmd_daemon.hooks import DriverFactory, TransportFactory, hookimpl
from cmd_housekeeping.arc_driver import ArcFactory
from cmd_housekeeping.connection import Connections
from cmd_housekeeping.ssh_driver import SshFactory
from cmd_housekeeping.ssh_transport import SshTransportFactory

CMD_API_VERSION = 1

CONNECTIONS = Connections()


@hookimpl
def cmd_register_drivers() -> Iterable[DriverFactory]:
    """The drivers `ssh` and `arc`."""
    return [SshFactory(CONNECTIONS), ArcFactory()]


@hookimpl
def cmd_register_transports() -> Iterable[TransportFactory]:
    """The transport `ssh`."""
    return [SshTransportFactory(CONNECTIONS)]
