"""The Butlers of rounds with a Rucio, in the stack's Python: what groups make, and what is there at the end.

    python campaign_butlers.py make DIRECTORY CAMPAIGN...
    python campaign_butlers.py tell DIRECTORY CAMPAIGN... < zips

`make` puts the outputs of all groups of these campaigns into the repositories DIRECTORY/FACILITY and prints
them as JSON: no pipeline has to run. `tell` prints what each repository has of the campaigns, and the
members of those zips, named by standard input, that lie there.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lsst.daf.butler import Butler, CollectionType, DatasetType
from lsst.daf.butler.datastores.file_datastore.retrieve_artifacts import ZipIndex
from lsst.resources import ResourcePath

FACILITIES = ("USDF", "FrDF", "UKDF")
VISITS = {"USDF": (1001, 1002, 1003, 1004), "FrDF": (1001, 1002, 1003, 1004), "UKDF": (1001, 1002)}
STEPS = (
    ("french", "1", "FrDF"),
    ("french", "2", "FrDF"),
    ("british", "1", "UKDF"),
    ("british", "2", "UKDF"),
    ("fit", "all", "USDF"),
)
MADE = {"FrDF": ("product", "run_log", "catalog"), "UKDF": ("product", "run_log", "catalog")}
"""Dataset types by facility; USDF makes the fit."""


def outputs(campaign: str) -> Iterator[tuple[str, str, str, str, int]]:
    """Facility, step, group, dataset type and visit of all that the groups of a campaign make."""
    for step, group, facility in STEPS:
        for kind in MADE.get(facility, ("fit",)):
            for visit in VISITS[facility]:
                yield facility, step, group, kind, visit


def make(butlers: dict[str, Butler], campaigns: Sequence[str]) -> list[dict[str, Any]]:
    """See the module."""
    made = []
    for facility, butler in butlers.items():
        for kind in MADE.get(facility, ("fit",)):
            butler.registry.registerDatasetType(
                DatasetType(kind, ["visit"], "StructuredDataDict", universe=butler.dimensions)
            )
        for campaign in campaigns:
            with butler.transaction():
                for at, step, group, kind, visit in outputs(campaign):
                    if at != facility:
                        continue
                    run = f"u/me/{campaign}/{step}/{group}/a1"
                    butler.collections.register(run, CollectionType.RUN)
                    content = {
                        "made": f"{campaign} {step} {group} {kind} {visit}",
                        "pad": "z" * 500,
                    }
                    ref = butler.put(content, kind, instrument="DemoCam", visit=visit, run=run)
                    made.append(
                        {
                            "campaign": campaign,
                            "facility": facility,
                            "step": step,
                            "group": group,
                            "type": kind,
                            "visit": visit,
                            "uuid": str(ref.id),
                        }
                    )
            chain(butler, facility, campaign)
    return made


def chain(butler: Butler, facility: str, campaign: str) -> None:
    """The chains that a collect job would make."""
    top, chains = f"u/me/{campaign}", {}
    for step, group, at in STEPS:
        if at == facility:
            chains[f"{top}/{step}/{group}"] = [f"{top}/{step}/{group}/a1"]
            chains.setdefault(f"{top}/{step}", []).append(f"{top}/{step}/{group}")
            chains[top] = [f"{top}/{step}"]
    for name, children in sorted(chains.items(), reverse=True):
        butler.collections.register(name, CollectionType.CHAINED)
        butler.collections.redefine_chain(name, children)


def tell(
    butler: Butler, campaigns: Sequence[str], root: Path, zips: Sequence[str]
) -> dict[str, Any]:
    """What a repository has: each dataset with the content that can be read of it; those that the campaigns'
    own collections lead to; the members of the zips."""
    runs, tops = [], []
    for campaign in campaigns:
        runs += butler.collections.query(
            f"u/me/{campaign}/*", collection_types={CollectionType.RUN}, flatten_chains=False
        )
        tops += butler.collections.query(f"u/me/{campaign}")
    return {
        "datasets": [
            {
                "campaign": ref.run.split("/")[2],
                "uuid": str(ref.id),
                "run": ref.run,
                "content": content(butler, ref),
            }
            for ref in refs(butler, runs)
        ],
        "found": sorted({str(ref.id) for ref in refs(butler, tops)}),
        "zips": {
            name: members(root / name, butler.dimensions) for name in zips if (root / name).exists()
        },
    }


def members(path: Path, universe: Any) -> list[str]:
    """The UUIDs in a zip."""
    index = ZipIndex.from_zip_file(ResourcePath(path))
    return sorted(str(ref.id) for ref in index.refs.to_refs(universe=universe))


def refs(butler: Butler, collections: Sequence[str]) -> list[Any]:
    """All datasets in these collections."""
    if not collections:
        return []
    return list(butler.query_all_datasets(collections, find_first=False, limit=None))


def content(butler: Butler, ref: Any) -> str:
    """What was written into a dataset; why it cannot be read."""
    try:
        return str(butler.get(ref)["made"])
    except (OSError, LookupError, ValueError) as error:
        return f"cannot be read: {error}"


def main(what: str, directory: Path, campaigns: Sequence[str]) -> None:
    """See the module."""
    repositories = {name: str(directory / name) for name in FACILITIES}
    if what == "make":
        butlers = {n: Butler.from_config(r, writeable=True) for n, r in repositories.items()}
        told: Any = make(butlers, campaigns)
    else:
        zips = json.load(sys.stdin)
        told = {
            name: tell(Butler.from_config(root), campaigns, Path(root), zips)
            for name, root in repositories.items()
        }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
