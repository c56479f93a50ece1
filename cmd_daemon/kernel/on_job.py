"""What follows from events about jobs: submission, look-up, observation, the end of an attempt."""

import json
from dataclasses import asdict

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel import on_control, retry
from cmd_daemon.kernel.draft import Draft
from cmd_daemon.kernel.entities import Group, Job
from cmd_daemon.kernel.outcome import ErrorClass, Failure, Outcome
from cmd_daemon.kernel.records import AttemptRow, FacilityState
from cmd_daemon.kernel.rollup import end_group, settle_group
from cmd_daemon.kernel.states import Desired, GroupState, JobKind, JobState
from cmd_daemon.kernel.verdict import MISSING_ONLY, Action, Verdict, judge

SUBMIT = "submit"
CANCEL = "cancel"

LOOK_AGAIN = 15 * retry.SECOND
"""Pause before an outside system that was away is asked again whether it holds an attempt."""

CANCEL_PATIENCE = 60 * retry.SECOND
"""Pause before an attempt that was asked to end, and has not, is asked again."""


def current(draft: Draft, event: ev.JobEvent, *states: JobState) -> Job | None:
    """The working copy of the job the event is about; None if the event is about an attempt that is
    over, or the job is in none of the `states`."""
    seen = draft.view.jobs.get(event.job_id)
    if seen is None or seen.attempt != event.attempt or seen.state not in states:
        return None
    return draft.job(event.job_id)


def _to_be_ended(draft: Draft, event: ev.JobEvent, state: JobState) -> Job | None:
    """As `current`, and None too if nobody wants the attempt ended."""
    seen = draft.view.jobs.get(event.job_id)
    return current(draft, event, state) if seen is not None and seen.cancelling else None


def admissible(draft: Draft, job: Job) -> bool:
    """True if a new attempt of the job may be submitted now."""
    campaign = draft.peek_campaign(job.campaign_id)
    group = draft.peek_group(job.group_id)
    return (
        job.state is JobState.READY
        and job.due_at is None
        and campaign.desired is Desired.RUN
        and not draft.view.killed(job.facility)
        and not group.held
        and group.state in (GroupState.PLACED, GroupState.RUNNING)
    )


def admitted(draft: Draft, event: ev.JobAdmitted) -> None:
    """A slot is free: intend the submission. Void if the job may not start any more."""
    seen = draft.view.jobs.get(event.job_id)
    if seen is None or seen.attempt != event.attempt or not admissible(draft, seen):
        return
    job = draft.job(event.job_id)
    group = draft.group(job.group_id)
    if group.started_at is None:
        group.started_at = draft.now
    if group.state is GroupState.PLACED:
        draft.move_group(group, GroupState.RUNNING)
    job.attempt += 1
    job.ref = None
    job.submit_tries = 0
    job.started_at = job.submitted_at = None
    job.progress = None
    draft.move_job(job, JobState.SUBMITTING)
    draft.add_effect(job, SUBMIT)


def too_big(draft: Draft, event: ev.JobTooBig) -> None:
    """No slot will ever do: a person decides. Void as an admission is."""
    seen = draft.view.jobs.get(event.job_id)
    if seen is None or seen.attempt != event.attempt or not admissible(draft, seen):
        return
    _hold(draft, draft.job(event.job_id), event.message)


def taken(draft: Draft, event: ev.JobTaken) -> None:
    """The outside system has the attempt: adopt it, even if it was uncertain by now."""
    job = current(draft, event, JobState.SUBMITTING, JobState.UNCERTAIN)
    if job is None:
        return
    job.ref = event.ref
    job.due_at = None
    job.submitted_at = draft.now
    if job.state is JobState.SUBMITTING:
        draft.end_effect(job, SUBMIT)
    else:
        _back_to_work(draft, job)
    draft.move_job(job, JobState.RUNNING)
    if job.cancelling:
        _ask_to_end(draft, job)
    elif draft.view.killed(job.facility):
        stop_group(draft, job.group_id)
    else:
        on_control.settle_pause(draft, job.id)


