"""The three stages of a movement between Butlers: register, transfer, ingest.

A stage brings inputs that are not local, a gather joins and a scatter spreads what facilities made,
a keep returns outputs. register writes the manifest. transfer brings the files to the receiving
facilities. ingest takes them into the Butlers there - the dimension records first, but for a scatter
only what the receiving Butler already knows of -, makes the chained collections there and counts by
UUID. Each stage first looks how far things are and does what is left, so that an ingest also sends
what never arrived: driving it again does the gap and nothing else.

A transfer with files that certainly cannot be sent ends well, with the gap in its books: the others
are to be taken in, and the ingest, which comes last, judges the movement.
"""

import asyncio
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_local.moving.asking import Butlers, pages
from cmd_local.moving.books import Books, Stage
from cmd_local.moving.carrier import Carrier
from cmd_local.moving.manifest import Item, Link, Manifest, Manifests
from cmd_local.moving.orders import Movement
from cmd_local.moving.planning import make_manifest, nothing
from cmd_local.moving.sending import Meter, Parcel, Sender, Sent
from cmd_local.moving.settings import MoverSettings

NAME_MAX = 150
"""Characters kept of a file's name where it lands; file systems take 255 bytes."""


class Mover:
    """Does the jobs of one movement between Butlers."""

    def __init__(
        self,
        movement: Movement,
        butlers: Butlers,
        carrier: Carrier,
        manifests: Manifests,
        settings: MoverSettings,
        meter: Meter,
    ) -> None:
        self._movement = movement
        self._butlers = butlers
        self._carrier = carrier
        self._manifests = manifests
        self._settings = settings
        self._meter = meter

    async def register(self) -> dict[str, Any]:
        """Write the manifest anew; the fields of an outcome. Raises DriverError, OSError."""
        self._meter.start("asking the sources", 0)
        manifest = await self._plan()
        await self._manifests.keep(manifest)
        books = Books(manifest, Stage.MADE)
        count = sum(len(link.expected()) for link in manifest.links)
        self._meter.files = self._meter.done = count
        size = sum(item.size for link in manifest.links for item in link.expected())
        return {
            "ok": True,
            "message": f"{count} datasets, {size} bytes" if count else nothing(self._movement),
            "books": books.entries(),
        }

    async def transfer(self) -> dict[str, Any]:
        """Bring the files to where they go; the fields of an outcome. Raises DriverError, OSError."""
        manifest = await self._manifest()
        books = Books(manifest, Stage.ARRIVED)
        await self._bring(manifest, books)
        return verdict(self._movement, books, judge=False)

    async def ingest(self) -> dict[str, Any]:
        """Take in what has arrived, and verify; the fields of an outcome. Raises DriverError, OSError."""
        manifest = await self._manifest()
        books = Books(manifest, Stage.INGESTED)
        await self._bring(manifest, books)
        self._meter.note = "taking in"
        await asyncio.gather(*(self._take_in(link, books) for link in manifest.links))
        outcome = verdict(self._movement, books, judge=True)
        await self._manifests.close(manifest.id, outcome["books"], bool(outcome["ok"]))
        return outcome

    async def _manifest(self) -> Manifest:
        manifest = await self._manifests.load(self._movement.manifest_id())
        if manifest is None:
            manifest = await self._plan()
            await self._manifests.keep(manifest)
        return manifest

    async def _plan(self) -> Manifest:
        return await make_manifest(self._movement, self._butlers)

    async def _bring(self, manifest: Manifest, books: Books) -> None:
        """See how far each dataset is and send what is not there."""
        expected = sum(len(link.expected()) for link in manifest.links)
        self._meter.start("sending", expected)
        sender = Sender(self._carrier, self._settings, self._meter)
        ways = [self._bring_link(manifest, link, books, sender) for link in manifest.links]
        await asyncio.gather(*ways)

    async def _bring_link(
        self, manifest: Manifest, link: Link, books: Books, sender: Sender
    ) -> None:
        """One link's share of `_bring`; one facility that cannot be asked stops no other link."""
        items = link.expected()
        try:
            missing = await self._missing(link, items)
            for item in items:
                if item.uuid not in missing:
                    books.reached(link, item, Stage.INGESTED)
                    self._meter.done += 1
            left = [item for item in items if item.uuid in missing]
            if link.stays:
                for item in left:
                    books.stop(link, item, missing[item.uuid], ErrorClass.PERMANENT)
                self._meter.failed += len(left)
                return
            if not left:
                return
            await self._look_again(link, left)
            place = await self._landing(manifest, link)
        except DriverError as error:
            for item in items:
                if books.stage(link, item) < Stage.ARRIVED:
                    books.stop(link, item, str(error), error.error_class)
            return
        parcels: dict[str, Item] = {}
        for item in left:
            if item.file:
                parcels[_place(place, item)] = item
            else:
                books.stop(link, item, f"{item.reason} (at {link.source})", ErrorClass.PERMANENT)
                self._meter.failed += 1
        for sent in await sender.send(
            Parcel(link.source, item.file, link.destination, path, item.size, item.sha256)
            for path, item in parcels.items()
        ):
            note(books, link, parcels[sent.parcel.path], sent)

    async def _missing(self, link: Link, items: Sequence[Item]) -> dict[str, str]:
        """See `Butlers.missing`, at the link's destination."""
        return await self._butlers.missing(link.destination, [item.uuid for item in items])

    async def _look_again(self, link: Link, items: Sequence[Item]) -> None:
        """Look again for files that were not there, or not read, when the manifest was made."""
        unknown = [item for item in items if not (item.file and item.sha256)]
        async for types in self._butlers.describe(link.source, unknown, checksum=True):
            link.types.update(types)

    async def _landing(self, manifest: Manifest, link: Link) -> str:
        told = await self._butlers.ask(link.destination, "landing", name=manifest.id)
        return str(told["directory"])

    async def _take_in(self, link: Link, books: Books) -> None:
        """Ingest what has arrived at one link's destination, chain and verify there."""
        arrived = [i for i in link.expected() if books.stage(link, i) is Stage.ARRIVED]
        try:
            if arrived:
                place = await self._landing(books.manifest, link)
                for page in pages(arrived, self._settings.page):
                    await self._ingest(link, books, page, place)
            await self._verify(link, books)
            await self._chain(link, books)
        except DriverError as error:
            for item in link.expected():
                if books.stage(link, item) < Stage.INGESTED:
                    books.stop(link, item, str(error), error.error_class)
            raise_if_done(link, books, error)
            return
        await self._clear(link, books)

    async def _ingest(self, link: Link, books: Books, page: Sequence[Item], place: str) -> None:
        if self._movement.name != "scatter":
            told = await self._butlers.ask(
                link.source, "export_dimensions", uuids=[item.uuid for item in page]
            )
            await self._butlers.ask(link.destination, "import_dimensions", records=told["records"])
        names = {item.type for item in page}
        told = await self._butlers.ask(
            link.destination,
            "ingest_datasets",
            types=[{"name": name, **link.types[name]} for name in sorted(names)],
            datasets=[
                {
                    "uuid": item.uuid,
                    "type": item.type,
                    "data_id": item.data_id,
                    "run": item.run,
                    "file": _place(place, item),
                }
                for item in page
            ],
        )
        items = {item.uuid: item for item in page}
        for rejected in told["rejected"]:
            books.stop(
                link,
                items[rejected["uuid"]],
                f"{link.destination}: {rejected['reason']}",
                ErrorClass(rejected["class"]),
            )

    async def _verify(self, link: Link, books: Books) -> None:
        """Count by UUID at the destination, whatever anybody has said before."""
        items = link.expected()
        missing = await self._missing(link, items)
        for item in items:
            if item.uuid not in missing:
                books.reached(link, item, Stage.INGESTED)
            elif books.stage(link, item) is Stage.INGESTED:
                books.lost(link, item, Stage.ARRIVED)
                books.stop(link, item, missing[item.uuid], ErrorClass.TRANSIENT)

    async def _chain(self, link: Link, books: Books) -> None:
        """Make the source's chains findable at the destination, over the runs that have come."""
        there = {i.run for i in link.expected() if books.stage(link, i) is Stage.INGESTED}
        chains = []
        for name, children in link.chains.items():
            found = [child for child in children if child in there]
            if found:
                there.add(name)
                chains.append({"name": name, "children": found, "mode": "prepend"})
        if chains and not link.stays:
            await self._butlers.ask(link.destination, "chain", chains=chains)

    async def _clear(self, link: Link, books: Books) -> None:
        """Remove the landing's names of files that the Butler has."""
        if link.stays or not link.items:
            return
        place = await self._landing(books.manifest, link)
        for item in link.expected():
            if books.stage(link, item) is Stage.INGESTED:
                await self._carrier.remove(link.destination, _place(place, item))
                await self._carrier.remove(link.destination, f"{_place(place, item)}.part")
        await self._carrier.remove(link.destination, place)


