"""The checks of one step of a campaign file, after its defaults were filled in."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cmd_daemon.hooks.ports import FacilityInfo
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.spec.datasets import dataset_problem
from cmd_daemon.spec.jobs import OUTPUT_KEYS, needs
from cmd_daemon.spec.known import StepKnown
from cmd_daemon.spec.model import KEYWISE, StepSection
from cmd_daemon.spec.problems import Path, Problem, dotted, shorten
from cmd_daemon.spec.queries import query_problem
from cmd_daemon.spec.reading import Document
from cmd_daemon.spec.rules import check_rule, matches_all
from cmd_daemon.spec.units import duration_text, memory_text

_CONFIG_KEY = re.compile(r"[\w-]+:[A-Za-z_][\w.\[\]'\"-]*")
_OWN_PARAMS = ("pipeline", "config", "processes")
_BREAKPOINT_KEYS = frozenset({"after", "breakpoint", "optional"})


class StepCheck:
    """Checks one step; problems go to the document, to the place that the value came from."""

    def __init__(
        self, document: Document, name: str, step: StepSection, own: StepSection, known: StepKnown
    ) -> None:
        self._document = document
        self._name = name
        self._step = step
        self._own = own
        self._at = known
        self.warnings: list[Problem] = []

    def run(self) -> None:
        """Check everything there is to check."""
        self._facility()
        if self._step.breakpoint is not None:
            self._breakpoint()
            return
        kinds = needs(self._step)
        if not kinds:
            self._document.add(
                ("steps", self._name),
                "this step does nothing",
                "give it a pipeline, scripts under 'before' or 'then', or a breakpoint",
                of_key=True,
            )
        self._kinds(kinds)
        self._pipeline()
        self._split()
        self._resources()
        self._errors()
        self._data()
        if self._step.where is not None and (words := query_problem(self._step.where)):
            self._add(("where",), words)

    def _path(self, rest: Path) -> Path:
        """Where the step has this from: its own keys or the defaults."""
        own: Path = ("steps", self._name, *rest)
        document = self._document
        if own in document.values or (
            rest[0] in self._own.model_fields_set and rest[0] not in KEYWISE
        ):
            return own
        default: Path = ("defaults", *rest)
        return default if default in document.values else own

    def _add(self, rest: Path, message: str, hint: str = "", of_key: bool = False) -> None:
        self._document.add(self._path(rest), message, hint, of_key)

    def _warn(self, rest: Path, message: str, hint: str = "") -> None:
        path = self._path(rest)
        line, column = self._document.place(path)
        self.warnings.append(
            Problem(self._document.file, line, column, dotted(path), message, hint)
        )

    def _facility(self) -> None:
        at = self._step.at
        if at is not None and at not in self._at.facilities:
            self._add(
                ("at",),
                f"'{shorten(at)}' is not one of this campaign's facilities",
                self._document.nearest(at, self._at.facilities, "facilities"),
            )
        keep = self._step.keep
        if keep is not None:
            self._holds_repository(("keep", "at"), keep.at)
        if self._step.split is not None and self._step.split.at is not None:
            self._holds_repository(("split", "at"), self._step.split.at)
        if self._step.gather is not None and at is None:
            self._add(
                ("gather",),
                "a step that gathers must say where",
                "add at: FACILITY to the step",
                of_key=True,
            )

    def _holds_repository(self, path: Path, name: str) -> None:
        """The facility, which need not be one of the campaign's, must exist and have the Butler."""
        known = self._at.known.facilities
        if name not in known:
            self._add(
                path,
                f"there is no facility '{shorten(name)}'",
                self._document.nearest(name, known, "facilities"),
            )
        elif self._at.butler not in known[name].butlers:
            self._add(path, f"facility '{name}' has no Butler repository '{self._at.butler}'")

    def _breakpoint(self) -> None:
        for key in self._own.model_fields_set - _BREAKPOINT_KEYS:
            self._add(
                (key,),
                f"a breakpoint only waits for a signature, '{key}' has no meaning in it",
                "make the breakpoint a step of its own, after this one",
                of_key=True,
            )

    def _kinds(self, needed: Mapping[str, list[JobKind]]) -> None:
        served = self._at.known.kinds
        for key, kinds in needed.items():
            if lacking := [k for k in kinds if k not in served]:
                self._add(
                    (key,),
                    f"not available in this daemon: no driver for {_jobs(lacking)}",
                    "a plugin that serves them must be installed and enabled",
                    of_key=True,
                )
                continue
            own_driver = self._step.driver is not None
            for name, there in self._at.candidates.items():
                lacking = [
                    k
                    for k in kinds
                    if k not in there.drivers and not (k is JobKind.PROCESS and own_driver)
                ]
                if lacking:
                    self._add(
                        (key,),
                        f"facility '{name}' has no driver for {_jobs(lacking)}",
                        "choose other facilities, or have one configured there",
                        of_key=True,
                    )

    def _pipeline(self) -> None:
        step = self._step
        drivers = self._at.known.drivers
        if step.driver is not None and step.driver not in drivers:
            self._add(
                ("driver",),
                f"there is no driver '{shorten(step.driver)}'",
                self._document.nearest(step.driver, sorted(drivers), "drivers"),
            )
        if step.pipeline is None:
            for key in ("config", "driver", "params", *OUTPUT_KEYS):
                if key in self._own.model_fields_set and getattr(step, key) is not None:
                    self._add((key,), f"'{key}' has no meaning without a pipeline", of_key=True)
        elif step.pipeline.count("#") > 1 or any(p == "" for p in step.pipeline.split("#")):
            self._add(("pipeline",), "a pipeline is written FILE or FILE#SUBSET")
        for key, value in (step.config or {}).items():
            if not _CONFIG_KEY.fullmatch(key):
                self._add(("config", key), "a configuration key is written task:field", of_key=True)
            elif isinstance(value, dict) or value is None:
                self._add(("config", key), "must be text, a number, true, false or a list")
        for key in step.params or {}:
            if key in _OWN_PARAMS:
                place = "resources.processes" if key == "processes" else key
                self._add(
                    ("params", key),
                    f"'{key}' is not a free parameter",
                    f"use the step's '{place}'",
                    of_key=True,
                )

    def _split(self) -> None:
        _, findings = self._at.splits.of(self._step.split)
        for key, message, hint in findings:
            self._add(("split", key) if key else ("split",), message, hint, of_key=not key)
        if not findings:
            self._within()

    def _within(self) -> None:
        """Regions must have a place before the data that belong to them are shared out."""
        split = self._step.split
        if split is None or split.splitter is not None or split.within is None:
            return
        dimension, region = split.within, self._at.placement.region
        if region != dimension:
            there = f"are its {region}s" if region is not None else "are not named"
            self._add(
                ("split", "within"),
                f"the regions of this step's placement {there}, so no {dimension} has a place",
                f"add placement: {{region: {dimension}}} to the campaign",
            )
        elif not any(_gives_places(step, dimension) for step in self._at.before):
            self._add(
                ("split", "within"),
                f"no step before this one gives each {dimension} a place",
                f"name a step under 'after' that is split by {dimension}, one a group, and has no 'at'",
            )

    def _resources(self) -> None:
        asked = self._step.resources
        candidates = self._at.candidates
        if asked is None or not candidates:
            return
        given = asked.model_fields_set

        def lacks(facility: FacilityInfo) -> bool:
            return (
                ("memory" in given and asked.memory > facility.memory)
                or ("cores" in given and asked.cores > facility.cores)
                or ("walltime" in given and asked.walltime > facility.walltime_s)
            )

        if all(lacks(f) for f in candidates.values()):
            have = "; ".join(
                f"{n} has {_amounts(f.memory, f.cores, f.walltime_s, given)}"
                for n, f in candidates.items()
            )
            wanted = _amounts(asked.memory, asked.cores, asked.walltime, given)
            self._add(
                ("resources",),
                f"no facility of this step can run a job of {wanted}",
                have,
                of_key=True,
            )
        growth = self._step.retry.memory if self._step.retry is not None else None
        if growth is not None and growth.max is not None and "memory" in given:
            if growth.max < asked.memory:
                self._add(
                    ("retry", "memory", "max"),
                    f"{memory_text(growth.max)} is less than the "
                    f"{memory_text(asked.memory)} of the first attempt",
                )
            elif all(growth.max > f.memory for f in candidates.values()):
                self._warn(
                    ("retry", "memory", "max"),
                    "no facility of this step has that much memory",
                    "attempts that ask for more than a facility has will be held",
                )

    def _errors(self) -> None:
        caught = False
        for i, rule in enumerate(self._step.errors or []):
            here: Path = ("errors", i)
            check_rule(rule, self._path(here), self._document)
            if caught:
                self._warn(
                    here,
                    "this rule is never reached, the one before matches everything",
                    "put it first",
                )
            caught = caught or matches_all(rule)

    def _data(self) -> None:
        step = self._step
        lists: list[tuple[Path, Iterable[str]]] = [
            (("discard",), step.discard or []),
            (("stage", "datasets"), step.stage.datasets if step.stage else []),
            (("gather", "datasets"), step.gather.datasets if step.gather else []),
            (("scatter", "datasets"), step.scatter.datasets if step.scatter else []),
            (("keep", "datasets"), step.keep.datasets if step.keep else []),
            (("archive", "datasets"), (step.archive.datasets or []) if step.archive else []),
        ]
        for path, names in lists:
            for i, name in enumerate(names):
                if words := dataset_problem(name):
                    self._add((*path, i), words)
        stage = step.stage
        for name in stage.existing or {} if stage is not None else {}:
            if stage is not None and name not in stage.datasets:
                self._add(
                    ("stage", "existing", name),
                    f"'{name}' is none of the stage's dataset types",
                    f"add it to 'datasets', which has {', '.join(stage.datasets)}",
                    of_key=True,
                )
        for key in ("before", "then"):
            for i, script in enumerate(getattr(step, key) or []):
                self._script((key, i), script.args, script.env)

    def _script(self, path: Path, args: list[Any], env: dict[str, Any]) -> None:
        values = [((*path, "args", i), v) for i, v in enumerate(args)]
        values += [((*path, "env", k), v) for k, v in env.items()]
        for where, value in values:
            if value is None or isinstance(value, list | dict):
                self._add(where, "must be text, a number, true or false")


def _gives_places(step: StepSection, dimension: str) -> bool:
    """Whether each group of the step belongs to one region, and gives it a place. Of a splitter by
    name nobody knows; it is believed."""
    split = step.split
    if split is None or step.at is not None:
        return False
    if split.splitter is not None:
        return True
    names = split.by if isinstance(split.by, list) else [split.by]
    alone = split.size in (None, 1) and split.count is None and split.max_quanta is None
    return dimension in names and alone


def _jobs(kinds: list[JobKind]) -> str:
    """Kinds for a message: `'register', 'transfer' and 'ingest' jobs`."""
    words = [f"'{k.value}'" for k in kinds]
    listed = ", ".join(words[:-1])
    return f"{listed} and {words[-1]} jobs" if listed else f"{words[0]} jobs"


def _amounts(memory: int, cores: int, walltime_s: float, given: set[str]) -> str:
    words = {
        "memory": memory_text(memory),
        "cores": f"{cores} core{'' if cores == 1 else 's'}",
        "walltime": duration_text(walltime_s),
    }
    return ", ".join(text for key, text in words.items() if key in given)
