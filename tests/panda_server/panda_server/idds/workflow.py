"""The body of a submission: the works of a workflow and what each job waits for."""

import base64
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

ZIPPED = "idds_zip:"


@dataclass
class Work:
    """One work: what becomes a PanDA task. `jobs` is name -> names of (work, job) before it.

    `after` are the works whose end, however it is, releases this one."""

    name: str
    internal_id: str
    attributes: dict[str, Any]
    jobs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    after: list[str] = field(default_factory=list)

    @property
    def cloud(self) -> str | None:
        """Its cloud."""
        return self.attributes.get("task_cloud")

    @property
    def queue(self) -> str | None:
        """Its queue."""
        return self.attributes.get("task_queue") or self.attributes.get("queue")

    @property
    def site(self) -> str | None:
        """The site that BPS names, which is not a queue."""
        return self.attributes.get("task_site")


@dataclass
class Workflow:
    """A workflow: its name and its works in the order of their submission."""

    name: str
    works: list[Work]


def unzipped(value: Any) -> Any:
    """What iDDS packs when it is large: zlib and base64 behind a word."""
    if isinstance(value, str) and value.startswith(ZIPPED):
        return json.loads(zlib.decompress(base64.b64decode(value.removeprefix(ZIPPED))))
    return value


def parse(text: str) -> Workflow:
    """The workflow of a submission's `args`: a JSON list with one tagged workflow."""
    (tagged,) = json.loads(text)
    body = tagged["attributes"]["template"]["attributes"]
    works = {}
    for internal_id, told in body["_works"].items():
        works[internal_id] = _work(internal_id, told["attributes"])
    for condition in body.get("_conditions", {}).values():
        told = condition["attributes"]
        before = [one["idds_method_internal_id"] for one in told["_conditions"]]
        for internal_id in told["_true_works"]:
            works[internal_id].after += [works[number].name for number in before]
    return Workflow(body["_name"], list(works.values()))


def _work(internal_id: str, told: dict[str, Any]) -> Work:
    kept = {
        name: value
        for name, value in told.items()
        if not name.startswith("_") and not isinstance(value, dict | list)
    }
    kept["task_log"] = told.get("task_log")
    work = Work(told["task_name"], internal_id, kept)
    for job in unzipped(told.get("_dependency_map")) or []:
        before: list[tuple[str, str]] = [
            (one["task"], one["inputname"]) for one in job.get("dependencies", [])
        ]
        work.jobs[job["name"]] = before
    return work
