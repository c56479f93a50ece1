"""The driver `butler`: collection jobs, done by the facility's agent.

Making a chain twice makes the same chain, so the work may be repeated at will. An accepted order
is kept as a small file in the daemon's state directory until its outcome is old; a driver that
finds an order without an outcome does it again.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cmd_daemon.hooks import (
    Absent,
    Accepted,
    CancelAnswer,
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
    Refused,
    Safety,
    Unclear,
    Verb,
)
from cmd_local.attempts import read_json, write_durably
from cmd_local.settings import ButlerSettings

NAME = "butler"
AGAIN_S = 1.0
"""Seconds between two questions to an agent that has died."""


class BadChains(Exception):
    """The order does not say properly which chains to make; the message is for people."""


def chains_of(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The chains of a collection job, children that may be missing marked so.

    The runs of attempts that failed early were never made: they are skipped unless the order says
    otherwise. Raises BadChains.
    """
    chains = params.get("chains")
    if not isinstance(chains, list | tuple) or not chains:
        raise BadChains("a collect job needs 'chains': a list of {name, children, mode}")
    found = []
    for chain in chains:
        children = chain.get("children") if isinstance(chain, Mapping) else None
        if not isinstance(children, list | tuple) or not isinstance(chain.get("name"), str):
            raise BadChains(f"a chain needs 'name' and a list of 'children', not {chain!r}")
        found.append({"missing": "skip", **chain, "children": list(children)})
    return found


