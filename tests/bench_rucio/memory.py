"""A driver's process with many files in flight; prints its memory as JSON.

    python memory.py DIRECTORY GROUPS FILES

The driver, its orders, manifests, declarations and looks are the real ones. Facilities' agents and
the Rucio server are stand-ins in the same process that keep nothing but names: they tell of FILES
files in each of GROUPS groups, take them, and never end a rule. Prints resident bytes before, at
the peak, and while all files are in flight.
"""

import asyncio
import ctypes
import json
import os
import sys
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from cmd_daemon.hooks import JobKind, JobOrder
from cmd_daemon.testing import FakeHost, facility_info
from cmd_daemon.testing.driver_contract import outcomes, submitted
from cmd_local.moving.carrier import SameMachineCarrier
from cmd_rucio_butler.driver import RucioDriver
from cmd_rucio_butler.server import Known, NewFile, Rule
from cmd_rucio_butler.settings import rucio_settings
from cmd_rucio_butler.sharing import Servers, Shared
from cmd_rucio_butler.watching import RuleWatch

HERE, THERE = "FrDF", "UKDF"
KIND = "task_metadata"
TYPES = {KIND: {"dimensions": ["visit", "detector"], "storage_class": "StructuredDataDict"}}
DEADLINE_S = 900.0


def uuids(group: str, files: int) -> Iterator[str]:
    """The datasets of a group, always the same."""
    for number in range(files):
        yield str(uuid.uuid5(uuid.NAMESPACE_OID, f"{group}/{number}"))


