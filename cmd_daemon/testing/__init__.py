"""What a plugin author tests with: a fake clock, host and outside world, and the driver contract.

`driver_contract` needs pytest and pytest-asyncio and is imported by itself.
"""

from cmd_daemon.testing.clock import FakeClock
from cmd_daemon.testing.fake_driver import FakeDriver, FakeDriverFactory, FakeSettings
from cmd_daemon.testing.fake_planning import FakeSelector, FakeSplitter
from cmd_daemon.testing.fake_probe import FakeProbe
from cmd_daemon.testing.host import FakeHost, facility_info
from cmd_daemon.testing.null_driver import NullDriver, NullDriverFactory
from cmd_daemon.testing.world import Behaviour, FakeAttempt, FakeWorld

__all__ = [
    "Behaviour",
    "FakeAttempt",
    "FakeClock",
    "FakeDriver",
    "FakeDriverFactory",
    "FakeHost",
    "FakeProbe",
    "FakeSelector",
    "FakeSettings",
    "FakeSplitter",
    "FakeWorld",
    "NullDriver",
    "NullDriverFactory",
    "facility_info",
]
