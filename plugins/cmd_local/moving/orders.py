"""What an order for a movement asks for, checked when it is submitted; and where orders are kept."""

import asyncio
import dataclasses
import hashlib
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import JobKind, JobOrder
from cmd_local.attempts import read_json, write_durably
from cmd_local.moving.manifest import manifest_id

MOVEMENTS = ("stage", "gather", "scatter", "keep", "archive")
STAGES = {
    JobKind.REGISTER: "register",
    JobKind.TRANSFER: "transfer",
    JobKind.INGEST: "ingest",
    JobKind.BUNDLE: "bundle",
    JobKind.PURGE: "purge",
}
KEPT = (
    "key", "campaign", "step", "group", "job", "attempt", "facility", "butler",
    "output_chain", "step_chain", "where",
)  # fmt: skip


class BadOrder(Exception):
    """The order does not say properly what to do; the message is for people."""


@dataclasses.dataclass(frozen=True, slots=True)
class Movement:
    """One job of a movement.

    `name` is stage, gather, scatter, keep, archive or purge. `facilities` are all of the campaign,
    `collections` those to search at the sources, `datasets` the dataset types (None: all but those
    of `without`), `where` the data query that narrows a stage, `existing` patterns of names of datasets
    outside that hold its types. `runs` are the group's own RUN collections. `at` is where a keep goes,
    `rse` where an archive goes, `closed` the movements whose books must be closed before a purge.
    """

    order: JobOrder
    stage: str
    name: str
    facilities: tuple[str, ...]
    collections: tuple[str, ...]
    datasets: tuple[str, ...] | None
    without: tuple[str, ...]
    runs: tuple[str, ...]
    by: str | None = None
    at: str | None = None
    rse: str | None = None
    bundle: str | None = None
    closed: tuple[str, ...] = ()
    where: str = ""
    existing: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def facility(self) -> str:
        """The group's facility."""
        return self.order.facility

    @property
    def group(self) -> str:
        """The group in words."""
        return f"{self.order.campaign}/{self.order.step}/{self.order.group}"

    @property
    def campaign_chain(self) -> str:
        """The campaign's chained collection: the step's without the step's name."""
        return self.order.step_chain.removesuffix(f"/{self.order.step}")

    def manifest_id(self, movement: str | None = None) -> str:
        """The id of this movement's manifest, or of another movement's of the group."""
        order = self.order
        return manifest_id(order.campaign, order.step, order.group, movement or self.name)

    @property
    def sources(self) -> tuple[str, ...]:
        """The facilities to look for datasets at; the destination of a gather comes last, so that
        what another one made is not taken for its own."""
        others = tuple(name for name in self.facilities if name != self.facility)
        if self.name == "stage":
            return others
        return (*others, self.facility) if self.name == "gather" else (self.facility,)

    @property
    def destinations(self) -> tuple[str, ...]:
        """The facilities, or the tape element, that datasets go to."""
        if self.name == "scatter":
            return tuple(f for f in self.facilities if f != self.facility)
        if self.name == "keep":
            return (str(self.at),)
        if self.name == "archive":
            return (str(self.rse),)
        return (self.facility,)


