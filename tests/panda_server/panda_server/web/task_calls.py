"""`task/...` calls that read, and the one that submits."""

import json
import re
from datetime import datetime
from typing import Any

from panda_server.model import records, submission
from panda_server.model.entities import Task
from panda_server.web.calls import NO_TASK_ID, Answer, Context, call, no, ok

REGEX = r"^$*+?\|()"
NO_DETAILS = "Task not found or error retrieving the details"
NO_INFO = "Task not found or error retrieving task info"


def _seen(at: Context, number: int) -> Task | None:
    task = at.world.tasks.get(number)
    return task if task and task.visible else None


@call("task/get_status", "GET")
def get_status(at: Context, task_id) -> Answer:
    """The state, as a text."""
    try:
        number = int(task_id)
    except ValueError:
        return no(NO_TASK_ID)
    task = _seen(at, number)
    return ok(task.status) if task else no("Task not found")


@call("task/get_details", "GET")
def get_details(
    at: Context, task_id: int, include_parameters: bool = False, include_status: bool = False
) -> Answer:
    """Counters and current jobs; of an unknown task empty ones, unless more is asked for."""
    task = _seen(at, task_id)
    if task is None and (include_parameters or include_status):
        return no(NO_DETAILS)
    found = records.details(at.world, task)
    if task and include_status:
        found["status"] = task.status
    if task and include_parameters:
        found["cliParams"] = task.parameters.get("cliParams", "")
    return ok(found)


@call("task/get_detailed_info", "GET")
def get_detailed_info(at: Context, task_id: int) -> Answer:
    """The full record."""
    task = _seen(at, task_id)
    return ok(records.task_record(at.world, task)) if task else no(NO_INFO)


@call("task/get_parent_detailed_info", "GET")
def get_parent_detailed_info(at: Context, task_id: int) -> Answer:
    """The full record of the parent."""
    task = _seen(at, task_id)
    parent = _seen(at, task.parent) if task and task.parent is not None else None
    return ok(records.task_record(at.world, parent)) if parent else no("No parent task found")


@call("task/get_task_parameters", "GET")
def get_task_parameters(at: Context, task_id: int) -> Answer:
    """What was submitted; known at once, before the task can be seen elsewhere."""
    task = at.world.tasks.get(task_id)
    return ok(task.parameters) if task else no("Task not found")


@call("task/get_tasks_detailed_info_since", "GET")
def get_tasks_detailed_info_since(
    at: Context,
    since: str | None = None,
    filters: str | None = None,
    n_tasks: int = 500,
) -> Answer:
    """Full records of the caller's tasks; a plain filter on userName opens the view.

    Plain values are compared first and the list is cut to n_tasks, lowest numbers first;
    only then are regular expressions applied."""
    plain: dict[str, str] = {"userName": at.user}
    patterns: dict[str, str] = {}
    if filters:
        try:
            told = json.loads(filters)
        except ValueError:
            return no("filters is not valid JSON")
        if not isinstance(told, dict):
            return no("filters must be a JSON object")
        for name, value in told.items():
            is_pattern = any(sign in value for sign in REGEX)
            (patterns if is_pattern else plain)[name] = value
    try:
        start = datetime.strptime(since, "%Y-%m-%d %H:%M:%S") if since else datetime.min
        chosen = _chosen(at, plain, start)[:n_tasks]
    except (ValueError, KeyError):
        return no("Failed to retrieve task IDs")
    found = [records.task_record(at.world, task) for task in chosen]
    return ok([record for record in found if _fits(record, patterns)])


FAST_FIELDS = {"jediTaskID": "id", "status": "status", "userName": "owner"}


def _chosen(at: Context, plain: dict[str, str], start: datetime) -> list[Task]:
    """The tasks with these values, by number; KeyError for a field that no task has."""
    chosen = []
    for task in at.world.tasks.values():
        if not task.visible or task.modified is None or task.modified < start:
            continue
        record = None
        for name, value in plain.items():
            if name in FAST_FIELDS:
                now: Any = getattr(task, FAST_FIELDS[name])
            elif name in task.parameters and name not in task.attributes:
                now = task.parameters[name]
            else:
                record = record or records.task_record(at.world, task)
                now = record[name]
            if str(now) != value:
                break
        else:
            chosen.append(task)
    return chosen


def _fits(record: dict[str, Any], patterns: dict[str, str]) -> bool:
    for name, pattern in patterns.items():
        try:
            if name in record and re.search(pattern, str(record[name])) is None:
                return False
        except re.error:
            return False
    return True


@call("task/get_tasks_modified_since", "GET")
def get_tasks_modified_since(
    at: Context,
    since: str,
    dn: str | None = None,
    full: bool = False,
    min_task_id: int | None = None,
    prod_source_label: str = "user",
) -> Answer:
    """Short records of a person's tasks, by number; a bad date finds nothing and says yes."""
    try:
        start = datetime.strptime(since, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return ok({})
    found = {}
    for task in at.world.tasks.values():
        if not task.visible or task.modified is None or task.modified < start:
            continue
        if task.owner != (dn or at.user) or task.id <= (min_task_id or 0):
            continue
        if task.parameters["prodSourceLabel"] != prod_source_label:
            continue
        record = records.short_record(at.world, task)
        found[record["reqID"]] = record | (records.digest(at.world, task) if full else {})
    return ok(found)


@call("task/get_job_ids", "GET")
def get_job_ids(at: Context, task_id: int) -> Answer:
    """All jobs, also those that were replaced."""
    task = _seen(at, task_id)
    return ok(list(task.jobs) if task else [])


@call("task/get_job_descriptions", "GET")
def get_job_descriptions(at: Context, task_id: int, unsuccessful_only: bool = False) -> Answer:
    """Full records of all jobs, with the archive."""
    task = _seen(at, task_id)
    jobs = [at.world.jobs[number] for number in task.jobs] if task else []
    bad = ("failed", "cancelled", "closed")
    chosen = [job for job in jobs if not unsuccessful_only or job.status in bad]
    return ok([records.extended(at.world, job) for job in chosen])


@call("task/get_datasets_and_files", "GET")
def get_datasets_and_files(
    at: Context,
    task_id,
    dataset_types: list[str] = ("input", "pseudo_input"),
    dataset_only: bool = False,
) -> Answer:
    """Datasets of the given types with their files; dataset_only changes nothing."""
    del dataset_only
    task = _seen(at, int(task_id))
    found = records.datasets(at.world, task, list(dataset_types)) if task else []
    return ok(found) if found else no("No data found for the task")


@call("task/submit", "POST")
def submit(
    at: Context,
    task_parameters: dict,
    parent_tid: int | None = None,
) -> Answer:
    """A new task: its number in `data`, or a code where it is refused."""
    code, text, number = submission.submit(
        at.world, task_parameters, at.user, at.production, parent_tid
    )
    return ok(number, text) if code in (0, 3) else no(text, code)
