"""The agent's operations that move datasets out of a Butler and into one, bundle and prune them.

A part of the agent's program: it is shipped in the same directory as `butler_agent.py`, whose text
says how operations are asked for. Files go from one facility to another by other means; here they
are described where they leave and taken in where they have arrived. Every operation may be
repeated: what is there already is told and left as it is.
"""

import io
import json
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agent_requests import Arguments, Repositories, RequestError
from butler_datasets import (
    datastore_root,
    describe_ref,
    describe_type,
    file_at,
    known_of,
    reason_of,
    sha256_of,
    uris_of,
    visits_of,
)

ARRIVING = ".arriving"
"""Directory below a datastore's root where files wait to be taken in, on the datastore's own disk."""

ANSWER_READ_BYTES = 1024**3
"""Bytes of files read for one answer, so that it comes within a caller's deadline."""

ZIP_INDEX = "_butler_zip_index.json"


def describe_datasets(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, uuids, checksum?} -> {"datasets", "types", "missing", "left"}.

    Each dataset is {"uuid", "type", "data_id", "run", "file", "size", "sha256"}: one file on the
    facility's disk, its size in bytes and, unless ``checksum`` is false, the SHA-256 of its content
    now. ``types`` has {"dimensions", "storage_class", "is_calibration"} by name. ``missing`` lists
    {"uuid", "reason"} for what has no such file. ``left`` are the UUIDs to be asked for again, because
    a gigabyte has been read for this answer.
    """
    label = arguments.text("repo")
    wanted = uuids_of(arguments, "describe_datasets")
    checksum = arguments.flag("checksum", True)
    arguments.finish()
    butler = repositories.get(label)
    described: list[dict[str, Any]] = []
    missing: list[dict[str, str]] = []
    types: dict[str, dict[str, Any]] = {}
    refs = {ref.id: ref for ref in butler.get_many_datasets(wanted)} if wanted else {}
    uris = uris_of(butler, refs.values())
    read = 0
    left: list[str] = []
    for identity in wanted:
        ref = refs.get(identity)
        if read >= ANSWER_READ_BYTES:
            left.append(str(identity))
            continue
        if ref is None:
            missing.append({"uuid": str(identity), "reason": "the Butler has no such dataset"})
            continue
        types.setdefault(ref.datasetType.name, describe_type(ref.datasetType))
        item: dict[str, Any] = describe_ref(ref)
        try:
            path = file_at(uris.get(identity))
            item["file"], item["size"] = str(path), path.stat().st_size
            item["sha256"] = sha256_of(path) if checksum else None
            read += item["size"] if checksum else 0
        except (RequestError, OSError) as error:
            missing.append({**item, "reason": reason_of(error)})
            continue
        described.append(item)
    return {"datasets": described, "types": types, "missing": missing, "left": left}


def known_data_ids(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, dimension, data_ids} -> {"dimensions", "known"}: which of these values of a dimension
    the Butler has records of.

    The data ids are objects that may hold more than the dimension asks for; ``known`` has a true or
    false for each of them, true also for one that does not have the dimension at all.
    """
    label = arguments.text("repo")
    dimension = arguments.text("dimension")
    asked = arguments.objects("data_ids")
    arguments.finish()
    # A Butler opened for reading before anything was ever stored cannot read what comes later.
    butler = repositories.get(label, writeable=True)
    if dimension not in butler.dimensions.dimensions.names:
        raise RequestError(f"known_data_ids: no dimension is called {dimension!r}")
    names = list(butler.dimensions.conform([dimension]).required)
    with butler.query() as query:
        held = {
            tuple(data_id[name] for name in names)
            for data_id in query.data_ids(butler.dimensions.conform([dimension]))
        }
    known = [
        not all(name in values for name in names) or tuple(values[name] for name in names) in held
        for values in asked
    ]
    return {"dimensions": names, "known": known}


