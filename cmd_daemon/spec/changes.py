"""What differs between two versions of a campaign file, and what cannot change any more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cmd_daemon.kernel.policy import ErrorRule, JobTemplate, StepPolicy
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.spec.compiling import CampaignPlan
from cmd_daemon.spec.orders import campaign_output
from cmd_daemon.spec.problems import Problem, nearest, shorten
from cmd_daemon.spec.units import duration_text, memory_text


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: dotted field of the file (`steps.coadd.retry.attempts`), and what was and is
    there as text; "" for nothing."""

    field: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.field}: {self.old or '(nothing)'} -> {self.new or '(nothing)'}"


_HAVE_JOBS = "its groups have their jobs already"
_FIXED = {
    "split": "its groups exist already",
    "where": "its groups exist already",
    "pipeline": "its groups would be made by two pipelines",
    **dict.fromkeys(("stage", "gather", "scatter", "keep", "archive", "discard"), _HAVE_JOBS),
}
"""Fields of a step that are fixed once its groups exist, with the reason."""


def changes(
    old: CampaignPlan, new: CampaignPlan, begun: Mapping[str, frozenset[str]]
) -> tuple[tuple[Change, ...], tuple[Problem, ...]]:
    """The differences between two versions, and the refusals.

    `begun` has the steps that have been split, each with the names of its groups. What may change
    at any time: retry, error rules, acceptance, resources, placement, configuration and scripts'
    contents (finished groups keep what they ran with), anything of steps that have not begun.
    """
    found: list[Change] = []
    refused: list[Problem] = []

    def refuse(field: str, message: str, hint: str) -> None:
        line, column = new.place(field)
        refused.append(Problem(new.file, line, column, field, message, hint))

    for field, before, now in _differences(_top(old), _top(new)):
        found.append(_change(field, before, now))
        if field == "campaign":
            refuse(
                field,
                f"the name cannot change from '{before}' to '{now}'",
                "apply it as a campaign of its own",
            )
        elif field in ("stack", "butler.repo", "butler.output", "butler.inputs") and begun:
            refuse(
                field,
                f"cannot change from '{before}' to '{now}': the campaign has begun to run",
                "finish or cancel this campaign and apply the file under a new name",
            )
    for name in dict.fromkeys((*old.steps, *new.steps)):
        one, two = old.steps.get(name), new.steps.get(name)
        groups = len(begun.get(name, ()))
        if one is None:
            found.append(Change(f"steps.{name}", "", "a new step"))
        elif two is None:
            found.append(Change(f"steps.{name}", "a step", ""))
            if name in begun:
                refuse(
                    f"steps.{name}",
                    f"step '{name}' cannot be removed: it has {_count(groups)}",
                    nearest(name, new.steps, "steps in the new file"),
                )
        else:
            for field, before, now in _differences(_step(one, old, name), _step(two, new, name)):
                found.append(_change(f"steps.{name}.{field}", before, now))
                if name in begun and (words := _refusal(field, before, now)):
                    refuse(
                        f"steps.{name}.{field}",
                        f"cannot change any more, step '{name}' has {_count(groups)}: {words}",
                        "put the change in a new step, or apply the file under a new name",
                    )
    return tuple(found), tuple(refused)


def _change(field: str, before: str, now: str) -> Change:
    return Change(field, shorten(before, 500), shorten(now, 500))


def _count(groups: int) -> str:
    return f"{groups} group{'' if groups == 1 else 's'} already"


def _refusal(field: str, before: str, now: str) -> str | None:
    """Why this field of a step with groups cannot change; None if it can."""
    if field == "after":
        new_edges = set(now.split(", ")) - set(before.split(", ")) - {""}
        if new_edges:
            return f"it has begun and cannot wait for {' and '.join(sorted(new_edges))} any more"
        return None
    appears = not before or not now
    if field.partition("[")[0] in ("before", "then"):
        return _HAVE_JOBS if appears else None
    if field == "breakpoint":
        return "a step either works or is a breakpoint" if appears else None
    return _FIXED.get(field)


def _differences(old: dict[str, str], new: dict[str, str]) -> list[tuple[str, str, str]]:
    names = dict.fromkeys((*old, *new))
    pairs = ((n, old.get(n, ""), new.get(n, "")) for n in names)
    return [(n, before, now) for n, before, now in pairs if before != now]


