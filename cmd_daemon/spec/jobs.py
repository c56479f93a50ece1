"""The jobs that each group of a step has, in the order of their chain.

stage -> gather -> before scripts -> process -> collect -> scatter -> keep -> archive -> after scripts ->
purge; what a step does not ask for is left out.
"""

from collections.abc import Sequence
from typing import Any

from cmd_daemon.kernel.policy import JobTemplate
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.spec.model import ScriptSection, StepSection

OUTPUT_KEYS = ("scatter", "keep", "archive", "discard")
"""Keys of a step that are about what its pipeline has made."""

PROCESS = "process"
COLLECT = "collect"


def job_templates(
    step: StepSection, origins: tuple[str, ...] = (), facilities: tuple[str, ...] = ()
) -> tuple[JobTemplate, ...]:
    """The templates of a step with its defaults filled in; `origins` are the chained collections of
    the steps it comes after, which a gather reads, `facilities` all those of the campaign, between
    which data moves. None at all for a breakpoint; without a pipeline nothing is made, so there is
    nothing to scatter, keep, archive or discard."""
    if step.breakpoint is not None:
        return ()
    everywhere = {"facilities": list(facilities)}
    jobs: list[JobTemplate] = []
    if step.stage is not None:
        jobs += _moves("stage", {**_given(step.stage), **everywhere})
    if step.gather is not None:
        gathered = {**_given(step.gather), "at": step.at, "collections": list(origins)}
        jobs += _moves("gather", {**gathered, **everywhere})
    jobs += [_script(f"before-{i}", s) for i, s in enumerate(step.before or [], start=1)]
    if step.pipeline is not None:
        jobs.append(_process(step))
        jobs.append(JobTemplate(COLLECT, JobKind.COLLECT))
    made = step.pipeline is not None
    if made and step.scatter is not None:
        jobs += _moves("scatter", {**_given(step.scatter), **everywhere})
    if made and step.keep is not None:
        jobs += _moves("keep", {**_given(step.keep), **everywhere})
    if made and step.archive is not None:
        params = {**_given(step.archive), **everywhere}
        if step.archive.datasets is None and step.discard:
            params["without"] = list(step.discard)  # what is thrown away is not put into an archive
        if step.archive.bundle is not None:
            jobs.append(JobTemplate("archive-bundle", JobKind.BUNDLE, params))
        jobs.append(JobTemplate("archive-register", JobKind.REGISTER, params))
        jobs.append(JobTemplate("archive-transfer", JobKind.TRANSFER, params))
    jobs += [_script(f"after-{i}", s) for i, s in enumerate(step.then or [], start=1)]
    if made and step.discard is not None:
        jobs.append(_purge(step, step.discard))
    return tuple(jobs)


def needs(step: StepSection) -> dict[str, list[JobKind]]:
    """The kinds of jobs the step needs, by the key of the file that asks for them."""
    keys = {
        "before": "before",
        "after": "then",
        "process": "pipeline",
        "collect": "pipeline",
        "purge": "discard",
    }
    kinds: dict[str, list[JobKind]] = {}
    for job in job_templates(step):
        word = job.name.split("-")[0]
        needed = kinds.setdefault(keys.get(word, word), [])
        if job.kind not in needed:
            needed.append(job.kind)
    return kinds


def _process(step: StepSection) -> JobTemplate:
    params: dict[str, Any] = dict(step.params or {})
    params["pipeline"] = step.pipeline
    params["config"] = dict(step.config or {})
    if step.resources is not None and step.resources.processes is not None:
        params["processes"] = step.resources.processes
    return JobTemplate(PROCESS, JobKind.PROCESS, params, driver=step.driver)


def _script(name: str, script: ScriptSection) -> JobTemplate:
    params = {
        "script": script.script,
        "args": [_word(a) for a in script.args],
        "env": {k: _word(v) for k, v in script.env.items()},
    }
    return JobTemplate(name, JobKind.SCRIPT, params, timeout_s=script.timeout)


def _moves(name: str, params: dict[str, Any]) -> list[JobTemplate]:
    """Datasets that go from one Butler to another: made known, moved, taken in."""
    steps = (
        (f"{name}-register", JobKind.REGISTER),
        (f"{name}-transfer", JobKind.TRANSFER),
        (f"{name}-ingest", JobKind.INGEST),
    )
    return [JobTemplate(n, kind, params) for n, kind in steps]


def _purge(step: StepSection, datasets: Sequence[str]) -> JobTemplate:
    """Datasets that go; `closed` names the movements that must be verified before."""
    closed = [name for name in ("keep", "archive") if getattr(step, name) is not None]
    return JobTemplate("purge", JobKind.PURGE, {"datasets": list(datasets), "closed": closed})


def _given(section: Any) -> dict[str, Any]:
    return dict(section.model_dump(exclude_none=True))


def _word(value: Any) -> str:
    """A script's argument as text; true and false as in the file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
