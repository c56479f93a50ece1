"""Random messages to every method, drawn from the descriptors: an answer or a refusal in words, never a
fault of the daemon, which goes on as before."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from api_house import (
    SCHEDULE,
    TEMPLATE,
    House,
    campaign_file,
    config,
    error_info,
    methods,
    request_of,
    serving,
)
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CALL_S = 15.0
OURS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
"""Statuses that say the daemon is at fault."""

_NAMES = st.sampled_from(
    [
        "campaigns/camp",
        "campaigns/camp/steps/one",
        "campaigns/camp/steps/look",
        "campaigns/camp/steps/one/groups/1",
        "campaigns/camp/steps/one/groups/1/jobs/process",
        "facilities/USDF",
        "schedules/nightly",
        "campaigns/-",
        "campaigns/camp/steps/one/groups/1/jobs/process/attempts/1",
        "facilities/No",
    ]
)
_TEXT = st.one_of(
    _NAMES,
    _NAMES,
    st.text(max_size=20),
    st.sampled_from(["", "x" * 10_000, "a/b", "..", "\0", "*", "[", "(a+)+$", "%s", "2026-01-01"]),
)
_FILES = st.sampled_from(
    [campaign_file("fuzz").encode(), SCHEDULE.encode(), TEMPLATE.encode(), b"a: [", b"\xff", b""]
)
_EDGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def value_of(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    """Any one value of a field."""
    kind = field.cpp_type
    if field.message_type is not None:
        return fields_of(field.message_type, depth - 1)
    if kind in _EDGES:
        low, high = _EDGES[kind]
        return st.sampled_from([low, high, 0, 1]) | st.integers(low, high) | st.integers(0, 50)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return st.sampled_from([*(v.number for v in field.enum_type.values), 99, -1])
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return st.floats(width=32)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=30) | _FILES
    text = _TEXT if field.name != "text" else _FILES.map(lambda raw: raw.decode(errors="replace"))
    return text.map(lambda value: value.encode("utf-8", "replace").decode())


def fields_of(message: Descriptor, depth: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    """Any fields of a message, as keyword arguments that make it."""
    chosen: dict[str, st.SearchStrategy[Any]] = {}
    for field in message.fields:
        if field.message_type is not None and depth <= 0:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            chosen[field.name] = st.dictionaries(
                value_of(key, depth), value_of(value, depth), max_size=2
            )
        elif field.is_repeated:
            chosen[field.name] = st.lists(value_of(field, depth), max_size=3)
        else:
            chosen[field.name] = value_of(field, depth)
    likely = {name: chosen.pop(name) for name in ("name", "parent") if name in chosen}
    return st.fixed_dictionaries(likely, optional=chosen)


class Asked:
    """A daemon with a campaign, and the loop it runs in."""

    def __init__(self, root: Path) -> None:
        self._runner = asyncio.Runner()
        self._serving = serving(config(root))
        self.house: House = self._runner.run(self._serving.__aenter__())

    def ask(self, method: MethodDescriptor, request: Message | bytes) -> grpc.RpcError | None:
        """Ask; the refusal, or None. Fails for one that blames the daemon."""
        return self._runner.run(self._ask(method, request))

    async def _ask(
        self, method: MethodDescriptor, request: Message | bytes
    ) -> grpc.RpcError | None:
        try:
            await self.house.raw(method, request, timeout=CALL_S)
        except grpc.RpcError as error:
            return error
        return None

    def healthy(self) -> None:
        """Fails unless the daemon answers and takes changes."""
        self._runner.run(self.house.healthy())

    def close(self) -> None:
        """End the daemon; fails if it had ended before."""
        try:
            self._runner.run(self._serving.__aexit__(None, None, None))
        finally:
            self._runner.close()


@pytest.fixture(scope="module")
def asked(states: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """One daemon for all of these, so that what one message leaves behind the next one meets."""
    root = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(states["full"], root / "state")
    made = Asked(root)
    yield made
    made.close()


STREAMS = ("WatchEvents", "ReadLog")


@pytest.mark.parametrize("method", list(methods()), ids=lambda method: str(method.name))
def test_any_message(asked: Asked, method: MethodDescriptor, fuzz_examples: int) -> None:
    few = max(2, fuzz_examples // 10) if method.name in STREAMS else fuzz_examples

    @settings(
        max_examples=few, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(fields_of(method.input_type))
    def try_one(fields: dict[str, Any]) -> None:
        request = request_of(method, **fields)
        error = asked.ask(method, request)
        if error is None or (
            method.name in STREAMS and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        ):
            return
        assert error.code() not in OURS, (error.code(), error.details())
        error_info(error)

    try_one()
    asked.healthy()


@pytest.mark.parametrize("method", list(methods()), ids=lambda method: str(method.name))
def test_bytes_that_are_no_message(asked: Asked, method: MethodDescriptor) -> None:
    for raw in (b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f"):
        error = asked.ask(method, raw)
        assert error is not None
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()
        assert error_info(error).reason == "INVALID_ARGUMENT"
    asked.healthy()
