"""The daemon itself over a real Rucio: what cannot be moved holds the group, and is driven again by hand."""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from live_setup import DISK, LiveWorld
from moving_setup import scenario
from rubin_stack import rubin_python
from rucio_site import SCOPE

from cm_client import Client
from cmd_daemon.hooks import FacilityInfo

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS), str(TESTS / "clients")]

from client_setup import Cm  # noqa: E402
from daemon_process import DaemonProcess, until  # noqa: E402

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

DEADLINE_S = 150.0
GROUP = "campaigns/gap/steps/bring/groups/all"
WORDS = "DESTINATION [13] permission denied by the guard"

HEAD = """\
[daemon]
state_dir = "{root}/state"
socket = "{root}/cmd.sock"
plugins = ["local", "facility", "rucio_butler"]
log_format = "console"
"""
FACILITY = """
[facility.{name}]
slots = 2
memory = "2 GB"
cores = 1
agent = "rucio"
butlers = {{ main = "{butler}" }}
stacks = {{ demo = "{python}" }}
drivers = {{ register = "rucio", transfer = "rucio", ingest = "rucio" }}

[facility.{name}.settings.rucio]
server = "{section[server]}"
account = "{section[account]}"
username = "{section[username]}"
password_file = "{section[password_file]}"
rse = "{rse}"
scope = "{scope}"
poll_s = 0.5
boost_s = 0
boosts = 1
"""
CAMPAIGN = """\
campaign: gap
owner: me
stack: demo
butler: {repo: main, inputs: [out/gap/make], output: u/me/gap}
facilities: [USDF, FrDF, UKDF]
defaults: {retry: {attempts: 2, backoff: 1 s}}
steps:
  bring:
    at: UKDF
    where: "instrument = 'DemoCam' AND visit IN (1001, 1002)"
    stage: {datasets: [zp]}
"""


class Living(DaemonProcess):
    """A daemon at work with the facilities of a live world."""

    def __init__(self, root: Path, facilities: Mapping[str, FacilityInfo]) -> None:
        super().__init__(root)
        parts = [HEAD.format(root=root)]
        for name, info in facilities.items():
            told = {"name": name, "rse": DISK[name], "scope": SCOPE, "python": rubin_python()}
            section = info.settings["rucio"]
            parts.append(FACILITY.format(**told, butler=info.butlers["main"], section=section))
        self.config.write_text("".join(parts))

    def group(self) -> tuple[str, str]:
        """State and reason of the campaign's one group."""
        with self.client() as client:
            return group_of(client)

    def campaign(self) -> str:
        """State of the campaign."""
        with self.client() as client:
            found = client.get_campaign("campaigns/gap")
            return type(found).State.Name(found.state).removeprefix("STATE_")


def group_of(client: Client) -> tuple[str, str]:
    groups = list(client.groups("campaigns/gap/steps/bring"))
    if not groups:
        return "", ""
    (found,) = groups
    return type(found).State.Name(found.state).removeprefix("STATE_"), found.reason


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory for the daemon, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="cmd-") as made:
        yield Path(made)


@scenario("gap")
async def test_a_file_that_never_moves_holds_the_group_until_a_person_redrives_it(
    world: LiveWorld, root: Path
) -> None:
    held_back = f"out/{world.scenario}/make/g1/a1/zp"
    (file, *_) = [f for f in await world.files("FrDF", "out/gap/make", "zp")
                  if f["data_id"]["visit"] == 1002]  # fmt: skip
    name = file["file"].split(f"{held_back}/")[1]
    world.site.transfers.fault(f"{held_back}/{name}", fail=WORDS)
    daemon = Living(root, world.facilities)
    try:
        daemon.start()
        with daemon.client() as client:
            client.apply_campaign(CAMPAIGN, start=True)
        until(lambda: daemon.group()[0] == "HELD", "a held group", DEADLINE_S)
        _, reason = daemon.group()
        assert WORDS in reason, reason
        # Whatever happens to the daemon, the group stays held and nothing is tried again.
        before = world.site.transfers.faults()[f"{held_back}/{name}"]["hit"]
        daemon.kill()
        daemon.start()
        assert daemon.group() == ("HELD", reason)
        assert daemon.campaign() == "RUNNING"
        assert world.site.transfers.faults()[f"{held_back}/{name}"]["hit"] == before
        cm = Cm(daemon.target)
        assert WORDS in cm("nexus", "gap/bring", "--json").stdout
        # The operator has seen to it and drives just the gap again.
        world.site.transfers.clear()
        driven = cm("redrive", "gap/bring")
        assert driven.returncode == 0, driven.stdout + driven.stderr
        until(lambda: daemon.campaign() == "ACCEPTED", "the end of it", DEADLINE_S)
        assert daemon.stop() == 0
    finally:
        daemon.end()
    there = await world.listed("UKDF", "out/gap/make", ["zp"])
    assert [each["data_id"]["visit"] for each in there] == [1001, 1002]
    dataset = "Dataset/gap/bring/all/FrDF/stage"
    (rule,) = world.rules(dataset)
    assert (rule["state"], rule["locks_ok_cnt"]) == ("OK", 2)