def raise_if_done(link: Link, books: Books, error: DriverError) -> None:
    """An error that left no dataset behind (the chains could not be made) must not pass unseen."""
    if all(books.stage(link, item) is Stage.INGESTED for item in link.expected()):
        raise error


def note(books: Books, link: Link, item: Item, sent: Sent) -> None:
    """Write down what became of a dataset's file."""
    if sent.arrived:
        books.reached(link, item, Stage.ARRIVED)
        return
    if sent.written:
        books.reached(link, item, Stage.SENT)
    books.stop(link, item, sent.reason, sent.error_class)


def verdict(movement: Movement, books: Books, *, judge: bool) -> dict[str, Any]:
    """The fields of the outcome of a stage; only a stage that judges fails for gaps that cannot be
    closed by going on."""
    gaps = books.gaps()
    entries = books.entries()
    expected = sum(len(link.expected()) for link in books.manifest.links)
    done = expected - len(gaps)
    size = sum(entry["bytes"] for entry in entries)
    word = books.goal.name.lower()
    if not books.manifest.links:
        return {"ok": True, "message": nothing(movement), "books": entries}
    message = f"{done} of {expected} datasets {word}, {size} bytes"
    left_out = sum(entry["not_for_here"] for entry in entries)
    if left_out:
        message += f"; {left_out} not for there"
    if not gaps:
        return {"ok": True, "message": message, "books": entries}
    link, item, stop = gaps[0]
    message = (
        f"{movement.group}: {movement.name}: {message}; {len(gaps)} missing, the first is {item.type} "
        f"{item.uuid} from {link.source} to {link.destination}: {stop.reason}"
    )
    error_class = books.error_class()
    if not judge and error_class is ErrorClass.PERMANENT:
        return {"ok": True, "message": message, "books": entries}
    return {
        "ok": False,
        "message": message,
        "error_class": (error_class or ErrorClass.TRANSIENT).value,
        "books": entries,
    }


def _place(directory: str, item: Item) -> str:
    """Where an item's file lands: its own name, which tells its format, after its UUID."""
    return f"{directory}/{item.uuid}-{PurePosixPath(item.file).name[-NAME_MAX:]}"
