"""kill -9 of the daemon between the intent of a command and the driver's answer: it is asked again, comes to
its end, and is done once."""

import asyncio
import contextlib
import json
from collections import Counter

import pytest
from cmd_api.v1.job_pb2 import Job
from daemon_process import DaemonProcess, until

from cm_client import Client, CmError
from cmd_daemon.store import Store

pytestmark = pytest.mark.timeout(300)
NAME = "campaigns/crash"
GROUPS = 4
CAMPAIGN = f"""\
campaign: crash
owner: me
stack: w1
butler: {{repo: demo, inputs: [a], output: u/me/crash}}
facilities: [USDF]
steps:
  one:
    split: {{by: tract, ranges: ["1..{GROUPS}"]}}
    pipeline: x.yaml#a
    params: {{fake: {{run_s: null}}}}
"""


def standings(daemon: DaemonProcess) -> Counter[str]:
    """How the attempts outside stand; none while nobody answers."""
    with contextlib.suppress(CmError), daemon.client() as client:
        jobs = client.within(2.0).jobs(NAME, states=[Job.STATE_RUNNING])
        return Counter(Job.Standing.Name(job.standing)[9:] for job in jobs)
    return Counter()


def world(daemon: DaemonProcess, what: str) -> list[dict[str, str]]:
    """What happened outside, by the word of the outside itself."""
    lines = (daemon.root / "world").read_text().splitlines()
    return [entry for line in lines if (entry := json.loads(line))["what"] == what]


def intents(daemon: DaemonProcess) -> list[str]:
    """The verbs in the outbox of a daemon that is dead."""

    async def read() -> list[str]:
        store = await Store.open(daemon.database, clock=lambda: 0, migrate=False)
        try:
            return [effect.verb for effect in (await store.load_open()).effects.values()]
        finally:
            await store.close()

    return asyncio.run(read())


def told(client: Client, verb: str) -> bool:
    """Say it, to a daemon that may die of it; whether it answered."""
    say = client.pause_campaign if verb == "pause" else client.resume_campaign
    try:
        say(NAME)
    except CmError:
        return False
    return True


def begin(daemon: DaemonProcess) -> None:
    """The campaign with all its attempts outside."""
    with daemon.client() as client:
        client.apply_campaign(CAMPAIGN, start=True)
    stand(daemon, "GOING")


def stand(daemon: DaemonProcess, how: str) -> None:
    """Wait until all attempts stand so."""
    until(lambda: standings(daemon) == {how: GROUPS}, f"{how}; log:\n{daemon.log()[-3000:]}")


def killed_at(daemon: DaemonProcess, verb: str, done: int) -> None:
    """Say the verb to a daemon that dies of it; so many commands were done outside until then."""
    with daemon.client() as client:
        told(client.within(3.0), verb)
    until(daemon.dead, "the daemon's death")
    assert intents(daemon) == [verb] * GROUPS, "what is asked for is committed"
    assert len(world(daemon, "command")) == done


def finish(daemon: DaemonProcess) -> None:
    """Let the attempts, which go on, end well; then prove that everything was done exactly once."""
    daemon.kill()
    keys = [entry["key"] for entry in world(daemon, "run")]
    assert len(set(keys)) == len(keys) == GROUPS
    given = Counter((entry["key"], entry["command"]) for entry in world(daemon, "command"))
    assert given == Counter({(key, verb): 1 for key in keys for verb in ("pause", "resume")})
    with (daemon.root / "world").open("a") as out:
        for key in keys:
            out.write(json.dumps({"what": "end", "key": key, "at": 0.0}) + "\n")
    daemon.start()
    until(lambda: daemon.state() == "ACCEPTED", f"ACCEPTED; log:\n{daemon.log()[-3000:]}")
    assert daemon.stop() == 0
    ends = [r for r in daemon.history() if r.cause == "CommandAnswered" and r.kind == "job"]
    told_ends = Counter(record.reason for record in ends)
    assert told_ends == {"pause is done": GROUPS, "resume is done": GROUPS}
    assert len(world(daemon, "run")) == GROUPS
    assert intents(daemon) == []


@pytest.mark.parametrize("point", ["before-control", "after-control"])
def test_killed_between_the_intent_of_a_command_and_its_answer(
    daemon: DaemonProcess, point: str
) -> None:
    after = point.startswith("after")
    daemon.start(f"{point}:1")
    begin(daemon)
    killed_at(daemon, "pause", GROUPS if after else 0)
    daemon.start(f"{point}:2")  # it asks for the pause again, and then for the resume
    stand(daemon, "PAUSED")
    until(lambda: daemon.state() == "PAUSED", "PAUSED")
    killed_at(daemon, "resume", 2 * GROUPS if after else GROUPS)
    daemon.start()
    stand(daemon, "GOING")
    finish(daemon)


@pytest.mark.parametrize("point", ["after-commit:1", "before-commit:2", "after-commit:2"])
def test_killed_between_a_pause_and_its_commands(daemon: DaemonProcess, point: str) -> None:
    """The first commit is that of the wish, the second that of the intents."""
    daemon.start()
    begin(daemon)
    daemon.kill()
    daemon.start(point)
    with daemon.client() as client:
        answered = told(client.within(3.0), "pause")
    if not daemon.dead():
        daemon.kill()  # the point may lie further on: no process that dies later by itself
    daemon.start()
    if not answered and daemon.state() == "RUNNING":
        with daemon.client() as client:  # it died of an earlier commit than that of the wish
            client.pause_campaign(NAME)
    stand(daemon, "PAUSED")
    with daemon.client() as client:
        client.resume_campaign(NAME)
    stand(daemon, "GOING")
    finish(daemon)
