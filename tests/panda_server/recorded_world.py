"""The world of the recordings, made again: the tasks of that day in the states of that hour.

Nothing is told to the model that it should know by itself: tasks are submitted with the recorded
parameters, their pilots end as the recorded ones did, and commands are sent. Only numbers that come
from the server's past (the next task, job, dataset, file) are set, so that they need no mapping.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from panda_server import Clock, Queue, World
from panda_server.idds import requests as idds_requests
from panda_server.idds import workflow
from panda_server.model import commands, jobs, submission
from recorded import BPS_ARGS, EXCHANGES, LIVES

USER = "Test User"
NOON = datetime(2026, 11, 22, 17, 20, 39)
DATA = {name: entry["response"]["body"] for name, entry in EXCHANGES.items()}


def as_submitted(name: str, at: int = 0) -> dict[str, Any]:
    """What a recorded full record was submitted with: without what the refiner put in."""
    data = DATA[name]["data"]
    refined = dict((data if isinstance(data, dict) else data[at])["raw_task_params"])
    for added in ("pushStatusChanges", "messageDriven", "cloudAsVO"):
        refined.pop(added, None)
    return refined | {"log": {**refined["log"], "value": "log.tgz"}}


def life(name: str) -> dict[str, Any]:
    """The parameters that a recorded life began with."""
    return LIVES[name]["steps"][0]["request"]["task_parameters"]


def sent(name: str) -> dict[str, Any]:
    """The parameters of a recorded submission."""
    return EXCHANGES[name]["request"]["body"]["task_parameters"]


class Past:
    """Builds a world step by step, and hears its messages."""

    def __init__(self, start: datetime = NOON) -> None:
        self.world = World(Clock(start))
        self.heard: list[dict[str, Any]] = []
        self.world.listeners.append(self.heard.append)
        self.world.pilot.fail("bad_*")
        self.world.queues.add(Queue("TEST_PQ", "US", "TEST"))

    def submit(
        self,
        number: int,
        told: dict[str, Any],
        *,
        production: bool = True,
        parent: int | None = None,
        wait: float = 0.0,
    ) -> None:
        """A task with its recorded number."""
        self.world.numbers["task"] = number - 1
        code, text, made = submission.submit(self.world, told, USER, production, parent)
        assert (code, made) == (0, number), text
        self.world.advance(wait)

    def numbers(self, **last: int) -> None:
        """The last numbers that the server's past had given away."""
        self.world.numbers.update(last)

    def command(self, number: int, verb: str, wait: float = 0.0, **told: Any) -> None:
        """A command by Test User with the role."""
        code, text = commands.register(self.world, number, verb, f"{verb} by {USER}", True, told)
        assert code == 0, text
        self.world.advance(wait)


def plain(name: str) -> dict[str, Any]:
    """Parameters of a task of which no record is kept: only its state was asked for."""
    return as_submitted("detailed-info-paused") | {"taskName": name}


def half_past_five() -> Past:
    """19 done, 20 finished, 21 failed, 22 to 28 running; 1 pending; nothing of interest between."""
    past = Past(datetime(2026, 11, 22, 16, 30))
    world = past.world
    world.retry_hangs = True
    world.jedi_log_error = "FileNotFoundError:[Errno 2] No such file or directory: '/data/x'"
    world.queues["TEST_PQ"].status = "offline"
    del world.queues.by_name["TEST_PQ"]
    past.submit(1, as_submitted("since-group", 0), production=True, wait=60)
    past.numbers(dataset=8, file=200, log=300)
    job = DATA["gzip-body"]["data"][0]
    task5 = plain(job["jobName"].rpartition(".")[0]) | {
        "pfnList": ["pseudo_0"],
        "nFiles": 1,
        "site": "SLAC_Rubin",
        "cloud": "US",
        "log": {**plain("")["log"], "dataset": job["destinationDBlock"]},
    }
    held = world.pilot.hold(at="pending")
    past.submit(5, task5)
    world.advance(5)
    world.tasks[5].log_dataset = 15
    jobs.kill(world, world.jobs[1], "killed by Test User/CN=nickname:tuser")
    for number in (2, 3, 4, 6):
        past.submit(number, plain(f"u.t.other.{number}"))
    world.advance((NOON - world.now()).total_seconds())
    world.pilot.forget(held, world)
    past.numbers(job=71, dataset=47, file=1012, log=1112, row=224)
    _evening(past)
    return past


