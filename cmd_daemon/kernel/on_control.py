"""What follows for an attempt that is to be commanded while it is outside.

Its commands are asked for one at a time: only the first of `Job.commands` is in the outbox. It stays there
until the driver says that it is so or refuses it, until its time is over, or until the attempt is.
"""

from dataclasses import replace

from cmd_daemon.kernel import commands, retry
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.commands import STANDING, Command, Value, Wanted
from cmd_daemon.kernel.draft import Draft
from cmd_daemon.kernel.entities import Job
from cmd_daemon.kernel.outcome import ErrorClass
from cmd_daemon.kernel.states import Desired, JobState, Standing

ASK_AGAIN = 15 * retry.SECOND
"""Pause before a command that is not done yet is asked for again."""

_ASKED = {
    Command.PAUSE: (Standing.PAUSING, Standing.PAUSED),
    Command.RESUME: (Standing.RESUMING, Standing.GOING),
}


def settle_pause(draft: Draft, ident: int) -> None:
    """Have a job's attempt stand still or go on, as its campaign and persons want it by now. A driver that
    cannot is never asked: its attempts end by themselves."""
    job = draft.peek_job(ident)
    desired = draft.peek_campaign(job.campaign_id).desired
    if job.state is not JobState.RUNNING or job.cancelling or desired is Desired.CANCEL:
        return
    command = _wished(draft, job)
    pending = [w.command for w in commands.read(job.commands) if w.command in STANDING]
    if pending[-1:] == [command] or (not pending and job.standing in _ASKED[command]):
        return
    if command in draft.view.takes(job):
        _want(draft, draft.job(ident), command)


def _wished(draft: Draft, job: Job) -> Command:
    desired = draft.peek_campaign(job.campaign_id).desired
    still = job.pause_wanted or desired is Desired.PAUSE
    return Command.PAUSE if still else Command.RESUME


def commanded(draft: Draft, event: ev.JobCommanded) -> None:
    """A person's commands: all of them are wanted, or none."""
    job = draft.job(event.job_id)
    _check_outside(draft, job, event)
    takes = draft.view.takes(job)
    for command, _ in event.wants:
        if command not in takes:
            known = ", ".join(each for each in Command if each in takes)
            words = f"it takes: {known}" if known else "it takes no commands while a job runs"
            raise draft.refuse(
                job, f"Driver {job.driver} at {job.facility} takes no {command} command; {words}."
            )
        if (
            command is Command.RESUME
            and draft.peek_campaign(job.campaign_id).desired is Desired.PAUSE
        ):
            raise draft.refuse(job, "Its campaign is paused: resume that (cm resume) first.")
    labels = ", ".join(Wanted(0, command, value).label for command, value in event.wants)
    draft.note(job, f"{labels} wanted{f': {event.reason}' if event.reason else ''}")
    for command, value in event.wants:
        if command in STANDING:
            job.pause_wanted = command is Command.PAUSE
        _want(draft, job, command, value)


def _check_outside(draft: Draft, job: Job, event: ev.JobCommanded) -> None:
    if job.attempt != event.attempt:
        raise draft.refuse(
            job, f"Attempt {event.attempt} is not the current one any more: that is {job.attempt}."
        )
    if job.state is JobState.SUBMITTING:
        raise draft.refuse(job, "It is being submitted just now: say it again in a moment.")
    if job.state is not JobState.RUNNING:
        raise draft.refuse(
            job, f"It is {job.state}: only an attempt that is outside takes commands."
        )
    if job.cancelling:
        raise draft.refuse(job, f"{job.facility} was asked to end it: it takes no other command.")


def answered(draft: Draft, event: ev.CommandAnswered) -> None:
    """What became of a command. Void if it is not the one that is asked for any more."""
    seen = draft.view.jobs.get(event.job_id)
    queue = commands.read(seen.commands) if seen is not None else ()
    if seen is None or seen.attempt != event.attempt or not queue:
        return
    first = queue[0]
    if first.number != event.number:
        return
    job = draft.job(event.job_id)
    if event.done:
        _done(draft, job, first)
    elif event.error_class is ErrorClass.PERMANENT:
        _fail(draft, job, f"{first.label} was refused: {event.message}")
    elif draft.now >= first.until:
        _give_up(draft, job, replace(first, message=event.message))
    else:
        job.commands = commands.written((replace(first, message=event.message), *queue[1:]))
        job.due_at = min(draft.now + ASK_AGAIN, first.until)


def timer_fired(draft: Draft, job: Job) -> None:
    """The first command is asked for again, or given up."""
    first = commands.read(job.commands)[0]
    if draft.now >= first.until:
        _give_up(draft, job, first)
        return
    job.due_at = first.until
    draft.decision.again.append(draft.effect(job, first.command, first.number))


def leave(draft: Draft, job: Job, why: str) -> None:
    """Nothing is wanted any more of an attempt that is over."""
    drop(draft, job, why)
    draft.stand(job, Standing.GOING)
    job.pause_wanted = False


def drop(draft: Draft, job: Job, why: str) -> None:
    """No command is asked for any more."""
    queue = commands.read(job.commands)
    if not queue:
        return
    draft.end_effect(job, queue[0].command)
    job.commands = None
    job.due_at = None
    draft.note(job, f"{', '.join(w.label for w in queue)} not asked for any more: {why}")


def _want(draft: Draft, job: Job, command: Command, value: Value = None) -> None:
    """Put a command into its place: a newer one of its kind takes the place of the older. What is asked
    for already is let come to its end before its opposite is: only then can it be seen."""
    queue = list(commands.read(job.commands))
    wanted = Wanted(draft.new_id(), command, value)
    if command in STANDING:
        queue = queue[:1] + [w for w in queue[1:] if w.command not in STANDING]
    place = next((n for n, w in enumerate(queue) if w.command is command), len(queue))
    if place == 0 and queue:
        draft.end_effect(job, command)
    queue[place : place + 1] = [wanted]
    job.commands = commands.written(queue)
    if place == 0:
        _begin(draft, job)


def _begin(draft: Draft, job: Job) -> None:
    """The next command's turn has come: it is intended. One that has been taken back meanwhile, and not
    been swept yet, is left out."""
    queue = commands.read(job.commands)
    if queue and queue[0].command in STANDING and queue[0].command is not _wished(draft, job):
        queue = queue[1:]
    if not queue:
        job.commands = None
        return
    first = replace(queue[0], until=draft.now + draft.view.patience)
    job.commands = commands.written((first, *queue[1:]))
    job.due_at = first.until
    draft.decision.effects.append(draft.effect(job, first.command, first.number))
    if first.command in STANDING and job.standing is not _ASKED[first.command][1]:
        draft.stand(job, _ASKED[first.command][0])


def _done(draft: Draft, job: Job, first: Wanted) -> None:
    if first.command in STANDING:
        draft.stand(job, _ASKED[first.command][1])
    job.reason = None
    _end(draft, job, f"{first.label} is done")


def _give_up(draft: Draft, job: Job, first: Wanted) -> None:
    seconds = draft.view.patience // retry.SECOND
    last = f"; last: {first.message}" if first.message else ": the driver did not answer"
    _fail(draft, job, f"{first.label} was given up after {seconds} s{last}")


def _fail(draft: Draft, job: Job, words: str) -> None:
    job.reason = words
    _end(draft, job, words)


def _end(draft: Draft, job: Job, words: str) -> None:
    """The first command has come to its end; the next one's turn comes."""
    first, *others = commands.read(job.commands)
    draft.end_effect(job, first.command)
    job.commands = commands.written(others)
    job.due_at = None
    draft.note(job, words)
    _begin(draft, job)
