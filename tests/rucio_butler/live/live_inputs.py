"""Inputs that others have put into a real Rucio: raw images in a scope and at RSEs of their own."""

import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live_setup import LiveWorld
from rucio_site import Site
from rucio_site.rses import LAN, WAN, add_scope
from rucio_site.settings import ACCOUNT

RAW = "raw"
RAW_DISK = {"USDF": "USDF_RAW_DISK", "UKDF": "UKDF_RAW_DISK"}


@dataclass(frozen=True, slots=True)
class Raw:
    """A file to be registered: where its content is, its name, and what is said of it."""

    content: Path
    lfn: str
    kind: str = "data_product"
    sidecar: str = ""


def add_raw_disks(site: Site) -> dict[str, Path]:
    """Make the RSEs for raw images known to Rucio; the directory of the scope at each facility."""
    client = site.client()
    roots = {facility: site.home / "storage" / rse for facility, rse in RAW_DISK.items()}
    for facility, rse in RAW_DISK.items():
        (roots[facility] / RAW).mkdir(parents=True)
        client.add_rse(rse, deterministic=True, rse_type="DISK")
        protocol = {
            "scheme": "file",
            "hostname": "localhost",
            "port": 0,
            "prefix": f"{roots[facility]}/",
            "impl": "rucio.rse.protocols.posix.Default",
            "domains": {"lan": LAN, "wan": WAN},
        }
        client.add_protocol(rse, protocol)
        for key, value in {
            "fts": site.transfers.url,
            "lfn2pfn_algorithm": "identity",
            "greedyDeletion": True,
        }.items():
            client.add_rse_attribute(rse, key, value)
        client.set_account_limit(ACCOUNT, rse, -1, "local")
    client.add_distance(RAW_DISK["USDF"], RAW_DISK["UKDF"], {"distance": 1})
    client.add_distance(RAW_DISK["UKDF"], RAW_DISK["USDF"], {"distance": 1})
    add_scope(client, RAW)
    return {facility: root / RAW for facility, root in roots.items()}


async def held(
    world: LiveWorld, type_: str, run: str, where: str, facility: str = "FrDF"
) -> list[Raw]:
    """Files of a facility's own Butler, each with its sidecar."""
    asked = {"repo": "main", "collections": [run], "types": [type_], "where": where}
    told = await world.agents[facility].inner.call("list_datasets", asked)
    wanted = {"repo": "main", "uuids": [each["uuid"] for each in told["datasets"]]}
    files = await world.agents[facility].inner.call("describe_files", wanted)
    root = Path(world.facilities[facility].butlers["main"])
    return [Raw(root / f["lfn"], f["lfn"], sidecar=f["sidecar"]) for f in files["files"]]


def put(world: LiveWorld, disks: Mapping[str, Path], dataset: str, raws: Sequence[Raw]) -> None:
    """Register files at USDF as Rubin's tools do, copied to its RSE, and put them into a dataset."""
    registered: list[dict[str, Any]] = []
    for raw in raws:
        path = disks["USDF"] / raw.lfn
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(raw.content, path)
        data = path.read_bytes()
        meta = {"rubin_butler": raw.kind, "rubin_sidecar": raw.sidecar} if raw.kind else {}
        registered.append(
            {
                "scope": RAW,
                "name": raw.lfn,
                "bytes": len(data),
                "adler32": f"{zlib.adler32(data):08x}",
                **({"meta": meta} if meta else {}),
            }
        )
    client = world.client
    client.add_replicas(RAW_DISK["USDF"], registered)
    if not list(client.list_dids(RAW, [{"name": dataset}], did_type="dataset")):
        client.add_dataset(RAW, dataset, statuses={"monotonic": True})
    client.attach_dids(RAW, dataset, [{"scope": RAW, "name": raw.lfn} for raw in raws])
