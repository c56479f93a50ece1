"""A job's life: made, defined, activated, run by a pilot, added, or killed."""

import uuid
from typing import TYPE_CHECKING, Any

from panda_server.model import tasks
from panda_server.model.entities import ERROR_SOURCES, FINAL_JOB, Input, Job, Task
from panda_server.model.pilot import Report

if TYPE_CHECKING:
    from panda_server.model.world import World

EC_KILL = 100
EC_LOST_HEARTBEAT = 100


def create(world: "World", task: Task, file: Input, site: str) -> Job:
    """One more attempt at an input."""
    now = world.now()
    number = world.number("job")
    file.first_job = file.first_job or number
    rows = [world.number("row"), world.number("row")]
    log_file = world.number("log")
    job = Job(
        id=number,
        task=task.id,
        input=file.id,
        name=f"{task.parameters['taskName']}.{file.first_job}",
        site=site,
        status="pending",
        created=now,
        modified=now,
        priority=task.attributes["currentPriority"],
        attempt=file.attempt + 1,
        parameters=tasks.template(task).replace("${IN/L}", file.name),
        ram=int(tasks.ram_mb(task, file) * 0.9),
        log_file=log_file,
        log_guid=None,
        row=rows[0],
        mark=now.timestamp(),
    )
    world.jobs[number] = world.active[number] = job
    file.job, file.status = number, "running"
    task.jobs.append(number)
    task.logs.append([log_file, "log.tgz", "defined"])
    for row in (file, task):
        world.touch(row)
    _tell(world, job, "pending", codes="NULL")
    world.alarm(job, None if world.pilot.holds(world, job, "pending") else world.pace.define)
    return job


def work(world: "World", job: Job) -> None:
    """What happens to a job when its time has come."""
    if job.status == "pending":
        job.log_guid = str(uuid.uuid4())
        _set(world, job, "defined")
        world.alarm(job, world.pace.activate)
    elif job.status == "defined":
        activate(world, job)
    elif job.status == "activated":
        start(world, job)
    elif job.status == "running":
        if job.command == "tobekilled":
            _cancel(world, job, str(job.errors["taskBuffer"][1]))
        else:
            report = world.pilot.report(world, job)
            if report is not None:
                end(world, job, report)
    elif job.status == "holding":
        add(world, job)


def activate(world: "World", job: Job) -> None:
    """A job may be fetched by a pilot; of a paused task it is throttled."""
    if world.tasks[job.task].status == "paused":
        _set(world, job, "throttled", told=False)
    else:
        _set(world, job, "activated")
        world.pilot.activated(world, job)


def start(world: "World", job: Job) -> None:
    """A pilot has begun the job."""
    job.host, job.started = world.pilot.host, world.now()
    _set(world, job, "running", short=True)
    world.pilot.started(world, job)


def end(world: "World", job: Job, report: Report) -> None:
    """A pilot reports the end; the adder makes it known some seconds later."""
    job.ended = world.now()
    job.report = {"ok": report.ok}
    job.cpu, job.max_rss = report.cpu, report.max_rss
    job.exit_code = str(report.exit_code)
    job.log_url = report.log_url or job.log_url
    job.errors |= {source: list(error) for source, error in report.errors.items()}
    _set(world, job, "holding", told=False)
    world.alarm(job, world.pace.add)


def add(world: "World", job: Job) -> None:
    """The end is known: the job is final, and its input is done or wants another attempt."""
    assert job.report is not None
    ok = job.report["ok"]
    file, task = world.inputs[job.input], world.tasks[job.task]
    job.log_size = 10 if ok else 0
    _log(task, job, "finished" if ok else "failed")
    file.status = "finished" if ok else "ready"
    if not ok:
        file.attempt += 1
        file.ram = tasks.ram_for_retry(task, file, job)
    world.touch(file)
    _set(world, job, "finished" if ok else "failed", numbers=True)
    tasks.input_changed(world, task)


def lost(world: "World", job: Job, text: str) -> None:
    """The pilot is gone without a report."""
    job.ended = world.now()
    job.report = {"ok": False}
    job.errors["jobDispatcher"] = [EC_LOST_HEARTBEAT, text]
    job.exit_code = None
    add(world, job)


def kill(world: "World", job: Job, text: str, forced: bool = False) -> bool:
    """Kill a job: one that runs is only told to its pilot, unless by force.

    True if the command was taken."""
    if job.status in FINAL_JOB or (job.command == "tobekilled" and not forced):
        return False
    job.command = "tobekilled"
    if job.status == "running" and not forced:
        job.errors["taskBuffer"] = [0, text]
        world.pilot.killed(world, job)
        world.touch(job)
    else:
        _cancel(world, job, text)
    return True


def close(world: "World", job: Job, text: str) -> None:
    """End a job that is to be replaced by another, without counting it as an attempt."""
    job.errors["taskBuffer"] = [EC_KILL, text]
    job.ended = job.ended or world.now()
    file, task = world.inputs[job.input], world.tasks[job.task]
    file.status = "ready"
    _log(task, job, "failed")
    world.touch(file)
    world.alarm(job, None)
    _set(world, job, "closed")


def _cancel(world: "World", job: Job, text: str) -> None:
    job.errors["taskBuffer"] = [EC_KILL, text]
    job.ended = job.ended or world.now()
    file, task = world.inputs[job.input], world.tasks[job.task]
    if file.status != "finished":
        file.status = "ready"
        file.attempt += 1
        world.touch(file)
    _log(task, job, "failed")
    world.alarm(job, None)
    _set(world, job, "cancelled")
    tasks.input_changed(world, task)


def _log(task: Task, job: Job, status: str) -> None:
    for entry in task.logs:
        if entry[0] == job.log_file:
            entry[2] = status


def _set(
    world: "World",
    job: Job,
    status: str,
    told: bool = True,
    short: bool = False,
    numbers: bool = False,
) -> None:
    job.status, job.modified = status, world.now()
    if status in FINAL_JOB:
        world.active.pop(job.id, None)
    world.touch(job)
    if told:
        _tell(world, job, status, short=short, numbers=numbers)


def _tell(
    world: "World",
    job: Job,
    status: str,
    codes: Any = 0,
    short: bool = False,
    numbers: bool = False,
) -> None:
    """The message of a job's change: `running` is short, an end carries numbers as well."""
    file = world.inputs[job.input]
    body: dict[str, Any] = {"computingsite": job.site, "inputs": None if short else [file.lfn]}
    if not short:
        for source in ERROR_SOURCES:
            body[f"{source.lower()}errorcode"] = job.errors.get(source, [codes])[0]
        for source in ERROR_SOURCES:
            body[f"{source.lower()}errordiag"] = job.errors.get(source, [0, "NULL"])[1]
    if numbers:
        body |= {
            "job_nevents": 0,
            "job_ninputfiles": "NULL",
            "job_noutputdatafiles": 0,
            "job_ninputdatafiles": "NULL",
            "job_inputfilebytes": "NULL",
            "job_outputfilebytes": 0,
            "job_hs06sec": "NULL",
        }
    body |= {"msg_type": "job_status", "jobid": job.id, "taskid": job.task, "status": status}
    world.tell(body)
