"""A task's life, one step after the other, in the order that the recorded lives show."""

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from panda_server.model import brokerage, jobs, refine
from panda_server.model.entities import FINAL_TASK, Input, Job, Task
from panda_server.model.refine import RefineError, template

if TYPE_CHECKING:
    from panda_server.model.world import World

__all__ = ["input_changed", "ram_mb", "set_status", "template", "work"]

TOLD = {"defined", "scouting", "pending", "running", "prepared", *FINAL_TASK}
BACKDATED = timedelta(hours=1)
MEMORY_ERRORS = {("pilot", 1212), ("pilot", 1223), ("exe", 137), ("pilot", 1235)}


def set_status(
    world: "World", task: Task, status: str, *, old: str | None = None, by: str | None = None
) -> None:
    """Change the state, and tell the broker where a real server does."""
    task.old_status, task.status = old, status
    task.changed = task.modified = world.now()
    if by is not None:
        task.error = by
    world.touch(task)
    if status in TOLD:
        world.tell({"msg_type": "task_status", "taskid": task.id, "status": status})


def files(world: "World", task: Task) -> list[Input]:
    """The task's inputs, in their order."""
    return [world.inputs[number] for number in task.inputs]


def active_jobs(world: "World", task: Task) -> list[Job]:
    """The jobs that have not ended."""
    return [world.active[number] for number in task.jobs if number in world.active]


def ram_mb(task: Task, file: Input) -> int:
    """Memory for the next job at an input, in MB."""
    count = int(task.attributes["ramCount"] or 0)
    if str(task.attributes["ramUnit"]).startswith("MBPerCore"):
        count *= int(task.attributes["coreCount"] or 1)
    return max(count, file.ram)


def ram_for_retry(task: Task, file: Input, job: Job) -> int:
    """Memory that the next attempt gets: more after a memory error, in the task's own steps."""
    told = task.parameters
    now = max(ram_mb(task, file), file.ram)
    codes = {(source, error[0]) for source, error in job.errors.items()}
    if not codes & MEMORY_ERRORS and job.exit_code != "137":
        return file.ram
    offset, step = told.get("retryRamOffset"), told.get("retryRamStep")
    if offset is None:
        return file.ram
    grown = offset + math.ceil((now + 1 - offset) / step) * step if step else max(now, offset)
    return min(grown, told.get("retryRamMax") or grown)


def work(world: "World", task: Task) -> None:
    """What happens to a task when its time has come."""
    step = STEPS.get(task.status)
    if step is not None:
        step(world, task)


def _refine(world: "World", task: Task) -> None:
    task.stuck = task.stuck or world.sticks(task)
    try:
        refine.refine(world, task)
    except RefineError as problem:
        set_status(world, task, "tobroken", by=str(problem))
        world.alarm(task, world.pace.check)
    else:
        set_status(world, task, "defined")
        world.alarm(task, world.pace.contents)


def _broken(world: "World", task: Task) -> None:
    finish(world, task, "broken")


def _contents(world: "World", task: Task) -> None:
    try:
        refine.fill(world, task)
    except RefineError as problem:
        pending(world, task, str(problem))
        return
    set_status(world, task, "ready")
    task.activated = world.now()
    world.alarm(task, world.pace.generate)


def pending(world: "World", task: Task, text: str | None) -> None:
    """Put the task aside for the reason; it is looked at again later."""
    before = task.old_status if task.status == "pending" else task.status
    set_status(world, task, "pending", old=before, by=text)
    task.frozen = task.frozen or world.now()
    world.alarm(task, world.pace.broker_again)


def _again(world: "World", task: Task) -> None:
    if task.old_status == "defined":
        _contents(world, task)
    elif task.stuck == "pending":
        world.alarm(task, world.pace.broker_again)
    else:
        task.frozen = None
        set_status(world, task, task.old_status or "ready")
        _generate(world, task)


def wanted(world: "World", task: Task) -> list[Input]:
    """The inputs that the next jobs are to be made for."""
    chosen = files(world, task)
    if task.status in ("ready", "scouting") and task.scouts:
        chosen = chosen[: refine.SCOUTS]
    return [file for file in chosen if file.status == "ready" and not file.spent]


def _generate(world: "World", task: Task) -> None:
    """Pick what is ready; a moment later the jobs are made."""
    picked = [file for file in files(world, task) if file.status == "picked"]
    ready = wanted(world, task)
    if picked:
        site = brokerage.choose(world, task)
        if site is None:
            for file in picked:
                file.status = "ready"
            pending(world, task, task.error)
            task.queued = task.activated
            return
        for file in picked:
            jobs.create(world, task, file, site)
        if task.status == "ready":
            world.alarm(task, world.pace.begin)
    elif ready:
        if task.stuck in ("pending", "exhausted", "throttled"):
            stick(world, task)
            return
        for file in ready:
            file.status = "picked"
            world.touch(file)
        world.alarm(task, world.pace.hold)
    elif task.status == "ready" and (active_jobs(world, task) or task.request is not None):
        if task.scouts:
            set_status(world, task, "scouting")
        else:
            run(world, task)
    else:
        _close(world, task)