def movement_of(order: JobOrder) -> Movement:
    """What an order asks for. Raises BadOrder."""
    params = order.params
    name = order.job.partition("-")[0]
    purging = order.kind is JobKind.PURGE
    if order.kind not in STAGES or (name not in MOVEMENTS and not purging):
        raise BadOrder(f"the job '{order.job}' is no part of a movement ({', '.join(MOVEMENTS)})")
    datasets = params.get("datasets")
    if datasets is None and name != "archive":
        raise BadOrder(f"the job '{order.job}' needs 'datasets': a list of dataset types")
    facilities = _texts(params, "facilities") or (order.facility,)
    if name in ("stage", "gather", "scatter") and not params.get("facilities"):
        raise BadOrder(f"the job '{order.job}' needs 'facilities': all those of the campaign")
    collections: tuple[str, ...] = (order.output_chain,)
    if name in ("stage", "gather"):
        collections = _texts(params, "collections") or (order.inputs if name == "stage" else ())
    if name == "keep" and not params.get("at"):
        raise BadOrder("a keep job needs 'at': the facility that keeps the datasets")
    if name == "archive" and not params.get("rse"):
        raise BadOrder("an archive job needs 'rse': the tape element")
    if params.get("bundle") not in (None, "zip"):
        raise BadOrder(f"bundles are made as 'zip', not as {params['bundle']!r}")
    return Movement(
        order=order,
        stage=STAGES[order.kind],
        name="purge" if purging else name,
        facilities=facilities,
        collections=collections,
        datasets=None if datasets is None else _texts(params, "datasets"),
        without=_texts(params, "without"),
        runs=tuple(order.former_runs),
        by=params.get("by"),
        at=params.get("at"),
        rse=params.get("rse"),
        bundle=params.get("bundle"),
        closed=_texts(params, "closed"),
        where=order.where if name == "stage" else "",
        existing=_patterns(params, "existing") if name == "stage" else {},
    )


def _texts(params: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = params.get(name) or ()
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise BadOrder(f"'{name}' must be a list of names, not {value!r}")
    return tuple(value)


def _patterns(params: Mapping[str, Any], name: str) -> dict[str, str]:
    value = params.get(name) or {}
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value.values()):
        raise BadOrder(f"'{name}' must be dataset types with a pattern each, not {value!r}")
    return dict(value)


class OrderStore:
    """Accepted orders and their outcomes, one small file each, in the daemon's state directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keeping = asyncio.Lock()
        self._changing = threading.Lock()

    def prepare(self, keep_s: float) -> None:
        """Make the directory and drop what is older than this many seconds. Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        limit = time.time() - keep_s
        for path in self._directory.iterdir():
            if path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)

    def ref(self, key: str) -> str:
        """The name of an order's file."""
        return hashlib.sha256(key.encode()).hexdigest()[:24]

    def _path(self, ref: str) -> Path:
        return self._directory / f"{ref}.json"

    async def keep(self, order: JobOrder) -> None:
        """Keep an order if it is not kept already. Raises OSError."""
        record = {name: getattr(order, name) for name in KEPT}
        record["kind"] = order.kind.value
        record["params"] = dict(order.params)
        record["former_runs"] = list(order.former_runs)
        record["inputs"] = list(order.inputs)
        path = self._path(self.ref(order.key))
        async with self._keeping:
            if not path.exists():
                await asyncio.to_thread(write_durably, path, json.dumps({"order": record}))

    async def holds(self, keys: list[str]) -> list[bool]:
        """Whether these orders are kept; waits for one that is being kept."""
        async with self._keeping:
            return [self._path(self.ref(key)).exists() for key in keys]

    def record(self, ref: str) -> dict[str, Any] | None:
        """{"order", "wanted" by commands, "outcome" when it is over} of an order, or None."""
        return read_json(self._path(ref))

    def order(self, record: Mapping[str, Any]) -> JobOrder:
        """The order as it was submitted, as far as movements need it."""
        told = dict(record["order"])
        told["kind"] = JobKind(told["kind"])
        told["former_runs"] = tuple(told["former_runs"])
        told["inputs"] = tuple(told.get("inputs", ()))
        return JobOrder(**told)

    def end(self, ref: str, outcome: Mapping[str, Any]) -> None:
        """Write down an outcome unless there is one. Raises OSError."""
        self._change(ref, outcome=dict(outcome))

    def command(self, ref: str, wanted: Mapping[str, Any]) -> None:
        """Write down what is wanted of an order that has no outcome. Raises OSError."""
        self._change(ref, wanted=dict(wanted))

    def _change(self, ref: str, **fields: Any) -> None:
        with self._changing:  # each is called in a thread
            record = self.record(ref)
            if record is not None and "outcome" not in record:
                write_durably(self._path(ref), json.dumps({**record, **fields}))
