"""The recorded lives of tasks and their messages: the model goes through them in the same order."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from panda_server import PandaServer, Pilot, Report, World
from panda_server.model import jobs
from panda_server.model.entities import Job
from recorded import LIVES, MESSAGES, Comparison
from recorded_world import Past, half_past_five, life

# How long after the recorded moment the model may show the same; it has waits of its own.
LATEST_S = 120.0
SUBMITTED = ("full-scout-done", "partial-finished", "all-failed", "slow-full")


class RecordedPilot(Pilot):
    """Ends each attempt when its end was first seen; failures a little after successes."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._ends: dict[tuple[str, str, int], float] = {}
        for name in names:
            task = life(name)["taskName"]
            for ends in _ends(LIVES[name]).items():
                (file, attempt), moment = ends
                self._ends[task, file, attempt] = moment

    def started(self, world: World, job: Job) -> None:
        """A job has begun to run: its end is known."""
        task, file = world.tasks[job.task], world.inputs[job.input]
        end = self._ends[str(task.parameters["taskName"]), file.name, job.attempt]
        seconds = (task.submitted - world.now()).total_seconds() + end - world.pace.add
        late = 0.3 if file.name.startswith("bad") else 0.0
        world.alarm(job, max(seconds, 0.1) + late + 0.01 * file.serial)

    def report(self, world: World, job: Job) -> Report:
        """Good files succeed and bad ones fail, at every attempt."""
        if world.inputs[job.input].name.startswith("good"):
            return Report()
        text = "Failed to execute payload: test"
        return Report(ok=False, errors={"pilot": (1305, text)}, exit_code=1)


def _ends(entry: dict[str, Any]) -> dict[tuple[str, int], float]:
    """(input, attempt) -> the second at which its end was first seen."""
    found: dict[tuple[str, int], float] = {}
    before: dict[str, str] = {}
    attempts: dict[str, int] = {}
    for step in entry["steps"]:
        data = step.get("response", {}).get("body", {}).get("data")
        if not step["call"].endswith("get_datasets_and_files") or not data:
            continue
        for file in data[0]["files"]:
            name = file["lfn"].partition(":")[2]
            if before.get(name) == "running" and file["status"] in ("finished", "ready"):
                attempts[name] = attempts.get(name, 0) + 1
                found[name, attempts[name]] = step["t"]
            before[name] = file["status"]
    return found


def submitted_three() -> Past:
    """41, 42 and 43, submitted in one moment."""
    past = Past()
    past.world.pilot = RecordedPilot(SUBMITTED[:3])
    past.numbers(job=142, dataset=89, file=1057, log=1500)
    for number, name in zip((41, 42, 43), SUBMITTED, strict=False):
        past.submit(number, life(name))
    return past


def submitted_slowly() -> Past:
    """19; between its scouts and its last jobs others took job numbers."""
    past = Past()
    past.world.pilot = RecordedPilot(("slow-full",))
    past.numbers(job=71, dataset=47, file=1012, log=1112)
    past.submit(19, life("slow-full"))
    return past


def ended(past: Past, number: int) -> None:
    """The task's jobs succeed."""
    for job in list(past.world.jobs.values()):
        if job.task == number and job.status == "running":
            jobs.end(past.world, job, Report())


def commanded(number: int, verb: str, wait: float, **told: Any) -> Callable[[], Past]:
    """The world of half past five, and a command that was registered so long ago."""

    def build() -> Past:
        past = half_past_five()
        past.command(number, verb, wait, **told)
        return past

    return build


def killed_by_owner() -> Past:
    """27: the kill was long ago, and the jobs have just ended by themselves."""
    past = commanded(27, "kill", 198)()
    ended(past, 27)
    past.world.advance(2)
    return past


