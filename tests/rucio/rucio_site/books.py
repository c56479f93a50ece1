"""What Rucio itself tells of its datasets, as JSON-able values: their rules, and their files with where they
are."""

from collections.abc import Iterator
from typing import Any

from rucio_site.rses import SCOPE


def datasets_below(client: Any, container: str) -> Iterator[dict[str, Any]]:
    """The datasets in a container and in those in it, each as `dataset` tells of it."""
    for each in client.list_content(SCOPE, container):
        if each["type"] == "CONTAINER":
            yield from datasets_below(client, each["name"])
        else:
            yield dataset(client, each["name"])


def dataset(client: Any, name: str) -> dict[str, Any]:
    """A dataset with its rules and files, and where Rucio has each file."""
    did = [{"scope": SCOPE, "name": name}]
    states = {each["name"]: each["states"] for each in client.list_replicas(did, all_states=True)}
    files = {each["name"]: each for each in client.list_files(SCOPE, name)}
    dids = [{"scope": SCOPE, "name": each} for each in files]
    metadata = client.get_metadata_bulk(dids, plugin="JSON") if dids else []
    kinds = {each["name"]: each for each in metadata}
    return {
        "name": name,
        "open": client.get_did(SCOPE, name)["open"],
        "rules": [
            {
                "rse": rule["rse_expression"],
                "state": rule["state"],
                "ok": rule["locks_ok_cnt"],
                "comment": rule["comments"],
            }
            for rule in client.list_did_rules(SCOPE, name)
        ],
        "files": [
            {
                "name": lfn,
                "size": file["bytes"],
                "adler32": file["adler32"],
                "kind": kinds.get(lfn, {}).get("rubin_butler"),
                "sidecar": kinds.get(lfn, {}).get("rubin_sidecar"),
                "at": sorted(r for r, s in states.get(lfn, {}).items() if s == "AVAILABLE"),
                "states": states.get(lfn, {}),
            }
            for lfn, file in sorted(files.items())
        ],
    }


def names_of(client: Any, pattern: str, kind: str) -> list[str]:
    """The names of all there is of a kind ("file", "dataset"), whatever it is in; * is for anything."""
    return sorted(client.list_dids(SCOPE, [{"name": pattern}], did_type=kind))
