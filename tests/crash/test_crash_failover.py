"""Two daemons on one PostgreSQL database: the leader is killed, frozen, cut off; the other takes over.

Both work on the same state directory and the same fake world, as two machines on one shared disk. What
is marked for PostgreSQL only runs with the other crash tests there: `make test-postgres`.
"""

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from crash_proof import GROUPS, proven
from daemon_process import DaemonProcess, until
from grpc_health.v1 import health_pb2, health_pb2_grpc
from services.databases import Server

from cm_client import NotAccepting
from cmd_daemon.daemon import EXIT_OVERSLEPT

pytestmark = pytest.mark.timeout(300)  # two daemons at a time, on a machine that may be busy

SLOW = "sleep 0.3\\necho $CMD_KEY >> $LEDGER\\n"


class Pair:
    """A leader and a stand-by."""

    def __init__(self, root: Path, url: str) -> None:
        self.first = DaemonProcess(root, database=url, name="one")
        self.second = DaemonProcess(root, database=url, name="two")

    def start(self, failpoint: str = "") -> None:
        """Start both; the first one leads."""
        self.first.start(failpoint)
        until(lambda: self.first.dead() or leads(self.first), "a leader")
        self.second.start()

    def applied(self, script: str = SLOW) -> None:
        """Apply the campaign, and let it get under way."""
        self.first.apply(GROUPS, script)
        until(lambda: self.first.ledger() or self.first.dead(), "a campaign under way")

    def finished_by(self, daemon: DaemonProcess) -> None:
        """Wait for the end of the campaign, as this daemon tells it; end it, and look at the books."""
        began = time.monotonic()
        until(lambda: leads(daemon), f"another leader; log:\n{daemon.log()[-3000:]}")
        print(f"took over after {time.monotonic() - began:.1f} s")
        until(lambda: daemon.state() == "ACCEPTED", f"ACCEPTED; log:\n{daemon.log()[-3000:]}")
        assert daemon.stop() == 0
        proven(daemon)


def health(daemon: DaemonProcess) -> int:
    """What the health service answers; 0 while nobody answers."""
    alone = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(daemon.target, alone) as channel:
        try:
            ask = health_pb2.HealthCheckRequest()
            return health_pb2_grpc.HealthStub(channel).Check(ask, timeout=2.0).status
        except grpc.RpcError:
            return 0


def leads(daemon: DaemonProcess) -> bool:
    """Whether it serves as the leader."""
    return health(daemon) == health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def pair(tmp_path: Path, postgres_url: str) -> Iterator[Pair]:
    """Nothing runs yet, and nothing runs afterwards."""
    made = Pair(tmp_path, postgres_url)
    yield made
    for daemon in (made.second, made.first):
        daemon.end()


def test_a_standby_reads_refuses_changes_and_tells_who_leads(pair: Pair) -> None:
    pair.start()
    pair.applied()
    process = pair.first.process
    assert process is not None
    assert health(pair.second) == health_pb2.HealthCheckResponse.NOT_SERVING
    with pair.second.client() as client:
        told = client.get_daemon()
        assert told.standby
        assert not told.accepting
        assert f"process {process.pid} on " in told.problem
        assert client.get_campaign("campaigns/crash").name == "campaigns/crash"
        until(lambda: len(client.list_jobs("campaigns/crash/steps/one").jobs) >= GROUPS)
        for wish in (
            lambda: client.within(1.0).pause_campaign("campaigns/crash"),
            lambda: client.within(1.0).explain_entity("campaigns/crash"),
            lambda: client.within(1.0).list_facilities(),
        ):
            with pytest.raises(NotAccepting, match=f"stand-by: process {process.pid} on "):
                wish()
    with pair.first.client() as client:
        assert not client.get_daemon().standby
    pair.second.stop()
    pair.finished_by(pair.first)


@pytest.mark.only("postgresql")
def test_a_watch_at_the_standby_goes_on_when_it_takes_over(pair: Pair) -> None:
    pair.start()
    seen: list[int] = []
    with pair.second.client() as client:
        watching = client.watch_events(resume_token="0")
        pair.applied()
        for batch in watching:
            seen += [event.seq for event in batch.events]
            if seen and pair.first.process is not None and pair.first.process.poll() is None:
                pair.first.kill()
            if any(e.name == "campaigns/crash" and e.to_state == "ACCEPTED" for e in batch.events):
                break
    assert seen == list(range(1, len(seen) + 1))
    pair.finished_by(pair.second)


@pytest.mark.only("postgresql")
def test_a_standby_reads_its_configuration_again_and_leads_with_it(pair: Pair) -> None:
    pair.start()
    pair.applied()
    standby = pair.second
    standby.config.write_text(standby.config.read_text().replace("slots = 4", "slots = 7"))
    assert standby.process is not None
    standby.process.send_signal(signal.SIGHUP)
    until(lambda: "the configuration is reloaded" in standby.log())
    pair.first.kill()
    until(lambda: leads(standby), f"another leader; log:\n{standby.log()[-3000:]}")
    with standby.client() as client:
        assert client.get_facility("facilities/USDF").slots == 7
    pair.finished_by(standby)


