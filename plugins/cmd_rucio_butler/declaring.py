"""Making files known to Rucio: looked at where they are, compared, declared, put into one dataset.

Rucio takes a second declaration of a name with other bytes and says nothing, so what it has is
compared first. What has been declared is written down beside the manifest; whether it really is,
the dataset itself is asked.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from cmd_daemon.hooks import ErrorClass
from cmd_local.attempts import read_json, write_durably
from cmd_local.moving.books import Books, Stage
from cmd_local.moving.manifest import Item, Link, Manifest
from cmd_local.moving.orders import Movement
from cmd_local.moving.sending import Meter
from cmd_rucio_butler import naming
from cmd_rucio_butler.asking import RucioButlers
from cmd_rucio_butler.server import Known, NewFile, RucioServer
from cmd_rucio_butler.settings import RucioSettings

PRODUCT = "data_product"
ZIP = "zip_file"

PAGES_AT_ONCE = 2
"""Pages of one movement that the server takes at a time: more hold up each other, and all others' calls."""


@dataclass(frozen=True, slots=True)
class Declared:
    """One file in Rucio and the datasets in it (one, or the members of a zip)."""

    lfn: str
    size: int
    adler32: str
    kind: str
    uuids: tuple[str, ...]


@dataclass(slots=True)
class Declaration:
    """What one link has in Rucio: the dataset and its files by name; or, of inputs that others have put
    there, `others`: their datasets, and the files, each as `SCOPE:NAME`."""

    dataset: str = ""
    files: dict[str, Declared] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    def of(self, uuids: Iterable[str]) -> dict[str, Declared]:
        """The files that hold these datasets, by name."""
        wanted = set(uuids)
        return {lfn: each for lfn, each in self.files.items() if wanted.intersection(each.uuids)}

    def names(self, scope: str) -> list[tuple[str, str]]:
        """Scope and name of the datasets in Rucio; `scope` is that of our own one."""
        own = [(scope, self.dataset)] if self.dataset else []
        return own + [split(each) for each in self.others]

    def uuids(self) -> set[str]:
        """The datasets that are declared."""
        return {uuid for each in self.files.values() for uuid in each.uuids}


def split(did: str) -> tuple[str, str]:
    """Scope and name of a `SCOPE:NAME`."""
    scope, _, name = did.partition(":")
    return scope, name


