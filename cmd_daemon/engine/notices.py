"""Notices: what needs a person is said once by each notifier, and again only when it has changed.

What has been said, and what is still to be said, is kept in a file, so that a restart neither repeats
nor forgets. Nothing here holds up the engine: a notifier that is slow or fails only keeps its own
notices waiting.
"""

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.concerns import INFO, URGENT, WARNING, Concerns, command_for, short_name
from cmd_daemon.engine.containment import contained
from cmd_daemon.engine.facilities import LiveFacilities
from cmd_daemon.engine.journal import Journal
from cmd_daemon.hooks.ports import Notice, Notifier
from cmd_daemon.kernel.records import Record
from cmd_daemon.kernel.states import FINAL_CAMPAIGN, CampaignState, RunOutcome, StepState
from cmd_daemon.kernel.view import View

log = structlog.get_logger()

GATHER_S = 10.0
"""Seconds in which what happens together is gathered, to be said together."""

NOTIFY_S = 60.0
"""Seconds a notifier has for one delivery."""

LATER_S = 60.0
"""Pause before notices that a notifier would not carry come again."""

PAUSE_S, PAUSE_MOST_S = 5.0, 600.0
"""First and longest pause after a delivery that failed."""

KEPT = 500
"""Notices kept for one notifier; the oldest go first."""

EVENT = "event "
"""Begins the keys of what is said of one event, and does not stand."""

REFUSED = json.dumps({"outcome": RunOutcome.REFUSED})
"""What the event of a schedule tells that could not launch."""

REPLAYED = 100_000
"""Events read again at start, for what ended while nobody listened."""


