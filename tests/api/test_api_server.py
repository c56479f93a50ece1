"""The server itself: sockets, health, reflection, nonsense on the wire, clients that come and go."""

import asyncio
import contextlib
import random
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from api_house import (
    House,
    campaign_file,
    config,
    error_info,
    methods,
    path_of,
    refusal,
    request_of,
    serving,
    until,
)
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cmd_daemon.api.server import SocketInUse
from cmd_daemon.daemon import build
from cmd_daemon.store import AlreadyInUse

ALL = list(methods())


async def test_health_and_reflection(full: House) -> None:
    health = health_pb2_grpc.HealthStub(full.channel)
    services = sorted({m.containing_service.full_name for m in ALL})
    for name in ("", *services):
        told = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert told.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(full.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in stub.ServerReflectionInfo(iter([asked])):
        found = {each.name for each in answer.list_services_response.service}
    assert found >= {*services, "grpc.health.v1.Health"}


async def test_unknown_methods_are_refused(full: House) -> None:
    for path in ("/cmd_api.v1.CampaignService/Explode", "/no.Service/Get", "/x/y"):
        with pytest.raises(grpc.RpcError) as told:
            await full.channel.unary_unary(path)(b"")
        assert told.value.code() == grpc.StatusCode.UNIMPLEMENTED
    await full.healthy()


async def test_the_socket_is_for_owner_and_group(house: House) -> None:
    path = house.daemon.config.daemon.socket
    assert path.stat().st_mode & 0o777 == 0o660


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "cmd.sock"))
    async with serving(config(tmp_path)) as house:
        await house.healthy()


async def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cmd.sock").write_text("precious")
    with pytest.raises(SocketInUse, match="not a socket"):
        async with serving(config(tmp_path)):
            pass
    assert (tmp_path / "cmd.sock").read_text() == "precious"


async def test_a_live_socket_is_refused(house: House, tmp_path: Path) -> None:
    other = config(tmp_path)
    other.daemon.state_dir = tmp_path / "other"
    async with AsyncExitStack() as stack:
        daemon = await build(other, stack)
        with pytest.raises(SocketInUse, match="another daemon"):
            await daemon.run(asyncio.Event())
    await house.healthy()


async def test_two_daemons_on_one_database_are_refused(house: House, tmp_path: Path) -> None:
    other = config(tmp_path)
    other.daemon.socket = tmp_path / "other.sock"
    with pytest.raises(AlreadyInUse):
        async with serving(other):
            pass
    await house.healthy()


def _random_value(dice: random.Random, field: FieldDescriptor) -> Any:
    words = ["", "campaigns/camp", "campaigns/camp/steps/one/groups/1", "facilities/USDF", "0"]
    texts = [*words, "\0", "ä" * 50, "x" * 3000, "%s{}", "' OR 1=1 --", "../..", "🜚"]
    numbers = [0, 1, -1, 2, 99, 1000, 2**31 - 1, -(2**31)]
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return dice.choice(texts)
        case FieldDescriptor.TYPE_BYTES:
            return dice.randbytes(dice.randrange(300))
        case FieldDescriptor.TYPE_BOOL:
            return dice.random() < 0.5
        case FieldDescriptor.TYPE_INT64:
            return dice.choice([*numbers, 2**63 - 1, -(2**63)])
        case _:
            return dice.choice(numbers)


def _fill(dice: random.Random, message: Message) -> Message:
    """Put random values into some fields."""
    for field in message.DESCRIPTOR.fields:
        if dice.random() < 0.4 or field.name in ("follow",):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            number = value.type != FieldDescriptor.TYPE_STRING
            key = dice.choice(["A", "", "ä", "fake"])
            getattr(message, field.name)[key] = _random_value(dice, value) if number else "1"
        elif field.message_type is not None:
            _fill(dice, getattr(message, field.name))
        elif field.is_repeated:
            values = [_random_value(dice, field) for _ in range(dice.randrange(4))]
            getattr(message, field.name).extend(values)
        else:
            setattr(message, field.name, _random_value(dice, field))
    return message


@pytest.mark.parametrize("method", ALL, ids=lambda m: str(m.name))
async def test_random_messages(full: House, method: MethodDescriptor) -> None:
    """Whatever a request holds, the answer is an answer or a refusal in words, never a fault."""
    dice = random.Random(str(method.name))

    async def one() -> None:
        request = _fill(dice, request_of(method))
        try:
            await full.raw(method, request, timeout=10)
        except grpc.RpcError as error:
            assert error.code() not in (  # noqa: PT017
                grpc.StatusCode.INTERNAL,
                grpc.StatusCode.UNKNOWN,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            ), (request, error)
            error_info(error)

    for _ in range(40):
        await one()
    await full.healthy()


@pytest.mark.parametrize("method", ALL, ids=lambda m: str(m.name))
async def test_random_bytes(full: House, method: MethodDescriptor) -> None:
    dice = random.Random(f"bytes {method.name}")
    for length in (1, 2, 7, 30, 200, 5000):
        with contextlib.suppress(grpc.RpcError):
            await full.raw(method, dice.randbytes(length), timeout=10)
    await full.healthy()


async def test_a_message_too_large_is_refused(full: House) -> None:
    (plan,) = [m for m in ALL if m.name == "PlanCampaign"]
    with pytest.raises(grpc.RpcError) as told:
        await full.raw(plan, b"\n" + b"x" * 8_000_000)
    assert told.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    yaml = b"campaign: " + b"[" * 1_000_000
    code, reason = await refusal(full.raw(plan, request_of(plan, source={"text": yaml})))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CAMPAIGN_FILE")
    await full.healthy()


async def test_clients_that_vanish(full: House) -> None:
    """Two thousand calls begun and left, and connections that never say a word."""
    path = str(full.daemon.config.daemon.socket)
    mute = []
    for number in range(150):
        half_open = socket.socket(socket.AF_UNIX)
        half_open.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            half_open.connect(path)
            half_open.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if number % 2 else b"\xff" * 100)
        mute.append(half_open)
    for _ in range(20):
        channel = grpc.aio.insecure_channel(full.target)
        calls = []
        for number in range(100):
            method = ALL[number % len(ALL)]
            if method.server_streaming:
                calls.append(channel.unary_stream(path_of(method))(b""))
            else:
                calls.append(channel.unary_unary(path_of(method))(b""))
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await channel.close()
    await full.healthy()
    for half_open in mute:
        half_open.close()
    await full.healthy()
    engine = full.daemon.engine
    await until(lambda: engine.waiting == 0)


async def test_a_call_that_was_cancelled_is_done_or_not_never_half(house: House) -> None:
    """Clients that give up while their change is under way."""
    (apply,) = [m for m in ALL if m.name == "ApplyCampaign"]

    async def give_up(number: int) -> None:
        source = {"text": campaign_file(f"c{number}", 50).encode()}
        with contextlib.suppress(grpc.RpcError):
            await house.raw(apply, request_of(apply, source=source), timeout=0.001 * number)

    await asyncio.gather(*(give_up(number) for number in range(1, 40)))
    await house.healthy()
    await until(lambda: house.daemon.engine.waiting == 0)
    for campaign in (await house.client.list_campaigns()).campaigns:
        steps = await house.client.list_steps(campaign.name)
        assert len(steps.steps) == 3
