"""One question over HTTP and JSON to the site's own small services."""

import json
import urllib.request
from typing import Any


def ask(method: str, url: str, body: Any = None, timeout_s: float = 60.0) -> Any:
    """Send `body` as JSON and return the answer's JSON; urllib's errors where it fails."""
    data = None if body is None else json.dumps(body).encode()
    question = urllib.request.Request(
        url, data, {"Content-Type": "application/json"}, method=method
    )
    with urllib.request.urlopen(question, timeout=timeout_s) as answer:
        return json.load(answer)
