"""Staging of inputs that are in Rucio already, where no Butler of the campaign need have them.

Such inputs are whole datasets that others have put there: raw images, calibrations, reference
catalogues, often in another scope and at other RSEs. Their names come from the campaign file
(`existing`) or from the facilities' `inputs`; one that has no files yet is waited for. A rule brings
each of them, and the agent takes the files in where they lie, by what Rubin's tools said of each when
it was registered. Types without such a name are brought from the other Butlers, as any stage does.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_local.moving.asking import pages
from cmd_local.moving.books import Books, Stage
from cmd_local.moving.manifest import Item, Link, Manifest
from cmd_local.moving.planning import chains_of, make_manifest
from cmd_rucio_butler.asking import RucioButlers
from cmd_rucio_butler.declaring import PRODUCT, ZIP, Declaration, Declared, split
from cmd_rucio_butler.locator import WILD, filled, named
from cmd_rucio_butler.mover import Flight, RucioMover
from cmd_rucio_butler.rules import RuleEnd
from cmd_rucio_butler.server import Known, Sidecar
from cmd_rucio_butler.settings import NAME, RucioSettings, ScopeSettings, rucio_settings

RUCIO = "Rucio"
"""The source of such inputs in manifests and books: which RSE it is, Rucio decides."""

DIMENSIONS = "dim_file"
UNLISTED = (ZIP, DIMENSIONS)
"""Kinds of files of which nobody says beforehand which datasets they hold."""

Dataset = tuple[str, str]
"""Scope and name of a dataset in Rucio."""


class StageMover(RucioMover):
    """Does the jobs of a stage: see `RucioMover`."""

    _taken: frozenset[str] = frozenset()

    async def _plan(self) -> Manifest:
        movement = self._movement
        wanted = self._wanted_datasets()
        rest = tuple(each for each in movement.datasets or () if each not in wanted)
        if rest or not wanted:
            manifest = await make_manifest(replace(movement, datasets=rest), self._butlers)
        else:
            order = movement.order
            manifest = Manifest(
                movement.manifest_id(), order.campaign, order.step, order.group, movement.name
            )
        if wanted:
            link, made = Link(RUCIO, movement.facility), Declaration()
            for dataset in await self._filled(
                {each for found in wanted.values() for each in found}
            ):
                await self._read(dataset, link, made)
            link.chains = await self._chains(link)
            await self._declarations.keep(manifest, link, made)
            manifest.links.append(link)
        return manifest

    async def _chains(self, link: Link) -> dict[str, list[str]]:
        """The chains that lead to the inputs at a facility whose Butler knows them, if none does at the
        destination; a facility that cannot be asked is none."""
        if not await self._unreached(link, link.items):
            return {}
        for facility in self._movement.sources:
            try:
                like = Link(facility, link.destination, link.items)
                found = await chains_of(self._movement, self._butlers, like)
            except DriverError:
                continue
            if found:
                return found
        return {}

    async def _unreached(self, link: Link, items: Sequence[Item]) -> list[str]:
        """The runs of the items to which none of the step's collections leads at the destination.
        Calibrations are found in other ways."""
        runs = {
            item.run
            for item in items
            if item.type not in UNLISTED and not link.types[item.type]["is_calibration"]
        }
        ahead = list(self._movement.collections)
        seen: set[str] = set()
        while ahead and not runs <= seen:
            seen.update(ahead)
            infos = await self._butlers.existing(link.destination, ahead)
            ahead = [c for info in infos.values() for c in info["children"] if c not in seen]
        return sorted(runs - seen)

    def _wanted_datasets(self) -> dict[str, list[Dataset]]:
        """The names, or patterns of names, of the datasets to be brought, by dataset type. Raises
        DriverError PERMANENT."""
        movement = self._movement
        infos = [self._host.facility(name) for name in movement.facilities]
        told = [self._rucio, *(rucio_settings(each) for each in infos if NAME in each.settings)]
        wanted: dict[str, list[Dataset]] = {}
        for each in movement.datasets or ():
            pattern = movement.existing.get(each)
            if pattern is None:
                found = named(each, movement.where, told)
            else:
                found = filled(pattern, movement.where, self._rucio)
                if not found:
                    raise self._wrong(
                        f"the data query '{movement.where}' does not fix each dimension of "
                        f"'{pattern}', where the stage has its {each}"
                    )
            if found:
                wanted[each] = [(scope, name) for _, scope, name in found]
        for scope, _ in (name for found in wanted.values() for name in found):
            self._place(scope)
        return wanted

    async def _filled(self, wanted: Iterable[Dataset]) -> list[Dataset]:
        """The datasets that the names stand for, as soon as each has files. Raises DriverError."""
        names = sorted(wanted)
        while True:
            lacking: list[Dataset] = []
            found: dict[Dataset, None] = {}
            for scope, name in names:
                server = self._server.within(scope)
                there = await server.datasets_named(name) if WILD in name else [name]
                filled_ones = [each for each in there if await server.content(each)]
                found.update({(scope, each): None for each in filled_ones})
                if not filled_ones or len(filled_ones) < len(there):
                    lacking.append((scope, name))
            if not lacking:
                return list(found)
            self._meter.files, self._meter.done = len(names), len(names) - len(lacking)
            self._meter.note = f"not yet: Rucio has no files of {':'.join(lacking[0])}"
            async with self._seat.away():
                await asyncio.sleep(self._rucio.poll_s)

    async def _read(self, dataset: Dataset, link: Link, made: Declaration) -> None:
        """Put a dataset's files into the link. Raises DriverError: PERMANENT if nobody says what one is."""
        scope, name = dataset
        server = self._server.within(scope)
        content = await server.content(name)
        said = await server.sidecars(list(content))
        made.others.append(f"{scope}:{name}")
        unsaid = []
        seen = {item.uuid for item in link.items}
        for lfn, known in content.items():
            item = _item(f"{scope}:{lfn}", said.get(lfn), known, link.types)
            if item is None:
                unsaid.append(lfn)
            elif item.uuid not in seen:
                link.items.append(item)
                kind = item.type if item.type in UNLISTED else PRODUCT
                made.files[item.file] = Declared(
                    item.file, known.size, known.adler32, kind, (item.uuid,)
                )
        if unsaid:
            raise self._wrong(
                f"{len(unsaid)} of {len(content)} files of {scope}:{name} cannot be taken in, since Rucio "
                f"has no rubin_sidecar of them that says what they are; the first is {unsaid[0]}: "
                "register them as Rubin's rucio-register does, then retry"
            )

    def _wrong(self, words: str) -> DriverError:
        return DriverError(ErrorClass.PERMANENT, f"{self._movement.group}: stage: {words}")

    def _place(self, scope: str) -> ScopeSettings | RucioSettings:
        """Where the facility has files of a scope. Raises DriverError PERMANENT."""
        mine = self._rucio
        if scope in mine.scopes:
            return mine.scopes[scope]
        if scope == mine.scope:
            return mine
        where = self._movement.facility
        raise self._wrong(
            f"nobody says where {where} has files of the scope '{scope}': add "
            f"[facility.{where}.settings.rucio.scopes.{scope}] with rse and root"
        )

    def _rse(self, link: Link, scope: str) -> str:
        return self._place(scope).rse if link.source == RUCIO else super()._rse(link, scope)

    async def _missing(self, link: Link, items: Sequence[Item]) -> dict[str, str]:
        """See `Mover`; zips and files of dimensions are there if they were taken in just now."""
        listed = [item for item in items if item.type not in UNLISTED]
        missing = await super()._missing(link, listed) if listed else {}
        for item in items:
            if item.type in UNLISTED and item.uuid not in self._taken:
                missing[item.uuid] = f"{link.destination} has not taken it in"
        return missing

    async def _declare(
        self, manifest: Manifest, link: Link, items: Sequence[Item], books: Books
    ) -> Declaration:
        if link.source != RUCIO:
            return await super()._declare(manifest, link, items, books)
        made = await self._declarations.load(manifest, link)
        self._declared[link.source, link.destination] = made
        for item in items:
            books.reached(link, item, Stage.SENT)
        return made

    async def _fly(
        self, manifest: Manifest, link: Link, left: Sequence[Item], books: Books
    ) -> list[Flight]:
        if link.source != RUCIO:
            return await super()._fly(manifest, link, left, books)
        made = await self._declare(manifest, link, left, books)
        await self._pin(link, made)
        flights = []
        for scope, name in made.names(self._rucio.scope):
            keeper = self._keeper(link, scope)
            rse = self._rse(link, scope)
            rule = await keeper.ensure(name, rse, len(made.files), self._rucio.lifetime_s)
            flights.append(Flight(link, keeper, rule, len(made.files)))
        return flights

    async def _pin(self, link: Link, made: Declaration) -> None:
        """Hold the datasets at the campaign's facilities that have them whole and want that."""
        for mine in self._pinning():
            for scope, name in made.names(self._rucio.scope):
                for each in await self._server.within(scope).counted_replicas(name):
                    if each.whole and each.rse in mine.rses:
                        keeper = self._keeper(link, scope)
                        await keeper.pin(name, each.rse, each.files, mine.pin_s)

    def _pinning(self) -> list[RucioSettings]:
        infos = [self._host.facility(name) for name in self._movement.sources]
        told = [rucio_settings(each) for each in infos if NAME in each.settings]
        return [each for each in told if each.pin_s]

    def _joined(self, link: Link, ends: Sequence[RuleEnd]) -> RuleEnd:
        """What became of all rules of a link, files by `SCOPE:NAME`."""
        if link.source != RUCIO:
            return super()._joined(link, ends)
        bad = [each for each in ends if each.unmoved]
        if not bad:
            return ends[0]
        unmoved = {
            f"{each.rule.scope}:{lfn}" if lfn else "": words
            for each in reversed(bad)
            for lfn, words in each.unmoved.items()
        }
        return replace(bad[0], unmoved=unmoved)

    async def _lost(self, link: Link, files: Mapping[str, Declared]) -> dict[str, str]:
        if link.source != RUCIO:
            return await super()._lost(link, files)
        lost: dict[str, str] = {}
        for scope, mine in _by_scope(files).items():
            place, prefix = self._lies(scope)
            told = await self._rucio_butlers.not_arrived(
                link.destination,
                [(lfn.removeprefix(prefix), mine[lfn].size) for lfn in mine],
                place,
            )
            lost.update({f"{scope}:{prefix}{lfn}": reason for lfn, reason in told.items()})
        return lost

    def _lies(self, scope: str) -> tuple[str, str]:
        """The directory of a scope's files ("": the datastore's), and what their names have before
        their path in it."""
        place = self._place(scope)
        prefix = place.prefix if isinstance(place, RucioSettings) else ""
        return str(place.root or ""), prefix

    async def _take_in(self, link: Link, books: Books) -> None:
        """See `Mover`: files of dimensions come first, then zips, then the others."""
        if link.source != RUCIO:
            await super()._take_in(link, books)
            return
        try:
            made = self._declared.get((link.source, link.destination), Declaration())
            arrived = [i for i in link.expected() if books.stage(link, i) is Stage.ARRIVED]
            for kind in reversed(UNLISTED):
                for item in (each for each in arrived if each.type == kind):
                    await self._take_whole(link, item, books)
            for scope, files in _by_scope({i.file: made.files[i.file] for i in arrived}).items():
                items = {each.file: each for each in arrived if each.type not in UNLISTED}
                mine = [lfn for lfn in files if f"{scope}:{lfn}" in items]
                for page in pages(mine, self._settings.page):
                    await self._take_page(link, scope, page, items, books)
            await self._verify(link, books)
            await self._chain(link, books)
            await self._check_chains(link, books)
        except DriverError as error:
            self._stop_all(link, books, Stage.INGESTED, error)
            return
        await self._clear(link, books)

    async def _take_whole(self, link: Link, item: Item, books: Books) -> None:
        """Have a zip or a file of dimensions taken in."""
        scope, lfn = split(item.file)
        root, prefix = self._lies(scope)
        adopt = RucioButlers.adopt_zip if item.type == ZIP else RucioButlers.adopt_dimensions
        rejected = await adopt(
            self._rucio_butlers, link.destination, lfn.removeprefix(prefix), item.size, root
        )
        if rejected is None:
            self._taken |= {item.uuid}
        else:
            reason = f"{link.destination}: {rejected['reason']}"
            books.stop(link, item, reason, ErrorClass(rejected["class"]))

    async def _take_page(
        self,
        link: Link,
        scope: str,
        page: Sequence[str],
        items: Mapping[str, Item],
        books: Books,
    ) -> None:
        root, prefix = self._lies(scope)
        said = await self._server.within(scope).sidecars(page)
        told = [
            {
                "uuid": items[f"{scope}:{lfn}"].uuid,
                "lfn": lfn.removeprefix(prefix),
                "size": items[f"{scope}:{lfn}"].size,
                "sidecar": said[lfn].text if lfn in said else "",
            }
            for lfn in page
        ]
        by_uuid = {item.uuid: item for item in items.values()}
        for each in await self._rucio_butlers.adopt_sidecars(link.destination, told, root):
            reason = f"{link.destination}: {each['reason']}"
            books.stop(link, by_uuid[each["uuid"]], reason, ErrorClass(each["class"]))

    async def _check_chains(self, link: Link, books: Books) -> None:
        """Inputs that the step's collections do not lead to would be overlooked by its pipeline."""
        there = [i for i in link.expected() if books.stage(link, i) is Stage.INGESTED]
        lost = await self._unreached(link, there)
        if lost:
            self._refused = self._wrong(
                f"the inputs were taken in at {link.destination} in {', '.join(lost[:3])}, to which none "
                f"of the step's collections ({', '.join(self._movement.collections)}) leads there: chain "
                "them, then retry"
            )

    async def _clear(self, link: Link, books: Books) -> None:
        """See `Mover`: datasets of others stay as they are; only our pins go."""
        if link.source != RUCIO:
            await super()._clear(link, books)
            return
        if any(books.stage(link, item) < Stage.INGESTED for item in link.expected()):
            return
        made = await self._declarations.load(books.manifest, link)
        for rse in {rse for mine in self._pinning() for rse in mine.rses}:
            for scope, name in made.names(self._rucio.scope):
                await self._keeper(link, scope).release(name, rse)


