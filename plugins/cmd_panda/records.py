"""What PanDA and iDDS tell, as typed records. Times in microseconds UTC, None where they are not told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

SOURCES = ("pilot", "exe", "sup", "ddm", "brokerage", "jobDispatcher", "taskBuffer")
"""Where an error of a job may come from, as the fields of its record are named."""

UNSET = (None, "", "NULL")


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One PanDA task, counted by its input files: jobs are made anew for each try and would count
    twice. `changed` is when its state changed, `modified` when anything did. `memory` is in MB."""

    id: int
    name: str
    status: str
    queue: str = ""
    error: str = ""
    files: int = 0
    finished: int = 0
    failed: int = 0
    missing: int = 0
    priority: int = 0
    memory: int = 0
    created: int | None = None
    changed: int | None = None
    modified: int | None = None
    started: int | None = None
    ended: int | None = None

    @property
    def done(self) -> tuple[int, int, int, int]:
        """The counters: another answer is progress."""
        return (self.files, self.finished, self.failed, self.missing)


@dataclass(frozen=True, slots=True)
class JobError:
    """One error of a job: its source (`pilot`, ..., `trans` for the payload's exit), code and text."""

    source: str
    code: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One PanDA job. `stdout` is the URL of the pilot's log, as the harvester has noted it."""

    id: int
    status: str
    queue: str = ""
    attempt: int = 0
    errors: tuple[JobError, ...] = ()
    inputs: tuple[str, ...] = ()
    exit_code: int | None = None
    stdout: str = ""
    host: str = ""
    max_rss: int = 0
    started: int | None = None
    ended: int | None = None


@dataclass(frozen=True, slots=True)
class InputFile:
    """One input of a task and its state: what progress is counted by."""

    name: str
    status: str


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One PanDA queue: its state, and what one job may have (memory in bytes, wall time in seconds;
    0 where nothing is told)."""

    name: str
    status: str
    cloud: str = ""
    memory: int = 0
    cores: int = 0
    walltime_s: float = 0.0


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """Jobs of everybody at one queue."""

    running: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True)
class Transform:
    """One transform of an iDDS request, which is one PanDA task: `workload` is its id. The counters
    are those of its inputs."""

    id: int
    name: str
    status: str
    workload: int | None = None
    total: int = 0
    processed: int = 0
    processing: int = 0
    failed: int = 0
    missing: int = 0


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One iDDS request. `id` is None in a detailed answer while it has no transforms: then only its
    name tells which it is."""

    id: int | None
    name: str
    status: str
    error: str = ""
    created: int | None = None
    updated: int | None = None
    transforms: tuple[Transform, ...] = field(default=())


def moment(value: Any) -> int | None:
    """A time as PanDA writes it, {"__datetime__": ISO without zone, UTC}, or iDDS, as in HTTP."""
    text = value.get("__datetime__") if isinstance(value, Mapping) else value
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            at = datetime.strptime(text, "%a, %d %b %Y %H:%M:%S UTC")
        except ValueError:
            return None
    return round(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1e6)


