"""The stages of a movement between Butlers with Rucio as the carrier: register, transfer, ingest.

register declares the files at their source and puts them into one dataset, transfer makes a rule for
it at the destination and waits for its end, ingest has the agent there take the files in where they
lie, zips first, and counts by UUID. Meaning and order are those of the embedded mover: each stage
looks how far things are and does what is left, and only the ingest judges. A rule that is done is no
proof: what the destination's agent sees has arrived, what its Butler holds is ingested.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmd_daemon.hooks import DriverError, ErrorClass, Host
from cmd_local.moving.books import Books, Stage
from cmd_local.moving.carrier import Carrier
from cmd_local.moving.manifest import Item, Link, Manifest, Manifests
from cmd_local.moving.movement import Mover, verdict
from cmd_local.moving.orders import Movement
from cmd_local.moving.sending import Meter
from cmd_rucio_butler.asking import RucioButlers
from cmd_rucio_butler.commands import Wanted
from cmd_rucio_butler.declaring import ZIP, Declaration, Declarations, Declared, Declarer
from cmd_rucio_butler.room import Seat
from cmd_rucio_butler.rules import RuleEnd, RuleKeeper
from cmd_rucio_butler.server import RucioServer, Rule
from cmd_rucio_butler.settings import RucioSettings, settings_at
from cmd_rucio_butler.watching import RuleWatch

INGEST_BOOSTS = 1
"""An ingest comes after a transfer that has boosted the rule as often as it may."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A link whose files a rule brings."""

    link: Link
    keeper: RuleKeeper
    rule: Rule
    files: int


