"""The manifest of a movement: which datasets go from which facility to which, decided once.

The jobs of one movement (`keep-register`, `keep-transfer`, `keep-ingest`) share it. Its id follows
from campaign, step, group and the movement's name alone, so that each of them, after any restart,
finds it. What has come of it is not written here: the facilities themselves are asked.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cmd_local.attempts import read_json, write_durably


@dataclass(slots=True)
class Item:
    """One dataset to be moved: what it is, and its file at the source.

    `size` in bytes; `sha256` of the file when it was registered. Without a file `reason` says why.
    `left_out`: the receiving Butler does not hold its data id, it is not for there.
    """

    uuid: str
    type: str
    data_id: dict[str, Any]
    run: str
    file: str = ""
    size: int = 0
    sha256: str = ""
    reason: str = ""
    left_out: bool = False


@dataclass(slots=True)
class Link:
    """All that goes from one facility to another (or stays, if they are the same one).

    `types` are the dataset types' definitions by name, `chains` the source's chained collections that
    have to be found at the destination too: name to children, each after those it names.
    """

    source: str
    destination: str
    items: list[Item] = field(default_factory=list)
    types: dict[str, dict[str, Any]] = field(default_factory=dict)
    chains: dict[str, list[str]] = field(default_factory=dict)

    @property
    def stays(self) -> bool:
        """Whether nothing has to move."""
        return self.source == self.destination

    def expected(self) -> list[Item]:
        """What is to arrive: all but what is not for there."""
        return [item for item in self.items if not item.left_out]


@dataclass(slots=True)
class Bundle:
    """Datasets of one run and type in one zip file at the source: path, bytes, SHA-256, UUIDs."""

    run: str
    type: str
    file: str
    size: int
    sha256: str
    members: list[str]


@dataclass(slots=True)
class Manifest:
    """One movement of one group. `bundled` once `bundles` hold all there is to bundle."""

    id: str
    campaign: str
    step: str
    group: str
    movement: str
    links: list[Link] = field(default_factory=list)
    bundles: list[Bundle] = field(default_factory=list)
    bundled: bool = False

    def uuids(self) -> set[str]:
        """All datasets of the movement."""
        return {item.uuid for link in self.links for item in link.items}


def manifest_id(campaign: str, step: str, group: str, movement: str) -> str:
    """The id of a movement's manifest."""
    text = "/".join((campaign, step, group, movement))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Manifests:
    """Manifests and closed books in a directory of the daemon's own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def prepare(self) -> None:
        """Make the directory. Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True)

    async def load(self, identity: str) -> Manifest | None:
        """The manifest, or None if it was never made."""
        document = await asyncio.to_thread(read_json, self._directory / f"{identity}.json")
        return None if document is None else _manifest(document)

    async def keep(self, manifest: Manifest) -> None:
        """Write the manifest; books of a former one no longer hold. Raises OSError."""
        await asyncio.to_thread(self._books(manifest.id).unlink, missing_ok=True)
        await self._write(self._directory / f"{manifest.id}.json", asdict(manifest))

    async def close(self, identity: str, books: Sequence[dict[str, Any]], closed: bool) -> None:
        """Write down how a movement came out. Raises OSError."""
        await self._write(self._books(identity), {"closed": closed, "books": list(books)})

    async def books(self, identity: str) -> dict[str, Any] | None:
        """{"closed", "books"} of a movement, or None if it never came to its end."""
        return await asyncio.to_thread(read_json, self._books(identity))

    def _books(self, identity: str) -> Path:
        return self._directory / f"{identity}.books.json"

    async def _write(self, path: Path, document: dict[str, Any]) -> None:
        await asyncio.to_thread(write_durably, path, json.dumps(document))


def _manifest(document: dict[str, Any]) -> Manifest:
    links = [
        Link(**{**link, "items": [Item(**item) for item in link["items"]]})
        for link in document["links"]
    ]
    bundles = [Bundle(**bundle) for bundle in document["bundles"]]
    return Manifest(**{**document, "links": links, "bundles": bundles})
