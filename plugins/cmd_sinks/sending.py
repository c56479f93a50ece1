"""Deliveries: a set of lines in one request, to Loki or to OpenSearch."""

import json
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from cmd_daemon.hooks import quoted
from cmd_sinks.lines import Line
from cmd_sinks.settings import AnySink, LokiSink, OpenSearchSink, Sink

LATER = frozenset({401, 403, 404, 408, 429})
"""Answers below 500 that time, or a person, may mend: the same lines are sent again."""


class NotTaken(Exception):
    """A delivery did not go through; the words hold no secret. `again`: the lines may be sent again."""

    def __init__(self, message: str, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


async def send(sink: AnySink, lines: Sequence[Line]) -> None:
    """Deliver. The same lines may be sent twice: both servers keep them once. Raises NotTaken."""
    if isinstance(sink, LokiSink):
        await _post(sink, "/loki/api/v1/push", to_loki(sink, lines), "application/json")
    else:
        body = to_opensearch(sink, lines)
        _look_at(await _post(sink, "/_bulk", body, "application/x-ndjson"))


def to_loki(sink: LokiSink, lines: Sequence[Line]) -> bytes:
    """https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs: streams by their labels,
    times in nanoseconds. Loki keeps a line once that comes twice with the same time."""
    streams: dict[tuple[str, str, str, str], list[list[str]]] = {}
    for line in lines:
        key = (line.log, line.kind, line.campaign, line.facility)
        streams.setdefault(key, []).append([str(line.at * 1000), json.dumps(line.body)])
    told = []
    for (log, kind, campaign, facility), values in streams.items():
        own = {"log": log, "kind": kind, "campaign": campaign, "facility": facility}
        labels = {**sink.labels, **{name: value for name, value in own.items() if value}}
        told.append({"stream": labels, "values": values})
    return json.dumps({"streams": told}).encode()


def to_opensearch(sink: OpenSearchSink, lines: Sequence[Line]) -> bytes:
    """https://docs.opensearch.org/latest/api-reference/document-apis/bulk/: `create` with an id of our own,
    so that a line that comes twice is there once."""
    rows: list[Any] = []
    for line in lines:
        at = datetime.fromtimestamp(line.at / 1e6, UTC).isoformat()
        rows.append({"create": {"_index": f"{sink.prefix}-{line.log}", "_id": line.ident}})
        rows.append({"@timestamp": at, **line.body})
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


async def _post(sink: Sink, path: str, body: bytes, kind: str) -> bytes:
    address = sink.url.rstrip("/") + path
    try:
        headers, auth = _credential(sink)
        trust = ssl.create_default_context(cafile=sink.ca)
        async with httpx.AsyncClient(timeout=sink.timeout_s, verify=trust, auth=auth) as client:
            headers["Content-Type"] = kind
            answer = await client.post(
                address, content=body, headers=headers, auth=auth or httpx.USE_CLIENT_DEFAULT
            )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotTaken(f"{address} cannot be reached: {type(error).__name__}") from None
    except (OSError, ValueError) as error:
        raise NotTaken(str(error)) from error
    if not answer.is_success:
        again = answer.status_code >= 500 or answer.status_code in LATER
        words = quoted(answer.text, answer.request.headers.get("Authorization", ""))[:300]
        raise NotTaken(f"{address} answered {answer.status_code}: {words}", again)
    return answer.content


def _credential(sink: Sink) -> tuple[dict[str, str], tuple[str, str] | None]:
    headers: dict[str, str] = {}
    if isinstance(sink, LokiSink) and sink.tenant:
        headers["X-Scope-OrgID"] = sink.tenant
    if sink.token_file is not None:
        headers["Authorization"] = f"Bearer {_secret(sink.token_file)}"
    if sink.password_file is not None:
        return headers, (sink.username, _secret(sink.password_file))
    return headers, None


def _secret(path: Path) -> str:
    words = path.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    if not words:
        raise ValueError(f"{path} is empty")
    return words


def _look_at(answer: bytes) -> None:
    """OpenSearch answers 200 also if it took only some of the documents. Raises NotTaken."""
    try:
        told: Mapping[str, Any] = json.loads(answer)
        results = [result for item in told["items"] for result in item.values()]
        # 409: this line is there already.
        bad = [each for each in results if each["status"] >= 300 and each["status"] != 409]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotTaken("the answer is not that of a bulk request") from None
    if bad:
        again = any(each["status"] == 429 or each["status"] >= 500 for each in bad)
        why = json.dumps(bad[0].get("error"))[:300]
        raise NotTaken(f"{len(bad)} lines were not taken, the first with {why}", again)
