"""The test's hand on a server in another process: `POST /control/<verb>` with JSON arguments."""

import inspect
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from panda_server.model import jobs, tasks
from panda_server.model.queues import Queue
from panda_server.web.app import CONTROL
from panda_server.web.exchange import Request, Response

if TYPE_CHECKING:
    from panda_server.model.world import World
    from panda_server.server import PandaServer


class Control:
    """Each public method is a verb; its arguments are the fields of the body."""

    def __init__(self, server: "PandaServer") -> None:
        self._server = server

    def __call__(self, request: Request, world: "World") -> Response | None:
        if not request.path.startswith(CONTROL):
            return None
        del world
        verb = request.path.removeprefix(CONTROL)
        method = None if verb.startswith("_") else getattr(self, verb, None)
        if method is None:
            return Response(404, f"no verb {verb!r}")
        told = json.loads(request.body) if request.body else {}
        try:
            inspect.signature(method).bind(**told)
        except TypeError as problem:
            return Response(400, f"{verb}: {problem}")
        return Response(200, json.dumps(method(**told), default=str))

    def token(self, role: str = "production", lifetime_s: float = 14 * 86400) -> str:
        """A token: `production`, `user` or `other`."""
        issuer, clock = self._server.issuer, self._server.world.clock
        if role == "production":
            return issuer.production(clock, lifetime_s)
        return issuer.user(clock) if role == "user" else issuer.other(clock)

    def advance(self, seconds: float) -> None:
        """Move time."""
        self._server.world.advance(seconds)

    def fault(self, kind: str, **told: Any) -> None:
        """`lose_answers`, `drop`, `errors`, `slow`, `void_tokens`, `cut_lists`, `stick`, `unstick`."""
        getattr(self._server.faults, kind)(**told)

    def clear(self) -> None:
        """No faults."""
        self._server.faults.clear()

    def fail(self, **told: Any) -> None:
        """Let jobs fail, as `Pilot.fail`."""
        self._server.pilot.fail(**told)

    def hold(self, **told: Any) -> None:
        """Hold jobs, as `Pilot.hold`."""
        self._server.pilot.hold(**told)

    def forget(self) -> None:
        """Forget the rules for jobs; what was held goes on."""
        world = self._server.world
        for rule in list(self._server.pilot.rules):
            self._server.pilot.forget(rule, world)

    def queue(self, name: str, **told: Any) -> None:
        """Change a queue, or make one: fields of `Queue`."""
        queues = self._server.world.queues
        known = queues.by_name.get(name) or Queue(name, told.pop("cloud"), told.pop("site"))
        for field, value in told.items():
            setattr(known, field, value)
        queues.add(known)

    def messages(self, lose: int = 0, double: int = 0, delay: int = 0) -> list[Any]:
        """What was told, and what is to happen to the next messages."""
        told = self._server.messages
        told.lose, told.double, told.delay = lose, double, delay
        return told.told

    def state(self) -> dict[str, Any]:
        """Tasks and requests with their states, and jobs by state."""
        world = self._server.world
        return {
            "tasks": {t.parameters["taskName"]: t.status for t in world.tasks.values()},
            "requests": {r.name: r.status for r in world.requests.values()},
            "jobs": Counter(job.status for job in world.jobs.values()),
            "time": world.now().isoformat(),
        }

    def ledger(self) -> list[Any]:
        """What was executed."""
        return self._server.ledger()

    def kill_jobs(self, task: str) -> int:
        """The pilots of a task's jobs die without a report."""
        world = self._server.world
        found = [t for t in world.tasks.values() if t.parameters["taskName"] == task]
        active = [job for t in found for job in tasks.active_jobs(world, t)]
        for job in active:
            jobs.lost(world, job, "lost heartbeat")
        return len(active)