def _by_scope(files: Mapping[str, Declared]) -> dict[str, dict[str, Declared]]:
    """Files by scope, each by its name in it."""
    found: dict[str, dict[str, Declared]] = {}
    for did, each in files.items():
        scope, lfn = split(did)
        found.setdefault(scope, {})[lfn] = each
    return found


def _item(
    did: str, said: Sidecar | None, known: Known, types: dict[str, dict[str, Any]]
) -> Item | None:
    """A file as a manifest has it; None if nobody says what it is. Its dataset type is put into `types`."""
    if said is not None and said.kind in UNLISTED:
        return Item(did, said.kind, {}, "", file=did, size=known.size)
    try:
        told = json.loads(said.text) if said is not None else {}
        definition = told["datasetType"]
        values = told["dataId"]["dataId"]
        names = list(definition["dimensions"])
        item = Item(
            uuid=str(told["id"]),
            type=str(definition["name"]),
            data_id={name: values[name] for name in names},
            run=str(told["run"]),
            file=did,
            size=known.size,
        )
    except (ValueError, KeyError, TypeError):
        return None
    types.setdefault(
        item.type,
        {
            "dimensions": names,
            "storage_class": str(definition.get("storageClass") or ""),
            "is_calibration": bool(definition.get("isCalibration")),
        },
    )
    return item
