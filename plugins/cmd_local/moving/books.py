"""The books of a movement: made, sent, arrived, ingested, and every gap with its reason.

A dataset that has not come as far as it should is a gap. What nobody gave a reason for has the
plain one that it has not come that far. Datasets that are not for the receiving Butler are
counted apart and are no gap.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from cmd_daemon.hooks import ErrorClass
from cmd_local.moving.manifest import Item, Link, Manifest

LISTED = 100
"""Gaps and left-out data ids listed for each source, destination and dataset type."""

WORDS = 300
"""Characters of a gap's reason in an outcome."""

ROOM = 90_000
"""Characters of the books in an outcome, as JSON: the daemon leaves out an `extra` above 100,000."""


class Stage(IntEnum):
    """How far a dataset has come."""

    MADE = 0
    SENT = 1
    ARRIVED = 2
    INGESTED = 3


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a dataset does not come further for now."""

    reason: str
    error_class: ErrorClass


@dataclass(slots=True)
class Books:
    """How far each dataset of a manifest has come, as far as this attempt has seen."""

    manifest: Manifest
    goal: Stage
    stages: dict[tuple[str, str, str], Stage] = field(default_factory=dict)
    stops: dict[tuple[str, str, str], Stop] = field(default_factory=dict)

    def reached(self, link: Link, item: Item, stage: Stage) -> None:
        """The dataset has come this far (and never goes back)."""
        key = _key(link, item)
        self.stages[key] = max(stage, self.stage(link, item))
        if self.stages[key] >= self.goal:
            self.stops.pop(key, None)

    def lost(self, link: Link, item: Item, stage: Stage) -> None:
        """The dataset is no further than this after all."""
        self.stages[_key(link, item)] = stage

    def stop(self, link: Link, item: Item, reason: str, error_class: ErrorClass) -> None:
        """The dataset does not come further, for this reason."""
        self.stops[_key(link, item)] = Stop(reason, error_class)

    def stage(self, link: Link, item: Item) -> Stage:
        """How far the dataset has come."""
        return self.stages.get(_key(link, item), Stage.MADE)

    def gaps(self) -> list[tuple[Link, Item, Stop]]:
        """The datasets that have not come as far as they should."""
        plain = Stop(f"not {_WORDS[self.goal]} yet", ErrorClass.TRANSIENT)
        return [
            (link, item, self.stops.get(_key(link, item), plain))
            for link in self.manifest.links
            for item in link.expected()
            if self.stage(link, item) < self.goal
        ]

    def error_class(self) -> ErrorClass | None:
        """TRANSIENT if going on may close a gap, PERMANENT if no gap can be closed so, None without
        gaps."""
        classes = {stop.error_class for _, _, stop in self.gaps()}
        if not classes:
            return None
        if classes == {ErrorClass.PERMANENT}:
            return ErrorClass.PERMANENT
        return ErrorClass.TRANSIENT

    def entries(self) -> list[dict[str, Any]]:
        """The books as JSON: one entry for each source, destination and dataset type."""
        entries: dict[tuple[str, str, str], dict[str, Any]] = {}
        for link in self.manifest.links:
            for item in link.items:
                entry = entries.setdefault(
                    (link.source, link.destination, item.type), _entry(link, item.type)
                )
                entry["made"] += 1
                if item.left_out:
                    entry["not_for_here"] += 1
                    if len(entry["left_out"]) < LISTED:
                        entry["left_out"].append(item.data_id)
                    continue
                stage = self.stage(link, item)
                entry["bytes"] += item.size if stage >= Stage.ARRIVED else 0
                for reached in (Stage.SENT, Stage.ARRIVED, Stage.INGESTED):
                    entry[_WORDS[reached]] += stage >= reached
        for link, item, stop in self.gaps():
            entry = entries[(link.source, link.destination, item.type)]
            entry["missing"] += 1
            if len(entry["gaps"]) < LISTED:
                entry["gaps"].append(
                    {
                        "uuid": item.uuid,
                        "data_id": item.data_id,
                        "stage": _WORDS[self.stage(link, item)],
                        "reason": stop.reason,
                    }
                )
        return list(entries.values())


def fitting(entries: Sequence[Mapping[str, Any]], most: int = ROOM) -> list[dict[str, Any]]:
    """The entries with as few gaps listed, and words shortened, that their JSON has `most` characters
    at most; counts are never touched. If even the bare counts are too long, the dataset types of each
    way are counted together under the name `*`."""
    for listed in (LISTED, 30, 10, 3, 1, 0):
        shortened = [_shortened(entry, listed) for entry in entries]
        if len(json.dumps(shortened)) <= most:
            return shortened
    together: dict[tuple[Any, Any], dict[str, Any]] = {}
    for entry in shortened:
        way = (entry.get("source"), entry.get("destination"))
        into = together.setdefault(way, {**dict.fromkeys(entry, 0), **_NAMES, **_way(entry)})
        for name, value in entry.items():
            if isinstance(value, int):
                into[name] = into.get(name, 0) + value
    return list(together.values())


_NAMES: dict[str, Any] = {"type": "*", "left_out": [], "gaps": []}


def _way(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[name] for name in ("source", "destination") if name in entry}


def _shortened(entry: Mapping[str, Any], listed: int) -> dict[str, Any]:
    short = dict(entry)
    if "left_out" in entry:
        short["left_out"] = list(entry["left_out"])[:listed]
    if "gaps" in entry:
        gaps = list(entry["gaps"])[:listed]
        short["gaps"] = [{**gap, "reason": str(gap.get("reason", ""))[:WORDS]} for gap in gaps]
    return short


_WORDS = {
    Stage.MADE: "made",
    Stage.SENT: "sent",
    Stage.ARRIVED: "arrived",
    Stage.INGESTED: "ingested",
}


def _key(link: Link, item: Item) -> tuple[str, str, str]:
    return (link.source, link.destination, item.uuid)


def _entry(link: Link, dataset_type: str) -> dict[str, Any]:
    return {
        "source": link.source,
        "destination": link.destination,
        "type": dataset_type,
        "made": 0,
        "sent": 0,
        "arrived": 0,
        "ingested": 0,
        "bytes": 0,
        "not_for_here": 0,
        "left_out": [],
        "missing": 0,
        "gaps": [],
    }
