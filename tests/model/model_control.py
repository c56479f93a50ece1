"""Commands in the model: what a person says, how the driver is asked, and what must hold of pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_world import Outside

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.commands import STANDING, Command, Value, read
from cmd_daemon.kernel.entities import Group, Job
from cmd_daemon.kernel.outcome import ErrorClass
from cmd_daemon.kernel.states import CampaignState, Desired, JobState, Standing
from cmd_daemon.kernel.view import View

if TYPE_CHECKING:
    from model_daemon import Call, ToyDaemon

COMMANDABLE = {
    ("USDF", "panda-USDF"): frozenset(Command),
    ("FrDF", "panda-FrDF"): STANDING,
    ("FrDF", "ssh-FrDF"): frozenset({Command.PRIORITY}),
}
"""What the drivers take; those that are not here take nothing."""

VALUES: dict[Command, Value] = {Command.PRIORITY: 5, Command.MEMORY: 10**9, Command.QUEUE: "q"}


def wish(daemon: ToyDaemon) -> ev.Event | None:
    """A pause or resume of a campaign, or commands to a job, sensible or not; None if there is no job."""
    rng = daemon.rng
    running = [j for j in daemon.view.jobs.values() if j.state is JobState.RUNNING]
    jobs = running or list(daemon.view.jobs.values())
    if not jobs:
        return None
    job = rng.choice(jobs)
    if rng.random() < 0.5:
        paused = daemon.view.campaigns[job.campaign_id].desired is Desired.PAUSE
        kind = ev.CampaignResumed if paused else ev.CampaignPaused
        return kind(campaign_id=job.campaign_id, actor="pilot")
    chosen = rng.sample(list(Command), rng.choice([1, 1, 2]))
    wants = tuple((command, VALUES.get(command)) for command in chosen)
    return ev.JobCommanded(job_id=job.id, attempt=job.attempt, wants=wants, actor="pilot")


def may_stand(view: View, group: Group) -> bool:
    """Whether the group's attempt is or may be paused, and nothing is under way about it."""
    job = view.jobs[group.jobs[group.cursor]]
    return job.standing is not Standing.GOING and not job.commands


def said(view: View, group: Group, command: Command) -> ev.JobCommanded:
    """A person commands the group's attempt."""
    job = view.jobs[group.jobs[group.cursor]]
    return ev.JobCommanded(job_id=job.id, attempt=job.attempt, wants=((command, None),))


def still_wanted(daemon: ToyDaemon, call: Call, job: Job | None) -> bool:
    """Whether a command's call is to be made: its intent is committed, and no newer one took its place."""
    if job is None or job.attempt != call.attempt or job.cancelling:
        return False
    queue = read(job.commands)
    if not queue or queue[0].number != call.number:
        return False
    committed = daemon.store.effects[f"{daemon.view.key(job)}:{call.verb}"]
    assert committed.number == call.number, "asked for before it was committed"
    return True


def ask(outside: Outside, call: Call, key: str) -> ev.CommandAnswered:
    """The call itself, and the driver's answer."""
    answer = outside.control(key, call.verb)
    told = {"job_id": call.job_id, "attempt": call.attempt, "number": call.number}
    if isinstance(answer, ErrorClass):
        return ev.CommandAnswered(**told, done=False, error_class=answer, message="no")
    return ev.CommandAnswered(**told, done=True)


def check(daemon: ToyDaemon) -> None:
    """Raise AssertionError unless what is called paused is, and what should be paused was asked to be."""
    view = daemon.view
    swept = not any(isinstance(event, ev.GroupsSwept) for event in daemon.inbox)
    for job in view.jobs.values():
        if job.state is not JobState.RUNNING:
            continue
        campaign = view.campaigns[job.campaign_id]
        if job.standing is Standing.PAUSED:
            assert daemon.outside.stands(view.key(job)), f"{job} is not paused outside"
        elif campaign.state is CampaignState.PAUSED:
            raise AssertionError(f"{campaign} while {job}")
        if swept and not job.cancelling and Command.PAUSE in view.takes(job):
            _asked(campaign.desired, job)


def _asked(desired: Desired, job: Job) -> None:
    if desired is Desired.CANCEL:
        return
    pending = [w.command for w in read(job.commands) if w.command in STANDING]
    if desired is Desired.PAUSE or job.pause_wanted:
        fits = job.standing in (Standing.PAUSED, Standing.PAUSING)
        assert pending[-1:] == [Command.PAUSE] or (fits and not pending), job
    else:
        fits = job.standing in (Standing.GOING, Standing.RESUMING)
        assert pending[-1:] == [Command.RESUME] or (fits and not pending), job