def submit_failed(draft: Draft, event: ev.SubmitFailed) -> None:
    """Not clearly taken: try again, go back for a slot, ask a person, or count it as a failed attempt."""
    job = current(draft, event, JobState.SUBMITTING)
    if job is None:
        return
    match event.error_class:
        case ErrorClass.PERMANENT:
            draft.end_effect(job, SUBMIT)
            outcome = Outcome(False, event.message, error_class=ErrorClass.PERMANENT)
            _end_attempt(draft, job, outcome, 0)
        case ErrorClass.NOT_YET:
            draft.end_effect(job, SUBMIT)
            if job.cancelling:
                _cancelled(draft, job)
                return
            job.attempt -= 1
            job.due_at = draft.now + 5 * retry.SECOND
            draft.move_job(job, JobState.READY, event.message)
        case ErrorClass.TRANSIENT | ErrorClass.UNKNOWN:
            job.submit_tries += 1
            unclear = event.error_class is ErrorClass.UNKNOWN
            if job.cancelling and not unclear:
                draft.end_effect(job, SUBMIT)
                _cancelled(draft, job)
            elif unclear and not event.repeatable:
                _uncertain(draft, job, event.message)
            elif job.submit_tries >= retry.SUBMIT_TRIES:
                if unclear:
                    _uncertain(draft, job, event.message)
                else:
                    draft.end_effect(job, SUBMIT)
                    tries = f"{job.facility} did not take it in {job.submit_tries} calls"
                    verdict = Verdict(Action.HOLD, f"{tries}; last: {event.message}")
                    outcome = Outcome(False, verdict.reason, error_class=ErrorClass.TRANSIENT)
                    draft.decision.attempts.append(_attempt_row(draft, job, outcome, verdict, 0))
                    _hold(draft, job, verdict.reason)
            else:
                job.due_at = draft.now + retry.call_backoff(job.submit_tries)
                job.reason = event.message
                draft.note(job, f"submit call {job.submit_tries} failed: {event.message}")


def look_up_failed(draft: Draft, event: ev.LookUpFailed) -> None:
    """Asked again after a while, as often as it takes: an outage is no failure of the job."""
    job = current(draft, event, JobState.SUBMITTING)
    if job is None:
        return
    job.due_at = draft.now + LOOK_AGAIN
    if job.reason != event.message:
        job.reason = event.message
        draft.note(job, f"could not be looked up: {event.message}")


def absent(draft: Draft, event: ev.JobAbsent) -> None:
    """A look-up proved that nothing is outside, and nothing is wanted there any more."""
    job = _to_be_ended(draft, event, JobState.SUBMITTING)
    if job is None:
        return
    draft.end_effect(job, SUBMIT)
    _cancelled(draft, job)


def seen(draft: Draft, event: ev.JobSeen) -> None:
    """Progress; no state changes, so nothing is recorded but the first sign of life."""
    known = draft.view.jobs.get(event.job_id)
    if known is None or known.attempt != event.attempt or known.state is not JobState.RUNNING:
        return
    begins = event.running and known.started_at is None
    if not begins and event.progress == known.progress:
        return
    job = draft.job(event.job_id)
    job.progress = event.progress
    if begins:
        job.started_at = draft.now


def ended(draft: Draft, event: ev.JobEnded) -> None:
    """The attempt is over: judge it."""
    job = current(draft, event, JobState.RUNNING)
    if job is None:
        return
    _end_attempt(draft, job, event.outcome, event.memory)


def gone(draft: Draft, event: ev.JobGone) -> None:
    """The outside system forgot the attempt: a failure that may be tried again."""
    job = current(draft, event, JobState.RUNNING)
    if job is None:
        return
    words = event.message or f"{job.facility} no longer knows this attempt ({job.ref})"
    _end_attempt(draft, job, Outcome(False, words, error_class=ErrorClass.TRANSIENT), 0)


def cancel_failed(draft: Draft, event: ev.CancelFailed) -> None:
    """The driver could not be asked to end the attempt: ask again after a while."""
    job = _to_be_ended(draft, event, JobState.RUNNING)
    if job is None:
        return
    job.due_at = draft.now + CANCEL_PATIENCE
    draft.note(job, f"could not be cancelled yet: {event.message}")


