"""From the text of a campaign file to the plan that the daemon stores and decides by."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cmd_daemon.hooks.ports import FacilityInfo
from cmd_daemon.kernel.policy import (
    PlacementPlan,
    Resources,
    RetryPolicy,
    StepPolicy,
)
from cmd_daemon.spec.checking import Checked, check
from cmd_daemon.spec.jobs import job_templates
from cmd_daemon.spec.known import Known
from cmd_daemon.spec.model import CampaignFile, PlacementSection, StepSection, placed
from cmd_daemon.spec.naming import step_chain
from cmd_daemon.spec.parameters import substitute
from cmd_daemon.spec.problems import CampaignFileError, Problem, dotted
from cmd_daemon.spec.queries import joined
from cmd_daemon.spec.reading import Document, read_document
from cmd_daemon.spec.rules import compiled
from cmd_daemon.spec.shape import shaped


@dataclass(frozen=True, slots=True)
class CampaignPlan:
    """A campaign file after parameters, defaults and checks.

    `output` is the beginning of its collections' names. `steps` is in an order in which each step
    comes after the steps it names. `parameters` are the resolved ones. `digest` is the SHA-256 (hex) of
    the document's meaning: the same for two files that differ in comments, layout, or in which
    way a parameter was given.
    """

    name: str
    owner: str
    ticket: str | None
    stack: str
    butler: str
    output: str
    facilities: tuple[str, ...]
    steps: Mapping[str, StepPolicy]
    parameters: Mapping[str, str]
    text: str
    digest: str
    file: str = ""
    warnings: tuple[Problem, ...] = ()
    placement: PlacementPlan = field(default_factory=PlacementPlan)
    """The campaign's own placement, from which a step's may differ."""
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict, compare=False)
    """Line and column of the keys, by dotted field, down to those of a step."""

    def place(self, field: str) -> tuple[int, int]:
        """Line and column of a dotted field, or of the nearest key around it; (0, 0) for none."""
        while field:
            if field in self.places:
                return self.places[field]
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return (0, 0)


def read_campaign(
    text: str | bytes, *, file: str, parameters: Mapping[str, str], known: Known
) -> CampaignPlan:
    """Parse, fill in parameters (`--set`) and defaults, check and compile a campaign file.

    `file` is the name to be used in messages. Raises CampaignFileError, and nothing else, with
    all problems that can be told apart: what is not YAML says nothing of its keys, and where
    required sections are missing only the shape is judged.
    """
    document = read_document(text, file)
    resolved, warnings = substitute(document, parameters)
    model = shaped(document, CampaignFile)
    if model is None:
        raise CampaignFileError(document.problems)
    checked = check(document, model, known)
    if document.problems:
        raise CampaignFileError(document.problems)
    plain = text if isinstance(text, str) else bytes(text).decode("utf-8-sig")
    return _compiled(document, checked, known, resolved, plain, warnings)


def _compiled(
    document: Document,
    checked: Checked,
    known: Known,
    resolved: dict[str, str],
    text: str,
    warnings: list[Problem],
) -> CampaignPlan:
    file = checked.file
    canonical = json.dumps(document.data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return CampaignPlan(
        name=file.campaign,
        owner=file.owner,
        ticket=file.ticket,
        stack=file.stack,
        butler=file.butler.repo,
        output=file.butler.output,
        facilities=tuple(file.facilities),
        steps=policies(checked, known),
        parameters=resolved,
        text=text,
        digest=hashlib.sha256(canonical.encode()).hexdigest(),
        file=document.file,
        placement=_placement(placed(file.placement, None), file),
        warnings=tuple(sorted({*warnings, *checked.warnings}, key=lambda p: (p.line, p.column))),
        places={dotted(path): at for path, at in document.keys.items() if len(path) <= 3},
    )


def policies(checked: Checked, known: Known) -> dict[str, StepPolicy]:
    """The policies of a checked file's steps, in the order of `checked.steps`."""
    steps = checked.steps
    nearest_first = ancestors(steps)
    output = checked.file.butler.output
    compiled = {}
    for name, step in steps.items():
        origins = tuple(
            step_chain(output, before)
            for before in nearest_first[name]
            if steps[before].pipeline is not None
        )
        compiled[name] = _policy(name, step, checked, known, origins)
    return compiled


