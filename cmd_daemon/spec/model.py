"""The keys of a campaign file, their types and their meaning.

These models are the one source of the JSON Schema and of what is taken; what keys mean together is
checked in `checking.py`. Every description here is shown to people by their editors.
"""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from cmd_daemon.kernel.policy import RuleAction
from cmd_daemon.spec.reading import kind_of
from cmd_daemon.spec.units import parse_duration, parse_memory

TEXT_ERROR = "campaign_text"
"""The error type of a value that should have been text (a number may still be taken as written)."""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        quotes = not isinstance(value, list | dict | None)
        hint = "put it in quotes if it is meant as text" if quotes else ""
        raise PydanticCustomError(
            TEXT_ERROR, "must be text, not {kind}", {"kind": kind_of(value), "hint": hint}
        )
    if not value.strip():
        raise PydanticCustomError("campaign_empty", "must not be empty")
    return value.strip()


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError(
            "campaign_whole", "must be a whole number, not {kind}", {"kind": kind_of(value)}
        )
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError(
            "campaign_number", "must be a number, not {kind}", {"kind": kind_of(value)}
        )
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise PydanticCustomError(
            "campaign_flag", "must be true or false, not {kind}", {"kind": kind_of(value)}
        )
    return value


def _unit(parse: Callable[[str], float], example: str) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        if not isinstance(value, str):
            hint = f"numbers need a unit, for example {example}"
            raise PydanticCustomError(
                "campaign_unit",
                "needs a unit, {kind} has none",
                {"kind": kind_of(value), "hint": hint},
            )
        try:
            return parse(value)
        except ValueError as error:
            raise PydanticCustomError(
                "campaign_unit",
                "'{value}' is wrong: {why}",
                {"value": value[:40], "why": str(error)},
            ) from None

    return check


Text = Annotated[str, BeforeValidator(_text)]
Whole = Annotated[int, BeforeValidator(_whole)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Share = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)]
Factor = Annotated[float, BeforeValidator(_number), Field(ge=1, le=100)]
Duration = Annotated[
    float,
    BeforeValidator(_unit(parse_duration, "5 min")),
    WithJsonSchema({"type": "string", "examples": ["90 s", "5 min", "2 h", "1 d"]}),
]
Memory = Annotated[
    int,
    BeforeValidator(_unit(parse_memory, "4 GB")),
    WithJsonSchema({"type": "string", "examples": ["500 MB", "32 GB", "4 GiB"]}),
]
Names = Annotated[list[Text], Field(max_length=50)]
SomeNames = Annotated[list[Text], Field(min_length=1, max_length=1000)]


class Section(BaseModel):
    """A mapping of the file: only known keys, never changed after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ButlerSection(Section):
    """The Butler repository and the collections of the campaign."""

    repo: Text
    """Label of the repository; each facility resolves it to its own."""
    inputs: SomeNames
    """Collections to read, the first wins."""
    output: Text
    """Beginning of the names of all collections the campaign makes."""


class PlacementSection(Section):
    """Which facility runs which group."""

    algorithm: Text | None = None
    """pinned, share, locality, balanced, or a plugin's."""
    region: Text | None = None
    """Dimension whose groups stay together at one facility, for example tract."""
    shares: dict[str, Share] | None = None
    """Share of the work for each facility; they add up to 1."""
    pins: dict[str, Text] | None = None
    """For a facility, a data query whose groups run there."""
    inputs: Names | None = None
    """Dataset types that a facility must hold for a group before it may run there."""
    params: Annotated[dict[str, Any], Field(max_length=100)] | None = None
    """The algorithm's own parameters, such as margin and when_down."""


class MemoryGrowth(Section):
    """How an attempt's memory grows when it is tried again."""

    factor: Factor = 2.0
    """The memory of each attempt is this many times that of the one before."""
    max: Memory | None = None
    """No attempt asks for more memory than this."""


class RetrySection(Section):
    """How often and how a failed attempt is tried again."""

    attempts: Annotated[Whole, Field(ge=1, le=100)] = 3
    """Number of attempts in all, the first one included."""
    backoff: Duration = 60.0
    """Pause before the second attempt; it doubles for each one after."""
    backoff_max: Duration = 3600.0
    """The longest pause between two attempts."""
    memory: MemoryGrowth | None = None
    """How the memory grows from attempt to attempt; without it, it does not."""


class AcceptSection(Section):
    """When a group is good enough."""

    at_least: Share = 1.0
    """Share of quanta that must succeed; below it the group waits for a person."""


