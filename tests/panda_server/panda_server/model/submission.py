"""Submitting a task: the refusals, the odd successes, and the names that must be unique."""

from typing import TYPE_CHECKING, Any

from panda_server.model.entities import FINAL_TASK, Task

if TYPE_CHECKING:
    from panda_server.model.world import World

ACTIVE = {"registered", "defined", "ready", "scouting", "running", "paused", "throttled"}
TWIKI = "https://twiki.cern.ch/twiki/bin/view/PanDA/PandaJEDI#Task_retry_and_resubmission"


def submit(
    world: "World",
    parameters: dict[str, Any],
    user: str,
    production: bool,
    parent: int | None = None,
    request: int | None = None,
) -> tuple[int, str, int | None]:
    """Take a task: (code, text, number). Without the role it becomes the user's analysis.

    Codes: 0 new, 1 queued already, 2 active already, 3 reactivated, 4 not registered,
    10 too many active tasks."""
    told = dict(parameters)
    if not production or "userName" not in told:
        told["userName"] = user
    if not production or "taskType" not in told:
        told |= {"taskType": "anal", "taskPriority": 1000}
    if any(name not in told for name in ("taskName", "vo", "prodSourceLabel")):
        return 4, "failed to register task", None
    own = [t for t in world.tasks.values() if t.owner == told["userName"] and t.status in ACTIVE]
    if world.max_active_tasks is not None and len(own) > world.max_active_tasks:
        text = f"Too many active tasks for {user} {len(own)}>{world.max_active_tasks}"
        return 10, text, None
    if told["taskType"] == "anal" and told.get("uniqueTaskName") is True:
        found = _same(world, told)
        if found is not None:
            return _duplicate(found)
    task = Task(
        id=world.number("task"),
        parameters=told,
        owner=told["userName"],
        submitted=world.now(),
        parent=parent,
        request=request,
    )
    world.tasks[task.id] = task
    world.alarm(task, world.pace.refine)
    return 0, f"succeeded. new jediTaskID={task.id}", task.id


def _same(world: "World", told: dict[str, Any]) -> Task | None:
    names = ("vo", "prodSourceLabel", "userName", "taskName")
    same = [t for t in world.tasks.values() if all(t.parameters[n] == told[n] for n in names)]
    return max(same, key=lambda task: task.id, default=None)


def _duplicate(task: Task) -> tuple[int, str, int | None]:
    name = task.parameters["taskName"]
    if not task.visible:
        text = f"jediTaskID={task.id} is already queued for outDS={name}. "
        return 1, text + "You cannot submit duplicated tasks. ", None
    if task.status in FINAL_TASK - {"broken"} | {"exhausted"}:
        text = f"reactivation accepted. jediTaskID={task.id} (currently in {task.status} state) "
        return 3, text + "will be re-executed with old and/or new input", task.id
    text = (
        f"jediTaskID={task.id} is in the {task.status} state for outDS={name}. "
        "You can re-submit the task with new parameters for the same or another input "
        "once it goes into finished/failed/done. "
        "Or you can retry the task once it goes into running/finished/failed/done. "
        f"Note that retry != resubmission according to {TWIKI} "
    )
    return 2, text, None