def export_dimensions(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, uuids} -> {"records"}: all dimension records that these datasets need at another
    Butler, as a text for `import_dimensions`; for exposures those of their visits too.
    """
    label = arguments.text("repo")
    wanted = uuids_of(arguments, "export_dimensions")
    arguments.finish()
    butler = repositories.get(label)
    data_ids = {ref.dataId for ref in butler.get_many_datasets(wanted)} if wanted else set()
    if not data_ids:
        return {"records": ""}
    known = known_of(butler, data_ids)
    expanded = [known.get(each) or butler.registry.expandDataId(each) for each in data_ids]
    expanded += visits_of(butler, data_ids)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "dimensions.yaml"
        with butler.export(filename=str(path)) as export:
            export.saveDataIds(expanded)
        return {"records": path.read_text()}


def import_dimensions(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, records} -> {}: take in dimension records; those the Butler has are left as they are."""
    label = arguments.text("repo")
    records = arguments.text("records")
    arguments.finish()
    butler = repositories.get(label, writeable=True)
    if records:
        butler.import_(filename=io.StringIO(records), format="yaml")
    return {}


def landing(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, name} -> {"directory", "free"}: where files for this Butler are to be put before they
    are taken in, and the bytes free there. The directory is made.
    """
    label = arguments.text("repo")
    name = arguments.text("name")
    arguments.finish()
    if not name or "/" in name or name.startswith("."):
        raise RequestError(f"landing: {name!r} is no name of a directory")
    directory = datastore_root(repositories.get(label, writeable=True), label) / ARRIVING / name
    directory.mkdir(parents=True, exist_ok=True)
    return {"directory": str(directory), "free": shutil.disk_usage(directory).free}


def ingest_datasets(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, types, datasets} -> {"ingested", "existing", "rejected"}.

    ``types`` and ``datasets`` are as `describe_datasets` gives them, with ``file`` where the file is
    now, on the datastore's own disk: it gets a second name there and may be removed afterwards.
    UUIDs and RUN names are kept. ``rejected`` lists {"uuid", "reason", "class"}; one bad dataset
    does not keep out the others.
    """
    label = arguments.text("repo")
    definitions = arguments.objects("types")
    items = arguments.objects("datasets")
    arguments.finish()
    butler = repositories.get(label, writeable=True)
    refs, rejected = make_refs(butler, definitions, items)
    existing = set(existing_uuids(butler, refs))
    files = {uuid.UUID(item["uuid"]): item["file"] for item in items}
    fresh = {key: (ref, files[key]) for key, ref in refs.items() if key not in existing}
    register_runs(butler, {ref.run for ref, _ in fresh.values()})
    failures = take_in(butler, list(fresh.values()))
    rejected += [{"uuid": str(key), **failure} for key, failure in failures.items()]
    return {
        "ingested": [str(key) for key in fresh if key not in failures],
        "existing": [str(key) for key in existing],
        "rejected": rejected,
    }


