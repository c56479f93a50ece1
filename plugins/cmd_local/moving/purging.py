"""Purging a group's intermediates: only when what was to be kept and archived certainly is.

The books of the group's keep and archive must be closed and cover what the group holds now; else the
purge is refused and says which gap there is. Datasets are removed from the group's own runs at its
own facility and nowhere else.
"""

from collections.abc import Sequence
from typing import Any

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_local.moving.asking import Butlers
from cmd_local.moving.manifest import Manifests
from cmd_local.moving.orders import Movement
from cmd_local.moving.sending import Meter


class Purger:
    """Does the purge job of one group."""

    def __init__(
        self, movement: Movement, butlers: Butlers, manifests: Manifests, meter: Meter
    ) -> None:
        self._movement = movement
        self._butlers = butlers
        self._manifests = manifests
        self._meter = meter

    async def purge(self) -> dict[str, Any]:
        """Remove the datasets; the fields of an outcome. Raises DriverError: PERMANENT if the books
        are not closed."""
        movement = self._movement
        self._butlers.check(movement.facility)
        for name in movement.closed:
            await self._closed(name)
        runs = await self._runs()
        types = list(movement.datasets or ())
        await self._renounce(runs, types)
        counts: dict[str, dict[str, int]] = {}
        self._meter.start("purging", 0)
        left = 1 if runs else 0
        while left:
            told = await self._butlers.ask(
                movement.facility, "prune_datasets", runs=runs, types=types
            )
            left = told["left"]
            for name, each in told["pruned"].items():
                entry = counts.setdefault(name, {"count": 0, "bytes": 0})
                entry["count"] += each["count"]
                entry["bytes"] += each["bytes"]
                self._meter.done += each["count"]
                self._meter.moved(each["bytes"])
            self._meter.files = self._meter.done + left
        number = sum(entry["count"] for entry in counts.values())
        size = sum(entry["bytes"] for entry in counts.values())
        return {
            "ok": True,
            "message": f"{number} datasets purged, {size} bytes freed at {movement.facility}",
            "books": [
                {"source": movement.facility, "type": name, "purged": each["count"], **each}
                for name, each in sorted(counts.items())
            ],
        }

    async def _renounce(self, runs: Sequence[str], types: Sequence[str]) -> None:
        """See to it that nobody counts on the files any more. Raises DriverError if somebody must."""

    async def _runs(self) -> list[str]:
        """The group's own runs: those the order names, or the children of the group's chain; never
        another group's."""
        movement = self._movement
        chain = movement.order.output_chain
        runs = list(movement.runs)
        if not runs:
            infos = await self._butlers.existing(movement.facility, [chain])
            runs = [child for info in infos.values() for child in info["children"]]
        return [run for run in runs if run.startswith(f"{chain}/")]

    async def _closed(self, name: str) -> None:
        """Raises DriverError PERMANENT unless the group's movement of this name is verified."""
        movement = self._movement
        identity = movement.manifest_id(name)
        books = await self._manifests.books(identity)
        manifest = await self._manifests.load(identity)
        if books is None or manifest is None:
            raise self._refusal(f"its {name} was never verified")
        if not books["closed"]:
            gaps = [(entry, gap) for entry in books["books"] for gap in entry["gaps"]]
            entry, gap = gaps[0] if gaps else ({}, {})
            raise self._refusal(
                f"its {name} lacks {sum(e['missing'] for e in books['books'])} datasets, the first is "
                f"{entry.get('type')} {gap.get('uuid')}: {gap.get('reason')}"
            )
        types = sorted({item.type for link in manifest.links for item in link.items})
        now = await self._butlers.listed(movement.facility, (movement.order.output_chain,), types)
        fresh = [each for each in now if each["uuid"] not in manifest.uuids()]
        if fresh:
            raise self._refusal(
                f"{len(fresh)} datasets were made after its {name} was verified, the first is "
                f"{fresh[0]['type']} {fresh[0]['uuid']}"
            )
        stays = {item.type for link in manifest.links if link.stays for item in link.items}
        both = sorted(stays & set(movement.datasets or ()))
        if both:
            raise self._refusal(
                f"{', '.join(both)} is kept at this very facility: take it out of 'discard'"
            )

    def _refusal(self, reason: str) -> DriverError:
        movement = self._movement
        return DriverError(
            ErrorClass.PERMANENT,
            f"{movement.group}: nothing is purged at {movement.facility}: {reason}",
        )
