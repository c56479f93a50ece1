"""Requests and transforms, and their records: one per transform, or one with nothing in it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from panda_server.idds.enums import (
    CollectionStatus,
    CommandType,
    ProcessingStatus,
    RequestLocking,
    RequestStatus,
    RequestType,
    TransformStatus,
    TransformType,
)
from panda_server.idds.workflow import Work, Workflow

if TYPE_CHECKING:
    from panda_server.model.world import World


@dataclass
class Request:
    """A workflow that was submitted."""

    id: int
    name: str
    owner: str
    workflow: Workflow
    created: datetime
    updated: datetime
    status: str = "New"
    transforms: list[int] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    due: datetime | None = None


@dataclass
class Transform:
    """One work of a request, and the PanDA task that does it."""

    id: int
    request: int
    work: Work
    created: datetime
    updated: datetime
    status: str = "New"
    task: int | None = None
    ended: datetime | None = None
    contents: dict[str, str] = field(default_factory=dict)


def date(moment: datetime | None) -> str | None:
    """A time as iDDS writes it."""
    return moment.strftime("%a, %d %b %Y %H:%M:%S UTC") if moment else None


def submit(world: "World", workflow: Workflow, user: str) -> int:
    """A new request; the same workflow twice makes two."""
    now = world.now()
    request = Request(world.number("request"), workflow.name, user, workflow, now, now)
    world.requests[request.id] = request
    world.touch(request)
    if world.idds_agents:
        world.alarm(request, world.pace.refine)
    return request.id


def record(request: Request) -> dict[str, Any]:
    """The request alone."""
    first = request.workflow.works[0]
    now = date(request.updated)
    status = RequestStatus[request.status]
    return {
        "accessed_at": now,
        "additional_data_storage": "/tmp",
        "campaign": None,
        "campaign_group": None,
        "campaign_scope": "Default",
        "campaign_tag": None,
        "cloud": first.cloud,
        "command": CommandType.NoneCommand,
        "created_at": date(request.created),
        "errors": None,
        "expired_at": None,
        "failed_transforms": None,
        "finished_transforms": None,
        "group_id": None,
        "locking": RequestLocking.Idle,
        "locking_hostname": None,
        "locking_pid": None,
        "locking_thread_id": None,
        "locking_thread_name": None,
        "max_new_retries": 3,
        "max_update_retries": 0,
        "name": request.name,
        "new_poll_period": "0:00:01",
        "new_retries": 0,
        "next_poll_at": now,
        "oldstatus": status if request.status == "New" else RequestStatus.Transforming,
        "priority": 0,
        "processing_transforms": None,
        "queue": first.queue,
        "request_id": request.id,
        "request_type": RequestType.Workflow,
        "requester": "panda",
        "scope": "workflow",
        "site": first.site,
        "status": status,
        "subfinished_transforms": None,
        "substatus": status,
        "total_transforms": None,
        "transform_tag": "workflow",
        "update_poll_period": "0:00:10",
        "update_retries": 0,
        "updated_at": now,
        "userdn": None,
        "username": request.owner,
        "workload_id": None,
    }


COUNTERS = "activated failed missing new preprocessing processed processing total"
JOINED = """
transform_created_at transform_finished_at transform_id transform_name transform_status
transform_type transform_updated_at transform_workload_id processing_created_at
processing_finished_at processing_id processing_status processing_transform_id
processing_updated_at processing_workload_id
"""
PROCESSING = {"Transforming": "Running", "Ready": "Submitting"}


def joined(world: "World", request: Request) -> list[dict[str, Any]]:
    """The request with each of its transforms; with none, once, even its own number null."""
    rows = [_row(request, world.transforms[number]) for number in request.transforms]
    if rows:
        return rows
    names = [f"{side}_{name}_files" for side in ("input", "output") for name in COUNTERS.split()]
    names += [
        f"{side}_coll_{name}"
        for side in ("input", "output")
        for name in ("bytes", "id", "name", "scope", "status", "transform_id")
    ]
    empty = dict.fromkeys([*names, *JOINED.split(), "request_id"])
    return [dict(sorted((record(request) | empty).items()))]


def _row(request: Request, transform: Transform) -> dict[str, Any]:
    created, updated = date(transform.created), date(transform.updated)
    row = record(request) | {
        "transform_id": transform.id,
        "transform_name": transform.work.name,
        "transform_status": TransformStatus[transform.status],
        "transform_type": TransformType.Processing,
        "transform_workload_id": transform.task,
        "transform_created_at": created,
        "transform_updated_at": updated,
        "transform_finished_at": date(transform.ended),
        "processing_id": transform.id,
        "processing_status": ProcessingStatus[PROCESSING.get(transform.status, transform.status)],
        "processing_transform_id": transform.id,
        "processing_workload_id": transform.task,
        "processing_created_at": created,
        "processing_updated_at": updated,
        "processing_finished_at": date(transform.ended),
    }
    for side, counts in counters(transform).items():
        row |= {f"{side}_{name}_files": counts.get(name, 0) for name in COUNTERS.split()}
        row |= {
            f"{side}_coll_id": 2 * transform.id - (side == "input"),
            f"{side}_coll_name": f"pseudo_{side}_collection#{transform.id}",
            f"{side}_coll_scope": "pseudo_dataset",
            f"{side}_coll_status": CollectionStatus[
                {"Finished": "Closed", "SubFinished": "SubClosed", "Failed": "Failed"}.get(
                    transform.status, "Processing"
                )
            ],
            f"{side}_coll_transform_id": transform.id,
            f"{side}_coll_bytes": 0,
        }
    return dict(sorted(row.items()))


def counters(transform: Transform) -> dict[str, dict[str, int]]:
    """Numbers of contents, on the input side and on the output side."""
    states = list(transform.contents.values())
    found = {state: states.count(state) for state in set(states)}
    waiting, released = found.get("new", 0), found.get("activated", 0)
    output = {
        "total": len(states),
        "new": waiting + released,
        "processing": found.get("processing", 0),
        "processed": found.get("processed", 0),
        "failed": found.get("failed", 0),
        "missing": found.get("missing", 0),
    }
    done = len(states) - waiting - found.get("missing", 0)
    inputs = {"total": len(states), "new": waiting, "processed": done}
    return {"input": inputs | {"missing": found.get("missing", 0)}, "output": output}