class RucioMover(Mover):
    """Does the jobs of one movement, in its `seat`. `settings` are those of the group's own facility."""

    def __init__(
        self,
        movement: Movement,
        host: Host,
        butlers: RucioButlers,
        carrier: Carrier,
        manifests: Manifests,
        declarations: Declarations,
        server: RucioServer,
        watch: RuleWatch,
        settings: RucioSettings,
        meter: Meter,
        seat: Seat,
        wanted: Wanted,
    ) -> None:
        super().__init__(movement, butlers, carrier, manifests, settings.moving, meter)
        self._seat = seat
        self._wanted = wanted
        self._rucio_butlers = butlers
        self._host = host
        self._declarations = declarations
        self._server = server
        self._watch = watch
        self._rucio = settings
        self._boosts: int | None = None
        self._declared: dict[tuple[str, str], Declaration] = {}
        self._rule_ok: Counter[tuple[str, str, str]] = Counter()
        self._there = 0
        self._rules: dict[str, Rule] = {}
        self._refused: DriverError | None = None

    async def register(self) -> dict[str, Any]:
        """Write the manifest anew and declare its files; the fields of an outcome. Raises DriverError,
        OSError."""
        self._meter.start("asking the sources", 0)
        manifest = await self._plan()
        await self._manifests.keep(manifest)
        books = Books(manifest, Stage.SENT)
        self._meter.start("declaring", sum(len(link.expected()) for link in manifest.links))
        await asyncio.gather(
            *(self._register_link(manifest, link, books) for link in manifest.links)
        )
        outcome = self._told(verdict(self._movement, books, judge=False))
        outcome["message"] = outcome["message"].replace(" datasets sent,", " datasets registered,")
        return outcome

    async def transfer(self) -> dict[str, Any]:
        """Have Rucio bring the files; the fields of an outcome. Raises DriverError, OSError."""
        return self._told(await super().transfer())

    async def ingest(self) -> dict[str, Any]:
        """Take in what has arrived, and verify; the fields of an outcome. Raises DriverError, OSError."""
        self._boosts = INGEST_BOOSTS
        return self._told(await super().ingest())

    async def withdraw(self) -> None:
        """Let the rules of a transfer go that brought nothing a Butler holds by now. Raises
        DriverError."""
        manifest = await self._manifests.load(self._movement.manifest_id())
        if manifest is None:
            return
        for link in manifest.links:
            made = await self._declarations.load(manifest, link)
            items = link.expected()
            if link.stays or len(await self._missing(link, items)) < len(items):
                continue
            for scope, name in made.names(self._rucio.scope):
                await self._keeper(link, scope).release(name, self._rse(link, scope))

    def _at(self, facility: str) -> RucioSettings:
        return settings_at(self._host, facility)

    def _rse(self, link: Link, scope: str) -> str:
        """The RSE to which a link's files of a scope go. Raises DriverError PERMANENT."""
        return self._at(link.destination).rse

    def _keeper(self, link: Link, scope: str = "") -> RuleKeeper:
        return RuleKeeper(
            self._movement,
            link,
            self._server.within(scope) if scope else self._server,
            self._watch,
            self._rucio,
            self._wanted,
            self._boosts,
        )

    def _told(self, outcome: dict[str, Any]) -> dict[str, Any]:
        """The outcome with what is Rucio's own in its books: registered, and moved as its rule says."""
        for entry in outcome["books"]:
            key = (entry["source"], entry["destination"], entry["type"])
            entry["registered"] = entry["sent"]
            entry["rule_ok"] = self._rule_ok[key]
        if outcome["ok"] and self._refused is not None:
            # Not some files but a whole way is closed: going on to the next stage is of no use.
            return {
                **outcome,
                "ok": False,
                "error_class": ErrorClass.PERMANENT.value,
                "message": str(self._refused),
            }
        return outcome

    async def _look(self, link: Link, books: Books) -> list[Item]:
        """See what the destination holds already; what it does not. Raises DriverError."""
        items = link.expected()
        missing = await self._missing(link, items)
        for item in items:
            if item.uuid not in missing:
                books.reached(link, item, Stage.INGESTED)
                self._rule_ok[link.source, link.destination, item.type] += 1
                self._there += 1
                self._meter.done += 1
            elif link.stays:
                books.stop(link, item, missing[item.uuid], ErrorClass.PERMANENT)
                self._meter.failed += 1
        return [] if link.stays else [item for item in items if item.uuid in missing]

    async def _register_link(self, manifest: Manifest, link: Link, books: Books) -> None:
        try:
            left = await self._look(link, books)
            if left:
                await self._declare(manifest, link, left, books)
        except DriverError as error:
            self._stop_all(link, books, Stage.SENT, error)

    async def _declare(
        self, manifest: Manifest, link: Link, items: Sequence[Item], books: Books
    ) -> Declaration:
        source = self._at(link.source)
        self._at(link.destination)
        declarer = Declarer(
            self._movement,
            self._rucio_butlers,
            self._server,
            source,
            self._declarations,
            self._meter if self._movement.stage == "register" else Meter(),
        )
        made = await declarer.declare(manifest, link, items, books)
        self._declared[link.source, link.destination] = made
        if source.pin_s and made.of(item.uuid for item in items):
            await self._keeper(link).pin(made.dataset, source.rse, len(made.files), source.pin_s)
        return made

    async def _bring(self, manifest: Manifest, books: Books) -> None:
        """See `Mover`: here Rucio brings the files. Nobody holds their list for that time; it is read
        again when it is over."""
        self._meter.start("sending", sum(len(link.expected()) for link in manifest.links))
        begun = await asyncio.gather(
            *(self._set_off(manifest, link, books) for link in manifest.links)
        )
        await self._wanted.settle()
        flights = [flight for each in begun for flight in each]
        if all(flight.rule.state == "OK" for flight in flights):
            ends = await self._ends(flights)
        else:
            self._put_away(manifest, books)
            async with self._seat.away():
                ends = await self._ends(flights)
            await self._take_up(manifest, books)
        landed: dict[tuple[str, str], list[RuleEnd | DriverError]] = {}
        for flight, end in zip(flights, ends, strict=True):
            landed.setdefault((flight.link.source, flight.link.destination), []).append(end)
        landings = [link for link in manifest.links if (link.source, link.destination) in landed]
        await asyncio.gather(
            *(self._land(each, landed[each.source, each.destination], books) for each in landings)
        )

    async def _set_off(self, manifest: Manifest, link: Link, books: Books) -> list[Flight]:
        """Have rules for what the destination does not hold; none if there is nothing to wait for."""
        try:
            left = await self._look(link, books)
            return await self._fly(manifest, link, left, books) if left else []
        except DriverError as error:
            self._stop_all(link, books, Stage.ARRIVED, error)
            return []

    async def _fly(
        self, manifest: Manifest, link: Link, left: Sequence[Item], books: Books
    ) -> list[Flight]:
        made = await self._declare(manifest, link, left, books)
        files = len(made.of(item.uuid for item in left))
        if not files:
            return []
        keeper = self._keeper(link)
        rse = self._at(link.destination).rse
        rule = await keeper.ensure(made.dataset, rse, files, self._rucio.lifetime_s)
        return [Flight(link, keeper, rule, files)]

    async def _ends(self, flights: Sequence[Flight]) -> list[RuleEnd | DriverError]:
        """Wait for the end of all rules; what became of each."""

        async def end(flight: Flight) -> RuleEnd | DriverError:
            try:
                return await flight.keeper.see_through(flight.rule, flight.files, self._tell)
            except DriverError as error:
                return error

        return await asyncio.gather(*(end(flight) for flight in flights))

    def _put_away(self, manifest: Manifest, books: Books) -> None:
        """Forget what is written down anyway."""
        for link in manifest.links:
            link.items = []
        self._declared.clear()
        books.stages = {
            key: stage for key, stage in books.stages.items() if stage is Stage.INGESTED
        }

    async def _take_up(self, manifest: Manifest, books: Books) -> None:
        """Undo `_put_away`. Raises DriverError if it cannot be."""
        kept = await self._manifests.load(manifest.id)
        items = {} if kept is None else {(k.source, k.destination): k.items for k in kept.links}
        for link in manifest.links:
            way = (link.source, link.destination)
            if way not in items:
                raise DriverError(
                    ErrorClass.TRANSIENT,
                    f"{self._movement.group}: the manifest {manifest.id} was made anew while Rucio "
                    "moved its files",
                )
            link.items = items[way]
            made = self._declared[way] = await self._declarations.load(manifest, link)
            declared = made.uuids()
            for item in link.expected():
                if item.uuid in declared and (*way, item.uuid) not in books.stops:
                    books.reached(link, item, Stage.SENT)

    async def _land(self, link: Link, ends: Sequence[RuleEnd | DriverError], books: Books) -> None:
        """Note what came of a link's rules."""
        try:
            told: list[RuleEnd] = []
            for end in ends:
                if isinstance(end, DriverError):
                    raise end
                told.append(end)
            left = [i for i in link.expected() if books.stage(link, i) < Stage.INGESTED]
            made = self._declared[link.source, link.destination]
            await self._arrived(link, left, made, self._joined(link, told), books)
        except DriverError as error:
            self._stop_all(link, books, Stage.ARRIVED, error)

    def _joined(self, link: Link, ends: Sequence[RuleEnd]) -> RuleEnd:
        """What became of all rules of a link, which has one."""
        (end,) = ends
        return end

    def _tell(self, rule: Rule) -> None:
        """Take note of how far a rule is."""
        self._rules[rule.id] = rule
        rules = self._rules.values()
        self._meter.done = self._there + sum(each.ok for each in rules)
        self._meter.failed = max(0, sum(each.stuck for each in rules))
        self._meter.note = f"Rucio: {rule.state.lower()} ({rule.ok} of {rule.files} files)"

    async def _arrived(
        self, link: Link, left: Sequence[Item], made: Declaration, end: RuleEnd, books: Books
    ) -> None:
        """Note what has arrived, as the destination's agent sees it, and why the rest has not."""
        files = made.of(item.uuid for item in left)
        lost = await self._lost(link, files)
        if not end.unmoved:
            there = [lfn for lfn in files if lfn not in lost]
            await self._keeper(link).regain(end.rule, there)
        by_uuid = {uuid: each for each in files.values() for uuid in each.uuids}
        for item in left:
            file = by_uuid.get(item.uuid)
            if file is None:
                continue
            reason = lost.get(file.lfn)
            told = end.unmoved.get(file.lfn)
            if told is None:
                moved = not end.unmoved or not reason
                self._rule_ok[link.source, link.destination, item.type] += moved
            if reason is None and told is None:
                books.reached(link, item, Stage.ARRIVED)
            elif not end.unmoved:
                words = (
                    f"Rucio says that it is at {end.rule.rse}, but {reason}: declare it bad there, "
                    "then redrive"
                )
                books.stop(link, item, words, ErrorClass.PERMANENT)
            else:
                words = told or end.unmoved.get("", str(reason))
                books.stop(link, item, words, end.error_class)

    async def _lost(self, link: Link, files: Mapping[str, Declared]) -> dict[str, str]:
        """Those of the files that are not at the destination, and why. Raises DriverError."""
        prefix = self._at(link.destination).prefix
        lost = await self._rucio_butlers.not_arrived(
            link.destination,
            [(lfn.removeprefix(prefix), each.size) for lfn, each in files.items()],
        )
        return {f"{prefix}{lfn}": reason for lfn, reason in lost.items()}

    async def _take_in(self, link: Link, books: Books) -> None:
        """See `Mover`: zips come before the others."""
        made = self._declared.get((link.source, link.destination), Declaration())
        arrived = {i.uuid: i for i in link.expected() if books.stage(link, i) is Stage.ARRIVED}
        zips = [z for z in made.of(arrived).values() if z.kind == ZIP]
        prefix = self._at(link.destination).prefix if zips else ""
        try:
            for each in zips:
                items = [arrived[uuid] for uuid in each.uuids if uuid in arrived]
                await self._dimensions(link, items)
                rejected = await self._rucio_butlers.adopt_zip(
                    link.destination, each.lfn.removeprefix(prefix), each.size
                )
                for item in items:
                    if rejected is None:
                        books.reached(link, item, Stage.INGESTED)
                    else:
                        reason = f"{link.destination}: {rejected['reason']}"
                        books.stop(link, item, reason, ErrorClass(rejected["class"]))
        except DriverError as error:
            self._stop_all(link, books, Stage.INGESTED, error)
            return
        await super()._take_in(link, books)

    async def _dimensions(self, link: Link, items: Sequence[Item]) -> None:
        """Bring the dimension records that the items need. A scatter does not: its receivers get
        what is of data they have."""
        if self._movement.name == "scatter":
            return
        for start in range(0, len(items), self._settings.page):
            told = await self._butlers.ask(
                link.source,
                "export_dimensions",
                uuids=[item.uuid for item in items[start : start + self._settings.page]],
            )
            await self._butlers.ask(link.destination, "import_dimensions", records=told["records"])

    async def _ingest(self, link: Link, books: Books, page: Sequence[Item], place: str) -> None:
        """See `Mover`: files are taken in where Rucio put them."""
        made = self._declared.get((link.source, link.destination), Declaration())
        files = {u: each for each in made.files.values() for u in each.uuids}
        singles = [i for i in page if i.uuid in files and files[i.uuid].kind != ZIP]
        if not singles:
            return
        await self._dimensions(link, singles)
        prefix = self._at(link.destination).prefix
        rejected = await self._rucio_butlers.adopt(
            link.destination,
            [{"name": name, **link.types[name]} for name in sorted({i.type for i in singles})],
            [
                {
                    "uuid": item.uuid,
                    "type": item.type,
                    "data_id": item.data_id,
                    "run": item.run,
                    "lfn": files[item.uuid].lfn.removeprefix(prefix),
                    "size": files[item.uuid].size,
                }
                for item in singles
            ],
        )
        items = {item.uuid: item for item in singles}
        for each in rejected:
            reason = f"{link.destination}: {each['reason']}"
            books.stop(link, items[each["uuid"]], reason, ErrorClass(each["class"]))

    async def _landing(self, manifest: Manifest, link: Link) -> str:
        """See `Mover`: files lie where their names say."""
        return ""

    async def _clear(self, link: Link, books: Books) -> None:
        """See `Mover`: a movement that is complete closes its dataset and lets its source go."""
        if any(books.stage(link, item) < Stage.INGESTED for item in link.expected()):
            return
        # Who finds all of it taken in has declared nothing: the one before came no further than that.
        made = self._declared.get((link.source, link.destination))
        made = made or await self._declarations.load(books.manifest, link)
        if not made.dataset:
            return
        source = self._at(link.source)
        if source.pin_s:
            await self._keeper(link).release(made.dataset, source.rse)
        await self._server.close_dataset(made.dataset)

    def _stop_all(self, link: Link, books: Books, goal: Stage, error: DriverError) -> None:
        """What has not come so far does not for this error."""
        if error.error_class is ErrorClass.PERMANENT:
            self._refused = self._refused or error
        for item in link.expected():
            if books.stage(link, item) < goal:
                books.stop(link, item, str(error), error.error_class)