Action = tuple[float, Callable[[Past], None]]
# How each life begins, and what was done to it while it was polled, by seconds.
PLAYS: dict[str, tuple[Callable[[], Past], list[Action]]] = {
    "full-scout-done": (submitted_three, []),
    "partial-finished": (submitted_three, []),
    "all-failed": (submitted_three, []),
    "slow-full": (submitted_slowly, [(60, lambda past: past.numbers(job=109))]),
    "paused-resumed": (
        commanded(24, "pause", 40),
        [(90, lambda past: ended(past, 24)), (100, lambda past: past.command(24, "resume"))],
    ),
    "kill-by-owner": (killed_by_owner, []),
    "kill-then-pause": (
        commanded(22, "kill", 40),
        [(90, lambda past: past.command(22, "pause")), (101, lambda past: ended(past, 22))],
    ),
    "soft-finish-then-kill": (
        commanded(23, "finish", 40, soft=True),
        [(100, lambda past: past.command(23, "kill"))],
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[PandaServer]:
    """One server; its world is exchanged."""
    with PandaServer() as running:
        yield running


class Play:
    """A life that is polled as it was when it was recorded."""

    def __init__(self, server: PandaServer, name: str) -> None:
        build, actions = PLAYS[name]
        self.past = build()
        server.use(self.past.world)
        self._begin = self.past.world.now()
        self._actions = list(actions)
        self._client = httpx.Client(
            base_url=f"{server.url}/api/v1/",
            headers={
                "Accept": "application/json",
                "Authorization": f"Bearer {server.user_token()}",
                "Origin": "Rubin",
            },
        )
        final = LIVES[name]["steps"][-1]["response"]["body"]["data"]
        self._number = final["jediTaskID"]

    def poll(self, call: str) -> dict[str, Any]:
        """One call about the task, with what the recorded polls asked for."""
        asked: dict[str, Any] = {"task_id": self._number}
        if call.endswith("get_details"):
            asked["include_status"] = "true"
        return json.loads(self._client.get(call, params=asked).text)

    def seconds(self) -> float:
        """Since the beginning."""
        return (self.past.world.now() - self._begin).total_seconds()

    def on(self, latest: float) -> bool:
        """On to the next thing that happens; False if that is too late."""
        world = self.past.world
        due = world.next_due()
        soon = (due - self._begin).total_seconds() if due else latest + 1
        if self._actions and self._actions[0][0] <= soon:
            moment, action = self._actions.pop(0)
            world.advance(moment - self.seconds())
            action(self.past)
            return True
        if soon > latest:
            return False
        # Rounded up, so that time never stops just before what is due.
        world.advance(soon - self.seconds() + timedelta(microseconds=1).total_seconds())
        return True


@pytest.mark.parametrize("name", LIVES)
def test_a_recorded_life_is_lived_in_the_recorded_order(server: PandaServer, name: str) -> None:
    play = Play(server, name)
    for step in LIVES[name]["steps"]:
        if "request" in step:
            continue
        call = step["call"].removeprefix("GET ").removesuffix(" (last)")
        recorded = step["response"]["body"]
        latest = step["t"] + LATEST_S
        while differences := Comparison(f"/api/v1/{call}").run(recorded, play.poll(call)):
            assert play.on(latest), f"{step['t']} s, {call}: never so: {differences}"


def test_all_lives_are_lived() -> None:
    assert set(PLAYS) == set(LIVES)
    assert len(LIVES) == 8


def recorded_about(kind: str) -> dict[int, list[dict[str, Any]]]:
    """Messages about each task, or each job, in their order."""
    found: dict[int, list[dict[str, Any]]] = {}
    for body in MESSAGES:
        if body["msg_type"] == kind:
            key = body["taskid"] if kind == "task_status" else body["jobid"]
            found.setdefault(key, []).append({**body, "timestamp": "a moment"})
    return found


def told_by_model() -> list[dict[str, Any]]:
    """Messages of the worlds in which the recorded tasks live."""
    build, actions = PLAYS["soft-finish-then-kill"]
    past, three = build(), submitted_three()
    past.world.advance(100)
    actions[0][1](past)
    for one in (past, three):
        one.world.advance(700)
    return [{**body, "timestamp": "a moment"} for body in (*past.heard, *three.heard)]


def test_the_recorded_messages_are_told_in_the_recorded_order() -> None:
    told = told_by_model()
    tasks, of_jobs = recorded_about("task_status"), recorded_about("job_status")
    assert sum(map(len, [*tasks.values(), *of_jobs.values()])) == len(MESSAGES) == 39
    for number, bodies in tasks.items():
        assert [b for b in told if b["msg_type"] == "task_status" and b["taskid"] == number] == (
            bodies
        )
    for number, bodies in of_jobs.items():
        ours = [b for b in told if b["msg_type"] == "job_status" and b["jobid"] == number]
        for recorded in bodies:
            assert recorded in ours, recorded
        order = [b for b in ours if b in bodies]
        assert order == bodies