class ButlerDriver:
    """Collection jobs of one facility: IDEMPOTENT."""

    safety: Mapping[Verb, Safety] = {
        Verb.SUBMIT: Safety.IDEMPOTENT,
        Verb.CANCEL: Safety.IDEMPOTENT,
    }
    poll_s = 5.0

    def __init__(self, facility: FacilityInfo, settings: ButlerSettings, host: Host) -> None:
        self._facility = facility
        self._settings = settings
        self._host = host
        self._dir = host.state_dir / NAME / facility.name
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._keeping = asyncio.Lock()

    async def start(self) -> None:
        """Make the directory of orders and drop what is older than `keep_days`."""
        try:
            await asyncio.to_thread(self._prepare)
        except OSError as error:
            raise DriverError(
                ErrorClass.TRANSIENT, f"driver '{NAME}': {self._dir} cannot be used: {error}"
            ) from error

    def _prepare(self) -> None:
        self._dir.mkdir(parents=True, exist_ok=True)
        limit = time.time() - self._settings.keep_days * 86_400
        for path in self._dir.iterdir():
            if path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)

    async def stop(self) -> None:
        """End what is under way; it will be done again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._tasks.clear()

    def _ref(self, key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()[:24]

    def _path(self, ref: str) -> Path:
        return self._dir / f"{ref}.json"

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted | Refused]:
        """Keep the orders and begin to make their chains."""
        return [await self._submit(order) for order in orders]

    async def _submit(self, order: JobOrder) -> Accepted | Refused:
        ref = self._ref(order.key)
        path = self._path(ref)
        try:
            chains = chains_of(order.params)
        except BadChains as error:
            return Refused(order.key, ErrorClass.PERMANENT, str(error))
        if order.butler not in self._facility.butlers:
            has = ", ".join(sorted(self._facility.butlers)) or "none"
            return Refused(
                order.key,
                ErrorClass.PERMANENT,
                f"facility {self._facility.name} has no Butler repository '{order.butler}' "
                f"(it has: {has})",
            )
        record = {"key": order.key, "args": {"repo": order.butler, "chains": chains}}
        try:
            # A deadline may end our waiting, but not the keeping: `find` waits for that.
            await asyncio.shield(self._keep(path, json.dumps(record)))
        except OSError as error:
            return Refused(order.key, ErrorClass.TRANSIENT, f"driver '{NAME}': {error}")
        self._begin(ref)
        return Accepted(order.key, ref)

    async def _keep(self, path: Path, text: str) -> None:
        """Keep an order, if it is not kept already."""
        async with self._keeping:
            if not path.exists():
                await asyncio.to_thread(write_durably, path, text)

    def _begin(self, ref: str) -> None:
        """Do the order unless it is done or being done."""
        if ref in self._tasks:
            return
        record = read_json(self._path(ref))
        if record is not None and "outcome" not in record:
            self._tasks[ref] = asyncio.create_task(self._do(ref, record))

    async def _do(self, ref: str, record: dict[str, Any]) -> None:
        started = self._host.now()
        try:
            told = await self._ask(record["args"])
            outcome = _judge(record["args"]["chains"], told)
        except DriverError as error:
            outcome = {"ok": False, "message": str(error), "error_class": error.error_class.value}
        record["outcome"] = {**outcome, "started_at": started, "finished_at": self._host.now()}
        try:
            await asyncio.to_thread(write_durably, self._path(ref), json.dumps(record))
        except OSError:
            return  # without an outcome on disk it is done again at the next look
        finally:
            self._tasks.pop(ref, None)
            self._host.wake(self._facility.name, NAME)

    async def _ask(self, args: Mapping[str, Any]) -> Any:
        """Ask the agent; one that died is asked again until the time is up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.timeout_s
        while True:
            try:
                agent = self._host.agent(self._facility.name)
                return await agent.call("chain", args, max(0.1, deadline - loop.time()))
            except DriverError as error:
                pause = min(AGAIN_S, deadline - loop.time())
                if error.error_class is not ErrorClass.TRANSIENT or pause <= 0:
                    raise
            await asyncio.sleep(pause)

    async def find(self, keys: Sequence[str]) -> Sequence[Found | Absent | Unclear]:
        """Whether orders were accepted."""
        answers: list[Found | Absent | Unclear] = []
        async with self._keeping:
            for key in keys:
                ref = self._ref(key)
                answers.append(Found(key, ref) if self._path(ref).exists() else Absent(key))
        return answers

    async def observe(self, refs: Sequence[JobRef]) -> Sequence[Observation]:
        """Tell outcomes; what a former daemon left undone is begun again."""
        return [self._observe(ref) for ref in refs]

    def _observe(self, asked: JobRef) -> Observation:
        record = read_json(self._path(asked.ref)) if asked.ref == self._ref(asked.key) else None
        if record is None:
            return Observation(asked.key, Phase.GONE, message=f"driver '{NAME}' never took it")
        told = record.get("outcome")
        if told is None:
            self._begin(asked.ref)
            return Observation(asked.key, Phase.RUNNING)
        return Observation(asked.key, Phase.DONE, _outcome(told))

    async def cancel(self, refs: Sequence[JobRef]) -> Sequence[CancelAnswer]:
        """Stop waiting for chains not made yet; one already made stays."""
        for ref in refs:
            task = self._tasks.get(ref.ref)
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
            record = read_json(self._path(ref.ref)) if ref.ref == self._ref(ref.key) else None
            if record is not None and "outcome" not in record:
                record["outcome"] = {"ok": False, "message": "cancelled"}
                write_durably(self._path(ref.ref), json.dumps(record))
        return [CancelAnswer(ref.key, done=True) for ref in refs]

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """The chains and how many children each has."""
        record = read_json(self._path(self._ref(ref.key)))
        if record is None:
            raise DriverError(ErrorClass.PERMANENT, f"driver '{NAME}' knows no attempt {ref.key}")
        made = (record.get("outcome") or {}).get("chains") or {}
        return [
            Part(
                chain["name"],
                "chain",
                "made" if chain["name"] in made else "",
                {"children": len(made.get(chain["name"], chain["children"]))},
            )
            for chain in record["args"]["chains"]
        ]

    async def read_log(
        self, ref: JobRef, part: str, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """Collection jobs have no logs."""
        raise DriverError(ErrorClass.PERMANENT, f"attempt {ref.key} has no log '{part}'")
        yield LogChunk(0, b"")  # makes this a generator


def _judge(chains: Sequence[Mapping[str, Any]], told: Any) -> dict[str, Any]:
    """The agent's answer as the fields of an outcome: each chain must hold what it can hold."""
    made = told.get("chains") if isinstance(told, dict) else None
    made = made if isinstance(made, dict) else {}
    children = {name: list(chain.get("children") or []) for name, chain in made.items()}
    empty = [chain["name"] for chain in chains if not children.get(chain["name"])]
    if empty:
        return {
            "ok": False,
            "message": f"nothing to collect for {', '.join(empty)}: none of the runs exists",
            "chains": children,
        }
    return {"ok": True, "message": f"made {', '.join(children)}", "chains": children}


def _outcome(told: Mapping[str, Any]) -> Outcome:
    error_class = told.get("error_class")
    message = str(told.get("message") or "")
    return Outcome(
        ok=told.get("ok") is True,
        message=message,
        error_class=ErrorClass(error_class) if error_class else None,
        failures=() if told.get("ok") else (Failure(message=message),),
        started_at=told.get("started_at"),
        finished_at=told.get("finished_at"),
        extra={"chains": told["chains"]} if "chains" in told else {},
    )


class ButlerDriverFactory:
    """Makes the driver of collection jobs of each facility that names it."""

    name = NAME
    kinds = frozenset({JobKind.COLLECT})
    settings: type[BaseModel] = ButlerSettings

    def create(self, facility: FacilityInfo, settings: BaseModel, host: Host) -> ButlerDriver:
        """Make the driver; the agent is asked for when there is work."""
        if not isinstance(settings, ButlerSettings):
            raise TypeError(f"settings of the driver '{NAME}' must be ButlerSettings")
        return ButlerDriver(facility, settings, host)
