"""The pilots' side, by rules: how long a job runs and how it ends. A test scripts it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from panda_server.model.entities import Input, Job, Task

if TYPE_CHECKING:
    from panda_server.model.world import World


@dataclass
class Report:
    """What a pilot says at a job's end. An error is source -> (code, text), as `pilot`, `exe`."""

    ok: bool = True
    errors: dict[str, tuple[int, str]] = field(default_factory=dict)
    exit_code: int = 0
    cpu: int = 5
    max_rss: int | None = 1000
    log_url: str | None = None


@dataclass
class Rule:
    """What happens to jobs whose input and task fit; `times` is per input, None is always."""

    inputs: str
    report: Report | None
    tasks: str = "*"
    times: int | None = None
    run: float | None = None
    hold: str | None = None

    def fits(self, task: Task, file: Input) -> bool:
        """Whether it speaks about this attempt at this input."""
        if self.times is not None and file.attempt >= self.times:
            return False
        return fnmatchcase(file.name, self.inputs) and fnmatchcase(
            str(task.parameters.get("taskName")), self.tasks
        )


class Pilot:
    """Pilots that obey rules; without one each job runs for `pace.run` seconds and succeeds."""

    host = "wn1"

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def fail(
        self,
        inputs: str,
        code: int = 1305,
        text: str = "Failed to execute payload: test",
        source: str = "pilot",
        times: int | None = None,
        exit_code: int = 1,
        tasks: str = "*",
        max_rss: int | None = 1000,
    ) -> Rule:
        """Let jobs with such inputs fail; a later rule goes before an earlier one."""
        report = Report(
            ok=False, errors={source: (code, text)}, exit_code=exit_code, max_rss=max_rss
        )
        rule = Rule(inputs, report, tasks=tasks, times=times)
        self.rules.insert(0, rule)
        return rule

    def hold(self, inputs: str = "*", at: str = "running", tasks: str = "*") -> Rule:
        """Keep jobs `pending`, `activated` or `running` until the rule is taken away again."""
        rule = Rule(inputs, None, tasks=tasks, hold=at)
        self.rules.insert(0, rule)
        return rule

    def forget(self, rule: Rule, world: "World") -> None:
        """Take a rule away; what it held goes on."""
        self.rules.remove(rule)
        for job in world.jobs.values():
            held = rule.hold is not None and self.holds(world, job, rule.hold)
            if job.due is None and job.status == rule.hold and not held:
                world.alarm(job, 0.0)

    def _rule(self, world: "World", job: Job, fits: Callable[[Rule], Any]) -> Rule | None:
        task, file = world.tasks[job.task], world.inputs[job.input]
        return next((rule for rule in self.rules if fits(rule) and rule.fits(task, file)), None)

    def holds(self, world: "World", job: Job, at: str) -> bool:
        """Whether the job stays where it is."""
        return self._rule(world, job, lambda rule: rule.hold == at) is not None

    def activated(self, world: "World", job: Job) -> None:
        """A job waits for a pilot."""
        if not self.holds(world, job, "activated"):
            world.alarm(job, world.pace.start)

    def started(self, world: "World", job: Job) -> None:
        """A job has begun to run."""
        if not self.holds(world, job, "running"):
            rule = self._rule(world, job, lambda rule: rule.hold is None)
            run = rule.run if rule and rule.run is not None else world.pace.run
            world.alarm(job, run)

    def report(self, world: "World", job: Job) -> Report | None:
        """How the job ends whose time is up; None if it does not end yet."""
        rule = self._rule(world, job, lambda rule: rule.hold is None)
        return rule.report if rule and rule.report else Report()

    def look(self, world: "World") -> None:
        """Look what has ended; pilots of rules need no look."""

    def killed(self, world: "World", job: Job) -> None:
        """The server wants a running job dead: the pilot hears it at its next heartbeat."""
        world.alarm(job, world.pace.heartbeat)
