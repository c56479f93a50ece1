"""What this plugin brings: the drivers `local`, `butler` and `mover`, the agent `butler`, the splitters
`none`, `values` and `query`."""

from collections.abc import Iterable

from cmd_daemon.hooks import AgentFactory, DriverFactory, Splitter, hookimpl
from cmd_local.agent import ButlerAgentFactory
from cmd_local.butler_driver import ButlerDriverFactory
from cmd_local.driver import LocalFactory
from cmd_local.moving.driver import MoverFactory
from cmd_local.splitters import NoSplitter, QuerySplitter, ValuesSplitter

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
def cmd_register_splitters() -> Iterable[Splitter]:
    """The splitters `none`, `values` and `query`."""
    return [NoSplitter(), ValuesSplitter(), QuerySplitter()]