def bundle_datasets(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, uuids, directory?} -> {"file", "size", "sha256", "members"}: these datasets' files in
    one zip with a Butler index, below the datastore's `.arriving` unless a directory is given.

    The file's name follows from its members, so bundling again replaces it. The zip's own index is
    compared with what was asked for before it is told of.
    """
    label = arguments.text("repo")
    wanted = uuids_of(arguments, "bundle_datasets")
    directory = arguments.text("directory", "")
    arguments.finish()
    butler = repositories.get(label)
    refs = list(butler.get_many_datasets(wanted))
    lost = [str(key) for key in wanted if key not in {ref.id for ref in refs}]
    if lost:
        raise RequestError(f"bundle_datasets: the Butler no longer has {', '.join(lost[:5])}")
    target = Path(directory) if directory else datastore_root(butler, label) / ARRIVING
    target.mkdir(parents=True, exist_ok=True)
    path = Path(butler.retrieve_artifacts_zip(refs, destination=str(target), overwrite=True).ospath)
    members = zip_members(path)
    if members != {str(key) for key in wanted}:
        raise RequestError(
            f"bundle_datasets: {path.name} has {len(members)} members where {len(wanted)} were "
            "asked for",
            "Transient",
        )
    return {
        "file": str(path),
        "size": path.stat().st_size,
        "sha256": sha256_of(path),
        "members": sorted(members),
    }


def prune_datasets(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, runs, types, limit?} -> {"pruned": {type: {"count", "bytes"}}, "left"}.

    Removes datasets of these types from these RUN collections, records and files, at most ``limit``
    (default 1000) in one request; ``left`` is how many there still are. Runs that do not exist hold
    nothing.
    """
    label = arguments.text("repo")
    runs = arguments.strings("runs")
    types = arguments.strings("types")
    limit = arguments.number("limit", 1000) or 1
    arguments.finish()
    butler = repositories.get(label, writeable=True)
    from lsst.daf.butler import CollectionType, MissingDatasetTypeError

    known = {i.name: i.type for i in butler.collections.query_info("*")}
    wrong = [name for name in runs if known.get(name, CollectionType.RUN) is not CollectionType.RUN]
    if wrong:
        raise RequestError(f"prune_datasets: {', '.join(wrong)} is not a RUN collection")
    runs = [name for name in runs if name in known]
    refs: list[Any] = []
    for name in types if runs else []:
        try:
            refs += butler.query_datasets(
                name, collections=runs, find_first=False, explain=False, limit=None
            )
        except MissingDatasetTypeError:
            continue
    chosen = sorted(refs, key=lambda ref: ref.id)[:limit]
    uris = uris_of(butler, chosen)
    pruned: dict[str, dict[str, int]] = {}
    for ref in chosen:
        entry = pruned.setdefault(ref.datasetType.name, {"count": 0, "bytes": 0})
        entry["count"] += 1
        try:
            entry["bytes"] += file_at(uris.get(ref.id)).stat().st_size
        except (RequestError, OSError):
            continue  # its file is gone already: nothing is freed
    butler.pruneDatasets(chosen, disassociate=True, unstore=True, purge=True)
    return {"pruned": pruned, "left": len(refs) - len(chosen)}


OPERATIONS = (
    describe_datasets,
    known_data_ids,
    export_dimensions,
    import_dimensions,
    landing,
    ingest_datasets,
    bundle_datasets,
    prune_datasets,
)


def uuids_of(arguments: Arguments, operation: str) -> list[uuid.UUID]:
    """Take the argument ``uuids``, each once."""
    try:
        return list(dict.fromkeys(uuid.UUID(text) for text in arguments.strings("uuids")))
    except ValueError as error:
        raise RequestError(f"{operation}: {error}") from error


