"""The Butler agent with the operations that data movement by Rucio needs.

It is shipped with the files of `butler_agent.py`, is started and speaks as that text says, and can all
that it can. Files are named as in Rucio: by their path below a root directory that is the same
tree at each facility, by default the root of the Butler's datastore. They are taken in where they
lie. Every operation may be repeated.
"""

import contextlib
import sys
import uuid
import zipfile
import zlib
from pathlib import Path
from typing import Any

import butler_agent
from agent_requests import Arguments, Repositories, RequestError
from butler_datasets import READ_BYTES, datastore_root, file_at, known_of, reason_of, uris_of
from butler_moving import (
    ANSWER_READ_BYTES,
    bundle_datasets,
    existing_uuids,
    make_refs,
    register_runs,
    take_in,
    uuids_of,
    zip_members,
)


def describe_files(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, uuids, root?} -> {"files", "missing", "left"}.

    Each file is {"uuid", "lfn", "size", "adler32", "sidecar"}: its path below the root, bytes, the
    checksum of its content now, and the dataset in JSON for another Butler. ``missing`` lists
    {"uuid", "reason"}; ``left`` are to be asked for again.
    """
    label = arguments.text("repo")
    wanted = uuids_of(arguments, "describe_files")
    given = arguments.text("root", "")
    arguments.finish()
    butler = repositories.get(label)
    root = root_of(butler, label, given).resolve()
    refs = {ref.id: ref for ref in butler.get_many_datasets(wanted)} if wanted else {}
    uris = uris_of(butler, refs.values())
    known = known_of(butler, [ref.dataId for ref in refs.values()])
    files: list[dict[str, Any]] = []
    missing: list[dict[str, str]] = []
    left: list[str] = []
    read = 0
    for identity in wanted:
        if read >= ANSWER_READ_BYTES:
            left.append(str(identity))
            continue
        try:
            if identity not in refs:
                raise RequestError("the Butler has no such dataset")
            ref = refs[identity]
            path = file_at(uris.get(identity))
            data_id = known.get(ref.dataId) or butler.registry.expandDataId(ref.dataId)
            entry = {
                "uuid": str(identity),
                "lfn": lfn_of(path, root),
                "size": path.stat().st_size,
                "adler32": adler32_of(path),
                "sidecar": ref.expanded(data_id).to_json(),
            }
        except (RequestError, OSError) as error:
            missing.append({"uuid": str(identity), "reason": reason_of(error)})
            continue
        read += entry["size"]
        files.append(entry)
    return {"files": files, "missing": missing, "left": left}


def name_files(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, uuids, root?} -> {"paths"}: the names of those of the datasets' files that are below the
    root; nothing is read.
    """
    label = arguments.text("repo")
    wanted = uuids_of(arguments, "name_files")
    given = arguments.text("root", "")
    arguments.finish()
    butler = repositories.get(label)
    root = root_of(butler, label, given)
    refs = list(butler.get_many_datasets(wanted)) if wanted else []
    paths: list[str] = []
    for uris in uris_of(butler, refs).values():
        uri = uris.primaryURI
        if uri is not None and uri.isLocal and not uri.fragment:
            with contextlib.suppress(RequestError):
                paths.append(lfn_of(Path(uri.ospath), root))
    return {"paths": sorted(paths)}


def zip_files(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, uuids, directory, root?} -> {"lfn", "size", "adler32", "members"}: these datasets in
    one zip with a Butler index, in a directory below the root.

    A zip that holds them already is told of and not made again: the bytes of one that has been
    declared must not change.
    """
    label = arguments.text("repo")
    wanted = uuids_of(arguments, "zip_files")
    directory = arguments.text("directory")
    given = arguments.text("root", "")
    arguments.finish()
    root = root_of(repositories.get(label), label, given)
    members = {str(each) for each in wanted}
    path = next((p for p in sorted((root / directory).glob("*.zip")) if holds(p, members)), None)
    if path is None:
        order = {"repo": label, "uuids": sorted(members), "directory": str(root / directory)}
        path = Path(bundle_datasets(repositories, Arguments("bundle_datasets", order))["file"])
    return {
        "lfn": lfn_of(path, root.resolve()),
        "size": path.stat().st_size,
        "adler32": adler32_of(path),
        "members": sorted(members),
    }


def look_at_files(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, files: [{lfn, size}], root?} -> {"missing": {lfn: reason}}: what has not arrived."""
    label = arguments.text("repo")
    files = arguments.objects("files")
    given = arguments.text("root", "")
    arguments.finish()
    root = root_of(repositories.get(label, writeable=True), label, given)
    reasons = {each["lfn"]: arrival_problem(root / each["lfn"], each["size"]) for each in files}
    return {"missing": {lfn: reason for lfn, reason in reasons.items() if reason}}


