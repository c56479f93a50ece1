"""kill -9 of the daemon while the kill switch is at work: nothing of the facility stays outside, and
nothing is lost or done twice."""

from pathlib import Path

import grpc
import pytest
from daemon_process import DEADLINE_S, DaemonProcess, until

from cmd_api.v1 import facility_pb2 as pb
from cmd_api.v1 import facility_pb2_grpc

GROUPS = 6
USDF = "facilities/USDF"


def service(daemon: DaemonProcess) -> facility_pb2_grpc.FacilityServiceStub:
    """The service of the daemon that runs now."""
    # Channels of one process share their pauses between tries to connect unless they are told not to.
    alone = [("grpc.use_local_subchannel_pool", 1)]
    return facility_pb2_grpc.FacilityServiceStub(grpc.insecure_channel(daemon.target, alone))


def look(daemon: DaemonProcess) -> pb.Facility:
    """The facility; one without a name while nobody answers."""
    try:
        return service(daemon).GetFacility(pb.GetFacilityRequest(name=USDF), timeout=2.0)
    except grpc.RpcError:
        return pb.Facility()


def alive(daemon: DaemonProcess) -> int:
    """Processes of the facility's jobs."""
    mark = f"CMD_ATTEMPT_DIR={daemon.root}".encode()
    found = 0
    for entry in Path("/proc").iterdir():
        try:
            found += entry.name.isdigit() and mark in (entry / "environ").read_bytes()
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    "point", [f"{at}-commit:{n}" for n in (1, 2, 3) for at in ("before", "after")]
)
def test_killed_in_the_middle_of_a_kill(daemon: DaemonProcess, tmp_path: Path, point: str) -> None:
    gate = tmp_path / "gate"
    wait = f"while [ ! -e {gate} ]; do sleep 0.05; done\\n"
    daemon.start()
    daemon.apply(GROUPS, "echo $CMD_KEY >> $LEDGER\\n" + wait)
    until(lambda: daemon.ledger().total() == 4 and alive(daemon))
    daemon.kill()
    daemon.start(point, ready=False)
    until(lambda: daemon.serves() or daemon.dead(), "a daemon that serves")
    try:
        service(daemon).KillFacility(
            pb.KillFacilityRequest(name=USDF, reason="smoke", request_id="once"), timeout=DEADLINE_S
        )
    except grpc.RpcError:
        until(daemon.dead, "the end of the daemon")
    if not daemon.dead():
        daemon.kill()  # the point may lie further on: no process that dies later by itself
    daemon.start()
    if not look(daemon).killed:
        service(daemon).KillFacility(
            pb.KillFacilityRequest(name=USDF, reason="smoke", request_id="once"), timeout=DEADLINE_S
        )
    until(lambda: not alive(daemon), "the end of what runs outside")
    facility = until(
        lambda: (f := look(daemon)) and not f.ending and f.load and f.load[0].held == GROUPS and f,
        "a facility that stands still",
    )
    assert facility.killed
    assert daemon.ledger().total() == 4, "something was submitted after the kill"
    gate.touch()
    service(daemon).ReviveFacility(
        pb.ReviveFacilityRequest(name=USDF, retry=True), timeout=DEADLINE_S
    )
    until(lambda: daemon.state() == "ACCEPTED", f"ACCEPTED; log:\n{daemon.log()[-3000:]}")
    assert daemon.stop() == 0
    daemon.history()
    ledger = daemon.ledger()
    assert all(n == 1 for n in ledger.values()), ledger
    assert len(ledger) == 2 * GROUPS + 1 + 4, "four attempts were ended, and tried again"
