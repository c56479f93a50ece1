"""`task/...` calls that change a task: commands that wait, and changes that are made at once."""

from typing import Any

from panda_server.model import commands, submission, tasks
from panda_server.web.calls import Answer, Context, call, no, ok

ATTRIBUTES = ["ramCount", "wallTime", "cpuTime", "coreCount"]
RULES = "AI TW EC MF NG NI NF ES NJ AV IL LI LC CC OT UZ IM NP"
ATTEMPTS_IN = ["running", "scouting", "ready"]


def _register(
    at: Context, number: int, verb: str, comment: str | None = None, **arguments: Any
) -> Answer:
    text = comment or f"{verb} by {at.user}"
    code, message = commands.register(at.world, number, verb, text, at.production, arguments)
    return ok(code, message) if code == 0 else no(message, code)


@call("task/kill", "POST", owner=True)
def kill(at: Context, task_id: int, broadcast: bool = False) -> Answer:
    """Abort."""
    del broadcast
    return _register(at, task_id, "kill")


@call("task/finish", "POST", owner=True)
def finish(at: Context, task_id: int, soft: bool = False, broadcast: bool = False) -> Answer:
    """End with what is there; softly: with what runs."""
    del broadcast
    comment = f"soft finish by {at.user}" if soft else None
    return _register(at, task_id, "finish", comment, soft=soft)


@call("task/pause", "POST", production=True)
def pause(at: Context, task_id: int) -> Answer:
    """Pause."""
    return _register(at, task_id, "pause")


@call("task/resume", "POST", production=True)
def resume(at: Context, task_id: int) -> Answer:
    """Go on after a pause."""
    return _register(at, task_id, "resume")


@call("task/release", "POST", production=True)
def release(at: Context, task_id: int) -> Answer:
    """Release."""
    return _register(at, task_id, "release")


@call("task/avalanche", "POST", production=True)
def avalanche(at: Context, task_id: int) -> Answer:
    """Skip what is left of scouting."""
    return _register(at, task_id, "avalanche")


@call("task/reassign", "POST")
def reassign(
    at: Context,
    task_id: int,
    site: str | None = None,
    cloud: str | None = None,
    nucleus: str | None = None,
    mode: str | None = None,
) -> Answer:
    """To another queue. Neither owner, nor state, nor target, nor mode is looked at."""
    del nucleus
    return _register(at, task_id, "reassign", site=site, cloud=cloud, mode=mode)


@call("task/retry", "POST", owner=True)
def retry(
    at: Context,
    task_id: int,
    new_parameters: dict | None = None,
    no_child_retry: bool = False,
    discard_events: bool = False,
    disable_staging_mode: bool = False,
    keep_gshare_priority: bool = False,
    ignore_hard_exhausted: bool = False,
) -> Answer:
    """Try the failed inputs again. Says yes whatever comes of it; `data` tells.

    New parameters make a new task instead, unless it is an analysis."""
    del discard_events, ignore_hard_exhausted
    if new_parameters:
        task = at.world.tasks.get(task_id)
        if task is None:
            return ok(1, "new parameter conversion failed with no task parameters")
        told = task.parameters | new_parameters
        code, text, _ = submission.submit(at.world, told, at.user, at.production)
        return ok(code, text)
    words = {"sole": no_child_retry, "staged": disable_staging_mode, "keep": keep_gshare_priority}
    said = "".join(f"{word} " for word, on in words.items() if on)
    comment = f"{said}retry by {at.user}"
    code, text = commands.register(at.world, task_id, "retry", comment, at.production)
    return ok(code, text)


@call("task/reactivate", "POST", production=True)
def reactivate(
    at: Context, task_id: int, keep_attempt_nr: bool = False, trigger_job_generation: bool = False
) -> Answer:
    """Says yes also to a task that does not exist."""
    del keep_attempt_nr, trigger_job_generation
    return ok(0, f"updated 0 inputs and task {task_id} was reactivated ")


@call("task/increase_attempts", "POST", production=True)
def increase_attempts(at: Context, task_id: int, increase: int) -> Answer:
    """More attempts for inputs that failed; its codes are 1 unknown, 2 wrong state."""
    if increase < 0:
        return no(f"increase must be a positive integer, got {increase}")
    task = at.world.tasks.get(task_id)
    if task is None or not task.visible:
        return no(f"jediTaskID={task_id} not found", 1)
    if task.status not in ATTEMPTS_IN and task.old_status not in ATTEMPTS_IN:
        state = f"status={task.status} or oldStatus={task.old_status}"
        return no(f"command rejected since {state} not in {ATTEMPTS_IN}", 2)
    tried = [f for f in tasks.files(at.world, task) if f.status == "ready" and f.attempt]
    spent = sum(file.spent for file in tried)
    for file in tried:
        file.max_attempt += increase
        at.world.touch(file)
    tasks.input_changed(at.world, task)
    return ok(0, f"increased attemptNr for {len(tried)} inputs ({spent} reactivated)")


def _changed(at: Context, number: int, **values: Any) -> Answer:
    task = at.world.tasks.get(number)
    if task is None or not task.visible:
        return no("Task not found")
    task.attributes |= values
    at.world.touch(task)
    return ok(None, "1 tasks changed")


@call("task/change_priority", "POST", production=True)
def change_priority(at: Context, task_id: int, priority: int) -> Answer:
    """The current priority, of any task."""
    return _changed(at, task_id, currentPriority=priority)


@call("task/change_attribute", "POST", production=True)
def change_attribute(at: Context, task_id: int, attribute_name: str, value: int) -> Answer:
    """Memory, times or cores."""
    if attribute_name not in ATTRIBUTES:
        valid = f"Valid attributes are {ATTRIBUTES}"
        return no(f"{attribute_name} is not a valid attribute. {valid}")
    name = {"wallTime": "walltime"}.get(attribute_name, attribute_name)
    return _changed(at, task_id, **{name: value})


@call("task/change_split_rule", "POST", production=True)
def change_split_rule(at: Context, task_id: int, attribute_name: str, value: str) -> Answer:
    """A split rule by its two letters."""
    rules = RULES.split()
    if attribute_name not in rules:
        return no(f"{attribute_name} is not a valid attribute. Valid attributes are {rules}", 2)
    task = at.world.tasks.get(task_id)
    if task is None or not task.visible:
        return no("Task not found")
    rule = f"{task.attributes['splitRule']},{attribute_name}={value}"
    return _changed(at, task_id, splitRule=rule)


@call("task/reassign_global_share", "POST", production=True)
def reassign_global_share(
    at: Context, task_id_list: list[int], share: str, reassign_running_jobs: bool
) -> Answer:
    """Another share; there is but one, which cannot be chosen."""
    del at, task_id_list, reassign_running_jobs
    return no(f"Share {share} is not a leave share ", 1)