class Declarations:
    """Declarations in a directory of the daemon's own, one file for each link of a manifest."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def prepare(self) -> None:
        """Make the directory. Raises OSError."""
        self._directory.mkdir(parents=True, exist_ok=True)

    def _path(self, manifest: Manifest, link: Link) -> Path:
        return self._directory / f"{manifest.id}.{link.source}.{link.destination}.json"

    async def load(self, manifest: Manifest, link: Link) -> Declaration:
        """What is written down; nothing if it never was."""
        document = await asyncio.to_thread(read_json, self._path(manifest, link))
        if document is None:
            return Declaration()
        files = [Declared(**{**each, "uuids": tuple(each["uuids"])}) for each in document["files"]]
        others = document.get("others") or []
        return Declaration(document["dataset"], {each.lfn: each for each in files}, others)

    async def keep(self, manifest: Manifest, link: Link, made: Declaration) -> None:
        """Write it down. Raises OSError."""
        document = {
            "dataset": made.dataset,
            "files": [asdict(each) for each in made.files.values()],
            "others": made.others,
        }
        await asyncio.to_thread(write_durably, self._path(manifest, link), json.dumps(document))


class Declarer:
    """Declares what one link sends. `all_in_zips` is for archives."""

    def __init__(
        self,
        movement: Movement,
        butlers: RucioButlers,
        server: RucioServer,
        source: RucioSettings,
        kept: Declarations,
        meter: Meter,
        *,
        all_in_zips: bool = False,
    ) -> None:
        self._movement = movement
        self._butlers = butlers
        self._server = server
        self._source = source
        self._kept = kept
        self._meter = meter
        self._patterns = ["*"] if all_in_zips else source.bundle

    async def declare(
        self, manifest: Manifest, link: Link, items: Sequence[Item], books: Books
    ) -> Declaration:
        """Make the items' files known and put them into the link's dataset. Those that are, come as
        far as SENT in the books, the others get their reason. Raises DriverError, OSError."""
        made = await self._kept.load(manifest, link)
        wanted = {item.uuid: item for item in items}
        content = await self._dataset(made, link, set(wanted))
        held = {
            uuid
            for each in made.of(wanted).values()
            if content.get(each.lfn) == Known(each.size, each.adler32)
            for uuid in each.uuids
        }
        singles = [u for u, item in wanted.items() if u not in held and not self._packed(item)]
        new = await self._singles(made.dataset, link, singles, wanted, books, content)
        for share in self._shares(link):
            uuids = [item.uuid for item in share]
            if held.issuperset(uuids) or not wanted.keys() & set(uuids):
                continue
            directory = naming.zip_directory(self._movement)
            told = await self._butlers.zipped(link.source, uuids, directory)
            file = self._declared(told["lfn"], told, ZIP, tuple(uuids))
            new += await self._take(made.dataset, link, [(file, "")], wanted, books, content)
        made.files.update({each.lfn: each for each in new})
        await self._kept.keep(manifest, link, made)
        for uuid in (held | {uuid for each in new for uuid in each.uuids}) & wanted.keys():
            books.reached(link, wanted[uuid], Stage.SENT)
        return made

    async def _singles(
        self,
        dataset: str,
        link: Link,
        singles: Sequence[str],
        wanted: Mapping[str, Item],
        books: Books,
        content: Mapping[str, Known],
    ) -> list[Declared]:
        """Declare files of one dataset each; those that are in the dataset then. The source looks at
        the next page while the server takes the former ones."""
        taking: list[asyncio.Task[list[Declared]]] = []
        under_way: set[asyncio.Task[list[Declared]]] = set()
        try:
            async for files, missing in self._butlers.files(link.source, singles):
                for uuid, reason in missing.items():
                    self._stop(books, link, wanted, [uuid], f"{reason} (at {link.source})")
                page = [
                    (self._declared(each["lfn"], each, PRODUCT, (each["uuid"],)), each["sidecar"])
                    for each in files
                ]
                if len(under_way) == PAGES_AT_ONCE:
                    over, under_way = await asyncio.wait(
                        under_way, return_when=asyncio.FIRST_COMPLETED
                    )
                    for each in over:
                        each.result()
                taking.append(
                    asyncio.create_task(self._take(dataset, link, page, wanted, books, content))
                )
                under_way.add(taking[-1])
            return [file for each in taking for file in await each]
        finally:
            for each in under_way:
                each.cancel()
            await asyncio.gather(*taking, return_exceptions=True)

    def _declared(
        self, lfn: str, told: Mapping[str, object], kind: str, uuids: tuple[str, ...]
    ) -> Declared:
        size, adler32 = int(str(told["size"])), str(told["adler32"])
        return Declared(f"{self._source.prefix}{lfn}", size, adler32, kind, uuids)

    async def _dataset(
        self, made: Declaration, link: Link, wanted: set[str]
    ) -> Mapping[str, Known]:
        """Choose the dataset and make it where it is not there; what is in it. A closed one will do
        only if it has all that is wanted."""
        server, generation = self._server, 0
        while True:
            generation += 1
            name = naming.dataset_name(self._movement, link, generation)
            found = await server.dataset(name)
            content = await server.content(name) if found is not None else {}
            held = {u for each in made.files.values() if each.lfn in content for u in each.uuids}
            if found is not None and not found.get("open", True) and not wanted <= held:
                continue
            if found is None:
                await server.add_dataset(name)
            if made.dataset != name:
                step = naming.step_container(self._movement)
                campaign = naming.campaign_container(self._movement)
                await server.add_container(campaign)
                await server.add_container(step)
                await server.attach(campaign, [step])
                await server.attach(step, [name])
                made.dataset = name
            return content

    async def _take(
        self,
        dataset: str,
        link: Link,
        page: Sequence[tuple[Declared, str]],
        wanted: Mapping[str, Item],
        books: Books,
        content: Mapping[str, Known],
    ) -> list[Declared]:
        """Declare a page of files with their sidecars; those that are in the dataset then."""
        looked_up = [each.lfn for each, _ in page if each.lfn not in content]
        known = {**content, **await self._server.known_files(looked_up)}
        taken: list[Declared] = []
        fresh: list[NewFile] = []
        for each, sidecar in page:
            problem = naming.lfn_problem(each.lfn)
            there = known.get(each.lfn)
            if not problem and there is not None and there != Known(each.size, each.adler32):
                problem = (
                    f"Rucio has other bytes under the name {each.lfn}: {there.size} bytes, Adler-32 "
                    f"{there.adler32}, where the file at {link.source} has {each.size} and "
                    f"{each.adler32}"
                )
            if problem:
                self._stop(books, link, wanted, each.uuids, problem)
                continue
            taken.append(each)
            if each.lfn not in content:
                fresh.append(NewFile(each.lfn, each.size, each.adler32, each.kind, sidecar))
        for start in range(0, len(fresh), self._source.chunk):
            chunk = fresh[start : start + self._source.chunk]
            await self._server.add_files(self._source.rse, chunk)
            await self._server.attach(dataset, [each.lfn for each in chunk])
        self._meter.done += sum(len(each.uuids) for each in taken)
        return taken

    def _stop(
        self,
        books: Books,
        link: Link,
        wanted: Mapping[str, Item],
        uuids: Iterable[str],
        reason: str,
    ) -> None:
        for uuid in uuids:
            if uuid in wanted:
                books.stop(link, wanted[uuid], reason, ErrorClass.PERMANENT)
                self._meter.failed += 1

    def _packed(self, item: Item) -> bool:
        return bool(item.file) and any(fnmatchcase(item.type, each) for each in self._patterns)

    def _shares(self, link: Link) -> list[list[Item]]:
        """The datasets that go as zips, in shares for one zip each: the same ones whenever it is
        asked, whatever of them has been moved by then."""
        packed = [item for item in link.expected() if self._packed(item)]
        shares: list[list[Item]] = []
        room, run = 0, ""
        for item in sorted(packed, key=lambda item: (item.run, item.uuid)):
            full = not shares or len(shares[-1]) >= self._source.bundle_members
            if full or item.run != run or item.size > room:
                shares.append([])
                room, run = self._source.bundle_bytes, item.run
            shares[-1].append(item)
            room -= item.size
        return shares
