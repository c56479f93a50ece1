"""Questions to the agents of facilities, in pages, and again when an agent has died.

Every operation of the agent may be repeated, so a question without an answer is simply asked again.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from cmd_daemon.hooks import DriverError, ErrorClass, Host
from cmd_local.moving.manifest import Item
from cmd_local.moving.settings import MoverSettings

AGAIN_S = 0.5
"""Seconds between two questions to an agent that has died."""

T = TypeVar("T")


def pages(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in pages of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


class Butlers:
    """The repositories with one label at all facilities, through their agents."""

    def __init__(self, host: Host, settings: MoverSettings, label: str) -> None:
        self._host = host
        self._settings = settings
        self._label = label

    def check(self, facility: str) -> None:
        """Raises DriverError PERMANENT if the facility is unknown or has no such repository."""
        try:
            has = self._host.facility(facility).butlers
        except KeyError:
            raise DriverError(
                ErrorClass.PERMANENT, f"there is no facility '{facility}' in the configuration"
            ) from None
        if self._label not in has:
            raise DriverError(
                ErrorClass.PERMANENT,
                f"facility {facility} has no Butler repository '{self._label}' "
                f"(it has: {', '.join(sorted(has)) or 'none'})",
            )

    async def ask(self, facility: str, op: str, **args: Any) -> dict[str, Any]:
        """The agent's answer. Raises DriverError: the agent's own, or that of its last death when
        it was not back within the settings' patience."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._settings.patience_s
        while True:
            try:
                agent = self._host.agent(facility)
                answer = await agent.call(
                    op, {"repo": self._label, **args}, self._settings.timeout_s
                )
                return dict(answer)
            except DriverError as error:
                if error.error_class is ErrorClass.PERMANENT or loop.time() + AGAIN_S > give_up_at:
                    raise
            await asyncio.sleep(AGAIN_S)

    async def existing(self, facility: str, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Those of the collections that exist there, by name: {"name", "type", "children"}."""
        if not names:
            return {}
        told = await self.ask(facility, "collections", names=list(names))
        found = {info["name"]: info for info in told["collections"]}
        return {name: found[name] for name in names if name in found}

    async def listed(
        self,
        facility: str,
        collections: Sequence[str],
        types: Sequence[str] | None,
        where: str = "",
    ) -> list[dict[str, Any]]:
        """What a search of the collections finds there, each data id once; nothing in those that do
        not exist. `types` None means all; `where` narrows the search."""
        there = list(await self.existing(facility, collections))
        found: list[dict[str, Any]] = []
        offset: int | None = 0 if there else None
        while offset is not None:
            told = await self.ask(
                facility,
                "list_datasets",
                collections=there,
                types=None if types is None else list(types),
                where=where,
                limit=10_000,
                offset=offset,
            )
            found += told["datasets"]
            offset = told["next_offset"]
        return found

    async def describe(
        self, facility: str, items: Sequence[Item], *, checksum: bool
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Look at the items' files there and note them in the items; yields the definitions of
        dataset types, page by page."""
        for page in pages(items, self._settings.page):
            pending = list(page)
            while pending:
                told = await self.ask(
                    facility,
                    "describe_datasets",
                    uuids=[item.uuid for item in pending],
                    checksum=checksum,
                )
                left = set(told["left"])
                _note_files([item for item in pending if item.uuid not in left], told)
                pending = [item for item in pending if item.uuid in left]
                yield told["types"]

    async def missing(self, facility: str, uuids: Sequence[str]) -> dict[str, str]:
        """Those of the datasets that the Butler there does not have with a file, and what is
        missing in words."""
        lost: dict[str, str] = {}
        for page in pages(uuids, self._settings.page * 4):
            told = await self.ask(facility, "verify", uuids=list(page))
            for uuid in told["missing_in_registry"]:
                lost[uuid] = f"the Butler of {facility} does not know it"
            for uuid in told["missing_in_datastore"]:
                lost[uuid] = f"the Butler of {facility} knows it but has no file of it"
        return lost

    async def known(
        self, facility: str, dimension: str, data_ids: Sequence[Mapping[str, Any]]
    ) -> list[bool]:
        """Whether the Butler there holds the dimension's value of each data id."""
        known: list[bool] = []
        for page in pages(data_ids, 20_000):
            told = await self.ask(
                facility, "known_data_ids", dimension=dimension, data_ids=[dict(d) for d in page]
            )
            known += told["known"]
        return known


def _note_files(items: Sequence[Item], told: Mapping[str, Any]) -> None:
    """Put into the items what an agent has told of their files."""
    seen = {each["uuid"]: each for each in told["datasets"]}
    lost = {each["uuid"]: each["reason"] for each in told["missing"]}
    for item in items:
        here = seen.get(item.uuid)
        if here is not None:
            item.file, item.size = here["file"], here["size"]
            item.sha256, item.reason = here["sha256"] or "", ""
        else:
            item.file = ""
            item.reason = lost.get(item.uuid, "the agent did not tell where its file is")