def register_types(
    butler: Any, definitions: list[dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Make the dataset types known; return them, and why some cannot be, both by name."""
    from lsst.daf.butler import DatasetType
    from lsst.daf.butler.registry import ConflictingDefinitionError

    types: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for definition in definitions:
        name = definition["name"]
        try:
            types[name] = DatasetType(
                name,
                butler.dimensions.conform(definition["dimensions"]),
                definition["storage_class"],
                isCalibration=definition["is_calibration"],
            )
            butler.registry.registerDatasetType(types[name])
        except ConflictingDefinitionError as error:
            refused[name] = f"the Butler has another dataset type {name!r}: {reason_of(error)}"
    return types, refused


def make_refs(
    butler: Any, definitions: list[dict[str, Any]], items: list[dict[str, Any]]
) -> tuple[dict[uuid.UUID, Any], list[dict[str, str]]]:
    """Make the dataset types known; return the items' references by UUID, and those {"uuid", "reason",
    "class"} that cannot be taken in because of their types or because the Butler does not hold their
    data ids.
    """
    from lsst.daf.butler import ButlerUserError, DataCoordinate, DatasetRef

    types, refused = register_types(butler, definitions)
    problems = {item["uuid"]: refused[item["type"]] for item in items if item["type"] in refused}
    data_ids = {
        item["uuid"]: DataCoordinate.standardize(
            item["data_id"],
            dimensions=types[item["type"]].dimensions,
            universe=butler.dimensions,
        )
        for item in items
        if item["uuid"] not in problems
    }
    known = known_of(butler, data_ids.values())
    refs: dict[uuid.UUID, Any] = {}
    for item in items:
        if item["uuid"] in problems:
            continue
        data_id = data_ids[item["uuid"]]
        try:
            data_id = known.get(data_id) or butler.registry.expandDataId(data_id)
        except (ButlerUserError, LookupError, ValueError) as error:
            values = ", ".join(f"{name} {value}" for name, value in item["data_id"].items())
            problems[item["uuid"]] = (
                f"the receiving Butler does not hold {values} ({reason_of(error)})"
            )
            continue
        identity = uuid.UUID(item["uuid"])
        refs[identity] = DatasetRef(types[item["type"]], data_id, run=item["run"], id=identity)
    return refs, [
        {"uuid": each, "reason": reason, "class": "Permanent"} for each, reason in problems.items()
    ]


def existing_uuids(butler: Any, wanted: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    """Return the datasets that the Butler has already, with their files.

    Where a file is lost the Butler is made to forget it, or it would not take another one in.
    """
    found = list(butler.get_many_datasets(list(wanted))) if wanted else []
    stored = butler.stored_many(found) if found else {}
    lost = [ref for ref in found if not stored[ref]]
    if lost:
        butler.pruneDatasets(lost, disassociate=False, unstore=True, purge=False)
    return [ref.id for ref in found if stored[ref]]


def register_runs(butler: Any, runs: set[str]) -> None:
    """Make the RUN collections."""
    from lsst.daf.butler import CollectionType

    for run in sorted(runs):
        butler.collections.register(run, CollectionType.RUN)


def take_in(butler: Any, items: list[tuple[Any, str]]) -> dict[uuid.UUID, dict[str, str]]:
    """Ingest the files; return why some could not be, by UUID.

    All at once is much faster than one by one, which is only done to tell the bad from the good.
    """
    from lsst.daf.butler import FileDataset
    from lsst.daf.butler.registry import ConflictingDefinitionError, RegistryError

    if not items:
        return {}
    datasets = [FileDataset(path=path, refs=[ref]) for ref, path in items]
    # A hard link leaves the arrived file in place: whoever dies in the middle finds it again.
    try:
        butler.ingest(*datasets, transfer="hardlink", skip_existing=True)
    except (ConflictingDefinitionError, RegistryError, OSError) as error:
        ref = items[0][0]
        if len(items) > 1:
            half = len(items) // 2
            return {**take_in(butler, items[:half]), **take_in(butler, items[half:])}
        if isinstance(error, ConflictingDefinitionError):
            return {ref.id: {"reason": conflict_of(butler, ref, error), "class": "Permanent"}}
        return {ref.id: {"reason": reason_of(error), "class": "Transient"}}
    return {}


def conflict_of(butler: Any, ref: Any, error: Exception) -> str:
    """Return in words what the Butler already has in a dataset's place."""
    other = butler.find_dataset(ref.datasetType, ref.dataId, collections=[ref.run])
    if other is None or other.id == ref.id:
        return reason_of(error)
    return f"the receiving Butler has another dataset of this type and data id in {ref.run}: {other.id}"


def zip_members(path: Path) -> set[str]:
    """Return the UUIDs of the datasets that a zip's Butler index names and whose files it holds."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        index = json.loads(archive.read(ZIP_INDEX))
    return {
        str(uuid.UUID(identity))
        for member, entry in index["artifact_map"].items()
        if member in names
        for identity in entry["ids"]
    }
