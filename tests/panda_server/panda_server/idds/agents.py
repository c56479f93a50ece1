"""The agents of iDDS: they make PanDA tasks of works, release jobs when what is before them is done,
count what came out, and do what was commanded. They look at a request every `pace.idds` seconds."""

from typing import TYPE_CHECKING, Any

from panda_server.idds.requests import Request, Transform
from panda_server.idds.tasks import task_parameters
from panda_server.model import commands, submission, tasks
from panda_server.model.entities import FINAL_TASK, Input, Task

if TYPE_CHECKING:
    from panda_server.model.world import World

FINAL = {"Finished", "SubFinished", "Failed", "Cancelled", "Suspended"}
STATUS_OF_TASK = {
    "done": "Finished",
    "finished": "SubFinished",
    "failed": "Failed",
    "broken": "Failed",
    "exhausted": "Failed",
    "aborted": "Cancelled",
}
# verb -> state while it is done, command to each PanDA task
VERBS = {
    "abort": ("Cancelling", "kill"),
    "suspend": ("Suspending", "pause"),
    "resume": ("Resuming", "resume"),
    "retry": ("Resuming", "retry"),
    "finish": ("ToFinish", "finish"),
}

# State of a request -> command that its tasks must get, and their states on the way.
INSISTED = {
    "Cancelling": ("kill", {"aborting", "toabort", "prepared"}),
    "Suspending": ("pause", {"paused"}),
}


def register(world: "World", request: Request, verb: str) -> None:
    """Take a command; without agents it stays a command."""
    request.commands.append(verb)
    world.touch(request)
    if world.idds_agents and request.due is None:
        world.alarm(request, world.pace.idds)


def work(world: "World", request: Request) -> None:
    """One look at a request."""
    while request.commands:
        _command(world, request, request.commands.pop(0))
    if request.status == "New":
        _set(world, request, "Transforming")
    if request.status in INSISTED:
        _insist(world, request, *INSISTED[request.status])
    else:
        _create(world, request)
    for number in request.transforms:
        _count(world, world.transforms[number])
    _release(world, request)
    _close(world, request)
    if request.status not in FINAL or request.commands:
        world.alarm(request, world.pace.idds)


def _set(world: "World", request: Request, status: str) -> None:
    if request.status != status:
        request.status, request.updated = status, world.now()
    world.touch(request)


def _command(world: "World", request: Request, verb: str) -> None:
    """Pass a command on to the tasks; what they do not accept is not done."""
    if request.status in FINAL and verb not in ("retry", "resume"):
        return
    state, command = VERBS[verb]
    before = request.status
    _set(world, request, state)
    passed = False
    for number in request.transforms:
        transform = world.transforms[number]
        if transform.task is None or (verb == "retry" and transform.status == "Finished"):
            continue
        told = {"soft": True} if verb == "finish" else {}
        text = f"{command} by {request.owner}"
        code, _ = commands.register(world, transform.task, command, text, True, told)
        passed = passed or code == 0
        if code == 0 and verb in ("retry", "resume"):
            transform.status = "Transforming"
            world.touch(transform)
    if verb == "retry" and not passed and not _missing_works(world, request):
        _set(world, request, before)


def _insist(world: "World", request: Request, verb: str, reached: set[str]) -> None:
    """Again to each task that the command did not reach: it was not to be seen yet, or went on."""
    for number in request.transforms:
        task = world.tasks[world.transforms[number].task or 0]
        if task.visible and task.command is None and task.status not in FINAL_TASK | reached:
            text = f"{verb} by {request.owner}"
            commands.register(world, task.id, verb, text, True)


def _missing_works(world: "World", request: Request) -> bool:
    names = {world.transforms[number].work.name for number in request.transforms}
    return any(work.name not in names for work in request.workflow.works)


def _create(world: "World", request: Request) -> None:
    """A transform and a task for each work that may begin."""
    made = {world.transforms[number].work.name: number for number in request.transforms}
    for one in request.workflow.works:
        before = [made.get(name) for name in one.after]
        if one.name in made or not all(
            number is not None and world.transforms[number].status in FINAL for number in before
        ):
            continue
        now = world.now()
        transform = Transform(world.number("transform"), request.id, one, now, now)
        transform.contents = dict.fromkeys(one.jobs, "new")
        told = task_parameters(one, request.id, transform.id, request.owner)
        _, text, task = submission.submit(world, told, request.owner, True, request=request.id)
        transform.task = task
        transform.status = "Transforming" if task else "Failed"
        world.transforms[transform.id] = transform
        request.transforms.append(transform.id)
        world.touch(transform)
        world.touch(request)
        assert task is not None, text


