"""From the parameters of a submission to a task: what JEDI's refiner makes of them."""

import re
import uuid
from typing import TYPE_CHECKING, Any

from panda_server.model.entities import FINAL_TASK, Input, Task

if TYPE_CHECKING:
    from panda_server.model.world import World

SPLIT_RULES = (
    "nFilesPerJob",
    "nEventsPerJob",
    "retryRamOffset",
    "retryRamStep",
    "retryRamMax",
    "pfnList",
    "pushStatusChanges",
    "cloudAsVO",
    "messageDriven",
    "instantiateTmpl",
    "instantiateTmplSite",
)
SCOUTS = 10


class RefineError(Exception):
    """The task cannot be made; it becomes broken with this text."""


def attributes(task: Task) -> dict[str, Any]:
    """The fields of the task that commands and scouts may change later."""
    told = task.parameters
    return {
        "site": told.get("site"),
        "cloud": told.get("cloud"),
        "ramCount": told.get("ramCount", 0),
        "ramUnit": told.get("ramUnit"),
        "walltime": told.get("maxWalltime", told.get("walltime", 0)),
        "walltimeUnit": None,
        "coreCount": told.get("coreCount", 1),
        "taskPriority": told.get("taskPriority", 100),
        "currentPriority": told.get("currentPriority", told.get("taskPriority", 100)),
        "workDiskUnit": None,
        "ioIntensity": None,
        "ioIntensityUnit": None,
        "cpuTime": None,
        "cpuTimeUnit": None,
        "gshare": "root",
        "splitRule": split_rule(told),
    }


def split_rule(told: dict[str, Any]) -> str:
    """The split rule as the full record writes it; what is pushed is pushed for every task."""
    always = {"pushStatusChanges": 1, "cloudAsVO": 1, "messageDriven": 1}
    known = {name: told[name] for name in SPLIT_RULES if isinstance(told.get(name), int | str)}
    if "pfnList" in told:
        known["pfnList"] = 1
    else:
        known |= {"instantiateTmpl": 1, "instantiateTmplSite": 1}
    known |= always
    return ",".join(f"{name}={known[name]}" for name in SPLIT_RULES if name in known)


def template(task: Task) -> str:
    """The jobs' parameters, with place-holders."""
    items = task.parameters.get("jobParameters", [])
    return " ".join(str(item["value"]) for item in items if "value" in item).strip()


def payload_identifier(task: Task) -> str:
    """What JEDI calls the request type: the same for tasks with the same payload."""
    told = task.parameters
    bare = re.sub(r"\$\{.*?\}", "", template(task))
    names = (str(told.get(name, "")) for name in ("transUses", "transHome", "transPath"))
    return uuid.uuid5(uuid.NAMESPACE_DNS, "+".join([*names, bare, "None"])).hex


def refine(world: "World", task: Task) -> None:
    """Make the task visible, with its datasets; RefineError where it becomes broken."""
    task.attributes = attributes(task)
    task.refined = dict(task.parameters)
    task.created = world.now()
    task.started = world.now()
    task.visible = True
    if task.parent is not None:
        parent = world.tasks.get(task.parent)
        if parent is None or parent.status in FINAL_TASK - {"done", "finished"}:
            raise RefineError(f"parent task {task.parent} failed to complete")
    if "jobParameters" not in task.parameters:
        raise RefineError("failed to refine task with KeyError:'jobParameters'")
    log = task.parameters.get("log")
    if log:
        task.refined["log"] = {**log, "value": "${LOG0}"}
    task.refined |= {"pushStatusChanges": True, "messageDriven": True, "cloudAsVO": True}
    task.dataset = world.number("dataset")
    task.log_dataset = world.number("dataset") if log else 0


def fill(world: "World", task: Task) -> None:
    """Put the pseudo-files into the input dataset; RefineError where there are none to be had."""
    told = task.parameters
    count = told.get("nFiles", len(told.get("pfnList", [])))
    if isinstance(count, str):
        raise RefineError(
            "failed to get files for pseudo_dataset due to "
            "'str' object cannot be interpreted as an integer"
        )
    names = told.get("pfnList") or [f"pseudo_{n}" for n in range(count)]
    attempts = min(told.get("maxAttempt", 3), told.get("maxFailure", told.get("maxAttempt", 3)))
    for serial, name in enumerate(names[:count]):
        file = Input(
            id=world.number("file"),
            task=task.id,
            name=str(name),
            serial=serial,
            guid=str(uuid.uuid4()),
            max_attempt=attempts,
            status="ready" if task.request is None else "staging",
        )
        world.inputs[file.id] = file
        task.inputs.append(file.id)
        world.touch(file)
    task.scouts = not told.get("skipScout") and count > SCOUTS