class ErrorRuleSection(Section):
    """What to do with failures of one sort. What is not given matches everything."""

    task: Text | None = None
    """Label of the failed task, or a pattern such as `isr*`."""
    message: Text | None = None
    """Regular expression to be found in the failure's message."""
    exit: Annotated[Whole, Field(ge=-255, le=255)] | None = None
    """Exit code of the failure."""
    action: RuleAction
    """retry, accept, hold or fail."""
    up_to: Share | None = None
    """For accept: the largest share of the group's quanta that may be lost by this rule."""


class ResourcesSection(Section):
    """What one job of the step asks for."""

    memory: Memory = 2 * 1024**3
    """Memory of the job's first attempt."""
    cores: Annotated[Whole, Field(ge=1, le=100_000)] = 1
    """Whole cores."""
    walltime: Duration = 86_400.0
    """The longest time the job may run."""
    processes: Annotated[Whole, Field(ge=1, le=100_000)] | None = None
    """Processes that share the quanta of one process job; left to the driver if not given."""


class ScriptSection(Section):
    """One script that runs at the group's facility."""

    script: Text
    """Name of the script, as the facility's configuration knows it."""
    args: list[Any] = Field(default_factory=list, max_length=100)
    """Arguments. {campaign}, {step}, {group}, {facility}, {attempt}, {where} and {output_run} are
    replaced."""
    env: dict[str, Any] = Field(default_factory=dict, max_length=100)
    """Environment variables; the same names are replaced."""
    timeout: Duration | None = None
    """The longest time the script may run."""


class SplitSection(BaseModel):
    """How the step's data is shared into groups. Other keys belong to the splitter."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    splitter: Text | None = None
    """Name of the splitter, if it does not follow from the other keys."""
    by: Any = None
    """The dimension (or list of dimensions) whose values are shared out."""
    values: Any = None
    """The values, as a list."""
    ranges: Any = None
    """Ranges of whole numbers such as 1..100 or 5..9:2, as a list."""
    size: Any = None
    """Values in one group."""
    count: Any = None
    """Number of groups."""
    max_quanta: Any = None
    """The most estimated quanta in one group."""
    datasets: Any = None
    """Dataset types that must exist for a value to be taken."""
    where: Any = None
    """Data query that narrows what is shared out, beside the step's own."""
    per: Any = None
    """Dimensions of one quantum, over which max_quanta is counted; those of by if not given."""
    within: Any = None
    """Dimension of the regions that were placed before: each group's data belong to one region."""
    at: Text | None = None
    """The facility whose Butler is asked."""


class StageSection(Section):
    """Inputs to bring to the group's facility from the others, where it does not hold them."""

    datasets: SomeNames
    """Dataset types, looked for in the step's input collections and narrowed to the group's data."""
    existing: Annotated[dict[Text, Text], Field(min_length=1, max_length=50)] | None = None
    """Those of the dataset types that are in Rucio already: patterns of names of its datasets."""


class GatherSection(Section):
    """Outputs to bring to the step's facility from every facility that made some."""

    datasets: SomeNames
    """Dataset types."""
    by: Text | None = None
    """Dimension by which they are brought."""


class ScatterSection(Section):
    """The step's outputs to give back to the other facilities."""

    datasets: SomeNames
    """Dataset types."""
    by: Text | None = None
    """Dimension by which each facility gets only what it holds."""


class KeepSection(Section):
    """Outputs to bring to one facility when the group is done."""

    datasets: SomeNames
    """Dataset types."""
    at: Text
    """The facility that keeps them."""


class ArchiveSection(Section):
    """Where the group's outputs are archived."""

    rse: Text
    """The storage element."""
    bundle: Text | None = None
    """Format in which many small files become few big ones, for example zip."""
    datasets: SomeNames | None = None
    """Dataset types; all of the group's outputs if not given."""


