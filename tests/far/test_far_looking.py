"""Probe and locator at three facilities with real Butlers, two of them over ssh."""

from collections.abc import Mapping

import pytest
from far_machine import FarMachine
from moving_setup import World, scenario

from cmd_daemon.hooks import Check, DriverError, ErrorClass, FacilityInfo, Held, InputsRequest
from cmd_daemon.testing import FakeHost, facility_info
from cmd_housekeeping.connection import Connections
from cmd_housekeeping.ssh_transport import SshTransportFactory
from cmd_local.locating import ButlerLocator
from cmd_local.probe import LocalProbe

pytestmark = pytest.mark.asyncio(loop_scope="session")


@scenario("keep")
@pytest.mark.parametrize("name", ["USDF", "FrDF"])
async def test_a_look_at_a_facility(
    world: World, facilities: Mapping[str, FacilityInfo], name: str
) -> None:
    report = await LocalProbe().look(facilities[name], world.host)
    assert set(report.checks) == {Check("transport", ok=True), Check("agent", ok=True)}
    scratch, work = report.storage
    assert (scratch.name, scratch.free_bytes, scratch.total_bytes) == ("scratch", None, None)
    assert "/no/such/place" in scratch.message
    assert (work.name, work.message) == ("work", "")
    assert work.free_bytes is not None
    assert work.total_bytes is not None
    assert 0 < work.free_bytes < work.total_bytes


async def test_a_look_at_a_facility_that_is_gone(far: FarMachine) -> None:
    class Dead:
        async def call(self, op: str, args: object, timeout_s: float = 1.0) -> object:
            raise DriverError(ErrorClass.TRANSIENT, "agent of facility FAR: it died")

    ssh = far.settings().model_dump(mode="json", exclude_none=True)
    info = facility_info("FAR", transport="ssh", settings={"ssh": ssh}, storage={"w": "/tmp"})
    made = SshTransportFactory(Connections()).create(info, FakeHost(far.root))
    host = FakeHost(far.root, {"FAR": info}, {"FAR": Dead()}, transports={"FAR": made})
    far.stop()
    report = await LocalProbe().look(info, host)
    transport, agent = report.checks
    assert (transport.name, transport.ok, transport.vital) == ("transport", False, True)
    assert "cannot be reached" in transport.message
    assert (agent.name, agent.ok, agent.vital) == ("agent", False, True)
    assert "cannot be reached" in agent.message
    (storage,) = report.storage
    assert storage.free_bytes is None
    assert "cannot be reached" in storage.message
    alone = FakeHost(far.root, {"FAR": info}, transports={"FAR": made})
    assert [check.name for check in (await LocalProbe().look(info, alone)).checks] == ["transport"]
    await made.close()


@scenario("keep")
async def test_a_look_at_an_agent_that_comes_back_or_never_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying:
        def __init__(self, deaths: int, error_class: ErrorClass = ErrorClass.TRANSIENT) -> None:
            self.deaths, self.error_class = deaths, error_class

        async def call(self, op: str, args: object, timeout_s: float = 1.0) -> object:
            self.deaths -= 1
            if self.deaths >= 0:
                raise DriverError(self.error_class, "agent of facility FrDF: it died")
            return {}

    monkeypatch.setattr("cmd_local.probe.AGAIN_S", 0.01)
    monkeypatch.setattr("cmd_local.probe.LOOK_S", 2.0)
    cases = (
        (Dying(3), True),
        (Dying(10**9), False),
        (Dying(10**9, ErrorClass.PERMANENT), False),
    )
    for agent, ok in cases:
        host = FakeHost(
            world.host.state_dir,
            world.facilities,
            {"FrDF": agent},
            transports={"FrDF": world.host.transport("FrDF")},
        )
        report = await LocalProbe().look(world.facilities["FrDF"], host)
        assert report.checks[1].ok is ok
        assert ok or report.checks[1].message == "agent of facility FrDF: it died"
    assert agent.deaths == 10**9 - 1, "a wrong configuration gets no better by asking again"


@scenario("keep")
async def test_who_holds_which_inputs(world: World) -> None:
    def request(group: str, where: str, butler: str = "main") -> InputsRequest:
        return InputsRequest(group, butler, ("out/keep/make/g1",), ("zp",), where)

    # More than a page of groups, of which two are asked about.
    requests = [request(str(n), f"instrument='DemoCam' AND visit={n}") for n in range(1001, 1250)]
    requests.append(request("other", "", "prompt"))
    answers = await ButlerLocator().locate(requests, ["FrDF", "UKDF", "GONE"], world.host)
    assert [answer.group for answer in answers] == [each.group for each in requests]
    first, last, other = answers[0], answers[-2], answers[-1]
    assert first.held["FrDF"].files == 1
    assert first.held["FrDF"].bytes > 9_000
    assert first.held["UKDF"] == Held(0, 0)
    assert last.held == other.held == {"FrDF": Held(0, 0), "UKDF": Held(0, 0)}
    assert list(first.unknown) == ["GONE"]
    assert "no facility 'GONE'" in first.unknown["GONE"]
    agent = world.agents["FrDF"]
    assert agent.asked.count("held_inputs") == 2


@scenario("keep")
async def test_an_agent_that_cannot_be_asked_is_named_with_the_reason(world: World) -> None:
    class Dead:
        async def call(self, op: str, args: object, timeout_s: float = 1.0) -> object:
            raise DriverError(ErrorClass.TRANSIENT, "agent of facility UKDF: it died")

    host = FakeHost(world.host.state_dir, world.facilities, {**world.agents, "UKDF": Dead()})
    request = InputsRequest("g", "main", ("out/keep/make/g1",), ("zp", "warp"), "")
    (answer,) = await ButlerLocator().locate([request], ["FrDF", "UKDF"], host)
    assert answer.held["FrDF"].files == 6
    assert answer.unknown == {"UKDF": "agent of facility UKDF: it died"}
