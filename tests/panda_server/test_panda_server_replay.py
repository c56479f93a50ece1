"""Every recorded exchange, sent to the server: status, content type and body are the recorded ones."""

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from panda_server import PandaServer
from recorded import BPS, BPS_ARGS, EXCHANGES, Comparison
from recorded_world import (
    Past,
    commanded,
    half_past_five,
    idds,
    next_request,
    next_task,
    only_pending_jobs,
    second_lives,
    submitted,
    waited,
)

# Without headers of its own, as the recorded requests have none but those that are written.
CLIENT = httpx.Client()
CLIENT.headers.clear()
STATISTICS = [name for name in EXCHANGES if name.startswith("stats-")]
NOT_REFINED = [name for name in EXCHANGES if name.endswith("-not-refined")]
Step = Callable[[Past], None]

# What was done to the world of half past five before an exchange was recorded.
BEFORE: dict[str, list[Step]] = {
    **{name: [only_pending_jobs] for name in STATISTICS},
    **{name: [submitted("submit-new")] for name in NOT_REFINED},
    "submit-unique-2": [submitted("submit-unique-1")],
    "submit-unique-3": [submitted("submit-unique-1"), waited(5)],
    "kill-twice": [commanded(22, "kill")],
    "pause-twice": [commanded(24, "pause")],
    "reassign-cloud": [commanded(25, "reassign", site="SLAC_Rubin", mode="nokill")],
    "retry-twice": [commanded(20, "retry")],
    "retry-failed-new-parameters": [next_task(40)],
    "status-finishing": [commanded(23, "finish", 40, soft=True)],
    "status-toreassign": [commanded(28, "reassign", 20)],
    "status-broken": [submitted("submit-missing-jobparameters"), waited(90)],
    "detailed-info-broken": [submitted("submit-missing-jobparameters"), waited(90)],
    "retry-broken": [submitted("submit-missing-jobparameters"), waited(90)],
    "kill-broken": [submitted("submit-missing-jobparameters"), waited(90)],
    "status-pending": [submitted("submit-bad-count-type"), waited(20)],
    "details-pending": [submitted("submit-bad-count-type"), waited(20)],
    "detailed-info-pending": [submitted("submit-bad-count-type"), waited(20)],
    "kill-pending": [submitted("submit-bad-count-type"), waited(20)],
    "detailed-info-user": [submitted("submit-user"), waited(90)],
    "retry-owner-done": [submitted("submit-user"), waited(90)],
    "finish-owner-no-role": [submitted("submit-unique-1"), waited(5)],
    "since-duplicate-name": [
        submitted("submit-new"),
        submitted("submit-duplicate-name"),
        waited(90),
    ],
    "kill-finishing": [commanded(23, "finish", 40, soft=True)],
    "retry-finishing": [commanded(23, "finish", 40, soft=True)],
    "pause-failed": [second_lives],
    "kill-failed": [second_lives],
    "kill-finished": [second_lives],
    "retry-failed": [second_lives],
    "since-modified-fields": [waited(1200), commanded(20, "retry", 20), second_lives],
    **{name: [commanded(22, "kill", 60)] for name in EXCHANGES if name.endswith("-aborting")},
    **{name: [commanded(24, "pause", 20)] for name in EXCHANGES if name.endswith("-paused")},
    **{name: [commanded(20, "retry", 20)] for name in EXCHANGES if name.endswith("-toretry")},
    **{name: [commanded(23, "kill", 700)] for name in EXCHANGES if name.endswith("-aborted")},
    "resume-ok": [commanded(24, "pause", 20)],
    "idds-legacy-submit": [next_request(4)],
    "idds-legacy-submit-again": [idds(4)],
    "idds-new-submit": [idds(4, 5)],
}
for name, entry in EXCHANGES.items():
    answer = entry["response"]["body"]
    if entry["request"]["path"].endswith("task/submit") and isinstance(answer, dict):
        number = answer["data"] if answer["success"] else 0
        BEFORE.setdefault(name, [next_task(number)] if number else [])
    if name.startswith("idds-") and name not in BEFORE:
        BEFORE[name] = [idds(4, 5, 6)]


