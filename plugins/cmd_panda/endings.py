"""What a task that is over came to."""

from collections.abc import Sequence

from cmd_daemon.hooks import ErrorClass, Failure, Outcome
from cmd_panda.errors import ErrorTable
from cmd_panda.records import JobError, JobRecord, TaskRecord
from cmd_panda.states import words_of

MAX_FAILURES = 200
MAX_WORDS = 2000


def last_tries(jobs: Sequence[JobRecord]) -> list[JobRecord]:
    """The last job for each set of inputs: those before it were tried again."""
    last: dict[tuple[str, ...], JobRecord] = {}
    for job in sorted(jobs, key=lambda each: each.id):
        last[job.inputs or (str(job.id),)] = job
    return list(last.values())


def outcome_of(
    task: TaskRecord,
    jobs: Sequence[JobRecord],
    table: ErrorTable,
    cancelled: bool,
    parked: bool = False,
) -> Outcome:
    """The outcome of a task that is over, by its jobs that failed. `finished` is success in part,
    which is none for a script. `parked`: it was ended because PanDA had parked it."""
    told = {"task": task.id, "status": task.status, "queue": task.queue}
    if task.status == "done":
        return Outcome(
            True, exit_code=0, started_at=task.started, finished_at=task.ended, extra=told
        )
    failed = [job for job in last_tries(jobs) if job.errors]
    dialog = words_of(task.error)
    verdicts = [(job, table.judge(job.errors)) for job in failed]
    failures = tuple(
        Failure(message=f"job {job.id} at {job.queue}: {verdict.words}", exit=job.exit_code)
        for job, verdict in verdicts[:MAX_FAILURES]
    )
    error_class: ErrorClass | None = None
    classes = {verdict.error_class for _, verdict in verdicts}
    if len(classes) == 1:
        error_class = classes.pop()
    words = f"task {task.id} is {task.status}"
    if cancelled:
        words, error_class = f"cancelled (task {task.id})", None
    elif parked:
        words = f"PanDA parked task {task.id} (exhausted), and it was ended: a person must decide"
        error_class = ErrorClass.PERMANENT
    elif task.status == "broken":
        words = f"PanDA does not accept task {task.id} (broken)"
        error_class = ErrorClass.PERMANENT
    elif task.status == "aborted":
        words = f"task {task.id} was aborted at PanDA, not by this daemon"
    said = [words]
    if task.files:
        said.append(f"{task.finished} of {task.files} files finished, {task.failed} failed")
    if dialog:
        verdict = table.judge([JobError("jedi", 0, dialog)])
        said.append(verdict.words)
        if not verdicts and not cancelled and error_class is None:
            error_class = verdict.error_class
    said += [failure.message for failure in failures[:3]]
    return Outcome(
        False,
        message="; ".join(said)[:MAX_WORDS],
        exit_code=next((job.exit_code for job in failed if job.exit_code), None),
        error_class=error_class,
        failures=failures or (Failure(message=said[-1][:MAX_WORDS]),),
        started_at=task.started,
        finished_at=task.ended,
        extra=told,
    )
