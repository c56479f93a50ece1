"""The commands to a task: what is refused at once, and what is done minutes later."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from panda_server.model import jobs, tasks
from panda_server.model.entities import Command, Task

if TYPE_CHECKING:
    from panda_server.model.world import World

ENDED = {"finished", "done", "broken", "aborted", "failed"}
TO_RETRY = {"finished", "failed", "exhausted"}
TO_REASSIGN = {"defined", "ready", "running", "scouting", "scouted", "pending", "exhausted"}
REFUSED = {
    "kill": ENDED | {"prepared", "toabort", "aborting"},
    "finish": ENDED | {"prepared", "toabort", "aborting"},
    "pause": ENDED | {"paused"},
}
ACCEPTED = {
    "retry": TO_RETRY,
    "resume": {"paused", "throttled", "staging"},
    "avalanche": {"scouting"},
    "release": {"scouting", "pending", "running", "ready", "assigning", "defined"},
}


def register(
    world: "World",
    number: int,
    verb: str,
    comment: str,
    production: bool,
    arguments: dict[str, Any] | None = None,
) -> tuple[int, str]:
    """Take a command, over any that waits: code 0; 2 unknown task, 4 refused in its state."""
    task = world.tasks.get(number)
    if task is None or not task.visible:
        return 2, f"jediTaskID={number} not found"
    state = task.status
    if state in REFUSED.get(verb, ()) or state not in ACCEPTED.get(verb, {state}):
        return 4, _refusal(verb, state)
    if verb == "retry" and state == "exhausted" and not production:
        return 4, _refusal(verb, state) + "and production role is missing"
    due = world.now() + timedelta(seconds=world.pace.command)
    if task.command:
        task.command.due = None
    task.command = Command(number, verb, comment, due, arguments or {})
    world.touch(task)
    world.schedule(task.command)
    return (
        0,
        f"command={verb} is registered for task ID {number}. will be executed in a few minutes",
    )


def _refusal(verb: str, state: str) -> str:
    return f"Command rejected: the {verb} command is not accepted if the task is in {state} status "


def work(world: "World", command: Command) -> None:
    """Do what was registered, if the state still allows it."""
    task = world.tasks[command.id]
    task.command = None
    world.touch(task)
    state = task.status
    if state in REFUSED.get(command.verb, ()) or state not in ACCEPTED.get(command.verb, {state}):
        return
    DO[command.verb](world, task, command)


def _kill(world: "World", task: Task, command: Command) -> None:
    task.assessed = task.assessed or world.now()
    again = state_before(task) == "finishing"
    tasks.set_status(world, task, "aborting", by=command.comment)
    for job in tasks.active_jobs(world, task):
        jobs.kill(world, job, command.comment, forced=again or job.command == "tobekilled")
    world.alarm(task, world.pace.check)


def state_before(task: Task) -> str:
    """The state, looking through a pause."""
    return task.old_status or task.status if task.status == "paused" else task.status


def _finish(world: "World", task: Task, command: Command) -> None:
    tasks.set_status(world, task, "finishing", by=command.comment)
    if not command.arguments.get("soft"):
        for job in tasks.active_jobs(world, task):
            jobs.kill(world, job, command.comment)
    else:
        for job in tasks.active_jobs(world, task):
            job.command = "softkill"
    world.alarm(task, world.pace.check)


def _pause(world: "World", task: Task, command: Command) -> None:
    task.super_status = "paused"
    task.locked = None
    tasks.set_status(world, task, "paused", old=task.status, by=command.comment)
    world.alarm(task, None)
    for job in tasks.active_jobs(world, task):
        if job.status == "activated":
            world.alarm(job, None)
            jobs.activate(world, job)


def _resume(world: "World", task: Task, command: Command) -> None:
    del command
    task.super_status = "running"
    tasks.set_status(world, task, task.old_status or "running")
    task.error = None
    for job in tasks.active_jobs(world, task):
        if job.status == "throttled":
            jobs.activate(world, job)
    world.alarm(task, world.pace.again)


def _retry(world: "World", task: Task, command: Command) -> None:
    tasks.set_status(world, task, "toretry", old=task.status, by=command.comment)
    task.stuck = None
    world.alarm(task, world.pace.check)


def _reassign(world: "World", task: Task, command: Command) -> None:
    if task.status not in TO_REASSIGN:
        return
    told = command.arguments
    tasks.set_status(world, task, "toreassign", old=task.status, by=command.comment)
    if told.get("site") is not None:
        task.attributes["site"] = told["site"]
    if told.get("cloud") is not None:
        task.attributes |= {"cloud": told["cloud"], "site": told.get("site")}
    if told.get("mode") != "nokill":
        for job in tasks.active_jobs(world, task):
            if job.status != "running" or told.get("mode") != "soft":
                jobs.close(world, job, "reassigned by JEDI")
    task.stuck = None
    world.alarm(task, world.pace.check)


def _avalanche(world: "World", task: Task, command: Command) -> None:
    del command
    task.scouts = False
    tasks.set_status(world, task, "running")
    world.alarm(task, world.pace.again)


def _release(world: "World", task: Task, command: Command) -> None:
    del command
    world.alarm(task, world.pace.again)


DO = {
    "kill": _kill,
    "finish": _finish,
    "pause": _pause,
    "resume": _resume,
    "retry": _retry,
    "reassign": _reassign,
    "avalanche": _avalanche,
    "release": _release,
}
