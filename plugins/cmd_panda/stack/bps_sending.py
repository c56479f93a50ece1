"""What BPS and iDDS are asked for one workflow: to prepare it, to tell whether it is there, to take it.

A part of the program of `bps_agent.py`. The token never leaves this process: it is read from its file
by reference, and `pandaclient` is told by this process's own environment.
"""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

LOG = logging.getLogger("bps_sending")
SERVICE = "lsst.ctrl.bps.panda.PanDAService"
NODES = "+qgraphNodeId:"


class NotNow(Exception):
    """It cannot be done now, and nothing is lost; it may be tried again after `pause_s`."""

    def __init__(self, reason: str, pause_s: float) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


@dataclass(frozen=True)
class Task:
    """One PanDA task of a workflow: its name and label, how many jobs and quanta it has."""

    name: str
    label: str
    jobs: int
    quanta: int


def take_credential(credential: dict[str, str]) -> None:
    """Make `pandaclient` use the credential that a file at this facility holds.

    Raises
    ------
    NotNow
        If the file cannot be read: somebody has to put it there.
    """
    try:
        if token_file := credential.get("token_file"):
            os.environ["PANDA_AUTH_ID_TOKEN"] = Path(token_file).read_text().strip()
        if proxy := credential.get("proxy"):
            with Path(proxy).open():
                os.environ["X509_USER_PROXY"] = proxy
    except OSError as error:
        raise NotNow(f"the credential for PanDA cannot be read here: {error}", 60.0) from error


class Workflow:
    """The BPS workflow of one attempt; `plan` is its submit file without the paths of this facility."""

    def __init__(self, plan: dict[str, Any], work_dir: Path, graph: Path, number: int) -> None:
        self.name: str = plan["config"]["uniqProcName"]
        # BPS makes this directory itself, and refuses one that an earlier try has left, as it does
        # with files at the end point.
        self._place = work_dir / f"submit.{number}"
        self._file = work_dir / f"bps.{number}.yaml"
        endpoint = f"{plan['endpoint']}/{self.name}/{number}/"
        self._content = {
            **plan["config"],
            "submitPath": str(self._place),
            "fileDistributionEndPoint": endpoint,
            "qgraphFile": str(graph),
            # The graph was built for this very run: there is nothing to update.
            "updateQuantumGraph": "/bin/true",
        }
        self._made: Any = None

    def prepare(self) -> list[Task]:
        """Let BPS make the workflow; nothing is sent. Raises whatever BPS raises."""
        from lsst.ctrl.bps.drivers import prepare_driver

        self._file.write_text(yaml.safe_dump(self._content, sort_keys=False))
        self._made = prepare_driver(str(self._file), runWmsSubmissionChecks=False)
        works = self._made[1].idds_client_workflow.template.works
        return [_task(work, self.name) for work in works.values()]

    def send(self) -> int:
        """Send it; return the number of the iDDS request.

        Raises
        ------
        Exception
            Whatever BPS raises; it may have been taken then.
        """
        from lsst.ctrl.bps.submit import submit

        config, workflow = self._made
        submit(config, workflow)
        return int(workflow.run_id)


def _task(work: Any, workflow: str) -> Task:
    jobs = [str(entry["name"]) for entry in work.dependency_map]
    name = str(work.task_name)
    # {workflow}_{number}_{label}_{chunk}; a label may have digits of its own.
    label = name.removeprefix(f"{workflow}_").partition("_")[2].rpartition("_")[0]
    return Task(name, label, len(jobs), sum(len(nodes_of(job)) for job in jobs))


def nodes_of(job: str) -> list[str]:
    """Return the nodes of the graph that a job's name lists."""
    nodes = job.partition(NODES)[2].partition("+")[0]
    return nodes.split(",") if nodes else []


def request_named(name: str) -> int | None:
    """Return the number of the iDDS request of this name, None if iDDS has none.

    Raises
    ------
    NotNow
        If iDDS cannot be asked.
    """
    from lsst.ctrl.bps.panda.utils import get_idds_client, get_idds_result

    try:
        # The name is a pattern there; ours is among the answers if it is there.
        answer = get_idds_client({}).get_request_id_by_name(name=name)
        good, found, problem = get_idds_result(answer)
    except (Exception, SystemExit) as error:  # pandaclient leaves where it has no credential
        raise NotNow(f"iDDS cannot be asked for the request {name}: {error}", 60.0) from error
    if not good or not isinstance(found, dict):
        raise NotNow(f"iDDS does not tell of the request {name}: {problem or found}", 60.0)
    number = found.get(name)
    return None if number is None else int(number)


def as_json(tasks: list[Task]) -> list[dict[str, Any]]:
    """Return tasks as JSON objects."""
    return json.loads(json.dumps([asdict(task) for task in tasks]))