def test_the_leader_is_killed(pair: Pair) -> None:
    pair.start()
    pair.applied()
    pair.first.kill()
    pair.finished_by(pair.second)


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("run", range(3))
def test_the_leader_is_frozen_at_any_moment(pair: Pair, run: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    pair.start()
    pair.first.apply(GROUPS, SLOW)
    time.sleep(random.Random(seed).uniform(0.0, 1.5))  # the moment of the freeze is what is tried
    pair.first.freeze()
    until(lambda: leads(pair.second), "another leader")
    pair.first.thaw()
    assert pair.first.ended() == EXIT_OVERSLEPT
    assert "another daemon may lead" in pair.first.log()
    pair.finished_by(pair.second)


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("before-submit:1", marks=pytest.mark.only("postgresql")),
        "before-submit:2",  # of the fake driver, in whose world nothing else stops a second run
        pytest.param("before-commit:6", marks=pytest.mark.only("postgresql")),
    ],
)
def test_the_leader_is_frozen_right_before_it_acts(pair: Pair, point: str) -> None:
    """The worst moment: it has made sure that it leads, and goes on when another one does."""
    pair.start(f"{point}:freeze")
    try:
        with pair.first.client() as client:
            pair.first.apply(GROUPS, SLOW, start=False)
            client.within(2.0).start_campaign("campaigns/crash")
    except Exception:  # noqa: BLE001 - it may freeze under the call
        pass
    until(lambda: leads(pair.second), "another leader")
    pair.first.thaw()
    assert pair.first.ended() == EXIT_OVERSLEPT
    if pair.second.state() == "DRAFT":
        with pair.second.client() as client:
            client.start_campaign("campaigns/crash")
    pair.finished_by(pair.second)


def test_a_leader_whose_session_was_ended_finds_itself_fenced(
    pair: Pair, postgres_server: Server, postgres_url: str
) -> None:
    """As after a freeze that nothing woke: the event loop just goes on, and the database says no."""
    pair.start()
    pair.applied()
    database = postgres_url.rpartition("/")[2]
    postgres_server.postgres.sql("UPDATE meta SET epoch = epoch + 1", database)
    assert pair.first.ended() == 1
    assert "a later daemon has taken over" in pair.first.log()
    pair.finished_by(pair.second)


@pytest.mark.only("postgresql")
def test_sessions_that_are_ended_again_and_again(
    pair: Pair, postgres_server: Server, postgres_url: str
) -> None:
    daemon, database = pair.first, postgres_url.rpartition("/")[2]
    daemon.start()
    daemon.apply(GROUPS, SLOW)
    end = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'"
    for _ in range(8):
        postgres_server.postgres.sql(end, "postgres")
        time.sleep(0.2)  # the moments are what is tried
    pair.finished_by(daemon)


@pytest.mark.only("postgresql")
def test_the_database_comes_later_than_the_daemon(tmp_path: Path, own_postgres: Server) -> None:
    daemon = DaemonProcess(tmp_path, database=own_postgres.fresh())
    own_postgres.stop()
    try:
        daemon.start(ready=False)
        until(lambda: "waiting for the database" in daemon.log(), "a word about it")
        assert daemon.stop() == 0, "it can be stopped while it waits"
        daemon.start(ready=False)
        own_postgres.start_again()
        until(lambda: leads(daemon), f"a leader; log:\n{daemon.log()[-3000:]}")
    finally:
        daemon.end()


@pytest.mark.parametrize("alone", [pytest.param(True, marks=pytest.mark.only("postgresql")), False])
def test_the_database_is_stopped_and_started_under_way(
    tmp_path: Path, own_postgres: Server, alone: bool
) -> None:
    pair = Pair(tmp_path, own_postgres.fresh())
    try:
        if alone:
            pair.first.start()
        else:
            pair.start()
        pair.applied()
        own_postgres.stop()
        with pair.first.client() as client, pytest.raises(NotAccepting, match="be reached"):
            client.within(1.0).get_campaign("campaigns/crash")
        own_postgres.start_again()
        until(lambda: leads(pair.first) or leads(pair.second), "a leader")
        until(lambda: "ACCEPTED" in (pair.first.state(), pair.second.state()), "ACCEPTED")
        assert not pair.first.dead(), f"the leader should lead on; log:\n{pair.first.log()[-3000:]}"
        assert pair.first.stop() == 0
        if not alone:
            until(lambda: leads(pair.second), "the stand-by in the lead")
            assert pair.second.stop() == 0
        proven(pair.first)
    finally:
        for daemon in (pair.second, pair.first):
            daemon.end()
