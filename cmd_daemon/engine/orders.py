"""From a job in the view to the order its driver gets."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cmd_daemon.hooks.ports import JobOrder
from cmd_daemon.kernel import retry
from cmd_daemon.kernel.entities import Job
from cmd_daemon.kernel.policy import JobTemplate
from cmd_daemon.kernel.records import AttemptRow
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.kernel.view import View
from cmd_daemon.spec import make_order, output_run


def templates_of(share: Mapping[str, Any], planned: Sequence[JobTemplate]) -> Sequence[JobTemplate]:
    """The job templates of a group: those a plugin planned for it, else the step's."""
    own = share.get("jobs")
    if not own:
        return planned
    return tuple(
        JobTemplate(
            name=each["name"],
            kind=JobKind(each["kind"]),
            params=each.get("params", {}),
            timeout_s=each.get("timeout_s"),
            driver=each.get("driver"),
        )
        for each in own
    )


def memory_of(view: View, job: Job) -> int:
    """Bytes that the job's current attempt asks for."""
    policy = view.steps[job.step_id].policy
    used = max(job.attempt - job.budget_from, 1)
    return retry.memory(policy.resources, policy.retry, used)


def process_job(view: View, job: Job) -> Job | None:
    """The process job of the job's group, if it has one."""
    for ident in view.groups[job.group_id].jobs:
        if view.jobs[ident].kind is JobKind.PROCESS:
            return view.jobs[ident]
    return None


def wants_attempts(view: View, job: Job) -> int | None:
    """The job whose former attempts the order must name, or None: the job itself when it is tried again,
    the group's process job when its runs are to be collected."""
    if job.kind is JobKind.COLLECT:
        process = process_job(view, job)
        return process.id if process is not None else None
    return job.id if job.attempt - job.fresh_from > 1 else None


def order_of(view: View, job: Job, attempts: Sequence[AttemptRow]) -> JobOrder:
    """The order for the job's current attempt. `attempts` are those of `wants_attempts`, oldest first.

    Raises ValueError if the file of a running campaign no longer has the job's template.
    """
    step = view.steps[job.step_id]
    group = view.groups[job.group_id]
    share = json.loads(group.share)
    template = next((t for t in templates_of(share, step.policy.jobs) if t.name == job.name), None)
    if template is None:
        raise ValueError(f"step {step.name} no longer has a job called {job.name}")
    former: list[tuple[int, str]] = []
    runs: list[str] = []
    if job.kind is JobKind.COLLECT:
        process = process_job(view, job)
        fresh_from = process.fresh_from if process is not None else 0
        output = step.policy.output.removesuffix(f"/{step.name}")
        runs = [
            row.output_run or output_run(output, step.name, group.name, row.number)
            for row in reversed(attempts)
            if row.number > fresh_from and (row.output_run or row.state == "SUCCEEDED")
        ]
    else:
        former = [(row.number, row.ref or "") for row in attempts if row.number > job.fresh_from]
    return make_order(
        campaign=view.campaigns[job.campaign_id].name,
        step=step.name,
        group=group.name,
        policy=step.policy,
        template=template,
        attempt=job.attempt,
        facility=job.facility,
        share=share,
        former=former,
        mode=job.mode,
        memory=memory_of(view, job),
        runs=runs,
    )
