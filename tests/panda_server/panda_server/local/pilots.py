"""The pilots of this machine: so many slots per queue, each job a process of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from panda_server.local import payload
from panda_server.model import jobs
from panda_server.model.entities import Job
from panda_server.model.pilot import Pilot, Report

if TYPE_CHECKING:
    from panda_server.model.world import World

# How long a process may take to say that it is there.
GRACE_S = 30.0
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")


class LocalPilot(Pilot):
    """Runs jobs below `home`/jobs; what rules fail or hold is not run. `slots` is per queue.

    `runner` is put before the job's command line. Executions are noted in `home`/ledger.jsonl."""

    host = "localhost"

    def __init__(
        self,
        home: Path,
        slots: int = 2,
        runner: tuple[str, ...] = ("bash", "-c"),
        env: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.home = home
        self.slots = slots
        self.runner = runner
        self.env = {name: os.environ[name] for name in KEPT if name in os.environ} | (env or {})
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def _folder(self, job: Job) -> Path:
        return self.home / "jobs" / str(job.id)

    def activated(self, world: "World", job: Job) -> None:
        """A job waits; `look` finds it when a slot is free."""

    def started(self, world: "World", job: Job) -> None:
        """A job has a slot: run it, or let it end as a rule says."""
        rule = self._rule(world, job, lambda rule: rule.hold is None)
        if rule is not None:
            super().started(world, job)
        elif not self.holds(world, job, "running"):
            self._run(world, job)

    def _run(self, world: "World", job: Job) -> None:
        """Start the process, unless one was started before the server was killed."""
        folder = self._folder(job)
        job.log_url = f"{world.url}/logs/{job.site}/PandaJob_{job.id}/pilotlog.txt|local|pilot"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            return
        task, file = world.tasks[job.task], world.inputs[job.input]
        entry = {
            "task": task.parameters["taskName"],
            "input": file.name,
            "attempt": job.attempt,
            "PandaID": job.id,
            "queue": job.site,
        }
        told = {
            "command": [*self.runner, job.parameters],
            "env": self.env | {"PANDAID": str(job.id), "PANDA_RESOURCE": job.site},
            "ledger": str(self.home / "ledger.jsonl"),
            "entry": entry,
        }
        payload.write(folder / "job.json", told)
        self._children[job.id] = subprocess.Popen(
            [sys.executable, payload.__file__, str(folder)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def killed(self, world: "World", job: Job) -> None:
        """End the process; the server hears of it after the pilot's next heartbeat."""
        found = self._process(job)
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found[0], signal.SIGTERM)
        world.alarm(job, world.pace.add)

    def look(self, world: "World") -> None:
        """Take over what has ended, and fill the slots that are free."""
        busy: Counter[str] = Counter()
        waiting = []
        for job in list(world.active.values()):
            if job.status == "running":
                busy[job.site] += 1
                if (self._folder(job) / "job.json").exists() and job.command != "tobekilled":
                    self._look_at(world, job)
            elif job.status == "activated" and not self.holds(world, job, "activated"):
                waiting.append(job)
        for job in sorted(waiting, key=lambda job: (-job.priority, job.id)):
            if busy[job.site] < self.slots:
                busy[job.site] += 1
                jobs.start(world, job)

    def _process(self, job: Job) -> tuple[int, str] | None:
        try:
            pid, begun = json.loads((self._folder(job) / "process.json").read_text())
        except OSError:
            return None
        return (pid, begun) if payload.started(pid) == begun else None

    def _look_at(self, world: "World", job: Job) -> None:
        folder = self._folder(job)
        child = self._children.get(job.id)
        if child is not None and child.poll() is not None:
            del self._children[job.id]
        alive = self._process(job) is not None or (child is not None and child.returncode is None)
        file = folder / "report.json"
        if file.exists():
            jobs.end(world, job, _report(json.loads(file.read_text())))
        elif not alive and time.time() - (folder / "job.json").stat().st_mtime > GRACE_S:
            jobs.lost(world, job, "lost heartbeat")


def _report(told: dict[str, int | str]) -> Report:
    code = int(told["exit_code"])
    text = f"Failed to execute payload: {told['said']}"
    return Report(
        ok=code == 0,
        errors={} if code == 0 else {"pilot": (1305, text)},
        exit_code=code,
        cpu=int(told["cpu"]),
        max_rss=int(told["max_rss"]),
    )