def adopt_files(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, types, datasets, root?} -> {"ingested", "existing", "rejected"}.

    ``types`` and ``datasets`` are as for `ingest_datasets`, with ``lfn`` and ``size`` instead of
    ``file``. Files below the datastore's root are registered where they lie. ``rejected`` lists
    {"uuid", "reason", "class"}; one bad dataset does not keep out the others.
    """
    label = arguments.text("repo")
    definitions = arguments.objects("types")
    items = arguments.objects("datasets")
    given = arguments.text("root", "")
    arguments.finish()
    butler = repositories.get(label, writeable=True)
    root = root_of(butler, label, given)
    refs, rejected = make_refs(butler, definitions, items)
    return adopted(InPlace(butler), refs, placed(items, root), rejected)


def adopt_zips(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, zips: [{lfn, size}], root?} -> {"ingested", "existing", "rejected"}, lists of names; a
    rejected one is {"lfn", "reason", "class"}. Dimension records must be there before.
    """
    from lsst.daf.butler.registry import ConflictingDefinitionError, RegistryError

    label = arguments.text("repo")
    zips = arguments.objects("zips")
    given = arguments.text("root", "")
    arguments.finish()
    butler = repositories.get(label, writeable=True)
    root = root_of(butler, label, given)
    told: dict[str, Any] = {"ingested": [], "existing": [], "rejected": []}
    for each in zips:
        path = root / each["lfn"]
        problem = arrival_problem(path, each["size"])
        if problem:
            told["rejected"].append({"lfn": each["lfn"], "reason": problem, "class": "Transient"})
            continue
        members = {uuid.UUID(text) for text in zip_members(path)}
        if members <= set(existing_uuids(butler, members)):
            told["existing"].append(each["lfn"])
            continue
        try:
            butler.ingest_zip(str(path), transfer="auto")
            told["ingested"].append(each["lfn"])
        except (ConflictingDefinitionError, RegistryError, LookupError, ValueError) as error:
            reason = {"lfn": each["lfn"], "reason": reason_of(error), "class": "Permanent"}
            told["rejected"].append(reason)
    return told


def adopt_sidecars(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, files, root?} -> {"ingested", "existing", "rejected"}: files of others, taken in by what
    was said of them when they were registered.

    Each of ``files`` is {"uuid", "lfn", "size", "sidecar"}, the last a dataset in JSON with its type
    and the records of its data id; all of that becomes known here. Files outside the datastore stay
    where they lie. ``rejected`` lists {"uuid", "reason", "class"}.
    """
    label = arguments.text("repo")
    items = arguments.objects("files")
    given = arguments.text("root", "")
    arguments.finish()
    butler = repositories.get(label, writeable=True)
    root = root_of(butler, label, given)
    rejected: list[dict[str, str]] = []
    refs: dict[Any, Any] = {}
    for item in items:
        try:
            ref = ref_of(butler, item)
            refs[ref.id] = ref
        except RequestError as error:
            rejected.append({"uuid": item["uuid"], "reason": str(error), "class": "Permanent"})
    existing = set(existing_uuids(butler, refs))
    fresh = [ref for ref in refs.values() if ref.id not in existing]
    for key, reason in make_known(butler, fresh).items():
        rejected.append({"uuid": str(key), "reason": reason, "class": "Permanent"})
        del refs[key]
    inside = root.resolve().is_relative_to(datastore_root(butler, label).resolve())
    way = InPlace(butler, "auto" if inside else "direct")
    return adopted(way, refs, placed(items, root), rejected)


def adopt_dimensions(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, lfn, size, root?} -> {"rejected"}: take in a file of dimension records, as a Butler
    exports them; ``rejected`` is {"reason", "class"} or null.
    """
    label = arguments.text("repo")
    lfn = arguments.text("lfn")
    size = arguments.number("size", 0) or 0
    given = arguments.text("root", "")
    arguments.finish()
    butler = repositories.get(label, writeable=True)
    path = root_of(butler, label, given) / lfn
    problem = arrival_problem(path, size)
    if problem:
        return {"rejected": {"reason": problem, "class": "Transient"}}
    try:
        butler.import_(filename=str(path), format="yaml", without_datastore=True)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a file of others is told
        return {"rejected": {"reason": f"{lfn}: {reason_of(error)}", "class": "Permanent"}}
    return {"rejected": None}


def placed(items: list[dict[str, Any]], root: Path) -> dict[Any, tuple[Path, int]]:
    """Return the path and the size of each file by the UUID of its dataset."""
    return {uuid.UUID(each["uuid"]): (root / each["lfn"], each["size"]) for each in items}


def adopted(
    butler: Any,
    refs: dict[Any, Any],
    files: dict[Any, tuple[Path, int]],
    rejected: list[dict[str, str]],
) -> dict[str, Any]:
    """Take files in as these datasets; return the answer, with what was rejected before."""
    existing = set(existing_uuids(butler, refs))
    fresh = []
    for key in [key for key in refs if key not in existing]:
        path, size = files[key]
        problem = arrival_problem(path, size)
        if problem:
            rejected.append({"uuid": str(key), "reason": problem, "class": "Transient"})
        else:
            fresh.append((refs[key], str(path)))
    register_runs(butler, {ref.run for ref, _ in fresh})
    failures = take_in(butler, fresh)
    rejected += [{"uuid": str(key), **failure} for key, failure in failures.items()]
    return {
        "ingested": [str(ref.id) for ref, _ in fresh if ref.id not in failures],
        "existing": [str(key) for key in existing],
        "rejected": rejected,
    }


