"""One attempt of a process job as a BPS workflow: build, send, and later count what became of it.

A part of the program of `bps_agent.py`. The attempt's directory holds

    runner.json   the order, as `process_runner.py` has it
    plan.json     what else there is to know: {key, ref, planted_at, config (the submit file without this
                  facility's paths), endpoint, credential, settle_s}
    lock          held with flock by the process that works on it
    record.json   how far it is, see `Record`; replaced atomically
    cancel        somebody asked for the end
    finish.json   the workflow is over: {aggregate: whether its final job did not do that, jobs: those that
                  failed, see `bps_failures.py`, and what else the daemon wants to find again}
    graph.qg, submit.N/, report.json, progress.json, log.txt
    outcome.json  last of all, as `process_runner.py` has it, with `ended` (seconds since the epoch)

It may be worked on again after a process was killed at any point. There is no key that makes sending
idempotent: before anything is sent iDDS is asked for the request by its name, and after a send whose end
nobody knows nothing is sent again until `settle_s` has passed and the name is still not there.
"""

import contextlib
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bps_sending
from bps_failures import explain
from bps_sending import NotNow
from process_runner import (
    Job,
    JobError,
    Order,
    Progress,
    classify,
    describe,
    listening,
    went_through,
    write_json,
)

LOG = logging.getLogger("bps_attempt")
PAUSE_S = 30.0
"""Seconds before something that PanDA refused is tried again."""

COUNTS_AT_MOST = 10
"""Times that the quanta are counted before what was done is given up for a database that is away."""


