"""Archives through Rucio: zips, one dataset of them, a rule to the tape RSE or the pair of metadata by
which a site's own tape service is asked, and waiting until the archive shows that it has them.

Nothing but zips goes to tape. What is archived is what Rucio, or the tape service, says: reading
tapes back for proof is theirs.
"""

import re
from collections.abc import Mapping
from typing import Any

from cmd_daemon.hooks import DriverError, ErrorClass, Host
from cmd_local.moving.books import Books, Stage
from cmd_local.moving.manifest import Link, Manifest, Manifests
from cmd_local.moving.movement import verdict
from cmd_local.moving.orders import Movement
from cmd_local.moving.planning import make_manifest, nothing
from cmd_local.moving.sending import Meter
from cmd_rucio_butler.asking import RucioButlers
from cmd_rucio_butler.commands import Wanted
from cmd_rucio_butler.declaring import Declaration, Declarations, Declarer
from cmd_rucio_butler.rules import RuleEnd, RuleKeeper
from cmd_rucio_butler.server import RucioServer, Rule
from cmd_rucio_butler.settings import RucioSettings, settings_at
from cmd_rucio_butler.watching import RuleWatch


class RucioArchivist:
    """Does the archive jobs of one group. `settings` are those of the group's own facility."""

    def __init__(
        self,
        movement: Movement,
        host: Host,
        butlers: RucioButlers,
        manifests: Manifests,
        declarations: Declarations,
        server: RucioServer,
        watch: RuleWatch,
        settings: RucioSettings,
        meter: Meter,
        wanted: Wanted,
    ) -> None:
        self._movement = movement
        self._host = host
        self._butlers = butlers
        self._manifests = manifests
        self._declarations = declarations
        self._server = server
        self._watch = watch
        self._settings = settings
        self._meter = meter
        self._wanted = wanted

    async def bundle(self) -> dict[str, Any]:
        """Write the manifest anew, make the zips and declare them; the fields of an outcome. Raises
        DriverError, OSError."""
        self._check()
        manifest = await make_manifest(self._movement, self._butlers)
        await self._manifests.keep(manifest)
        return await self._declared(manifest)

    async def register(self) -> dict[str, Any]:
        """Make sure that the zips are declared; the fields of an outcome. Raises DriverError, OSError."""
        self._check()
        return await self._declared(await self._manifest())

    async def transfer(self) -> dict[str, Any]:
        """Have the zips archived and wait for it; the fields of an outcome. Raises DriverError,
        OSError."""
        self._check()
        manifest = await self._manifest()
        books = Books(manifest, Stage.INGESTED)
        for link in manifest.links:
            made = await self._declare(manifest, link, books)
            if made.files:
                await self._store(link, made, books)
        outcome = _told(verdict(self._movement, books, judge=True))
        outcome["message"] = outcome["message"].replace(
            " datasets ingested,", " datasets archived,"
        )
        await self._manifests.close(manifest.id, outcome["books"], bool(outcome["ok"]))
        return outcome

    def _check(self) -> None:
        if self._movement.bundle is None:
            raise DriverError(
                ErrorClass.PERMANENT,
                f"{self._movement.group}: through Rucio only zips are archived, never single files: "
                "add `bundle: zip` to the step's `archive`",
            )

    async def _manifest(self) -> Manifest:
        manifest = await self._manifests.load(self._movement.manifest_id())
        if manifest is None:
            manifest = await make_manifest(self._movement, self._butlers)
            await self._manifests.keep(manifest)
        return manifest

    async def _declared(self, manifest: Manifest) -> dict[str, Any]:
        if not manifest.links:
            return {"ok": True, "message": nothing(self._movement), "books": []}
        books = Books(manifest, Stage.SENT)
        self._meter.start("bundling", sum(len(link.expected()) for link in manifest.links))
        zips = 0
        for link in manifest.links:
            zips += len((await self._declare(manifest, link, books)).files)
        outcome = _told(verdict(self._movement, books, judge=False))
        outcome["message"] = (
            outcome["message"].replace(" datasets sent,", " datasets registered,")
            + f" in {zips} bundles"
        )
        return outcome

    async def _declare(self, manifest: Manifest, link: Link, books: Books) -> Declaration:
        for item in link.expected():
            if not item.file:
                reason = f"{item.reason} (at {link.source})"
                books.stop(link, item, reason, ErrorClass.PERMANENT)
        declarer = Declarer(
            self._movement,
            self._butlers,
            self._server,
            settings_at(self._host, link.source),
            self._declarations,
            self._meter,
            all_in_zips=True,
        )
        whole = [item for item in link.expected() if item.file]
        return await declarer.declare(manifest, link, whole, books)

    async def _store(self, link: Link, made: Declaration, books: Books) -> None:
        """Wait until the archive has the dataset, and note it."""
        self._meter.start("archiving", len(made.files))
        source = settings_at(self._host, link.source)
        unmoved: Mapping[str, str] = {}
        if source.archive_metadata:
            await self._ask_site(made.dataset, source)
        else:
            unmoved = (await self._rule(link, made)).unmoved
            if not unmoved:
                await self._server.close_dataset(made.dataset)
        files = {uuid: each.lfn for each in made.files.values() for uuid in each.uuids}
        for item in link.expected():
            lfn = files.get(item.uuid)
            if lfn is None:
                continue
            reason = unmoved.get(lfn) or unmoved.get("")
            if reason is None:
                books.reached(link, item, Stage.INGESTED)
            else:
                books.stop(link, item, reason, ErrorClass.PERMANENT)

    async def _rule(self, link: Link, made: Declaration) -> RuleEnd:
        keeper = RuleKeeper(
            self._movement, link, self._server, self._watch, self._settings, self._wanted
        )
        rule = await keeper.ensure(made.dataset, str(self._movement.rse), len(made.files))
        await self._wanted.settle()
        return await keeper.see_through(rule, len(made.files), self._tell)

    def _tell(self, rule: Rule) -> None:
        self._meter.done, self._meter.failed = rule.ok, max(0, rule.stuck)
        self._meter.note = f"Rucio: {rule.state.lower()} ({rule.ok} of {rule.files} files)"

    async def _ask_site(self, dataset: str, source: RucioSettings) -> None:
        """Mark the closed dataset for the site's tape service and wait for the evidence."""
        await self._server.close_dataset(dataset)
        if not _evident(await self._server.metadata(dataset), source.archive_evidence):
            await self._server.set_metadata(dataset, source.archive_metadata)
        self._meter.note = f"waits for the tape service to take {dataset}"
        while not _evident(await self._server.metadata(dataset), source.archive_evidence):
            await self._watch.look()


def _told(outcome: dict[str, Any]) -> dict[str, Any]:
    """The outcome with what is Rucio's own in its books: registered, and in the archive as its rule, or
    the evidence in its place, says."""
    for entry in outcome["books"]:
        entry["registered"], entry["rule_ok"] = entry["sent"], entry["ingested"]
    return outcome


def _evident(told: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether the dataset's metadata show that it is archived."""
    return all(re.search(pattern, str(told.get(key) or "")) for key, pattern in wanted.items())
