"""Fixtures for plugin authors; loaded by pytest wherever the daemon is installed."""

import pytest

for _module in ("contract_setup", "control_contract", "driver_contract"):
    pytest.register_assert_rewrite(f"cmd_daemon.testing.{_module}")

from cmd_daemon.testing.clock import FakeClock  # noqa: E402
from cmd_daemon.testing.world import FakeWorld  # noqa: E402


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that only the test moves."""
    return FakeClock()


@pytest.fixture
def fake_world(fake_clock: FakeClock) -> FakeWorld:
    """An outside world on the fake clock."""
    return FakeWorld(clock=lambda: fake_clock.now() / 1e6)
