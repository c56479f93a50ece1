"""Every method has a role that it needs, and a real server keeps to it."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from api_house import House, has, methods, path_of
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from identity_house import ROLES, Ports, refusing
from identity_issuer import Issuer

from cmd_daemon.api.identity.roles import CHANGING, NEEDED, OPEN, Role

ALL = list(methods())
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNPROVED = grpc.StatusCode.UNAUTHENTICATED


def the(name: str) -> MethodDescriptor:
    """The method of this name."""
    return next(method for method in ALL if method.name == name)


def _served(services: list[str]) -> Iterator[str]:
    pool = descriptor_pool.Default()
    for service in services:
        for method in pool.FindServiceByName(service).methods:
            yield f"/{service}/{method.name}"


async def test_every_method_that_is_served_has_a_rule(guarded: House) -> None:
    services = [*guarded.daemon.server.services]
    services += ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]
    served = set(_served(services))
    assert {path_of(method) for method in ALL} <= served
    assert served == set(NEEDED) | OPEN
    assert not set(NEEDED) & OPEN


async def test_the_daemon_serves_no_service_beside_these(guarded: House) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(guarded.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in stub.ServerReflectionInfo(iter([asked])):
        told = {service.name for service in answer.list_services_response.service}
    assert told == {path.split("/")[1] for path in {*NEEDED, *OPEN}}


def test_every_change_needs_more_than_a_viewer_and_is_audited() -> None:
    changes = {path_of(method) for method in ALL if has(method, "request_id")}
    assert changes == CHANGING
    assert all(NEEDED[path] >= Role.PILOT for path in changes)
    looks = {path for path in NEEDED if path not in changes} - {path_of(the("ListAudit"))}
    assert all(NEEDED[path] <= Role.VIEWER for path in looks)


def _fields(method: MethodDescriptor) -> dict[str, Any]:
    return {"name": "campaigns/no-such"} if has(method, "name") else {}


@pytest.mark.parametrize("role", ["", "viewer", "pilot", "admin"])
async def test_a_role_may_what_its_methods_say(
    guarded: House, issuer: Issuer, ports: Ports, role: str
) -> None:
    groups = [ROLES[role]] if role else ["somewhere/else"]
    has_role = Role[role.upper()] if role else Role.NONE
    async with ports.with_token(issuer.token("ann", *groups)) as caller:
        for method in ALL:
            needed = NEEDED[path_of(method)]
            if has_role < needed:
                async with refusing("MISSING_ROLE", DENIED) as words:
                    await caller.raw(method, **_fields(method))
                assert "ann" in words[0]
                assert f"needs the role {needed.word}" in words[0]
                assert groups[0] in words[0]
                continue
            code = grpc.StatusCode.OK
            try:
                await caller.raw(method, **_fields(method))
            except grpc.RpcError as error:
                code = error.code()
            assert code not in (DENIED, UNPROVED), method.name
    await guarded.healthy()


async def test_nobody_may_anything_without_a_proof(guarded: House, ports: Ports) -> None:
    async with ports.with_token("") as caller:
        for method in ALL:
            async with refusing("NO_CREDENTIALS", UNPROVED) as words:
                await caller.raw(method, **_fields(method))
            assert "cm login" in words[0]
        stub = reflection_pb2_grpc.ServerReflectionStub(caller.channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        async with refusing("NO_CREDENTIALS", UNPROVED):
            async for _ in stub.ServerReflectionInfo(iter([asked])):
                raise AssertionError("it was told")


async def test_a_method_without_a_rule_is_refused_to_an_admin(
    guarded: House, issuer: Issuer, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cmd_daemon.api.identity import gate

    method = the("GetDaemon")
    rules = {path: role for path, role in NEEDED.items() if path != path_of(method)}
    monkeypatch.setattr(gate, "NEEDED", rules)
    async with (
        ports.with_token(issuer.token("root", ROLES["admin"])) as caller,
        refusing("MISSING_ROLE", DENIED) as words,
    ):
        await caller.raw(method)
    assert "no rule" in words[0]