class StandInAgent:
    """Tells of the groups' files; the receiving one has nothing."""

    def __init__(self, facility: str, files: int) -> None:
        self._facility = facility
        self._files = files

    async def call(self, op: str, args: Mapping[str, Any], timeout_s: float = 120.0) -> Any:
        """Answer the operations of register and transfer."""
        await asyncio.sleep(0)
        told = json.dumps(getattr(self, op)(args))  # as it comes out of a pipe
        return json.loads(told)

    def collections(self, args: Mapping[str, Any]) -> Any:
        runs = [{"name": each, "type": "RUN", "children": []} for each in args["names"]]
        return {"collections": runs}

    def list_datasets(self, args: Mapping[str, Any]) -> Any:
        (chain,) = args["collections"]
        found = [
            {
                "uuid": identity,
                "type": KIND,
                "data_id": {"instrument": "BenchCam", "visit": n // 100, "detector": n % 100},
                "run": f"{chain}/a1",
            }
            for n, identity in enumerate(uuids(chain, self._files))
        ]
        return {"datasets": found, "total": len(found), "next_offset": None}

    def describe_datasets(self, args: Mapping[str, Any]) -> Any:
        told = [
            {
                "uuid": each,
                "file": f"/data/rubin/out/{each}/{each}.yaml",
                "size": 9000,
                "sha256": None,
            }
            for each in args["uuids"]
        ]
        return {"datasets": told, "missing": [], "left": [], "types": TYPES}

    def describe_files(self, args: Mapping[str, Any]) -> Any:
        told = [
            {
                "uuid": each,
                "lfn": f"out/campaign/make/group/a1/{KIND}/20260101/r/{each}.yaml",
                "size": 9000,
                "adler32": f"{zlib.adler32(each.encode()):08x}",
                "sidecar": json.dumps({"id": each, "dataId": "x" * 700}),
            }
            for each in args["uuids"]
        ]
        return {"files": told, "missing": [], "left": []}

    def verify(self, args: Mapping[str, Any]) -> Any:
        lost = list(args["uuids"]) if self._facility == THERE else []
        return {"missing_in_registry": lost, "missing_in_datastore": []}


class StandInServer:
    """Takes everything; rules wait for ever."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.made: dict[str, Rule] = {}

    def within(self, scope: str) -> "StandInServer":
        return self

    def close(self) -> None:
        """Nothing to let go of."""

    async def dataset(self, name: str) -> Mapping[str, Any] | None:
        return {"open": True} if name in self.counts else None

    async def content(self, name: str) -> dict[str, Known]:
        if not self.counts[name]:
            return {}
        chain = "out/bench/make/" + name.split("/")[3]
        return {
            f"out/campaign/make/group/a1/{KIND}/20260101/r/{each}.yaml": Known(
                9000, f"{zlib.adler32(each.encode()):08x}"
            )
            for each in uuids(chain, self.counts[name])
        }

    async def known_files(self, lfns: Sequence[str]) -> dict[str, Known]:
        return {}

    async def add_files(self, rse: str, files: Sequence[NewFile]) -> None:
        await asyncio.sleep(0)

    async def add_dataset(self, name: str) -> None:
        self.counts.setdefault(name, 0)

    async def add_container(self, name: str) -> None:
        """Taken."""

    async def attach(self, name: str, children: Sequence[str]) -> None:
        if name in self.counts:
            self.counts[name] += len(children)

    async def add_rule(self, name: str, rse: str, **options: Any) -> str:
        identity = str(len(self.made))
        self.made[identity] = Rule(
            identity, name, rse, "REPLICATING", 0, self.counts[name], 0, "", datetime.now(UTC), ""
        )
        return identity

    async def rule(self, identity: str) -> Rule:
        return self.made[identity]

    async def rules(self, **filters: Any) -> list[Rule]:
        return list(self.made.values())


def order(group: int, stage: str) -> JobOrder:
    """The job of a group."""
    chain = f"out/bench/make/g{group}"
    return JobOrder(
        key=f"bench/make/g{group}/keep-{stage}#1",
        campaign="bench",
        step="make",
        group=f"g{group}",
        job=f"keep-{stage}",
        attempt=1,
        kind=JobKind[stage.upper()],
        facility=HERE,
        params={"facilities": [HERE, THERE], "datasets": [KIND], "at": THERE},
        butler="main",
        output_chain=chain,
        step_chain="out/bench/make",
    )


async def measure(directory: Path, groups: int, files: int) -> dict[str, float]:
    """Bring all groups' files into flight; megabytes."""
    secret = directory / "password"
    secret.write_text("secret")
    given = {"server": "http://localhost", "account": "a", "username": "u", "scope": "rubin",
             "password_file": str(secret), "poll_s": 1.0}  # fmt: skip
    infos = {
        name: facility_info(
            name, butlers={"main": "/repo"}, settings={"rucio": {**given, "rse": f"{name}_DISK"}}
        )
        for name in (HERE, THERE)
    }
    agents = {name: StandInAgent(name, files) for name in infos}
    host = FakeHost(directory, infos, agents)  # type: ignore[arg-type]
    settings = rucio_settings(infos[HERE])
    server = StandInServer()
    servers = Servers.of(host)
    watch = RuleWatch(server, settings.poll_s)  # type: ignore[arg-type]
    servers._servers[settings.identity()] = Shared(server, watch, None)  # type: ignore[arg-type]
    driver = RucioDriver(infos[HERE], settings, host, SameMachineCarrier())
    await driver.start()
    process = psutil.Process(os.getpid())
    before = process.memory_info().rss
    began = time.perf_counter()
    registers = [order(n, "register") for n in range(groups)]
    done = await outcomes(driver, await submitted(driver, registers), DEADLINE_S)
    bad = [each.message for each in done.values() if not each.ok]
    if bad:
        raise RuntimeError(bad[0])
    registered = process.memory_info().rss
    await submitted(driver, [order(n, "transfer") for n in range(groups)])
    while len(server.made) < groups:
        if time.perf_counter() - began > DEADLINE_S:
            raise RuntimeError(f"{len(server.made)} of {groups} groups are in flight")
        await asyncio.sleep(0.1)
    await watch.look()  # all of them wait now
    await watch.look()
    ctypes.CDLL(None).malloc_trim(0)  # what is free is not in use
    flying = process.memory_info().rss
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    found = {"before": before, "registered": registered, "in_flight": flying, "peak": peak}
    return {name: size / 1e6 for name, size in found.items()} | {
        "seconds": time.perf_counter() - began
    }


def main() -> None:
    """Measure and print, then end without ceremony: the rules would wait for ever."""
    directory, groups, files = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    directory.mkdir(parents=True, exist_ok=True)
    print(json.dumps(asyncio.run(measure(directory, groups, files))), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
