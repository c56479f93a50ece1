"""`job/...`: jobs by their numbers, and commands to jobs."""

from typing import Any

from panda_server.model import jobs
from panda_server.model.job_records import job_record
from panda_server.web.calls import Answer, Context, call, no, ok


def _records(at: Context, numbers: list[int]) -> list[dict[str, Any] | None]:
    found = (at.world.jobs.get(number) for number in numbers[: at.world.most_ids])
    return [job_record(at.world, job) if job else None for job in found]


@call("job/get_description", None)
def get_description(at: Context, job_ids: list[int]) -> Answer:
    """Records of jobs; null for what is not known. At most 5500, without a word."""
    return ok(_records(at, job_ids))


@call("job/get_description_incl_archive", None)
def get_description_incl_archive(at: Context, job_ids: list[int]) -> Answer:
    """The same with the archive."""
    return ok(_records(at, job_ids))


@call("job/get_status", "GET")
def get_status(at: Context, job_ids: list[int], timeout: int = 60) -> Answer:
    """What a pilot asks: an unknown job is to be killed."""
    del timeout
    found = []
    for number in job_ids:
        job = at.world.jobs.get(number)
        command = job.command if job and job.command == "tobekilled" else None
        unknown = {"command": "tobekilled", "status": "unknown"}
        found.append({"command": command, "status": job.status} if job else unknown)
    return ok(found)


@call("job/kill", "POST")
def kill(
    at: Context,
    job_ids: list[int],
    code: int | None = None,
    use_email_as_id: bool = False,
    kill_options: list[str] = [],  # noqa: B006
) -> Answer:
    """True for each job that took the command: not for unknown, ended or other people's ones."""
    del use_email_as_id, kill_options
    assert at.caller is not None
    taken = []
    for number in job_ids:
        job = at.world.jobs.get(number)
        owner = job and at.world.tasks[job.task].owner
        text = f"killed by {at.caller.raw_dn}"
        if job is None or not (at.production or owner == at.user):
            taken.append(False)
        else:
            taken.append(jobs.kill(at.world, job, text, forced=code in (9, 99)))
    return ok(taken)


@call("job/set_debug_mode", "POST", production=True)
def set_debug_mode(at: Context, job_id: int, mode: bool) -> Answer:
    """Says no, with the message that it has succeeded."""
    del at, job_id, mode
    return no("Succeeded")