@pytest.fixture(scope="module")
def server() -> Iterator[PandaServer]:
    """One server for all exchanges; its world is exchanged."""
    with PandaServer() as running:
        yield running


def tokens(server: PandaServer) -> dict[str, str]:
    """The stand-ins of the recordings."""
    issuer, clock = server.issuer, server.world.clock
    return {
        "<user>": issuer.user(clock),
        "<prod>": issuer.production(clock),
        "<other>": issuer.other(clock),
        "<expired>": issuer.expired(clock),
        "<nogroup>": issuer.no_group(clock),
    }


def send(server: PandaServer, request: dict[str, Any]) -> httpx.Response:
    """The recorded request, with a token for each stand-in and the body as it was on the wire."""
    headers = dict(request["headers"])
    known = tokens(server)
    if "Authorization" in headers:
        token = headers["Authorization"].removeprefix("Bearer ")
        headers["Authorization"] = f"Bearer {known.get(token, token)}"
    body = request["body"]
    if isinstance(body, dict):
        if str(body.get("args", "")).startswith("<same text"):
            body = body | {"args": BPS_ARGS}
        body = json.dumps(body)
    content = body.encode() if body is not None else None
    if headers.get("Content-Encoding") == "gzip" or request.get("body_encoding") == "gzip":
        content = gzip.compress(content or b"")
    return CLIENT.request(
        request["method"],
        server.url + request["path"],
        params=request.get("query") or {},
        headers=headers,
        content=content,
    )


def told(response: httpx.Response, recorded: Any) -> Any:
    """The body as the recording has it: parsed where it was JSON, else the text."""
    return response.text if isinstance(recorded, str) else json.loads(response.text)


def adjusted(name: str, request: dict[str, Any]) -> dict[str, Any]:
    """Requests that are shortened in the recording."""
    if name == "job-description-too-many":
        entry = EXCHANGES[name]
        first = request["body"]["job_ids"][0]
        return request | {"body": {"job_ids": list(range(first, first + entry["sent_ids"]))}}
    return request


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_recorded_exchange_is_answered_as_recorded(server: PandaServer, name: str) -> None:
    entry = EXCHANGES[name]
    past = half_past_five()
    for step in BEFORE.get(name, []):
        step(past)
    server.use(past.world)

    response = send(server, adjusted(name, entry["request"]))

    recorded = entry["response"]
    assert response.status_code == recorded["status"], response.text
    assert response.headers["content-type"] == recorded["content_type"]
    ours = told(response, recorded["body"])
    if name == "job-description-too-many":
        assert (len(ours["data"]), ours["data"].count(None)) == (
            entry["answered_entries"],
            entry["answered_null"],
        )
        ours["data"] = [*ours["data"][:2], "..."]
    assert Comparison(entry["request"]["path"]).run(recorded["body"], ours) == []


def test_the_recording_is_replayed_in_full() -> None:
    assert len(EXCHANGES) == 285
    assert set(BEFORE) <= set(EXCHANGES)


@pytest.mark.parametrize("at", range(len(BPS["exchanges"])))
def test_what_bps_sent_is_answered_as_recorded(server: PandaServer, at: int) -> None:
    entry = BPS["exchanges"][at]
    past = half_past_five()
    steps = [next_request(3)] if entry["command"] == "submit" else [idds(3)]
    for step in steps:
        step(past)
    server.use(past.world)

    response = send(server, entry["request"])

    recorded = entry["response"]
    assert response.status_code == recorded["status"], response.text
    assert response.headers["content-type"] == recorded["content_type"]
    assert Comparison().run(recorded["body"], json.loads(response.text)) == []


def test_all_that_bps_sent_is_replayed() -> None:
    commands = [entry["command"] for entry in BPS["exchanges"]]
    assert len(commands) == 7, commands
