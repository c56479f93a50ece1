"""Check what the full chain has left at the facilities and on tape.

    python check_chain.py --collection C --tape DIR FACILITY=REPO FACILITY=REPO ...

Run it with the Python of the Rubin stack; the first facility is the one that things return to. Exit
status 0: everything is where it should be and nowhere else; 1: it is not; 2: it cannot be read.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lsst.daf.butler import Butler, CollectionType, DatasetRef

KEPT = ("coadd_image", "coadd_n_image", "coadd_summary")
DISCARDED = "scaled_image"
MADE = ("calibrated_image", "calibrated_stars")
ELEMENTS = (
    "instrument", "physical_filter", "day_obs", "detector", "group", "exposure", "visit_system",
    "visit", "visit_definition", "visit_system_membership", "visit_detector_region", "skymap",
    "tract", "patch",
)  # fmt: skip


@dataclass
class Check:
    """One comparison for people: whether it holds, and the figures."""

    name: str
    ok: bool
    summary: str


@dataclass
class Archived:
    """What is on tape: zips, those of them that are not whole, zips that nobody knows of, and the
    datasets in them, by UUID and by type."""

    zips: list[Path] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)
    strangers: set[Path] = field(default_factory=set)
    members: "Counter[str]" = field(default_factory=Counter)
    types: "Counter[str]" = field(default_factory=Counter)


class Chain:
    """The Butlers of the facilities after the campaign."""

    def __init__(self, butlers: dict[str, Butler], collection: str, tape: Path) -> None:
        self.butlers = butlers
        self.collection = collection
        self.tape = tape
        self.home = next(iter(butlers))

    def made_at(self, facility: str, types: Sequence[str] | str = "*") -> list[DatasetRef]:
        """What lies in the campaign's own runs at a facility."""
        butler = self.butlers[facility]
        runs = butler.collections.query(f"{self.collection}/*", collection_types=CollectionType.RUN)
        if not runs:
            return []
        names = [types] if isinstance(types, str) else list(types)
        there = {kind.name for kind in butler.registry.queryDatasetTypes("*")}
        found: set[DatasetRef] = set()
        for name in names if types != "*" else sorted(there):
            if name in there:
                found |= set(
                    butler.query_datasets(
                        name, list(runs), find_first=False, limit=None, explain=False
                    )
                )
        return sorted(found)

    def groups(self, facility: str, step: str) -> set[str]:
        """The groups of a step that ran at a facility: those whose packages were written there."""
        return {
            ref.run.split("/")[-2]
            for ref in self.made_at(facility, "packages")
            if f"/{step}/" in ref.run
        }

    def returned(self) -> Check:
        """What is kept is at home, by UUID and byte by byte."""
        home, wanted, bad = self.butlers[self.home], set(), 0
        for facility, butler in self.butlers.items():
            own = self.groups(facility, "coadd")
            for ref in self.made_at(facility, KEPT):
                if ref.run.split("/")[-2] in own:
                    wanted.add(ref)
                    bad += digest(butler, ref) != digest(home, ref)
        there = set(self.made_at(self.home, KEPT))
        places = Counter((ref.datasetType.name, str(ref.dataId)) for ref in there)
        twice = sum(count > 1 for count in places.values())
        return Check(
            "returned",
            bool(wanted) and wanted == there and not bad and not twice,
            f"{len(wanted & there)} of {len(wanted)} datasets at {self.home} by UUID, {bad} of them "
            f"differ, {len(there - wanted)} are nobody's, {twice} are there twice",
        )

    def scattered(self) -> Check:
        """Each facility has the zero points of just the visits that it holds."""
        solution = {ref.dataId["visit"]: ref for ref in self.made_at(self.home, "zero_point")}
        words, ok = [], bool(solution)
        for facility, butler in self.butlers.items():
            held = {r.id for r in butler.query_dimension_records("visit", limit=None)}
            got = {ref.dataId["visit"]: ref for ref in self.made_at(facility, "zero_point")}
            right = {visit: ref for visit, ref in solution.items() if visit in held}
            ok &= got == right and all(digest(butler, ref) for ref in got.values())
            words.append(f"{len(got)} of {len(held)} visits at {facility}")
        return Check("scattered", ok, f"zero points of {', '.join(words)}")

    def discarded(self) -> Check:
        """The intermediates are gone, from registry and disk; what was not discarded is not."""
        words, ok = [], True
        for facility, butler in self.butlers.items():
            left = self.made_at(facility, DISCARDED)
            root = Path(butler._config.configDir.ospath)
            files = [p for p in root.rglob(f"*{DISCARDED}*") if p.is_file()]
            images = self.made_at(facility, MADE)
            lost = [ref for ref in images if not butler.stored(ref)]
            ok &= not left and not files and bool(images) and not lost
            words.append(
                f"{facility}: {len(left)} {DISCARDED} and {len(files)} files of it left, "
                f"{len(images) - len(lost)} of {len(images)} others there"
            )
        return Check("discarded", ok, "; ".join(words))

    def on_tape(self) -> Archived:
        """What the tape's catalogues tell of."""
        found = Archived()
        for catalogue in sorted(self.tape.rglob("catalogue.jsonl")):
            for line in map(json.loads, catalogue.read_text().splitlines()):
                file = catalogue.parent / line["name"]
                found.zips.append(file)
                if hashlib.sha256(file.read_bytes()).hexdigest() != line["sha256"]:
                    found.damaged.append(file)
                found.members.update(each["uuid"] for each in line["datasets"])
                found.types[line["type"]] += len(line["datasets"])
        found.strangers = set(self.tape.rglob("*.zip")) - set(found.zips)
        return found

    def archived(self) -> list[Check]:
        """The tape holds every dataset of every group, each zip is whole, and each member reads back
        through the zip in a Butler that has never seen it."""
        tape = self.on_tape()
        missing = 0
        for facility in self.butlers:
            own = self.groups(facility, "coadd")
            for ref in self.made_at(facility):
                if f"{self.collection}/coadd/" in ref.run and ref.run.split("/")[-2] in own:
                    missing += str(ref.id) not in tape.members
        twice = sum(count > 1 for count in tape.members.values())
        whole = Check(
            "archived",
            bool(tape.zips)
            and not (tape.damaged or tape.strangers or missing or twice)
            and not tape.types[DISCARDED],
            f"{sum(tape.members.values())} datasets in {len(tape.zips)} zips, "
            f"{tape.types[DISCARDED]} of them {DISCARDED}; {missing} missing, {twice} twice, "
            f"{len(tape.damaged)} zips damaged, {len(tape.strangers)} not catalogued",
        )
        return [whole, self.read_back(tape.zips, set(tape.members))]

    def checks(self) -> list[Check]:
        """All comparisons."""
        return [self.scattered(), self.returned(), *self.archived(), self.discarded()]

    def read_back(self, zips: Sequence[Path], wanted: set[str]) -> Check:
        """Read every member through its zip."""
        home = self.butlers[self.home]
        kept = {ref.id: ref for ref in self.made_at(self.home, KEPT)}
        with tempfile.TemporaryDirectory() as place:
            Butler.makeRepo(f"{place}/repo")
            with Butler.from_config(f"{place}/repo", writeable=True) as scratch:
                for name in ELEMENTS:
                    records = list(home.query_dimension_records(name, limit=None, explain=False))
                    scratch.registry.insertDimensionData(name, *records)
                for file in zips:
                    scratch.ingest_zip(str(file), transfer="direct")
                read, same = set(), 0
                for kind in scratch.registry.queryDatasetTypes("*"):
                    for ref in scratch.query_datasets(
                        kind, scratch.collections.query("*"), find_first=False, limit=None
                    ):
                        try:
                            value = scratch.get(ref)
                        except Exception as error:  # noqa: BLE001 - whatever it is, it is unreadable
                            print(f"     {ref.datasetType.name} {ref.id}: {error}"[:300])
                            continue
                        read.add(str(ref.id))
                        if ref.id in kept:
                            same += equal(value, home.get(kept[ref.id]))
        return Check(
            "read back",
            read == wanted and same == len(kept),
            f"{len(read)} of {len(wanted)} members through their zips, "
            f"{same} of {len(kept)} the same as those at {self.home}",
        )


