"""The same bad world, driven by hypothesis: it chooses the actions, and shrinks what fails."""

import os
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from model_daemon import ToyDaemon

from cmd_daemon.kernel.states import JobState

THOROUGH = os.environ.get("CMD_TESTS", "") == "thorough"
pytestmark = pytest.mark.timeout(1800 if THOROUGH else 120)


class Campaigns(RuleBasedStateMachine):
    """Rules are the daemon's single actions; what they draw comes from one seed that can shrink."""

    def __init__(self) -> None:
        super().__init__()
        self.daemon = ToyDaemon(Random(0))

    @initialize(
        seed=st.integers(0, 2**20), evil=st.sampled_from([0.0, 0.1, 0.4]), findable=st.booleans()
    )
    def begin(self, seed: int, evil: float, findable: bool) -> None:
        self.daemon = ToyDaemon(Random(seed), findable=findable)
        self.daemon.outside.evil = evil
        self.daemon.act_apply()

    @rule(times=st.integers(1, 12))
    def go_on(self, times: int) -> None:
        """Whatever the shell would likely do next, a few times."""
        self.daemon.walk(times)

    @rule()
    def apply(self) -> None:
        self.daemon.act_apply()

    @rule()
    def person(self) -> None:
        self.daemon.act_person()

    @precondition(lambda self: self.daemon.inbox)
    @rule()
    def decide(self) -> None:
        self.daemon.act_inbox()

    @rule()
    def commit(self) -> None:
        self.daemon.commit()

    @precondition(lambda self: self.daemon.calls)
    @rule()
    def call(self) -> None:
        self.daemon.act_call()

    @precondition(
        lambda self: any(j.state is JobState.RUNNING for j in self.daemon.view.jobs.values())
    )
    @rule()
    def observe(self) -> None:
        self.daemon.act_observe()

    @rule()
    def crash(self) -> None:
        self.daemon.act_crash()

    @rule()
    def time(self) -> None:
        self.daemon.act_clock()
        self.daemon.act_timers()

    @invariant()
    def holds(self) -> None:
        self.daemon.check()

    def teardown(self) -> None:
        self.daemon.drain()


Campaigns.TestCase.settings = settings(
    max_examples=1500 if THOROUGH else 60,
    stateful_step_count=120 if THOROUGH else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
TestCampaigns = Campaigns.TestCase