def _content(world: "World", file: Input) -> str:
    if file.status == "finished":
        return "processed"
    if file.status in ("staging", "missing"):
        return {"staging": "new", "missing": "missing"}[file.status]
    if file.spent:
        return "failed"
    job = world.jobs.get(file.job or 0)
    running = job is not None and job.status in ("running", "holding")
    return "processing" if running and file.status == "running" else "activated"


def _count(world: "World", transform: Transform) -> None:
    """Take over what PanDA says about each input."""
    task = world.tasks[transform.task or 0]
    found = {file.name: _content(world, file) for file in tasks.files(world, task)}
    if found and found != transform.contents:
        transform.contents = found
        transform.updated = world.now()
        world.touch(transform)


def _release(world: "World", request: Request) -> None:
    """Release inputs whose predecessors are done; those of failed ones will be missing."""
    transforms = {world.transforms[n].work.name: world.transforms[n] for n in request.transforms}
    again = True
    while again:
        again = False
        for transform in transforms.values():
            task = world.tasks[transform.task or 0]
            if task.command is None and task.status not in FINAL_TASK | {"toretry", "aborting"}:
                again = _release_some(world, transform, transforms, task) or again


def _release_some(
    world: "World", transform: Transform, transforms: dict[str, Transform], task: Task
) -> bool:
    changed = False
    for file in tasks.files(world, task):
        if file.status != "staging":
            continue
        before = [
            transforms[name].contents.get(job, "new") if name in transforms else "new"
            for name, job in transform.work.jobs[file.name]
        ]
        if any(state in ("failed", "missing") for state in before):
            file.status = "missing"
        elif all(state == "processed" for state in before):
            file.status = "ready"
        else:
            continue
        changed = True
        transform.contents[file.name] = "missing" if file.status == "missing" else "activated"
        world.touch(file)
    if changed:
        world.touch(transform)
        tasks.input_changed(world, task)
    return changed


def _close(world: "World", request: Request) -> None:
    """Take over the ends of the tasks, and end with the last of them."""
    for number in request.transforms:
        transform = world.transforms[number]
        task = world.tasks[transform.task or 0]
        status = STATUS_OF_TASK.get(task.status)
        if status and task.command is None and transform.status != status:
            transform.status, transform.ended = status, world.now()
            world.touch(transform)
    states = [world.transforms[number].status for number in request.transforms]
    held = [world.tasks[world.transforms[n].task or 0].status for n in request.transforms]
    if request.status == "Suspending":
        if all(state == "paused" or state in FINAL_TASK for state in held):
            _set(world, request, "Suspended")
        return
    if request.status == "Resuming" and "Transforming" in states:
        _set(world, request, "Transforming")
    waiting = request.status != "Cancelling" and _missing_works(world, request)
    if waiting or not all(state in FINAL for state in states):
        return
    _set(world, request, _overall(request, states))


def _overall(request: Request, states: list[str]) -> str:
    if request.status == "Cancelling" or "Cancelled" in states:
        return "Cancelled"
    if all(state == "Finished" for state in states):
        return "Finished"
    return "SubFinished" if {"Finished", "SubFinished"} & set(states) else "Failed"


def contents(
    world: "World", found: list[Request], workload_id: Any, transform_id: Any
) -> dict[str, list[dict[str, Any]]]:
    """Outputs with the job behind each, by the number of the PanDA task."""
    told: dict[str, list[dict[str, Any]]] = {}
    for request in found:
        for number in request.transforms:
            transform = world.transforms[number]
            if workload_id not in (None, transform.task) or transform_id not in (None, number):
                continue
            files = tasks.files(world, world.tasks[transform.task or 0])
            told[str(transform.task)] = [_output(world, transform, file) for file in files]
    return told


def _output(world: "World", transform: Transform, file: Input) -> dict[str, Any]:
    job = world.jobs.get(file.job or 0)
    pilot = job.errors.get("pilot", [0, None]) if job else [None, None]
    return {
        "request_id": transform.request,
        "transform_id": transform.id,
        "workload_id": transform.task,
        "name": file.name,
        "panda_id": job.id if job else None,
        "job_status": job.status if job else None,
        "computing_site": job.site if job else None,
        "attempt_nr": job.attempt if job else None,
        "trans_exit_code": job.exit_code if job else None,
        "pilot_error_code": pilot[0],
        "pilot_error_diag": pilot[1],
    }