def ancestors(steps: Mapping[str, StepSection]) -> dict[str, list[str]]:
    """For each step the steps it comes after, directly or not, nearest first.

    The distance is that of the longest way, so that a step always stands before those it comes
    after itself (its outputs win over theirs); among equals the later in `steps` is first.
    """
    position = {name: i for i, name in enumerate(steps)}
    distances: dict[str, dict[str, int]] = {}
    for name, step in steps.items():
        own: dict[str, int] = {}
        for before in step.after or []:
            own[before] = max(own.get(before, 0), 1)
            for far, distance in distances[before].items():
                own[far] = max(own.get(far, 0), distance + 1)
        distances[name] = own
    return {
        name: sorted(own, key=lambda s, own=own: (own[s], -position[s]))  # type: ignore[misc]
        for name, own in distances.items()
    }


def _policy(
    name: str, step: StepSection, checked: Checked, known: Known, origins: tuple[str, ...]
) -> StepPolicy:
    file = checked.file
    names = [step.at] if step.at is not None else file.facilities
    candidates = [known.facilities[n] for n in names]
    return StepPolicy(
        after=tuple(step.after or ()),
        optional=bool(step.optional),
        breakpoint=step.breakpoint,
        jobs=job_templates(step, origins, tuple(file.facilities)),
        split=checked.splits.of(step.split)[0],
        placement=_step_placement(step, file, origins),
        resources=_resources(step, candidates),
        retry=_retry(step),
        at_least=step.accept.at_least if step.accept is not None else 1.0,
        errors=compiled(step.errors or ()),
        where=joined(file.where, step.where),
        stack=file.stack,
        butler=file.butler.repo,
        inputs=(*origins, *file.butler.inputs),
        output=step_chain(file.butler.output, name),
    )


def _step_placement(
    step: StepSection, file: CampaignFile, origins: tuple[str, ...]
) -> PlacementPlan:
    """The step's placement. The campaign's `inputs` count for a step that reads nothing but the
    campaign's own inputs; what other steps have made lies where they ran, and only a step's own
    `inputs` ask for it."""
    whole = placed(file.placement, step.placement)
    own = step.placement is not None and "inputs" in step.placement.model_fields_set
    plan = _placement(whole, file)
    return replace(plan, at=step.at, inputs=plan.inputs if own or not origins else ())


def _placement(section: PlacementSection, file: CampaignFile) -> PlacementPlan:
    one = len(file.facilities) == 1
    return PlacementPlan(
        algorithm=section.algorithm or ("pinned" if one else "balanced"),
        facilities=tuple(file.facilities),
        region=section.region,
        shares=dict(section.shares or {}),
        pins=dict(section.pins or {}),
        inputs=tuple(section.inputs or ()),
        params=dict(section.params or {}),
    )


def _resources(step: StepSection, candidates: list[FacilityInfo]) -> Resources:
    """What the step asks for; what it does not say fits every facility it may run at."""
    standard = Resources()
    given: dict[str, Any] = {
        "memory": min([standard.memory, *(f.memory for f in candidates)]),
        "walltime_s": min([standard.walltime_s, *(f.walltime_s for f in candidates)]),
    }
    asked = step.resources
    if asked is not None:
        if "memory" in asked.model_fields_set:
            given["memory"] = asked.memory
        if "walltime" in asked.model_fields_set:
            given["walltime_s"] = asked.walltime
        given["cores"] = asked.cores
    return Resources(**given)


def _retry(step: StepSection) -> RetryPolicy:
    section = step.retry
    if section is None:
        return RetryPolicy()
    growth = section.memory
    return RetryPolicy(
        attempts=section.attempts,
        backoff_s=section.backoff,
        backoff_max_s=max(section.backoff_max, section.backoff),
        memory_factor=growth.factor if growth is not None else 1.0,
        memory_max=growth.max if growth is not None else None,
    )
