"""`metaconfig/...` and `statistics/...`: queues, and how many jobs are where."""

from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

from panda_server.model.entities import FINAL_JOB, Job
from panda_server.web.calls import Answer, Context, call, no, ok

RESOURCE_TYPE = {
    "resource_name": "Undefined",
    "mincore": 1,
    "maxcore": None,
    "minrampercore": None,
    "maxrampercore": None,
}
# States that each entry has, also with none in it.
ALWAYS = ("assigned", "activated", "running")


@call("metaconfig/get_site_specs", "GET", secure=False)
def get_site_specs(at: Context, type: str = "analysis") -> Answer:
    """The queues of a type; nobody is asked who he is."""
    return ok(at.world.queues.specs(type))


@call("metaconfig/get_banned_users", "GET")
def get_banned_users(at: Context) -> Answer:
    """Nobody."""
    del at
    return ok({})


@call("metaconfig/get_resource_types", "GET")
def get_resource_types(at: Context) -> Answer:
    """The resource types of jobs."""
    del at
    return ok([RESOURCE_TYPE])


def _jobs(at: Context, window_min: int | None = None) -> list[Job]:
    """Jobs that are active, or ended within the window."""
    start = at.world.now() - timedelta(minutes=window_min or 12 * 60)
    jobs = at.world.jobs.values()
    return [job for job in jobs if job.status not in FINAL_JOB or job.modified >= start]


def _counted(jobs: list[Job], keys: Any) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for job in jobs:
        found[keys(job)][job.status] += 1
    return found


def _filled(counts: Counter[str]) -> dict[str, int]:
    return {**counts, **{state: counts[state] for state in ALWAYS}}


@call("statistics/active_job_stats_by_site", "GET", secure=False)
def active_job_stats_by_site(at: Context) -> Answer:
    """Jobs that have not ended: queue -> state -> number."""
    active = list(at.world.active.values())
    found = _counted(active, lambda job: job.site)
    return ok({site: _filled(counts) for site, counts in found.items()})


@call("statistics/active_job_detailed_stats_by_site", "GET", secure=False)
def active_job_detailed_stats_by_site(at: Context) -> Answer:
    """The same by resource type and label."""
    active = list(at.world.active.values())
    found: dict[str, Any] = {}
    for job in active:
        label = at.world.tasks[job.task].parameters["prodSourceLabel"]
        labels = found.setdefault(job.site, {"Undefined": {}})["Undefined"]
        labels.setdefault(label, Counter())[job.status] += 1
    for types in found.values():
        types["Undefined"] = {label: _filled(n) for label, n in types["Undefined"].items()}
    return ok(found)


@call("statistics/job_stats_by_cloud", "GET", secure=False)
def job_stats_by_cloud(at: Context, type: str = "production") -> Answer:
    """Jobs with those that ended lately: cloud -> state -> number."""
    del type
    found = _counted(_jobs(at), lambda job: at.world.queues[job.site].cloud)
    return ok({cloud: dict(counts) for cloud, counts in found.items()})


@call("statistics/production_job_stats_by_cloud_and_processing_type", "GET", secure=False)
def production_job_stats(at: Context) -> Answer:
    """Cloud -> processing type -> state -> number."""
    found: dict[str, Any] = {}
    for job in _jobs(at):
        cloud = at.world.queues[job.site].cloud
        kind = at.world.tasks[job.task].parameters["processingType"]
        found.setdefault(cloud, {}).setdefault(kind, Counter())[job.status] += 1
    return ok(found)


@call("statistics/job_stats_by_site_and_resource_type", "GET", secure=False)
def job_stats_by_site_and_resource_type(
    at: Context,
    time_window: int | None = None,
) -> Answer:
    """Queue -> resource type -> state -> number, with jobs that ended in the window (minutes)."""
    found = _counted(_jobs(at, time_window), lambda job: job.site)
    return ok({site: {"Undefined": _filled(counts)} for site, counts in found.items()})


@call("statistics/job_stats_by_site_share_and_resource_type", "GET", secure=False)
def job_stats_by_site_share(
    at: Context,
    time_window: int | None = None,
) -> Answer:
    """Failed in the database of the recorded server."""
    del at, time_window
    return no("Database failure getting the job statistics", {})
