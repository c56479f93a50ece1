"""Archiving a group's outputs on a tape element: bundle, register, transfer.

A tape element is a directory of one of the campaign's facilities. What goes there are zips of the
Butler's own making, one for each run and dataset type (many small files become few big ones), or
the files themselves. Beside them lies `catalogue.jsonl`: one line for each stored file with its
bytes, SHA-256 and the datasets in it, written last. The archive is verified by reading back
what is stored.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from cmd_daemon.hooks import DriverError, ErrorClass, Host
from cmd_local.moving.asking import Butlers
from cmd_local.moving.books import Books, Stage
from cmd_local.moving.carrier import Carrier
from cmd_local.moving.manifest import Bundle, Item, Link, Manifest, Manifests
from cmd_local.moving.movement import note, verdict
from cmd_local.moving.orders import Movement
from cmd_local.moving.planning import make_manifest, nothing, tape_only
from cmd_local.moving.sending import Meter, Parcel, Sender
from cmd_local.moving.settings import MoverSettings, tape_elements

CATALOGUE = "catalogue.jsonl"


@dataclass(frozen=True, slots=True)
class Stored:
    """One file for the tape: its name there, where it is now, and the datasets in it."""

    name: str
    run: str
    type: str
    file: str
    size: int
    sha256: str
    items: tuple[Item, ...]

    def line(self) -> dict[str, Any]:
        """Its line of the catalogue."""
        return {
            "name": self.name,
            "size": self.size,
            "sha256": self.sha256,
            "run": self.run,
            "type": self.type,
            "datasets": [{"uuid": i.uuid, "data_id": i.data_id} for i in self.items],
        }


class Archivist:
    """Does the archive jobs of one group."""

    def __init__(
        self,
        movement: Movement,
        host: Host,
        butlers: Butlers,
        carrier: Carrier,
        manifests: Manifests,
        settings: MoverSettings,
        meter: Meter,
    ) -> None:
        self._movement = movement
        self._host = host
        self._butlers = butlers
        self._carrier = carrier
        self._manifests = manifests
        self._settings = settings
        self._meter = meter

    async def bundle(self) -> dict[str, Any]:
        """Write the manifest anew and make the bundles; the fields of an outcome. Raises
        DriverError, OSError."""
        self._tape()
        manifest = await make_manifest(self._movement, self._butlers)
        await self._bundle(manifest)
        await self._manifests.keep(manifest)
        return self._told(manifest)

    async def register(self) -> dict[str, Any]:
        """Make sure of what goes to the tape element; the fields of an outcome. Raises DriverError,
        OSError."""
        self._tape()
        if self._movement.bundle is not None:
            return self._told(await self._manifest())
        manifest = await make_manifest(self._movement, self._butlers)
        await self._manifests.keep(manifest)
        return self._told(manifest)

    async def transfer(self) -> dict[str, Any]:
        """Store, catalogue and verify; the fields of an outcome. Raises DriverError, OSError."""
        facility, directory = self._tape()
        manifest = await self._manifest()
        books = Books(manifest, Stage.INGESTED)
        for link in manifest.links:
            await self._store(manifest, link, books, facility, directory)
        outcome = verdict(self._movement, books, judge=True)
        await self._manifests.close(manifest.id, outcome["books"], bool(outcome["ok"]))
        return outcome

    def _tape(self) -> tuple[str, str]:
        """The facility with the tape element, the group's own first, and the directory for this
        group. Raises DriverError PERMANENT if there is none."""
        movement = self._movement
        for name in dict.fromkeys((movement.facility, *movement.facilities)):
            try:
                elements = tape_elements(self._host.facility(name))
            except KeyError:
                continue
            root = elements.get(str(movement.rse))
            if root is not None:
                order = movement.order
                return name, f"{root}/{order.campaign}/{order.step}/{order.group}"
        raise tape_only(movement)

    async def _manifest(self) -> Manifest:
        manifest = await self._manifests.load(self._movement.manifest_id())
        wants_bundles = self._movement.bundle is not None
        if manifest is None or manifest.bundled != wants_bundles:
            manifest = await make_manifest(self._movement, self._butlers)
            if wants_bundles:
                await self._bundle(manifest)
            await self._manifests.keep(manifest)
        return manifest

    async def _bundle(self, manifest: Manifest) -> None:
        """Have the source's agent make a zip for each run and type."""
        manifest.bundles = []
        for link in manifest.links:
            told = await self._butlers.ask(link.source, "landing", name=manifest.id)
            shares: dict[tuple[str, str], list[Item]] = {}
            for item in link.items:
                if item.file:
                    shares.setdefault((item.run, item.type), []).append(item)
            self._meter.start("bundling", sum(map(len, shares.values())))
            for (run, type_), items in shares.items():
                for page in _bundled(items, self._settings):
                    made = await self._butlers.ask(
                        link.source,
                        "bundle_datasets",
                        uuids=[item.uuid for item in page],
                        directory=told["directory"],
                    )
                    manifest.bundles.append(
                        Bundle(
                            run, type_, made["file"], made["size"], made["sha256"], made["members"]
                        )
                    )
                    self._meter.done += len(page)
                    self._meter.moved(made["size"])
        manifest.bundled = True

    def _told(self, manifest: Manifest) -> dict[str, Any]:
        books = Books(manifest, Stage.MADE)
        if not manifest.links:
            return {"ok": True, "message": nothing(self._movement), "books": []}
        count = sum(len(link.items) for link in manifest.links)
        packed = f" in {len(manifest.bundles)} bundles" if manifest.bundled else ""
        return {"ok": True, "message": f"{count} datasets{packed}", "books": books.entries()}

    async def _store(
        self, manifest: Manifest, link: Link, books: Books, facility: str, directory: str
    ) -> None:
        for item in link.items:
            if not item.file:
                reason = f"{item.reason} (at {link.source})"
                books.stop(link, item, reason, ErrorClass.PERMANENT)
        wanted = await self._wanted(manifest, link, facility, directory)
        self._meter.start("storing", len(wanted))
        await self._make_again(link, wanted, facility, directory)
        sender = Sender(self._carrier, self._settings, self._meter)
        paths = {f"{directory}/{each.name}": each for each in wanted}
        arrived: dict[str, Stored] = {}
        for sent in await sender.send(
            Parcel(link.source, each.file, facility, path, each.size, each.sha256)
            for path, each in paths.items()
        ):
            stored = paths[sent.parcel.path]
            for item in stored.items:
                note(books, link, item, sent)
            if sent.arrived:
                arrived[sent.parcel.path] = stored
        await self._verify(link, books, arrived, facility)
        good = [
            each
            for each in wanted
            if all(books.stage(link, item) is Stage.ARRIVED for item in each.items)
        ]
        try:
            await self._catalogue(wanted, good, facility, directory)
        except OSError as error:
            for item in (item for each in good for item in each.items):
                reason = f"the catalogue of {self._movement.rse} cannot be written: {error}"
                books.stop(link, item, reason, ErrorClass.TRANSIENT)
            return
        for each in good:
            for item in each.items:
                books.reached(link, item, Stage.INGESTED)
            if manifest.bundled:
                await self._carrier.remove(link.source, each.file)
                await self._carrier.remove(link.source, str(PurePosixPath(each.file).parent))

    async def _wanted(
        self, manifest: Manifest, link: Link, facility: str, directory: str
    ) -> list[Stored]:
        """What is to be stored. A bundle made again may have other bytes under the same name, which
        follows from its members: where one is catalogued and stored, that one counts."""
        known = await self._catalogued(facility, directory)
        wanted = []
        for each in _stored(manifest, link):
            line = known.get(each.name)
            if (
                line is not None
                and await self._carrier.size(facility, f"{directory}/{each.name}") == line["size"]
            ):
                each = replace(each, size=line["size"], sha256=line["sha256"])
            wanted.append(each)
        return wanted

    async def _make_again(
        self, link: Link, wanted: Sequence[Stored], facility: str, directory: str
    ) -> None:
        """What is neither stored nor at hand has to be bundled again by a new attempt."""
        if self._movement.bundle is None:
            return
        for each in wanted:
            if await self._carrier.size(facility, f"{directory}/{each.name}") == each.size:
                continue
            if await self._carrier.size(link.source, each.file) is None:
                manifest = await self._manifests.load(self._movement.manifest_id())
                if manifest is not None:
                    manifest.bundled = False
                    await self._manifests.keep(manifest)
                raise DriverError(
                    ErrorClass.TRANSIENT,
                    f"{self._movement.group}: the bundle {each.file} is gone from {link.source}; "
                    "the next attempt makes it again",
                )

    async def _verify(
        self, link: Link, books: Books, arrived: Mapping[str, Stored], facility: str
    ) -> None:
        """Read back what is stored; a file that differs is removed and counts as not arrived."""

        async def check(path: str, stored: Stored) -> None:
            try:
                same = await self._carrier.sha256(facility, path) == stored.sha256
            except OSError as error:
                same, reason = False, f"cannot be read back from {self._movement.rse}: {error}"
            else:
                reason = (
                    f"is damaged on {self._movement.rse}: it is stored again at the next attempt"
                )
            if same:
                return
            await self._carrier.remove(facility, path)
            for item in stored.items:
                books.lost(link, item, Stage.SENT)
                books.stop(link, item, f"{stored.name} {reason}", ErrorClass.TRANSIENT)

        await asyncio.gather(*(check(path, stored) for path, stored in arrived.items()))

    async def _catalogued(self, facility: str, directory: str) -> dict[str, dict[str, Any]]:
        """The lines of the group's catalogue by name; none if there is no readable one."""
        path = f"{directory}/{CATALOGUE}"
        size = await self._carrier.size(facility, path)
        if not size:
            return {}
        text = await self._carrier.read(facility, path, 0, size)
        try:
            lines = [json.loads(line) for line in text.splitlines()]
        except ValueError:
            return {}
        return {line["name"]: line for line in lines if isinstance(line, dict)}

    async def _catalogue(
        self, wanted: Sequence[Stored], good: Sequence[Stored], facility: str, directory: str
    ) -> None:
        """Write the group's catalogue, the whole of it at once: what is proved to be stored is in it,
        what is not (any more) is not."""
        lines = await self._catalogued(facility, directory)
        for each in wanted:
            lines.pop(each.name, None)
        lines.update({each.name: each.line() for each in good})
        text = "".join(json.dumps(lines[name]) + "\n" for name in sorted(lines)).encode()
        path, part = f"{directory}/{CATALOGUE}", f"{directory}/{CATALOGUE}.part"
        await self._carrier.remove(facility, part)
        await self._carrier.write(facility, part, 0, text)
        digest = await self._carrier.sha256(facility, part)
        await self._carrier.finish(facility, part, path, len(text), digest)


def _bundled(items: Sequence[Item], settings: MoverSettings) -> list[list[Item]]:
    """The items in shares for one bundle each, the same ones whenever it is asked."""
    shares: list[list[Item]] = []
    room = 0
    for item in sorted(items, key=lambda item: item.uuid):
        if not shares or item.size > room or len(shares[-1]) >= settings.bundle_members:
            shares.append([])
            room = settings.bundle_bytes
        shares[-1].append(item)
        room -= item.size
    return shares


def _stored(manifest: Manifest, link: Link) -> list[Stored]:
    """The files that go to the tape element for one link."""
    items = {item.uuid: item for item in link.items if item.file}
    if not manifest.bundled:
        return [
            Stored(
                f"{item.uuid}-{PurePosixPath(item.file).name[-150:]}",
                item.run,
                item.type,
                item.file,
                item.size,
                item.sha256,
                (item,),
            )
            for item in items.values()
        ]
    return [
        Stored(
            PurePosixPath(bundle.file).name,
            bundle.run,
            bundle.type,
            bundle.file,
            bundle.size,
            bundle.sha256,
            tuple(items[uuid] for uuid in bundle.members if uuid in items),
        )
        for bundle in manifest.bundles
    ]
