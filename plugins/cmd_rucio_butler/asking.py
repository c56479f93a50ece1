"""Questions to the agents about files as Rucio names them."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from cmd_daemon.hooks import DriverError, Host
from cmd_local.moving.asking import Butlers, pages
from cmd_local.moving.manifest import Item
from cmd_rucio_butler.settings import RucioSettings, settings_at

LOOKED_AT = 5000
"""Files looked at in one question."""


class RucioButlers(Butlers):
    """The repositories with one label, with the operations of the agent `rucio`."""

    def __init__(self, host: Host, settings: RucioSettings, label: str) -> None:
        super().__init__(host, settings.moving, label)
        self._own_host = host
        self._page = settings.page

    async def ask(self, facility: str, op: str, **args: Any) -> dict[str, Any]:
        """See `Butlers`."""
        try:
            return await super().ask(facility, op, **args)
        except DriverError as error:
            if "unknown operation" not in str(error):
                raise
            raise DriverError(
                error.error_class,
                f'{error}; set `agent = "rucio"` in the configuration of {facility}',
            ) from error

    async def describe(
        self, facility: str, items: Sequence[Item], *, checksum: bool
    ) -> AsyncIterator[Mapping[str, Any]]:
        """See `Butlers`; contents are not read here: Rucio has checksums of its own."""
        async for types in super().describe(facility, items, checksum=False):
            yield types

    def _root(self, facility: str, given: str | None = None) -> dict[str, str]:
        """What a question says of the directory of the files: `given`, if anything is ("": the
        datastore's own), else what the facility's settings say."""
        if given is None:
            given = str(settings_at(self._own_host, facility).root or "")
        return {"root": given} if given else {}

    async def files(
        self, facility: str, uuids: Sequence[str]
    ) -> AsyncIterator[tuple[list[dict[str, Any]], dict[str, str]]]:
        """Pages of the datasets' files, see the agent's `describe_files`, each with the reasons of
        those that have none. Raises DriverError."""
        for page in pages(uuids, self._page):
            left = list(page)
            while left:
                told = await self.ask(
                    facility, "describe_files", uuids=left, **self._root(facility)
                )
                yield told["files"], {m["uuid"]: m["reason"] for m in told["missing"]}
                left = told["left"]

    async def named(self, facility: str, uuids: Sequence[str]) -> list[str]:
        """The paths below the root of those of the datasets that have a file of their own there. Raises
        DriverError."""
        paths: list[str] = []
        for page in pages(uuids, LOOKED_AT):
            told = await self.ask(facility, "name_files", uuids=list(page), **self._root(facility))
            paths += told["paths"]
        return paths

    async def zipped(self, facility: str, uuids: Sequence[str], directory: str) -> dict[str, Any]:
        """One zip of these datasets, see the agent's `zip_files`. Raises DriverError."""
        return await self.ask(
            facility,
            "zip_files",
            uuids=list(uuids),
            directory=directory,
            **self._root(facility),
        )

    async def not_arrived(
        self, facility: str, files: Iterable[tuple[str, int]], root: str | None = None
    ) -> dict[str, str]:
        """Those of the files (name and bytes) that are not at the facility, and why. Raises
        DriverError."""
        lost: dict[str, str] = {}
        for page in pages(list(files), LOOKED_AT):
            told = await self.ask(
                facility,
                "look_at_files",
                files=[{"lfn": lfn, "size": size} for lfn, size in page],
                **self._root(facility, root),
            )
            lost.update(told["missing"])
        return lost

    async def adopt(
        self,
        facility: str,
        types: Sequence[Mapping[str, Any]],
        datasets: Sequence[Mapping[str, Any]],
    ) -> list[dict[str, str]]:
        """Have datasets taken in where their files lie; what was rejected. Raises DriverError."""
        told = await self.ask(
            facility,
            "adopt_files",
            types=[dict(each) for each in types],
            datasets=[dict(each) for each in datasets],
            **self._root(facility),
        )
        return list(told["rejected"])

    async def adopt_sidecars(
        self, facility: str, files: Sequence[Mapping[str, Any]], root: str
    ) -> list[dict[str, str]]:
        """Have files of others taken in where they lie, by their sidecars; what was rejected. Raises
        DriverError."""
        told = await self.ask(
            facility,
            "adopt_sidecars",
            files=[dict(each) for each in files],
            **self._root(facility, root),
        )
        return list(told["rejected"])

    async def adopt_zip(
        self, facility: str, lfn: str, size: int, root: str | None = None
    ) -> dict[str, str] | None:
        """Have a zip taken in where it lies; how it was rejected, if it was. Raises DriverError."""
        zips = [{"lfn": lfn, "size": size}]
        told = await self.ask(facility, "adopt_zips", zips=zips, **self._root(facility, root))
        return dict(told["rejected"][0]) if told["rejected"] else None

    async def adopt_dimensions(
        self, facility: str, lfn: str, size: int, root: str | None = None
    ) -> dict[str, str] | None:
        """Have a file of dimension records taken in; how it was rejected, if it was. Raises
        DriverError."""
        told = await self.ask(
            facility, "adopt_dimensions", lfn=lfn, size=size, **self._root(facility, root)
        )
        return dict(told["rejected"]) if told["rejected"] else None
