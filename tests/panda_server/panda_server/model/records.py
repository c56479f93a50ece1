"""Tasks and jobs as the API tells them: the full record, the short ones, the counters."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from panda_server.model import refine, tasks
from panda_server.model.entities import Input, Job, Task
from panda_server.model.job_records import job_record

if TYPE_CHECKING:
    from panda_server.model.world import World

# Fields of a task's record that no recorded task fills.
NEVER_IN_TASK = """
lockedBy termCondition progress failureRate countryGroup ticketID ticketSystemType campaign
mergeRamCount mergeRamUnit mergeWalltime mergeWalltimeUnit throttledTime numThrottled
mergeCoreCount goal nucleus ttcRequested ttcPredicted ttcPredictionDate rescueTime useJumbo
diskIO diskIOUnit memory_leak_core memory_leak_x2 container_name framework actionTime
outDiskUnit task_creation_arguments
"""


def counts(world: "World", task: Task) -> Counter[str]:
    """Inputs by what the counters call them: tobedone, finished, failed, missing, picked."""
    return Counter(_kind(file) for file in tasks.files(world, task))


def _kind(file: Input) -> str:
    if file.status in ("finished", "missing"):
        return file.status
    if file.status == "staging":
        return "tobedone"
    if file.status == "ready":
        return "failed" if file.spent else "tobedone"
    return "picked"


def statistics(world: "World", task: Task) -> str:
    """The counters as one text, as `finished*4,failed*2`."""
    found = counts(world, task)
    kinds = ("tobedone", "finished", "failed", "missing", "picked")
    return ",".join(f"{kind}*{found[kind]}" for kind in kinds if found[kind])


def _percent(part: int, whole: int) -> int:
    return round(100 * part / whole) if whole else 0


def task_record(world: "World", task: Task) -> dict[str, Any]:
    """The full record: every field of a JEDI task, its parameters and its counters."""
    told, now = task.parameters, task.attributes
    found = counts(world, task)
    total = len(task.inputs)
    refined = "jobParameters" in told and task.status not in ("broken", "tobroken")
    return {
        "jediTaskID": task.id,
        "taskName": told["taskName"],
        "status": task.status,
        "userName": told["userName"],
        "creationDate": task.created,
        "modificationTime": task.modified,
        "startTime": task.started,
        "endTime": task.ended,
        "frozenTime": task.frozen,
        "prodSourceLabel": told["prodSourceLabel"],
        "workingGroup": told.get("workingGroup"),
        "vo": told["vo"],
        "coreCount": now["coreCount"],
        "taskType": told["taskType"],
        "processingType": told.get("processingType"),
        "taskPriority": now["taskPriority"],
        "currentPriority": now["currentPriority"],
        "architecture": told.get("architecture") or "{}",
        "transUses": told.get("transUses", ""),
        "transHome": told.get("transHome", ""),
        "transPath": told.get("transPath"),
        "lockedTime": task.locked,
        "splitRule": now["splitRule"],
        "walltime": now["walltime"],
        "walltimeUnit": now["walltimeUnit"],
        "outDiskCount": 0,
        "workDiskCount": 0,
        "workDiskUnit": now["workDiskUnit"],
        "ramCount": now["ramCount"],
        "ramUnit": now["ramUnit"],
        "ioIntensity": now["ioIntensity"],
        "ioIntensityUnit": now["ioIntensityUnit"],
        "workQueue_ID": 1 if told.get("processingType") == "urgent" else 2,
        "errorDialog": task.error,
        "reqID": told.get("reqID", task.id),
        "oldStatus": task.old_status,
        "cloud": now["cloud"],
        "site": now["site"],
        "parent_tid": task.parent or task.id,
        "eventService": 0,
        "stateChangeTime": task.changed,
        "superStatus": task.super_status,
        "assessmentTime": task.assessed,
        "cpuTime": now["cpuTime"],
        "cpuTimeUnit": now["cpuTimeUnit"],
        "cpuEfficiency": 90,
        "baseWalltime": 600,
        "baseRamCount": 0,
        "requestType": refine.payload_identifier(task) if refined else None,
        "gshare": now["gshare"],
        "resource_type": "Undefined",
        "attemptNr": 0,
        "activatedTime": task.activated,
        "queuedTime": task.queued,
        "job_execution_params": refine.template(task) if refined else None,
        "raw_task_params": task.refined,
        "nFiles": total,
        "nFilesFinished": found["finished"],
        "nFilesFailed": found["failed"],
        "nFilesMissing": found["missing"],
        "pctFinished": _percent(found["finished"], total),
        "pctFailed": _percent(found["failed"], total),
    } | dict.fromkeys(NEVER_IN_TASK.split())


def details(world: "World", task: Task | None) -> dict[str, Any]:
    """What get_details says; of an unknown task, nothing in each field."""
    log = (task.parameters.get("log") or {}) if task else {}
    current = [] if task is None else [file.job for file in tasks.files(world, task) if file.job]
    return {
        "inDS": "",
        "outDS": log.get("dataset", ""),
        "statistics": statistics(world, task) if task else "",
        "PandaID": current,
        "mergeStatus": None,
        "mergePandaID": [],
    }


def short_record(world: "World", task: Task) -> dict[str, Any]:
    """The record of get_tasks_modified_since."""
    full = task_record(world, task)
    names = (
        "jediTaskID modificationTime status processingType transUses transHome architecture "
        "reqID creationDate site cloud taskName"
    )
    return {name: full[name] for name in names.split()}


def digest(world: "World", task: Task) -> dict[str, Any]:
    """What `full` adds to it; other fields than get_details has, and other contents."""
    return {
        "inDS": "pseudo_dataset",
        "outDS": "",
        "statistics": statistics(world, task),
        "PandaID": [],
        "mergeStatus": None,
        "mergePandaID": [],
        "cliParams": task.parameters.get("cliParams", ""),
    }


def datasets(world: "World", task: Task, types: list[str]) -> list[dict[str, Any]]:
    """Datasets of some types with their files and the files' states."""
    found = []
    if task.dataset and {"input", "pseudo_input"} & set(types):
        found.append(
            {
                "dataset": {"name": "pseudo_dataset", "id": task.dataset},
                "files": [
                    {"lfn": file.lfn, "scope": None, "id": file.id, "status": file.status}
                    for file in tasks.files(world, task)
                ],
            }
        )
    if task.log_dataset and "log" in types:
        files = [
            {"lfn": lfn, "scope": None, "id": number, "status": status}
            for number, lfn, status in task.logs
        ]
        name = task.parameters["log"]["dataset"]
        found.append({"dataset": {"name": name, "id": task.log_dataset}, "files": files})
    return found


def extended(world: "World", job: Job) -> dict[str, Any]:
    """The job's record as get_job_descriptions tells it: with its duration and its kind."""
    record = job_record(world, job)
    label = f"{record['prodSourceLabel']}_normal"
    lasted = (job.ended - job.started).total_seconds() if job.ended and job.started else None
    return record | {"jobDuration": lasted, "extendedProdSourceLabel": label}
