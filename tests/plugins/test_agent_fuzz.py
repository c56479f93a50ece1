"""The agent's client against every kind of line: garbage, huge ones, wrong ids, halves, out of order."""

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_daemon.testing import FakeHost, facility_info
from cmd_local.agent import ButlerAgentFactory

READY = b'{"ready": true, "pid": 1, "repos": ["main"]}\n'
DEEP = b"[" * 100_000 + b"\n"
CALLS = 3
DEADLINE_S = 20.0

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "ok", "result", "error", "ready"]), inner, max_size=4
        )
    ),
    max_leaves=6,
)
_ID = st.integers(-1, CALLS + 2) | st.sampled_from([True, 1.0, "1", None, 2**70, [1], {"id": 1}])
_ERROR = st.dictionaries(st.sampled_from(["class", "message"]), _JSON, max_size=2) | _JSON


def line(document: object) -> bytes:
    """As the agent writes it."""
    return json.dumps(document).encode() + b"\n"


_NOISE = st.one_of(
    st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"") + b"\n"),
    st.sampled_from(
        [DEEP, b"\n", b"{\n", b"9" * 5000 + b"\n", b"\xff\xfe\n", b'{"id": 1\n', READY]
    ),
    st.builds(lambda i, r: line({"id": i, "okay": True, "result": r}), _ID, _JSON),
    _JSON.map(line),
)
"""Lines that answer nothing, or (by ill luck) a call with what is no result of it."""

_TRUE = st.builds(lambda i: line({"id": i, "ok": True, "result": f"of {i}"}), st.integers(1, CALLS))
_FALSE = st.builds(
    lambda i, e: line({"id": i, "ok": False, "error": e}), st.integers(1, CALLS), _ERROR
)
_LINES = st.lists(st.one_of(_TRUE, _TRUE, _FALSE, _NOISE), max_size=12)
_END = st.sampled_from([b"", b'{"id": 1, "ok": tr', "too long", "cut"])


class Speaker:
    """A far process that says what it was made for once it was asked so many things, and ends then."""

    def __init__(self, lines: Sequence[bytes], end: bytes | str, asked: int) -> None:
        self._left = [READY, *lines]
        self._end = end
        self._unasked = asked
        self._all_asked = asyncio.Event()
        self._closed = asyncio.Event()

    async def write(self, data: bytes) -> None:
        self._unasked -= 1
        if not self._unasked:
            self._all_asked.set()

    async def readline(self) -> bytes:
        if len(self._left) and self._left[0] is READY:
            return self._left.pop(0)
        waits = [asyncio.create_task(each.wait()) for each in (self._all_asked, self._closed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        if self._closed.is_set():
            return b""
        if self._left:
            return self._left.pop(0)
        if self._end == "too long":
            raise ValueError("Separator is not found, and chunk exceed the limit")
        if self._end == "cut":
            raise DriverError(ErrorClass.UNKNOWN, "the connection broke")
        end, self._end = self._end, b""
        assert isinstance(end, bytes)
        return end

    async def readexactly(self, size: int) -> bytes:
        raise AssertionError("the agent is read by lines")

    async def read_errors(self) -> bytes:
        await self._closed.wait()
        return b""

    async def wait(self) -> int | None:
        await self._closed.wait()
        return 0

    async def close(self) -> None:
        self._closed.set()


class Way:
    """A transport to one speaker after the other."""

    name = "local"

    def __init__(self, *speakers: Speaker) -> None:
        self._speakers = list(speakers)

    async def open(self, argv: Sequence[str], env: Mapping[str, str]) -> Speaker:
        return self._speakers.pop(0)

    async def run(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing else is run")

    async def install(self, files: Mapping[str, bytes]) -> str:
        return "/nowhere"

    async def close(self) -> None:
        pass


async def _talk(state: Path, lines: Sequence[bytes], end: bytes | str) -> None:
    good = [line({"id": n, "ok": True, "result": f"of {n}"}) for n in range(1, 200)]
    # Some calls may still find the first life dead, so the second one cannot wait for all of them.
    way = Way(Speaker(lines, end, CALLS), Speaker(good, b"", 1))
    section = {"backoff_s": 0.001, "backoff_max_s": 0.001}
    info = facility_info(stacks={"w_1": "/python"}, settings={"agent": section})
    agent = ButlerAgentFactory().create(info, FakeHost(state, transports={"HERE": way}))
    loose: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: loose.append(context))
    try:
        calls = [agent.call("echo", {"n": n}, DEADLINE_S) for n in range(CALLS)]
        async with asyncio.timeout(DEADLINE_S / 2):
            answers = await asyncio.gather(*calls, return_exceptions=True)
        for number, answer in enumerate(answers, 1):
            if isinstance(answer, DriverError):
                assert "agent of facility HERE" in str(answer)
                continue
            if not isinstance(answer, str) or not answer.startswith("of "):
                continue  # noise that was a true answer to the letter
            assert answer == f"of {number}", "the answer to another call"
        async with asyncio.timeout(DEADLINE_S / 2):
            await _answers_again(agent)
    finally:
        async with asyncio.timeout(DEADLINE_S / 2):
            await agent.close()
    assert not loose, loose


async def _answers_again(agent: Any) -> None:
    """It is started again after whatever ended it, and its next life answers."""
    while True:
        answers = await asyncio.gather(
            *(agent.call("echo", {}, DEADLINE_S) for _ in range(CALLS)), return_exceptions=True
        )
        if any(isinstance(answer, str) for answer in answers):
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.sleep(0.002)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_LINES, _END)
@example([DEEP, line({"id": 1, "ok": True, "result": "of 1"})], b"")
@example([line({"id": True, "ok": True, "result": "of true"})], b"")
@example([line({"id": n, "ok": True, "result": f"of {n}"}) for n in (3, 2, 1)], b"")
def test_any_lines_of_an_agent(tmp_path: Path, lines: list[bytes], end: bytes | str) -> None:
    """Each call has its own answer or an error in words; nothing is left over, the next life answers."""
    asyncio.run(_talk(tmp_path, lines, end))


@pytest.mark.parametrize("wrong", [True, 1.0, "1"])
def test_an_id_that_only_equals_one_of_ours_is_not_ours(tmp_path: Path, wrong: object) -> None:
    async def ask() -> None:
        lines = [line({"id": wrong, "ok": True, "result": "forged"})]
        true = [line({"id": n, "ok": True, "result": f"of {n}"}) for n in range(1, CALLS + 1)]
        info = facility_info(stacks={"w_1": "/python"})
        way = Way(Speaker([*lines, *true], b"", CALLS))
        agent = ButlerAgentFactory().create(info, FakeHost(tmp_path, transports={"HERE": way}))
        calls = (agent.call("echo", {}, DEADLINE_S) for _ in range(CALLS))
        assert await asyncio.gather(*calls) == ["of 1", "of 2", "of 3"]
        await agent.close()

    asyncio.run(ask())
