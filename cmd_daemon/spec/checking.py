"""What the keys of a campaign file mean together, and with what this daemon has."""

import graphlib
import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from cmd_daemon.hooks.ports import FacilityInfo
from cmd_daemon.spec.known import Known, StepKnown
from cmd_daemon.spec.model import OWN_ONLY, CampaignFile, StepSection, merged, placed
from cmd_daemon.spec.naming import (
    CAMPAIGN_LENGTH,
    STEP_LENGTH,
    collection_problem,
    name_problem,
)
from cmd_daemon.spec.placementcheck import PlacementCheck
from cmd_daemon.spec.problems import Path, Problem, shorten
from cmd_daemon.spec.queries import query_problem
from cmd_daemon.spec.reading import Document
from cmd_daemon.spec.splitting import Splits
from cmd_daemon.spec.stepcheck import StepCheck


@dataclass(slots=True)
class Checked:
    """A file that was checked: its model, the steps with their defaults in the order in which each
    comes after those it names, their splits, and warnings."""

    file: CampaignFile
    steps: dict[str, StepSection]
    splits: Splits
    warnings: list[Problem] = field(default_factory=list)


def check(document: Document, file: CampaignFile, known: Known) -> Checked:
    """Check the whole file; problems are noted in the document."""
    return _Check(document, file, known).run()


class _Check:
    def __init__(self, document: Document, file: CampaignFile, known: Known) -> None:
        self._document = document
        self._file = file
        self._known = known
        self._chosen: dict[str, FacilityInfo] = {}
        self._splits = Splits(known.splitters)

    def run(self) -> Checked:
        file = self._file
        self._names()
        self._facilities()
        self._defaults()
        steps = {name: merged(file.defaults, step) for name, step in file.steps.items()}
        self._placements(steps)
        order = self._order(steps)
        checked = Checked(file, {name: steps[name] for name in order}, self._splits)
        for name, step in steps.items():
            known = self._known_for(step, _before(name, steps))
            one = StepCheck(self._document, name, step, file.steps[name], known)
            one.run()
            checked.warnings.extend(one.warnings)
        return checked

    def _known_for(self, step: StepSection, before: list[StepSection]) -> StepKnown:
        known = self._known
        candidates = self._chosen
        if step.at is not None:
            there = known.facilities.get(step.at)
            candidates = {step.at: there} if there is not None else {}
        return StepKnown(
            known=known,
            facilities=self._file.facilities,
            candidates=candidates,
            splits=self._splits,
            butler=self._file.butler.repo,
            placement=placed(self._file.placement, step.placement),
            before=before,
        )

    def _add(self, path: Path, message: str, hint: str = "", of_key: bool = False) -> None:
        self._document.add(path, message, hint, of_key)

    def _names(self) -> None:
        file = self._file
        if words := name_problem(file.campaign, CAMPAIGN_LENGTH):
            self._add(("campaign",), words)
        for name in file.steps:
            if words := name_problem(name, STEP_LENGTH):
                self._add(("steps", name), words, of_key=True)
        if words := collection_problem(file.butler.output):
            self._add(("butler", "output"), words)
        for i, name in enumerate(file.butler.inputs):
            if words := collection_problem(name):
                self._add(("butler", "inputs", i), words)
        self._twice(("butler", "inputs"), file.butler.inputs)
        if file.where is not None and (words := query_problem(file.where)):
            self._add(("where",), words)

    def _twice(self, path: Path, names: Iterable[str]) -> None:
        seen: set[str] = set()
        for i, name in enumerate(names):
            if name in seen:
                self._add((*path, i), f"'{shorten(name)}' is given twice")
            seen.add(name)

    def _facilities(self) -> None:
        file, known = self._file, self._known.facilities
        self._twice(("facilities",), file.facilities)
        for i, name in enumerate(file.facilities):
            if name in known:
                self._chosen[name] = known[name]
            else:
                self._add(
                    ("facilities", i),
                    f"there is no facility '{shorten(name)}'",
                    self._document.nearest(name, known, "facilities"),
                )
        self._everywhere(("stack",), file.stack, "stack", lambda f: f.stacks)
        self._everywhere(
            ("butler", "repo"), file.butler.repo, "Butler repository", lambda f: f.butlers
        )

    def _everywhere(
        self, path: Path, name: str, what: str, of: Callable[[FacilityInfo], Mapping[str, str]]
    ) -> None:
        """Each chosen facility must have the stack or repository `name`."""
        without = [n for n, f in self._chosen.items() if name not in of(f)]
        if without:
            there = sorted({s for n in without for s in of(self._chosen[n])})
            self._add(
                path,
                f"{what} '{shorten(name)}' is not at {' and '.join(without)}",
                self._document.nearest(name, there, "known there"),
            )

    def _placements(self, steps: Mapping[str, StepSection]) -> None:
        """The campaign's placement, that of the defaults, and each step's own."""
        file = self._file
        check = PlacementCheck(self._document, file.facilities, self._known.algorithms)
        check.run(("placement",), file.placement, file.placement)
        default = file.defaults.placement if file.defaults is not None else None
        check.run(("defaults", "placement"), default, placed(file.placement, default))
        for name, step in steps.items():
            whole = placed(file.placement, step.placement)
            check.run(("steps", name, "placement"), file.steps[name].placement, whole)

    def _defaults(self) -> None:
        given = self._file.defaults
        if given is None:
            return
        for key in OWN_ONLY:
            if key in given.model_fields_set:
                self._add(
                    ("defaults", key),
                    f"'{key}' cannot be a default",
                    "write it in each step",
                    of_key=True,
                )

    def _order(self, steps: Mapping[str, StepSection]) -> list[str]:
        """The steps, each after those it names, otherwise as in the file. Notes bad edges."""
        position = {name: i for i, name in enumerate(steps)}
        graph: dict[str, list[str]] = {}
        for name, step in steps.items():
            graph[name] = []
            own: Path = ("steps", name, "after")
            self._twice(own, step.after or [])
            for i, before in enumerate(step.after or []):
                if before == name:
                    self._add((*own, i), "a step cannot come after itself")
                elif before not in steps:
                    others = [s for s in steps if s != name]
                    self._add(
                        (*own, i),
                        f"there is no step '{shorten(before)}'",
                        self._document.nearest(before, others, "steps"),
                    )
                else:
                    graph[name].append(before)
        sorter = graphlib.TopologicalSorter(graph)
        try:
            sorter.prepare()
        except graphlib.CycleError as error:
            cycle: list[str] = list(reversed(error.args[1]))
            self._add(
                ("steps", cycle[0], "after"),
                "these steps wait for each other: " + " after ".join(cycle),
                "take one of them out of an 'after'",
            )
            return list(steps)
        order: list[str] = []
        ready: list[int] = []
        names = list(steps)
        while sorter.is_active():
            for name in sorter.get_ready():
                heapq.heappush(ready, position[name])
            name = names[heapq.heappop(ready)]
            order.append(name)
            sorter.done(name)
        return order


def _before(name: str, steps: Mapping[str, StepSection]) -> list[StepSection]:
    """The steps that a step comes after, directly or not, as far as they are there."""
    found: dict[str, StepSection] = {}
    ahead = list(steps[name].after or [])
    while ahead:
        each = ahead.pop()
        if each in steps and each not in found and each != name:
            found[each] = steps[each]
            ahead += steps[each].after or []
    return list(found.values())
