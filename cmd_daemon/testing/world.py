"""An outside world for the fake driver: it survives the drivers, and in a file even the process.

The world is a ledger of what really ran. With a path every change is one line appended to a file,
so that a daemon killed at any moment finds the same world when it starts again.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import Command, ErrorClass, JobOrder, QuantaCount


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the world does with an attempt, and how the call answers.

    `refuse` refuses the first `times` submits of the job with this class; `lose_answer` takes the
    order but the call fails with UNKNOWN; `hang` names a verb whose call for this attempt never
    returns; `lie` makes `observe` call it a success with quanta that do not bear it out. An
    attempt runs for `run_s` seconds (None: until a test ends it), those in which it is paused not
    counted, then is `ok` or fails with `message`, `exit_code` and `error_class`. `quanta` maps tasks to
    (expected, successful); `extra` is told with the outcome. A command is answered "not yet" by the first
    `balks` calls (None: by all); those in `refuses` are refused for good.
    """

    refuse: ErrorClass | None = None
    times: int = 1
    lose_answer: bool = False
    hang: str = ""
    lie: bool = False
    run_s: float | None = 0.0
    ok: bool = True
    message: str = ""
    exit_code: int | None = None
    error_class: ErrorClass | None = None
    quanta: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    balks: int | None = 0
    refuses: tuple[str, ...] = ()

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> "Behaviour":
        """From the parameters of a job, as a campaign file gives them under `fake`. Raises
        TypeError for unknown keys, ValueError for wrong values."""
        fields = dict(params)
        for name in ("refuse", "error_class"):
            if fields.get(name) is not None:
                fields[name] = ErrorClass(fields[name])
        quanta = fields.get("quanta") or {}
        fields["quanta"] = {task: (int(pair[0]), int(pair[1])) for task, pair in quanta.items()}
        fields["refuses"] = tuple(fields.get("refuses") or ())
        return cls(**fields)

    def counts(self) -> dict[str, QuantaCount]:
        """The quanta as an outcome tells them."""
        return {
            task: QuantaCount(expected=expected, successful=good, failed=expected - good)
            for task, (expected, good) in self.quanta.items()
        }


@dataclass(slots=True)
class FakeAttempt:
    """One attempt in the world. Times in seconds of the world's own clock; `stood` are those it was
    paused for. `values` are those that commands gave it."""

    key: str
    ref: str
    behaviour: Behaviour
    began: float
    ended: float | None = None
    cancelled: bool = False
    paused_at: float | None = None
    stood: float = 0.0
    values: dict[Command, int | str] = field(default_factory=dict)


class FakeWorld:
    """Attempts by key, how often each really ran, and the faults that tests inject.

    `clock` gives seconds; a test may move its own. `behaviours` (by key, or "" for all others)
    wins over the order's own parameters. `calls` counts calls by verb; `slow_s` delays each call,
    `throttled` makes each call fail as a whole with TRANSIENT. `commanded` lists, in order, the commands
    that changed something, as (key, command, value).
    """

    def __init__(self, path: Path | None = None, clock: Any = time.time) -> None:
        self.attempts: dict[str, FakeAttempt] = {}
        self.behaviours: dict[str, Behaviour] = {}
        self.refusals: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.asked: Counter[tuple[str, Command]] = Counter()
        self.commanded: list[tuple[str, Command, int | str | None]] = []
        self.slow_s = 0.0
        self.throttled = False
        self.lose_answers = False
        self._runs: Counter[str] = Counter()
        self._clock = clock
        self._path = path
        if path is not None and path.exists():
            self._replay(path)

    def catch_up(self) -> None:
        """See what other processes have done to the world meanwhile, by its file."""
        if self._path is not None and self._path.exists():
            self.attempts.clear()
            self._runs.clear()
            self._replay(self._path)

    def _replay(self, path: Path) -> None:
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the last line of a process that was killed
            if entry["what"] == "run":
                behaviour = Behaviour.of(entry["behaviour"])
                self._add(entry["key"], behaviour, entry["at"])
            elif entry["what"] == "command":
                command = Command(entry["command"])
                self._obey(entry["key"], command, entry["value"], entry["at"])
            else:
                self._end(entry["key"], entry["at"], entry["what"] == "cancel")

    def _note(self, **entry: Any) -> None:
        if self._path is None:
            return
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, (json.dumps(entry) + "\n").encode())
        finally:
            os.close(handle)

    def _add(self, key: str, behaviour: Behaviour, at: float) -> FakeAttempt:
        attempt = FakeAttempt(key, f"fake-{len(self.attempts) + 1}", behaviour, at)
        self._runs[key] += 1
        self.attempts[key] = attempt
        return attempt

    def _end(self, key: str, at: float, cancelled: bool) -> None:
        attempt = self.attempts[key]
        if attempt.ended is None:
            attempt.ended, attempt.cancelled = at, cancelled

    def _obey(self, key: str, command: Command, value: int | str | None, at: float) -> None:
        attempt = self.attempts[key]
        self.commanded.append((key, command, value))
        if command is Command.PAUSE:
            attempt.paused_at = at
        elif command is Command.RESUME and attempt.paused_at is not None:
            attempt.stood += at - attempt.paused_at
            attempt.paused_at = None
        elif value is not None:
            attempt.values[command] = value

    def behaviour(self, order: JobOrder) -> Behaviour:
        """What is to happen to this order."""
        for name in (order.key, ""):
            if name in self.behaviours:
                return self.behaviours[name]
        return Behaviour.of(order.params.get("fake") or {})

    def run(self, order: JobOrder, behaviour: Behaviour) -> FakeAttempt:
        """Run an attempt: each call is one more run in the ledger, as in a world that does not
        look for duplicates. Looking is the driver's duty."""
        at = self._clock()
        fields = {
            name: getattr(behaviour, name)
            for name in Behaviour.__dataclass_fields__
            if name != "quanta"
        }
        quanta = {task: list(pair) for task, pair in behaviour.quanta.items()}
        self._note(what="run", key=order.key, at=at, behaviour={**fields, "quanta": quanta})
        return self._add(order.key, behaviour, at)

    def over(self, attempt: FakeAttempt) -> bool:
        """Whether the attempt has ended by now."""
        if attempt.ended is not None:
            return True
        run_s = attempt.behaviour.run_s
        now = self._clock() if attempt.paused_at is None else attempt.paused_at
        return run_s is not None and now >= attempt.began + attempt.stood + run_s

    def is_so(self, attempt: FakeAttempt, command: Command, value: int | str | None) -> bool:
        """Whether a command would change nothing of the attempt."""
        if command in (Command.PAUSE, Command.RESUME):
            return (attempt.paused_at is not None) == (command is Command.PAUSE)
        return attempt.values.get(command) == value

    def obey(self, key: str, command: Command, value: int | str | None) -> None:
        """Do a command; each call is one more in `commanded`. Looking first is the driver's duty."""
        at = self._clock()
        self._note(what="command", key=key, command=command, value=value, at=at)
        self._obey(key, command, value, at)

    def end(self, key: str, cancelled: bool = False) -> None:
        """End an attempt; nothing happens if it has ended."""
        if not self.over(self.attempts[key]):
            at = self._clock()
            self._note(what="cancel" if cancelled else "end", key=key, at=at)
            self._end(key, at, cancelled)

    def ledger(self) -> dict[str, int]:
        """How often each key really ran."""
        return dict(self._runs)
