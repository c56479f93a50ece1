"""The floor's ingest, by hand, in a Python that has Rubin's stack and Rucio's clients.

    python floor_ingest.py ORDER.json

Brings the dimension records by an export file, asks Rucio for the dataset's files and their
sidecars, and takes them in where they lie. Prints the seconds of its work, imports not counted,
and the number of datasets, as JSON.
"""

import json
import sys
import time
from pathlib import Path

from lsst.daf.butler import Butler, CollectionType, DatasetRef, FileDataset
from rucio.client import Client


def main(order: dict[str, str]) -> None:
    """Do it."""
    began = time.perf_counter()
    scope, name = order["scope"], order["dataset"]
    with (
        Butler.from_config(order["source"]) as source,
        source.export(filename=order["records"]) as export,
    ):
        kind = source.get_dataset_type(order["type"])
        refs = source.query_datasets(
            kind, collections=order["collection"], limit=None, with_dimension_records=True
        )
        export.saveDataIds({ref.dataId for ref in refs})
    client = Client()
    files = [each["name"] for each in client.list_files(scope, name)]
    sidecars = {}
    for start in range(0, len(files), 1000):
        dids = [{"scope": scope, "name": each} for each in files[start : start + 1000]]
        for told in client.get_metadata_bulk(dids, plugin="JSON"):
            sidecars[told["name"]] = told["rubin_sidecar"]
    with Butler.from_config(order["destination"], writeable=True) as butler:
        butler.import_(filename=order["records"])
        butler.registry.registerDatasetType(kind)
        found = []
        for each in files:
            ref = DatasetRef.from_json(sidecars[each], universe=butler.dimensions)
            found.append(FileDataset(path=f"{order['root']}/{each}", refs=[ref]))
        for run in {ref.run for each in found for ref in each.refs}:
            butler.collections.register(run, CollectionType.RUN)
        butler.ingest(*found, transfer="auto", skip_existing=True)
    print(json.dumps({"seconds": time.perf_counter() - began, "datasets": len(found)}))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
