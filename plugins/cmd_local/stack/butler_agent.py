"""The agent: Butler work in sets, for a daemon that never imports the Butler.

    python butler_agent.py --repo LABEL=PATH [--repo LABEL2=PATH2 ...]

It is started with the Python of a facility's stack and needs nothing but that stack, the standard
library and the other files of its program beside it (`agent_requests.py`, `agent_inputs.py`,
`butler_datasets.py`, `butler_moving.py`); it may run on another machine than the daemon. It speaks
JSON, one object per line: requests on standard input, answers on standard output.

    -> {"id": 7, "op": "count_datasets", "args": {"repo": "main", "collections": ["u/x"], "types":
    ["raw"]}} <- {"id": 7, "ok": true, "result": {...}} <- {"id": 7, "ok": false, "error": {"class":
    "Permanent", "type": "InvalidQueryError", "message": "..."}}

The first line it prints is ``{"ready": true, "pid": ..., "versions": {...}, "ops": [...], "repos":
[...]}``. Requests are answered one after the other, in their order. Every operation may be
repeated: asking twice leaves the same state as once. Standard output carries the protocol only;
logs, warnings and stray prints go to standard error. It ends when its input ends: when the request
being done then is answered, or else by force after ``--linger`` seconds.

Error classes: ``Permanent`` (the request cannot work as it is), ``Transient`` (the same request may
work later, for example when the database is locked), ``NotYet`` (something that must exist first
does not), ``Unknown`` (anything not foreseen).
"""

import argparse
import json
import logging
import os
import platform
import re
import select
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import IO, Any

import agent_inputs
import butler_moving
from agent_requests import (
    LINE_MAX_BYTES,
    PAGE_MAX,
    Arguments,
    Repositories,
    RequestError,
    describe_error,
    restricted,
)


