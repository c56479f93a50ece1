"""A driver over a `FakeWorld`: does what the contract asks, and fails as tests tell it to."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cmd_daemon.hooks import (
    Absent,
    Accepted,
    CancelAnswer,
    Command,
    Control,
    ControlAnswer,
    DriverError,
    ErrorClass,
    FacilityInfo,
    Failure,
    Found,
    Host,
    JobKind,
    JobOrder,
    JobRef,
    LogChunk,
    Observation,
    Outcome,
    Part,
    Phase,
    Progress,
    Refused,
    Safety,
    Unclear,
    Verb,
)
from cmd_daemon.testing.world import Behaviour, FakeAttempt, FakeWorld


class FakeSettings(BaseModel):
    """`world` is a file in which the outside world outlives the daemon; `slow_s` delays calls; the
    driver takes `commands`."""

    model_config = ConfigDict(extra="forbid")

    world: Path | None = None
    slow_s: float = 0.0
    poll_s: float = 0.2
    commands: frozenset[Command] = frozenset(Command)


class FakeDriver:
    """Attempts in a fake world. Keys are planted: FINDABLE."""

    safety: Mapping[Verb, Safety] = {Verb.SUBMIT: Safety.FINDABLE, Verb.CANCEL: Safety.IDEMPOTENT}

    def __init__(
        self,
        world: FakeWorld,
        facility: str = "HERE",
        host: Host | None = None,
        poll_s: float = 0.2,
        name: str = "fake",
        commands: Iterable[Command] = Command,
    ) -> None:
        self.world = world
        self.commands = frozenset(commands)
        self.poll_s = poll_s
        self._facility = facility
        self._host = host
        self._name = name

    async def start(self) -> None:
        """See the world as it is now."""
        self.world.catch_up()

    async def stop(self) -> None:
        """Nothing to let go of; the world goes on."""

    async def _call(self, verb: str) -> None:
        self.world.calls[verb] += 1
        if self.world.slow_s:
            await asyncio.sleep(self.world.slow_s)
        if self.world.throttled:
            raise DriverError(
                ErrorClass.TRANSIENT, f"the fake system at {self._facility} asks for patience"
            )

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted | Refused]:
        """Run what the world does not hold yet."""
        await self._call("submit")
        answers: list[Accepted | Refused] = []
        lost = False
        for order in orders:
            attempt = self.world.attempts.get(order.key)
            if attempt is not None:
                answers.append(Accepted(order.key, attempt.ref))
                continue
            try:
                behaviour = self.world.behaviour(order)
            except (TypeError, ValueError) as error:
                message = f"job parameter 'fake' is wrong: {error}"
                answers.append(Refused(order.key, ErrorClass.PERMANENT, message))
                continue
            if behaviour.hang == "submit":
                await asyncio.Event().wait()
            job = order.key.rpartition("#")[0]
            if behaviour.refuse is not None and self.world.refusals[job] < behaviour.times:
                self.world.refusals[job] += 1
                message = behaviour.message or "refused as the test asked"
                answers.append(Refused(order.key, behaviour.refuse, message))
                continue
            attempt = self.world.run(order, behaviour)
            lost = lost or behaviour.lose_answer or self.world.lose_answers
            answers.append(Accepted(order.key, attempt.ref))
        self._wake()
        if lost:
            raise DriverError(ErrorClass.UNKNOWN, "the connection broke before the answer came")
        return answers

    def _wake(self) -> None:
        if self._host is not None:
            self._host.wake(self._facility, self._name)

    async def find(self, keys: Sequence[str]) -> Sequence[Found | Absent | Unclear]:
        """Look in the world."""
        await self._call("find")
        self.world.catch_up()
        return [
            Found(key, self.world.attempts[key].ref) if key in self.world.attempts else Absent(key)
            for key in keys
        ]

    def _known(self, ref: JobRef) -> FakeAttempt | None:
        attempt = self.world.attempts.get(ref.key)
        return attempt if attempt is not None and attempt.ref == ref.ref else None

    async def observe(self, refs: Sequence[JobRef]) -> Sequence[Observation]:
        """See how far attempts are."""
        await self._call("observe")
        return [await self._observe(ref) for ref in refs]

    async def _observe(self, ref: JobRef) -> Observation:
        attempt = self._known(ref)
        if attempt is None:
            return Observation(ref.key, Phase.GONE, message="not known in the fake world")
        behaviour = attempt.behaviour
        if behaviour.hang == "observe":
            await asyncio.Event().wait()
        total = sum(expected for expected, _ in behaviour.quanta.values())
        if not self.world.over(attempt):
            return Observation(ref.key, Phase.RUNNING, progress=Progress(total=total))
        return Observation(ref.key, Phase.DONE, outcome=_outcome(attempt, behaviour))

    async def cancel(self, refs: Sequence[JobRef]) -> Sequence[CancelAnswer]:
        """End attempts at once."""
        await self._call("cancel")
        for ref in refs:
            attempt = self._known(ref)
            if attempt is None:
                continue
            if attempt.behaviour.hang == "cancel":
                await asyncio.Event().wait()
            self.world.end(ref.key, cancelled=True)
        self._wake()
        return [CancelAnswer(ref.key, done=True) for ref in refs]

    async def control(self, controls: Sequence[Control]) -> Sequence[ControlAnswer]:
        """Do what is not so yet, as soon as the behaviour allows."""
        await self._call("control")
        answers: list[ControlAnswer] = []
        lost = False
        for each in controls:
            attempt = self._known(JobRef(each.key, each.ref))
            if attempt is None:
                message = f"the fake world knows no attempt {each.key}"
                answers.append(ControlAnswer(each.key, False, ErrorClass.PERMANENT, message))
                continue
            if attempt.behaviour.hang == "control":
                await asyncio.Event().wait()
            done = self.world.over(attempt)
            if not done and each.command in attempt.behaviour.refuses:
                message = attempt.behaviour.message or f"the fake system does not {each.command}"
                answers.append(ControlAnswer(each.key, False, ErrorClass.PERMANENT, message))
                continue
            if not done and not self.world.is_so(attempt, each.command, each.value):
                if self._balks(attempt, each.command):
                    answers.append(
                        ControlAnswer(each.key, False, message="asked for, not seen yet")
                    )
                    continue
                self.world.obey(each.key, each.command, each.value)
                lost = lost or self.world.lose_answers
            answers.append(ControlAnswer(each.key, True))
        if lost:
            raise DriverError(ErrorClass.UNKNOWN, "the connection broke before the answer came")
        return answers

    def _balks(self, attempt: FakeAttempt, command: Command) -> bool:
        asked = self.world.asked
        asked[attempt.key, command] += 1
        most = attempt.behaviour.balks
        if most is None or asked[attempt.key, command] <= most:
            return True
        del asked[attempt.key, command]
        return False

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """Tasks as told by the behaviour, and one log."""
        attempt = self._existing(ref)
        tasks = [
            Part(task, "task", counts={"expected": expected, "successful": good})
            for task, (expected, good) in attempt.behaviour.quanta.items()
        ]
        return [*tasks, Part("log.txt", "log", log=True)]

    def _existing(self, ref: JobRef) -> FakeAttempt:
        attempt = self._known(ref)
        if attempt is None:
            raise DriverError(ErrorClass.PERMANENT, f"the fake world knows no attempt {ref.key}")
        return attempt

    async def read_log(
        self, ref: JobRef, part: str, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """One line a job writes at its start and one at its end."""
        attempt = self._existing(ref)
        if part not in ("", "log.txt"):
            raise DriverError(
                ErrorClass.PERMANENT, f"attempt {ref.key} has no log '{part}'; there is log.txt"
            )
        while True:
            over = self.world.over(attempt)
            text = f"{ref.key} begins\n" + (f"{ref.key} ends\n" if over else "")
            log = text.encode()
            if offset < 0:
                offset = max(0, len(log) + offset)
            if offset < len(log) or over or not follow:
                yield LogChunk(offset, log[offset:], over)
                offset = max(offset, len(log))
            if over or not follow:
                return
            await asyncio.sleep(min(0.05, self.poll_s))


def _outcome(attempt: FakeAttempt, behaviour: Behaviour) -> Outcome:
    if attempt.cancelled:
        return Outcome(ok=False, message="cancelled")
    message = behaviour.message or ("" if behaviour.ok else "failed as the test asked")
    failures = () if behaviour.ok else (Failure(message=message, exit=behaviour.exit_code),)
    return Outcome(
        ok=behaviour.ok or behaviour.lie,
        message=message,
        exit_code=behaviour.exit_code,
        error_class=behaviour.error_class,
        quanta=behaviour.counts(),
        failures=failures,
        started_at=round(attempt.began * 1e6),
        extra=behaviour.extra,
    )


class FakeDriverFactory:
    """Makes fake drivers of all kinds; those of one facility and process share a world."""

    name = "fake"
    kinds = frozenset(JobKind)
    settings: type[BaseModel] = FakeSettings

    def __init__(self, world: FakeWorld | None = None) -> None:
        self._world = world
        self._worlds: dict[str, FakeWorld] = {}

    def create(self, facility: FacilityInfo, settings: BaseModel, host: Host) -> FakeDriver:
        """Make the driver of one facility."""
        if not isinstance(settings, FakeSettings):
            raise TypeError("settings of the driver 'fake' must be FakeSettings")
        world = self._world or self._worlds.get(facility.name)
        if world is None:
            world = self._worlds[facility.name] = FakeWorld(settings.world)
        world.slow_s = max(world.slow_s, settings.slow_s)
        return FakeDriver(world, facility.name, host, settings.poll_s, commands=settings.commands)
