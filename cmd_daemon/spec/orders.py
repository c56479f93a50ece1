"""Orders: everything a driver needs to start one attempt of one job."""

from collections.abc import Mapping, Sequence
from typing import Any

from cmd_daemon.hooks.ports import JobOrder
from cmd_daemon.kernel.policy import JobTemplate, StepPolicy
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.spec import naming
from cmd_daemon.spec.queries import joined


def make_order(
    *,
    campaign: str,
    step: str,
    group: str,
    policy: StepPolicy,
    template: JobTemplate,
    attempt: int,
    facility: str,
    share: Mapping[str, Any],
    former: Sequence[tuple[int, str]] = (),
    mode: str = "",
    memory: int | None = None,
    runs: Sequence[str] = (),
) -> JobOrder:
    """The order for one attempt.

    `share` is the group's data share as a mapping (`name`, `where`, `region`, `size`, `data`).
    `former` has the earlier attempts of this job that count (number and the driver's ref), in any
    order. `runs` are the RUN collections of the group's process attempts that count, newest good first:
    what a collect job chains and a script may read; the caller leaves out those before a from-start.
    `memory` in bytes; None takes the step's. Raises ValueError if a collect job has no runs.
    """
    output = campaign_output(policy, step)
    chain = naming.group_chain(output, step, group)
    newest_first = sorted(former, reverse=True)
    processing = template.kind is JobKind.PROCESS
    params = dict(template.params)
    if template.kind is JobKind.COLLECT:
        params["chains"] = collect_chains(output, step, group, runs)
    return JobOrder(
        key=naming.key(campaign, step, group, template.name, attempt),
        campaign=campaign,
        step=step,
        group=group,
        job=template.name,
        attempt=attempt,
        kind=template.kind,
        facility=facility,
        params=params,
        share=dict(share),
        where=joined(policy.where, str(share.get("where") or "")),
        stack=policy.stack,
        butler=policy.butler,
        inputs=policy.inputs,
        output_run=(
            naming.output_run(output, step, group, attempt) if processing else next(iter(runs), "")
        ),
        output_chain=chain,
        step_chain=policy.output,
        former_runs=(
            tuple(naming.output_run(output, step, group, n) for n, _ in newest_first)
            if processing
            else tuple(runs)
        ),
        former_refs=tuple(ref for _, ref in newest_first),
        mode=mode,
        memory=policy.resources.memory if memory is None else memory,
        cores=policy.resources.cores,
        walltime_s=_walltime(policy, template),
    )


def campaign_output(policy: StepPolicy, step: str) -> str:
    """The campaign's `butler.output`, from a step's chained collection."""
    return policy.output.removesuffix(f"/{step}")


def collect_chains(output: str, step: str, group: str, runs: Sequence[str]) -> list[dict[str, Any]]:
    """What a collect job has to chain: the runs into the group's collection, newest good first so
    that it wins, that at the head of the step's, and that at the head of the campaign's. Raises
    ValueError without runs."""
    if not runs:
        raise ValueError(f"group {step}/{group} has no run to collect: it was never processed")
    chain = naming.group_chain(output, step, group)
    return [
        {"name": chain, "children": list(runs)},
        {"name": naming.step_chain(output, step), "children": [chain], "mode": "prepend"},
        {"name": output, "children": [naming.step_chain(output, step)], "mode": "prepend"},
    ]


def _walltime(policy: StepPolicy, template: JobTemplate) -> float:
    """Seconds: the job's own time limit where it is shorter than the step's wall time."""
    if template.timeout_s is None:
        return policy.resources.walltime_s
    if template.kind is JobKind.PROCESS:
        return min(template.timeout_s, policy.resources.walltime_s)
    return template.timeout_s