class StepSection(Section):
    """One stage of the campaign."""

    after: Names | None = None
    """Steps that must be accepted before this one begins."""
    optional: Flag | None = None
    """A step that only reports: its failure does not hold back the campaign."""
    breakpoint: Text | None = None
    """What a person has to look at and sign before the steps after this one begin."""
    pipeline: Text | None = None
    """Pipeline file and #subset. Variables such as $DRP_PIPE_DIR are the facility's."""
    config: Annotated[dict[str, Any], Field(max_length=1000)] | None = None
    """Configuration of the pipeline: task:field and its value."""
    driver: Text | None = None
    """Driver for the process jobs, instead of the facility's own."""
    params: Annotated[dict[str, Any], Field(max_length=1000)] | None = None
    """Handed to the driver of the process jobs as it stands."""
    split: SplitSection | None = None
    """How the step's data is shared into groups; without it, the step is one group."""
    where: Text | None = None
    """Data query of the step, joined with the campaign's by AND."""
    at: Text | None = None
    """The facility where the whole step runs."""
    placement: PlacementSection | None = None
    """Which facility runs which group of this step: merged key by key with the campaign's."""
    stage: StageSection | None = None
    """Inputs to bring to each group's facility from the others."""
    gather: GatherSection | None = None
    """Outputs of earlier steps to bring to this step's facility."""
    scatter: ScatterSection | None = None
    """Outputs of this step to give back to the other facilities."""
    resources: ResourcesSection | None = None
    """What one process job asks for."""
    retry: RetrySection | None = None
    """How often and how a failed attempt is tried again."""
    accept: AcceptSection | None = None
    """When a group is good enough."""
    errors: Annotated[list[ErrorRuleSection], Field(max_length=200)] | None = None
    """What to do with failures; the first rule that matches wins."""
    before: Annotated[list[ScriptSection], Field(max_length=20)] | None = None
    """Scripts to run before the processing of each group, in order."""
    then: Annotated[list[ScriptSection], Field(max_length=20)] | None = None
    """Scripts to run after the processing of each group, in order."""
    keep: KeepSection | None = None
    """Outputs to bring to one facility when the group is done."""
    archive: ArchiveSection | None = None
    """Where the group's outputs are archived."""
    discard: SomeNames | None = None
    """Dataset types to purge when everything else of the group is done and verified."""


class CampaignFile(Section):
    """A campaign: one data-processing production."""

    campaign: Text
    """Name of the campaign, unique in the daemon."""
    owner: Text
    """Who answers for it."""
    ticket: Text | None = None
    """Ticket under which it is discussed."""
    stack: Text
    """Version of the Rubin Science Pipelines that builds and runs every quantum graph."""
    butler: ButlerSection
    """Where the campaign reads and writes."""
    where: Text | None = None
    """Data query that narrows the whole campaign."""
    facilities: SomeNames
    """Facilities that may run groups."""
    placement: PlacementSection | None = None
    """Which facility runs which group."""
    parameters: dict[str, Any] | None = None
    """Values for ${NAME}, with defaults; without a default a value must be given with --set."""
    defaults: StepSection | None = None
    """Keys for every step; a step's own key wins."""
    steps: Annotated[dict[str, StepSection], Field(min_length=1, max_length=500)]
    """The steps, by name."""


KEYWISE = ("resources", "retry", "accept", "config", "params", "placement")
"""Keys of a step that are merged with the defaults key by key; others replace them as a whole."""


OWN_ONLY = ("after", "breakpoint")
"""Keys of a step that cannot be a default."""


def merged(defaults: StepSection | None, step: StepSection) -> StepSection:
    """The step with the defaults filled in: a step's own key wins, also when it is empty.

    A pure breakpoint takes nothing from the defaults but `optional`.
    """
    if defaults is None:
        return step
    names = {"optional"} if step.breakpoint is not None else defaults.model_fields_set
    names = names - set(OWN_ONLY)
    update: dict[str, Any] = {}
    for name in names:
        default = getattr(defaults, name)
        if name not in step.model_fields_set:
            update[name] = default
        elif name == "placement":
            update[name] = placed(default, step.placement) if step.placement is not None else None
        elif name in KEYWISE and default is not None and getattr(step, name) is not None:
            update[name] = _together(default, getattr(step, name))
    return step.model_copy(update=update)


def placed(outer: PlacementSection | None, own: PlacementSection | None) -> PlacementSection:
    """A placement with what it does not say itself taken from the one around it, key by key; `params`
    too, while `shares`, `pins` and `inputs` are replaced as a whole. A key that is null sets the outer
    one aside."""
    if outer is None or own is None:
        return own or outer or PlacementSection()
    names = outer.model_fields_set - own.model_fields_set
    update: dict[str, Any] = {name: getattr(outer, name) for name in names}
    if own.params is not None:
        update["params"] = {**(outer.params or {}), **own.params}
    return own.model_copy(update=update)


def _together(default: Any, own: Any) -> Any:
    if isinstance(default, dict):
        return {**default, **own}
    update: dict[str, Any] = {}
    for name in default.model_fields_set:
        if name not in own.model_fields_set:
            update[name] = getattr(default, name)
        elif isinstance(getattr(default, name), Section) and getattr(own, name) is not None:
            update[name] = _together(getattr(default, name), getattr(own, name))
    return own.model_copy(update=update)
