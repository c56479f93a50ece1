"""The storage elements of three facilities, and scopes, as Rucio has to know them."""

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

from rucio.client import Client
from rucio.common.exception import Duplicate

from rucio_site.settings import ACCOUNT

# Rucio's schema allows capital letters, digits, _ and - in the name of an RSE.
DISKS = {"USDF_DISK": "USDF", "FRDF_DISK": "FrDF", "UKDF_DISK": "UKDF"}
TAPES = {"USDF_TAPE": "USDF"}
SCOPE = "rubin"
LAN = {"read": 1, "write": 1, "delete": 1}
WAN = {**LAN, "third_party_copy_read": 1, "third_party_copy_write": 1}


def add_rses(client: Client, roots: Mapping[str, Path], fts: str) -> None:
    """Make every RSE with its root directory known: protocol, attributes, limits, distances.

    A file scope:name lies at ROOT/scope/name.
    """
    for rse, facility in {**DISKS, **TAPES}.items():
        client.add_rse(rse, deterministic=True, rse_type="TAPE" if rse in TAPES else "DISK")
        client.add_protocol(
            rse,
            {
                "scheme": "file",
                "hostname": "localhost",
                "port": 0,
                "prefix": f"{roots[rse]}/",
                "impl": "rucio.rse.protocols.posix.Default",
                "domains": {"lan": LAN, "wan": WAN},
            },
        )
        attributes = {
            "fts": fts,
            "lfn2pfn_algorithm": "identity",
            "greedyDeletion": True,
            "site": facility,
        }
        for key, value in attributes.items():
            client.add_rse_attribute(rse, key, value)
        client.set_account_limit(ACCOUNT, rse, -1, "local")
    for source, destination in permutations({**DISKS, **TAPES}, 2):
        client.add_distance(source, destination, {"distance": 1})


def add_scope(client: Client, scope: str) -> None:
    """Make a scope of the account; nothing happens if it is there (at most 25 characters)."""
    try:
        client.add_scope(ACCOUNT, scope)
    except Duplicate:
        return
