"""Sinks, over real HTTP on loopback."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hooked import Hooked
from pydantic import TypeAdapter, ValidationError

from cmd_daemon.hooks import CommittedEvent, NexusEntry, NexusObserver
from cmd_daemon.hooks.manager import PluginError, Plugins
from cmd_sinks.plugin import SinksPlugin
from cmd_sinks.settings import AnySink
from cmd_sinks.sink import ShippingObserver

AT = 1_795_936_800_000_000
DONE = json.dumps({"errors": False, "items": []}).encode()


@pytest.fixture
def server() -> Iterator[Hooked]:
    """Loki or OpenSearch."""
    with Hooked() as made:
        made.answer = DONE
        yield made


def event(seq: int, name: str = "campaigns/DRP1/steps/coadd/groups/9813") -> CommittedEvent:
    """A group begins."""
    return CommittedEvent(
        seq, AT + seq, name, "group", "PLACED", "RUNNING", "JobTaken", "daemon", "", "FrDF"
    )


ENTRY = NexusEntry(
    at=AT,
    campaign="DRP1",
    step="coadd",
    group="9813",
    job="keep",
    attempt=1,
    facility="FrDF",
    kind="transfer",
    succeeded=True,
    movement="keep",
    source="FrDF",
    destination="USDF",
    dataset_type="coadd",
    counts={"arrived": 3, "bytes": 30},
    gaps=1,
)


class Pauses:
    """Takes the place of the clock: notes each pause, and lets it pass at once."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self.then: Callable[[], None] = lambda: None

    async def wait(self, seconds: float) -> None:
        """One pause."""
        self.taken.append(seconds)
        self.then()
        await asyncio.sleep(0)


def sink(pauses: Pauses | None = None, **fields: Any) -> ShippingObserver:
    """A sink with these settings."""
    settings: AnySink = TypeAdapter(AnySink).validate_python(fields)
    return ShippingObserver("sinks.test", settings, (pauses or Pauses()).wait)


async def shipped(observer: ShippingObserver) -> None:
    """Wait until nothing waits any more."""
    end = time.monotonic() + 30
    while observer.waiting:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_loki_gets_streams_by_their_labels(tmp_path: Path, server: Hooked) -> None:
    token = tmp_path / "token"
    token.write_text("word\n")
    server.status = 204
    server.answer = b""
    loki = sink(kind="loki", url=server.url, tenant="rubin", token_file=token)
    assert isinstance(loki, NexusObserver)
    await loki.observe([event(1), event(2)])
    await loki.observe_nexus([ENTRY])
    await shipped(loki)
    streams = {}
    for path, headers, body in server.taken:
        assert path == "/loki/api/v1/push"
        assert headers["X-Scope-OrgID"] == "rubin"
        assert headers["Authorization"] == "Bearer word"
        for stream in json.loads(body)["streams"]:
            streams.setdefault(stream["stream"]["log"], []).append(stream)
    (transitions,) = streams["transitions"]
    common = {"job": "cmd-daemon", "campaign": "DRP1", "facility": "FrDF"}
    assert transitions["stream"] == {**common, "log": "transitions", "kind": "group"}
    assert [at for at, _ in transitions["values"]] == [str((AT + n) * 1000) for n in (1, 2)]
    line = json.loads(transitions["values"][0][1])
    assert (line["step"], line["group"], line["to_state"]) == ("coadd", "9813", "RUNNING")
    (nexus,) = streams["nexus"]
    assert nexus["stream"] == {**common, "log": "nexus", "kind": "transfer"}
    told = json.loads(nexus["values"][0][1])
    assert (told["source"], told["arrived"], told["gaps"]) == ("FrDF", 3, 1)


async def test_opensearch_gets_documents_with_ids_that_stay(tmp_path: Path, server: Hooked) -> None:
    word = tmp_path / "password"
    word.write_text("secret\n")
    fields = {"kind": "opensearch", "url": server.url, "username": "cmd", "password_file": word}
    for _ in range(2):
        search = sink(**fields)
        await search.observe([event(7)])
        await shipped(search)
        await search.observe_nexus([ENTRY])
        await shipped(search)
    documents = []
    for path, headers, body in server.taken:
        assert path == "/_bulk"
        assert headers["Content-Type"] == "application/x-ndjson"
        assert headers["Authorization"].startswith("Basic ")
        assert body.endswith(b"\n")
        documents.append([json.loads(row) for row in body.splitlines()])
    first, second, again, once_more = documents
    assert first == again
    assert second == once_more
    assert first[0]["create"]["_index"] == "cmd-transitions"
    assert second[0]["create"]["_index"] == "cmd-nexus"
    assert first[1]["@timestamp"].startswith("2026-11-")
    assert first[1]["campaign"] == "DRP1"


