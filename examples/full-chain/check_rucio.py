"""Check what the full chain has left at the facilities, on tape and in Rucio.

    python check_rucio.py --collection C --rucio rucio.json FACILITY=REPO FACILITY=REPO ...

`rucio.json` is what the server told (`rucio_chain.py`). Run it with the Python of the Rubin stack; what
`check_chain.py` looks at is looked at here too, with the same exit status.
"""

import argparse
import json
import sys
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from check_chain import KEPT, Archived, Chain, Check, butlers_of, told
from lsst.daf.butler import Butler
from lsst.daf.butler.datastores.file_datastore.retrieve_artifacts import ZipIndex
from lsst.resources import ResourcePath


class RucioChain(Chain):
    """The Butlers of the facilities after the campaign, and what Rucio says."""

    def __init__(
        self, butlers: dict[str, Butler], collection: str, rucio: Mapping[str, Any]
    ) -> None:
        self.roots = {rse: Path(root) for rse, root in rucio["roots"].items()}
        super().__init__(butlers, collection, self.roots[rucio["tape"]])
        self.rucio = rucio

    def on_tape(self) -> Archived:
        """What the datasets of archives in Rucio tell of, looked at where it lies on tape."""
        found = Archived()
        for dataset in self.rucio["datasets"]:
            if movement_of(dataset) != "archive":
                continue
            for file in dataset["files"]:
                path = self.tape / file["name"]
                found.zips.append(path)
                if self.problem(file, self.rucio["tape"]):
                    found.damaged.append(path)
                    continue
                refs = self.in_zip(path)
                found.members.update(refs.keys())
                found.types.update(refs.values())
        files = {path for path in self.tape.rglob("*") if path.is_file()}
        found.strangers = files - set(found.zips)
        return found

    def in_zip(self, path: Path) -> dict[str, str]:
        """The datasets in a zip, their types by UUID."""
        universe = self.butlers[self.home].dimensions
        refs = ZipIndex.from_zip_file(ResourcePath(path)).refs.to_refs(universe=universe)
        return {str(ref.id): ref.datasetType.name for ref in refs}

    def problem(self, file: Mapping[str, Any], rse: str) -> str:
        """Why a file is not at an RSE as Rucio has it; empty if it is."""
        if rse not in file["at"]:
            return f"Rucio has it at {', '.join(file['at']) or 'no place'}"
        try:
            content = (self.roots[rse] / file["name"]).read_bytes()
        except OSError as error:
            return str(error)
        whole = (len(content), zlib.adler32(content)) == (file["size"], int(file["adler32"], 16))
        return "" if whole else "it has other bytes"

    def expected(self) -> dict[tuple[str, str], set[str]]:
        """What the Butlers say has been moved: the UUIDs by source and movement."""
        made: dict[tuple[str, str], set[str]] = {}
        for facility in self.butlers:
            own = self.groups(facility, "coadd")
            coadds = [
                ref
                for ref in self.made_at(facility)
                if f"{self.collection}/coadd/" in ref.run and ref.run.split("/")[-2] in own
            ]
            made[facility, "archive"] = {str(ref.id) for ref in coadds}
            if facility == self.home:
                continue
            kept = {str(ref.id) for ref in coadds if ref.datasetType.name in KEPT}
            catalogs = {str(ref.id) for ref in self.made_at(facility, "star_catalog")}
            points = {str(ref.id) for ref in self.made_at(facility, "zero_point")}
            made[facility, "keep"], made[facility, "gather"] = kept, catalogs
            made[self.home, f"scatter-{facility}"] = points
        return made

    def in_rucio(self) -> Check:
        """Rucio has just what was moved, by UUID, each dataset closed, its rule done, and each file
        where the rule says."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        problems: list[str] = []
        files = zips = twice = 0
        for dataset in self.rucio["datasets"]:
            way = (dataset["name"].split("/")[4], movement_of(dataset))
            goal = self.goal(way[1])
            states = [(rule["rse"], rule["state"], rule["ok"]) for rule in dataset["rules"]]
            if dataset["open"] or states != [(goal, "OK", len(dataset["files"]))]:
                problems.append(f"{dataset['name']}: open {dataset['open']}, rules {states}")
            for file in dataset["files"]:
                files += 1
                if problem := self.problem(file, goal):
                    problems.append(f"{file['name']}: {problem}")
                    continue
                if file["kind"] == "zip_file":
                    zips += 1
                    uuids = set(self.in_zip(self.roots[goal] / file["name"]))
                else:
                    uuids = {json.loads(file["sidecar"])["id"]}
                twice += len(uuids & found[way])
                found[way] |= uuids
        expected = self.expected()
        for way in sorted(expected.keys() | found.keys()):
            here, there = expected.get(way, set()), found.get(way, set())
            if here != there:
                words = f"{len(here - there)} are lacking, {len(there - here)} are nobody's"
                problems.append(f"{way[0]} {way[1]}: {words}")
        catalogs = {str(ref.id) for ref in self.made_at(self.home, "star_catalog")}
        lost = [way for way in expected if way[1] == "gather" and not expected[way] <= catalogs]
        problems += [f"{way[0]}: its star catalogs are not at {self.home}" for way in lost]
        for problem in problems[:20]:
            print(f"     {problem}")
        count = sum(len(each) for each in found.values())
        return Check(
            "in Rucio",
            bool(files) and all(expected.values()) and not (problems or twice),
            f"{count} datasets in {files} files ({zips} zips) of {len(self.rucio['datasets'])} "
            f"closed Rucio datasets, by UUID as the Butlers have them; {twice} twice, "
            f"{len(problems)} problems",
        )

    def goal(self, movement: str) -> str:
        """The RSE to which a movement's files go."""
        if movement == "archive":
            return str(self.rucio["tape"])
        return str(
            self.rucio["disks"][movement.removeprefix("scatter-") if "-" in movement else self.home]
        )

    def checks(self) -> list[Check]:
        """All comparisons."""
        return [*super().checks(), self.in_rucio()]


def movement_of(dataset: Mapping[str, Any]) -> str:
    """The movement that a Rucio dataset is of: Dataset/campaign/step/group/facility/movement[.2]."""
    return str(dataset["name"].split("/")[5].partition(".")[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(description="Check what the full chain has left in Rucio.")
    parser.add_argument("--collection", required=True, help="the campaign's output collection")
    parser.add_argument("--rucio", type=Path, required=True, help="what the server told, in JSON")
    parser.add_argument("facilities", nargs="+", metavar="FACILITY=REPO")
    options = parser.parse_args(arguments)

    def checks() -> list[Check]:
        rucio = json.loads(options.rucio.read_text())
        return RucioChain(butlers_of(options.facilities), options.collection, rucio).checks()

    return told("check_rucio", checks)


if __name__ == "__main__":
    sys.exit(main())
