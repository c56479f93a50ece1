"""The agent's operation that says how much of groups' inputs a repository holds.

A part of the agent's program: it is shipped in the same directory as `butler_agent.py`, whose text
says how operations are asked for.
"""

from typing import Any

from agent_requests import Arguments, Repositories, restricted

SAMPLE = 100
"""Files of a dataset type whose sizes are looked at."""


def held_inputs(repositories: Repositories, arguments: Arguments) -> dict[str, Any]:
    """{repo, collections, datasets, wheres} -> {"held": [{"files", "bytes"}]}, one for each of the
    data queries: the datasets of these types that a search of the collections finds for it.

    A query may name dimensions that the dataset types do not have: raws of a tract are those of the
    visits that overlap it. ``bytes`` is an estimate: the count of each type times the mean size of at
    most 100 of its files. Of collections, types and dimension values that the repository does not
    know it holds none.
    """
    label = arguments.text("repo")
    wanted = arguments.strings("collections")
    names = arguments.strings("datasets")
    wheres = arguments.strings("wheres")
    arguments.finish()
    # A Butler opened for reading before anything was ever stored cannot read what comes later.
    butler = repositories.get(label, writeable=True)
    known = {info.name for info in butler.collections.query_info("*")}
    collections = [name for name in wanted if name in known]
    sizes = {name: mean_size(butler, name, collections) for name in names} if collections else {}
    held = []
    with butler.registry.caching_context():
        for where in wheres:
            counts = {name: count(butler, name, collections, where) for name in sizes}
            held.append(
                {
                    "files": sum(counts.values()),
                    "bytes": round(sum(number * sizes[name] for name, number in counts.items())),
                }
            )
    return {"held": held}


def count(butler: Any, name: str, collections: list[str], where: str) -> int:
    """Return how many datasets of a type a search finds for a data query; 0 for what is not known."""
    from lsst.daf.butler import ButlerUserError

    try:
        dimensions = butler.get_dataset_type(name).dimensions
        with butler.query() as query:
            found = restricted(query, where, dimensions).datasets(name, collections)
            return int(found.count(exact=True, discard=True))
    except (ButlerUserError, LookupError):
        return 0


def mean_size(butler: Any, name: str, collections: list[str]) -> float:
    """Return the mean size in bytes of a few files of a type; 0 if there are none."""
    from lsst.daf.butler import ButlerUserError

    try:
        refs = butler.query_datasets(
            name, collections=collections, find_first=False, explain=False, limit=SAMPLE
        )
    except (ButlerUserError, LookupError):
        return 0.0
    sizes = []
    for ref in refs:
        try:
            sizes.append(butler.getURI(ref).size())
        except (FileNotFoundError, LookupError):
            continue
    return sum(sizes) / len(sizes) if sizes else 0.0


OPERATIONS = (held_inputs,)
