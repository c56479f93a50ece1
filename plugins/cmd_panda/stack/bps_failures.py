"""Failed quanta and the PanDA jobs they were in.

A part of the program of `bps_agent.py`. A job is {label, id, queue, exit, message, link, inputs}: its last
try failed with this exit code and message, `link` is its log, and its inputs' names list the quanta's nodes
of the graph. A quantum that ended by itself has left a log, which the report reads; of one that was killed
only its job knows.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from bps_sending import nodes_of
from process_runner import FAILURES_MAX, MESSAGE_MAX, Outcome

LOGGED = re.compile(
    r"^Execution of task .* failed\. Exception (?P<what>\w+(\.\w+)*: .*)$", re.DOTALL
)


def explain(outcome: Outcome, jobs: Sequence[dict[str, Any]]) -> None:
    """Put exit code, job and log of each failed quantum into the outcome's failures, and add the quanta
    of failed jobs that have not told of themselves, and jobs that have no quanta.
    """
    for failure in outcome.failures:
        if match := LOGGED.match(failure["message"]):
            failure["message"] = match["what"]
    if not jobs:
        return
    owners = {node: job for job in jobs for name in job["inputs"] for node in nodes_of(name)}
    told: set[str] = set()
    quanta = quanta_of(outcome.graph.get("file"), set(owners))
    by_data_id = {(task, as_text(data_id)): node for node, (task, data_id) in quanta.items()}
    for failure in outcome.failures:
        node = by_data_id.get((failure["task"], as_text(failure["data_id"])))
        if node is not None:
            told.add(node)
            add_job(failure, owners[node])
    heard = {id(owners[node]) for node in told}
    for node, (task, data_id) in quanta.items():
        # Of a job with a quantum that told of itself the others have ended, each in its own way.
        if id(owners[node]) not in heard and len(outcome.failures) < FAILURES_MAX:
            failure = {"task": task, "data_id": data_id, "message": owners[node]["message"]}
            outcome.failures.append(failure)
            add_job(failure, owners[node])
    for job in jobs:
        if (
            not any(nodes_of(name) for name in job["inputs"])
            and len(outcome.failures) < FAILURES_MAX
        ):
            failure = {"task": job["label"], "data_id": {}, "message": job["message"]}
            outcome.failures.append(failure)
            add_job(failure, job)


def add_job(failure: dict[str, Any], job: dict[str, Any]) -> None:
    """Say in which job a quantum failed, and where its log is."""
    where = f"PanDA job {job['id']} at {job['queue']}"
    if job.get("link"):
        where += f", log {job['link']}"
    failure["message"] = f"{failure['message'][: MESSAGE_MAX - len(where) - 3]} ({where})"
    failure["exit"] = job.get("exit")


def quanta_of(graph: str | None, nodes: set[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return {node: (task, data id)} of nodes of a graph."""
    if not graph or not nodes:
        return {}
    from lsst.pipe.base.pipeline_graph import TaskImportMode
    from lsst.pipe.base.quantum_graph import PredictedQuantumGraph

    with PredictedQuantumGraph.open(graph, import_mode=TaskImportMode.DO_NOT_IMPORT) as reader:
        reader.read_thin_graph()
        found = reader.finish()
    return {
        str(node): (task, dict(data_id.required))
        for task, quanta in found.quanta_by_task.items()
        for data_id, node in quanta.items()
        if str(node) in nodes
    }


def as_text(data_id: dict[str, Any]) -> str:
    """Return a data id as one text, the same for the same values."""
    return json.dumps({key: str(value) for key, value in data_id.items()}, sort_keys=True)