async def test_a_server_that_is_away_gets_the_lines_later_in_order(server: Hooked) -> None:
    pauses = Pauses()
    server.status = 503

    def mend() -> None:
        if len(pauses.taken) == 3:
            server.status = 200

    pauses.then = mend
    search = sink(pauses, kind="opensearch", url=server.url, batch=2)
    await search.observe([event(n) for n in range(1, 6)])
    await shipped(search)
    assert pauses.taken == [1.0, 2.0, 4.0]
    seqs = [
        [json.loads(row)["seq"] for row in body.splitlines()[1::2]] for _, _, body in server.taken
    ]
    assert seqs == [[1, 2], [1, 2], [1, 2], [1, 2], [3, 4], [5]]
    assert search.dropped == 0


async def test_too_many_lines_cost_the_oldest_and_are_counted(
    server: Hooked, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = Pauses()
    search = sink(pauses, kind="opensearch", url=server.url, batch=2, buffer=3)
    server.status = 500

    def mend() -> None:
        """While the first two are sent again and again, four more come."""
        if len(pauses.taken) == 1:
            search._put([_line(n) for n in (3, 4, 5, 6)])
            server.status = 200

    pauses.then = mend
    search._put([_line(n) for n in (1, 2)])
    await shipped(search)
    assert search.dropped == 3
    seqs = [
        [json.loads(row)["seq"] for row in body.splitlines()[1::2]] for _, _, body in server.taken
    ]
    assert seqs == [[1, 2], [4, 5], [6]]
    assert "3 lines were dropped" in caplog.text


def _line(seq: int) -> Any:
    from cmd_sinks.lines import of_event

    return of_event(event(seq))


async def test_what_is_refused_for_good_holds_up_nobody(
    server: Hooked, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = Pauses()
    refused = {"create": {"status": 400, "error": {"type": "mapper_parsing_exception"}}}
    there = {"create": {"status": 409, "error": {"type": "version_conflict"}}}
    server.answer = json.dumps({"errors": True, "items": [there, refused]}).encode()
    search = sink(pauses, kind="opensearch", url=server.url)
    await search.observe([event(1), event(2)])
    await shipped(search)
    assert pauses.taken == []
    assert "mapper_parsing_exception" in caplog.text
    busy = {"create": {"status": 429, "error": {"type": "rejected"}}}
    server.answer = json.dumps({"errors": True, "items": [busy]}).encode()

    def mend() -> None:
        server.answer = DONE

    pauses.then = mend
    await search.observe([event(3)])
    await shipped(search)
    assert pauses.taken == [1.0], "a server without room is asked again"


async def test_the_observer_waits_for_no_server() -> None:
    search = sink(kind="opensearch", url="http://127.0.0.1:1")
    await search.observe([event(1)])
    assert search.waiting == 1
    assert search._task is not None
    search._task.cancel()


def test_settings_are_checked(tmp_path: Path) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(AnySink)
    with pytest.raises(ValidationError, match="belong together"):
        adapter.validate_python({"kind": "loki", "url": "http://x", "username": "me"})
    with pytest.raises(ValidationError, match="url"):
        adapter.validate_python({"kind": "loki", "url": "http://me:secret@x"})
    plugins = Plugins()
    plugins.add("sinks", SinksPlugin())
    plugins.configure({"sinks": {"sink": {"far": {"kind": "loki", "url": "http://x"}}}})
    assert list(plugins.observers) == ["sinks.far"]
    wrong = Plugins()
    wrong.add("sinks", SinksPlugin())
    with pytest.raises(PluginError, match="kind"):
        wrong.configure({"sinks": {"sink": {"far": {"kind": "splunk", "url": "http://x"}}}})
