"""What a Butler tells of datasets: many at a time, since a question for each takes ten times as long.

A part of the agent's program: it is shipped in the same directory as `butler_agent.py`.
"""

import hashlib
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agent_requests import RequestError

READ_BYTES = 1024 * 1024


def describe_ref(ref: Any) -> dict[str, Any]:
    """Return what identifies a dataset at any Butler."""
    return {
        "uuid": str(ref.id),
        "type": ref.datasetType.name,
        "data_id": dict(ref.dataId.required),
        "run": ref.run,
    }


def describe_type(dataset_type: Any) -> dict[str, Any]:
    """Return what defines a dataset type at any Butler."""
    return {
        "dimensions": list(dataset_type.dimensions.required),
        "storage_class": dataset_type.storageClass_name,
        "is_calibration": dataset_type.isCalibration(),
    }


def uris_of(butler: Any, refs: Iterable[Any]) -> dict[uuid.UUID, Any]:
    """Return where the Butler has the datasets stored, by UUID; of those it has not, nothing. One
    question for all of them: one for each takes ten times as long.
    """
    found = butler.get_many_uris(list(refs), allow_missing=True)
    return {ref.id: uris for ref, uris in found.items()}


def file_at(uris: Any) -> Path:
    """Return the one file of a dataset on this machine's disks; RequestError says why there is none.

    ``uris`` is what `uris_of` has found of it, None if nothing.
    """
    if uris is None:
        raise RequestError("the Butler has no file of it")
    if uris.primaryURI is None:
        raise RequestError("it is stored as several files, which are not moved one by one")
    if uris.primaryURI.fragment:
        raise RequestError("it is stored inside a zip file, which is not moved in part")
    if not uris.primaryURI.isLocal:
        raise RequestError(f"it is stored at {uris.primaryURI}, not on a disk")
    path = Path(uris.primaryURI.ospath)
    if not path.is_file():
        raise RequestError(f"its file is lost: {path}")
    return path


def known_of(butler: Any, data_ids: Iterable[Any]) -> dict[Any, Any]:
    """Return the data ids with their dimension records, by the data ids as given. Not those of which
    the Butler has no record of some dimension: `expandDataId` tells more, but one at a time.
    """
    by_dimensions: dict[Any, set[Any]] = {}
    for each in data_ids:
        by_dimensions.setdefault(each.dimensions, set()).add(each)
    known: dict[Any, Any] = {}
    for dimensions, asked in by_dimensions.items():
        if not dimensions:
            continue
        with butler.query() as query:
            rows = query.join_data_coordinates(asked).data_ids(dimensions)
            known.update({row: row for row in rows.with_dimension_records()})
    return known


def visits_of(butler: Any, data_ids: Iterable[Any]) -> list[Any]:
    """Return the data ids of the visits that exposures belong to, with their detectors."""
    exposures = [each for each in data_ids if "exposure" in each and "visit" not in each]
    names = ["exposure", "visit"]
    if any("detector" in each for each in exposures):
        names.append("detector")
    found: dict[Any, None] = {}
    for number in sorted({(each["instrument"], each["exposure"]) for each in exposures}):
        ids = butler.query_data_ids(
            names,
            instrument=number[0],
            exposure=number[1],
            with_dimension_records=True,
            explain=False,
            limit=None,
        )
        found.update(dict.fromkeys(ids))
    return list(found)


def datastore_root(butler: Any, label: str) -> Path:
    """Return the directory of the repository's first datastore on a disk."""
    for root in butler.get_datastore_roots().values():
        if root is not None and root.isLocal:
            return Path(root.ospath)
    raise RequestError(f"repository {label!r} has no datastore on a disk of this machine")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while data := source.read(READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


def reason_of(error: BaseException) -> str:
    """Return an error in words, on one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words[:500]
