"""Both clients have every RPC of the contract, under its own name and with its own types."""

import inspect
import re
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor

from cm_client.call import Call, Resumable, rpc
from cm_client.methods import Methods
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

FILES = (
    campaign_pb2,
    step_pb2,
    group_pb2,
    job_pb2,
    event_pb2,
    facility_pb2,
    schedule_pb2,
    statistics_pb2,
    daemon_pb2,
    audit_pb2,
)
METHODS: list[MethodDescriptor] = [
    method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def built(description: Any, **more: Any) -> Call[Any]:
    """The Call that a description makes of its required arguments."""
    build = description._build
    required = [
        parameter
        for parameter in list(inspect.signature(build).parameters.values())[1:]
        if parameter.default is inspect.Parameter.empty
    ]
    call = build(None, *("name" for _ in required), **more)
    if isinstance(call, Call):
        return call
    stream: Resumable[Any] = call[0]
    return stream.call()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_rpc_has_its_method(method: MethodDescriptor) -> None:
    call = built(inspect.getattr_static(Methods, snake(method.name)))
    assert call.path == f"/{method.containing_service.full_name}/{method.name}"
    assert type(call.request).DESCRIPTOR is method.input_type
    assert call.response.DESCRIPTOR is method.output_type


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_field_of_a_request_can_be_given(method: MethodDescriptor) -> None:
    description = inspect.getattr_static(Methods, snake(method.name))
    arguments = set(inspect.signature(description._build).parameters)
    fields = {field.name for field in method.input_type.fields}
    if "source" in fields:
        fields = fields - {"source"} | {"text", "file", "parameters"}
    assert fields <= arguments


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_changes_are_repeatable_only_with_a_request_id(method: MethodDescriptor) -> None:
    description = inspect.getattr_static(Methods, snake(method.name))
    if "request_id" not in method.input_type.fields_by_name:
        assert built(description).repeatable
        return
    assert isinstance(description, rpc)
    assert built(description).repeatable
    with_none = built(description, request_id="")
    assert not with_none.repeatable
    assert not with_none.request.request_id  # type: ignore[attr-defined]


def test_the_bound_methods_keep_their_documentation() -> None:
    for name, description in inspect.getmembers_static(Methods):
        if not name.startswith("_"):
            assert description.__doc__, name