class Notices:
    """Watches what needs a person and has the notifiers say it. Without notifiers it does nothing."""

    def __init__(
        self,
        view: View,
        live: LiveFacilities,
        journal: Journal,
        clock: Clock,
        notifiers: Sequence[Notifier],
        path: Path,
        problem: Callable[[], str],
    ) -> None:
        self._view = view
        self._live = live
        self._journal = journal
        self._clock = clock
        self._notifiers = {each.name: each for each in notifiers}
        self._path = path
        self._problem = problem
        self._concerns = Concerns(view, self._over)
        self._said: dict[str, int] = {}
        self._queues: dict[str, dict[str, Notice]] = {name: {} for name in self._notifiers}
        self._arrived = {name: asyncio.Event() for name in self._notifiers}
        self._seq = 0
        self._written = ""
        self._writing = asyncio.Lock()

    async def load(self, last_seq: int) -> None:
        """After recovery: what stands, what has been said, and what ended since it was last written."""
        if not self._notifiers:
            return
        kept = await asyncio.to_thread(_read, self._path)
        self._seq = kept.get("seq", last_seq)
        self._concerns.load()
        # Facilities are looked at later: what was said of them is taken as standing until then.
        stands = {
            key: n
            for key, n in kept.get("said", {}).items()
            if key in self._concerns or "|" not in key
        }
        self._said = stands
        for name, waiting in kept.get("queues", {}).items():
            if name in self._queues:
                self._queues[name] = {
                    key: Notice(**each)
                    for key, each in waiting.items()
                    if key in stands or key.startswith(EVENT)
                }
        if last_seq - self._seq > REPLAYED:
            log.warning("ends too long ago are not told of", events=last_seq - self._seq)
            self._seq = last_seq
        while self._seq < last_seq:
            records = await self._journal.events(self._seq)
            if not records:
                break
            self._ends(records)

    def publish(self, records: Sequence[Record]) -> None:
        """Committed events, in order."""
        if not self._notifiers:
            return
        for record in records:
            if record.kind == "group" and record.group_id is not None:
                self._concerns.group(record.group_id)
            elif record.kind == "step" and record.step_id is not None:
                self._concerns.step(record.step_id)
        self._ends(records)

    def _ends(self, records: Sequence[Record]) -> None:
        """Say of campaigns and steps that they have ended, and of schedules that could not launch."""
        for record in records:
            if record.kind == "schedule" and record.detail == REFUSED:
                text = f"{short_name(record.name)} launched nothing: {record.reason}"
                command = f"cm schedule show {short_name(record.name)}"
                notice = Notice(WARNING, record.name, text, command)
                self._queue(f"{EVENT}{record.seq}", notice)
            if record.from_state == record.to_state:
                continue
            if record.kind == "campaign" and record.to_state in FINAL_CAMPAIGN:
                bad = record.to_state == CampaignState.FAILED
            elif record.kind == "step" and record.to_state == StepState.FAILED:
                bad = True
            else:
                continue
            why = f": {record.reason}" if record.reason else ""
            text = f"{short_name(record.name)} is {record.to_state}{why}"
            notice = Notice(URGENT if bad else INFO, record.name, text, command_for(record.name))
            self._queue(f"{EVENT}{record.seq}", notice)
        self._seq = max(self._seq, records[-1].seq) if records else self._seq

    def waiting(self) -> dict[str, int]:
        """How many notices each notifier has not delivered."""
        return {name: len(queue) for name, queue in self._queues.items()}

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """The endless tasks that look and deliver."""
        if not self._notifiers:
            return []
        return [self._watch(), *(self._serve(name) for name in self._notifiers)]

    async def _watch(self) -> None:
        while True:
            await self._clock.wait(GATHER_S)
            self._look_around()
            self._gather()
            await self._keep()

    def _look_around(self) -> None:
        """Facilities that take no work, and a store that takes no changes."""
        if problem := self._problem():
            words = f"the daemon takes no changes: {problem}"
            self._concerns.say("daemon", URGENT, "daemon", words)
        else:
            self._concerns.unsay("daemon")
        for name, (up, why, by_person) in self._live.standing().items():
            key = f"facilities/{name}"
            if up:
                self._concerns.unsay(key)
            elif up is not None:
                severity = INFO if by_person else URGENT
                words = f"{name} takes no new work: {why}"
                self._concerns.say(key, severity, key, words)

    def _gather(self) -> None:
        """Queue what stands and has not been said, or has doubled since."""
        for concern in self._concerns:
            count = self._concerns.count(concern.key)
            said = self._said.get(concern.key)
            if said is None or count >= 2 * said:
                self._queue(concern.key, self._concerns.notice(concern))
                self._said[concern.key] = count

    def _over(self, key: str) -> None:
        """It is over: what nobody has been told yet needs no telling, and the next time is news."""
        self._said.pop(key, None)
        for queue in self._queues.values():
            queue.pop(key, None)

    def _queue(self, key: str, notice: Notice) -> None:
        for name, queue in self._queues.items():
            queue[key] = notice
            while len(queue) > KEPT:
                del queue[next(iter(queue))]
                log.warning("a notice was dropped: too many wait", notifier=name)
            self._arrived[name].set()

    async def _serve(self, name: str) -> None:
        notifier, queue, arrived = self._notifiers[name], self._queues[name], self._arrived[name]
        pause = PAUSE_S
        while True:
            if not queue:
                arrived.clear()
                await arrived.wait()
            taken = dict(queue)
            try:
                left = await contained(notifier.notify(list(taken.values())), NOTIFY_S)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                problem = str(error) or type(error).__name__
                log.warning(
                    "notices were not delivered", notifier=name, count=len(taken), problem=problem
                )
                await self._clock.wait(pause)
                pause = min(pause * 2, PAUSE_MOST_S)
                continue
            pause = PAUSE_S
            kept = list(left or ())
            for key, notice in taken.items():
                if notice not in kept and queue.get(key) is notice:
                    del queue[key]
            await self._keep()
            if kept:
                await self._clock.wait(LATER_S)

    async def _keep(self) -> None:
        """Write down what has been said and what is to be said, if that has changed."""
        async with self._writing:
            document = {
                "seq": self._seq,
                "said": self._said,
                "queues": {
                    name: {key: asdict(each) for key, each in queue.items()}
                    for name, queue in self._queues.items()
                },
            }
            text = json.dumps(document)
            if text == self._written:
                return
            try:
                await asyncio.to_thread(_write, self._path, text)
                self._written = text
            except OSError as error:
                log.warning("notices cannot be kept", path=str(self._path), problem=str(error))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".tmp")
    with partial.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.rename(path)
