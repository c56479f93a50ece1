"""The example plugin is installed, found through its entry point, and runs a campaign to its end."""

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from cmd_api.v1.campaign_pb2 import Campaign
from docs_daemon import daemon
from docs_pages import ROOT

from cm_client import Client, InvalidCampaignFile

EXAMPLE = ROOT / "tests" / "example_plugin"
ENDS_S = 30.0

CONFIGURATION = """
plugins = ["local", "facility", "spool"]

[facility.USDF]
slots = 3
butlers = {{ dp2 = "nowhere" }}
stacks = {{ w_2026_46 = "python3" }}
drivers = {{ process = "spool", collect = "spool", script = "spool" }}

[facility.USDF.settings.spool]
directory = "{spool}"
poll_s = 0.1

[plugin.spool]
journal = "{journal}"
owners = ["pilot1"]
verify = true
"""

FILE = """
campaign: week
owner: {owner}
stack: w_2026_46
butler: {{repo: dp2, inputs: [LSSTCam/raw], output: u/pilot1/week}}
facilities: [USDF]
placement: {{algorithm: most-free}}
steps:
  nightly:
    pipeline: nightly.yaml#all
    params: {{seconds: 0.1}}
    split: {{splitter: nights, first: 2026-11-01, last: {last}, each: 2}}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example plugin's distribution and nothing else."""
    target = tmp_path_factory.mktemp("site")
    # The build tool is here where the daemon itself was built; elsewhere pip fetches it.
    here = ["--no-build-isolation", "--no-index"] if find_spec("hatchling") else []
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *here]
    subprocess.run([*command, "--target", str(target), str(EXAMPLE)], check=True, timeout=90)
    assert list(target.glob("*.dist-info/entry_points.txt"))
    return target


def _end_of(client: Client, name: str) -> Campaign:
    deadline = time.monotonic() + ENDS_S
    for _ in client.watch_events(name, resume_token="0", idle=1.0):
        campaign = client.get_campaign(name)
        if campaign.state in (Campaign.STATE_ACCEPTED, Campaign.STATE_FAILED):
            return campaign
        assert time.monotonic() < deadline, client.explain_entity(name).summary
    raise AssertionError("the watch ended")


def _line_of(path: Path) -> dict[str, object]:
    """The journal's first line; it is written after the commit, so it may come a little later."""
    deadline = time.monotonic() + ENDS_S
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, "nothing was written to the journal"
        time.sleep(0.05)
    line: dict[str, object] = json.loads(path.read_text().splitlines()[0])
    return line


def test_the_example_plugin_runs_a_campaign(installed: Path, tmp_path: Path) -> None:
    spool, journal = tmp_path / "spool", tmp_path / "journal.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    worker = subprocess.Popen(
        [sys.executable, "-m", "cmd_spool.worker", str(spool)], env=environment
    )
    try:
        configuration = CONFIGURATION.format(spool=spool, journal=journal)
        with daemon(tmp_path, configuration, environment) as address, Client(address) as client:
            (plugin,) = [p for p in client.list_plugins().plugins if p.plugin == "spool"]
            assert plugin.distribution == "cmd-spool-example"
            assert list(plugin.brings) == [
                "driver spool",
                "splitter nights",
                "algorithm most-free",
                "observer spool-journal",
            ]

            with pytest.raises(InvalidCampaignFile) as caught:
                client.plan_campaign(FILE.format(owner="nobody", last="2026-11-07"))
            assert [problem.field for problem in caught.value.problems] == ["owner"]
            with pytest.raises(InvalidCampaignFile) as caught:
                client.plan_campaign(FILE.format(owner="pilot1", last="soon"))
            (problem,) = caught.value.problems
            assert (problem.line, problem.field) == (12, "steps.nightly.split.last")

            file = FILE.format(owner="pilot1", last="2026-11-07")
            name = client.apply_campaign(file, start=True).campaign.name
            campaign = _end_of(client, name)
            assert campaign.state == Campaign.STATE_ACCEPTED, client.explain_entity(name).summary
            assert (campaign.quanta.expected, campaign.quanta.succeeded) == (7, 7)
            groups = [group.name.rpartition("/")[2] for group in client.groups(name)]
            assert groups == ["20261101", "20261103", "20261105", "20261107"]
            jobs = [job.name.rpartition("/")[2] for job in client.jobs(f"{name}/steps/nightly")]
            assert jobs == ["process", "collect", "verify"] * 4
            placement = client.explain_entity(f"{name}/steps/nightly/groups/20261101").placement
            assert (placement.algorithm, placement.facility) == ("most-free", "facilities/USDF")
            job = f"{name}/steps/nightly/groups/20261101/jobs/process"
            log = b"".join(chunk.data for chunk in client.read_log(job))
            assert b"week/nightly/20261101/process#1 ends with exit code 0" in log
            assert _line_of(journal)["state"] == "ACCEPTED"
    finally:
        worker.kill()
        worker.wait()
