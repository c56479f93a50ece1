"""A plugin of fakes, so that a real daemon can be tested and measured without an outside system.

Enable it under a name of your own by an entry point to this module, or hand the module to the
plugin manager. It brings the drivers `fake` and `null`, and a splitter, a selector and a probe `fake`.
"""

from collections.abc import Iterable

from cmd_daemon.hooks.facilities import FacilityProbe
from cmd_daemon.hooks.placement import Selector
from cmd_daemon.hooks.ports import DriverFactory, Splitter
from cmd_daemon.hooks.spec import hookimpl
from cmd_daemon.testing.fake_driver import FakeDriverFactory
from cmd_daemon.testing.fake_planning import FakeSelector, FakeSplitter
from cmd_daemon.testing.fake_probe import FakeProbe
from cmd_daemon.testing.null_driver import NullDriverFactory

CMD_API_VERSION = 1


@hookimpl
def cmd_register_drivers() -> Iterable[DriverFactory]:
    """The drivers `fake` and `null`."""
    return [FakeDriverFactory(), NullDriverFactory()]


@hookimpl
def cmd_register_splitters() -> Iterable[Splitter]:
    """The splitter `fake`."""
    return [FakeSplitter()]


@hookimpl
def cmd_register_selectors() -> Iterable[Selector]:
    """The selector `fake`."""
    return [FakeSelector()]


@hookimpl
def cmd_register_probes() -> Iterable[FacilityProbe]:
    """The probe `fake`."""
    return [FakeProbe()]
