"""The schedule file: when a campaign file is launched, with which parameters, and what if the last one
still runs. Nothing here does I/O."""

import itertools
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import Field

from cmd_daemon.spec.compiling import CampaignPlan, read_campaign
from cmd_daemon.spec.crontab import Crontab
from cmd_daemon.spec.known import Known
from cmd_daemon.spec.model import Duration, Section, Text
from cmd_daemon.spec.naming import CAMPAIGN_LENGTH, name_problem
from cmd_daemon.spec.problems import CampaignFileError, Problem
from cmd_daemon.spec.reading import Document, read_document
from cmd_daemon.spec.shape import shaped

DATE, TIME, STACK = "DATE", "TIME", "STACK"
"""Parameters that a schedule gives by itself, to templates that have them."""

MOST = 50
"""Campaigns that one firing may launch."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Overlap(StrEnum):
    """What a firing does while campaigns of the last one are not final: nothing, begin when they
    are, or cancel them and begin."""

    SKIP = "skip"
    QUEUE = "queue"
    REPLACE = "replace"


class ScheduleFile(Section):
    """A schedule."""

    schedule: Text
    """Its name."""
    owner: Text
    """Who is asked when something is wrong with it."""
    cron: Text
    """Minute, hour, day of month, month, day of week; or @monthly and the like."""
    zone: Text = "UTC"
    """Time zone whose clock counts."""
    template: Text
    """The campaign file to launch, beside this file. Its name must change with ${DATE}."""
    overlap: Overlap = Overlap.SKIP
    """skip, queue or replace: what if campaigns of the last time still run."""
    late: Duration = 6 * 3600.0
    """So long after its time it may still be launched, if the daemon was away."""
    stacks: Text = "w_*"
    """${STACK} is the newest stack that matches this pattern."""
    matrix: Annotated[dict[str, list[Any]], Field(default_factory=dict, max_length=3)]
    """Parameters with a list of values each: one campaign for each combination."""
    set: Annotated[dict[str, Any], Field(default_factory=dict, max_length=100)]
    """Further parameters of the template."""


@dataclass(frozen=True, slots=True)
class SchedulePlan:
    """A schedule file that was checked, with the text of its template."""

    file: ScheduleFile
    crontab: Crontab
    text: str
    template: str

    @property
    def name(self) -> str:
        """The schedule's name."""
        return self.file.schedule

    def launch(self, due: int, known: Known) -> list[CampaignPlan]:
        """The campaigns of one firing. `due` is its time (microseconds UTC).

        Raises CampaignFileError: the template is not valid now, there is no such stack, or two
        campaigns have the same name.
        """
        names = list(self.file.matrix)
        plans = []
        for values in itertools.product(*self.file.matrix.values()):
            given = {**self.file.set, **dict(zip(names, values, strict=True))}
            plans.append(self._campaign(due, {k: _as_given(v) for k, v in given.items()}, known))
        twice = {a.name for a, b in itertools.combinations(plans, 2) if a.name == b.name}
        if twice:
            raise self._problem(
                f"several campaigns of the matrix are called {min(twice)}",
                "put the matrix' parameters into its name: "
                + ", ".join(f"${{{n}}}" for n in names),
            )
        return plans

    def _campaign(self, due: int, given: dict[str, str], known: Known) -> CampaignPlan:
        local = self.crontab.local(due)
        own = {DATE: f"{local:%Y%m%d}", TIME: f"{local:%H%M}"}
        if self._uses(STACK) and STACK not in given:
            own[STACK] = self._newest(given.values(), known)
        used = {name: value for name, value in own.items() if self._uses(name)}
        return read_campaign(
            self.template, file=self.file.template, parameters={**used, **given}, known=known
        )

    def _uses(self, name: str) -> bool:
        return f"${{{name}}}" in self.template

    def _newest(self, values: Any, known: Known) -> str:
        """The newest stack that matches, at the facilities that the parameters name; if they name
        none, at all of them."""
        chosen = [known.facilities[v] for v in values if v in known.facilities]
        facilities = chosen or list(known.facilities.values())
        common = (
            set.intersection(*(set(each.stacks) for each in facilities)) if facilities else set()
        )
        found = [stack for stack in common if fnmatchcase(stack, self.file.stacks)]
        if not found:
            where = ", ".join(each.name for each in facilities) or "no facility"
            raise self._problem(
                f"no stack matches '{self.file.stacks}' at {where}", "see `cm facilities`"
            )
        return max(found, key=_by_number)

    def _problem(self, message: str, hint: str) -> CampaignFileError:
        return CampaignFileError([Problem(self.file.template, 0, 0, "", message, hint)])


def parse_schedule(text: str | bytes, template: str, *, file: str) -> SchedulePlan:
    """Parse and check a schedule file by itself. Raises CampaignFileError with all its problems."""
    return _parsed(text, template, file)[1]


def read_schedule(
    text: str | bytes, template: str, *, file: str, known: Known, now: int
) -> SchedulePlan:
    """Parse and check a schedule file and its template, as it would be launched after `now`
    (microseconds UTC). Raises CampaignFileError with all problems of the one or, if it has none, of
    the other."""
    document, plan = _parsed(text, template, file)
    first = plan.crontab.after(now)
    names = [each.name for each in plan.launch(first, known)]
    again = {each.name for each in plan.launch(plan.crontab.after(first), known)}
    if same := again.intersection(names):
        place = document.place(("template",))
        hint = "use ${DATE}, and ${TIME} if it fires more than once a day, in its key 'campaign'"
        words = f"the campaign would be called {min(same)} each time"
        raise CampaignFileError([Problem(file, *place, "template", words, hint)])
    return plan


def _parsed(text: str | bytes, template: str, file: str) -> tuple[Document, SchedulePlan]:
    document = read_document(text, file, "schedule")
    model = shaped(document, ScheduleFile)
    crontab = _checked(document, model) if model is not None else None
    if document.problems or model is None or crontab is None:
        raise CampaignFileError(document.problems)
    plain = text if isinstance(text, str) else bytes(text).decode("utf-8-sig")
    return document, SchedulePlan(model, crontab, plain, template)


def _checked(document: Document, file: ScheduleFile) -> Crontab | None:
    if words := name_problem(file.schedule, CAMPAIGN_LENGTH):
        document.add(("schedule",), words)
    for section, parameters in (("set", file.set), ("matrix", file.matrix)):
        for name in parameters:
            if not _NAME.fullmatch(name):
                document.add((section, name), "is no name for a parameter", of_key=True)
    for name in file.set.keys() & file.matrix.keys():
        document.add(("set", name), "is in 'matrix' too", "keep one of the two", of_key=True)
    combinations = 1
    for name, values in file.matrix.items():
        combinations *= len(values)
        if not values:
            document.add(("matrix", name), "must not be empty")
    if combinations > MOST:
        document.add(("matrix",), f"makes {combinations} campaigns; at most {MOST} are allowed")
    try:
        return Crontab(file.cron, file.zone)
    except ValueError as error:
        key = "zone" if "time zone" in str(error) else "cron"
        document.add((key,), str(error))
        return None


def _as_given(value: Any) -> str:
    """A value as `--set` would have to say it."""
    return value if isinstance(value, str) else json.dumps(value)


def _by_number(stack: str) -> list[tuple[int, str]]:
    """Sorts w_2026_5 before w_2026_46: numbers count as such."""
    parts = re.split(r"(\d+)", stack)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
