"""What this plugin brings: the drivers `local`, `butler` and `mover`, the agent `butler`, the splitters
`none`, `values` and `query`, the transport `local`, a probe of facilities and a locator of inputs."""

from collections.abc import Iterable

from cmd_daemon.hooks import (
    AgentFactory,
    DriverFactory,
    FacilityProbe,
    InputLocator,
    Splitter,
    TransportFactory,
    hookimpl,
)
from cmd_local.agent import ButlerAgentFactory
from cmd_local.butler_driver import ButlerDriverFactory
from cmd_local.driver import LocalFactory
from cmd_local.locating import ButlerLocator
from cmd_local.moving.driver import MoverFactory
from cmd_local.probe import LocalProbe
from cmd_local.splitters import NoSplitter, QuerySplitter, ValuesSplitter
from cmd_local.transport import LocalTransportFactory

CMD_API_VERSION = 1


@hookimpl
def cmd_register_drivers() -> Iterable[DriverFactory]:
    """The drivers `local`, `butler` and `mover`."""
    return [LocalFactory(), ButlerDriverFactory(), MoverFactory()]


@hookimpl
def cmd_register_agents() -> Iterable[AgentFactory]:
    """The agent `butler`."""
    return [ButlerAgentFactory()]


@hookimpl
def cmd_register_transports() -> Iterable[TransportFactory]:
    """The transport `local`."""
    return [LocalTransportFactory()]


@hookimpl
def cmd_register_probes() -> Iterable[FacilityProbe]:
    """The probe `local`."""
    return [LocalProbe()]


@hookimpl
def cmd_register_locators() -> Iterable[InputLocator]:
    """The locator `butler`."""
    return [ButlerLocator()]


@hookimpl
def cmd_register_splitters() -> Iterable[Splitter]:
    """The splitters `none`, `values` and `query`."""
    return [NoSplitter(), ValuesSplitter(), QuerySplitter()]
