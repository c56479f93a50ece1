"""One campaign in one view, brought to any state by real events; each decision is proven pure."""

import copy
from collections.abc import Mapping

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.commands import Command, Value, read
from cmd_daemon.kernel.decide import decide
from cmd_daemon.kernel.decision import Decision
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.entities import Campaign, Group, Job, Step
from cmd_daemon.kernel.outcome import ErrorClass, Failure, Outcome, QuantaCount
from cmd_daemon.kernel.policy import JobTemplate, RetryPolicy, StepPolicy
from cmd_daemon.kernel.records import Effect
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.kernel.view import View

START = 1_767_225_600_000_000
SECOND = 1_000_000
PROCESS = JobTemplate("process", JobKind.PROCESS)
COLLECT = JobTemplate("collect", JobKind.COLLECT)
SCRIPT = JobTemplate("warm", JobKind.SCRIPT)
DRIVERS = {"process": "panda", "collect": "butler", "script": "ssh"}


def policy(
    *after: str, jobs: tuple[JobTemplate, ...] = (PROCESS, COLLECT), **more: object
) -> StepPolicy:
    """A step's policy; two attempts unless told otherwise."""
    values: dict[str, object] = {"after": after, "jobs": jobs, "retry": RetryPolicy(attempts=2)}
    return StepPolicy(**(values | more))  # type: ignore[arg-type]


def quanta(good: int, lost: int = 0, **more: int) -> Outcome:
    """An outcome of a process attempt with honest counts."""
    failures = tuple(Failure("isr", f"visit={i}", "boom", 1) for i in range(lost))
    count = QuantaCount(good + lost + sum(more.values()), good, lost, **more)
    return Outcome(not lost, quanta={"isr": count}, failures=failures)