class Record:
    """How far an attempt is; ``record.json`` has these fields.

    ``stage``: planted, graph, sending, sent, waiting (``message`` says for what, until ``not_before``),
    cancelled (before anything was sent), over (``outcome.json`` is there). ``tries`` counts the
    workflows prepared, ``sending_at`` is when the last send began (seconds since the epoch),
    ``name`` and ``request`` the name and number of the iDDS request, ``tasks`` its PanDA tasks,
    ``quanta`` those of each task of the pipeline.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "record.json"
        self.fields: dict[str, Any] = read_json(self._path) or {"stage": "planted", "tries": 0}

    def note(self, **fields: Any) -> None:
        """Change fields, on disk before this returns."""
        self.fields.update(fields, updated=time.time())
        write_json(self._path, self.fields)


class BpsJob(Job):
    """The graph and the counting of a process job whose quanta run elsewhere, on a Butler that reads
    what it needs from the graph.
    """

    graph_options = ("--qgraph-datastore-records",)

    def __init__(
        self, order: Order, progress: Progress, jobs: Sequence[dict[str, Any]] = ()
    ) -> None:
        super().__init__(order, progress)
        self._failed_jobs = jobs

    def explain_failures(self) -> None:
        """Say which PanDA job a failed quantum was in, and name the quanta of jobs that left no log."""
        explain(self.outcome, self._failed_jobs)

    def aggregate(self, order: Order) -> None:
        """Take what the quanta have written into the Butler.

        Raises
        ------
        JobError
            If that cannot be done.
        """
        from lsst.pipe.base.cli import cmd

        words = [str(order.work_dir / "graph.qg"), order.butler, "-j", "1"]
        try:
            cmd.aggregate_graph.main(
                args=[*words, "--register-dataset-types"],
                prog_name="butler aggregate-graph",
                standalone_mode=False,
            )
        except Exception as error:
            LOG.exception("aggregate-graph failed")
            raise JobError(
                f"What the quanta have written cannot be taken into the Butler. {error}",
                classify(error),
            ) from error


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object from a file, None where there is none."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextlib.contextmanager
def working_on(directory: Path) -> Iterator[bool]:
    """Hold the attempt's lock; yields False if another process has it."""
    with (directory / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield True


def is_worked_on(directory: Path) -> bool:
    """Return whether a process holds the attempt's lock."""
    with (directory / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def work_on(directory: Path) -> None:
    """Bring the attempt on as far as it goes now; does nothing if another process is at it."""
    with working_on(directory) as alone:
        if not alone or (directory / "outcome.json").exists():
            return
        record = Record(directory)
        try:
            if (directory / "finish.json").exists():
                finish(directory, record)
            else:
                submit(directory, record)
        except NotNow as reason:
            LOG.warning("not now: %s", reason)
            record.note(
                stage="waiting", message=str(reason), not_before=time.time() + reason.pause_s
            )


def submit(directory: Path, record: Record) -> None:
    """Build the graph, prepare the workflow and see that iDDS has it, once.

    Raises
    ------
    NotNow
        If it has to be tried again later.
    """
    order, plan = Order.read(directory / "runner.json"), read_json(directory / "plan.json") or {}
    if record.fields.get("request") is not None:
        record.note(stage="sent", message="")
        return
    if is_cancelled(directory) and record.fields.get("sending_at") is None:
        record.note(stage="cancelled", message="")
        return
    record.note(
        stage="graph", message="", output_run=order.output_run, name=plan["config"]["uniqProcName"]
    )
    progress = Progress(order)
    progress.phase("graph")
    job = BpsJob(order, progress)
    with listening(progress):
        if not went_through(job, job.make_graph):
            end(directory, record, job)
            return
        if not job.outcome.graph["n_quanta"]:
            # Earlier attempts did everything there was to do.
            went_through(job, lambda: job.report(0))
            end(directory, record, job)
            return
        record.note(tries=record.fields["tries"] + 1)
        workflow = bps_sending.Workflow(
            plan, directory, directory / "graph.qg", record.fields["tries"]
        )
        tasks: list[bps_sending.Task] = []
        if not went_through(job, lambda: tasks.extend(prepared(workflow))):
            end(directory, record, job)
            return
    quanta = job.outcome.graph["n_task_quanta"]
    record.note(tasks=bps_sending.as_json(tasks), quanta=quanta)
    # Not before: BPS writes its environment into the submit directory.
    bps_sending.take_credential(plan["credential"])
    send(directory, record, workflow, plan["settle_s"])


def prepared(workflow: bps_sending.Workflow) -> list[bps_sending.Task]:
    """Prepare the workflow; what BPS refuses is the order's own fault, as a rule."""
    try:
        return workflow.prepare()
    except Exception as error:
        LOG.exception("bps prepare failed")
        words = describe(error, _NO_ERRORS)
        raise JobError(f"BPS cannot prepare the workflow. {words}", classify(error)) from error


class _NoErrors:
    lines: tuple[str, ...] = ()


_NO_ERRORS: Any = _NoErrors()


def send(directory: Path, record: Record, workflow: bps_sending.Workflow, settle_s: float) -> None:
    """See that iDDS has the workflow: look it up by name, and send it only if it is not there.

    Raises
    ------
    NotNow
        If iDDS cannot be asked, or nobody knows yet whether an earlier send has arrived.
    """
    found = bps_sending.request_named(workflow.name)
    if found is not None:
        record.note(stage="sent", request=found, message="")
        return
    began = record.fields.get("sending_at")
    left = 0.0 if began is None else began + settle_s - time.time()
    if left > 0:
        raise NotNow(
            "whether iDDS has taken the workflow is not known: the process that sent it was cut off; "
            f"it is looked for again, and sent again if it is not there after {left:.0f} s",
            min(left, PAUSE_S),
        )
    if is_cancelled(directory):
        record.note(stage="cancelled", message="")
        return
    record.note(stage="sending", sending_at=time.time())
    try:
        request = workflow.send()
    except (Exception, SystemExit) as error:  # pandaclient leaves where it has no credential
        LOG.exception("bps submit failed")
        raise NotNow(f"PanDA did not take the workflow: {error}", min(settle_s, PAUSE_S)) from error
    record.note(stage="sent", request=request, message="")


def finish(directory: Path, record: Record) -> None:
    """Count what became of the quanta of a workflow that is over."""
    order, asked = Order.read(directory / "runner.json"), read_json(directory / "finish.json") or {}
    progress = Progress(order)
    job = BpsJob(order, progress, asked.get("jobs") or ())

    def count() -> None:
        job.describe_graph()
        if asked.get("aggregate"):
            progress.phase("aggregate")
            job.aggregate(order)
        job.report(job.outcome.graph["n_quanta"])

    with listening(progress):
        good = went_through(job, count)
    counts = record.fields.get("counts", 0) + 1
    if not good and job.outcome.error_class == "Transient" and counts < COUNTS_AT_MOST:
        record.note(counts=counts)
        raise NotNow(f"its quanta cannot be counted now: {job.outcome.message}", PAUSE_S)
    end(directory, record, job)


def end(directory: Path, record: Record, job: Job) -> None:
    """Write the outcome: the last thing that is done."""
    write_json(directory / "outcome.json", {**asdict(job.outcome), "ended": time.time()})
    record.note(stage="over", message="")


def is_cancelled(directory: Path) -> bool:
    """Return whether somebody asked for the end."""
    return (directory / "cancel").exists()
