"""Files are looked at by the source while the server takes the former ones, a few pages at a time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from test_rucio_pieces import LINK, OneDataset, declarer

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_local.moving.books import Books, Stage
from cmd_local.moving.manifest import Item, Link, Manifest
from cmd_rucio_butler.declaring import PAGES_AT_ONCE, Declarer
from cmd_rucio_butler.server import Known, NewFile

PAGES = 5


class Looking:
    """The source: one file to a page; `looked` at so many."""

    def __init__(self) -> None:
        self.looked = 0

    async def files(
        self, facility: str, uuids: Sequence[str]
    ) -> AsyncIterator[tuple[list[dict[str, Any]], dict[str, str]]]:
        for uuid in uuids:
            self.looked += 1
            file = {"uuid": uuid, "lfn": f"{uuid}.fits", "size": 1, "adler32": "00010001"}
            yield [{**file, "sidecar": "{}"}], {}


class Taking(OneDataset):
    """A server that takes files when the gate is open, and none after the file `bad`."""

    def __init__(self) -> None:
        super().__init__(keep=(True, {}))
        self.gate, self.full = asyncio.Event(), asyncio.Event()
        self.begun: list[str] = []
        self.under_way = self.most = 0
        self.bad = ""

    async def known_files(self, lfns: Sequence[str]) -> dict[str, Known]:
        return {}

    async def add_files(self, rse: str, files: Sequence[NewFile]) -> None:
        self.begun += [each.lfn for each in files]
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.under_way == PAGES_AT_ONCE:
            self.full.set()
        try:
            if self.bad in self.begun:
                raise DriverError(ErrorClass.TRANSIENT, "Rucio is away")
            await self.gate.wait()
        finally:
            self.under_way -= 1


def parts(directory: Path) -> tuple[Declarer, Looking, Taking, Manifest, Link]:
    """A declarer over both, and the link of what it is to declare."""
    server = Taking()
    made = declarer(directory, server)
    source = made._butlers = Looking()  # type: ignore[assignment]
    items = [Item(f"u{n}", "x", {}, "run", file="f", size=1) for n in range(PAGES)]
    link = Link(LINK.source, LINK.destination, items)
    return made, source, server, Manifest("m", "c", "s", "g", "keep", [link]), link


async def test_the_source_looks_at_the_next_page_while_the_server_takes_some(
    tmp_path: Path,
) -> None:
    made, source, server, manifest, link = parts(tmp_path)
    books = Books(manifest, Stage.SENT)
    declaring = asyncio.create_task(made.declare(manifest, link, link.items, books))
    await server.full.wait()
    assert (source.looked, server.under_way) == (PAGES_AT_ONCE + 1, PAGES_AT_ONCE)
    server.gate.set()
    done = await declaring
    assert sorted(done.files) == [f"u{n}.fits" for n in range(PAGES)]
    assert server.most == PAGES_AT_ONCE
    assert [books.stage(link, item) for item in link.items] == [Stage.SENT] * PAGES


async def test_one_page_that_is_refused_ends_all_and_the_next_attempt_does_the_rest(
    tmp_path: Path,
) -> None:
    made, _, server, manifest, link = parts(tmp_path)
    server.bad = "u1.fits"
    books = Books(manifest, Stage.SENT)
    with pytest.raises(DriverError, match="Rucio is away"):
        await made.declare(manifest, link, link.items, books)
    assert (server.under_way, server.begun) == (0, ["u0.fits", "u1.fits"])
    server.bad = ""
    server.gate.set()
    done = await made.declare(manifest, link, link.items, books)
    assert len(done.files) == PAGES