def number(value: Any) -> int:
    """A count or code, 0 where it is not told."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def text(value: Any) -> str:
    """A text; PanDA also writes an unset one as NULL."""
    return "" if value in UNSET else str(value)


def task_record(told: Mapping[str, Any]) -> TaskRecord:
    """A task from its full record. Raises KeyError or ValueError for what is none."""
    return TaskRecord(
        id=int(told["jediTaskID"]),
        name=str(told["taskName"]),
        status=str(told["status"]),
        queue=text(told.get("site")),
        error=text(told.get("errorDialog")),
        files=number(told.get("nFiles")),
        finished=number(told.get("nFilesFinished")),
        failed=number(told.get("nFilesFailed")),
        missing=number(told.get("nFilesMissing")),
        priority=number(told.get("currentPriority")),
        memory=number(told.get("ramCount")),
        created=moment(told.get("creationDate")),
        changed=moment(told.get("stateChangeTime")),
        modified=moment(told.get("modificationTime")),
        started=moment(told.get("startTime")),
        ended=moment(told.get("endTime")),
    )


def job_record(told: Mapping[str, Any]) -> JobRecord:
    """A job from its description. Raises KeyError or ValueError for what is none."""
    errors = [
        JobError(source, code, text(told.get(f"{source}ErrorDiag")))
        for source in SOURCES
        if (code := number(told.get(f"{source}ErrorCode")))
    ]
    exit_text = text(told.get("transExitCode"))
    exit_code = int(exit_text) if exit_text.lstrip("-").isdigit() else None
    if exit_code:
        errors.append(JobError("trans", exit_code))
    stdout = text(told.get("pilotID")).partition("|")[0]
    files = told.get("Files")
    inputs = [
        text(each.get("lfn"))
        for each in (files if isinstance(files, list) else [])
        if isinstance(each, Mapping) and each.get("type") in ("input", "pseudo_input")
    ]
    return JobRecord(
        id=int(told["PandaID"]),
        status=str(told["jobStatus"]),
        queue=text(told.get("computingSite")),
        attempt=number(told.get("attemptNr")),
        errors=tuple(errors),
        inputs=tuple(inputs),
        exit_code=exit_code,
        stdout=stdout if stdout.startswith(("http://", "https://")) else "",
        host=text(told.get("modificationHost")),
        max_rss=number(told.get("maxRSS")) * 1024,
        started=moment(told.get("startTime")),
        ended=moment(told.get("endTime")),
    )


def queue_specs(told: Mapping[str, Any]) -> dict[str, QueueSpec]:
    """The queues by name. Those with a slash are shares of one queue and say the same again."""
    specs = {}
    for name, each in told.items():
        if "/" in name or not isinstance(each, Mapping):
            continue
        specs[name] = QueueSpec(
            name=name,
            status=text(each.get("status")),
            cloud=text(each.get("cloud")),
            memory=number(each.get("maxrss") or each.get("memory")) * 1024**2,
            cores=number(each.get("coreCount")),
            walltime_s=float(number(each.get("maxtime"))),
        )
    return specs


def queue_loads(told: Mapping[str, Any]) -> dict[str, QueueLoad]:
    """Running and waiting jobs by queue."""
    loads = {}
    for name, states in told.items():
        if isinstance(states, Mapping):
            counts = {str(state): number(count) for state, count in states.items()}
            running = counts.pop("running", 0)
            waiting = sum(
                counts.get(state, 0)
                for state in ("pending", "defined", "assigned", "activated", "sent", "starting")
            )
            loads[name] = QueueLoad(running, waiting)
    return loads


def enum_name(value: Any) -> str:
    """The name of an iDDS enum in its class-tagged form, or the text itself."""
    if isinstance(value, Mapping):
        attributes = value.get("attributes")
        return text(attributes.get("_name_")) if isinstance(attributes, Mapping) else ""
    return text(value)


def request_records(rows: Sequence[Any]) -> list[RequestRecord]:
    """Requests from the rows of an answer: one for each request, or with details one for each of its
    transforms. Rows of one request have its name in common."""
    requests: dict[str, RequestRecord] = {}
    transforms: dict[str, dict[int, Transform]] = {}
    for row in rows:
        if not isinstance(row, Mapping) or not row.get("name"):
            continue
        name = str(row["name"])
        id = row.get("request_id")
        former = requests.get(name)
        if former is None or former.id is None:
            requests[name] = RequestRecord(
                id=int(id) if id is not None else None,
                name=name,
                status=enum_name(row.get("status")),
                error=_request_error(row.get("errors")),
                created=moment(row.get("created_at")),
                updated=moment(row.get("updated_at")),
            )
        if row.get("transform_id") is not None:
            made = _transform(row)
            transforms.setdefault(name, {})[made.id] = made
    return [
        RequestRecord(
            each.id,
            name,
            each.status,
            each.error,
            each.created,
            each.updated,
            tuple(transforms.get(name, {}).values()),
        )
        for name, each in requests.items()
    ]


def _request_error(value: Any) -> str:
    if isinstance(value, Mapping):
        return text(value.get("msg") or value.get("message"))
    return text(value)


def _transform(row: Mapping[str, Any]) -> Transform:
    workload = row.get("transform_workload_id")
    return Transform(
        id=int(row["transform_id"]),
        name=text(row.get("transform_name")),
        status=enum_name(row.get("transform_status")),
        workload=int(workload) if workload is not None else None,
        total=number(row.get("input_total_files")),
        processed=number(row.get("input_processed_files")),
        processing=number(row.get("input_processing_files")),
        failed=number(row.get("input_failed_files")),
        missing=number(row.get("input_missing_files")),
    )