def timer_fired(draft: Draft, job: Job) -> None:
    """The job's pause is over. The engine does what follows: a slot, the call again, a new cancel, a
    command again."""
    job.due_at = None
    if job.state is JobState.SUBMITTING:
        draft.decision.recalls.append(job.id)
    elif job.cancelling and job.state is JobState.RUNNING:
        draft.end_effect(job, CANCEL)
        _ask_to_end(draft, job)
    elif job.commands is not None:
        on_control.timer_fired(draft, job)


def cancel_job(draft: Draft, ident: int) -> None:
    """End a job that may be outside, as far as that can be done now."""
    job = draft.job(ident)
    if job.state not in (JobState.SUBMITTING, JobState.RUNNING, JobState.UNCERTAIN):
        return
    if job.cancelling:
        return
    job.cancelling = True
    if job.state is JobState.RUNNING:
        on_control.drop(draft, job, "it is asked to end")
        _ask_to_end(draft, job)
    elif job.state is JobState.UNCERTAIN:
        look_again(draft, job, "cancelled: looked up once more")


def stopped_words(state: FacilityState) -> str:
    """Why a facility's groups stand still after a kill."""
    return f"stopped by the kill switch at {state.name} by {state.actor}: {state.reason}"


def stop_group(draft: Draft, ident: int) -> None:
    """Hold a group whose facility is killed, and end its job outside. What waits for a person already
    goes on waiting for that, and an uncertain job stays so."""
    seen = draft.peek_group(ident)
    if seen.state in (GroupState.PLACED, GroupState.RUNNING):
        group = draft.group(ident)
        draft.move_group(
            group, GroupState.HELD, stopped_words(draft.view.facilities[group.facility or ""])
        )
        group.stopped = True
    job = draft.peek_job(seen.jobs[seen.cursor])
    if job.state in (JobState.SUBMITTING, JobState.RUNNING) and not job.cancelling:
        cancel_job(draft, job.id)


def look_again(draft: Draft, job: Job, reason: str) -> None:
    """Have an uncertain job looked up; only then may it be submitted again."""
    job.submit_tries = 1
    job.due_at = None
    draft.move_job(job, JobState.SUBMITTING, reason)
    draft.add_effect(job, SUBMIT)


def _ask_to_end(draft: Draft, job: Job) -> None:
    """Intend the cancel call; its effect stays until the attempt is over, and is made anew each time
    the patience is used up."""
    draft.add_effect(job, CANCEL)
    job.due_at = draft.now + CANCEL_PATIENCE


def _uncertain(draft: Draft, job: Job, message: str) -> None:
    job.due_at = None
    if draft.peek_campaign(job.campaign_id).desired is not Desired.CANCEL:
        job.cancelling = False  # a kill cannot end what nobody knows of: it waits for a person
    draft.end_effect(job, SUBMIT)
    draft.move_job(
        job, JobState.UNCERTAIN, f"nobody knows whether {job.facility} took it: {message}"
    )
    group = draft.group(job.group_id)
    if group.state is GroupState.RUNNING:
        draft.move_group(group, GroupState.HELD, f"job {job.name} is uncertain: {message}")


def _cancelled(draft: Draft, job: Job) -> None:
    job.due_at = None
    job.cancelling = False
    group = draft.group(job.group_id)
    if draft.peek_campaign(job.campaign_id).desired is Desired.CANCEL:
        draft.move_job(job, JobState.CANCELLED)
        settle_group(draft, group)
        return
    # Ended by the kill switch: no fault of the job, so it costs no attempt of its budget.
    job.budget_from += 1
    job.progress = None
    job.mode = _next_mode(job, group)
    draft.move_job(job, JobState.READY, f"ended by the kill switch at {job.facility}")


def _hold(draft: Draft, job: Job, reason: str) -> None:
    job.due_at = None
    draft.move_job(job, JobState.HELD, reason)
    group = draft.group(job.group_id)
    if group.state in (GroupState.PLACED, GroupState.RUNNING):
        draft.move_group(group, GroupState.HELD, f"{job.name}: {reason}")