def ref_of(butler: Any, item: dict[str, Any]) -> Any:
    """Return the dataset that a sidecar describes; RequestError if it is none."""
    from lsst.daf.butler import DatasetRef

    try:
        ref = DatasetRef.from_json(item["sidecar"], universe=butler.dimensions)
    except Exception as error:
        raise RequestError(f"its sidecar cannot be read: {reason_of(error)}") from error
    if str(ref.id) != item["uuid"]:
        raise RequestError(f"its sidecar is of another dataset: {ref.id}")
    return ref


def make_known(butler: Any, refs: list[Any]) -> dict[Any, str]:
    """Make the datasets' types and the records of their data ids known; return why some cannot be, by
    UUID. What the Butler has is left as it is.
    """
    from lsst.daf.butler.registry import ConflictingDefinitionError

    refused: dict[Any, str] = {}
    conflicts: dict[Any, str] = {}
    for dataset_type in {ref.datasetType for ref in refs}:
        try:
            butler.registry.registerDatasetType(dataset_type)
        except ConflictingDefinitionError as error:
            words = f"the Butler has another dataset type {dataset_type.name!r}"
            conflicts[dataset_type] = f"{words}: {reason_of(error)}"
    unknown = insert_records(butler, [ref.dataId for ref in refs if ref.dataId.hasRecords()])
    known = known_of(butler, [ref.dataId for ref in refs])
    for ref in refs:
        if ref.datasetType in conflicts:
            refused[ref.id] = conflicts[ref.datasetType]
        elif ref.dataId not in known:
            words = f"the receiving Butler does not hold {ref.dataId}"
            refused[ref.id] = f"{words}: {unknown or 'its sidecar has no records of it'}"
    return refused


def insert_records(butler: Any, data_ids: list[Any]) -> str:
    """Insert the records that the data ids have, those that others need first; say what went wrong."""
    from lsst.daf.butler.registry import RegistryError

    records: dict[str, dict[Any, Any]] = {}
    for data_id in data_ids:
        for element in data_id.dimensions.elements:
            record = data_id.records[element]
            if record is not None and butler.dimensions[element].has_own_table:
                records.setdefault(element, {})[record.dataId] = record
    problem = ""
    for element in butler.dimensions.sorted(records):
        mine = list(records[element.name].values())
        try:
            butler.registry.insertDimensionData(element, *mine, skip_existing=True)
        except (RegistryError, LookupError, ValueError) as error:
            problem = problem or f"{element.name}: {reason_of(error)}"
    return problem


class InPlace:
    """A Butler that takes files in where they lie: "auto" if that is in its datastore, "direct" if
    not.
    """

    def __init__(self, butler: Any, transfer: str = "auto") -> None:
        self._butler = butler
        self._transfer = transfer

    def ingest(self, *datasets: Any, transfer: str, skip_existing: bool) -> None:
        """See `Butler.ingest`; the way of transfer is our own."""
        self._butler.ingest(*datasets, transfer=self._transfer, skip_existing=skip_existing)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._butler, name)


def root_of(butler: Any, label: str, given: str) -> Path:
    """Return the directory that files' names are relative to."""
    return Path(given) if given else datastore_root(butler, label)


def lfn_of(path: Path, root: Path) -> str:
    """Return a file's name; RequestError if it does not lie below the (resolved) root."""
    try:
        return str(path.resolve().relative_to(root))
    except ValueError as error:
        raise RequestError(
            f"its file {path} is not below {root}, where Rucio has its files"
        ) from error


def arrival_problem(path: Path, size: int) -> str:
    """Say why a file has not arrived; empty if it has."""
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        return f"there is no file {path}"
    return "" if found == size else f"{path} has {found} of {size} bytes"


def adler32_of(path: Path) -> str:
    """Return the Adler-32 of a file's content as eight hexadecimal digits."""
    value = 1
    with path.open("rb") as source:
        while data := source.read(READ_BYTES):
            value = zlib.adler32(data, value)
    return f"{value:08x}"


def holds(path: Path, members: set[str]) -> bool:
    """Say whether a zip holds just these datasets; one that cannot be read does not."""
    try:
        return zip_members(path) == members
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return False


OPERATIONS = (
    describe_files,
    name_files,
    zip_files,
    look_at_files,
    adopt_files,
    adopt_zips,
    adopt_sidecars,
    adopt_dimensions,
)

if __name__ == "__main__":
    butler_agent.OPERATIONS.update({each.__name__: each for each in OPERATIONS})
    sys.exit(butler_agent.main())
