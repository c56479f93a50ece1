"""A real daemon in the test's own process, on a Unix socket, and raw access to every method."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cm_client import AsyncClient
from cmd_api.v1 import (
    audit_pb2,
    campaign_pb2,
    daemon_pb2,
    event_pb2,
    facility_pb2,
    group_pb2,
    job_pb2,
    schedule_pb2,
    statistics_pb2,
    step_pb2,
)
from cmd_daemon.config import Config
from cmd_daemon.daemon import Daemon, build

DEADLINE_S = 20.0
MODULES = (
    campaign_pb2,
    step_pb2,
    group_pb2,
    job_pb2,
    event_pb2,
    facility_pb2,
    schedule_pb2,
    daemon_pb2,
    statistics_pb2,
    audit_pb2,
)

FILE = """\
campaign: {name}
owner: me
stack: w1
butler: {{repo: demo, inputs: [a], output: u/me/{name}}}
facilities: [USDF]
steps:
  one:
    pipeline: x.yaml#a
    split: {{by: tract, ranges: ["1..{count}"]}}
    then: [{{script: tidy.sh}}]
  look:
    after: [one]
    breakpoint: Look at the plots.
  two:
    after: [look]
    pipeline: x.yaml#b
"""


SCHEDULE = """\
schedule: nightly
owner: me
cron: "0 0 1 1 *"
template: small.yaml
stacks: w*
"""

TEMPLATE = """\
campaign: small-${DATE}-${TIME}
owner: me
stack: ${STACK}
butler: {repo: demo, inputs: [a], output: "u/me/${DATE}${TIME}"}
facilities: [USDF]
steps: {one: {pipeline: x.yaml#a}}
"""


def campaign_file(name: str = "camp", count: int = 3) -> str:
    """A campaign of `count` groups, a breakpoint, and one group more."""
    return FILE.format(name=name, count=count)


def methods() -> Iterator[MethodDescriptor]:
    """Every method of the API, from the descriptors."""
    for module in MODULES:
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def path_of(method: MethodDescriptor) -> str:
    """The method's path on the wire."""
    return f"/{method.containing_service.full_name}/{method.name}"


def request_of(method: MethodDescriptor, **fields: Any) -> Message:
    """A request of the method."""
    return message_factory.GetMessageClass(method.input_type)(**fields)


def has(method: MethodDescriptor, field: str) -> bool:
    """Whether the method's request has a field of that name."""
    return field in method.input_type.fields_by_name


def config(root: Path, **drivers: str) -> Config:
    """A daemon of one facility with the fake driver, in a directory of its own."""
    kinds = {"process": "fake", "script": "fake", "collect": "fake", **drivers}
    return Config.model_validate(
        {
            "daemon": {
                "state_dir": root / "state",
                "socket": root / "cmd.sock",
                "plugins": ["local", "facility", "fakes"],
            },
            "facility": {
                "USDF": {
                    "slots": 100_000,
                    "memory": "8 GB",
                    "cores": 4,
                    "butlers": {"demo": "/none"},
                    "stacks": {"w1": "/usr/bin/python3"},
                    "drivers": kinds,
                    "settings": {"fake": {"poll_s": 0.05, "world": root / "state" / "world"}},
                }
            },
        }
    )


class House:
    """The running daemon, a client, and a raw channel."""

    def __init__(self, daemon: Daemon, target: str) -> None:
        self.daemon = daemon
        self.target = target
        self.client = AsyncClient(target, actor="tester")
        self.channel = grpc.aio.insecure_channel(
            target, options=[("grpc.absolute_max_metadata_size", 2**20)]
        )

    @property
    def world(self) -> Any:
        """The fake world at USDF."""
        return self.daemon.engine.lanes.lanes["USDF", "fake"].driver.world  # type: ignore[attr-defined]

    async def raw(self, method: MethodDescriptor, request: Message | bytes, **more: Any) -> Any:
        """Call a method; the answer, or the first message of a stream (None if there is none)."""
        answer = message_factory.GetMessageClass(method.output_type)
        data = request if isinstance(request, bytes) else request.SerializeToString()
        more.setdefault("timeout", DEADLINE_S)
        if not method.server_streaming:
            call = self.channel.unary_unary(
                path_of(method), response_deserializer=answer.FromString
            )
            return await call(data, **more)
        stream = self.channel.unary_stream(
            path_of(method), response_deserializer=answer.FromString
        )(data, **more)
        first = await stream.read()
        stream.cancel()
        return None if first is grpc.aio.EOF else first

    async def healthy(self) -> None:
        """Fails unless the daemon answers and takes changes."""
        told = await self.client.get_daemon()
        assert told.accepting
        assert not told.problem

    async def applied(self, name: str = "camp", count: int = 3, start: bool = True) -> None:
        """Apply and start a campaign."""
        await self.client.apply_campaign(campaign_file(name, count), start=start)

    async def state(self, name: str) -> str:
        """A campaign's or step's state."""
        if "/steps/" in name:
            return step_pb2.Step.State.Name((await self.client.get_step(name)).state)[6:]
        return campaign_pb2.Campaign.State.Name((await self.client.get_campaign(name)).state)[6:]

    async def reach(self, name: str, state: str) -> None:
        """Wait until it is in that state."""
        end = time.monotonic() + DEADLINE_S
        while (seen := await self.state(name)) != state:
            assert time.monotonic() < end, f"{name} is {seen}, not {state}"
            await asyncio.sleep(0.01)

    def one_of_each(self) -> dict[str, str]:
        """The name of an existing resource of each kind, of the campaign `camp`."""
        group = "campaigns/camp/steps/one/groups/1"
        return {
            "campaign": "campaigns/camp",
            "step": "campaigns/camp/steps/one",
            "group": group,
            "job": f"{group}/jobs/process",
            "facility": "facilities/USDF",
            "schedule": "schedules/nightly",
        }

    async def prepare(self) -> None:
        """The campaign `camp` at its breakpoint, and the schedule `nightly`."""
        await self.applied()
        await self.client.apply_schedule(SCHEDULE, TEMPLATE)
        await self.reach("campaigns/camp/steps/look", "REVIEW")


@contextlib.asynccontextmanager
async def serving(settings: Config) -> AsyncIterator[House]:
    """A daemon, until the block ends."""
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        daemon = await build(settings, stack)
        running = asyncio.create_task(daemon.run(stop))
        house = House(daemon, f"unix:{settings.daemon.socket}")
        try:
            # A channel that finds no socket at first would wait a second before it tries again.
            await until(lambda: running.done() or listening(settings.daemon.socket), "the daemon")
            if running.done():
                await running
            yield house
            assert not running.done(), "the daemon has ended"
        finally:
            await house.client.close()
            await house.channel.close()
            stop.set()
            await asyncio.gather(running, return_exceptions=True)


def listening(path: Path) -> bool:
    """Whether somebody listens on that socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo of a refusal; fails if there is not exactly one."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    found = [d for d in status.details if d.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    assert len(found) == 1, error
    info = error_details_pb2.ErrorInfo()
    found[0].Unpack(info)
    assert info.domain == "cmd-daemon"
    assert info.reason.isupper()
    assert error.details(), "a refusal without words"
    return info


async def refusal(asked: Any) -> tuple[grpc.StatusCode, str]:
    """Status and reason of the refusal; fails if the call succeeds."""
    try:
        answer = await asked
    except grpc.RpcError as error:
        return error.code(), error_info(error).reason
    raise AssertionError(f"it was not refused: {answer}")


async def until(true: Callable[[], Any], what: str = "it") -> None:
    """Wait for something to hold; fails after the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, f"{what} never came to be"
        await asyncio.sleep(0.005)