class House:
    """A view with the outbox; `do` decides and applies, and shows that the view was only read."""

    def __init__(self, steps: Mapping[str, StepPolicy] | None = None, start: bool = True) -> None:
        self.view = View()
        self.effects: dict[str, Effect] = {}
        self.groups: dict[int, Group] = {}
        self.jobs: dict[int, Job] = {}
        self.now = START
        self.apply(steps or {"calib": policy()}, start=start)

    def apply(self, steps: Mapping[str, StepPolicy], start: bool = False) -> Decision:
        """Apply a file: the first makes the campaign, others are new versions."""
        known = next(iter(self.view.campaigns), None)
        return self.do(
            ev.CampaignApplied(
                campaign_id=known,
                name="drp",
                owner="pilot",
                ticket="DM-1",
                text="",
                parameters="{}",
                digest="d",
                steps=steps,
                start=start,
            )
        )

    def decide(self, event: ev.Event) -> Decision:
        """The decision alone; AssertionError if anything in the view was touched."""
        before = copy.deepcopy(vars(self.view))
        try:
            return decide(self.view, event, self.now)
        finally:
            assert vars(self.view) == before, event

    def do(self, event: ev.Event) -> Decision:
        """Decide and apply."""
        decision = self.decide(event)
        for key in decision.effects_done:
            del self.effects[key]
        self.effects |= {effect.key: effect for effect in decision.effects}
        self.groups |= decision.groups
        self.jobs |= decision.jobs
        self.view.apply(decision)
        return decision

    def verdict(self, event: ev.Event, ident: int) -> str:
        """What an event does to an entity: its state afterwards, "void", or "refused"."""
        try:
            decision = self.decide(event)
        except Refused as refused:
            return "refused" if len(str(refused)) > 10 else "refused without a word"
        if not decision:
            return "void"
        for entities in (decision.campaigns, decision.steps, decision.groups, decision.jobs):
            if ident in entities:
                return str(entities[ident].state)  # type: ignore[index]
        return "elsewhere"

    @property
    def campaign(self) -> Campaign:
        """The campaign."""
        return next(iter(self.view.campaigns.values()))

    def step(self, name: str = "calib") -> Step:
        """A step by name."""
        return self.view.steps[self.view.steps_of[self.campaign.id][name]]

    def group(self, name: str = "0001") -> Group:
        """A group by name, final or not."""
        return [g for g in self.groups.values() if g.name == name][-1]

    def job(self, position: int = 0, group: str = "0001") -> Job:
        """A job by its place in the chain of a group."""
        return self.jobs[self.group(group).jobs[position]]

    def split(self, *names: str, step: str = "calib", last: bool = True) -> Decision:
        """Give a step groups."""
        groups = tuple(ev.NewGroup(name, "{}") for name in names)
        return self.do(ev.StepSplit(step_id=self.step(step).id, groups=groups, last=last))

    def place(self, group: str = "0001") -> Decision:
        """Place a group at USDF."""
        return self.do(
            ev.GroupPlaced(group_id=self.group(group).id, facility="USDF", drivers=DRIVERS)
        )

    def job_event(
        self, kind: type[ev.JobEvent], position: int = 0, group: str = "0001", **more: object
    ) -> ev.JobEvent:
        """An event about the current attempt of a job."""
        job = self.job(position, group)
        return kind(job_id=job.id, attempt=job.attempt, **more)  # type: ignore[arg-type]

    def admit(self, position: int = 0, group: str = "0001") -> Decision:
        """Give a job a slot, after its pause if it has one."""
        job = self.job(position, group)
        if job.due_at is not None:
            self.now = job.due_at
            self.do(ev.TimerFired(entity_id=job.id, due_at=job.due_at))
        return self.do(self.job_event(ev.JobAdmitted, position, group))

    def run(self, position: int = 0, group: str = "0001") -> Decision:
        """Have a job admitted and taken."""
        self.admit(position, group)
        return self.do(self.job_event(ev.JobTaken, position, group, ref="ref"))

    def end(
        self, outcome: Outcome | None = None, position: int = 0, group: str = "0001"
    ) -> Decision:
        """End a running job; all is well unless told otherwise."""
        outcome = outcome or Outcome(True)
        return self.do(self.job_event(ev.JobEnded, position, group, outcome=outcome))

    def fail_submit(self, error: ErrorClass, repeatable: bool = True) -> Decision:
        """Have the submission of the first job fail."""
        return self.do(
            self.job_event(
                ev.SubmitFailed, error_class=error, message="no answer", repeatable=repeatable
            )
        )

    def finish(self, group: str = "0001") -> None:
        """Take a group from READY to its end, all well."""
        self.place(group)
        for position in range(len(self.group(group).jobs)):
            self.run(position, group)
            self.end(position=position, group=group)

    def placed(self) -> "House":
        """One group, placed."""
        self.split("0001")
        self.place()
        return self

    def wish(self, kind: type[ev.CampaignEvent]) -> Decision:
        """A person's wish about the campaign."""
        return self.do(kind(campaign_id=self.campaign.id, actor="pilot"))

    def command(self, *wants: tuple[Command, Value], position: int = 0) -> Decision:
        """A person's commands to a job."""
        return self.do(self.job_event(ev.JobCommanded, position, wants=wants, actor="pilot"))

    def asked(self, position: int = 0) -> str:
        """The command that is asked for, with its value; "" if there is none."""
        queue = read(self.job(position).commands)
        return queue[0].label if queue else ""

    def answer(
        self, done: bool = True, error: ErrorClass = ErrorClass.NOT_YET, position: int = 0
    ) -> Decision:
        """The driver's answer to the command that is asked for."""
        (first, *_) = read(self.job(position).commands)
        return self.do(
            self.job_event(
                ev.CommandAnswered,
                position,
                number=first.number,
                done=done,
                error_class=error,
                message="" if done else "no",
            )
        )

    def sweep(self) -> Decision:
        """The engine's sweep after a cancel, a pause or a resume."""
        groups = tuple(self.view.groups)
        return self.do(ev.GroupsSwept(campaign_id=self.campaign.id, group_ids=groups))