def ping(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{} -> {"pid", "repos"}: the agent is alive."""
    arguments.finish()
    return {"pid": os.getpid(), "repos": repositories.labels}


def query_data_ids(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, dimensions, where?, datasets?, collections?, limit?} -> {"dimensions", "rows",
    "complete"}.

    Rows are distinct and sorted. With ``datasets``, only data ids for which each of these types
    exists in ``collections``. The answer's dimensions are those asked for with what they require
    (visit: instrument, visit). ``complete`` is false if ``limit`` (default 100,000) cut rows off.
    Nothing found is an empty list.
    """
    label = arguments.text("repo")
    dimensions = arguments.strings("dimensions")
    where = arguments.text("where", "")
    datasets = arguments.strings("datasets", [])
    collections = arguments.strings("collections", [])
    limit = arguments.number("limit", PAGE_MAX)
    arguments.finish()
    if datasets and not collections:
        raise RequestError("query_data_ids: datasets need collections to be looked for in")
    butler = repositories.get(label)
    from lsst.daf.butler import MissingDatasetTypeError

    unknown = [name for name in dimensions if name not in butler.dimensions.dimensions.names]
    if unknown:
        known = ", ".join(sorted(butler.dimensions.dimensions.names))
        raise RequestError(
            f"query_data_ids: no dimension is called {', '.join(map(repr, unknown))}; known: {known}"
        )
    group = butler.dimensions.conform(dimensions)
    names = [*group.required, *(name for name in dimensions if name not in group.required)]
    with butler.query() as query:
        if where:
            query = query.where(where)
        try:
            for dataset_type in datasets:
                query = query.join_dataset_search(dataset_type, collections)
        except MissingDatasetTypeError as error:
            raise RequestError(
                f"repository {label!r} knows no dataset type {error}: nothing has ever written it",
                "NotYet",
            ) from error
        result = query.data_ids(group)
        if limit is not None:
            result = result.limit(limit + 1)
        rows = sorted({tuple(data_id[name] for name in names) for data_id in result})
    complete = limit is None or len(rows) <= limit
    return {"dimensions": names, "rows": [list(row) for row in rows[:limit]], "complete": complete}


def count_datasets(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, collections, types? (null: all), where?, find_first?, bytes?} -> {"types": {name:
    {"count", "bytes"}}, "total"}.

    ``find_first`` (default true) counts what a search of the collections finds, that is each data
    id once; false counts every dataset. A type that does not exist counts 0. ``bytes`` (default
    false) adds file sizes; it asks the file system for each file, hence it is not for hundreds of
    thousands.
    """
    label = arguments.text("repo")
    collections = arguments.strings("collections")
    types = arguments.optional_strings("types")
    where = arguments.text("where", "")
    find_first = arguments.flag("find_first", True)
    with_bytes = arguments.flag("bytes", False)
    arguments.finish()
    butler = repositories.get(label)
    counts: dict[str, dict[str, int | None]] = {}
    for name in types if types is not None else types_in(butler, collections):
        if with_bytes:
            refs = find_datasets(butler, name, collections, where, find_first)
            counts[name] = {"count": len(refs), "bytes": sum(file_sizes(butler, refs))}
        else:
            counts[name] = {
                "count": number_of_datasets(butler, name, collections, where, find_first),
                "bytes": None,
            }
    return {"types": counts, "total": sum(entry["count"] or 0 for entry in counts.values())}


def list_datasets(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, collections, types? (null: all), where?, find_first?, limit?, offset?} -> {"datasets",
    "total", "next_offset"}.

    Each dataset is {"uuid", "type", "data_id", "run"}; the order (type, data id, run, uuid) is the
    same each time, so that pages fit together as long as nothing is written. ``next_offset`` is
    null on the last page.
    """
    label = arguments.text("repo")
    collections = arguments.strings("collections")
    types = arguments.optional_strings("types")
    where = arguments.text("where", "")
    find_first = arguments.flag("find_first", True)
    limit = arguments.number("limit", PAGE_MAX)
    offset = arguments.number("offset", 0) or 0
    arguments.finish()
    if limit == 0:
        raise RequestError("list_datasets: limit must be at least 1")
    butler = repositories.get(label)
    refs = []
    for name in sorted(set(types if types is not None else types_in(butler, collections))):
        found = find_datasets(butler, name, collections, where, find_first)
        refs.extend(
            sorted(found, key=lambda ref: (tuple(ref.dataId.required_values), ref.run, ref.id))
        )
    end = len(refs) if limit is None else offset + limit
    return {
        "datasets": [
            {
                "uuid": str(ref.id),
                "type": ref.datasetType.name,
                "data_id": dict(ref.dataId.required),
                "run": ref.run,
            }
            for ref in refs[offset:end]
        ],
        "total": len(refs),
        "next_offset": end if end < len(refs) else None,
    }


def chain(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, chains: [{name, children, mode?, missing?}]} -> {"chains": {name: {"children",
    "changed", "skipped"}}}.

    ``mode`` "define" (default) makes the chain exactly the children, in their order (the first that
    has a dataset wins); "prepend" puts those children in front that the chain does not have yet,
    and leaves the others where they are, so that a late repetition never turns the order round. A
    chain that does not exist is made. ``missing`` says what to do about a child that does not
    exist: "error" (default, NotYet) or "skip". All chains are checked before the first is changed.
    """
    label = arguments.text("repo")
    requests = arguments.objects("chains")
    arguments.finish()
    butler = repositories.get(label, writeable=True)
    from lsst.daf.butler import CollectionType

    planned = [ChainRequest(item) for item in requests]
    made_here = {request.name for request in planned}
    names = {child for request in planned for child in request.children} | made_here
    existing = {info.name: info for info in known_collections(butler, sorted(names))}
    for request in planned:
        info = existing.get(request.name)
        if info is not None and info.type is not CollectionType.CHAINED:
            raise RequestError(
                f"chain: {request.name!r} exists and is a {info.type.name} collection, not a chain"
            )
        request.skipped = [c for c in request.children if c not in existing and c not in made_here]
        if request.skipped and not request.skip_missing:
            raise RequestError(
                f"chain: {request.name!r} cannot be made, these children do not exist: "
                f"{', '.join(request.skipped)}",
                "NotYet",
            )
    for request in planned:
        butler.collections.register(request.name, CollectionType.CHAINED)
    results = {}
    for request in planned:
        current = list(butler.collections.get_info(request.name).children)
        children = [child for child in request.children if child not in request.skipped]
        if request.mode == "prepend":
            children = [child for child in children if child not in current] + current
        if children != current:
            butler.collections.redefine_chain(request.name, children)
        results[request.name] = {
            "children": list(butler.collections.get_info(request.name).children),
            "changed": children != current,
            "skipped": request.skipped,
        }
    return {"chains": results}


class ChainRequest:
    """One chain of a `chain` request."""

    def __init__(self, item: dict[str, Any]) -> None:
        arguments = Arguments("chain", item)
        self.name = arguments.text("name")
        children = arguments.strings("children")
        self.mode = arguments.text("mode", "define")
        missing = arguments.text("missing", "error")
        arguments.finish()
        if self.mode not in ("define", "prepend"):
            raise RequestError(f"chain: mode must be define or prepend, not {self.mode!r}")
        if missing not in ("error", "skip"):
            raise RequestError(f"chain: missing must be error or skip, not {missing!r}")
        # A child named twice counts once, at its first place: that is where a search would find it.
        self.children = list(dict.fromkeys(children))
        self.skip_missing = missing == "skip"
        self.skipped: list[str] = []


def verify(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, uuids} -> {"checked", "missing_in_registry", "missing_in_datastore"}: do these
    datasets exist, with files?
    """
    label = arguments.text("repo")
    given = arguments.strings("uuids")
    arguments.finish()
    try:
        wanted = {uuid.UUID(text): None for text in given}
    except ValueError as error:
        raise RequestError(f"verify: {error}") from error
    butler = repositories.get(label)
    refs = list(butler.get_many_datasets(wanted)) if wanted else []
    found = {ref.id for ref in refs}
    stored = butler.stored_many(refs) if refs else {}
    return {
        "checked": len(wanted),
        "missing_in_registry": [str(key) for key in wanted if key not in found],
        "missing_in_datastore": sorted(str(ref.id) for ref in refs if not stored[ref]),
    }


def collections(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, names? (may be globs; default all)} -> {"collections": [{"name", "type",
    "children"}]}, sorted by name.

    A name or glob that matches nothing adds nothing.
    """
    label = arguments.text("repo")
    names = arguments.strings("names", ["*"])
    arguments.finish()
    butler = repositories.get(label)
    infos = known_collections(butler, names)
    return {
        "collections": [
            {"name": info.name, "type": info.type.name, "children": list(info.children or ())}
            for info in sorted(infos, key=lambda info: info.name)
        ]
    }


OPERATIONS: dict[str, Callable[[Repositories, Arguments], dict[str, Any]]] = {
    operation.__name__: operation
    for operation in (
        ping,
        query_data_ids,
        count_datasets,
        list_datasets,
        chain,
        verify,
        collections,
        *agent_inputs.OPERATIONS,
        *butler_moving.OPERATIONS,
    )
}


def known_collections(butler: Any, names: Iterable[str]) -> list[Any]:
    """Return the collections among these names and globs; names that do not exist are left out."""
    patterns = [re.compile(glob_pattern(name)) for name in names]
    if not patterns:
        return []
    return [
        info
        for info in butler.collections.query_info("*")
        if any(p.fullmatch(info.name) for p in patterns)
    ]


def glob_pattern(name: str) -> str:
    """Return a glob (* and ?) as a regular expression; brackets mean themselves, they occur in
    names.
    """
    return "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in name)


def types_in(butler: Any, collection_names: list[str]) -> list[str]:
    """Return the dataset types that the collections hold."""
    infos = butler.collections.query_info(
        collection_names, flatten_chains=True, include_summary=True
    )
    return sorted({name for info in infos for name in info.dataset_types})


def find_datasets(
    butler: Any, name: str, collection_names: list[str], where: str, find_first: bool
) -> list[Any]:
    """Return the datasets of one type; none if nothing ever wrote the type."""
    from lsst.daf.butler import MissingDatasetTypeError

    try:
        dimensions = butler.get_dataset_type(name).dimensions
        with butler.query() as query:
            query = restricted(query, where, dimensions)
            return list(query.datasets(name, collection_names, find_first=find_first))
    except MissingDatasetTypeError:
        return []


def number_of_datasets(
    butler: Any, name: str, collection_names: list[str], where: str, find_first: bool
) -> int:
    """Return the number of datasets of one type without reading them where the database can count."""
    from lsst.daf.butler import MissingDatasetTypeError

    try:
        dimensions = butler.get_dataset_type(name).dimensions
        with butler.query() as query:
            query = restricted(query, where, dimensions)
            return int(
                query.datasets(name, collection_names, find_first=find_first).count(
                    exact=True, discard=True
                )
            )
    except MissingDatasetTypeError:
        return 0


def file_sizes(butler: Any, refs: list[Any]) -> Iterator[int]:
    """Yield the size in bytes of each dataset; 0 for one without a file."""
    for ref in refs:
        try:
            yield butler.getURI(ref).size()
        except FileNotFoundError:
            yield 0


def answer(repositories: Repositories, line: bytes) -> dict[str, Any]:
    """Do what one request line asks; return the answer. Never raises for whatever the line holds."""
    identity: Any = None
    label: Any = None
    try:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"the line is not JSON: {error}") from error
        if not isinstance(request, dict):
            raise RequestError("a request must be an object with id, op and args")
        identity = request.get("id")
        if not isinstance(identity, int | str) or isinstance(identity, bool):
            identity = None
            raise RequestError("a request must have an id (number or string)")
        name = request.get("op")
        operation = OPERATIONS.get(name) if isinstance(name, str) else None
        if operation is None:
            raise RequestError(f"unknown operation {name!r}; known: {', '.join(OPERATIONS)}")
        values = request.get("args", {})
        label = values.get("repo") if isinstance(values, dict) else None
        result = operation(repositories, Arguments(str(name), values))
        return {"id": identity, "ok": True, "result": result}
    except Exception as error:
        description = describe_error(error)
        if description["class"] in ("Unknown", "Transient"):
            logging.exception("request %r failed", identity)
            if isinstance(label, str):
                repositories.forget(label)
        return {"id": identity, "ok": False, "error": description}


def encode(message: dict[str, Any]) -> bytes:
    """Return an answer as one line, or an error if it is too long for the protocol."""
    line = json.dumps(message, separators=(",", ":"), default=str).encode() + b"\n"
    if len(line) > LINE_MAX_BYTES:
        error = RequestError(
            f"the answer has {len(line)} bytes, at most {LINE_MAX_BYTES} are sent: ask for smaller pages"
        )
        line = (
            json.dumps(
                {"id": message.get("id"), "ok": False, "error": describe_error(error)}
            ).encode()
            + b"\n"
        )
    return line


def read_lines(stream: IO[bytes]) -> Iterator[bytes | None]:
    """Yield each line of the input, None for one that is longer than allowed; end with the input."""
    while line := stream.readline(LINE_MAX_BYTES + 1):
        if len(line) <= LINE_MAX_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(LINE_MAX_BYTES)
        yield None


def end_with_input(linger: float) -> None:
    """Wait until who asks is gone, and end the program if it then goes on for too long: one that hangs
    would never read that its input has ended.
    """
    poll = select.poll()
    poll.register(0, getattr(select, "POLLRDHUP", 0))
    poll.poll()
    time.sleep(linger)
    os.write(2, b"a request was still under way long after the input ended\n")
    os._exit(1)


def stack_versions() -> dict[str, str]:
    """Return the versions that decide what this agent can read and write."""
    versions = {"python": platform.python_version()}
    for package in ("lsst-daf-butler", "lsst-pipe-base", "lsst-ctrl-mpexec"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed as a package"
    return versions


def parse_repositories(texts: list[str]) -> dict[str, str]:
    """Return {label: path} of the command line's LABEL=PATH texts."""
    paths = {}
    for text in texts:
        label, equals, path = text.partition("=")
        if not (label and equals and path):
            raise argparse.ArgumentTypeError(f"--repo takes LABEL=PATH, not {text!r}")
        paths[label] = path
    return paths


def main(arguments: list[str] | None = None) -> int:
    """Serve requests until the input ends; return the exit status (0, or 2 for a wrong command
    line).
    """
    parser = argparse.ArgumentParser(description="Butler work in sets over JSON lines.")
    parser.add_argument(
        "--repo",
        action="append",
        default=[],
        metavar="LABEL=PATH",
        help="a repository; may be repeated",
    )
    parser.add_argument(
        "--linger",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long a request may go on after the end of the input",
    )
    options = parser.parse_args(arguments)
    try:
        paths = parse_repositories(options.repo)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))

    threading.Thread(target=end_with_input, args=(options.linger,), daemon=True).start()

    # Whatever prints to standard output from now on, in Python or in a library, reaches standard
    # error instead.
    protocol = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s"
    )

    # The import costs seconds: it is done before "ready", so that deadlines of requests need not
    # allow for it.
    import lsst.daf.butler  # noqa: F401

    repositories = Repositories(paths)
    try:
        write(
            protocol,
            encode(
                {
                    "ready": True,
                    "pid": os.getpid(),
                    "versions": stack_versions(),
                    "ops": list(OPERATIONS),
                    "repos": repositories.labels,
                }
            ),
        )
        for line in read_lines(sys.stdin.buffer):
            if line is None:
                refusal = RequestError(f"the line is longer than {LINE_MAX_BYTES} bytes")
                write(protocol, encode({"id": None, "ok": False, "error": describe_error(refusal)}))
            elif line.strip():
                write(protocol, encode(answer(repositories, line)))
    except BrokenPipeError:
        # Who asked is gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    except KeyboardInterrupt:
        return 130
    return 0


def write(stream: Any, data: bytes) -> None:
    """Write all of the data; an unbuffered stream may take it in parts."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


if __name__ == "__main__":
    sys.exit(main())