def equal(one: Any, other: Any) -> bool:
    """Whether two datasets have the same content."""
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    return bool(one == other)


def digest(butler: Butler, ref: DatasetRef) -> str:
    """The SHA-256 of a dataset's file, "" if the Butler has none."""
    if not butler.stored(ref):
        return ""
    return hashlib.sha256(butler.getURI(ref).read()).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(description="Check what the full chain has left behind.")
    parser.add_argument("--collection", required=True, help="the campaign's output collection")
    parser.add_argument("--tape", type=Path, required=True, help="the tape element's directory")
    parser.add_argument("facilities", nargs="+", metavar="FACILITY=REPO")
    options = parser.parse_args(arguments)

    def checks() -> list[Check]:
        chain = Chain(butlers_of(options.facilities), options.collection, options.tape)
        return chain.checks()

    return told("check_chain", checks)


def butlers_of(facilities: Sequence[str]) -> dict[str, Butler]:
    """The Butlers that words FACILITY=REPO name, in their order."""
    places = dict(each.split("=", 1) for each in facilities)
    return {name: Butler.from_config(repo) for name, repo in places.items()}


def told(program: str, compared: Callable[[], list[Check]]) -> int:
    """Print the checks; the exit status."""
    try:
        checks = compared()
    except Exception as error:  # noqa: BLE001 - any failure to read is told in one line
        print(f"{program}: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    for check in checks:
        print(f"{'ok ' if check.ok else 'BAD'}  {check.name:<12} {check.summary}")
    return 0 if all(check.ok for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