def _back_to_work(draft: Draft, job: Job) -> None:
    """An uncertain job turned out harmless: its group goes on unless a person holds it."""
    group = draft.group(job.group_id)
    if group.state is GroupState.HELD and not group.held and not group.stopped:
        draft.move_group(group, GroupState.RUNNING)


def _next_mode(job: Job, group: Group) -> str:
    """How the next attempt treats what former ones made: that counts even if the last one ended
    without a report."""
    rescue = job.kind is JobKind.PROCESS and group.quanta_succeeded > 0
    return MISSING_ONLY if rescue else ""


def _end_attempt(draft: Draft, job: Job, outcome: Outcome, memory: int) -> None:
    group = draft.group(job.group_id)
    step = draft.peek_step(job.step_id)
    if job.kind is JobKind.PROCESS and outcome.quanta:
        count_quanta(draft, group, outcome.expected, outcome.successful)
    used = job.attempt - job.budget_from
    verdict = judge(step.policy, job.kind, outcome, used, group.accept_losses)
    draft.decision.attempts.append(_attempt_row(draft, job, outcome, verdict, memory))
    if job.state is JobState.RUNNING:
        if job.cancelling:
            draft.end_effect(job, CANCEL)
        on_control.leave(draft, job, "the attempt is over")
    if job.cancelling and verdict.action is not Action.SUCCEED:
        _cancelled(draft, job)
        return
    job.cancelling = False
    job.due_at = None
    job.progress = None
    match verdict.action:
        case Action.SUCCEED:
            group.quanta_lost += verdict.lost
            draft.move_job(job, JobState.SUCCEEDED, verdict.reason)
            settle_group(draft, group)
        case Action.RETRY:
            pause = retry.backoff(step.policy.retry, used)
            job.due_at = draft.now + pause
            job.mode = _next_mode(job, group)
            draft.move_job(job, JobState.READY, f"attempt {job.attempt} failed: {verdict.reason}")
        case Action.HOLD:
            _hold(draft, job, verdict.reason)
        case Action.REVIEW:
            draft.move_job(job, JobState.HELD, verdict.reason)
            if group.state is GroupState.RUNNING:
                draft.move_group(group, GroupState.REVIEW, verdict.reason)
        case Action.FAIL:
            draft.move_job(job, JobState.FAILED, verdict.reason)
            end_group(draft, group, GroupState.FAILED, verdict.reason)


def count_quanta(draft: Draft, group: Group, expected: int, succeeded: int) -> None:
    """Set the quanta of a group's newest process attempt, and roll them up."""
    step = draft.step(group.step_id)
    step.quanta_expected += expected - group.quanta_expected
    step.quanta_succeeded += succeeded - group.quanta_succeeded
    group.quanta_expected = expected
    group.quanta_succeeded = succeeded


def _attempt_row(
    draft: Draft, job: Job, outcome: Outcome, verdict: Verdict, memory: int
) -> AttemptRow:
    state = "CANCELLED" if job.cancelling else "FAILED"
    if verdict.action is Action.SUCCEED:
        state = "SUCCEEDED"
    quanta = {task: asdict(count) for task, count in outcome.quanta.items()}
    failures = [_failure(failure) for failure in outcome.failures]
    return AttemptRow(
        job_id=job.id,
        number=job.attempt,
        state=state,
        mode=job.mode,
        facility=job.facility,
        driver=job.driver,
        ref=job.ref,
        submitted_at=job.submitted_at,
        started_at=outcome.started_at or job.started_at,
        finished_at=outcome.finished_at or draft.now,
        exit_code=outcome.exit_code,
        error_class=outcome.error_class,
        message=outcome.message or verdict.reason,
        expected=outcome.expected,
        successful=outcome.successful,
        output_run=outcome.output_run,
        memory=memory,
        quanta=json.dumps(quanta) if quanta else None,
        failures=json.dumps(failures) if failures else None,
        extra=json.dumps(dict(outcome.extra)) if outcome.extra else None,
    )


def _failure(failure: Failure) -> dict[str, str | int | None]:
    return {
        "task": failure.task,
        "data_id": failure.data_id,
        "message": failure.message,
        "exit": failure.exit,
    }