def stick(world: "World", task: Task) -> None:
    """Put a task where a test wants it stuck."""
    if task.stuck == "pending":
        pending(world, task, "waiting for free slots")
    else:
        set_status(world, task, str(task.stuck), old=task.status, by=f"{task.stuck} by test")


def _close(world: "World", task: Task) -> None:
    """Nothing is to be generated: go on to the next state if all has ended."""
    chosen = files(world, task)
    if task.status == "scouting":
        chosen = chosen[: refine.SCOUTS]
    if any(file.open for file in chosen) or active_jobs(world, task):
        return
    if task.status == "scouting":
        _scouted(world, task)
    else:
        set_status(world, task, "prepared")
        world.alarm(task, world.pace.move)


def _scouted(world: "World", task: Task) -> None:
    scouts = files(world, task)[: refine.SCOUTS]
    if not any(file.status == "finished" for file in scouts):
        set_status(world, task, "exhausted", by="no scout jobs succeeded")
        return
    task.attributes |= {
        "walltimeUnit": "kSI2kseconds",
        "workDiskUnit": "MB",
        "ioIntensity": 9,
        "ioIntensityUnit": "kBPerS",
        "cpuTime": 0,
        "cpuTimeUnit": "mHS06sPerEvent",
        "splitRule": "useScout=updated_requirements," + task.attributes["splitRule"],
    }
    set_status(world, task, "scouted")
    world.alarm(task, world.pace.move)


def run(world: "World", task: Task) -> None:
    """All inputs may get jobs. JEDI dates the change an hour back, to look at the task soon."""
    task.assessed = world.now()
    task.scouts = False
    set_status(world, task, "running")
    task.modified = world.now() - BACKDATED


def _run(world: "World", task: Task) -> None:
    run(world, task)
    world.alarm(task, world.pace.again)


def _final(world: "World", task: Task) -> None:
    states = [file.status == "finished" for file in files(world, task)]
    task.activated = task.queued = None
    task.assessed = task.assessed or world.now()
    if all(states):
        finish(world, task, "done")
    elif any(states):
        finish(world, task, "finished")
    else:
        task.error = "failed since no file was successfully processed"
        finish(world, task, "failed")


def finish(world: "World", task: Task, status: str) -> None:
    """A final state."""
    task.ended = task.locked = world.now()
    task.super_status = status
    set_status(world, task, status)


def _once_idle(world: "World", task: Task, status: str, seconds: float) -> None:
    """Go on when no job is active any more."""
    if active_jobs(world, task):
        world.alarm(task, world.pace.check)
    else:
        set_status(world, task, status)
        world.alarm(task, seconds)


def _aborting(world: "World", task: Task) -> None:
    _once_idle(world, task, "toabort", world.pace.check)


def _aborted(world: "World", task: Task) -> None:
    task.assessed = task.assessed or world.now()
    finish(world, task, "aborted")


def _finishing(world: "World", task: Task) -> None:
    _once_idle(world, task, "passed", world.pace.move)


def _prepare(world: "World", task: Task) -> None:
    set_status(world, task, "prepared")
    world.alarm(task, world.pace.move)


def _retry(world: "World", task: Task) -> None:
    """Give the inputs that failed as many attempts as they had; or never get so far."""
    if world.retry_hangs:
        task.modified = world.now()
        world.alarm(task, 60)
        return
    for file in files(world, task):
        if file.status == "missing":
            file.status = "staging"
            world.touch(file)
        elif file.spent:
            file.max_attempt = file.attempt + int(task.parameters.get("maxAttempt", 3))
            world.touch(file)
    task.ended = None
    set_status(world, task, "ready")
    world.alarm(task, world.pace.again)


def _reassign(world: "World", task: Task) -> None:
    task.frozen = None
    set_status(world, task, "ready")
    world.alarm(task, world.pace.generate)


STEPS = {
    "waiting": _refine,
    "tobroken": _broken,
    "defined": _contents,
    "ready": _generate,
    "pending": _again,
    "scouting": _generate,
    "scouted": _run,
    "running": _generate,
    "prepared": _final,
    "aborting": _aborting,
    "toabort": _aborted,
    "finishing": _finishing,
    "passed": _prepare,
    "toretry": _retry,
    "toreassign": _reassign,
}


def input_changed(world: "World", task: Task) -> None:
    """An input is done, or wants another attempt: the next round of JEDI finds it."""
    if task.status not in ("running", "scouting", "ready") or task.due is not None:
        return
    if wanted(world, task):
        world.alarm(task, world.pace.again)
    elif not active_jobs(world, task):
        task.assessed = world.now()
        world.alarm(task, world.pace.check)