def _top(plan: CampaignPlan) -> dict[str, str]:
    placement = plan.placement
    return {
        "campaign": plan.name,
        "owner": plan.owner,
        "ticket": plan.ticket or "",
        "stack": plan.stack,
        "butler.repo": plan.butler,
        "butler.inputs": ", ".join(_butler_inputs(plan)),
        "butler.output": plan.output,
        "facilities": ", ".join(plan.facilities),
        "placement.algorithm": placement.algorithm,
        "placement.region": placement.region or "",
        "placement.shares": _mapping(placement.shares),
        "placement.pins": _mapping(placement.pins),
        "placement.inputs": ", ".join(placement.inputs),
        "placement.params": _mapping(placement.params),
    }


def _butler_inputs(plan: CampaignPlan) -> tuple[str, ...]:
    """The campaign's own input collections: those of a step without the chains of other steps."""
    chains = {p.output for p in plan.steps.values()}
    some = next(iter(plan.steps.values()))
    return tuple(i for i in some.inputs if i not in chains)


def _step(policy: StepPolicy, plan: CampaignPlan, name: str) -> dict[str, str]:
    retry, resources = policy.retry, policy.resources
    fields = {
        "after": ", ".join(policy.after),
        "optional": "true" if policy.optional else "false",
        "breakpoint": policy.breakpoint or "",
        "at": policy.placement.at or "",
        **_own_placement(policy, plan),
        "split": _mapping({"splitter": policy.split.splitter, **policy.split.params}),
        "split.at": policy.split.at or "",
        "where": policy.where,
        "resources.memory": memory_text(resources.memory),
        "resources.cores": str(resources.cores),
        "resources.walltime": duration_text(resources.walltime_s),
        "retry.attempts": str(retry.attempts),
        "retry.backoff": duration_text(retry.backoff_s),
        "retry.backoff_max": duration_text(retry.backoff_max_s),
        "retry.memory.factor": f"{retry.memory_factor:g}",
        "retry.memory.max": "" if retry.memory_max is None else memory_text(retry.memory_max),
        "accept.at_least": f"{policy.at_least:g}",
        "errors": "; ".join(_rule(r) for r in policy.errors),
    }
    output = campaign_output(policy, name)
    for job in policy.jobs:
        fields.update(_job(job, output))
    return fields


def _own_placement(policy: StepPolicy, plan: CampaignPlan) -> dict[str, str]:
    """Where the step's placement differs from the campaign's; "" where it does not."""
    own, of_all = policy.placement, plan.placement
    reads_outputs = policy.inputs != _butler_inputs(plan)
    inputs = () if reads_outputs else of_all.inputs
    return {
        "placement.algorithm": own.algorithm if own.algorithm != of_all.algorithm else "",
        "placement.region": (own.region or "none") if own.region != of_all.region else "",
        "placement.shares": _mapping(own.shares) if own.shares != of_all.shares else "",
        "placement.pins": _mapping(own.pins) if own.pins != of_all.pins else "",
        "placement.inputs": _value(own.inputs) if own.inputs != inputs else "",
        "placement.params": _mapping(own.params) if own.params != of_all.params else "",
    }


def _job(job: JobTemplate, output: str) -> dict[str, str]:
    """The fields of the file that a job came from."""
    if job.kind is JobKind.PROCESS:
        rest = {k: v for k, v in job.params.items() if k not in ("pipeline", "config", "processes")}
        return {
            "pipeline": str(job.params.get("pipeline", "")),
            "config": _mapping(job.params.get("config") or {}),
            "resources.processes": str(job.params.get("processes", "")),
            "params": _mapping(rest),
            "driver": job.driver or "",
        }
    word, _, number = job.name.partition("-")
    if job.kind is JobKind.SCRIPT:
        field = "before" if word == "before" else "then"
        timeout = "" if job.timeout_s is None else f", timeout: {duration_text(job.timeout_s)}"
        return {f"{field}[{int(number) - 1}]": _mapping(job.params) + timeout}
    if job.kind is JobKind.COLLECT:
        return {}
    field = "discard" if word == "purge" else word
    params = {
        k: v for k, v in job.params.items() if k not in ("collections", "at") or word == "keep"
    }
    return {field: _mapping(params)}


def _rule(rule: ErrorRule) -> str:
    parts = {"task": rule.task, "message": rule.message, "exit": rule.exit}
    given = [f"{k}: {v}" for k, v in parts.items() if v is not None]
    limit = f" up to {rule.up_to:g}" if rule.up_to < 1 else ""
    return f"{', '.join(given) or 'anything'} -> {rule.action.value}{limit}"


def _mapping(values: Mapping[str, Any]) -> str:
    """A mapping as text."""
    return ", ".join(f"{k}: {_value(v)}" for k, v in values.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + _mapping(value) + "}"
    return str(value)
