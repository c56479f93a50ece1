"""A person who asks a contract server, for its own tests."""

import gzip
import json
from typing import Any

import httpx


class Asking:
    """Calls by name; answers as they came. `path` of the relay is the old one."""

    def __init__(self, url: str, token: str, production: bool = True, **client: Any) -> None:
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {token}",
            "Origin": "Rubin:production" if production else "Rubin",
        }
        self.client = httpx.Client(base_url=url, headers=headers, timeout=60, **client)

    def get(self, call: str, **told: Any) -> Any:
        """A call that reads."""
        return json.loads(self.client.get(f"/api/v1/{call}", params=told).text)

    def post(self, call: str, **told: Any) -> Any:
        """A call that changes."""
        return json.loads(self.client.post(f"/api/v1/{call}", json=told).text)

    def submit(self, told: dict[str, Any]) -> int:
        """A new task: its number."""
        answer = self.post("task/submit", task_parameters=told)
        assert answer["success"], answer
        return int(answer["data"])

    def status(self, task: int) -> str:
        """A task's state."""
        return str(self.get("task/get_status", task_id=task)["data"])

    def relay(self, command: str, args: str | None = None, **kwargs: Any) -> Any:
        """A command to iDDS on the old path: its value."""
        told = {"command_name": command, "kwargs": json.dumps(kwargs), "manager": True}
        body = gzip.compress(json.dumps(told | ({"args": args} if args else {})).encode())
        answer = self.client.post(
            "/server/panda/relay_idds_command",
            content=body,
            headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
        )
        good, value = json.loads(answer.text)
        assert good, value
        return value

    def transforms(self, request: int) -> dict[str, dict[str, Any]]:
        """The transforms of a request by the label in their names."""
        rows = self.relay("get_requests", request_id=request, with_detail=True)
        return {row["transform_name"].split("_")[-2]: row for row in rows if row["transform_name"]}

    def request_status(self, request: int) -> str:
        """A request's state."""
        (row,) = self.relay("get_requests", request_id=request)
        return str(row["status"]["attributes"]["_name_"])