def _evening(past: Past) -> None:
    world = past.world
    scouts = world.pilot.hold("*", at="running", tasks="*full-scout*")
    others = world.pilot.hold("*", at="running", tasks="*")
    past.submit(19, as_submitted("detailed-info-done"))
    past.submit(20, as_submitted("detailed-info-finished"))
    past.submit(21, as_submitted("detailed-info-failed"), wait=10)
    past.submit(
        22, as_submitted("detailed-info-paused") | {"taskName": "u.rec.cmd-kill.1795368141"}
    )
    past.submit(23, plain("u.rec.cmd-finish.1795368141"))
    past.submit(24, as_submitted("detailed-info-paused"))
    past.submit(25, plain("u.rec.cmd-reassign.1795368141"))
    past.submit(26, plain("u.rec.cmd-prio.1795368141"))
    past.submit(27, plain("u.rec.cmd-own.1795368141"), production=False)
    past.submit(28, plain("u.rec.cmd-own2.1795368141"), production=False, wait=10)
    past.numbers(row=300, log=1400)
    world.pilot.hold("*", at="running", tasks="*.cmd-*")
    world.pilot.forget(others, world)
    world.advance(90)
    world.pilot.forget(scouts, world)
    world.advance(150)


def submitted(name: str) -> Callable[[Past], None]:
    """A recorded submission, refined and at its end if it can be."""

    def step(past: Past) -> None:
        entry = EXCHANGES[name]
        user = entry["request"]["headers"]["Authorization"] == "Bearer <user>"
        number = entry["response"]["body"]["data"]
        past.submit(number, sent(name), production=not user)

    return step


def waited(seconds: float) -> Callable[[Past], None]:
    """Time goes by."""
    return lambda past: past.world.advance(seconds)


def commanded(number: int, verb: str, wait: float = 0.0, **told: Any) -> Callable[[Past], None]:
    """A command, and time for it."""
    return lambda past: past.command(number, verb, wait, **told)


def next_task(number: int) -> Callable[[Past], None]:
    """The next submission gets this number."""
    return lambda past: past.numbers(task=number - 1)


def idds(*numbers: int) -> Callable[[Past], None]:
    """The recorded workflow as these requests, and the next number after them."""

    def step(past: Past) -> None:
        for number in numbers:
            past.numbers(request=number - 1)
            idds_requests.submit(past.world, workflow.parse(BPS_ARGS), USER)

    return step


def next_request(number: int) -> Callable[[Past], None]:
    """The next request gets this number."""
    return lambda past: past.numbers(request=number - 1)


def second_lives(past: Past) -> None:
    """41, 42 and 43 as recorded at a quarter to six: done, finished, failed; 20 retries."""
    past.submit(41, life("full-scout-done"))
    past.submit(42, life("partial-finished"))
    past.submit(43, life("all-failed"), wait=200)


def only_pending_jobs(past: Past) -> None:
    """The jobs of the statistics: so many per queue in each state."""
    world = past.world = Past().world
    counts = {
        "LANCS_Rubin": {"running": 14, "pending": 8, "finished": 4, "failed": 17, "cancelled": 8},
        "SLAC_Rubin": {"pending": 7, "failed": 6, "finished": 31, "cancelled": 1},
        "CC-IN2P3_Rubin": {"pending": 8, "failed": 10, "finished": 9},
    }
    world.pilot.hold("running_*", at="running")
    world.pilot.hold("cancelled_*", at="activated")
    world.pilot.hold("pending_*", at="pending")
    world.pilot.fail("failed_*")
    for number, (site, states) in enumerate(counts.items(), 1):
        names = [f"{state}_{at}" for state, count in states.items() for at in range(count)]
        told = plain(f"stats {site}") | {"site": site, "cloud": world.queues[site].cloud}
        past.submit(number, told | {"pfnList": names, "nFiles": len(names), "maxFailure": 1})
    world.advance(30)
    for job in list(world.jobs.values()):
        if world.inputs[job.input].name.startswith("cancelled_"):
            jobs.kill(world, job, f"killed by {USER}")
